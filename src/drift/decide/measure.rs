//! The measures of one feature: each value with its thresholds, what chance gives, and what it speaks for.

use super::rules::Chance;
use crate::drift::distance::{self, Applies, null};
use crate::drift::profile::{CategoricalProfile, Kll, NumericProfile, Profile, group_places, grouped};
use crate::drift::report::{DriftState, Measure};

/// Groups of about equal shares that a numeric feature is compared in.
const NUMERIC_GROUPS: usize = 10;
/// Categories that are compared by name; the rest is one group.
const CATEGORY_GROUPS: usize = 20;
/// Smallest share of the baseline that a category compared by name has.
const CATEGORY_SHARE_MIN: f64 = 0.01;

/// Counts of both sides over the same groups, as numbers of rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sides {
    /// Of the baseline.
    pub(super) baseline: Vec<f64>,
    /// Of the current data.
    pub(super) current: Vec<f64>,
}

impl Sides {
    fn rows(&self) -> (f64, f64) {
        (self.baseline.iter().sum(), self.current.iter().sum())
    }
}

/// Rows of either side from which an alarm counts even where smaller effects could not be told from chance: a small baseline
/// proves no health, but a shift of three sigmas needs no large one. Below it the laws of chance are too far from exact.
const ALARM_ROWS_MIN: f64 = 200.0;

/// Every measure of a feature, in the order of the table.
pub(super) fn measures(baseline: &Profile, current: &Profile, chance: &Chance) -> Vec<Measure> {
    let scaled = |profile: &Profile| {
        // Rows decide what chance is, weights what the shares are.
        let tally = profile.tally();
        let factor = if tally.weight > 0.0 { tally.rows as f64 / tally.weight } else { 0.0 };
        profile.counts().iter().map(|count| count * factor).collect::<Vec<f64>>()
    };
    let fine = Sides { baseline: scaled(baseline), current: scaled(current) };
    let groups = match baseline {
        Profile::Numeric(_) => group_places(&fine.baseline, NUMERIC_GROUPS),
        Profile::Categorical(_) => group_categories(&fine.baseline),
    };
    let coarse =
        Sides { baseline: grouped(&fine.baseline, &groups), current: grouped(&fine.current, &groups) };
    let mut found = of_shares(&coarse, chance);
    let chi = distance::chi_squared(&coarse.baseline, &coarse.current);
    found.push(Measure { p: Some(chi.p), ..judged("chi2", chi.statistic, chi.statistic, None) });
    let hellinger = distance::hellinger(&coarse.baseline, &coarse.current);
    found.push(judged("hellinger", hellinger, hellinger, None));
    if let (Profile::Numeric(baseline), Profile::Numeric(current)) = (baseline, current) {
        let ks = kolmogorov_smirnov(&fine, chance);
        let (n, m) = fine.rows();
        found.push(Measure { p: Some(distance::ks_p(ks.value, n, m)), ..ks });
        found.push(wasserstein(baseline, current, chance));
        found.push(mean_shift(baseline, current, chance));
    }
    if is_insufficient(&coarse, chance) {
        let (n, m) = coarse.rows();
        let may_alarm = n >= ALARM_ROWS_MIN && m >= ALARM_ROWS_MIN;
        for measure in found.iter_mut().filter(|measure| !may_alarm || measure.state != DriftState::Drift) {
            measure.state = DriftState::Insufficient;
        }
    }
    found.extend(rates(baseline, current, chance, coarse.baseline.len()));
    let order = |measure: &Measure| distance::TABLE.iter().position(|spec| spec.name == measure.name);
    found.sort_by_key(order);
    found
}

/// Whether the values of a side are too few.
pub(super) fn is_insufficient(sides: &Sides, chance: &Chance) -> bool {
    let (n, m) = sides.rows();
    let warn = distance::spec("psi").and_then(|spec| spec.warn).unwrap_or(0.1);
    chance.is_insufficient(sides.baseline.len(), n, m, warn)
}

