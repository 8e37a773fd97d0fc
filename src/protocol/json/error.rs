//! What can be wrong with the body of a REST inference request. Every message names the tensor and what was expected,
//! and gives the byte where it went wrong.

use std::fmt;

use crate::error::{Code, Coded};
use crate::protocol::parameters::ParameterError;
use crate::tensor::{DataType, Shape, ShapeError, TensorError};

/// Why a body is not an inference request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON, or JSON of another kind than the protocol has there.
    #[error("JSON byte {offset}: expected {expected}, found {found}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What the protocol has there.
        expected: &'static str,
        /// What is there.
        found: Found,
    },
    /// A string that does not say what its escapes promise.
    #[error("JSON byte {offset}: {reason}")]
    Text {
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The JSON is not UTF-8.
    #[error("JSON byte {offset}: not UTF-8")]
    Utf8 {
        /// Where.
        offset: usize,
    },
    /// Too deep.
    #[error("JSON byte {offset}: nested deeper than {max}")]
    Depth {
        /// Where.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// Too many of something.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A key that must be there is not.
    #[error("{place} has no '{key}'")]
    Missing {
        /// The tensor, or the request.
        place: String,
        /// The key.
        key: &'static str,
    },
    /// A key is there twice.
    #[error("JSON byte {offset}: '{key}' is given twice")]
    Duplicate {
        /// Where the second one is.
        offset: usize,
        /// The key, shortened.
        key: String,
    },
    /// Not a datatype of the protocol.
    #[error(
        "{tensor}: '{found}' is not a datatype; expected BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES"
    )]
    DataType {
        /// The tensor.
        tensor: String,
        /// What it states, shortened.
        found: String,
    },
    /// Dimensions that are no shape.
    #[error("{tensor}: shape: {source}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Why not.
        source: ShapeError,
    },
    /// More rows than allowed.
    #[error("{tensor}: {rows} rows; at most {max} are allowed")]
    Rows {
        /// The tensor.
        tensor: String,
        /// Its rows.
        rows: usize,
        /// The limit.
        max: usize,
    },
    /// An element that is not of the tensor's datatype.
    #[error("{tensor}: element {element} (JSON byte {offset}): {value} is not {}: {reason}", with_article(*dtype))]
    Element {
        /// The tensor.
        tensor: String,
        /// Its datatype.
        dtype: DataType,
        /// Which element, in row-major order.
        element: usize,
        /// Where.
        offset: usize,
        /// What is there, shortened.
        value: String,
        /// Why it is not one.
        reason: &'static str,
    },
    /// Too many or too few elements.
    #[error("{tensor}: shape {shape} takes {expected} elements, data has {}{actual}", if *at_least { "at least " } else { "" })]
    Count {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// Elements that the shape takes.
        expected: usize,
        /// Elements that were counted.
        actual: usize,
        /// Whether counting stopped early.
        at_least: bool,
    },
    /// Nested data whose brackets do not follow the shape.
    #[error(
        "{tensor}: JSON byte {offset}: nested data must follow shape {shape}: expected {expected} values in dimension {dimension}"
    )]
    Nesting {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// Where.
        offset: usize,
        /// The dimension whose values are wrong.
        dimension: usize,
        /// How many the shape has there.
        expected: usize,
    },
    /// A parameter that makes no sense or cannot be met.
    #[error("{place}: {source}")]
    Parameter {
        /// The tensor, or the request.
        place: String,
        /// Why.
        source: ParameterError,
    },
    /// A tensor's data are given twice, or not at all.
    #[error("{tensor}: {reason}")]
    Data {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// `Inference-Header-Content-Length` does not fit the body.
    #[error("the header Inference-Header-Content-Length says {stated}, the body has {actual} bytes")]
    HeaderLength {
        /// What it says, shortened.
        stated: String,
        /// The body's length.
        actual: usize,
    },
    /// Binary data end before the tensor does.
    #[error("{tensor}: binary_data_size is {expected}, only {actual} bytes are left in the body")]
    BinaryTruncated {
        /// The tensor.
        tensor: String,
        /// What it claims.
        expected: usize,
        /// What is left.
        actual: usize,
    },
    /// Binary data that belong to no tensor.
    #[error("{bytes} bytes of binary data follow the last tensor")]
    BinaryLeft {
        /// How many.
        bytes: usize,
    },
    /// A raw request to a model that does not take exactly one input of a fixed row.
    #[error("a raw binary request needs a model with {reason}")]
    Raw {
        /// What is missing.
        reason: &'static str,
    },
    /// Data that do not fill the shape.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Coded for DecodeError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

/// The byte that was found, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found(pub Option<u8>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("the end"),
            Some(byte) if byte.is_ascii_graphic() => write!(f, "'{}'", char::from(byte)),
            Some(byte) => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

/// What an input is called in messages: its name when it is known, its position when not.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Label<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) index: usize,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "input '{}'", shorten(name)),
            None => write!(f, "input {}", self.index),
        }
    }
}

/// At most the first 48 bytes of client text, cut at a character, with control characters escaped.
pub(in crate::protocol) fn shorten(text: &str) -> String {
    const LEN_MAX: usize = 48;
    let cut = text.floor_char_boundary(LEN_MAX);
    let mut short = String::with_capacity(LEN_MAX + 4);
    for character in text.get(..cut).unwrap_or_default().chars() {
        match character.is_control() {
            true => short.extend(character.escape_default()),
            false => short.push(character),
        }
    }
    if cut < text.len() {
        short.push('…');
    }
    short
}

fn with_article(dtype: DataType) -> String {
    let an = matches!(dtype.as_str().bytes().next(), Some(b'I' | b'F'));
    format!("{} {dtype}", if an { "an" } else { "a" })
}
