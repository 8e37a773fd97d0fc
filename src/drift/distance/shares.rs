//! Two histograms over the same bins, as shares. It refuses what is no pair of histograms, so that measures need not.

/// The sums of both sides, when the bins match, no count is negative or non-finite, and each side has rows.
pub fn totals(baseline: &[f64], current: &[f64]) -> Option<(f64, f64)> {
    if baseline.len() != current.len() {
        return None;
    }
    let is_count = |count: &f64| count.is_finite() && *count >= 0.0;
    if !baseline.iter().chain(current).all(is_count) {
        return None;
    }
    let totals = (baseline.iter().sum::<f64>(), current.iter().sum::<f64>());
    let is_total = |total: f64| total > 0.0 && total.is_finite();
    (is_total(totals.0) && is_total(totals.1)).then_some(totals)
}

/// The shares of both sides, bin by bin; `None` where [`totals`] is.
pub fn shares<'a>(
    baseline: &'a [f64],
    current: &'a [f64],
) -> Option<impl Iterator<Item = (f64, f64)> + Clone + 'a> {
    let (n, m) = totals(baseline, current)?;
    Some(baseline.iter().zip(current).map(move |(b, c)| (b / n, c / m)))
}
