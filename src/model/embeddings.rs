//! Embeddings of a model: tensors whose rows are watched as points, because their elements mean nothing one by one.

use std::sync::Arc;

use super::Signature;
use super::features::{Side, row_elements};
use crate::tensor::DataType;

/// Most elements of a row that is a point.
pub const COORDINATES_MAX: usize = 4_096;

/// A tensor whose rows are points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// `in.` or `out.`, then the tensor's name.
    pub name: Arc<str>,
    /// Whether it is an input or an output.
    pub side: Side,
    /// Its position in the signature.
    pub tensor: usize,
    /// Coordinates of a point.
    pub width: usize,
}

/// The embeddings among the tensors called `names`, and the names of which there is none: of a tensor of numbers whose rows
/// have the same 2 to 4,096 elements each. A name that an input and an output share is both.
pub fn embeddings(
    signature: &Signature,
    is_batched: bool,
    names: &[String],
) -> (Vec<Embedding>, Vec<String>) {
    let mut found = Vec::new();
    for (side, specs) in [(Side::Input, &signature.inputs), (Side::Output, &signature.outputs)] {
        for (tensor, spec) in specs.iter().enumerate() {
            let width = row_elements(spec, is_batched).filter(|count| (2..=COORDINATES_MAX).contains(count));
            if let Some(width) = width.filter(|_| spec.dtype != DataType::Bytes)
                && names.iter().any(|name| **name == *spec.name)
            {
                let name = format!("{}{}", side.prefix(), spec.name).into();
                found.push(Embedding { name, side, tensor, width });
            }
        }
    }
    let is_missing = |name: &&String| {
        !found.iter().any(|known| known.name.strip_prefix(known.side.prefix()) == Some(name.as_str()))
    };
    let missing = names.iter().filter(is_missing).cloned().collect();
    (found, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, TensorSpec};

    #[test]
    fn only_rows_of_one_width_are_points() {
        let spec = |name: &str, dtype, dims: &[Option<usize>]| TensorSpec {
            name: name.into(),
            dtype,
            shape: Some(dims.iter().map(|dim| dim.map_or(Dim::Dynamic(None), Dim::Fixed)).collect()),
            optional: false,
        };
        let signature = Signature {
            inputs: vec![spec("image", DataType::Uint8, &[None, Some(8), Some(8)])],
            outputs: vec![
                spec("pooled", DataType::Fp32, &[None, Some(384)]),
                spec("tokens", DataType::Fp32, &[None, None, Some(384)]),
                spec("label", DataType::Int64, &[None, Some(1)]),
                spec("text", DataType::Bytes, &[None, Some(4)]),
            ],
        };
        let names = ["image", "pooled", "tokens", "label", "text", "nothing"].map(str::to_owned);
        let (found, missing) = embeddings(&signature, true, &names);
        let found: Vec<_> = found.iter().map(|known| (&*known.name, known.tensor, known.width)).collect();
        assert_eq!(found, [("in.image", 0, 64), ("out.pooled", 0, 384)]);
        assert_eq!(missing, ["tokens", "label", "text", "nothing"]);
    }
}
