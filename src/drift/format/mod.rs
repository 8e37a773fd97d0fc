//! Documents: baselines and panes as JSON, sketches in it as base64 of their DataSketches bytes.
//!
//! `weir-profile`, version 1. Fields are written in a fixed order and maps are sorted, so equal values make equal bytes.
//! Reading trusts nothing: lengths are bounded before anything is made of them, and memory by the document's length.

mod wire;

use serde::Deserialize;

use self::wire::{FeatureDocument, decode_feature, encode_feature};
use super::baseline::{BaselineFeature, Current, FEATURES_MAX};
use super::profile::ProfileError;

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

#[derive(Debug, serde::Serialize, Deserialize)]
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
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The document of a baseline.
pub(super) fn write_baseline(features: &[BaselineFeature], rows: f64) -> Vec<u8> {
    write(features.iter().map(|feature| encode_feature(&feature.name, &feature.profile)), rows, 0, 0)
}

/// The features of a baseline and their rows.
pub(super) fn read_baseline(bytes: &[u8]) -> Result<(Vec<BaselineFeature>, f64), FormatError> {
    let document = read(bytes)?;
    let features = document.features.into_iter().map(|feature| {
        let name = feature.name.clone();
        let profile = decode_feature(feature, None)
            .map_err(|reason| FormatError::Feature { feature: name.clone(), reason })?;
        Ok(BaselineFeature { name: name.into(), profile })
    });
    let features = features.collect::<Result<Vec<_>, FormatError>>()?;
    Ok((features, document.rows))
}

/// The document of current data against `features`. Bins and category names are the baseline's and are not repeated.
pub(super) fn write_current(features: &[BaselineFeature], current: &Current) -> Vec<u8> {
    let pairs = features.iter().zip(&current.profiles);
    let documents = pairs.map(|(feature, profile)| encode_feature(&feature.name, profile).without_places());
    write(documents, current.rows, current.failed, current.invalid)
}

/// Current data against `features`, whose bins and categories they count over.
pub(super) fn read_current(features: &[BaselineFeature], bytes: &[u8]) -> Result<Current, FormatError> {
    let document = read(bytes)?;
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
    Ok(Current { profiles, rows: document.rows, failed: document.failed, invalid: document.invalid })
}

fn write(features: impl Iterator<Item = FeatureDocument>, rows: f64, failed: u64, invalid: u64) -> Vec<u8> {
    let features = features.collect();
    let document = Document { format: FORMAT.to_owned(), version: VERSION, rows, failed, invalid, features };
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
    if !(document.rows >= 0.0 && document.rows.is_finite()) {
        return Err(FormatError::TooMany("rows"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
