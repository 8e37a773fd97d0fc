//! Pearson's chi-squared test of two histograms. It is the contingency form: both sides are samples, so that one row
//! of a new category is one surprising row and not, as in the goodness-of-fit form, an impossibility with p = 0.

use statrs::function::gamma::checked_gamma_ur;

use super::shares::totals;

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    /// 0 and more.
    pub statistic: f64,
    /// Degrees of freedom: bins with rows, less one.
    pub dof: usize,
    /// The probability of such a statistic or a larger one without drift.
    pub p: f64,
}

/// `sum (O - E)^2 / E` over the 2 x B table of both counts, `E` from its margins.
///
/// Bins that are empty on both sides are left out. With one degree of freedom each `O` moves towards its `E` by at most
/// a half (Yates). The statistic is 0 and more, p within 0 and 1; one bin alone gives 0 and 1. The statistic and p are
/// NaN without rows on a side or with bins that do not match. Source: Pearson 1900; scipy `chi2_contingency`, defaults.
pub fn chi_squared(baseline: &[f64], current: &[f64]) -> ChiSquared {
    let Some((n, m)) = totals(baseline, current) else {
        return ChiSquared { statistic: f64::NAN, dof: 0, p: f64::NAN };
    };
    let filled = baseline.iter().zip(current).map(|(&b, &c)| (b, c)).filter(|(b, c)| b + c > 0.0);
    let dof = filled.clone().count() - 1;
    if dof == 0 {
        return ChiSquared { statistic: 0.0, dof, p: 1.0 };
    }
    let correction = if dof == 1 { 0.5 } else { 0.0 };
    let cell = |observed: f64, expected: f64| {
        let distance = (observed - expected).abs();
        let distance = distance - distance.min(correction);
        distance * distance / expected
    };
    let statistic = filled
        .map(|(b, c)| {
            let column = (b + c) / (n + m);
            cell(b, n * column) + cell(c, m * column)
        })
        .sum();
    ChiSquared { statistic, dof, p: survival(statistic, dof) }
}

/// `P(X >= statistic)` of a chi-squared variable: 1 at 0 and below, 0 at infinity, NaN for NaN or no degree of freedom.
#[allow(clippy::cast_precision_loss, reason = "a number of bins is far below 2^52")]
pub fn survival(statistic: f64, dof: usize) -> f64 {
    if statistic.is_nan() || dof == 0 {
        return f64::NAN;
    }
    if statistic <= 0.0 {
        return 1.0;
    }
    if statistic.is_infinite() {
        return 0.0;
    }
    checked_gamma_ur(dof as f64 / 2.0, statistic / 2.0).map_or(f64::NAN, |p| p.clamp(0.0, 1.0))
}
