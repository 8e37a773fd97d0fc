//! The tap of one version: decides on the request's path what is to be written, and puts it in the queue.
//!
//! ```text
//! observe ─► sampler ─► accepted ─► queue ──► (room) nothing more in best_effort and durable; in audit: wait for the disk
//!                                     └─────► (full) best_effort: dropped; durable, audit: wait for room, with a bound
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::metrics::ModelCounts;
use super::reason::{Counts, Reason};
use super::sampler;
use super::schema::Plan;
use super::settings::Effective;
use super::shared::{Lane, Shared};
use crate::infer::{Acknowledgement, Attention, Full, Observation, Tap, TapRefused, TappedVersion};
use crate::model::monitoring::CaptureMode;

/// What a client sees when its answer may not leave.
const REFUSED: &str = "rows cannot be written now";

/// How a version is captured now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) rules: Effective,
    pub(super) plan: Arc<Plan>,
}

/// One version that is watched.
#[derive(Debug)]
pub(super) struct TapState {
    pub(super) version: TappedVersion,
    pub(super) counts: Arc<ModelCounts>,
    /// Dropped, and not in the log yet.
    pub(super) untold: Counts,
    /// Neither looked at nor counted anywhere else yet: one addition is all that a request pays when there is no room for it.
    skipped: Skipped,
    pub(super) current: ArcSwap<Current>,
    /// The part of `current` that every request asks for: one of the three below.
    looks: AtomicU8,
    /// Requests since the load.
    ordinal: AtomicU64,
    /// Of the ids of requests that have none.
    seed: [u8; 16],
}

/// It looks at nothing.
const NOTHING: u8 = 0;
/// It looks at every request that there is room for.
const WHERE_ROOM: u8 = 1;
/// It looks at every request: it waits for room, or only the request itself says whether it is in the sample.
const ALWAYS: u8 = 2;

impl Current {
    fn looks(&self) -> u8 {
        match self.rules.mode {
            CaptureMode::Off => NOTHING,
            CaptureMode::BestEffort if self.rules.rate >= 1.0 => WHERE_ROOM,
            _ => ALWAYS,
        }
    }
}

impl TapState {
    pub(super) fn new(version: TappedVersion, counts: Arc<ModelCounts>, current: Current) -> TapState {
        TapState {
            version,
            counts,
            untold: Counts::default(),
            skipped: Skipped::default(),
            looks: AtomicU8::new(current.looks()),
            current: ArcSwap::from_pointee(current),
            ordinal: AtomicU64::new(0),
            seed: Uuid::new_v4().into_bytes(),
        }
    }

    /// Captures as `current` says from now on.
    pub(super) fn set(&self, current: Current) {
        let looks = current.looks();
        self.current.store(Arc::new(current));
        self.looks.store(looks, Ordering::Relaxed);
    }

    /// Counts what was skipped as accepted and dropped.
    pub(super) fn settle(&self) {
        for (full, rows) in [(Full::Rows, &self.skipped.for_rows), (Full::Bytes, &self.skipped.for_bytes)] {
            let rows = rows.swap(0, Ordering::Relaxed);
            if rows > 0 {
                self.counts.accept(rows);
                self.drop_rows(reason_of(full), rows);
            }
        }
    }

    /// Whether something was skipped since then.
    pub(super) fn is_unsettled(&self) -> bool {
        [&self.skipped.for_rows, &self.skipped.for_bytes].iter().any(|rows| rows.load(Ordering::Relaxed) > 0)
    }

    /// Counts rows that will not be written.
    pub(super) fn drop_rows(&self, reason: Reason, rows: u64) {
        self.counts.drop_rows(reason, rows);
        self.untold.add(reason, rows);
    }
}

/// Rows that a full queue had no room for.
#[derive(Debug, Default)]
struct Skipped {
    for_rows: AtomicU64,
    for_bytes: AtomicU64,
}

/// Tells a caller what became of its row.
pub(super) type Answer = oneshot::Sender<bool>;

/// What goes through the queue with an observation.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) tap: Arc<TapState>,
    pub(super) current: Arc<Current>,
    pub(super) weight: f64,
    /// The id of a request that has none.
    pub(super) made_id: Option<Uuid>,
    /// Told when the row is on the disk; only in audit.
    pub(super) answer: Option<Answer>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct CaptureTap {
    pub(super) state: Arc<TapState>,
    pub(super) shared: Arc<Shared>,
}

impl Tap for CaptureTap {
    fn attention(&self) -> Attention {
        match self.state.looks.load(Ordering::Relaxed) {
            NOTHING => Attention::None,
            _ if self.shared.is_stopping() => Attention::None,
            WHERE_ROOM if self.shared.lane(Lane::Spare).queue.full().is_some() => Attention::Full,
            _ => Attention::Open,
        }
    }

    fn skip(&self, rows: usize) {
        if self.state.looks.load(Ordering::Relaxed) == NOTHING {
            return;
        }
        let skipped = match self.shared.lane(Lane::Spare).queue.full() {
            Some(Full::Bytes) => &self.state.skipped.for_bytes,
            _ => &self.state.skipped.for_rows,
        };
        skipped.fetch_add(rows as u64, Ordering::Relaxed);
    }

    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement> {
        let current = self.state.current.load_full();
        let mode = current.rules.mode;
        let entry = self.sample(current, observation)?;
        let rows = observation.rows as u64;
        self.state.counts.accept(rows);
        if self.shared.is_stopping() {
            self.state.drop_rows(Reason::Stopping, rows);
            return (mode == CaptureMode::Audit).then(refuse);
        }
        match (mode, self.shared.push(&entry, observation)) {
            (CaptureMode::Audit, Ok(pending)) => Some(Box::pin(acknowledged(pending))),
            (_, Ok(_)) => None,
            (CaptureMode::Durable | CaptureMode::Audit, Err(full)) => {
                Some(Box::pin(self.waiting(entry, full, observation).run()))
            }
            (_, Err(full)) => {
                self.state.drop_rows(reason_of(full), rows);
                None
            }
        }
    }
}

