//! The population stability index. Which bins it is computed over, and what value matters, is decided elsewhere.

use super::shares::shares;

/// The smallest share of a bin.
///
/// An empty bin would make the index infinite. With this floor it adds `(p - 0.0001) ln(p / 0.0001)`: 0.69 for a tenth
/// of the rows that vanished, which is an alarm, and 0.006 for a bin of 0.2%, which is none. It is less than a row up
/// to 10,000 rows, so that there it only replaces empty bins, and what lies below it in more rows is not worth an
/// alarm. Shares are not scaled back to sum to 1. The value is Evidently's.
pub const SHARE_MIN: f64 = 1e-4;

/// The population stability index: `sum (q - p) ln(q / p)`, shares `p` of the baseline and `q` of the current rows,
/// each at least [`SHARE_MIN`].
///
/// 0 for equal shares, symmetric, below about 18.4 (twice `ln 10000`, where nothing is shared), in nats. NaN without rows
/// on a side or with bins that do not match.
/// Source: Yurdakul 2018, *Statistical properties of the population stability index*.
pub fn psi(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    shares
        .map(|(p, q)| {
            let (p, q) = (p.max(SHARE_MIN), q.max(SHARE_MIN));
            (q - p) * (q / p).ln()
        })
        .sum()
}
