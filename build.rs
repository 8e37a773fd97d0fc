//! Prepares what the crate includes at compile time.
#![allow(clippy::print_stdout, reason = "cargo reads a build script's instructions from its output")]

#[path = "build/onnxruntime.rs"]
mod onnxruntime;
#[path = "build/protobuf.rs"]
mod protobuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    protobuf::compile()?;
    onnxruntime::embed()
}
