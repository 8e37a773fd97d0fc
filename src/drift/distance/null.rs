//! What chance alone exceeds, without drift, with probability `alpha`: large-sample laws of the measures for `n` rows
//! of the baseline and `m` current rows. For weighted rows these are Kish's effective numbers, `(sum w)^2 / sum w^2`.
//!
//! Every function returns NaN without rows on a side or for an `alpha` outside 0 and 1. Corrections for the number of
//! features and windows are made by whoever chooses `alpha`.

use std::f64::consts::{LN_2, SQRT_2};

use statrs::function::erf::erfc_inv;

use super::chi_squared::survival;

/// The quantile of [`super::psi()`]: `chi2(bins - 1) (1/n + 1/m)`, in nats. Source: Yurdakul 2018.
pub fn psi_quantile(bins: usize, n: f64, m: f64, alpha: f64) -> f64 {
    chi_squared_quantile(bins.saturating_sub(1), alpha) * variance(n, m)
}

/// The quantile of [`super::jensen_shannon()`]: `sqrt(chi2(bins - 1) (1/n + 1/m) / (8 ln 2))`, because the divergence is
/// an eighth of the index to second order. Source: Menéndez et al. 1997, *The Jensen-Shannon divergence*.
pub fn jensen_shannon_quantile(bins: usize, n: f64, m: f64, alpha: f64) -> f64 {
    (psi_quantile(bins, n, m, alpha) / (8.0 * LN_2)).sqrt().min(1.0)
}

/// The quantile of the Kolmogorov-Smirnov distance: `c(alpha) sqrt((n + m) / (n m))`, `c = sqrt(-ln(alpha / 2) / 2)`.
/// Source: Smirnov 1948. On bins it is an upper bound, because the edges see only a part of the gaps.
pub fn ks_quantile(n: f64, m: f64, alpha: f64) -> f64 {
    if !is_alpha(alpha) {
        return f64::NAN;
    }
    ((-(alpha / 2.0).ln() / 2.0) * variance(n, m)).sqrt()
}

/// What of a distance `d` is left beyond chance: `max(0, d - ks_quantile)`. With alpha = 0.003 the factor is deequ's
/// 1.8 of `linf_robust`. Source: deequ `Distance.scala`.
pub fn ks_robust(d: f64, n: f64, m: f64, alpha: f64) -> f64 {
    let rest = d - ks_quantile(n, m, alpha);
    if rest.is_nan() { f64::NAN } else { rest.max(0.0) }
}

/// An upper bound of the quantile of [`super::l_infinity()`]: `z(alpha / (2 bins)) sqrt((1/n + 1/m) / 4)`. Each share is
/// about normal with a variance of at most a quarter, and Bonferroni takes the largest of `bins` of them.
pub fn l_infinity_quantile(bins: usize, n: f64, m: f64, alpha: f64) -> f64 {
    if bins == 0 {
        return f64::NAN;
    }
    #[allow(clippy::cast_precision_loss, reason = "a number of bins is far below 2^52")]
    let bins = bins as f64;
    (normal_quantile(alpha / (2.0 * bins)) * (variance(n, m) / 4.0).sqrt()).clamp(0.0, 1.0)
}

/// The quantile of [`super::mean_shift()`]: `z(alpha / 2) sqrt(1/n + 1/m)`, by the central limit, in sigmas.
pub fn mean_shift_quantile(n: f64, m: f64, alpha: f64) -> f64 {
    normal_quantile(alpha / 2.0) * variance(n, m).sqrt()
}

/// What a normal variable exceeds with probability `alpha`.
pub fn normal_quantile(alpha: f64) -> f64 {
    if is_alpha(alpha) { SQRT_2 * erfc_inv(2.0 * alpha) } else { f64::NAN }
}

/// What a chi-squared variable exceeds with probability `alpha`; 0 without degrees of freedom.
///
/// It halves an interval on the survival function itself and not on its complement, so that an `alpha` of 1e-12 keeps
/// its digits.
pub fn chi_squared_quantile(dof: usize, alpha: f64) -> f64 {
    if !is_alpha(alpha) {
        return f64::NAN;
    }
    if dof == 0 {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "a number of bins is far below 2^52")]
    let (mut low, mut high) = (0.0, dof as f64 + 1.0);
    while survival(high, dof) > alpha {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-13 * high {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if survival(middle, dof) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    low + (high - low) / 2.0
}

fn is_alpha(alpha: f64) -> bool {
    alpha > 0.0 && alpha < 1.0
}

/// `1/n + 1/m`: the variance of a difference of two means, in variances of a row.
fn variance(n: f64, m: f64) -> f64 {
    if n > 0.0 && m > 0.0 { 1.0 / n + 1.0 / m } else { f64::NAN }
}
