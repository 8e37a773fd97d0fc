//! Why a gRPC message is not a request.

use super::wire::WireError;
use crate::error::{Code, Coded};
use crate::tensor::{DataType, Name, ShapeError, TensorError};

/// A request that was refused, with what is needed to answer it in a stream.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The request's id, when it could be read.
    pub id: Name,
    /// Why it was refused.
    pub error: Box<DecodeError>,
}

/// Why a message is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not the message.
    #[error("the request is not a valid ModelInferRequest: {0}")]
    Wire(#[from] WireError),
    /// A string is not UTF-8.
    #[error("the request is not a valid ModelInferRequest: {field} is not UTF-8")]
    Utf8 {
        /// Which string.
        field: &'static str,
    },
    /// A list is longer than the server allows.
    #[error("too many {what}: at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// No such datatype.
    #[error("input '{input}' has the unknown datatype '{datatype}'")]
    UnknownDataType {
        /// The input.
        input: Name,
        /// What the client wrote, shortened.
        datatype: String,
    },
    /// The dimensions are not a shape.
    #[error("input '{input}': {source}")]
    Shape {
        /// The input.
        input: Name,
        /// What is wrong with them.
        source: ShapeError,
    },
    /// The first dimension is larger than the server allows.
    #[error("input '{input}' has {rows} rows; at most {max} are allowed")]
    Rows {
        /// The input.
        input: Name,
        /// Its first dimension.
        rows: usize,
        /// The limit.
        max: usize,
    },
    /// Bytes that do not fill the shape.
    #[error(transparent)]
    Tensor(Box<TensorError>),
    /// Both ways of sending data in one request.
    #[error(
        "input '{input}' has contents although raw_input_contents is used; a request uses one or the other"
    )]
    Mixed {
        /// The input.
        input: Name,
    },
    /// `raw_input_contents` must cover all inputs.
    #[error(
        "raw_input_contents has {actual} entries for {expected} inputs; it must have one for each, in their order"
    )]
    RawCount {
        /// Inputs in the request.
        expected: usize,
        /// Entries.
        actual: usize,
    },
    /// FP16 and BF16 have no typed form.
    #[error("input '{input}' is {dtype}, which has no typed contents; send it in raw_input_contents")]
    OnlyRaw {
        /// The input.
        input: Name,
        /// Its datatype.
        dtype: DataType,
    },
    /// Values in a list of another datatype.
    #[error("input '{input}' is {dtype}, whose values belong in {expected}, not in {actual}")]
    WrongContents {
        /// The input.
        input: Name,
        /// Its datatype.
        dtype: DataType,
        /// The list for its datatype.
        expected: &'static str,
        /// A list that was used.
        actual: &'static str,
    },
    /// Too many or too few values.
    #[error("input '{input}': shape {shape} takes {expected} values, got {actual}")]
    ValueCount {
        /// The input.
        input: Name,
        /// Its shape as text.
        shape: String,
        /// Values that the shape takes.
        expected: usize,
        /// How many came, as text (`more` when reading stopped early).
        actual: String,
    },
    /// A value that the datatype cannot hold.
    #[error("input '{input}': value {value} at index {index} does not fit {dtype}")]
    ValueRange {
        /// The input.
        input: Name,
        /// Position of the value.
        index: usize,
        /// The value.
        value: i64,
        /// The datatype.
        dtype: DataType,
    },
    /// A parameter with the wrong type or value.
    #[error("parameter '{name}' {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Sequence batching does not exist here.
    #[error("parameter '{name}' is not supported: models are served without sequence state")]
    Sequence {
        /// The parameter.
        name: &'static str,
    },
    /// Shared memory does not exist here.
    #[error("tensor '{tensor}' is in shared memory, which is not supported")]
    SharedMemory {
        /// The tensor.
        tensor: Name,
    },
}

impl From<TensorError> for DecodeError {
    fn from(error: TensorError) -> DecodeError {
        DecodeError::Tensor(Box::new(error))
    }
}

impl DecodeError {
    /// Whether the bytes are not even the message, so that what follows in a stream cannot be trusted.
    pub fn is_malformed(&self) -> bool {
        matches!(self, DecodeError::Wire(_) | DecodeError::Utf8 { .. })
    }
}

impl Coded for DecodeError {
    fn code(&self) -> Code {
        match self {
            DecodeError::Sequence { .. } | DecodeError::SharedMemory { .. } => Code::Unimplemented,
            _ => Code::InvalidArgument,
        }
    }
}
