//! NannyML 0.13.1: `nannyml/drift/univariate/methods.py` and `thresholds.py`.
//!
//! Its thresholds are the mean plus three deviations of the measure over ten chunks of the reference against the whole
//! reference, so they depend on the order of its rows.

use std::collections::BTreeMap;

use super::bins::{Counts, Numbers, doane, equal, float, histogram, moments, sorted};
use super::{PresetMeasure, Rule};
use crate::drift::distance::{
    chi_squared, hellinger, jensen_shannon, ks_two_sample, l_infinity, wasserstein,
};

/// From so many rows of the reference on, distances are taken over as many equal bins.
const ROWS_EXACT: usize = 10_000;
/// Chunks of the reference, and one more for what is left over.
const CHUNKS: usize = 10;

pub(super) fn numbers(raw_reference: &[f64], numbers: &Numbers) -> Vec<PresetMeasure> {
    let edges = doane(&numbers.reference);
    let estimate = (numbers.reference.len() >= ROWS_EXACT).then(|| Estimate::of(&numbers.reference));
    let measure = |chunk: &[f64]| -> [f64; 4] {
        let counts = with_outside(&numbers.reference, chunk, &edges);
        let (ks, w1) = match &estimate {
            Some(estimate) => (estimate.ks(chunk), estimate.wasserstein(chunk)),
            None => (ks_two_sample(&numbers.reference, chunk), wasserstein(&numbers.reference, chunk)),
        };
        let js = jensen_shannon(&counts.reference, &counts.current);
        [js, ks, w1, hellinger(&counts.reference, &counts.current)]
    };
    let chunks = chunks(raw_reference).map(|chunk| measure(&sorted(chunk))).collect::<Vec<_>>();
    let names = ["jensen_shannon", "kolmogorov_smirnov", "wasserstein", "hellinger"];
    let values = measure(&numbers.current);
    names
        .into_iter()
        .zip(values)
        .enumerate()
        .map(|(index, (name, value))| {
            let history: Vec<f64> = chunks.iter().map(|measures| measures[index]).collect();
            let limit = if name == "kolmogorov_smirnov" { 1.0 } else { f64::INFINITY };
            PresetMeasure::new(name, value, threshold(&history, limit)).by_default(name == "jensen_shannon")
        })
        .collect()
}

pub(super) fn categories(reference: &[&str], current: &[&str]) -> Vec<PresetMeasure> {
    let measure = |chunk: &[&str]| -> [f64; 3] {
        let counts = Counts::of_categories(reference, chunk);
        let pooled = unseen_pooled(reference, chunk);
        [
            jensen_shannon(&pooled.reference, &pooled.current),
            l_infinity(&counts.reference, &counts.current),
            hellinger(&pooled.reference, &pooled.current),
        ]
    };
    let chunks = chunks(reference).map(measure).collect::<Vec<_>>();
    let values = measure(current);
    let names = ["jensen_shannon", "l_infinity", "hellinger"];
    let mut measures: Vec<_> = names
        .into_iter()
        .zip(values)
        .enumerate()
        .map(|(index, (name, value))| {
            let history: Vec<f64> = chunks.iter().map(|measures| measures[index]).collect();
            PresetMeasure::new(name, value, threshold(&history, f64::INFINITY))
                .by_default(name == "jensen_shannon")
        })
        .collect();
    let counts = Counts::of_categories(reference, current);
    let chi2 = chi_squared(&counts.reference, &counts.current);
    // The alarm of the statistic is the p-value's.
    measures.push(PresetMeasure {
        is_drift: chi2.p < 0.05,
        ..PresetMeasure::new("chi2", chi2.statistic, Rule::None)
    });
    measures.push(PresetMeasure::new("chi2_p", chi2.p, Rule::Below(0.05)));
    measures
}

/// Pieces of a tenth of the rows, and what is left over.
fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let size = rows.len() / CHUNKS;
    let rows = if size == 0 { &rows[..0] } else { rows };
    rows.chunks(size.max(1))
}

fn threshold(history: &[f64], limit: f64) -> Rule {
    if history.is_empty() {
        return Rule::None;
    }
    // An empty chunk has no value and is passed over.
    let history: Vec<f64> = history.iter().copied().filter(|value| !value.is_nan()).collect();
    let (mean, deviation) = moments(&history);
    Rule::Above((mean + 3.0 * deviation).min(limit))
}

/// Both histograms over the reference's bins, with what lies outside them in one more.
fn with_outside(reference: &[f64], chunk: &[f64], edges: &[f64]) -> Counts {
    let with_rest = |sorted: &[f64]| {
        let mut counts = histogram(sorted, edges);
        counts.push(float(sorted.len()) - counts.iter().sum::<f64>());
        counts
    };
    Counts { reference: with_rest(reference), current: with_rest(chunk) }
}

/// Counts of the reference's categories, with all others in one more.
fn unseen_pooled(reference: &[&str], chunk: &[&str]) -> Counts {
    let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    reference.iter().for_each(|name| counts.entry(name).or_default().0 += 1.0);
    let mut unseen = 0.0;
    for name in chunk {
        match counts.get_mut(name) {
            Some(count) => count.1 += 1.0,
            None => unseen += 1.0,
        }
    }
    let (reference, current) = counts.into_values().chain([(0.0, unseen)]).unzip();
    Counts { reference, current }
}

/// Distances over equal bins between the extremes of a large reference.
struct Estimate {
    edges: Vec<f64>,
    /// The share of the reference up to each upper edge.
    cumulative: Vec<f64>,
}

impl Estimate {
    fn of(reference: &[f64]) -> Estimate {
        let (first, last) = (reference.first().copied(), reference.last().copied());
        let edges = equal(first.unwrap_or(f64::NAN), last.unwrap_or(f64::NAN), ROWS_EXACT);
        let cumulative = cumulative(reference, &edges);
        Estimate { edges, cumulative }
    }

    fn ks(&self, chunk: &[f64]) -> f64 {
        let below = float(chunk.partition_point(|value| *value < self.edges[0])) / float(chunk.len());
        let pairs = self.cumulative.iter().zip(cumulative(chunk, &self.edges));
        pairs.map(|(reference, current)| (reference - (below + current)).abs()).fold(0.0, f64::max)
    }

    fn wasserstein(&self, chunk: &[f64]) -> f64 {
        let n = float(chunk.len());
        let (first, last) = (self.edges[0], self.edges[ROWS_EXACT]);
        let width = self.edges[1] - self.edges[0];
        let smaller = &chunk[..chunk.partition_point(|value| *value < first)];
        let bigger = &chunk[chunk.partition_point(|value| *value <= last)..];
        let outside = smaller.iter().map(|value| (first - value) / n).sum::<f64>()
            + bigger.iter().map(|value| (value - last) / n).sum::<f64>();
        // It counts one row more below than there is.
        let below = if smaller.is_empty() { 0.0 } else { float(smaller.len() + 1) / n };
        let pairs = self.cumulative.iter().zip(cumulative(chunk, &self.edges));
        outside + pairs.map(|(reference, current)| (reference - (current + below)).abs() * width).sum::<f64>()
    }
}

fn cumulative(sorted: &[f64], edges: &[f64]) -> Vec<f64> {
    let n = float(sorted.len());
    let mut share = 0.0;
    histogram(sorted, edges)
        .into_iter()
        .map(|count| {
            share += count / n;
            share
        })
        .collect()
}
