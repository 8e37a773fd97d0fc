//! Evidently 0.7.23: `evidently/legacy/calculations/stattests/`.

use std::f64::consts::{LN_2, SQRT_2};

use statrs::function::erf::erfc;

use super::bins::{Counts, Numbers, distinct, float, moments, sturges};
use super::{PresetMeasure, Rule};
use crate::drift::distance::ks_exact::ROWS_MAX;
use crate::drift::distance::{
    chi_squared, hellinger, jensen_shannon, ks_p, ks_p_exact, ks_two_sample, wasserstein,
};

/// A numeric reference with so many values or fewer is compared value by value.
const DISTINCT_MAX: usize = 20;
/// Up to so many rows of the reference a test is chosen, above a distance.
const ROWS_FOR_TESTS: f64 = 1000.0;

pub(super) fn numbers(numbers: &Numbers) -> Vec<PresetMeasure> {
    let by_value = numbers.by_value();
    let is_binned = distinct(&numbers.reference).len() > DISTINCT_MAX;
    let counts = if is_binned { numbers.histograms(&sturges(&numbers.combined())) } else { by_value.clone() };
    // Bins of the distinct values, and not of the rows.
    let of_distinct = numbers.histograms(&sturges(&distinct(&numbers.combined())));
    let norm = moments(&numbers.reference).1.max(0.001);
    let w1 = wasserstein(&numbers.reference, &numbers.current) / norm;
    let mut measures = distances(&counts);
    measures.push(PresetMeasure::new("wasserstein", w1, Rule::AtLeast(0.1)));
    measures.push(PresetMeasure::new("ks", two_sample_p(numbers), Rule::AtMost(0.05)));
    let value = hellinger(&of_distinct.reference, &of_distinct.current);
    measures.push(PresetMeasure::new("hellinger", value, Rule::AtLeast(0.1)));
    let values = by_value.reference.len();
    if values <= 5 {
        measures.extend(tests(&by_value));
    }
    let default = match (float(numbers.reference.len()) <= ROWS_FOR_TESTS, values) {
        (true, ..=2) => "z",
        (true, 3..=5) => "chisquare",
        (true, _) => "ks",
        (false, ..=5) => "jensenshannon",
        (false, _) => "wasserstein",
    };
    chosen(measures, default)
}

pub(super) fn categories(counts: &Counts) -> Vec<PresetMeasure> {
    let mut measures = distances(counts);
    let value = hellinger(&counts.reference, &counts.current);
    measures.push(PresetMeasure::new("hellinger", value, Rule::AtLeast(0.1)));
    measures.extend(tests(counts));
    let default = match (counts.rows().0 <= ROWS_FOR_TESTS, counts.reference.len()) {
        (true, ..=2) => "z",
        (true, _) => "chisquare",
        (false, _) => "jensenshannon",
    };
    chosen(measures, default)
}

fn chosen(measures: Vec<PresetMeasure>, default: &str) -> Vec<PresetMeasure> {
    let mark = |measure: PresetMeasure| {
        let is_default = measure.name == default;
        measure.by_default(is_default)
    };
    measures.into_iter().map(mark).collect()
}

fn distances(counts: &Counts) -> Vec<PresetMeasure> {
    let (n, m) = counts.rows();
    let reference = filled(&counts.reference, n);
    let current = filled(&counts.current, m);
    let psi = reference.iter().zip(&current).map(|(p, q)| (p - q) * (p / q).ln()).sum();
    let base_e = jensen_shannon(&counts.reference, &counts.current) * LN_2.sqrt();
    vec![
        PresetMeasure::new("psi", psi, Rule::AtLeast(0.1)),
        PresetMeasure::new("jensenshannon", base_e, Rule::AtLeast(0.1)),
    ]
}

/// Shares, where an empty bin has 0.0001, or a millionth of the smallest share where that is not larger.
fn filled(counts: &[f64], rows: f64) -> Vec<f64> {
    let shares = counts.iter().map(|count| count / rows);
    let smallest = shares.clone().filter(|share| *share > 0.0).fold(f64::INFINITY, f64::min);
    let empty = if smallest <= 1e-4 { smallest / 1e6 } else { 1e-4 };
    shares.map(|share| if share == 0.0 { empty } else { share }).collect()
}

/// The tests of few values: goodness of fit, and of two values the difference of two proportions.
fn tests(counts: &Counts) -> Vec<PresetMeasure> {
    let mut measures = vec![PresetMeasure::new("chisquare", goodness_of_fit(counts), Rule::Below(0.05))];
    if counts.reference.len() <= 2 {
        measures.push(PresetMeasure::new("z", proportions(counts), Rule::Below(0.05)));
    }
    measures
}

/// The p-value of the current counts against the reference's, scaled to as many rows: 0 for one row of a new value.
pub(super) fn goodness_of_fit(counts: &Counts) -> f64 {
    let (n, m) = counts.rows();
    let cells = counts.reference.iter().zip(&counts.current);
    let statistic =
        cells.map(|(expected, observed)| (observed - expected * (m / n)).powi(2) / (expected * (m / n)));
    chi_squared::survival(statistic.sum(), counts.reference.len() - 1)
}

fn proportions(counts: &Counts) -> f64 {
    if counts.reference.len() == 1 {
        return 1.0;
    }
    let (n, m) = counts.rows();
    let (p, q) = (1.0 - counts.reference[0] / n, 1.0 - counts.current[0] / m);
    let pooled = (p * n + q * m) / (n + m);
    let z = (p - q) / (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    erfc(z.abs() / SQRT_2)
}

/// scipy's `ks_2samp` with its own choice: exact up to 10,000 rows a side.
pub(super) fn two_sample_p(numbers: &Numbers) -> f64 {
    let (n, m) = (numbers.reference.len(), numbers.current.len());
    let d = ks_two_sample(&numbers.reference, &numbers.current);
    if n.max(m) <= ROWS_MAX { ks_p_exact(d, n, m) } else { ks_p(d, float(n), float(m)) }
}
