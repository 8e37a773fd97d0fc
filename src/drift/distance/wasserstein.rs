//! The 1-Wasserstein distance, on values and never on bins: from quantile bins of a skewed feature it is off by a
//! factor. It is not bounded, so one outlier can own it; it is reported beside bounded measures.

/// `integral |F - G| dx` of two samples in ascending order: how far a unit of mass moves on average.
///
/// 0 and more, in the unit of the values; symmetric; a metric. Divided by the baseline's deviation it is `w1n`. NaN for
/// an empty sample or a value that is not finite; meaningless for samples out of order.
/// Source: Ramdas et al. 2017; scipy `wasserstein_distance`.
pub fn wasserstein(a_sorted: &[f64], b_sorted: &[f64]) -> f64 {
    let unit = |value: &f64| (*value, 1.0);
    integral(a_sorted.iter().map(unit), b_sorted.iter().map(unit))
}

/// The same of `(value, weight)` pairs in ascending order of values; NaN also for a negative weight or a side whose
/// weights sum to 0.
pub fn wasserstein_weighted(a_sorted: &[(f64, f64)], b_sorted: &[(f64, f64)]) -> f64 {
    integral(a_sorted.iter().copied(), b_sorted.iter().copied())
}

type Pair = (f64, f64);

fn integral(a: impl Iterator<Item = Pair> + Clone, b: impl Iterator<Item = Pair> + Clone) -> f64 {
    let is_sound = |(value, weight): Pair| value.is_finite() && weight.is_finite() && weight >= 0.0;
    if !a.clone().all(is_sound) || !b.clone().all(is_sound) {
        return f64::NAN;
    }
    let weight = |(_, weight): Pair| weight;
    let (n, m): (f64, f64) = (a.clone().map(weight).sum(), b.clone().map(weight).sum());
    if n <= 0.0 || m <= 0.0 {
        return f64::NAN;
    }
    let (mut a, mut b) = (a.peekable(), b.peekable());
    let (mut below_a, mut below_b) = (0.0, 0.0);
    let mut last: Option<f64> = None;
    let mut sum = 0.0;
    loop {
        let value = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(one), None) | (None, Some(one)) => one.0,
            (None, None) => return sum,
        };
        if let Some(last) = last {
            sum += (below_a / n - below_b / m).abs() * (value - last);
        }
        last = Some(value);
        while let Some((_, weight)) = a.next_if(|pair| pair.0 <= value) {
            below_a += weight;
        }
        while let Some((_, weight)) = b.next_if(|pair| pair.0 <= value) {
            below_b += weight;
        }
    }
}
