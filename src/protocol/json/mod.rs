//! JSON bodies of REST inference, both ways, without a tree of values: numbers go from text to typed little-endian
//! bytes and back.
//!
//! Decoding takes time proportional to the body and memory proportional to what was really sent. Keys may come in any
//! order; unknown ones are skipped; what is given twice is refused. Non-finite floats are written as the strings
//! `"NaN"`, `"Infinity"` and `"-Infinity"`, so that every answer is JSON that any parser takes.

mod cursor;
mod elements;
mod encode;
mod error;
mod input;
mod number;
mod request;
#[cfg(test)]
mod tests;

pub use self::encode::EncodeError;
pub(in crate::protocol) use self::encode::encode_response;
pub use self::error::{DecodeError, Found};
pub(in crate::protocol) use self::error::{Label, shorten};
pub(in crate::protocol) use self::request::decode_request;
