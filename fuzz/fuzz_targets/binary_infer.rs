//! Any bytes as a request of the binary tensor data extension: the first two say where the JSON ends. Binary inputs
//! must lie in the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::protocol::binary::{decode_infer, json_len};
use weir::protocol::Limits;

fuzz_target!(|data: &[u8]| {
    let Some((prefix, rest)) = data.split_first_chunk::<2>() else { return };
    let body = Bytes::copy_from_slice(rest);
    let stated = u16::from_le_bytes(*prefix).to_string();
    let Ok(json_len) = json_len(Some(stated.as_bytes()), body.len()) else { return };
    let Ok(decoded) = decode_infer(&body, json_len, &Limits::default()) else { return };
    let total: usize = decoded.inputs.iter().map(|input| input.data().len()).sum();
    assert!(total <= 4 * body.len() + 8 * decoded.inputs.len());
});
