//! How far a mean has moved.

/// `|mean_current - mean_baseline| / std_baseline`.
///
/// 0 and more, in standard deviations of the baseline (divided by n). Where the baseline has none, 0 for an equal mean
/// and infinity for any other. NaN for a mean or deviation that is NaN or a negative deviation.
/// Source: Glass 1976 (Glass's delta), which unlike Cohen's d keeps its scale when the current spread changes.
pub fn mean_shift(baseline_mean: f64, baseline_std: f64, current_mean: f64) -> f64 {
    let shift = (current_mean - baseline_mean).abs();
    if shift.is_nan() || baseline_std.is_nan() || baseline_std < 0.0 {
        return f64::NAN;
    }
    if shift == 0.0 { 0.0 } else { shift / baseline_std }
}