/// The measures that look at shares of groups only.
pub(super) fn of_shares(sides: &Sides, chance: &Chance) -> Vec<Measure> {
    let ((n, m), groups) = (sides.rows(), sides.baseline.len());
    let (baseline, current) = (&sides.baseline[..], &sides.current[..]);
    let plain = |name, value, quantile| judged(name, value, value, Some(quantile));
    vec![
        plain("psi", distance::psi(baseline, current), chance.psi(groups, n, m)),
        plain("js", distance::jensen_shannon(baseline, current), chance.jensen_shannon(groups, n, m)),
        plain("linf", distance::l_infinity(baseline, current), chance.l_infinity(groups, n, m)),
    ]
}

/// The robust form is compared: what is left of the distance beyond chance.
pub(super) fn kolmogorov_smirnov(sides: &Sides, chance: &Chance) -> Measure {
    let (n, m) = sides.rows();
    let d = distance::ks_binned(&sides.baseline, &sides.current);
    let effect = null::ks_robust(d, n, m, chance.alpha);
    let quantile = null::ks_quantile(n, m, chance.alpha);
    judged("ks", d, effect, Some(quantile))
}

/// From the quantile sketches, within an interquartile range of the 0.1 and 99.9 percentiles of the baseline: unbounded,
/// the distance belongs to a single outlier, which `out_of_range` counts already.
///
/// Chance: no law is known that holds for every distribution. A mean moves by at most this distance; half again as much
/// as chance moves a mean is exceeded less often than promised in the simulations of the tests.
fn wasserstein(baseline: &NumericProfile, current: &NumericProfile, chance: &Chance) -> Measure {
    let std = baseline.moments.std();
    let quantiles = baseline.quantiles.quantiles(&[0.001, 0.25, 0.75, 0.999]);
    let [low, first, third, high] = quantiles[..] else {
        return judged("w1n", f64::NAN, f64::NAN, None);
    };
    let (low, high) = (low - (third - first), high + (third - first));
    let clamped = |sketch: &Kll| -> Vec<(f64, f64)> {
        sketch.weighted().into_iter().map(|(value, weight)| (value.clamp(low, high), weight as f64)).collect()
    };
    let distance =
        distance::wasserstein_weighted(&clamped(&baseline.quantiles), &clamped(&current.quantiles));
    let value = if std > 0.0 { distance / std } else { f64::NAN };
    let (n, m) = (baseline.quantiles.n() as f64, current.quantiles.n() as f64);
    let quantile = 1.5 * null::mean_shift_quantile(n, m, chance.alpha);
    judged("w1n", value, value, Some(quantile))
}

fn mean_shift(baseline: &NumericProfile, current: &NumericProfile, chance: &Chance) -> Measure {
    let (old, new) = (&baseline.moments, &current.moments);
    let value = distance::mean_shift(old.mean(), old.std(), new.mean());
    let quantile = null::mean_shift_quantile(old.weight, new.weight, chance.alpha);
    judged("mean_shift", value, value, Some(quantile))
}

/// The places of categories: by name from the most frequent down to a share of 1 %, then one group for all others.
fn group_categories(baseline: &[f64]) -> Vec<usize> {
    let total: f64 = baseline.iter().sum();
    let last = baseline.len().saturating_sub(1);
    let named = baseline[..last].iter().take(CATEGORY_GROUPS);
    let named = named.take_while(|count| **count >= CATEGORY_SHARE_MIN * total).count();
    (0..baseline.len()).map(|place| place.min(named)).collect()
}

