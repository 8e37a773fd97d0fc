//! gRPC messages to requests and answers to messages: pure functions of bytes.
//!
//! The two messages of the hot path (`ModelInferRequest` in, `ModelInferResponse` out) are read and written by hand:
//! names and tensors stay slices of the received frame, and an answer is written once, at its exact size. Everything
//! else uses the generated types in [`pb`]. Framing, compression and streams are `transport::grpc`'s business.

mod contents;
mod error;
mod message;
mod parameter;
mod request;
mod response;
mod wire;

pub use self::error::{DecodeError, Rejected};
pub use self::request::decode_request;
pub use self::response::{ResponseEncoder, StreamErrorEncoder, StreamResponseEncoder};

/// The generated messages, client and server of `proto/`.
#[allow(missing_debug_implementations, unreachable_pub, clippy::all, clippy::too_many_lines)] // written by a tool
pub mod pb {
    tonic::include_proto!("inference");
}

/// `proto/` as a serialized `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("inference_descriptor");

#[cfg(test)]
mod tests;
