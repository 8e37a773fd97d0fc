//! How threads that watch requests make way for those that answer them.
//!
//! The kernel's least priority still gives such a thread 1.5% of a core that requests want all of, and each of its turns
//! costs the requests their caches, too. So it also rests: by its own clock of CPU time it sees how long it stood in line
//! for a core; while that is longer than it worked, it keeps to a share. On a core with time to spare it never rests.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The least share of a core that Linux gives to a thread that wants to run: 15 of 1,024 (`nice` 19).
const LEAST: i32 = 19;
/// What a timer may be late without anybody in the way.
const TIMER: Duration = Duration::from_micros(100);
/// How long what was seen counts fully.
const MEMORY: Duration = Duration::from_secs(1);
/// Longest rest at a time, so that what ends the thread is not held up.
const REST_MAX: Duration = Duration::from_millis(250);

/// Has this thread, and those that it starts, run on what others leave. There is no way back for the thread, so one that
/// must sometimes hurry starts another for the rest.
///
/// Where a container forbids it the thread competes like any other.
pub fn yield_to_requests() {
    rustix::process::nice(LEAST).ok();
}

/// The pace of one thread, which calls [`Pace::rest`] between two pieces of work of some hundred microseconds each.
#[derive(Debug)]
pub struct Pace {
    /// Of a core, while others want it; above 0.
    share: f64,
    tally: Tally,
    /// When the thread meant to go on, and its CPU time then.
    since: (Instant, Duration),
}

/// What a thread lately did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    worked: Duration,
    /// It wanted to work, and did not get a core.
    stalled: Duration,
    rested: Duration,
}

impl Pace {
    /// The pace of the calling thread, which yields from now on, and takes at most `share` of a core that is wanted by
    /// others. With a share of 1 it competes with them, and nothing that it is to do gets in the way.
    pub fn begin(share: f64) -> Pace {
        if share < 1.0 {
            yield_to_requests();
        }
        Pace { share: share.max(1e-6), tally: Tally::default(), since: (Instant::now(), cpu_time()) }
    }

    /// Whether requests want the core, by what was seen lately.
    pub fn is_in_the_way(&self) -> bool {
        self.share < 1.0 && self.tally.is_in_the_way()
    }

    /// How long to rest now: `planned` at least.
    pub fn rest(&mut self, planned: Duration) -> Duration {
        let (now, cpu) = (Instant::now(), cpu_time());
        let (since, before) = self.since;
        let (passed, worked) = (now.saturating_duration_since(since), cpu.saturating_sub(before));
        let rest = self.tally.next(self.share, passed, worked, planned);
        self.since = (now + rest, cpu);
        rest
    }
}

impl Tally {
    fn is_in_the_way(&self) -> bool {
        self.stalled > self.worked
    }

    /// Adds `passed`, of which the thread `worked`, and the rest that follows from it, which is returned.
    fn next(&mut self, share: f64, passed: Duration, worked: Duration, planned: Duration) -> Duration {
        self.worked += worked;
        self.stalled += passed.saturating_sub(worked + TIMER);
        let all = self.worked + self.stalled + self.rested;
        let due = if self.is_in_the_way() {
            self.worked.div_f64(share).saturating_sub(all)
        } else {
            Duration::ZERO
        };
        let rest = due.min(REST_MAX).max(planned);
        self.rested += rest;
        if all + rest > MEMORY {
            // What was in the way is forgotten sooner than what was done: a core that is free again is found in a few seconds.
            *self = Tally { worked: self.worked / 2, stalled: self.stalled / 4, rested: self.rested / 2 };
        }
        rest
    }
}

/// The CPU time of the calling thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock begins at 0 and has no negative parts.
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Duration = Duration::from_micros(300);

    /// Shares of the last of 20 seconds that go to work, when each piece waits `stall` for a core.
    fn share_of_work(share: f64, stall: impl Fn(f64) -> Duration) -> f64 {
        let mut tally = Tally::default();
        let (mut time, mut worked) = (0.0, 0.0);
        while time < 20.0 {
            let stalled = stall(time);
            let rest = tally.next(share, stalled + PIECE, PIECE, Duration::ZERO);
            time += (stalled + PIECE + rest).as_secs_f64();
            worked += if time > 19.0 { PIECE.as_secs_f64() } else { 0.0 };
        }
        worked
    }

    #[test]
    fn it_rests_only_while_others_want_the_core() {
        assert!(share_of_work(0.005, |_| Duration::ZERO) > 0.99, "a free core");
        assert!(share_of_work(0.005, |_| TIMER) > 0.7, "a timer that is late is nobody");
        let contended = share_of_work(0.005, |_| Duration::from_millis(2));
        assert!((0.004..0.006).contains(&contended), "{contended}");
        let freed = share_of_work(0.005, |time| Duration::from_millis(if time < 5.0 { 2 } else { 0 }));
        assert!(freed > 0.99, "it comes back: {freed}");
        assert!(share_of_work(1.0, |_| Duration::from_millis(2)) > 0.1, "all that it gets");
    }

    #[test]
    fn what_was_planned_is_rested_at_least_and_no_rest_is_long() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        assert_eq!(tally.next(0.01, ms(1), ms(1), ms(10)), ms(10));
        assert_eq!(tally.next(0.000_1, ms(50), ms(1), ms(0)), REST_MAX);
    }

    #[test]
    fn a_share_of_all_never_rests() {
        for (share, in_the_way) in [(1.0, false), (0.999, true)] {
            let mut pace = Pace::begin(share);
            pace.tally.stalled = Duration::from_secs(1);
            assert_eq!(pace.rest(Duration::ZERO), Duration::ZERO);
            assert_eq!(pace.is_in_the_way(), in_the_way);
        }
    }

    #[test]
    fn a_thread_sees_its_own_work() {
        let mut pace = Pace::begin(0.5);
        let mut sum = 0u64;
        (0..1_000_000u64).for_each(|n| sum = std::hint::black_box(sum ^ n));
        assert_eq!(pace.rest(Duration::from_millis(3)), Duration::from_millis(3));
        assert!(pace.tally.worked > Duration::ZERO);
    }
}
