//! What serving wants of a request's headers or metadata: the one that decides its model's traffic split, and those that
//! are captured. Costs a look at one number while no model wants any.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::infer::Attributes;
use crate::serving::Engine;
use crate::tensor::Name;

/// Longest value that is captured, in bytes. A longer one counts as absent: half of it would be another value.
const VALUE_BYTES_MAX: usize = 1024;

/// The value of the header that decides the split of `model` for requests that name no version; empty when there is no
/// such split, no such header, or a value that is not UTF-8.
pub(super) fn split_key(engine: &Engine, model: &str, version: &str, headers: &HeaderMap) -> Name {
    let Some(name) = engine.split_header(model, version) else { return Name::default() };
    value(headers, &name).unwrap_or_default()
}

/// The headers of a request for `model` that are captured, those that it has.
pub(super) fn attributes(engine: &Engine, model: &str, headers: &HeaderMap) -> Option<Attributes> {
    let names = engine.captured_headers(model)?;
    let found = names.iter().filter_map(|name| Some((Arc::clone(name), value(headers, name)?)));
    let found: Attributes = found.filter(|(_, value)| value.len() <= VALUE_BYTES_MAX).collect();
    (!found.is_empty()).then_some(found)
}

fn value(headers: &HeaderMap, name: &str) -> Option<Name> {
    Name::from_utf8(Bytes::copy_from_slice(headers.get(name)?.as_bytes()))
}
