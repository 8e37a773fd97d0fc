//! An [`InferResponse`] as a `ModelInferResponse`, written once at its exact size. Tensors are always raw.

use bytes::BufMut;

use super::wire::{put_varint, varint_len};
use crate::infer::InferResponse;
use crate::tensor::{Shape, Tensor};

/// Tags of length-delimited fields: the number shifted by three, wire type 2.
const fn tag(number: u8) -> u8 {
    number << 3 | 2
}

/// The entry `triton_final_response: true` of the parameter map (field 4), which streaming clients look for: a model
/// here always answers a request once.
const FINAL_RESPONSE: &[u8] = b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01";

/// Writes one answer. Sizes are computed once, at construction.
#[derive(Debug)]
pub struct ResponseEncoder<'a> {
    response: &'a InferResponse,
    parameters: &'static [u8],
    len: usize,
}

impl<'a> ResponseEncoder<'a> {
    /// Prepares `response`.
    pub fn new(response: &'a InferResponse) -> ResponseEncoder<'a> {
        ResponseEncoder::with_parameters(response, b"")
    }

    fn with_parameters(response: &'a InferResponse, parameters: &'static [u8]) -> ResponseEncoder<'a> {
        let mut len = text_len(&response.model)
            + text_len(&response.version_text)
            + text_len(&response.id)
            + parameters.len();
        for output in &response.outputs {
            len += field_len(output_len(output)) + field_len(output.data().len());
        }
        ResponseEncoder { response, parameters, len }
    }

    /// The message's size in bytes.
    pub fn encoded_len(&self) -> usize {
        self.len
    }

    /// Writes everything but the tensors' bytes and, before each tensor, its tag and length; `tensor` writes the rest.
    pub fn write<B: BufMut>(&self, buf: &mut B) {
        self.write_head(buf);
        for output in &self.response.outputs {
            self.write_tensor_head(buf, output);
            buf.put_slice(output.data());
        }
    }

    /// Writes what comes before the tensors' bytes.
    pub fn write_head<B: BufMut>(&self, buf: &mut B) {
        put_text(buf, 1, &self.response.model);
        put_text(buf, 2, &self.response.version_text);
        put_text(buf, 3, &self.response.id);
        buf.put_slice(self.parameters);
        for output in &self.response.outputs {
            buf.put_u8(tag(5));
            put_varint(buf, output_len(output) as u64);
            put_output(buf, output);
        }
    }

    /// Writes the tag and length that come before the bytes of `output`.
    pub fn write_tensor_head<B: BufMut>(&self, buf: &mut B, output: &Tensor) {
        buf.put_u8(tag(6));
        put_varint(buf, output.data().len() as u64);
    }
}

/// Writes one answer of a stream (`ModelStreamInferResponse`).
#[derive(Debug)]
pub struct StreamResponseEncoder<'a> {
    inner: ResponseEncoder<'a>,
}

impl<'a> StreamResponseEncoder<'a> {
    /// Prepares `response`.
    pub fn new(response: &'a InferResponse) -> StreamResponseEncoder<'a> {
        StreamResponseEncoder { inner: ResponseEncoder::with_parameters(response, FINAL_RESPONSE) }
    }

    /// The message's size in bytes.
    pub fn encoded_len(&self) -> usize {
        field_len(self.inner.len)
    }

    /// Writes the message.
    pub fn write<B: BufMut>(&self, buf: &mut B) {
        buf.put_u8(tag(2));
        put_varint(buf, self.inner.len as u64);
        self.inner.write(buf);
    }
}

/// Writes a failed request of a stream (`ModelStreamInferResponse`), which names the request by its id.
#[derive(Debug)]
pub struct StreamErrorEncoder<'a> {
    message: &'a str,
    id: &'a str,
}

impl<'a> StreamErrorEncoder<'a> {
    /// Prepares a failure with the text `message`, which must not be empty, of the request `id`.
    pub fn new(message: &'a str, id: &'a str) -> StreamErrorEncoder<'a> {
        StreamErrorEncoder { message, id }
    }

    fn inner_len(&self) -> usize {
        text_len(self.id) + FINAL_RESPONSE.len()
    }

    /// The message's size in bytes.
    pub fn encoded_len(&self) -> usize {
        text_len(self.message) + field_len(self.inner_len())
    }

    /// Writes the message.
    pub fn write<B: BufMut>(&self, buf: &mut B) {
        put_text(buf, 1, self.message);
        buf.put_u8(tag(2));
        put_varint(buf, self.inner_len() as u64);
        put_text(buf, 3, self.id);
        buf.put_slice(FINAL_RESPONSE);
    }
}

/// Tag, length and `len` bytes. All field numbers here are below 16, so that a tag is one byte.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// As [`field_len`]; an empty string is not written.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(text.len()) }
}

fn put_text<B: BufMut>(buf: &mut B, number: u8, text: &str) {
    if !text.is_empty() {
        buf.put_u8(tag(number));
        put_varint(buf, text.len() as u64);
        buf.put_slice(text.as_bytes());
    }
}

fn dims_len(shape: &Shape) -> usize {
    shape.dims().iter().map(|&dim| varint_len(dim as u64)).sum()
}

fn output_len(output: &Tensor) -> usize {
    let dims = dims_len(output.shape());
    text_len(output.name())
        + text_len(output.dtype().as_str())
        + if output.shape().rank() == 0 { 0 } else { field_len(dims) }
}

fn put_output<B: BufMut>(buf: &mut B, output: &Tensor) {
    put_text(buf, 1, output.name());
    put_text(buf, 2, output.dtype().as_str());
    if output.shape().rank() > 0 {
        buf.put_u8(tag(3));
        put_varint(buf, dims_len(output.shape()) as u64);
        for &dim in output.shape().dims() {
            put_varint(buf, dim as u64);
        }
    }
}
