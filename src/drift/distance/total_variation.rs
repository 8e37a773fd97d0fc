//! The total variation distance.

use super::shares::shares;

/// `sum |p - q| / 2`: the share of rows that would have to change their bin.
///
/// 0 to 1; symmetric; a metric. NaN without rows on a side or with bins that do not match.
/// Source: Levin and Peres, *Markov Chains and Mixing Times*, proposition 4.2.
pub fn total_variation(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    (shares.map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0).min(1.0)
}
