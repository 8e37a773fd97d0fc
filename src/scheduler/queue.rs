//! The waiting jobs of one version: lanes in order of priority and age, with a bound on all of them.
//!
//! A state machine without a clock or a lock: the simulation drives it with its own time, the workers under the
//! scheduler's mutex.

use std::collections::VecDeque;
use std::time::Instant;

use super::lane::LaneKey;
use super::latency::LatencyModel;
use super::policy::{self, Decision, Limits, Rank, Waiting};

/// A waiting job. Order in a lane: priority, then age.
#[derive(Debug)]
struct Entry<T> {
    seq: u64,
    waiting: Waiting,
    /// Whether it holds one of the queue's slots. Parts of a split job do not: their job does.
    slotted: bool,
    payload: T,
}

#[derive(Debug)]
struct Lane<T> {
    key: LaneKey,
    entries: VecDeque<Entry<T>>,
}

/// Where a job waits, to take it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    lane: u64,
    priority: u32,
    seq: u64,
}

/// What became of a push.
#[derive(Debug)]
pub(super) enum Pushed<T> {
    /// It waits.
    Queued(Place),
    /// It waits, and this less important one had to go.
    Displaced(Place, T),
    /// No slot is free.
    Full(T),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Run what was taken.
    Batch { lane: u64, rows: usize },
    /// Nothing before this moment, unless more jobs come.
    WaitUntil(Instant),
    /// Nothing waits.
    Empty,
}

/// The waiting jobs of one version.
#[derive(Debug)]
pub(super) struct Queues<T> {
    /// Lanes with jobs in them; the only lane of a model with one is kept when it is empty. Bounded by the slots.
    lanes: Vec<Lane<T>>,
    limits: Limits,
    size_max: usize,
    displaces: bool,
    next_seq: u64,
    /// Slots in use.
    slots: usize,
    /// Rows of all entries.
    rows: usize,
    /// Entries of all lanes.
    len: usize,
}

impl<T> Queues<T> {
    /// Empty queues with room for `size_max` jobs. With `displaces`, an important job takes the place of a less
    /// important one when they are full.
    pub(super) fn new(limits: Limits, size_max: usize, displaces: bool) -> Queues<T> {
        debug_assert!(limits.rows_max > 0);
        Queues { lanes: Vec::new(), limits, size_max, displaces, next_seq: 0, slots: 0, rows: 0, len: 0 }
    }

    /// How many jobs (parts included) wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Slots in use.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Whether the waiting jobs fill `batches` batches and more.
    pub(super) fn exceeds(&self, batches: usize) -> bool {
        let (amount, per_batch) =
            if self.limits.batched { (self.rows, self.limits.rows_max) } else { (self.len, 1) };
        self.len > 0 && (batches == 0 || amount > batches.saturating_mul(per_batch))
    }

    /// Rows that would go before a new job of `priority`.
    pub(super) fn rows_ahead(&self, priority: u32) -> usize {
        if !self.displaces {
            return self.rows;
        }
        let entries = self.lanes.iter().flat_map(|lane| lane.entries.iter());
        entries.filter(|entry| entry.waiting.priority <= priority).map(|entry| entry.waiting.rows).sum()
    }

    /// Queues a job in a slot of its own.
    pub(super) fn push(&mut self, key: LaneKey, waiting: Waiting, payload: T) -> Pushed<T> {
        if self.slots < self.size_max {
            self.slots += 1;
            return Pushed::Queued(self.insert(key, waiting, true, payload));
        }
        match self.displace(waiting.priority) {
            Some(displaced) => {
                self.slots += 1;
                Pushed::Displaced(self.insert(key, waiting, true, payload), displaced)
            }
            None => Pushed::Full(payload),
        }
    }

    /// Queues a part of a job that holds a slot already.
    pub(super) fn push_part(&mut self, key: LaneKey, waiting: Waiting, payload: T) -> Place {
        self.insert(key, waiting, false, payload)
    }

    /// Takes a slot for a job whose parts are queued one by one, or says that none is free.
    pub(super) fn hold_slot(&mut self) -> bool {
        let is_free = self.slots < self.size_max;
        self.slots += usize::from(is_free);
        is_free
    }

    /// Gives such a slot back.
    pub(super) fn release_slot(&mut self) {
        debug_assert!(self.slots > 0);
        self.slots -= 1;
    }

