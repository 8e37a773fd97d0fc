//! The shape of a feature in a document, and the way from and to a profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::drift::profile::{
    Bins, CATEGORIES_MAX, CATEGORY_LEN_MAX, CategoricalProfile, Categories, Distinct, Kll, Moments,
    NumericProfile, Profile, ProfileError, Reservoir, Sampling, Tally,
};

/// Longest name of a feature that is read.
const NAME_LEN_MAX: usize = 1_024;
/// Largest reservoir that is read.
const RESERVOIR_MAX: usize = 1 << 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureDocument {
    pub(super) name: String,
    rows: u64,
    weight: f64,
    missing: f64,
    type_errors: f64,
    /// Either this or `categorical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numeric: Option<NumericDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categorical: Option<CategoricalDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NumericDocument {
    /// Absent where the baseline's are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edges: Option<Vec<f64>>,
    counts: Vec<f64>,
    nan: f64,
    positive_infinite: f64,
    negative_infinite: f64,
    finite: f64,
    mean: f64,
    m2: f64,
    min: Option<f64>,
    max: Option<f64>,
    every: u32,
    kll: String,
    hll: String,
    reservoir: ReservoirDocument,
}

/// Keys and values side by side; a row without a value is null.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservoirDocument {
    capacity: usize,
    rows: u64,
    keys: Vec<f64>,
    values: Vec<Option<f64>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoricalDocument {
    /// Absent where the baseline's are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<String>>,
    counts: Vec<f64>,
    other: f64,
    unseen: BTreeMap<Box<str>, f64>,
    hll: String,
}

impl FeatureDocument {
    /// Without bins and category names.
    pub(super) fn without_places(mut self) -> FeatureDocument {
        if let Some(numeric) = &mut self.numeric {
            numeric.edges = None;
        }
        if let Some(categorical) = &mut self.categorical {
            categorical.categories = None;
        }
        self
    }
}

pub(super) fn encode_feature(name: &str, profile: &Profile) -> FeatureDocument {
    let tally = profile.tally();
    let (numeric, categorical) = match profile {
        Profile::Numeric(profile) => (Some(encode_numeric(profile)), None),
        Profile::Categorical(profile) => (None, Some(encode_categorical(profile))),
    };
    FeatureDocument {
        name: name.to_owned(),
        rows: tally.rows,
        weight: tally.weight,
        missing: tally.missing,
        type_errors: tally.type_errors,
        numeric,
        categorical,
    }
}

fn encode_categorical(profile: &CategoricalProfile) -> CategoricalDocument {
    CategoricalDocument {
        categories: Some(profile.categories().names().iter().map(|name| name.to_string()).collect()),
        counts: profile.counts().to_vec(),
        other: profile.other,
        unseen: profile.unseen().into_iter().map(|(name, weight)| (name.into(), weight)).collect(),
        hll: STANDARD.encode(profile.distinct.to_bytes()),
    }
}

fn encode_numeric(profile: &NumericProfile) -> NumericDocument {
    let (items, reservoir) = (profile.reservoir.items(), &profile.reservoir);
    let moments = &profile.moments;
    let finite = |number: f64| number.is_finite().then_some(number);
    NumericDocument {
        edges: Some(profile.bins().edges().to_vec()),
        counts: profile.counts().to_vec(),
        nan: profile.nan,
        positive_infinite: profile.positive_infinite,
        negative_infinite: profile.negative_infinite,
        finite: moments.weight,
        mean: moments.mean,
        m2: moments.m2,
        min: finite(moments.min),
        max: finite(moments.max),
        every: profile.sampling().every,
        kll: STANDARD.encode(profile.quantiles.to_bytes()),
        hll: STANDARD.encode(profile.distinct.to_bytes()),
        reservoir: ReservoirDocument {
            capacity: reservoir.capacity(),
            rows: reservoir.rows(),
            keys: items.iter().map(|(key, _)| *key).collect(),
            values: items.iter().map(|(_, value)| finite(*value)).collect(),
        },
    }
}

