//! The exact p-value of the two-sample Kolmogorov-Smirnov distance, for small samples without ties.

/// Up to this many rows on the larger side scipy's `ks_2samp` computes the exact p on its own accord.
pub const ROWS_MAX: usize = 10_000;

/// The probability of a distance of `d` or more without drift, for `n` and `m` rows, exactly.
///
/// Under the null every order of the pooled rows is equally likely, an order is a lattice path from (0, 0) to (n, m),
/// and `d` is how far the path strays from the diagonal. The share of paths that stray follows from the last step: a
/// path to (i, j) came from (i - 1, j) with probability `i / (i + j)` (Hodges 1957). Only points inside the band are visited.
/// With ties it is too large, never too small. NaN without rows, or above [`ROWS_MAX`], where it would take long.
/// Source: scipy `ks_2samp(method="exact")`.
pub fn ks_p_exact(d: f64, n: usize, m: usize) -> f64 {
    if d.is_nan() || n == 0 || m == 0 || n.max(m) > ROWS_MAX {
        return f64::NAN;
    }
    if d > 1.0 {
        return 0.0;
    }
    let (long, short) = (n.max(m), n.min(m));
    // Gaps are multiples of 1 / (n m): (i, j) lies outside where |i short - j long| reaches this whole number.
    #[allow(clippy::cast_precision_loss, reason = "at most 10^8")]
    let limit = d * (long as f64) * (short as f64);
    let step = gcd(long, short);
    #[allow(clippy::cast_precision_loss, reason = "at most 10^8")]
    let limit = (limit / step as f64).round();
    if limit <= 0.0 {
        return 1.0;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, at most 10^8 for d to 1"
    )]
    let limit = limit as usize * step;
    outside(long, short, limit)
}

/// The share of paths to (long, short) that leave the band `|i short - j long| < limit`.
#[allow(clippy::cast_precision_loss, reason = "at most 20,000")]
fn outside(long: usize, short: usize, limit: usize) -> f64 {
    // Of the column before: 1 outside its band.
    let mut column = vec![1.0; short + 1];
    for i in 0..=long {
        // The rows j inside: i short - limit < j long < i short + limit.
        let first = if i * short < limit { 0 } else { (i * short - limit) / long + 1 };
        let until = ((i * short + limit - 1) / long + 1).min(short + 1);
        if first >= until {
            return 1.0;
        }
        if first > 0 {
            column[first - 1] = 1.0;
        }
        for j in first..until {
            column[j] = match (i, j) {
                (0, 0) => 0.0,
                (0, j) => column[j - 1],
                (_, 0) => column[0],
                (i, j) => (i as f64 * column[j] + j as f64 * column[j - 1]) / (i + j) as f64,
            };
        }
    }
    column[short]
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