    /// Takes a job back that nobody waits for. `None` when it has been taken already.
    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        for index in 0..self.lanes.len() {
            if self.lanes[index].key.hash() != place.lane {
                continue;
            }
            let entries = &self.lanes[index].entries;
            let found = entries.binary_search_by_key(&(place.priority, place.seq), |entry| {
                (entry.waiting.priority, entry.seq)
            });
            if let Ok(position) = found {
                let entry = self.lanes[index].entries.remove(position)?;
                self.account_removed(&entry);
                self.drop_lane_if_empty(index);
                return Some(entry.payload);
            }
        }
        None
    }

    /// Decides what runs at `now` and moves it to `batch`. Jobs whose deadline has passed go to `expired`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        latency: &LatencyModel,
        batch: &mut Vec<T>,
        expired: &mut Vec<T>,
    ) -> Take {
        let mut wait: Option<Instant> = None;
        let mut skipped: Vec<u64> = Vec::new();
        while let Some(index) = self.most_urgent(&skipped) {
            if self.expire_front(index, now, expired) {
                continue;
            }
            let lane = &self.lanes[index];
            let hash = lane.key.hash();
            let waiting = lane.entries.iter().map(|entry| &entry.waiting);
            match policy::fill(waiting, &self.limits, now, |rows| latency.estimate(hash, rows)) {
                Decision::Run { jobs, rows } => {
                    for entry in self.lanes[index].entries.drain(..jobs) {
                        self.slots -= usize::from(entry.slotted);
                        batch.push(entry.payload);
                    }
                    self.rows -= rows;
                    self.len -= jobs;
                    self.drop_lane_if_empty(index);
                    return Take::Batch { lane: hash, rows };
                }
                Decision::WaitUntil(until) => {
                    wait = Some(wait.map_or(until, |wait| wait.min(until)));
                    skipped.push(hash);
                }
            }
        }
        wait.map_or(Take::Empty, Take::WaitUntil)
    }

    /// Empties the queues.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let lanes = std::mem::take(&mut self.lanes);
        let slotted = lanes.iter().flat_map(|lane| &lane.entries).filter(|entry| entry.slotted).count();
        self.slots -= slotted;
        (self.rows, self.len) = (0, 0);
        lanes.into_iter().flat_map(|lane| lane.entries).map(|entry| entry.payload).collect()
    }

    fn insert(&mut self, key: LaneKey, waiting: Waiting, slotted: bool, payload: T) -> Place {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.rows += waiting.rows;
        self.len += 1;
        let place = Place { lane: key.hash(), priority: waiting.priority, seq };
        let entry = Entry { seq, waiting, slotted, payload };
        let index = match self.lanes.iter().position(|lane| lane.key == key) {
            Some(index) => index,
            None => {
                self.lanes.push(Lane { key, entries: VecDeque::new() });
                self.lanes.len() - 1
            }
        };
        let entries = &mut self.lanes[index].entries;
        match entries.back() {
            Some(last) if last.waiting.priority > waiting.priority => {
                let position = entries.partition_point(|entry| entry.waiting.priority <= waiting.priority);
                entries.insert(position, entry);
            }
            _ => entries.push_back(entry),
        }
        place
    }

    /// Removes the newest of the least important jobs, if it is less important than `priority`.
    fn displace(&mut self, priority: u32) -> Option<T> {
        if !self.displaces {
            return None;
        }
        let candidates = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let position = lane.entries.iter().rposition(|entry| entry.slotted)?;
            let entry = lane.entries.get(position)?;
            Some((entry.waiting.priority, entry.seq, index, position))
        });
        let (lowest, _, index, position) = candidates.max()?;
        if lowest <= priority {
            return None;
        }
        let entry = self.lanes[index].entries.remove(position)?;
        self.account_removed(&entry);
        self.drop_lane_if_empty(index);
        Some(entry.payload)
    }

    fn most_urgent(&self, skipped: &[u64]) -> Option<usize> {
        if let [only] = self.lanes.as_slice() {
            return (!only.entries.is_empty() && skipped.is_empty()).then_some(0);
        }
        let mut best: Option<(Rank, u64, usize)> = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            if skipped.contains(&lane.key.hash()) {
                continue;
            }
            let rank = policy::rank(lane.entries.iter().map(|entry| &entry.waiting), &self.limits);
            let (Some(rank), Some(front)) = (rank, lane.entries.front()) else { continue };
            if best.is_none_or(|(rank_best, seq_best, _)| (rank, front.seq) < (rank_best, seq_best)) {
                best = Some((rank, front.seq, index));
            }
        }
        best.map(|(_, _, index)| index)
    }

    /// Removes jobs at the lane's front whose deadline has passed. Others expire by their own timers.
    fn expire_front(&mut self, index: usize, now: Instant, expired: &mut Vec<T>) -> bool {
        let mut any = false;
        let is_late = |entry: &Entry<T>| entry.waiting.deadline.is_some_and(|deadline| deadline <= now);
        while self.lanes[index].entries.front().is_some_and(is_late) {
            let Some(entry) = self.lanes[index].entries.pop_front() else { break };
            self.account_removed(&entry);
            expired.push(entry.payload);
            any = true;
        }
        if any {
            self.drop_lane_if_empty(index);
        }
        any
    }

    fn account_removed(&mut self, entry: &Entry<T>) {
        self.slots -= usize::from(entry.slotted);
        self.rows -= entry.waiting.rows;
        self.len -= 1;
    }

    fn drop_lane_if_empty(&mut self, index: usize) {
        if self.lanes[index].entries.is_empty() && self.lanes[index].key != LaneKey::only() {
            self.lanes.swap_remove(index);
        }
    }
}
