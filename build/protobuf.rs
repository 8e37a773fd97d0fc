//! Compiles `proto/` without protoc: protox parses, tonic-prost-build writes the Rust.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

/// Writes `inference.rs` and the descriptor set for server reflection into `OUT_DIR`.
pub(crate) fn compile() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build/protobuf.rs");
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/grpc_service.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("inference_descriptor.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // What this server does not offer answers UNIMPLEMENTED, and ModelInfer is framed and coded by hand.
        .generate_default_stubs(true)
        // Tensors stay slices of the received frame.
        .bytes(".inference")
        .compile_fds(files)?;
    Ok(())
}
