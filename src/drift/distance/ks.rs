//! The Kolmogorov-Smirnov distance of two samples or of two histograms, and its p-value.

use super::kstwo;
use super::shares::shares;

/// `max |F - G|` of two samples in ascending order.
///
/// 0 to 1, in shares of rows; symmetric; a metric. NaN for an empty sample or one that holds NaN; meaningless for
/// samples out of order. Source: Smirnov 1939; scipy `ks_2samp`.
pub fn ks_two_sample(a_sorted: &[f64], b_sorted: &[f64]) -> f64 {
    if a_sorted.is_empty() || b_sorted.is_empty() || a_sorted.iter().chain(b_sorted).any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let (mut a, mut b) = (a_sorted.iter().peekable(), b_sorted.iter().peekable());
    let (mut below_a, mut below_b) = (0_usize, 0_usize);
    let mut largest: f64 = 0.0;
    // Past the end of one sample the gap only closes.
    while let (Some(&&next_a), Some(&&next_b)) = (a.peek(), b.peek()) {
        let value = next_a.min(next_b);
        while a.next_if(|next| **next <= value).is_some() {
            below_a += 1;
        }
        while b.next_if(|next| **next <= value).is_some() {
            below_b += 1;
        }
        largest = largest.max(gap(below_a, a_sorted.len(), below_b, b_sorted.len()));
    }
    largest
}

#[allow(clippy::cast_precision_loss, reason = "a sample in memory has fewer than 2^52 values")]
fn gap(a: usize, n: usize, b: usize, m: usize) -> f64 {
    (a as f64 / n as f64 - b as f64 / m as f64).abs()
}

/// `max |F - G|` on the edges of common bins, in the order of the bins.
///
/// 0 to 1, in shares of rows; symmetric; at most the distance of the samples themselves. NaN without rows on a side or
/// with bins that do not match.
pub fn ks_binned(baseline: &[f64], current: &[f64]) -> f64 {
    let Some(shares) = shares(baseline, current) else { return f64::NAN };
    let (mut gap, mut largest) = (0.0_f64, 0.0_f64);
    for (p, q) in shares {
        gap += p - q;
        largest = largest.max(gap.abs());
    }
    largest.min(1.0)
}

/// The probability of a distance of `d` or more without drift, for `n` and `m` rows.
///
/// The survival function of the one-sample statistic at `round(n m / (n + m))` rows, a half to even: what scipy's
/// `ks_2samp(mode="asymp")` says, to 1e-9. For the exact p of small samples see [`super::ks_exact`]. NaN without rows.
pub fn ks_p(d: f64, n: f64, m: f64) -> f64 {
    if !(n > 0.0 && m > 0.0 && n.is_finite() && m.is_finite()) {
        return f64::NAN;
    }
    // A row on each side is half a row together, which scipy rounds to none and has no p for.
    kstwo::survival((n * m / (n + m)).round_ties_even().max(1.0), d)
}
