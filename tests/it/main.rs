//! One test binary; a module a subject.

mod backend_conformance;
mod cli;
mod clients;
mod documents;
mod grpc;
#[path = "../support/onnx_file.rs"]
mod onnx_file;
mod operations;
mod probe;
mod support;
mod tidy;
