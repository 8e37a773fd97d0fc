//! Documents: baselines and panes as JSON, sketches in it as base64 of their DataSketches bytes.
//!
//! `weir-profile`, version 1. Fields are written in a fixed order and maps are sorted, so equal values make equal bytes.
//! Reading trusts nothing: lengths are bounded before anything is made of them, and memory by the document's length.

mod points;
mod wire;

use serde::Deserialize;

use self::points::{EMBEDDINGS_MAX, EmbeddingDocument, decode_points, encode_points};
use self::wire::{FeatureDocument, decode_feature, encode_feature};
use super::baseline::{Baseline, BaselineEmbedding, BaselineFeature, Current, FEATURES_MAX};
use super::profile::{PointSample, ProfileError};

/// What the documents call themselves.
const FORMAT: &str = "weir-profile";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Longest document that is read.
const BYTES_MAX: usize = 1 << 30;

/// Why bytes are not a document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not JSON of this shape.
    #[error("not a weir-profile document: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another format or of a later version.
    #[error("expected {FORMAT} version {VERSION}, found {0}")]
    Version(String),
    /// A limit is broken or fields contradict each other.
    #[error("{feature}: {reason}")]
    Feature {
        /// Which feature.
        feature: String,
        /// What is wrong.
        reason: ProfileError,
    },
    /// More than the limits allow.
    #[error("the document has too many {0}")]
    TooMany(&'static str),
}

#[derive(Debug, Default, serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    rows: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    failed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    invalid: u64,
    features: Vec<FeatureDocument>,
    /// Absent where there is none, as in documents of servers that know of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    embeddings: Vec<EmbeddingDocument>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The document of a baseline.
pub(super) fn write_baseline(baseline: &Baseline) -> Vec<u8> {
    let features = baseline.features().iter();
    let embeddings = baseline.embeddings().iter();
    write(Document {
        rows: baseline.rows(),
        features: features.map(|feature| encode_feature(&feature.name, &feature.profile)).collect(),
        embeddings: embeddings.map(|known| encode_points(&known.name, &known.sample)).collect(),
        ..Document::default()
    })
}

/// A baseline.
pub(super) fn read_baseline(bytes: &[u8]) -> Result<Baseline, FormatError> {
    let document = read(bytes)?;
    let features = document.features.into_iter().map(|feature| {
        let name = feature.name.clone();
        let profile = decode_feature(feature, None)
            .map_err(|reason| FormatError::Feature { feature: name.clone(), reason })?;
        Ok(BaselineFeature { name: name.into(), profile })
    });
    let features = features.collect::<Result<Vec<_>, FormatError>>()?;
    let embeddings = document.embeddings.into_iter().map(|embedding| {
        let (name, sample) = decode_embedding(embedding)?;
        Ok(BaselineEmbedding { name: name.into(), sample })
    });
    let embeddings = embeddings.collect::<Result<Vec<_>, FormatError>>()?;
    Ok(Baseline::new(features, document.rows).with_embeddings(embeddings))
}

fn decode_embedding(document: EmbeddingDocument) -> Result<(String, PointSample), FormatError> {
    let name = document.name.clone();
    let sample = decode_points(document);
    let sample = sample.map_err(|reason| FormatError::Feature { feature: name.clone(), reason })?;
    Ok((name, sample))
}

/// The document of current data against `baseline`. Bins and category names are the baseline's and are not repeated.
pub(super) fn write_current(baseline: &Baseline, current: &Current) -> Vec<u8> {
    let pairs = baseline.features().iter().zip(&current.profiles);
    let features = pairs.map(|(feature, profile)| encode_feature(&feature.name, profile).without_places());
    let pairs = baseline.embeddings().iter().zip(&current.embeddings);
    let Current { rows, failed, invalid, .. } = *current;
    write(Document {
        rows,
        failed,
        invalid,
        features: features.collect(),
        embeddings: pairs.map(|(known, sample)| encode_points(&known.name, sample)).collect(),
        ..Document::default()
    })
}

/// Current data against `baseline`, over whose bins and categories they count.
pub(super) fn read_current(baseline: &Baseline, bytes: &[u8]) -> Result<Current, FormatError> {
    let (document, features) = (read(bytes)?, baseline.features());
    if document.features.len() != features.len() {
        return Err(FormatError::TooMany("or too few features for the baseline"));
    }
    let mut profiles = Vec::with_capacity(features.len());
    for (found, expected) in document.features.into_iter().zip(features) {
        let name = found.name.clone();
        let wrong = |reason| FormatError::Feature { feature: name.clone(), reason };
        if *expected.name != *found.name {
            return Err(wrong(ProfileError::Unlike));
        }
        profiles.push(decode_feature(found, Some(&expected.profile)).map_err(wrong)?);
    }
    // Which tensors are tapped is a setting that may have changed since: of a new one nothing was sampled.
    let nothing = |known: &BaselineEmbedding| PointSample::new(known.sample.width(), 0, 0);
    let mut embeddings: Vec<PointSample> = baseline.embeddings().iter().map(nothing).collect();
    for found in document.embeddings {
        let (name, sample) = decode_embedding(found)?;
        let is_it =
            |known: &BaselineEmbedding| *known.name == *name && known.sample.width() == sample.width();
        if let Some(at) = baseline.embeddings().iter().position(is_it) {
            embeddings[at] = sample;
        }
    }
    let Document { rows, failed, invalid, .. } = document;
    Ok(Current { profiles, embeddings, rows, failed, invalid })
}

fn write(document: Document) -> Vec<u8> {
    let document = Document { format: FORMAT.to_owned(), version: VERSION, ..document };
    // Cannot fail: every map has text for keys, and infinities are written as null.
    serde_json::to_vec(&document).unwrap_or_default()
}

fn read(bytes: &[u8]) -> Result<Document, FormatError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        format: String,
        #[serde(default)]
        version: u32,
    }
    if bytes.len() > BYTES_MAX {
        return Err(FormatError::TooMany("bytes"));
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.format != FORMAT || head.version != VERSION {
        let format: String = head.format.chars().take(40).collect();
        return Err(FormatError::Version(format!("\"{format}\" version {}", head.version)));
    }
    let document: Document = serde_json::from_slice(bytes)?;
    if document.features.len() > FEATURES_MAX {
        return Err(FormatError::TooMany("features"));
    }
    if document.embeddings.len() > EMBEDDINGS_MAX {
        return Err(FormatError::TooMany("embeddings"));
    }
    if !(document.rows >= 0.0 && document.rows.is_finite()) {
        return Err(FormatError::TooMany("rows"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
