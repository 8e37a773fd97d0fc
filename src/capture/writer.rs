//! The writer: one thread for every version, from the queue to the WAL.
//!
//! Its memory is bounded: the queue by rows and bytes, a stream's builders by [`Stream::is_full`], and there is one stream
//! a version (and, for a moment after a change of its configuration, one for each plan).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::reason::{Dropped, Reason};
use super::shared::Shared;
use super::stream::Stream;
use super::tap::{Current, TapState};

/// Longest time between two looks at the queue.
const LOOK: Duration = Duration::from_millis(5);
/// Observations taken at one look, so that what is due is done in time under load.
const OBSERVATIONS_MAX: usize = 1_024;
/// How often what was dropped is told, and gauges are set.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// By the address of their plan, which they keep alive.
    streams: BTreeMap<usize, Stream>,
    /// The largest number that a segment has had.
    numbers: u64,
    housekeeping_at: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, numbers: u64) -> Writer {
        Writer { shared, streams: BTreeMap::new(), numbers, housekeeping_at: Instant::now() }
    }

    /// Works until capture stops and the queue is empty.
    pub(super) fn run(mut self) {
        loop {
            let is_last = self.shared.is_stopping();
            let taken = self.take();
            let now = Instant::now();
            for stream in self.streams.values_mut() {
                stream.tend(&self.shared, &mut self.numbers, now);
            }
            if now >= self.housekeeping_at {
                self.housekeeping_at = now + HOUSEKEEPING;
                self.keep_house(now);
            }
            if taken == 0 {
                if is_last {
                    break;
                }
                std::thread::park_timeout(LOOK);
            }
        }
        let now = Instant::now();
        self.keep_house(now);
        for stream in self.streams.values_mut() {
            stream.flush(&self.shared, &mut self.numbers, now);
            stream.seal(&self.shared);
        }
        self.show();
    }

    /// Takes what waits in the queue. Returns how much it was.
    fn take(&mut self) -> usize {
        let now = Instant::now();
        let mut taken = 0;
        while taken < OBSERVATIONS_MAX
            && let Some((ticket, observation)) = self.shared.queue.pop()
        {
            taken += 1;
            let (tap, current) = (Arc::clone(&ticket.tap), Arc::clone(&ticket.current));
            let stream = stream(&mut self.streams, &self.shared, tap, current);
            let oversize = stream.append(ticket, &observation, now);
            self.shared.metrics.oversize.inc_by(oversize);
            if stream.is_full() {
                stream.flush(&self.shared, &mut self.numbers, now);
            }
            if taken.is_multiple_of(64) {
                self.shared.room.notify_waiters();
            }
        }
        if taken > 0 {
            self.shared.room.notify_waiters();
        }
        taken
    }

    /// Tells what was dropped of versions that write nothing, and forgets versions and streams that are gone.
    fn keep_house(&mut self, now: Instant) {
        let taps: Vec<Arc<TapState>> = self.shared.taps.lock().clone();
        for tap in taps {
            if tap.untold.read() != Dropped::default() {
                let current = tap.current.load_full();
                let stream = stream(&mut self.streams, &self.shared, tap, current);
                stream.flush(&self.shared, &mut self.numbers, now);
            }
        }
        self.streams.retain(|_, stream| !stream.is_idle());
        // One reference is the list's.
        let is_used =
            |tap: &Arc<TapState>| Arc::strong_count(tap) > 1 || tap.untold.read() != Dropped::default();
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
        shared.oldest_open_us.store(oldest, Ordering::Relaxed);
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
    let open = shared.oldest_open_us.load(Ordering::Relaxed);
    let sealed = shared.sealed.waiting().1.and_then(|us| u64::try_from(us).ok()).unwrap_or(u64::MAX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match open.min(sealed) {
        u64::MAX => Duration::ZERO,
        oldest => now.saturating_sub(Duration::from_micros(oldest)),
    }
}

/// Drops what is left in the queue when there is no writer any more.
pub(super) fn abandon(shared: &Shared) {
    while let Some((ticket, observation)) = shared.queue.pop() {
        ticket.tap.drop_rows(Reason::Stopping, observation.rows as u64);
    }
    shared.room.notify_waiters();
}
