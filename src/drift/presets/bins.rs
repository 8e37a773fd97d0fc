//! Histograms as numpy and Spark make them. Bins are closed below and open above, the last one closed.

use std::collections::BTreeMap;

/// Two columns of numbers in ascending order, without those that are not finite.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Of the reference.
    pub reference: Vec<f64>,
    /// Current.
    pub current: Vec<f64>,
}

impl Numbers {
    /// Sorts, and drops what is not finite.
    pub fn of(reference: &[f64], current: &[f64]) -> Numbers {
        Numbers { reference: sorted(reference), current: sorted(current) }
    }

    /// Both sides together, in ascending order.
    pub fn combined(&self) -> Vec<f64> {
        let mut all = [self.reference.as_slice(), self.current.as_slice()].concat();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Both histograms over `edges`.
    pub fn histograms(&self, edges: &[f64]) -> Counts {
        Counts { reference: histogram(&self.reference, edges), current: histogram(&self.current, edges) }
    }

    /// How often each value occurs on either side, in ascending order of the values.
    pub fn by_value(&self) -> Counts {
        let values = distinct(&self.combined());
        let count = |sorted: &[f64]| {
            let below = |value: f64| sorted.partition_point(|known| *known < value);
            let until = |value: f64| sorted.partition_point(|known| *known <= value);
            values.iter().map(|value| float(until(*value) - below(*value))).collect()
        };
        Counts { reference: count(&self.reference), current: count(&self.current) }
    }
}

/// How many rows fall into each bin, or category, on either side.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Of the reference.
    pub reference: Vec<f64>,
    /// Current.
    pub current: Vec<f64>,
}

impl Counts {
    /// Of every category of either side, in the order of their names.
    pub fn of_categories(reference: &[&str], current: &[&str]) -> Counts {
        let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        reference.iter().for_each(|name| counts.entry(name).or_default().0 += 1.0);
        current.iter().for_each(|name| counts.entry(name).or_default().1 += 1.0);
        let (reference, current) = counts.into_values().unzip();
        Counts { reference, current }
    }

    /// Rows of the reference and current ones.
    pub fn rows(&self) -> (f64, f64) {
        (self.reference.iter().sum(), self.current.iter().sum())
    }
}

/// In ascending order, without what is not finite.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Each value once.
pub fn distinct(sorted: &[f64]) -> Vec<f64> {
    let mut values = sorted.to_vec();
    values.dedup();
    values
}

/// Values in each bin; what lies outside is not counted.
pub fn histogram(sorted: &[f64], edges: &[f64]) -> Vec<f64> {
    let bins = edges.len().saturating_sub(1);
    let below = |index: usize| match edges.get(index) {
        Some(edge) if index == bins => sorted.partition_point(|value| value <= edge),
        Some(edge) => sorted.partition_point(|value| value < edge),
        None => sorted.len(),
    };
    (0..bins).map(|bin| float(below(bin + 1).saturating_sub(below(bin)))).collect()
}

/// `bins + 1` edges at equal distances, the last one exact, as numpy's `linspace` rounds them.
pub fn equal(first: f64, last: f64, bins: usize) -> Vec<f64> {
    let step = (last - first) / float(bins);
    let mut edges: Vec<f64> = (0..bins).map(|index| float(index) * step + first).collect();
    edges.push(last);
    edges
}

/// Sturges's edges: `log2(n) + 1` bins, rounded up. Source: numpy `histogram_bin_edges(bins="sturges")`.
pub fn sturges(sorted: &[f64]) -> Vec<f64> {
    let span = span(sorted);
    automatic(sorted, span / (float(sorted.len()).log2() + 1.0))
}

/// Doane's edges, which add bins for skewness. Source: numpy `histogram_bin_edges(bins="doane")`.
pub fn doane(sorted: &[f64]) -> Vec<f64> {
    let n = float(sorted.len());
    let (mean, deviation) = moments(sorted);
    if n <= 2.0 || deviation <= 0.0 {
        return automatic(sorted, 0.0);
    }
    let skewness = sorted.iter().map(|value| ((value - mean) / deviation).powi(3)).sum::<f64>() / n;
    let error = (6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))).sqrt();
    automatic(sorted, span(sorted) / (1.0 + n.log2() + (1.0 + skewness.abs() / error).log2()))
}

/// Mean and standard deviation (divided by n).
pub fn moments(values: &[f64]) -> (f64, f64) {
    let n = float(values.len());
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}

/// A number of rows or bins.
#[allow(clippy::cast_precision_loss, reason = "a column in memory has fewer than 2^52 rows")]
pub fn float(count: usize) -> f64 {
    count as f64
}

fn span(sorted: &[f64]) -> f64 {
    sorted.last().zip(sorted.first()).map_or(0.0, |(last, first)| last - first)
}

/// Edges for bins of about this width; one bin for none, and a unit's width around a single value.
fn automatic(sorted: &[f64], width: f64) -> Vec<f64> {
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    if first == last {
        return vec![first - 0.5, last + 0.5];
    }
    if width <= 0.0 {
        return vec![first, last];
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few times log2 of the rows"
    )]
    let bins = ((last - first) / width).ceil() as usize;
    equal(first, last, bins)
}
