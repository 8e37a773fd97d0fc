//! Baselines: what every feature of a version looked like when it was fit for use. Immutable.
//!
//! A baseline is made of training data in two passes ([`super::builder::BaselineBuilder`]) or of the first live rows, is stored as one
//! document ([`Baseline::to_bytes`]), and is known by the digest of that document.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::format::{self, FormatError};
use super::profile::{PANE_POINTS, PointSample, Profile, ProfileError, Sampling, Value};
use crate::model::embeddings::Embedding;
use crate::model::features::{Derive, Feature, Side};
use crate::tensor::DataType;

/// Most features of a baseline.
pub const FEATURES_MAX: usize = 10_000;

/// One feature of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineFeature {
    /// Its name, for example `in.age`.
    pub name: Arc<str>,
    /// What its values were.
    pub profile: Profile,
}

/// One embedding of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineEmbedding {
    /// Its name, for example `out.embedding`.
    pub name: Arc<str>,
    /// Some of its rows.
    pub sample: PointSample,
}

/// What current data are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    features: Vec<BaselineFeature>,
    embeddings: Vec<BaselineEmbedding>,
    rows: f64,
    digest: Arc<str>,
}

impl Baseline {
    /// A baseline of finished profiles; `rows` is the weight of all rows.
    pub fn new(features: Vec<BaselineFeature>, rows: f64) -> Baseline {
        Baseline { features, embeddings: Vec::new(), rows, digest: "".into() }.digested()
    }

    /// The same with embeddings.
    pub fn with_embeddings(self, embeddings: Vec<BaselineEmbedding>) -> Baseline {
        Baseline { embeddings, ..self }.digested()
    }

    fn digested(mut self) -> Baseline {
        self.digest = hex(&Sha256::digest(self.to_bytes())).into();
        self
    }

    /// Its features, in the order in which they were named.
    pub fn features(&self) -> &[BaselineFeature] {
        &self.features
    }

    /// Its embeddings.
    pub fn embeddings(&self) -> &[BaselineEmbedding] {
        &self.embeddings
    }

    /// A version's embedding: of the same width, and of the same name but for the `in.` that training data do not know.
    pub fn embedding(&self, wanted: &Embedding) -> Option<&BaselineEmbedding> {
        let plain = wanted.name.strip_prefix(Side::Input.prefix());
        let is_it = |known: &&BaselineEmbedding| {
            known.sample.width() == wanted.width && (known.name == wanted.name || Some(&*known.name) == plain)
        };
        self.embeddings.iter().find(is_it)
    }

    /// The position of a feature.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.features.iter().position(|feature| &*feature.name == name)
    }

    /// The position of a version's feature. Training data call an input `age` that a version calls `in.age`; both are the same.
    pub fn position_of(&self, feature: &Feature) -> Option<usize> {
        let plain = match feature.side {
            Side::Input => feature.name.strip_prefix(Side::Input.prefix()),
            Side::Output => None,
        };
        self.position(&feature.name).or_else(|| self.position(plain?))
    }

    /// The part of the baseline that is about `features` and `embeddings` of a version: columns of training data that are none are left out, and
    /// numbers that the version is sent as 32-bit floats are counted where the rows of the baseline were. Keeps the digest,
    /// since it says the same.
    pub fn for_version(&self, features: &[Feature], embeddings: &[Embedding]) -> Baseline {
        let mut baseline = self.clone();
        let known = embeddings.iter().filter_map(|embedding| self.embedding(embedding));
        baseline.embeddings = known.cloned().collect();
        for feature in features.iter().filter(|feature| feature.dtype == DataType::Fp32) {
            let Some(found) = self.position_of(feature).and_then(|at| baseline.features.get_mut(at)) else {
                continue;
            };
            if let Profile::Numeric(profile) = &found.profile
                && matches!(feature.derive, Derive::Element(_))
                && let Some(rounded) = profile.for_floats()
            {
                found.profile = Profile::Numeric(rounded);
            }
        }
        let watched: BTreeSet<usize> =
            features.iter().filter_map(|feature| self.position_of(feature)).collect();
        let mut at = 0..;
        baseline.features.retain(|_| at.next().is_some_and(|at| watched.contains(&at)));
        baseline
    }

    /// The weight of all its rows: their number where rows have no weight.
    pub fn rows(&self) -> f64 {
        self.rows
    }

    /// SHA-256 of the document, in hexadecimal digits.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// The document: JSON, the same bytes for the same baseline.
    pub fn to_bytes(&self) -> Vec<u8> {
        format::write_baseline(self)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`FormatError`] when it is none, is of a later version or breaks a limit. Memory is bounded by its length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Baseline, FormatError> {
        format::read_baseline(bytes)
    }

    /// Empty profiles to count current data in.
    pub fn current(&self, sampling: Sampling) -> Current {
        let profiles = self.features.iter().map(|feature| feature.profile.empty_like(sampling)).collect();
        let embeddings = self.embeddings.iter();
        let embeddings = embeddings
            .map(|known| PointSample::new(known.sample.width(), PANE_POINTS, sampling.seed))
            .collect();
        Current { profiles, embeddings, ..Current::default() }
    }
}

/// Current data: a profile for each feature of the baseline they were made against.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Current {
    /// In the order of the baseline's features.
    pub profiles: Vec<Profile>,
    /// In the order of the baseline's embeddings.
    pub embeddings: Vec<PointSample>,
    /// The weight of all rows.
    pub rows: f64,
    /// Rows of requests that failed; they are in no profile.
    pub failed: u64,
    /// Of these, rows of requests that did not fit the model.
    pub invalid: u64,
}

impl Current {
    /// Adds a value of the feature at `position`. Rows are counted by the caller, in [`Current::rows`].
    pub fn push(&mut self, position: usize, value: Value<'_>, weight: f64) {
        if let Some(profile) = self.profiles.get_mut(position) {
            profile.push(value, weight);
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Current) -> Result<(), ProfileError> {
        if self.profiles.len() != other.profiles.len() || self.embeddings.len() != other.embeddings.len() {
            return Err(ProfileError::Unlike);
        }
        for (mine, other) in self.profiles.iter_mut().zip(&other.profiles) {
            mine.merge(other)?;
        }
        for (mine, other) in self.embeddings.iter_mut().zip(&other.embeddings) {
            mine.merge(other)?;
        }
        self.rows += other.rows;
        self.failed += other.failed;
        self.invalid += other.invalid;
        Ok(())
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let points: usize = self.embeddings.iter().map(PointSample::bytes).sum();
        self.profiles.iter().map(Profile::bytes).sum::<usize>() + points
    }

    /// Drops what only sketches and samples can tell, to save memory.
    pub fn thin(&mut self) {
        self.profiles.iter_mut().for_each(Profile::thin);
        self.embeddings.iter_mut().for_each(PointSample::thin);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.rows == 0.0 && self.failed == 0
    }
}

/// Hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
