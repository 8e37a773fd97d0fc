//! The header that decides a traffic split, carried from a request's headers or metadata into the request, when the
//! model it is for has such a split. Costs one look at a number otherwise.

use bytes::Bytes;
use http::HeaderMap;

use crate::serving::Engine;
use crate::tensor::Name;

/// The value of the header that decides the split of `model` for requests that name no version; empty when there is no
/// such split, no such header, or a value that is not UTF-8.
pub(super) fn split_key(engine: &Engine, model: &str, version: &str, headers: &HeaderMap) -> Name {
    let Some(name) = engine.split_header(model, version) else { return Name::default() };
    let value = headers.get(&*name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    value.and_then(Name::from_utf8).unwrap_or_default()
}