impl CaptureTap {
    /// What is to be written of the request, if it is to be.
    fn sample(&self, current: Arc<Current>, observation: &Observation) -> Option<Entry> {
        let ordinal = self.state.ordinal.fetch_add(1, Ordering::Relaxed);
        let made_id = observation.id.is_empty().then(|| make_id(&self.state.seed, ordinal, observation));
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = match &made_id {
            Some(id) => id.hyphenated().encode_lower(&mut text).as_bytes(),
            None => observation.id.as_bytes(),
        };
        let is_outlier = || self.shared.is_outlier(&self.state.version.id, observation);
        let weight = sampler::weigh(&current.rules, id, observation, ordinal, is_outlier)?;
        Some(Entry { tap: Arc::clone(&self.state), current, weight, made_id })
    }

    fn waiting(&self, entry: Entry, full: Full, observation: &Arc<Observation>) -> Waiting {
        Waiting {
            shared: Arc::clone(&self.shared),
            entry,
            observation: Arc::clone(observation),
            reason: Reason::Abandoned,
            full,
            is_decided: false,
        }
    }
}

/// The id of a request that has none: a UUIDv7 whose random part is drawn once and counted on from there (RFC 9562, section
/// 6.2, method 2), since drawing it is a system call.
fn make_id(seed: &[u8; 16], ordinal: u64, observation: &Observation) -> Uuid {
    let finished = observation.finished.unwrap_or_else(SystemTime::now);
    let millis = finished.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let [first @ .., _, _, _, _, _, _] = seed;
    let [a, b, count @ ..] = *first;
    let [c, d, e, f, g, h, i, j] = u64::from_be_bytes(count).wrapping_add(ordinal).to_be_bytes();
    let random = [a, b, c, d, e, f, g, h, i, j];
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(u64::MAX), &random).into_uuid()
}

fn reason_of(full: Full) -> Reason {
    match full {
        Full::Rows => Reason::QueueRows,
        Full::Bytes => Reason::QueueBytes,
    }
}

fn refused() -> TapRefused {
    TapRefused(REFUSED.to_owned())
}

fn refuse() -> Acknowledgement {
    Box::pin(std::future::ready(Err(refused())))
}

/// A ticket that can be made again: the queue keeps those that it refuses from nobody.
#[derive(Debug)]
pub(super) struct Entry {
    tap: Arc<TapState>,
    current: Arc<Current>,
    weight: f64,
    made_id: Option<Uuid>,
}

impl Entry {
    /// The ticket, and what tells of its fate in audit.
    pub(super) fn ticket(&self) -> (Ticket, Option<oneshot::Receiver<bool>>) {
        let (answer, pending) = match self.current.rules.mode {
            CaptureMode::Audit => {
                let (answer, pending) = oneshot::channel();
                (Some(answer), Some(pending))
            }
            _ => (None, None),
        };
        let (tap, current) = (Arc::clone(&self.tap), Arc::clone(&self.current));
        (Ticket { tap, current, weight: self.weight, made_id: self.made_id, answer }, pending)
    }

    pub(super) fn lane(&self) -> Lane {
        Lane::of(self.current.rules.mode)
    }

    pub(super) fn is_audit(&self) -> bool {
        self.current.rules.mode == CaptureMode::Audit
    }
}

/// Waits until the writer tells that the row is on the disk.
async fn acknowledged(pending: Option<oneshot::Receiver<bool>>) -> Result<(), TapRefused> {
    match pending {
        None => Ok(()),
        Some(pending) => pending.await.unwrap_or(false).then_some(()).ok_or_else(refused),
    }
}

/// A row that waits for room. When its caller goes away meanwhile, it is dropped and counted.
#[derive(Debug)]
struct Waiting {
    shared: Arc<Shared>,
    entry: Entry,
    observation: Arc<Observation>,
    /// Why it is dropped, if it is.
    reason: Reason,
    full: Full,
    is_decided: bool,
}

impl Waiting {
    async fn run(mut self) -> Result<(), TapRefused> {
        let bound = self.shared.settings.wait_max;
        match tokio::time::timeout(bound, self.room()).await {
            Ok(pending) => {
                self.is_decided = true;
                acknowledged(pending).await
            }
            Err(_) => {
                self.reason = reason_of(self.full);
                if self.entry.is_audit() { Err(refused()) } else { Ok(()) }
            }
        }
    }

    async fn room(&mut self) -> Option<oneshot::Receiver<bool>> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut room = pin!(shared.lane(self.entry.lane()).room.notified());
            // From here on no notification is missed, so the queue is tried after it.
            room.as_mut().enable();
            match shared.push(&self.entry, &self.observation) {
                Ok(pending) => return pending,
                Err(full) => self.full = full,
            }
            room.await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_decided {
            self.entry.tap.drop_rows(self.reason, self.observation.rows as u64);
        }
    }
}
