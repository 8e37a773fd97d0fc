//! Weir serves ONNX models over gRPC and REST.
//!
//! The modules, in reading order; each may use only those above it (`tests/it/tidy.rs` holds the table).

pub mod error;
pub mod tensor;
pub mod metrics;
pub mod model;
pub mod infer;
pub mod events;
pub mod access;
pub mod protocol;
pub mod backend;
pub mod scheduler;
pub mod serving;
pub mod registry;
pub mod capture;
pub mod drift;
pub mod control;
pub mod transport;
pub mod app;
