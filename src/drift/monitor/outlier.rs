//! Whether a request has a number beyond all that its version's baseline has seen: such requests are worth keeping. Asked on
//! the request's path, so what is looked at is immutable and replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::values::{Reader, Sink};
use crate::drift::baseline::Baseline;
use crate::drift::profile::{Profile, Value};
use crate::infer::Observation;
use crate::model::ModelId;
use crate::model::features::{Derive, Feature, Side};

/// The ranges of every version with a baseline.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    versions: ArcSwap<BTreeMap<ModelId, Arc<Ranges>>>,
}

/// What the numeric inputs of a baseline lie between.
#[derive(Debug)]
pub(super) struct Ranges {
    features: Vec<Feature>,
    bounds: Vec<(f64, f64)>,
    is_batched: bool,
}

impl Outliers {
    /// Looks at these versions from now on.
    pub(super) fn replace(&self, versions: BTreeMap<ModelId, Arc<Ranges>>) {
        self.versions.store(Arc::new(versions));
    }

    /// Whether an input of `observation` lies outside; false without a baseline.
    pub(super) fn is_outlier(&self, id: &ModelId, observation: &Observation) -> bool {
        self.versions.load().get(id).is_some_and(|ranges| ranges.is_outlier(observation))
    }
}

impl Ranges {
    /// The ranges of `baseline`, for those of `features` that have one.
    pub(super) fn new(features: &[Feature], baseline: &Baseline, is_batched: bool) -> Ranges {
        let mut ranges = Ranges { features: Vec::new(), bounds: Vec::new(), is_batched };
        let of_input = features.iter().filter(|feature| feature.side == Side::Input);
        for feature in of_input.filter(|feature| matches!(feature.derive, Derive::Element(_))) {
            let known = baseline.position_of(feature).and_then(|at| baseline.features().get(at));
            let Some(Profile::Numeric(profile)) = known.map(|known| &known.profile) else { continue };
            // The edges of bins, which fit the datatype; the last one is behind the maximum.
            if let [low, .., behind] = profile.bins().edges() {
                ranges.features.push(feature.clone());
                ranges.bounds.push((*low, *behind));
            }
        }
        ranges
    }

    fn is_outlier(&self, observation: &Observation) -> bool {
        let mut finder = Finder { bounds: &self.bounds, is_found: false };
        Reader::default().read(&self.features, self.is_batched, observation, &mut finder);
        finder.is_found
    }
}

struct Finder<'a> {
    bounds: &'a [(f64, f64)],
    is_found: bool,
}

impl Sink for Finder<'_> {
    fn numbers(&mut self, feature: usize, numbers: &[f64]) {
        let Some((low, high)) = self.bounds.get(feature) else { return };
        // NaN is missing, not far away.
        self.is_found |= numbers.iter().any(|number| number < low || number >= high);
    }

    fn value(&mut self, _feature: usize, _value: Value<'_>) {}
}
