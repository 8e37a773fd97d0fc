//! The maximum mean discrepancy of two sets of points: drift of embeddings, which have no bins. Quadratic in the number
//! of points, so it runs on a reservoir and off the request's path.

use super::distance::null::normal_quantile;

/// The most points of both sides together; the kernel's matrix takes 32 MB then.
pub const POINTS_MAX: usize = 2_048;

/// Points of the same width, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Points<'a> {
    /// All coordinates.
    pub values: &'a [f64],
    /// Coordinates of a point, at least 1.
    pub width: usize,
}

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmd {
    /// The unbiased estimate of the squared discrepancy, about 0 without drift (also below) and at most 2.
    pub squared: f64,
    /// The kernel's width: half the median squared distance is its square.
    pub sigma: f64,
    /// The probability of such an estimate or a larger one without drift.
    pub p: f64,
    /// The standard deviation of the estimates of random divisions, whose mean is 0.
    pub null_std: f64,
    /// Their skewness: without drift large estimates are more common than small ones.
    pub null_skewness: f64,
}

impl Mmd {
    /// What an estimate without drift exceeds with probability `alpha`, however small: that of a gamma distribution with
    /// the moments of the random divisions, by the transformation of Wilson and Hilferty.
    ///
    /// Source: Gretton et al. 2009, *A fast, consistent kernel two-sample test* (the gamma approximation of the null).
    pub fn null_quantile(&self, alpha: f64) -> f64 {
        let z = normal_quantile(alpha);
        // A normal variable is the limit. Nothing of that kind is skewed to the left but by chance.
        let skewness = self.null_skewness.clamp(1e-3, 4.0);
        let root = 1.0 + skewness * z / 6.0 - skewness * skewness / 36.0;
        self.null_std * 2.0 / skewness * (root.max(0.0).powi(3) - 1.0)
    }
}

/// `mean k(x, x') + mean k(y, y') - 2 mean k(x, y)` without pairs of a point with itself, `k = exp(-|a - b|^2 / (2
/// sigma^2))`, sigma from the median of all distances, and p from `permutations` random divisions of the pooled points.
///
/// The lower median is taken, and p is `(1 + as large) / (1 + permutations)`, never 0. `None` for fewer than two points
/// on a side, more than [`POINTS_MAX`] together, different widths, values that are not finite, or points that are all
/// the same. Source: Gretton et al. 2012, *A kernel two-sample test*; Phipson and Smyth 2010 for p.
pub fn mmd(x: Points<'_>, y: Points<'_>, permutations: u32, seed: u64) -> Option<Mmd> {
    let (n, m) = (count(x)?, count(y)?);
    let total = n + m;
    if x.width != y.width || total > POINTS_MAX {
        return None;
    }
    let points: Vec<&[f64]> = x.values.chunks_exact(x.width).chain(y.values.chunks_exact(y.width)).collect();
    let mut kernel = squared_distances(&points);
    let median = median_of_pairs(&kernel, total)?;
    kernel.iter_mut().for_each(|distance| *distance = (-*distance / median).exp());
    let sums: Vec<f64> = kernel.chunks_exact(total).map(|row| row.iter().sum::<f64>() - 1.0).collect();

    let mut order: Vec<usize> = (0..total).collect();
    let squared = discrepancy(&kernel, &sums, &order[..n], total);
    let mut random = Random(seed);
    let mut as_large = 0_u32;
    let (mut second, mut third) = (0.0, 0.0);
    for _ in 0..permutations {
        random.shuffle(&mut order);
        let chance = discrepancy(&kernel, &sums, &order[..n], total);
        as_large += u32::from(chance >= squared);
        second += chance * chance;
        third += chance * chance * chance;
    }
    let count = f64::from(permutations.max(1));
    let (variance, third) = (second / count, third / count);
    let p = (1.0 + f64::from(as_large)) / (1.0 + f64::from(permutations));
    let null_skewness = if variance > 0.0 { third / variance.powf(1.5) } else { 0.0 };
    let null_std = variance.sqrt();
    Some(Mmd { squared, sigma: (median / 2.0).sqrt(), p, null_std, null_skewness })
}

/// How many points there are, when there are two and all is finite.
fn count(points: Points<'_>) -> Option<usize> {
    if points.width == 0 || !points.values.len().is_multiple_of(points.width) {
        return None;
    }
    let count = points.values.len() / points.width;
    (count >= 2 && points.values.iter().all(|value| value.is_finite())).then_some(count)
}

/// A square matrix, row by row.
fn squared_distances(points: &[&[f64]]) -> Vec<f64> {
    let total = points.len();
    let mut matrix = vec![0.0; total * total];
    for (i, a) in points.iter().enumerate() {
        for (j, b) in points.iter().enumerate().skip(i + 1) {
            let distance: f64 = a.iter().zip(*b).map(|(a, b)| (a - b) * (a - b)).sum();
            matrix[i * total + j] = distance;
            matrix[j * total + i] = distance;
        }
    }
    matrix
}

