//! Events that were given up, and requests to send an event again: one object each.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::signature::delivery_id;
use super::{folder, head_of, parse, remove};
use crate::registry::cloudevent::CloudEvent;
use crate::registry::error::StoreError;
use crate::registry::store::Store;

/// Most dead letters, and most requests, that are listed at once.
pub const LISTED_MAX: usize = 1000;

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The event.
    pub event: CloudEvent,
    /// Why.
    pub reason: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// When it was given up.
    pub time: DateTime<Utc>,
}

/// Keeps a dead letter. The same event given up twice is one letter.
///
/// # Errors
/// [`StoreError`].
pub async fn bury(store: &Store, name: &str, letter: &DeadLetter) -> Result<(), StoreError> {
    let key = format!("{}/dead/{}.json", folder(name), delivery_id(&letter.event));
    store.overwrite(&key, to_bytes(name, letter)?).await
}

/// The dead letters of a subscription with their keys, at most [`LISTED_MAX`].
///
/// # Errors
/// [`StoreError`].
pub async fn letters(store: &Store, name: &str) -> Result<Vec<(String, DeadLetter)>, StoreError> {
    let mut found = Vec::new();
    for key in head_of(store, &format!("{}/dead", folder(name)), LISTED_MAX).await? {
        if let Some(bytes) = store.get(&key).await? {
            found.push((key, parse(name, &bytes)?));
        }
    }
    Ok(found)
}

/// Asks for `event` to be sent again. Requests are met in the order of `order`, then of ids.
///
/// # Errors
/// [`StoreError`].
pub async fn request(store: &Store, name: &str, order: &str, event: &CloudEvent) -> Result<(), StoreError> {
    let key = format!("{}/retry/{order}-{}.json", folder(name), delivery_id(event));
    store.overwrite(&key, to_bytes(name, event)?).await
}

/// The keys of requests to send an event again, in order, at most [`LISTED_MAX`].
///
/// # Errors
/// [`StoreError`].
pub async fn requests(store: &Store, name: &str) -> Result<Vec<String>, StoreError> {
    head_of(store, &format!("{}/retry", folder(name)), LISTED_MAX).await
}

/// The event of a request; `None` when the request is gone.
///
/// # Errors
/// [`StoreError`].
pub async fn requested(store: &Store, name: &str, key: &str) -> Result<Option<CloudEvent>, StoreError> {
    store.get(key).await?.map(|bytes| parse(name, &bytes)).transpose()
}

/// Drops a letter or a request by its key.
///
/// # Errors
/// [`StoreError`].
pub async fn discard(store: &Store, key: &str) -> Result<(), StoreError> {
    remove(store, key).await
}

fn to_bytes<T: Serialize>(name: &str, value: &T) -> Result<Bytes, StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|error| StoreError::Location {
        location: format!("webhook {name}"),
        reason: error.to_string(),
    })?;
    Ok(Bytes::from(bytes))
}