/// The profile of a document. Bins and categories are those of `baseline`, if one is given.
pub(super) fn decode_feature(
    document: FeatureDocument,
    baseline: Option<&Profile>,
) -> Result<Profile, ProfileError> {
    let FeatureDocument { name, rows, weight, missing, type_errors, numeric, categorical } = document;
    if name.len() > NAME_LEN_MAX || ![weight, missing, type_errors].iter().all(is_weight) {
        return Err(ProfileError::Sketch("the counts of rows are no counts".to_owned()));
    }
    let tally = Tally { rows, weight, missing, type_errors };
    match (numeric, categorical, baseline) {
        (Some(document), None, None) => {
            let bins = Bins::of_edges(document.edges.clone().ok_or(ProfileError::Bins)?)?;
            decode_numeric(document, Arc::new(bins), tally)
        }
        (Some(document), None, Some(Profile::Numeric(profile))) => {
            decode_numeric(document, profile.shared_bins(), tally)
        }
        (None, Some(document), None) => {
            let names = document.categories.clone().ok_or(ProfileError::Unlike)?;
            if names.len() > CATEGORIES_MAX || names.iter().any(|name| name.len() > 2 * CATEGORY_LEN_MAX) {
                return Err(ProfileError::Sketch("too many or too long categories".to_owned()));
            }
            let categories = Categories::new(names.into_iter().map(Arc::from));
            decode_categorical(document, Arc::new(categories), tally)
        }
        (None, Some(document), Some(Profile::Categorical(profile))) => {
            decode_categorical(document, profile.shared_categories(), tally)
        }
        _ => Err(ProfileError::Unlike),
    }
}

fn is_weight(weight: &f64) -> bool {
    (0.0..1e300).contains(weight)
}

fn bytes(base64: &str) -> Result<Vec<u8>, ProfileError> {
    STANDARD.decode(base64).map_err(|error| ProfileError::Sketch(error.to_string()))
}

fn decode_numeric(document: NumericDocument, bins: Arc<Bins>, tally: Tally) -> Result<Profile, ProfileError> {
    let ReservoirDocument { capacity, rows, keys, values } = document.reservoir;
    let quantiles = Kll::from_bytes(&bytes(&document.kll)?)?;
    let weights = [document.nan, document.positive_infinite, document.negative_infinite, document.finite];
    let has_limits = document.min.is_some() == (document.finite > 0.0);
    if capacity > RESERVOIR_MAX || keys.len() > capacity || keys.len() != values.len() {
        return Err(ProfileError::Sketch("the reservoir does not fit its size".to_owned()));
    }
    if !weights.iter().all(is_weight) || !has_limits || document.m2 < 0.0 {
        return Err(ProfileError::Sketch("the moments contradict each other".to_owned()));
    }
    let sampling = Sampling { every: document.every, kll_k: quantiles.k(), reservoir: capacity, seed: 0 };
    let items = keys.into_iter().zip(values.into_iter().map(|value| value.unwrap_or(f64::NAN))).collect();
    let mut profile = NumericProfile::restored(bins, document.counts, sampling)?;
    profile.tally = tally;
    (profile.nan, profile.positive_infinite, profile.negative_infinite) =
        (document.nan, document.positive_infinite, document.negative_infinite);
    profile.moments = Moments {
        weight: document.finite,
        mean: document.mean,
        m2: document.m2,
        min: document.min.unwrap_or(f64::INFINITY),
        max: document.max.unwrap_or(f64::NEG_INFINITY),
    };
    profile.quantiles = quantiles;
    profile.distinct = Distinct::from_bytes(&bytes(&document.hll)?)?;
    profile.reservoir = Reservoir::restored(capacity, 0, rows, items);
    Ok(Profile::Numeric(profile))
}

fn decode_categorical(
    document: CategoricalDocument,
    categories: Arc<Categories>,
    tally: Tally,
) -> Result<Profile, ProfileError> {
    let mut profile = CategoricalProfile::restored(categories, document.counts, document.unseen)?;
    profile.tally = tally;
    if !is_weight(&document.other) {
        return Err(ProfileError::Unlike);
    }
    profile.other = document.other;
    profile.distinct = Distinct::from_bytes(&bytes(&document.hll)?)?;
    Ok(Profile::Categorical(profile))
}
