//! Segments that are complete and wait for the shipper.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::shared::Lane;

/// A complete segment.
#[derive(Debug, Clone)]
pub(super) struct SealedSegment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// When its first row was answered.
    pub(super) began_us: i64,
    /// Whose rows it holds.
    pub(super) lane: Lane,
}

/// The list. Its length is bounded by what the disk may hold.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<SealedSegment>,
    /// No more segments come, and the shipper ends at this time at the latest.
    ends: Option<Instant>,
}

/// What the shipper does next.
#[derive(Debug)]
pub(super) enum Next {
    Ship(SealedSegment),
    /// Nothing waits; look after other things.
    Idle,
    End,
}

impl Sealed {
    pub(super) fn push(&self, segment: SealedSegment) {
        self.state.lock().segments.push_back(segment);
        self.changed.notify_all();
    }

    /// Nothing comes any more; what waits is shipped until `ends`.
    pub(super) fn end(&self, ends: Instant) {
        self.state.lock().ends = Some(ends);
        self.changed.notify_all();
    }

    /// The oldest segment, which stays in the list; waits for one at most so long.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let mut state = self.state.lock();
        if state.segments.is_empty() && state.ends.is_none() {
            self.changed.wait_for(&mut state, patience);
        }
        match (state.segments.front(), state.ends) {
            (_, Some(ends)) if Instant::now() >= ends => Next::End,
            (Some(segment), _) => Next::Ship(segment.clone()),
            (None, Some(_)) => Next::End,
            (None, None) => Next::Idle,
        }
    }

    /// The oldest segment is done.
    pub(super) fn done(&self) {
        self.state.lock().segments.pop_front();
    }

    /// Waits before another try, or until the end begins. False when no other try is to be made.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        if state.ends.is_none() {
            self.changed.wait_while_for(&mut state, |state| state.ends.is_none(), pause);
            return true;
        }
        let ends = state.ends.unwrap_or_else(Instant::now);
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.changed.wait_for(&mut state, pause.min(left));
        true
    }

    /// Segments that wait, and when the first row of the oldest was answered.
    pub(super) fn waiting(&self) -> (usize, Option<i64>) {
        let state = self.state.lock();
        (state.segments.len(), state.segments.iter().map(|segment| segment.began_us).min())
    }
}
