//! Which jobs may share a batch: those whose rows have the same shape.
//!
//! A key holds, for every input, whether it is there and its dimensions after the first. A model whose rows have a
//! fixed shape has one lane, and nothing is computed for it.

use smallvec::SmallVec;

use crate::model::Signature;
use crate::tensor::Tensor;

/// Stands for an optional input that was left out; no dimension is as large.
const ABSENT: usize = usize::MAX;

/// The shape of a job's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LaneKey {
    hash: u64,
    words: SmallVec<[usize; 8]>,
}

impl LaneKey {
    /// The key of the only lane of a model whose rows have a fixed shape, or that is not batched.
    pub(super) fn only() -> LaneKey {
        LaneKey::default()
    }

    /// The key of `inputs`.
    pub(super) fn of(inputs: &[Option<Tensor>]) -> LaneKey {
        let mut words = SmallVec::new();
        for input in inputs {
            match input {
                None => words.push(ABSENT),
                Some(tensor) => {
                    words.push(tensor.shape().rank());
                    words.extend_from_slice(tensor.shape().row_dims());
                }
            }
        }
        // FNV over words: it only speeds up a comparison that is made in full.
        let hash = words.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &word| {
            (hash ^ word as u64).wrapping_mul(0x0100_0000_01b3)
        });
        LaneKey { hash, words }
    }

    /// A number that tells lanes apart nearly always.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// Whether all jobs of a model have the same key.
pub(super) fn has_one_lane(signature: &Signature) -> bool {
    signature.has_fixed_rows() && signature.inputs.iter().all(|input| !input.optional)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tensor::{DataType, Shape};

    fn tensor(dims: &[usize]) -> Option<Tensor> {
        let shape = Shape::new(dims).unwrap();
        let data = Bytes::from(vec![0; shape.element_count()]);
        Some(Tensor::new("x".into(), DataType::Int8, shape, data).unwrap())
    }

    fn check(a: &[Option<Tensor>], b: &[Option<Tensor>], same: bool) {
        assert_eq!(LaneKey::of(a) == LaneKey::of(b), same, "{a:?} {b:?}");
    }

    #[test]
    fn rows_of_one_shape_share_a_lane() {
        check(&[tensor(&[1, 3])], &[tensor(&[7, 3])], true);
        check(&[tensor(&[1, 3])], &[tensor(&[1, 4])], false);
        check(&[tensor(&[1, 3]), None], &[tensor(&[1, 3]), tensor(&[1])], false);
        check(&[tensor(&[1, 2]), tensor(&[1, 3, 4])], &[tensor(&[1, 2, 3]), tensor(&[1, 4])], false);
    }
}
