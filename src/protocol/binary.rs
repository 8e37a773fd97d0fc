//! The binary tensor data extension: JSON, then raw tensors in the order of their appearance, in one body.
//!
//! Tensors are slices of the body and outputs are handed to the socket as they are; only small ones are copied, so
//! that an answer is one piece.

use bytes::Bytes;

use super::json::{self, DecodeError, EncodeError, Label, shorten};
use super::limits::Limits;
use super::rest::{InferBody, OutputForms};
use crate::infer::InferResponse;
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::{Name, Shape, StringsIter, Tensor};

/// The header that says how many bytes of a body are JSON.
pub const HEADER_LENGTH: &str = "inference-header-content-length";
/// Outputs up to this size are copied behind the JSON.
const COPIED_LEN_MAX: usize = 16 << 10;

/// What follows the JSON of a body.
#[derive(Debug)]
pub(super) struct BinaryTail {
    bytes: Bytes,
}

impl BinaryTail {
    /// The next `size` bytes, which belong to the tensor called `label`.
    pub(super) fn take(&mut self, label: Label<'_>, size: usize) -> Result<Bytes, DecodeError> {
        if size > self.bytes.len() {
            let actual = self.bytes.len();
            return Err(DecodeError::BinaryTruncated { tensor: label.to_string(), expected: size, actual });
        }
        Ok(self.bytes.split_to(size))
    }

    /// Nothing must be left.
    fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::BinaryLeft { bytes }),
        }
    }
}

/// How many bytes of a body of `body_len` are JSON, by the value of [`HEADER_LENGTH`].
///
/// # Errors
/// [`DecodeError::HeaderLength`] when it is no number or larger than the body.
pub fn json_len(header: Option<&[u8]>, body_len: usize) -> Result<usize, DecodeError> {
    let Some(header) = header else { return Ok(body_len) };
    let text = std::str::from_utf8(header).unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(len) if digits && len <= body_len => Ok(len),
        _ => Err(DecodeError::HeaderLength {
            stated: shorten(&String::from_utf8_lossy(header)),
            actual: body_len,
        }),
    }
}

/// Decodes a body whose first `json_len` bytes are JSON.
///
/// # Errors
/// [`DecodeError`], which names the tensor and what was expected.
pub fn decode_infer(body: &Bytes, json_len: usize, limits: &Limits) -> Result<InferBody, DecodeError> {
    let (head, tail) = match (body.get(..json_len), body.len().checked_sub(json_len)) {
        (Some(head), Some(1..)) => (head, body.slice(json_len..)),
        (Some(head), _) => (head, Bytes::new()),
        (None, _) => {
            return Err(DecodeError::HeaderLength { stated: json_len.to_string(), actual: body.len() });
        }
    };
    let mut tail = BinaryTail { bytes: tail };
    let decoded = json::decode_request(head, &mut tail, limits)?;
    tail.finish()?;
    Ok(decoded)
}

/// Decodes a raw request: the whole body is the single input of the model, as one row, and every output is sent in
/// binary form. `batched` says whether the model's first axis is its batch.
///
/// # Errors
/// [`DecodeError::Raw`] when the model does not have exactly one input whose shape the body's length tells.
pub fn decode_raw(body: Bytes, signature: &Signature, batched: bool) -> Result<InferBody, DecodeError> {
    let [spec] = &*signature.inputs else {
        return Err(DecodeError::Raw { reason: "exactly one input" });
    };
    let shape = raw_shape(&body, spec, batched)?;
    let tensor = Tensor::new(Name::from(std::sync::Arc::clone(&spec.name)), spec.dtype, shape, body)?;
    Ok(InferBody { inputs: vec![tensor], forms: OutputForms::all_binary(), ..InferBody::default() })
}

/// The shape of `spec` with its batch dimension set to 1 and its one other dynamic dimension, if there is one, set to
/// what the body holds.
fn raw_shape(body: &[u8], spec: &TensorSpec, batched: bool) -> Result<Shape, DecodeError> {
    let dims = spec.shape.as_ref().ok_or(DecodeError::Raw { reason: "an input of known rank" })?;
    let mut sizes = Vec::new();
    let mut open = None;
    for (axis, dim) in dims.iter().enumerate() {
        match dim {
            Dim::Fixed(size) => sizes.push(*size),
            Dim::Dynamic(_) if batched && axis == 0 => sizes.push(1),
            Dim::Dynamic(_) if open.is_none() => {
                open = Some(axis);
                sizes.push(1);
            }
            Dim::Dynamic(_) => return Err(DecodeError::Raw { reason: "at most one dynamic dimension" }),
        }
    }
    let shaped = |sizes: &[usize]| {
        let tensor = || format!("input '{}'", spec.name);
        Shape::new(sizes).map_err(|source| DecodeError::Shape { tensor: tensor(), source })
    };
    let shape = shaped(&sizes)?;
    let Some(axis) = open else { return Ok(shape) };
    let elements = match spec.dtype.element_size() {
        Some(size) => body.len() / size,
        None => StringsIter::new(body).count(),
    };
    if let Some(size) = sizes.get_mut(axis) {
        *size = elements.checked_div(shape.element_count()).unwrap_or_default();
    }
    shaped(&sizes)
}

/// An answer's body: the first part begins with the JSON, the parts follow each other on the wire.
#[derive(Debug)]
pub struct EncodedInfer {
    /// Bytes of JSON when binary data follow them; the value of [`HEADER_LENGTH`].
    pub json_len: Option<usize>,
    /// JSON, then small outputs.
    pub first: Bytes,
    /// Outputs from the first large one on.
    pub rest: Vec<Bytes>,
}

/// Encodes an answer; which outputs are sent in binary form is the request's choice.
///
/// # Errors
/// [`EncodeError`] when an output cannot be written as JSON.
pub fn encode_infer(response: &InferResponse, forms: &OutputForms) -> Result<EncodedInfer, EncodeError> {
    let mut first = Vec::new();
    json::encode_response(response, forms, &mut first)?;
    let binary = |&(index, _): &(usize, &Tensor)| forms.is_binary(index);
    let json_len = (0..response.outputs.len()).any(|index| forms.is_binary(index)).then_some(first.len());
    let mut rest = Vec::new();
    for (_, tensor) in response.outputs.iter().enumerate().filter(binary) {
        if rest.is_empty() && tensor.data().len() <= COPIED_LEN_MAX {
            first.extend_from_slice(tensor.data());
        } else {
            rest.push(tensor.data().clone());
        }
    }
    Ok(EncodedInfer { json_len, first: Bytes::from(first), rest })
}
