//! Weir serves ONNX models over gRPC and REST.
//!
//! The modules, in reading order; each may use only those above it (`tests/it/tidy.rs` holds the table).

pub mod app;
pub mod backend;
pub mod control;
pub mod error;
pub mod infer;
pub mod metrics;
pub mod model;
pub mod protocol;
pub mod scheduler;
pub mod serving;
pub mod tensor;
pub mod transport;
