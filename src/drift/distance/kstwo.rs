//! The distribution of the one-sample Kolmogorov-Smirnov statistic, after Simard and L'Ecuyer 2011, *Computing the
//! two-sided Kolmogorov-Smirnov distribution*.
//!
//! ```text
//!               n x^2 small                     in between                         n x^2 large
//! n <= 140      Durbin's matrix, exact          Durbin's matrix, exact             twice the one-sided sum
//! n >  140      1, or Durbin's matrix           Pelz and Good's series             twice the one-sided sum
//! ```
//!
//! The limiting law that is found in textbooks is 12% off in p at the sizes of windows; this is what scipy computes.

use std::f64::consts::PI;

use statrs::function::factorial::ln_factorial;

/// `P(D >= x)` for `n` rows, a whole number; NaN for an `n` that is none, is 0 or is not finite, or for an `x` of NaN.
///
/// Agrees with scipy's `kstwo.sf(x, n)` to a relative 1e-9, up to 1,000,000 rows; above scipy itself approximates.
pub fn survival(n: f64, x: f64) -> f64 {
    if x.is_nan() || !n.is_finite() || n < 1.0 || n.fract() != 0.0 {
        return f64::NAN;
    }
    let t = n * x;
    let square = t * x;
    if t <= 0.5 {
        return 1.0;
    }
    if x >= 1.0 || square >= 370.0 {
        return 0.0;
    }
    let is_tail = if n <= 140.0 { square > 4.0 } else { square >= 2.2 };
    let p = if is_tail || x >= 0.5 {
        2.0 * one_sided(n, x)
    } else if n <= 140.0 {
        1.0 - durbin(n, x)
    } else if square <= 0.045 {
        // The limiting law says 1 - 1e-10 here, and the matrix below would be large.
        1.0
    } else if n <= 100_000.0 && n * x.powf(1.5) <= 1.4 {
        1.0 - durbin(n, x)
    } else {
        1.0 - pelz_good(n, x)
    };
    p.clamp(0.0, 1.0)
}

/// From twice this many rows on, one term of the one-sided sum stands for several; at most twice as many are computed.
const TERMS: f64 = 512.0;

/// `P(D+ >= x)`: the sum over `j < n (1 - x)` of `x / p C(n, j) p^j (1 - p)^(n - j)` with `p = x + j / n` (Birnbaum and
/// Tingey 1951).
///
/// Every term is a binomial probability, and is computed like one (Loader 2000), so that nothing cancels. With many
/// rows the terms are a smooth function of `j` that vanishes with all its derivatives at both ends; then the sum over
/// every `step`-th, times `step`, is the whole sum to far more digits than are asked for (Euler and Maclaurin).
fn one_sided(n: f64, x: f64) -> f64 {
    let step = (n / TERMS).floor().max(1.0);
    let t = n * x;
    let mut sum = (n * (-x).ln_1p()).exp();
    let mut j = step;
    while j + t < n {
        let rest = n - j;
        let exponent =
            j * (t / j).ln_1p() + rest * (-t / rest).ln_1p() + stirling(n) - stirling(j) - stirling(rest);
        sum += step * t / (t + j) * (n / (2.0 * PI * j * rest)).sqrt() * exponent.exp();
        j += step;
    }
    sum
}

/// `ln k! - ln(sqrt(2 pi k) (k/e)^k)`: what Stirling's formula leaves out, for whole `k` of 1 and more.
fn stirling(k: f64) -> f64 {
    if k < 16.0 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 1 to 15")]
        let whole = k as u64;
        return ln_factorial(whole) - (k + 0.5) * k.ln() + k - 0.5 * (2.0 * PI).ln();
    }
    let square = 1.0 / (k * k);
    (1.0 / 12.0
        - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))))
        / k
}

/// `P(D < x)`, exactly: `n! / n^n` times the middle element of the n-th power of a matrix (Durbin 1973; Marsaglia,
/// Tsang and Wang 2003). Its size is `2 n x + 1` at most, which the caller bounds.
fn durbin(n: f64, x: f64) -> f64 {
    let t = n * x;
    let whole = t.floor() + 1.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, below 100")]
    let k = whole as usize;
    let mut matrix = durbin_matrix(k, whole - t);
    let size = 2 * k - 1;
    let mut row = vec![0.0; size];
    row[k - 1] = 1.0;
    // Both carry a power of ten beside them, because they outgrow a float.
    let (mut matrix_ln, mut row_ln) = (0.0_f64, 0.0_f64);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, at most 100,000")]
    let mut power = n as u64;
    loop {
        if power % 2 == 1 {
            row = product(&row, &matrix, size);
            row_ln += matrix_ln + normalise(&mut row);
        }
        power /= 2;
        if power == 0 {
            break;
        }
        matrix = product(&matrix, &matrix, size);
        matrix_ln = 2.0 * matrix_ln + normalise(&mut matrix);
    }
    // ln(n! / n^n)
    let factor = stirling(n) + 0.5 * (2.0 * PI * n).ln() - n;
    row[k - 1] * (row_ln + factor).exp()
}

