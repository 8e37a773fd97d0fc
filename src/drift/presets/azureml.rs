//! Azure Machine Learning's model monitoring: `assets/model_monitoring/components/src/` of Azure/azureml-assets. By
//! default it takes the normed Wasserstein distance of numbers and the Jensen-Shannon distance of categories.

use super::bins::{Counts, Numbers, float, moments};
use super::evidently::{goodness_of_fit, two_sample_p};
use super::{PresetMeasure, Rule};
use crate::drift::distance::{jensen_shannon, wasserstein};

/// With so many rows on a side it refuses to compute the p-value of Kolmogorov and Smirnov.
const KS_ROWS: usize = 10_000;

pub(super) fn numbers(numbers: &Numbers) -> Vec<PresetMeasure> {
    let counts = numbers.histograms(&edges(numbers));
    let bins = float(counts.reference.len());
    let (n, m) = (float(numbers.reference.len()), float(numbers.current.len()));
    // Spark's deviation is divided by n - 1.
    let deviation = moments(&numbers.reference).1 * (n / (n - 1.0)).sqrt();
    let w1 = wasserstein(&numbers.reference, &numbers.current) / deviation.max(0.001);
    let is_small = numbers.reference.len().max(numbers.current.len()) < KS_ROWS;
    let p = if is_small { two_sample_p(numbers) } else { f64::NAN };
    vec![
        PresetMeasure::new("PopulationStabilityIndex", psi(&counts, n + bins, m + bins), Rule::None),
        PresetMeasure::new(
            "JensenShannonDistance",
            jensen_shannon(&counts.reference, &counts.current),
            Rule::None,
        ),
        PresetMeasure::new("NormalizedWassersteinDistance", w1, Rule::Above(0.1)).by_default(true),
        PresetMeasure::new("TwoSampleKolmogorovSmirnovTest", p, Rule::None),
    ]
}

pub(super) fn categories(counts: &Counts) -> Vec<PresetMeasure> {
    let (n, m) = counts.rows();
    let js = jensen_shannon(&counts.reference, &counts.current);
    vec![
        // Unlike for numbers, the ones that are added do not count as rows.
        PresetMeasure::new("PopulationStabilityIndex", psi(counts, n, m), Rule::None),
        PresetMeasure::new("JensenShannonDistance", js, Rule::Above(0.1)).by_default(true),
        PresetMeasure::new("PearsonsChiSquaredTest", goodness_of_fit(counts), Rule::None),
    ]
}

/// One row more in every bin, so that none is empty.
fn psi(counts: &Counts, n: f64, m: f64) -> f64 {
    let pairs = counts.reference.iter().zip(&counts.current);
    pairs
        .map(|(reference, current)| {
            let (p, q) = ((reference + 1.0) / n, (current + 1.0) / m);
            (q - p) * (q / p).ln()
        })
        .sum()
}

/// Sturges's number of bins for the smaller side, equal over both.
fn edges(numbers: &Numbers) -> Vec<f64> {
    let all = numbers.combined();
    let (Some(&first), Some(&last)) = (all.first(), all.last()) else { return Vec::new() };
    if first == last {
        return vec![first, first * 1.01];
    }
    let rows = numbers.reference.len().min(numbers.current.len());
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a logarithm of rows, at least 1"
    )]
    let bins = (float(rows).log2() + 1.0).ceil() as usize;
    let width = (last - first) / float(bins);
    (0..=bins).map(|bin| first + float(bin) * width).collect()
}
