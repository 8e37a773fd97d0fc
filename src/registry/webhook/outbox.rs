//! What one subscription still has to deliver: events in a lane for each subject, and when each lane is tried next.
//! Pure; time is given, in milliseconds.
//!
//! ```text
//!  take ──► lane of the subject ──► due: the first of each lane whose time has come ──► settle: done, later, or dead
//! ```
//!
//! In a lane one event is tried at a time, so a subject is in order, and one that fails holds back nobody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, Held, Pending};
use crate::registry::cloudevent::CloudEvent;
use crate::registry::feed::{FeedEvent, Place};

/// Most events that are held; more are not read from the logs until some are settled.
pub const HELD_MAX: usize = 4096;

/// An event that is to be sent.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its lane.
    pub subject: String,
    /// The event.
    pub event: Arc<CloudEvent>,
    /// Where it came from.
    pub place: Place,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// When the first attempt began.
    pub first_ms: i64,
}

#[derive(Debug)]
struct Item {
    event: Arc<CloudEvent>,
    place: Place,
    attempts: u32,
    first_ms: i64,
    next_ms: i64,
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    is_busy: bool,
}

/// The lanes of a subscription.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<String, Lane>,
    /// Lanes that wait, by the time of their next attempt.
    waiting: BTreeSet<(i64, String)>,
    /// What is held of each log.
    held: Held,
    len: usize,
}

impl Outbox {
    /// What `cursor` says: nothing is held yet; events that it lists come again from the logs.
    pub fn new(cursor: &Cursor) -> Outbox {
        Outbox { held: Held::new(cursor), ..Outbox::default() }
    }

    /// Takes an event from a log, in the log's order. One that is not wanted only moves the cursor; one that was
    /// delivered before the cursor was read is left out.
    pub fn take(&mut self, event: FeedEvent, is_wanted: bool, now_ms: i64) {
        let resumed = match self.held.take(&event.place, is_wanted) {
            None => return,
            Some(resumed) => resumed,
        };
        let item = Item {
            event: Arc::new(event.event),
            place: event.place,
            attempts: resumed.attempts,
            first_ms: resumed.first_ms,
            next_ms: if resumed.attempts == 0 { now_ms } else { resumed.next_ms },
        };
        let subject = item.event.subject.clone();
        let lane = self.lanes.entry(subject.clone()).or_default();
        if lane.items.is_empty() && !lane.is_busy {
            self.waiting.insert((item.next_ms, subject));
        }
        lane.items.push_back(item);
        self.len += 1;
    }

    /// Whether more may be taken.
    pub fn has_room(&self) -> bool {
        self.len < HELD_MAX
    }

    /// How many events are held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the request to send `key` again is held already.
    pub fn holds_request(&self, key: &str) -> bool {
        let is_it = |item: &Item| matches!(&item.place, Place::Request { key: held } if held == key);
        self.lanes.values().any(|lane| lane.items.iter().any(is_it))
    }

    /// The next event whose time has come. Its lane is busy until it is settled.
    pub fn due(&mut self, now_ms: i64) -> Option<Due> {
        let (at, _) = self.waiting.first()?;
        if *at > now_ms {
            return None;
        }
        let (_, subject) = self.waiting.pop_first()?;
        let lane = self.lanes.get_mut(&subject)?;
        lane.is_busy = true;
        let item = lane.items.front_mut()?;
        if item.attempts == 0 {
            item.first_ms = now_ms;
        }
        item.attempts += 1;
        Some(Due {
            subject,
            event: Arc::clone(&item.event),
            place: item.place.clone(),
            attempt: item.attempts,
            first_ms: item.first_ms,
        })
    }

    /// When the next lane is due; `None` when none waits.
    pub fn next_ms(&self) -> Option<i64> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// The attempt failed and is repeated after `wait`.
    pub fn retry(&mut self, subject: &str, wait: Duration, now_ms: i64) {
        let Some(lane) = self.lanes.get_mut(subject) else { return };
        lane.is_busy = false;
        if let Some(item) = lane.items.front_mut() {
            item.next_ms = now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            self.waiting.insert((item.next_ms, subject.to_owned()));
        }
    }

    /// The event was delivered, or was put aside.
    pub fn finish(&mut self, subject: &str, now_ms: i64) {
        let Some(lane) = self.lanes.get_mut(subject) else { return };
        lane.is_busy = false;
        if let Some(item) = lane.items.pop_front() {
            self.len -= 1;
            self.held.finish(&item.place);
        }
        match lane.items.front_mut() {
            None => drop(self.lanes.remove(subject)),
            Some(item) => {
                item.next_ms = item.next_ms.max(now_ms);
                self.waiting.insert((item.next_ms, subject.to_owned()));
            }
        }
    }

    /// What a successor needs to go on from here.
    pub fn cursor(&self) -> Cursor {
        let of_log = |item: &Item| match &item.place {
            Place::Log { scope, log, number, op } => Some(Pending {
                scope: scope.clone(),
                log: *log,
                number: *number,
                op: *op,
                attempts: item.attempts,
                first_ms: item.first_ms,
                next_ms: item.next_ms,
            }),
            Place::Request { .. } => None,
        };
        let items = self.lanes.values().flat_map(|lane| lane.items.iter());
        self.held.cursor(items.filter_map(of_log).collect())
    }
}

#[cfg(test)]
mod tests;
