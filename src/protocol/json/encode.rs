//! An answer as JSON, straight into one buffer: integers exactly, floats in the shortest text that reads back as the
//! same bits.
//!
//! `NaN`, `Infinity` and `-Infinity` are written as strings: JSON has no numbers for them, and `null` would lose which
//! one it was. numpy and Python's `float` read the strings back. BYTES elements must be UTF-8, because JSON has
//! nothing else; others need the binary form.

use half::{bf16, f16};

use crate::error::{Code, Coded};
use crate::infer::InferResponse;
use crate::protocol::rest::OutputForms;
use crate::tensor::{DataType, StringsIter, Tensor};

/// Text of an element, comma included, that most elements stay below.
const ELEMENT_TEXT_LEN: usize = 12;

/// Why an answer cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// JSON strings are UTF-8.
    #[error("output '{output}': element {element} is not UTF-8; ask for it with the parameter 'binary_data'")]
    NotUtf8 {
        /// Which output.
        output: String,
        /// Which element.
        element: usize,
    },
}

impl Coded for EncodeError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

/// Appends the JSON of `response` to `out`. Outputs in binary form get their size instead of their data.
pub(in crate::protocol) fn encode_response(
    response: &InferResponse,
    forms: &OutputForms,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    out.reserve(estimate(response, forms));
    out.extend_from_slice(b"{");
    if !response.id.is_empty() {
        put_key(out, "id");
        put_string(out, &response.id);
        out.extend_from_slice(b",");
    }
    put_key(out, "model_name");
    put_string(out, &response.model);
    out.extend_from_slice(b",");
    put_key(out, "model_version");
    put_string(out, &response.version_text);
    out.extend_from_slice(b",\"outputs\":[");
    for (index, tensor) in response.outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_output(out, tensor, forms.is_binary(index))?;
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Room that is enough for most answers, so that the buffer grows once.
fn estimate(response: &InferResponse, forms: &OutputForms) -> usize {
    let outputs = response.outputs.iter().enumerate().map(|(index, tensor)| {
        let header = 80 + tensor.name().len();
        let elements = match tensor.dtype().element_size() {
            _ if forms.is_binary(index) => tensor.data().len().min(16 << 10),
            Some(_) => tensor.shape().element_count() * ELEMENT_TEXT_LEN,
            None => tensor.data().len() + tensor.data().len() / 8,
        };
        header + elements
    });
    96 + response.id.len() + response.model.len() + outputs.sum::<usize>()
}

fn put_output(out: &mut Vec<u8>, tensor: &Tensor, binary: bool) -> Result<(), EncodeError> {
    out.push(b'{');
    put_key(out, "name");
    put_string(out, tensor.name());
    out.push(b',');
    put_key(out, "datatype");
    put_string(out, tensor.dtype().as_str());
    out.extend_from_slice(b",\"shape\":[");
    put_list(out, tensor.shape().dims(), |out, dim| put_whole(out, *dim));
    out.push(b']');
    if binary {
        out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
        put_whole(out, tensor.data().len());
        out.push(b'}');
    } else {
        out.extend_from_slice(b",\"data\":[");
        put_elements(out, tensor)?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

fn put_elements(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), EncodeError> {
    let data = tensor.data();
    match tensor.dtype() {
        DataType::Bool => put_list(out, data, |out, byte| {
            out.extend_from_slice(if *byte == 0 { b"false" } else { b"true" });
        }),
        DataType::Uint8 => put_list(out, data, |out, byte| put_whole(out, *byte)),
        DataType::Int8 => put_fixed(out, data, |out, bytes| put_whole(out, i8::from_le_bytes(bytes))),
        DataType::Uint16 => put_fixed(out, data, |out, bytes| put_whole(out, u16::from_le_bytes(bytes))),
        DataType::Uint32 => put_fixed(out, data, |out, bytes| put_whole(out, u32::from_le_bytes(bytes))),
        DataType::Uint64 => put_fixed(out, data, |out, bytes| put_whole(out, u64::from_le_bytes(bytes))),
        DataType::Int16 => put_fixed(out, data, |out, bytes| put_whole(out, i16::from_le_bytes(bytes))),
        DataType::Int32 => put_fixed(out, data, |out, bytes| put_whole(out, i32::from_le_bytes(bytes))),
        DataType::Int64 => put_fixed(out, data, |out, bytes| put_whole(out, i64::from_le_bytes(bytes))),
        DataType::Fp16 => {
            put_fixed(out, data, |out, bytes| put_float(out, f32::from(f16::from_le_bytes(bytes))));
        }
        DataType::Bf16 => {
            put_fixed(out, data, |out, bytes| put_float(out, f32::from(bf16::from_le_bytes(bytes))));
        }
        DataType::Fp32 => put_fixed(out, data, |out, bytes| put_float(out, f32::from_le_bytes(bytes))),
        DataType::Fp64 => put_fixed(out, data, |out, bytes| put_float(out, f64::from_le_bytes(bytes))),
        DataType::Bytes => return put_strings(out, tensor),
    }
    Ok(())
}

fn put_strings(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), EncodeError> {
    for (element, bytes) in StringsIter::new(tensor.data()).enumerate() {
        // A tensor's bytes are in wire form, so only the text can be wrong.
        let text = std::str::from_utf8(bytes.unwrap_or_default())
            .map_err(|_| EncodeError::NotUtf8 { output: tensor.name().to_string(), element })?;
        if element > 0 {
            out.push(b',');
        }
        put_string(out, text);
    }
    Ok(())
}

fn put_list<T>(out: &mut Vec<u8>, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, value);
    }
}

fn put_fixed<const N: usize>(out: &mut Vec<u8>, data: &[u8], put: impl Fn(&mut Vec<u8>, [u8; N])) {
    let (elements, _) = data.as_chunks::<N>();
    put_list(out, elements, |out, bytes| put(out, *bytes));
}

fn put_whole(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put_float<F: zmij::Float + Copy + Into<f64>>(out: &mut Vec<u8>, value: F) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if wide > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

fn put_key(out: &mut Vec<u8>, key: &str) {
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A string with what JSON demands escaped.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