/// Ones on and below the first upper diagonal, less powers of `h` in the first column and last row, over factorials.
#[allow(clippy::cast_precision_loss, reason = "sizes are below 200")]
fn durbin_matrix(k: usize, h: f64) -> Vec<f64> {
    let size = 2 * k - 1;
    let mut powers = vec![1.0; size + 1];
    let mut factorials = vec![1.0; size + 1];
    for i in 1..=size {
        powers[i] = powers[i - 1] * h;
        factorials[i] = factorials[i - 1] * i as f64;
    }
    let mut matrix = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..size.min(i + 2) {
            let mut element = 1.0;
            if j == 0 {
                element -= powers[i + 1];
            }
            if i == size - 1 {
                element -= powers[size - j];
            }
            if j == 0 && i == size - 1 {
                element += (2.0 * h - 1.0).max(0.0).powf(size as f64);
            }
            matrix[i * size + j] = element / factorials[i + 1 - j];
        }
    }
    matrix
}

/// Rows of `a` times the square matrix `b`.
fn product(a: &[f64], b: &[f64], size: usize) -> Vec<f64> {
    let mut result = vec![0.0; a.len()];
    for (row, out) in a.chunks_exact(size).zip(result.chunks_exact_mut(size)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(size)) {
            if *factor != 0.0 {
                out.iter_mut().zip(line).for_each(|(out, b)| *out += factor * b);
            }
        }
    }
    result
}

/// Divides by the largest element, and says by how much, as a logarithm.
fn normalise(values: &mut [f64]) -> f64 {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    values.iter_mut().for_each(|value| *value /= largest);
    largest.ln()
}

/// `P(D < x)` by the series of Pelz and Good 1976: four terms in `n^(-1/2)` about the limiting law, each a theta
/// function in the form that converges for small `x sqrt(n)`.
fn pelz_good(n: f64, x: f64) -> f64 {
    let z = n.sqrt() * x;
    let (z2, z4, z6, z8) = (z.powi(2), z.powi(4), z.powi(6), z.powi(8));
    let (pi2, pi4, pi6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    let (mut even2, mut even3) = (0.0, 0.0);
    let mut k = 1.0_f64;
    loop {
        // Odd multiples of pi / 2 first, then whole multiples of pi.
        let odd: f64 = 2.0 * k - 1.0;
        let (m2, m4, m6) = (odd.powi(2), odd.powi(4), odd.powi(6));
        let q = (-pi2 * m2 / (8.0 * z2)).exp();
        k0 += q;
        k1 += q * (pi2 * m2 / 4.0 - z2);
        k2 += q
            * (6.0 * z6
                + 2.0 * z4
                + pi2 * m2 * (2.0 * z4 - 5.0 * z2) / 4.0
                + pi4 * m4 * (1.0 - 2.0 * z2) / 16.0);
        k3 += q
            * (pi6 * m6 * (5.0 - 30.0 * z2) / 64.0
                + pi4 * m4 * (212.0 * z4 - 60.0 * z2) / 16.0
                + pi2 * m2 * (135.0 * z4 - 96.0 * z6) / 4.0
                - 30.0 * z6
                - 90.0 * z8);
        let square = k * k;
        let q_even = (-pi2 * square / (2.0 * z2)).exp();
        even2 += square * q_even;
        even3 += (3.0 * z2 - pi2 * square) * square * q_even;
        if q < 1e-25 || k > 100.0 {
            break;
        }
        k += 1.0;
    }
    let root = (2.0 * PI).sqrt();
    let first = k0 / z;
    let second = k1 / (6.0 * z4);
    let third = k2 / (72.0 * z.powi(7)) - pi2 * even2 / (36.0 * z.powi(3));
    let fourth = k3 / (6480.0 * z.powi(10)) + pi2 * even3 / (216.0 * z6);
    root * (first + second / n.sqrt() + third / n + fourth / n.powf(1.5))
}
