//! The largest change of one share.

use super::shares::shares;

/// `max |p - q|` over the bins.
///
/// 0 to 1, in shares of rows; symmetric. NaN without rows on a side or with bins that do not match.
/// Source: deequ's distance of categories (`Distance.categoricalDistance`), NannyML's `l_infinity`.
pub fn l_infinity(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    shares.map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
}
