//! The shape of an embedding's sample in a document: keys as numbers, points as base64 of little-endian 32-bit floats.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::drift::profile::{COORDINATES_MAX, Point, PointSample, ProfileError, Reservoir};

/// Most embeddings of a document.
pub(super) const EMBEDDINGS_MAX: usize = 64;
/// Largest sample that is read.
const POINTS_MAX: usize = 4_096;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingDocument {
    pub(super) name: String,
    width: usize,
    capacity: usize,
    rows: u64,
    keys: Vec<f64>,
    points: String,
}

pub(super) fn encode_points(name: &str, sample: &PointSample) -> EmbeddingDocument {
    let reservoir = sample.reservoir();
    let (keys, points): (Vec<f64>, Vec<Point>) = reservoir.items().into_iter().unzip();
    let bytes: Vec<u8> = points.iter().flat_map(|point| point.iter()).flat_map(|x| x.to_le_bytes()).collect();
    EmbeddingDocument {
        name: name.to_owned(),
        width: sample.width(),
        capacity: reservoir.capacity(),
        rows: reservoir.rows(),
        keys,
        points: STANDARD.encode(bytes),
    }
}

pub(super) fn decode_points(document: EmbeddingDocument) -> Result<PointSample, ProfileError> {
    let EmbeddingDocument { width, capacity, rows, keys, points, .. } = document;
    let wrong = || ProfileError::Sketch("the points do not fit their number".to_owned());
    if width == 0 || width > COORDINATES_MAX || capacity > POINTS_MAX || keys.len() > capacity {
        return Err(wrong());
    }
    let bytes = STANDARD.decode(points).map_err(|error| ProfileError::Sketch(error.to_string()))?;
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if bytes.len() != keys.len() * width * size_of::<f32>() || keys.iter().any(|key| key.is_nan()) {
        return Err(wrong());
    }
    let points = numbers.chunks_exact(width).map(Arc::from);
    let reservoir = Reservoir::restored(capacity, 0, rows, keys.into_iter().zip(points).collect());
    PointSample::restored(width, reservoir).ok_or_else(wrong)
}
