//! A writer: a thread from a queue to the WAL, for every version of its lane.
//!
//! Its memory is bounded: the queue by rows and bytes, a stream's builders by [`Stream::is_full`], and there is one stream
//! a version (and, for a moment after a change of its configuration, one for each plan).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::reason::{Dropped, Reason};
use super::shared::{Lane, Shared};
use super::stream::Stream;
use super::tap::{Current, TapState};
use crate::infer::Pace;
use crate::model::monitoring::CaptureMode;

/// Longest time between two looks at the queue.
const LOOK: Duration = Duration::from_millis(5);
/// The same while nothing is written and nothing is promised. While no version is captured so that its rows come here, the
/// writer only keeps house.
const IDLE_LOOK: Duration = Duration::from_millis(25);
/// Observations taken at one look, so that what is due is done in time under load.
const OBSERVATIONS_MAX: usize = 1_024;
/// The same where others may want the core.
const SPARE_OBSERVATIONS_MAX: usize = 256;
/// How often what was dropped is told, and gauges are set.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long it rests after a panic, so that one that comes again and again takes no core.
const AFTER_PANIC: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    lane: Lane,
    /// By the address of their plan, which they keep alive.
    streams: BTreeMap<usize, Stream>,
    housekeeping_at: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, lane: Lane) -> Writer {
        Writer { shared, lane, streams: BTreeMap::new(), housekeeping_at: Instant::now() }
    }

    /// Works until capture stops and the queue is empty.
    pub(super) fn run(mut self) {
        let share = self.shared.settings.busy_share;
        let mut pace = (self.lane == Lane::Spare).then(|| Pace::begin(share));
        loop {
            let is_last = self.shared.is_stopping();
            let Ok(taken) = catch_unwind(AssertUnwindSafe(|| self.work())) else {
                self.give_up_streams();
                std::thread::park_timeout(AFTER_PANIC);
                continue;
            };
            if is_last {
                if taken == 0 {
                    break;
                }
                continue;
            }
            let planned = match taken {
                0 if self.streams.is_empty() && !self.is_needed() => HOUSEKEEPING,
                0 if self.streams.is_empty() && self.lane == Lane::Spare => IDLE_LOOK,
                0 => LOOK,
                _ => Duration::ZERO,
            };
            let mut rest = planned;
            if let Some(pace) = &mut pace {
                let queue = &self.shared.lane(self.lane).queue;
                queue.narrow(pace.is_in_the_way());
                while let Some((ticket, observation)) = queue.excess() {
                    ticket.tap.drop_rows(Reason::QueueRows, observation.rows as u64);
                }
                rest = pace.rest(planned);
            }
            if !rest.is_zero() {
                std::thread::park_timeout(rest);
            }
        }
        let now = Instant::now();
        self.keep_house(now);
        for stream in self.streams.values_mut() {
            stream.flush(&self.shared, now);
            stream.seal(&self.shared);
        }
        self.show();
    }

    /// Takes what waits and does what is due. Returns how much was taken.
    fn work(&mut self) -> usize {
        #[cfg(test)]
        assert!(!self.shared.is_broken.swap(false, Ordering::Relaxed));
        let taken = self.take();
        let now = Instant::now();
        for stream in self.streams.values_mut() {
            stream.tend(&self.shared, now);
        }
        if now >= self.housekeeping_at {
            self.housekeeping_at = now + HOUSEKEEPING;
            self.keep_house(now);
        }
        taken
    }

    /// After a panic nobody knows in whose rows it was: what is not written is lost, and who waits for it is told. What is
    /// written is left as after a crash, for the next start to take.
    fn give_up_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.give_up();
        }
    }

    /// Whether rows may come. When that begins, [`Waiting::wake`](super::shared::Waiting::wake) says so.
    fn is_needed(&self) -> bool {
        let writes = |tap: &Arc<TapState>| {
            let mode = tap.current.load().rules.mode;
            mode != CaptureMode::Off && Lane::of(mode) == self.lane
        };
        self.shared.taps.lock().iter().any(writes) || !self.shared.lane(self.lane).queue.is_empty()
    }

    /// Takes what waits in the queue. Returns how much it was.
    fn take(&mut self) -> usize {
        let now = Instant::now();
        let waiting = self.shared.lane(self.lane);
        let mut taken = 0;
        let most = match self.lane {
            Lane::Spare => SPARE_OBSERVATIONS_MAX,
            Lane::Promised => OBSERVATIONS_MAX,
        };
        while taken < most
            && let Some((ticket, observation)) = waiting.queue.pop()
        {
            taken += 1;
            let (tap, current) = (Arc::clone(&ticket.tap), Arc::clone(&ticket.current));
            let stream = stream(&mut self.streams, &self.shared, tap, current);
            let oversize = stream.append(ticket, &observation, now);
            self.shared.metrics.oversize.inc_by(oversize);
            if stream.is_full() {
                stream.flush(&self.shared, now);
            }
            if taken.is_multiple_of(64) {
                waiting.room.notify_waiters();
            }
        }
        if taken > 0 {
            waiting.room.notify_waiters();
        }
        taken
    }

    /// Tells what was dropped of versions that write nothing, and forgets versions and streams that are gone.
    fn keep_house(&mut self, now: Instant) {
        let taps: Vec<Arc<TapState>> = self.shared.taps.lock().clone();
        for tap in taps {
            tap.settle();
            let current = tap.current.load_full();
            if Lane::of(current.rules.mode) == self.lane && tap.untold.read() != Dropped::default() {
                let stream = stream(&mut self.streams, &self.shared, tap, current);
                stream.flush(&self.shared, now);
            }
        }
        self.streams.retain(|_, stream| !stream.is_idle());
        // One reference is the list's.
        let is_used = |tap: &Arc<TapState>| {
            Arc::strong_count(tap) > 1 || tap.is_unsettled() || tap.untold.read() != Dropped::default()
        };
        self.shared.taps.lock().retain(is_used);
        self.show();
    }

    fn show(&self) {
        let shared = &self.shared;
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        shared.metrics.wal_bytes.set(gauge(shared.wal_bytes.load(Ordering::Relaxed)));
        shared.metrics.disk_bytes.set(gauge(shared.disk_bytes()));
        let oldest = self.streams.values().filter_map(Stream::began_us).min();
        let oldest = oldest.and_then(|us| u64::try_from(us).ok()).unwrap_or(u64::MAX);
        shared.lane(self.lane).oldest_open_us.store(oldest, Ordering::Relaxed);
        shared.metrics.lag.set(lag(shared).as_secs_f64());
    }
}

