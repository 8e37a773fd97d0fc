//! `ModelInferRequest`: never panics, and what it accepts the generated message accepts too (but for strings that a
//! later one of the same field replaces, which need not be UTF-8).
#![no_main]

use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use weir::protocol::Limits;
use weir::protocol::grpc::{decode_request, pb};

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    if decode_request(&frame, &Limits::default(), Instant::now()).is_ok()
        && let Err(error) = pb::ModelInferRequest::decode(data)
    {
        assert!(error.to_string().contains("UTF-8"), "accepted what prost refuses: {error}");
    }
});
