//! Reads a log from where a state ends to its end, and says where it cannot be followed.
//!
//! Reads ahead: an unchanged log costs one read, a long tail is read in batches that grow. A revision that cannot be
//! used is read again before it is held to be damaged, because a store may have given only a part of it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::error::{FoldError, LogFault, RegistryError, StoreError};
use super::keys::{KeyRing, KeySource};
use super::revision::{Revision, sha256_hex};
use super::state::ModelState;
use super::store::Store;

/// Most revisions that are read at once.
const AHEAD_MAX: u64 = 32;

/// How often a revision is read that cannot be used, or that is missing though a later one was seen.
const READS_MAX: u32 = 5;

/// The key of a revision.
pub fn revision_key(model: &str, rev: u64) -> String {
    format!("models/{model}/log/{rev:020}.json")
}

/// Brings `state` to the end of the log, or to the last revision before what is returned. Revisions up to `known` are
/// known to have been written.
///
/// # Errors
/// [`RegistryError`]; `state` may have moved.
pub(super) async fn replay(
    store: &Store,
    keys: &KeySource,
    state: &mut Arc<ModelState>,
    mut known: u64,
) -> Result<Option<LogFault>, RegistryError> {
    let mut ahead = known.saturating_sub(state.rev).clamp(1, AHEAD_MAX);
    let mut reads_left = READS_MAX;
    loop {
        let first = state.rev + 1;
        let reads = (first..first + ahead).map(|rev| read(store, &state.model, rev));
        let mut batch = Vec::new();
        let mut is_gap = false;
        for (rev, found) in (first..).zip(join_all(reads).await) {
            match found? {
                Some(bytes) if !is_gap => batch.push(bytes),
                Some(_) => known = known.max(rev),
                None => is_gap = true,
            }
        }
        let fault = match batch.is_empty() {
            true => None,
            false => apply_batch(&*keys.recent().await?, state, &batch),
        };
        if fault.is_none() && is_gap && state.rev >= known {
            return Ok(None);
        }
        if fault.is_none() && !is_gap {
            ahead = (ahead * 2).min(AHEAD_MAX);
            reads_left = READS_MAX;
            continue;
        }
        // Between two reads of one batch others may have written both, so a gap is looked at again, too.
        if state.rev >= first {
            reads_left = READS_MAX;
        }
        reads_left -= 1;
        if reads_left == 0 {
            return Ok(Some(LogFault {
                model: state.model.clone(),
                rev: state.rev + 1,
                source: fault.unwrap_or_else(|| missing(state, known)),
            }));
        }
        ahead = 1;
    }
}

async fn read(store: &Store, model: &str, rev: u64) -> Result<Option<Bytes>, StoreError> {
    store.get(&revision_key(model, rev)).await
}

fn missing(state: &ModelState, known: u64) -> FoldError {
    FoldError::Broken { after: state.rev, reason: format!("it is missing, and revision {known} was written") }
}

/// Applies as much of `batch` as possible.
fn apply_batch(keys: &KeyRing, state: &mut Arc<ModelState>, batch: &[Bytes]) -> Option<FoldError> {
    let mut next = ModelState::clone(state);
    let in_place = |bytes: &Bytes| next.apply_in_place(&verified(keys, bytes)?, &sha256_hex(bytes));
    if batch.iter().try_for_each(in_place).is_ok() {
        *state = Arc::new(next);
        return None;
    }
    // Rare, so it may be slow: once more, each on a copy, to keep what is good.
    let next = Arc::make_mut(state);
    let mut apply = |bytes: &Bytes| next.apply(&verified(keys, bytes)?, &sha256_hex(bytes));
    batch.iter().find_map(|bytes| apply(bytes).err())
}

/// The revision in `bytes`, if it is signed as it must be.
fn verified(keys: &KeyRing, bytes: &Bytes) -> Result<Revision, FoldError> {
    let revision = Revision::parse(bytes)?;
    keys.check(&revision, bytes)?;
    Ok(revision)
}
