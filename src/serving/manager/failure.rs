//! A load that failed, and when it is tried again.

use std::time::{Duration, Instant};

/// How much longer each pause between two tries is than the one before.
const GROWTH: u32 = 3;

/// A version that did not load.
#[derive(Debug, Clone)]
pub(super) struct Failure<K = ()> {
    /// What was to be loaded.
    pub(super) key: K,
    pub(super) reason: String,
    /// The same may succeed another time: the device was full, the machine busy.
    pub(super) is_of_the_moment: bool,
}

impl Failure {
    /// A failure that comes again for as long as nothing about the version changes.
    pub(super) fn lasting(reason: String) -> Failure {
        Failure { key: (), reason, is_of_the_moment: false }
    }

    /// The same of what `key` says.
    pub(super) fn of<K>(self, key: K) -> Failure<K> {
        Failure { key, reason: self.reason, is_of_the_moment: self.is_of_the_moment }
    }
}

/// Another try of what failed for a reason of the moment.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    at: Instant,
    /// How long it was waited for.
    pause: Duration,
}

impl Retry {
    /// The try that follows `last`, or the first. `pauses` are the first and the longest.
    pub fn after(last: Option<Retry>, pauses: (Duration, Duration), now: Instant) -> Retry {
        let pause = last.map_or(pauses.0, |last| (last.pause * GROWTH).min(pauses.1));
        Retry { at: now + pause, pause }
    }

    /// When it is due.
    pub fn at(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let pauses = (Duration::from_secs(10), Duration::from_secs(60));
        let now = Instant::now();
        let tries = std::iter::successors(Some(Retry::after(None, pauses, now)), |last| {
            Some(Retry::after(Some(*last), pauses, last.at()))
        });
        let seconds: Vec<u64> = tries.map(|retry| (retry.at() - now).as_secs()).take(4).collect();
        assert_eq!(seconds, [10, 40, 100, 160]);
    }
}
