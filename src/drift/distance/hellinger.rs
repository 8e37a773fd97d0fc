//! The Hellinger distance.

use super::shares::shares;

/// `sqrt(1 - sum sqrt(p q))`, computed as `sqrt(sum (sqrt p - sqrt q)^2 / 2)`, which is the same and keeps its digits
/// where the shares are close.
///
/// 0 for equal shares to 1 for disjoint ones; symmetric; a metric. NaN without rows on a side or with bins that do not
/// match. Source: Hellinger 1909; NannyML's `hellinger`.
pub fn hellinger(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    let squares: f64 = shares.map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
    (squares / 2.0).min(1.0).sqrt()
}
