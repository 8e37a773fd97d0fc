//! What a model takes and gives, as its ONNX file states it.

use std::fmt;
use std::sync::Arc;

use crate::tensor::DataType;

/// One dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Any size; named when the model names it. Equal names mean equal sizes.
    Dynamic(Option<Arc<str>>),
}

impl Dim {
    /// The size, or -1 when it is dynamic, as the protocol writes it.
    pub fn to_wire(&self) -> i64 {
        match self {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Dynamic(_) => -1,
        }
    }

    /// Whether any size is allowed.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Dim::Dynamic(_))
    }
}

/// Name, datatype and shape of one input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the model's graph.
    pub name: Arc<str>,
    /// The element type.
    pub dtype: DataType,
    /// All dimensions, the batch axis included. `None` when the model does not state a rank.
    pub shape: Option<Vec<Dim>>,
    /// Whether a request may leave the input out (it has a default in the model).
    pub optional: bool,
}

impl TensorSpec {
    /// The shape for the wire: -1 for a dynamic dimension; `[-1]` when the rank is unknown.
    pub fn wire_shape(&self) -> Vec<i64> {
        match &self.shape {
            Some(dims) => dims.iter().map(Dim::to_wire).collect(),
            None => vec![-1],
        }
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{:?}", self.name, self.dtype, self.wire_shape())
    }
}

/// Inputs and outputs of a model, in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// The position and specification of the input called `name`.
    pub fn input(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.inputs.iter().enumerate().find(|(_, spec)| &*spec.name == name)
    }

    /// The position and specification of the output called `name`.
    pub fn output(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.outputs.iter().enumerate().find(|(_, spec)| &*spec.name == name)
    }

    /// Whether every input and output has a leading dynamic axis, so that axis 0 may be the batch. Whether it *is*
    /// one has to be proved by running rows together and apart.
    pub fn has_batch_candidate(&self) -> bool {
        let leading_dynamic = |spec: &TensorSpec| {
            spec.shape.as_ref().is_some_and(|dims| dims.first().is_some_and(Dim::is_dynamic))
        };
        !self.inputs.is_empty()
            && !self.outputs.is_empty()
            && self.inputs.iter().all(leading_dynamic)
            && self.outputs.iter().all(leading_dynamic)
    }

    /// Whether rows of every input have a fixed shape, so that there is only one shape lane.
    pub fn has_fixed_rows(&self) -> bool {
        self.inputs.iter().all(|spec| {
            spec.shape.as_ref().is_some_and(|dims| dims.iter().skip(1).all(|dim| !dim.is_dynamic()))
        })
    }
}
