//! One test binary; a module a subject.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod alerts;
mod backend_conformance;
mod capture;
mod capture_served;
mod cli;
mod clients;
#[cfg(target_arch = "x86_64")]
mod cuda;
mod documents;
mod drain;
mod drift_cli;
#[path = "../support/faulty_store.rs"]
mod faulty_store;
mod grpc;
mod hostile;
mod monitoring;
#[path = "../support/onnx_file.rs"]
mod onnx_file;
mod operations;
mod probe;
mod readme;
mod registry_api;
mod registry_bucket_life;
mod registry_buckets;
mod registry_format;
mod registry_log;
#[path = "../support/registry_writers.rs"]
mod registry_writers;
mod registry_serve;
mod registry_cli;
mod registry_package;
mod registry_races;
mod registry_events;
mod slow;
mod registry_trust;
mod support;
mod tidy;
mod truth;
mod traces;
