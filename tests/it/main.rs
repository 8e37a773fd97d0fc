//! One test binary; a module a subject.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod backend_conformance;
mod cli;
mod clients;
mod documents;
mod drain;
mod grpc;
mod hostile;
#[path = "../support/onnx_file.rs"]
mod onnx_file;
mod operations;
mod probe;
mod slow;
mod support;
mod tidy;
mod traces;
