//! deequ (`analyzers/Distance.scala`), whose robust distance is the default of Amazon SageMaker Model Monitor. Its numbers
//! come from KLL sketches; here they come from the rows, which is what the sketches approach.

use super::bins::{Counts, Numbers, float};
use super::{PresetMeasure, Rule};
use crate::drift::distance::{ks_two_sample, l_infinity};

/// `c(0.003)`, rounded.
const FACTOR: f64 = 1.8;

pub(super) fn numbers(numbers: &Numbers) -> Vec<PresetMeasure> {
    let (n, m) = (float(numbers.reference.len()), float(numbers.current.len()));
    both(ks_two_sample(&numbers.reference, &numbers.current), n, m)
}

pub(super) fn categories(counts: &Counts) -> Vec<PresetMeasure> {
    let (n, m) = counts.rows();
    both(l_infinity(&counts.reference, &counts.current), n, m)
}

fn both(simple: f64, n: f64, m: f64) -> Vec<PresetMeasure> {
    let robust = (simple - FACTOR * ((n + m) / (n * m)).sqrt()).max(0.0);
    vec![
        PresetMeasure::new("linf_simple", simple, Rule::Above(0.1)),
        PresetMeasure::new("linf_robust", robust, Rule::Above(0.1)).by_default(true),
    ]
}
