//! Takes the rows of an observation's embeddings as points, as many as a sample draws.

use super::values::{each, tensor_of};
use crate::drift::profile::PointSample;
use crate::infer::Observation;
use crate::model::embeddings::Embedding;

/// Offers every row of every embedding to its sample.
pub(super) fn read(
    embeddings: &[Embedding],
    is_batched: bool,
    observation: &Observation,
    samples: &mut [PointSample],
) {
    let rows = if is_batched { observation.rows } else { 1 };
    for (embedding, sample) in embeddings.iter().zip(samples) {
        let Some(tensor) = tensor_of(observation, embedding.side, embedding.tensor) else { continue };
        let bytes = tensor.data().len().checked_div(rows).unwrap_or(0);
        if bytes == 0 {
            continue;
        }
        for row in tensor.data().chunks_exact(bytes) {
            sample.push(1.0, || {
                let mut point = Vec::with_capacity(embedding.width);
                each(tensor.dtype(), row, 0, 1, &mut |number| point.push(number));
                point.into_iter()
            });
        }
    }
}