/// Shares of rows that only matter when they grow.
fn rates(baseline: &Profile, current: &Profile, chance: &Chance, groups: usize) -> Vec<Measure> {
    let (old, new) = (baseline.tally(), current.tally());
    let rows = |profile: &Profile| profile.tally().rows as f64;
    let warn = distance::spec("psi").and_then(|spec| spec.warn).unwrap_or(0.1);
    let is_insufficient = chance.is_insufficient(groups, rows(baseline), rows(current), warn);
    let mut nulls = [old.missing, new.missing];
    let (name, outside) = match (baseline, current) {
        (Profile::Numeric(b), Profile::Numeric(c)) => {
            nulls = [nulls[0] + b.nan, nulls[1] + c.nan];
            ("out_of_range", [b.out_of_range(), c.out_of_range()])
        }
        (Profile::Categorical(b), Profile::Categorical(c)) => ("unseen", [b.other, c.other]),
        _ => return Vec::new(),
    };
    let values = [baseline, current].map(|profile| profile.counts().iter().sum::<f64>());
    let weights = [old.weight, new.weight];
    let factors = [rate_factor(old.rows, old.weight), rate_factor(new.rows, new.weight)];
    let errors = [old.type_errors, new.type_errors];
    [("null_rate", nulls, weights), (name, outside, values), ("type_errors", errors, weights)]
        .into_iter()
        .map(|(name, counts, of)| {
            let side = |at: usize| (counts[at] * factors[at], of[at] * factors[at]);
            let (old, new) = (side(0), side(1));
            let mut measure = rate(name, old, new, chance);
            // A share of no values says nothing; that there are none is for the null rate to say.
            let may_alarm = old.1 >= ALARM_ROWS_MIN && new.1 >= ALARM_ROWS_MIN;
            let is_alarm = may_alarm && measure.state == DriftState::Drift;
            if (is_insufficient && !is_alarm) || measure.effect.is_nan() {
                measure.state = DriftState::Insufficient;
            }
            measure
        })
        .collect()
}

fn rate_factor(rows: u64, weight: f64) -> f64 {
    if weight > 0.0 { rows as f64 / weight } else { 0.0 }
}

/// A rate against the baseline's: the lower bound of their difference, each side `(successes, rows)`.
///
/// Newcombe's interval of Wilson's bounds. With many rows of the baseline it is Wilson's lower bound less the baseline's
/// rate; with few it also allows for what the baseline does not know.
/// Source: Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10.
pub(super) fn rate(name: &'static str, old: (f64, f64), new: (f64, f64), chance: &Chance) -> Measure {
    let (z, before, now) = (chance.z, old.0 / old.1, new.0 / new.1);
    let (_, upper) = distance::wilson(old.0.min(old.1), old.1, z);
    let (lower, _) = distance::wilson(new.0.min(new.1), new.1, z);
    let effect = now - before - ((now - lower).powi(2) + (upper - before).powi(2)).sqrt();
    judged(name, now, if effect.is_nan() { effect } else { effect.max(0.0) }, None)
}

/// A measure with the thresholds of the table. What chance can give is no effect.
fn judged(name: &'static str, value: f64, effect: f64, null_quantile: Option<f64>) -> Measure {
    let spec = distance::spec(name);
    let (warn, alarm) = (spec.and_then(|spec| spec.warn), spec.and_then(|spec| spec.alarm));
    let is_beyond_chance = null_quantile.is_none_or(|quantile| value > quantile);
    let reaches = |threshold: Option<f64>| threshold.is_some_and(|threshold| effect >= threshold);
    let state = match () {
        () if is_beyond_chance && reaches(alarm) => DriftState::Drift,
        () if is_beyond_chance && reaches(warn) => DriftState::Warn,
        () => DriftState::Ok,
    };
    Measure { name, value, effect, warn, alarm, null_quantile, p: None, state }
}

/// Whether a feature of this kind has the measure.
pub(super) fn applies(name: &str, is_categorical: bool) -> bool {
    distance::spec(name).is_some_and(|spec| match spec.applies {
        Applies::Numeric => !is_categorical,
        Applies::Categorical => is_categorical,
        Applies::Both => true,
    })
}

/// The bars of both sides over the places of the baseline.
pub(super) fn categories_of(profile: &CategoricalProfile) -> Vec<String> {
    let names = profile.categories().names().iter().map(|name| name.to_string());
    names.chain(["(other)".to_owned()]).collect()
}
