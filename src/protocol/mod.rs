//! Bytes to requests and answers to bytes: pure functions, no sockets, no clock.
//!
//! Only this module and `transport` know a wire format. Decoding proves that the bytes make tensors; whether the
//! tensors fit a model is the engine's question.

pub mod binary;
pub mod describe;
pub mod grpc;
mod json;
mod limits;
mod parameters;
mod rest;
pub mod status;

pub use self::json::{DecodeError, EncodeError, Found};
pub use self::limits::Limits;
pub use self::parameters::ParameterError;
pub use self::rest::{InferBody, OutputForms};
