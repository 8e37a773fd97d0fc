//! What the taps, the writers and the shipper share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::metrics::{CaptureMetrics, ModelCounts};
use super::privacy::Hasher;
use super::schema::Plan;
use super::sealed::Sealed;
use super::settings::{CaptureError, CaptureSettings};
use super::tap::{Current, Entry, TapState, Ticket};
use crate::infer::{Full, Observation, ObservationQueue, TappedVersion};
use crate::model::ModelId;
use crate::model::monitoring::{CaptureConfig, CaptureMode};

/// Says whether an observation lies outside what its version was trained on.
pub type OutlierHook = Arc<dyn Fn(&ModelId, &Observation) -> bool + Send + Sync>;

/// See the module.
pub(super) struct Shared {
    pub(super) settings: CaptureSettings,
    pub(super) hasher: Hasher,
    pub(super) metrics: CaptureMetrics,
    /// What waits for each writer, in the order of [`Lane::ALL`].
    pub(super) lanes: [Waiting; 2],
    /// The largest number that a segment has had.
    pub(super) numbers: AtomicU64,
    pub(super) sealed: Sealed,
    /// Bytes of segments that are open or wait for the shipper.
    pub(super) wal_bytes: AtomicU64,
    /// Bytes of files that wait for the shipper.
    pub(super) spool_bytes: AtomicU64,
    pub(super) taps: Mutex<Vec<Arc<TapState>>>,
    pub(super) models: Mutex<BTreeMap<String, Arc<ModelCounts>>>,
    /// What was set live, by model; stands in for what the version says.
    pub(super) configs: Mutex<BTreeMap<String, CaptureConfig>>,
    pub(super) hook: OnceLock<OutlierHook>,
    pub(super) last_error: Mutex<Option<String>>,
    pub(super) stopping: AtomicBool,
    /// Makes a writer panic once.
    #[cfg(test)]
    pub(super) is_broken: AtomicBool,
}

/// Which of the two writers looks after a row. What is promised must not wait for what is not, and what is not promised
/// must cost the requests next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// `best_effort`: its writer runs on what the requests leave of the cores.
    Spare,
    /// `durable` and `audit`: its writer competes with the requests, which wait for it.
    Promised,
}

impl Lane {
    /// Both.
    pub(super) const ALL: [Lane; 2] = [Lane::Spare, Lane::Promised];

    /// Of a version that is captured so.
    pub(super) fn of(mode: CaptureMode) -> Lane {
        match mode {
            CaptureMode::Off | CaptureMode::BestEffort => Lane::Spare,
            CaptureMode::Durable | CaptureMode::Audit => Lane::Promised,
        }
    }
}

/// What waits for a writer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) queue: ObservationQueue<Ticket>,
    /// Told when something was taken from the queue.
    pub(super) room: Notify,
    pub(super) writer: OnceLock<Thread>,
    /// When the oldest row in an open segment was answered, in microseconds; `u64::MAX` when there is none.
    pub(super) oldest_open_us: AtomicU64,
}

impl Waiting {
    pub(super) fn new(settings: &CaptureSettings) -> Waiting {
        Waiting {
            queue: ObservationQueue::new(settings.queue_rows, settings.queue_bytes),
            room: Notify::new(),
            writer: OnceLock::new(),
            oldest_open_us: AtomicU64::new(u64::MAX),
        }
    }

    /// Has the writer look now.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.writer.get() {
            thread.unpark();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn is_outlier(&self, id: &ModelId, observation: &Observation) -> bool {
        self.hook.get().is_some_and(|hook| hook(id, observation))
    }

    /// Puts an observation into the queue.
    pub(super) fn push(
        &self,
        entry: &Entry,
        observation: &Arc<Observation>,
    ) -> Result<Option<oneshot::Receiver<bool>>, Full> {
        let (ticket, pending) = entry.ticket();
        let lane = self.lane(entry.lane());
        lane.queue.push(ticket, observation)?;
        // Someone waits for the disk: the writer begins at once instead of at its next look.
        if pending.is_some() {
            lane.wake();
        }
        Ok(pending)
    }

    /// Has the writers look now.
    pub(super) fn wake(&self) {
        self.lanes.iter().for_each(Waiting::wake);
    }

    /// What waits for a writer.
    pub(super) fn lane(&self, lane: Lane) -> &Waiting {
        let [spare, promised] = &self.lanes;
        match lane {
            Lane::Spare => spare,
            Lane::Promised => promised,
        }
    }

    /// The number of a new segment.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What holds for a version now.
    pub(super) fn current(&self, version: &TappedVersion) -> Result<Current, CaptureError> {
        let live = self.configs.lock().get(&*version.id.name).cloned();
        let own = &version.config.monitoring.capture;
        let config = live.map_or_else(|| own.clone(), |live| live.over(own));
        let plan = Arc::new(Plan::new(version, &config, &self.hasher)?);
        Ok(Current { rules: self.settings.effective(&config), plan })
    }

    /// What is counted of a model.
    pub(super) fn counts(&self, model: &str) -> Arc<ModelCounts> {
        let mut models = self.models.lock();
        let counts = models.entry(model.to_owned());
        Arc::clone(counts.or_insert_with(|| self.metrics.model(model, &Default::default())))
    }

    /// Bytes of WAL and spool.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed) + self.spool_bytes.load(Ordering::Relaxed)
    }

    /// Remembers what went wrong last, for people.
    pub(super) fn failed(&self, error: &dyn std::fmt::Display) {
        *self.last_error.lock() = Some(error.to_string());
    }
}
