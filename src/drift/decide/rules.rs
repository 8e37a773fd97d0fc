//! How sure an alarm must be: from the false alarms that an operator accepts to the quantiles of chance.

use crate::drift::distance::null;

/// Measures that can raise an alarm for one feature and one window; each gets its share of the false alarms.
const ALARMING_MEASURES: f64 = 9.0;
/// Most groups that counts are compared in, and so one more than the most degrees of freedom.
const GROUPS_MAX: usize = 24;
/// Below so many rows that chance alone makes a PSI of a warning with this probability, nothing is said.
const INSUFFICIENT_ALPHA: f64 = 1e-4;

/// The rules of decisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Alarms without drift that are expected in a week, for all features and windows of one version together.
    pub false_alarms_per_week: f64,
    /// How often a version is judged in a day: windows times panes a day.
    pub evaluations_per_day: f64,
    /// Evaluations of a window in a row that must agree before an alarm.
    pub hold: u8,
    /// An alarm ends below this share of the threshold that it rose above.
    pub clear: f64,
    /// Rows below which nothing is said; `None` derives it from the number of bins.
    pub rows_min: Option<f64>,
}

impl Default for Rules {
    /// One false alarm in 14 weeks (0.01 a day), four windows and a pane of five minutes.
    fn default() -> Rules {
        Rules {
            false_alarms_per_week: 0.07,
            evaluations_per_day: 4.0 * 288.0,
            hold: 2,
            clear: 0.8,
            rows_min: None,
        }
    }
}

impl Rules {
    /// For one comparison of two files: a false alarm in a hundred comparisons, and nothing to wait for.
    pub fn offline() -> Rules {
        Rules { evaluations_per_day: 1.0, hold: 1, ..Rules::default() }
    }

    /// The probability of a false alarm of one evaluation, all features together.
    pub fn level(&self) -> f64 {
        (self.false_alarms_per_week / 7.0 / self.evaluations_per_day.max(1.0)).clamp(1e-15, 0.5)
    }

    /// What chance gives with the probability that is left for each measure of each of `features` features.
    pub fn chance(&self, features: usize) -> Chance {
        let alpha = (self.level() / features.max(1) as f64 / ALARMING_MEASURES).max(1e-15);
        let chi = (0..GROUPS_MAX).map(|dof| null::chi_squared_quantile(dof, alpha)).collect();
        let insufficient =
            (0..GROUPS_MAX).map(|dof| null::chi_squared_quantile(dof, INSUFFICIENT_ALPHA)).collect();
        let largest = |groups: usize| null::normal_quantile(alpha / (2.0 * groups.max(1) as f64));
        Chance {
            alpha,
            level: self.level() / ALARMING_MEASURES,
            z: null::normal_quantile(alpha),
            chi,
            largest: (0..=GROUPS_MAX).map(largest).collect(),
            insufficient,
            rows_min: self.rows_min,
        }
    }
}

/// Quantiles of chance for one probability. Made once an evaluation: the quantile of chi-squared is a search.
#[derive(Debug, Clone)]
pub struct Chance {
    /// Of one measure of one feature.
    pub alpha: f64,
    /// Of one measure of all features: the rate at which Benjamini and Hochberg's procedure may err.
    pub level: f64,
    /// What a normal variable exceeds with probability `alpha`.
    pub z: f64,
    chi: Vec<f64>,
    largest: Vec<f64>,
    insufficient: Vec<f64>,
    rows_min: Option<f64>,
}

impl Chance {
    /// What the PSI of `groups` groups of `n` and `m` rows exceeds.
    pub fn psi(&self, groups: usize, n: f64, m: f64) -> f64 {
        let at = groups.saturating_sub(1).min(GROUPS_MAX - 1);
        self.chi.get(at).copied().unwrap_or(f64::INFINITY) * (1.0 / n + 1.0 / m)
    }

    /// The same for the Jensen-Shannon distance, which to second order is an eighth of the PSI in nats, squared.
    pub fn jensen_shannon(&self, groups: usize, n: f64, m: f64) -> f64 {
        (self.psi(groups, n, m) / (8.0 * std::f64::consts::LN_2)).sqrt()
    }

    /// The same for the largest change of a share, [`null::l_infinity_quantile`].
    pub fn l_infinity(&self, groups: usize, n: f64, m: f64) -> f64 {
        let z = self.largest.get(groups.min(GROUPS_MAX)).copied().unwrap_or(f64::INFINITY);
        (z * ((1.0 / n + 1.0 / m) / 4.0).sqrt()).clamp(0.0, 1.0)
    }

    /// Whether `n` and `m` rows in `groups` groups are too few to say anything: chance alone would reach `warn`.
    pub fn is_insufficient(&self, groups: usize, n: f64, m: f64, warn: f64) -> bool {
        if let Some(rows_min) = self.rows_min {
            return m < rows_min || n < 1.0;
        }
        let at = groups.max(2).saturating_sub(1).min(GROUPS_MAX - 1);
        let quantile = self.insufficient.get(at).copied().unwrap_or(f64::INFINITY);
        let is_enough = n > 0.0 && m > 0.0 && quantile * (1.0 / n + 1.0 / m) <= warn;
        !is_enough
    }
}

/// Adjusted p-values of Benjamini and Hochberg, in the order of `p`; NaN stays NaN and is not counted.
///
/// Rejecting what is at most `q` keeps the expected share of false rejections at `q`.
/// Source: Benjamini, Hochberg, "Controlling the false discovery rate" (1995).
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|at| !p[*at].is_nan()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let count = order.len() as f64;
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut smallest = 1.0_f64;
    for (rank, at) in order.iter().enumerate().rev() {
        smallest = smallest.min(p[*at] * count / (rank as f64 + 1.0));
        adjusted[*at] = smallest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_p_values_are_those_of_statsmodels() {
        // statsmodels 0.14 multipletests([0.01, 0.04, 0.03, 0.005, 0.5], method="fdr_bh")[1].
        let adjusted = benjamini_hochberg(&[0.01, 0.04, f64::NAN, 0.03, 0.005, 0.5]);
        let expected = [0.025, 0.05, f64::NAN, 0.05, 0.025, 0.5];
        for (found, expected) in adjusted.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-12 || (found.is_nan() && expected.is_nan()),
                "{adjusted:?}"
            );
        }
    }

    #[test]
    fn ten_bins_need_about_340_rows() {
        let chance = Rules::default().chance(20);
        let enough = (1..1_000).find(|m| !chance.is_insufficient(10, 1e9, f64::from(*m), 0.1));
        assert_eq!(enough, Some(338));
        assert!(chance.is_insufficient(10, 100.0, 1e9, 0.1));
        assert!(chance.is_insufficient(1, 1e9, 0.0, 0.1));
    }

    #[test]
    fn more_features_and_fewer_false_alarms_ask_for_more() {
        let base = Rules::default();
        let psi = |rules: Rules, features| rules.chance(features).psi(10, 1e4, 1e3);
        assert!(psi(base, 100) > psi(base, 10));
        assert!(psi(Rules { false_alarms_per_week: 0.001, ..base }, 10) > psi(base, 10));
        let chance = base.chance(1);
        assert_eq!(psi(base, 1), null::psi_quantile(10, 1e4, 1e3, chance.alpha));
        assert_eq!(chance.l_infinity(10, 1e4, 1e3), null::l_infinity_quantile(10, 1e4, 1e3, chance.alpha));
    }
}
