//! How far a subscription was delivered: `events/<name>/cursor-<n>.json`, created once each, the highest number counts.
//!
//! A cursor says of each log which numbers were taken from it, and which events of those are not delivered yet. Two
//! deliverers cannot both create the next number: the one that fails has lost its place and stops.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FORMAT, folder, newest, numbered_key, parse, tidy};
use crate::registry::error::StoreError;
use crate::registry::feed::{Log, Place, Position, Positions};
use crate::registry::store::Store;

/// One event that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The model, or the scope of its signals.
    pub scope: String,
    /// Which of its logs.
    pub log: Log,
    /// The number in it.
    pub number: u64,
    /// The operation of the revision.
    pub op: u32,
    /// Attempts that were made.
    pub attempts: u32,
    /// When the first was, in milliseconds since 1970.
    pub first_ms: i64,
    /// When the next is.
    pub next_ms: i64,
}

/// A subscription's place in all logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// [`FORMAT`].
    pub format: u32,
    /// Up to where events were taken.
    pub taken: Positions,
    /// Which of them are not delivered.
    pub pending: Vec<Pending>,
}

impl Cursor {
    /// Nothing is pending, and what comes after `taken` is wanted.
    pub fn at(taken: Positions) -> Cursor {
        Cursor { format: FORMAT, taken, pending: Vec::new() }
    }

    /// From where the logs must be read, so that everything pending comes again.
    pub fn resume(&self) -> Positions {
        let mut resume = self.taken.clone();
        for pending in &self.pending {
            let position = resume.entry(pending.scope.clone()).or_default();
            let before = pending.number.saturating_sub(1);
            match pending.log {
                Log::Revisions => position.rev = position.rev.min(before),
                Log::Signals => position.signal = position.signal.min(before),
            }
        }
        resume
    }
}

/// How an event that was tried before goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resumed {
    pub(super) attempts: u32,
    pub(super) first_ms: i64,
    pub(super) next_ms: i64,
}

type Key = (Log, u64, u32);

/// What is taken and not finished, by scope.
#[derive(Debug, Default)]
pub(super) struct Held {
    taken: Positions,
    /// Pending events of the cursor that have not come again yet.
    expected: BTreeMap<(String, Key), Resumed>,
    /// Where the cursor stood when it was read: what lies before was delivered unless it is expected.
    old: Positions,
    /// What is being delivered, to be counted only.
    open: BTreeSet<(String, Key)>,
}

impl Held {
    pub(super) fn new(cursor: &Cursor) -> Held {
        let resumed = |pending: &Pending| {
            let key = (pending.scope.clone(), (pending.log, pending.number, pending.op));
            let Pending { attempts, first_ms, next_ms, .. } = *pending;
            (key, Resumed { attempts, first_ms, next_ms })
        };
        Held {
            taken: cursor.taken.clone(),
            expected: cursor.pending.iter().map(resumed).collect(),
            old: cursor.taken.clone(),
            open: BTreeSet::new(),
        }
    }

    /// Notes an event. `None` when it is not to be delivered.
    pub(super) fn take(&mut self, place: &Place, is_wanted: bool) -> Option<Resumed> {
        let Place::Log { scope, log, number, op } = place else { return Some(Resumed::default()) };
        let key = (scope.clone(), (*log, *number, *op));
        let resumed = self.expected.remove(&key);
        let old = self.old.get(scope).copied().unwrap_or_default();
        let is_old = *number <= of(&old, *log);
        let taken = self.taken.entry(scope.clone()).or_default();
        match log {
            Log::Revisions => taken.rev = taken.rev.max(*number),
            Log::Signals => taken.signal = taken.signal.max(*number),
        }
        if (is_old && resumed.is_none()) || !is_wanted || !self.open.insert(key) {
            return None;
        }
        Some(resumed.unwrap_or_default())
    }

    pub(super) fn finish(&mut self, place: &Place) {
        if let Place::Log { scope, log, number, op } = place {
            self.open.remove(&(scope.clone(), (*log, *number, *op)));
        }
    }

    /// The cursor, with `pending` and what has not come again from the logs yet.
    pub(super) fn cursor(&self, mut pending: Vec<Pending>) -> Cursor {
        let missing = self.expected.iter().map(|((scope, (log, number, op)), resumed)| Pending {
            scope: scope.clone(),
            log: *log,
            number: *number,
            op: *op,
            attempts: resumed.attempts,
            first_ms: resumed.first_ms,
            next_ms: resumed.next_ms,
        });
        pending.extend(missing);
        Cursor { format: FORMAT, taken: self.taken.clone(), pending }
    }
}

fn of(position: &Position, log: Log) -> u64 {
    match log {
        Log::Revisions => position.rev,
        Log::Signals => position.signal,
    }
}

/// The newest cursor of a subscription and its number; number 0 and an empty one when there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn read(store: &Store, name: &str) -> Result<(u64, Cursor), StoreError> {
    match newest(store, &folder(name), "cursor").await? {
        None => Ok((0, Cursor::at(Positions::new()))),
        Some((number, bytes)) => Ok((number, parse(name, &bytes)?)),
    }
}

/// Creates the cursor `number`. False when another did, who delivers now.
///
/// # Errors
/// [`StoreError`]; it may have been created all the same.
pub async fn write(store: &Store, name: &str, number: u64, cursor: &Cursor) -> Result<bool, StoreError> {
    let key = numbered_key(&folder(name), "cursor", number);
    let bytes = serde_json::to_vec(cursor).map_err(|error| StoreError::Location {
        location: format!("webhook {name}"),
        reason: error.to_string(),
    })?;
    let bytes = Bytes::from(bytes);
    if !store.create(&key, bytes.clone()).await? {
        // An unclear answer to an earlier try of these very bytes is no defeat.
        return Ok(store.get(&key).await?.is_some_and(|there| there == bytes));
    }
    tidy(store, &folder(name), "cursor", number).await;
    Ok(true)
}
