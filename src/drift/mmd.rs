//! The maximum mean discrepancy of two sets of points: drift of embeddings, which have no bins. Quadratic in the number
//! of points, so it runs on a reservoir and off the request's path.

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
    for _ in 0..permutations {
        random.shuffle(&mut order);
        as_large += u32::from(discrepancy(&kernel, &sums, &order[..n], total) >= squared);
    }
    let p = (1.0 + f64::from(as_large)) / (1.0 + f64::from(permutations));
    Some(Mmd { squared, sigma: (median / 2.0).sqrt(), p })
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

/// Knuth's 64-bit congruential generator: permutations and samples need to be repeatable, not secret.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
    }

    /// From the upper bits, which are the good ones.
    pub(super) fn below(&mut self, limit: usize) -> usize {
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