/// The stream for what `tap` sees under `current`. One that was for an older plan of the tap ends with its segment.
fn stream<'a>(
    streams: &'a mut BTreeMap<usize, Stream>,
    shared: &Shared,
    tap: Arc<TapState>,
    current: Arc<Current>,
) -> &'a mut Stream {
    let key = Arc::as_ptr(&current).addr();
    streams.entry(key).or_insert_with(|| Stream::new(tap, current, shared))
}

/// Age of the oldest row that is not in the store.
pub(super) fn lag(shared: &Shared) -> Duration {
    let open =
        shared.lanes.iter().map(|lane| lane.oldest_open_us.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX);
    let sealed = shared.sealed.waiting().1.and_then(|us| u64::try_from(us).ok()).unwrap_or(u64::MAX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match open.min(sealed) {
        u64::MAX => Duration::ZERO,
        oldest => now.saturating_sub(Duration::from_micros(oldest)),
    }
}

/// Drops what is left in the queues when there is no writer any more.
pub(super) fn abandon(shared: &Shared) {
    for lane in &shared.lanes {
        while let Some((ticket, observation)) = lane.queue.pop() {
            ticket.tap.drop_rows(Reason::Stopping, observation.rows as u64);
        }
        lane.room.notify_waiters();
    }
}
