//! Snapshots: a model's state after a revision, so that a reader need not replay the whole log.
//!
//! Derived from the log and never trusted over it: the snapshot must agree with itself and with the revision's file that
//! it continues from, or it is ignored and the log replayed. Whoever writes one writes the same bytes, so writers that
//! race do no harm. That a snapshot holds what the log says is proven by replaying it: `weir fsck`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::replay::revision_key;
use super::revision::{FORMAT, sha256_hex};
use super::state::ModelState;
use super::store::{OBJECT_LEN_MAX, Store};
use crate::model::ModelName;

/// A snapshot is written after every revision that this divides: 10,000 models whose logs have some fifty revisions
/// each would otherwise be read revision by revision.
pub const SNAPSHOT_EVERY: u64 = 10;

/// Snapshots of revisions that this divides are kept. Of the others the last two are.
pub const SNAPSHOT_KEPT_EVERY: u64 = 100;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    format: u32,
    /// SHA-256 of `state`'s bytes.
    sha256: String,
    state: ModelState,
}

/// The key of the snapshot after revision `rev`.
pub fn snapshot_key(model: &str, rev: u64) -> String {
    format!("models/{model}/snap/{rev:020}.json")
}

/// The bytes of the snapshot of `state`.
///
/// # Errors
/// When the state has a value that JSON has not.
pub fn snapshot_bytes(state: &ModelState) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_vec(state)?;
    let head = format!("{{\"format\":{FORMAT},\"sha256\":\"{}\",\"state\":", sha256_hex(&text));
    let mut bytes = head.into_bytes();
    bytes.extend(text);
    bytes.push(b'}');
    Ok(bytes)
}

/// The state in a snapshot that agrees with itself.
///
/// # Errors
/// What is wrong with it, for a log line.
pub fn parse_snapshot(bytes: &[u8]) -> Result<ModelState, String> {
    let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if snapshot.format > FORMAT {
        return Err(format!("it has format {}", snapshot.format));
    }
    let text = serde_json::to_vec(&snapshot.state).map_err(|error| error.to_string())?;
    if sha256_hex(&text) != snapshot.sha256 {
        return Err("its content has another hash than it says".to_owned());
    }
    Ok(snapshot.state)
}

/// Writes the snapshot of `state` when its revision calls for one. A failure is harmless: the next one may succeed.
pub(super) async fn write_due(store: &Store, state: &ModelState) {
    if state.rev == 0 || !state.rev.is_multiple_of(SNAPSHOT_EVERY) {
        return;
    }
    if let Err(error) = write(store, state).await {
        tracing::debug!(model = %state.model, rev = state.rev, %error, "the snapshot could not be written");
    }
}

async fn write(store: &Store, state: &ModelState) -> Result<(), StoreError> {
    let Ok(bytes) = snapshot_bytes(state) else { return Ok(()) };
    if bytes.len() as u64 > OBJECT_LEN_MAX {
        return Ok(());
    }
    store.overwrite_derived(&snapshot_key(&state.model, state.rev), Bytes::from(bytes)).await?;
    let old = state.rev.saturating_sub(2 * SNAPSHOT_EVERY);
    if !old.is_multiple_of(SNAPSHOT_KEPT_EVERY) {
        store.remove_derived(&snapshot_key(&state.model, old)).await?;
    }
    Ok(())
}

/// The newest snapshot that can be used. `head` is a revision that was written, when one is known.
pub(super) async fn load(
    store: &Store,
    model: &ModelName,
    head: Option<u64>,
) -> Result<Option<ModelState>, StoreError> {
    let mut tried = 0;
    if let Some(head) = head {
        tried = head - head % SNAPSHOT_EVERY;
        if tried == 0 {
            return Ok(None);
        }
        if let Some(state) = load_one(store, model, tried).await? {
            return Ok(Some(state));
        }
    }
    let listed = store.list(&format!("models/{model}/snap")).await?;
    let number = |name: &str| name.strip_suffix(".json").and_then(|digits| digits.parse::<u64>().ok());
    let mut revs: Vec<u64> =
        listed.iter().filter_map(|meta| number(meta.location.filename().unwrap_or_default())).collect();
    revs.sort_unstable();
    for rev in revs.into_iter().rev().filter(|rev| *rev != tried).take(3) {
        if let Some(state) = load_one(store, model, rev).await? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// The snapshot after `rev`; `None` when there is none, or none that can be used.
async fn load_one(store: &Store, model: &ModelName, rev: u64) -> Result<Option<ModelState>, StoreError> {
    let (snapshot, log) = (snapshot_key(model, rev), revision_key(model, rev));
    let (snapshot, revision) = futures_util::future::join(store.get(&snapshot), store.get(&log)).await;
    let bytes = match snapshot {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(StoreError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let revision = revision?;
    let checked = parse_snapshot(&bytes).and_then(|state| {
        let hash = revision.map(|bytes| sha256_hex(&bytes));
        if state.model != *model || state.rev != rev {
            return Err(format!("it is of model '{}', revision {}", state.model, state.rev));
        }
        if hash.as_ref() != Some(&state.head) {
            return Err("it does not belong to this log".to_owned());
        }
        Ok(state)
    });
    match checked {
        Ok(state) => Ok(Some(state)),
        Err(reason) => {
            tracing::warn!(%model, rev, reason, "a snapshot is ignored: it cannot be used");
            Ok(None)
        }
    }
}
