//! The Jensen-Shannon distance, base 2.

use std::f64::consts::LN_2;

use super::shares::shares;

/// The Jensen-Shannon distance: `sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2)` with the entropy `H` in bits.
///
/// 0 for equal shares to 1 for disjoint ones; symmetric; a metric. Times `sqrt(ln 2)` = 0.83255 it is the distance of
/// base e that Evidently reports. NaN without rows on a side or with bins that do not match.
/// Source: Endres and Schindelin 2003; scipy `jensenshannon(p, q, base=2)`.
pub fn jensen_shannon(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    let divergence: f64 = shares.map(|(p, q)| divergence(p, q)).sum();
    (divergence / (2.0 * LN_2)).clamp(0.0, 1.0).sqrt()
}

/// `p ln(p / m) + q ln(q / m)` with `m = (p + q) / 2`, written in `(q - p) / (q + p)`, because the sum of the two
/// logarithms loses all digits where the shares are close, and the root below makes that visible.
fn divergence(p: f64, q: f64) -> f64 {
    let middle = (p + q) / 2.0;
    if middle == 0.0 {
        return 0.0;
    }
    let delta = (q - p) / (q + p);
    let side = |delta: f64| if delta <= -1.0 { 0.0 } else { (1.0 + delta) * delta.ln_1p() };
    middle * (side(delta) + side(-delta))
}