/// The lower median over pairs of different points; `None` where it is 0, so that a kernel has no width.
fn median_of_pairs(distances: &[f64], total: usize) -> Option<f64> {
    let rows = distances.chunks_exact(total).enumerate();
    let mut pairs: Vec<f64> = rows.flat_map(|(i, row)| row.iter().skip(i + 1).copied()).collect();
    let middle = (pairs.len() - 1) / 2;
    let (_, median, _) = pairs.select_nth_unstable_by(middle, f64::total_cmp);
    (*median > 0.0 && median.is_finite()).then_some(*median)
}

/// The estimate for one division; `first` are the points of the first side, `sums` the kernel's row sums without the
/// diagonal. Only the pairs of the first side are visited: the others follow from the sums.
#[allow(clippy::cast_precision_loss, reason = "at most POINTS_MAX")]
fn discrepancy(kernel: &[f64], sums: &[f64], first: &[usize], total: usize) -> f64 {
    let mut within = 0.0;
    for (index, &i) in first.iter().enumerate() {
        let row = &kernel[i * total..(i + 1) * total];
        within += first[..index].iter().map(|&j| row[j]).sum::<f64>();
    }
    let within = 2.0 * within;
    let across = first.iter().map(|&i| sums[i]).sum::<f64>() - within;
    let others = sums.iter().sum::<f64>() - within - 2.0 * across;
    let (n, m) = (first.len() as f64, (total - first.len()) as f64);
    within / (n * (n - 1.0)) + others / (m * (m - 1.0)) - 2.0 * across / (n * m)
}

/// Knuth's 64-bit congruential generator: permutations need to be repeatable, not secret.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
    }

    /// From the upper bits, which are the good ones.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let index = (u128::from(self.0) * u128::from(limit)) >> 64;
        usize::try_from(index).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::golden::{Stream, check_near, number, parse, whole};

    #[test]
    fn statistic_and_p_are_those_of_numpy() {
        let golden = parse(include_str!("../../tests/golden/drift/mmd.json"));
        for case in golden["cases"].as_array().unwrap() {
            let mut stream = Stream(case["seed"].as_u64().unwrap());
            let (n, m, width) = (whole(&case["n"]), whole(&case["m"]), whole(&case["width"]));
            let (x, mut y) = (stream.normals(n * width), stream.normals(m * width));
            y.iter_mut().for_each(|value| *value += number(&case["shift"]));
            let (x, y) = (Points { values: &x, width }, Points { values: &y, width });
            let found = mmd(x, y, 100, 42).unwrap();
            check_near("squared", found.squared, number(&case["squared"]), 1e-9, 1e-12);
            check_near("sigma", found.sigma, number(&case["sigma"]), 1e-12, 0.0);
            check_near("p", found.p, number(&case["p"]), 1e-12, 0.0);
        }
    }

    /// Skewness, probability, quantile.
    const PEARSON: [(f64, f64, f64); 6] = [
        (0.001, 1e-2, 2.327_083),
        (0.001, 1e-6, 4.757_024),
        (0.5, 1e-4, 4.821_406),
        (0.5, 1e-6, 6.653_944),
        (1.0, 1e-6, 8.675_228),
        (1.5, 1e-4, 7.092_771),
    ];

    /// scipy 1.17: stats.pearson3.isf(alpha, skewness) for a standard deviation of 1.
    #[test]
    fn the_null_has_a_long_right_tail() {
        let of = |null_skewness| Mmd { squared: 0.0, sigma: 1.0, p: 1.0, null_std: 1.0, null_skewness };
        for (skewness, alpha, expected) in PEARSON {
            check_near("quantile", of(skewness).null_quantile(alpha), expected, 0.05, 0.0);
        }
    }

    #[test]
    fn what_cannot_be_compared_is_none() {
        let points = |values: &'static [f64], width| Points { values, width };
        let good = points(&[0.0, 1.0, 2.0, 3.0], 2);
        for bad in [
            points(&[], 2),
            points(&[1.0, 2.0], 2),
            points(&[1.0, 2.0, 3.0], 2),
            points(&[1.0, 2.0], 1),
            points(&[1.0, 2.0], 0),
            points(&[1.0, 2.0, f64::NAN, 3.0], 2),
        ] {
            assert_eq!(mmd(good, bad, 10, 1), None);
        }
        let same = points(&[1.0; 8], 2);
        assert_eq!(mmd(same, same, 10, 1), None);
        assert!(mmd(good, good, 10, 1).is_some());
    }
}
