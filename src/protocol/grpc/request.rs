//! A `ModelInferRequest` frame to an [`InferRequest`]. Proves that the bytes make tensors, not that they fit a model.

use std::time::Instant;

use bytes::Bytes;

use super::contents::typed_data;
use super::error::{DecodeError, Rejected};
use super::message::{Input, Message};
use super::parameter;
use crate::infer::{InferRequest, RequestedOutput};
use crate::protocol::Limits;
use crate::tensor::{DataType, Name, Shape, Tensor};

/// The longest piece of a client's text that an error repeats.
const QUOTE_LEN_MAX: usize = 64;

/// Decodes one message. `now` is when a timeout begins. The request's tensors and names are slices of `frame`.
///
/// # Errors
/// [`Rejected`], with the request's id if it could be read; nothing is allocated by a claimed size.
pub fn decode_request(frame: &Bytes, limits: &Limits, now: Instant) -> Result<InferRequest, Rejected> {
    let reject = |id: &Name, error| Rejected { id: id.clone(), error: Box::new(error) };
    let message = Message::parse(frame, limits).map_err(|error| reject(&Name::default(), error))?;
    let id = name_of(frame, message.id, "id").map_err(|error| reject(&Name::default(), error))?;
    convert(frame, &message, &id, limits, now).map_err(|error| reject(&id, error))
}

fn convert(
    frame: &Bytes,
    message: &Message<'_>,
    id: &Name,
    limits: &Limits,
    now: Instant,
) -> Result<InferRequest, DecodeError> {
    let parameters = parameter::of_request(&message.parameters)?;
    let deadline = parameters.timeout.and_then(|timeout| now.checked_add(timeout.min(limits.deadline_max)));
    if !message.raw.is_empty() && message.raw.len() != message.inputs.len() {
        return Err(DecodeError::RawCount { expected: message.inputs.len(), actual: message.raw.len() });
    }
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for (index, input) in message.inputs.iter().enumerate() {
        inputs.push(tensor_of(frame, input, message.raw.get(index).copied(), limits)?);
    }
    Ok(InferRequest {
        model: name_of(frame, message.model, "model_name")?,
        version: name_of(frame, message.version, "model_version")?,
        id: id.clone(),
        inputs,
        outputs: outputs_of(frame, message)?,
        priority: parameters.priority,
        deadline,
        ..InferRequest::default()
    })
}

fn outputs_of(frame: &Bytes, message: &Message<'_>) -> Result<Vec<RequestedOutput>, DecodeError> {
    let mut outputs = Vec::with_capacity(message.outputs.len());
    for output in &message.outputs {
        let name = name_of(frame, output.name, "an output's name")?;
        if parameter::names_shared_memory(&output.parameters)? {
            return Err(DecodeError::SharedMemory { tensor: name });
        }
        outputs
            .push(RequestedOutput { name, classification: parameter::classification(&output.parameters)? });
    }
    Ok(outputs)
}

fn tensor_of(
    frame: &Bytes,
    input: &Input<'_>,
    raw: Option<&[u8]>,
    limits: &Limits,
) -> Result<Tensor, DecodeError> {
    let name = name_of(frame, input.name, "an input's name")?;
    if parameter::names_shared_memory(&input.parameters)? {
        return Err(DecodeError::SharedMemory { tensor: name });
    }
    let dtype = std::str::from_utf8(input.datatype).ok().and_then(DataType::from_wire_name);
    let Some(dtype) = dtype else {
        return Err(DecodeError::UnknownDataType { input: name, datatype: quote(input.datatype) });
    };
    let shape = match Shape::from_wire(&input.shape) {
        Ok(shape) => shape,
        Err(source) => return Err(DecodeError::Shape { input: name, source }),
    };
    if let Some(rows) = shape.rows().filter(|&rows| rows > limits.rows_max) {
        return Err(DecodeError::Rows { input: name, rows, max: limits.rows_max });
    }
    let data = match raw {
        Some(_) if input.contents.iter().any(|part| !part.is_empty()) => {
            return Err(DecodeError::Mixed { input: name });
        }
        Some(raw) => frame.slice_ref(raw),
        None => typed_data(frame, input, &name, dtype, &shape)?,
    };
    Ok(Tensor::new(name, dtype, shape, data)?)
}

/// The string as a slice of `frame`.
fn name_of(frame: &Bytes, bytes: &[u8], field: &'static str) -> Result<Name, DecodeError> {
    if bytes.is_empty() {
        return Ok(Name::default());
    }
    Name::from_utf8(frame.slice_ref(bytes)).ok_or(DecodeError::Utf8 { field })
}

/// A client's text, cut and without control characters.
fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..QUOTE_LEN_MAX).unwrap_or(bytes));
    text.escape_debug().collect()
}
