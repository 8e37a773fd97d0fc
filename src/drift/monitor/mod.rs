//! Watches the finished requests of every version that has a baseline, or is to learn one.
//!
//! ```text
//!  request ──► Tap::observe ──► ObservationQueue ──► step, every 10 ms, on one thread of low priority
//!  (many)      (a few atomics)  (bounded; drops      ├─ values of each feature ──► open pane
//!                                are counted)        └─ at the end of a pane: file, windows, states ──► metrics, transitions
//! ```
//!
//! All work is in [`Monitor::step`], which takes the time as a value: tests call it, the thread calls it with the clock.
//! A request never waits for a lock that is held here; [`Monitor::report`] and the like do.

mod batch;
mod columns;
mod lane;
mod learn;
mod outlier;
mod points;
mod runner;
mod tap;
mod transition;
mod trend;
mod values;
mod version;

pub use self::batch::{Batch, add_batch};
pub use self::tap::DriftTaps;
pub use self::transition::{Lane, Transition};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use self::lane::{Judged, LaneState, Points};
use self::outlier::{Outliers, Ranges};
use self::tap::DriftTap;
use self::values::Reader;
use self::version::{Counted, VersionState};
use super::baseline::Baseline;
use super::config::{DriftConfig, Window};
use super::decide::Rules;
use super::decide::hold::overall;
use super::metrics::DriftMetrics;
use super::report::{DriftReport, DriftState};
use crate::infer::{Full, Observation, ObservationQueue, Tap, TappedVersion};
use crate::metrics::{MetricsError, Registry};
use crate::model::ModelId;

/// Observations that one step takes at most, before others may have the lock and the core.
const STEP_OBSERVATIONS: usize = 256;

/// Is told what changed. Called on the monitor's thread, which it holds up.
pub type OnTransition = Box<dyn Fn(Transition) + Send + Sync>;

/// The monitor; one in the process.
pub struct Monitor {
    config: DriftConfig,
    rules: Rules,
    queue: Arc<ObservationQueue<Arc<ModelId>>>,
    metrics: DriftMetrics,
    on_transition: OnTransition,
    state: Mutex<State>,
    outliers: Outliers,
    /// Dropping it ends the thread.
    alive: Mutex<Option<SyncSender<()>>>,
    /// Makes a step panic once.
    #[cfg(test)]
    is_broken: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    versions: BTreeMap<ModelId, VersionState>,
    reader: Reader,
    /// When the open panes began; `None` before the first step.
    pane_us: Option<i64>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What is known of one version, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    /// Model and version.
    pub id: ModelId,
    /// Of which requests.
    pub lane: Lane,
    /// The worst state of a feature.
    pub state: DriftState,
    /// Features in each state, in the order of [`DriftState::ALL`].
    pub features: [usize; 4],
}

impl Monitor {
    /// A monitor and its thread.
    ///
    /// # Errors
    /// When its metrics are registered already, or there can be no thread.
    pub fn start(
        config: DriftConfig,
        registry: &Registry,
        on_transition: OnTransition,
    ) -> Result<Arc<Monitor>, MetricsError> {
        let monitor = Monitor::new(config, registry, on_transition)?;
        match runner::start(&monitor) {
            Ok(alive) => *monitor.alive.lock() = Some(alive),
            Err(error) => tracing::error!(%error, "no thread for drift: nothing is profiled"),
        }
        Ok(monitor)
    }

    /// A monitor without a thread: whoever has it calls [`Monitor::step`].
    ///
    /// # Errors
    /// When its metrics are registered already.
    pub fn new(
        config: DriftConfig,
        registry: &Registry,
        on_transition: OnTransition,
    ) -> Result<Arc<Monitor>, MetricsError> {
        Ok(Arc::new(Monitor {
            rules: config.rules(),
            queue: Arc::new(ObservationQueue::new(config.queue_rows, config.queue_bytes)),
            metrics: DriftMetrics::register(registry)?,
            config,
            on_transition,
            state: Mutex::default(),
            outliers: Outliers::default(),
            alive: Mutex::default(),
            #[cfg(test)]
            is_broken: std::sync::atomic::AtomicBool::default(),
        }))
    }

    /// Keeps little waiting while requests want the core.
    fn make_way(&self, is_in_the_way: bool) {
        self.queue.narrow(is_in_the_way);
        while let Some((_, observation)) = self.queue.excess() {
            self.metrics.dropped().count(Full::Rows, observation.rows);
        }
    }

    /// Takes what waits, closes panes whose time is over and judges them. `now_us` is the time since 1970.
    pub fn step(&self, now_us: i64) {
        #[cfg(test)]
        assert!(!self.is_broken.swap(false, Ordering::Relaxed));
        let length_us = self.pane_us();
        let pane_us = now_us.div_euclid(length_us) * length_us;
        let mut state = self.state.lock();
        let open_us = *state.pane_us.get_or_insert(pane_us);
        // What waited belongs to the pane that was open while it came; a step is much shorter than a pane.
        self.drain(&mut state, if pane_us > open_us { usize::MAX } else { STEP_OBSERVATIONS });
        // A clock that went back closes nothing: the pane stays open until its time comes again.
        if pane_us <= open_us {
            return;
        }
        let points = self.points(&state, open_us);
        drop(state);
        let judged = points.into_iter().map(|(of, points)| (of, points.judge(&self.rules))).collect();
        let mut state = self.state.lock();
        let transitions = self.close(&mut state, open_us, now_us, judged);
        state.pane_us = Some(pane_us);
        drop(state);
        transitions.into_iter().for_each(|transition| (self.on_transition)(transition));
    }

    /// Ends the thread and writes the open panes. After a restart within the same pane they go on where they were.
    pub fn stop(&self) {
        drop(self.alive.lock().take());
        let mut state = self.state.lock();
        self.drain(&mut state, usize::MAX);
        let (Some(open_us), length_us) = (state.pane_us, self.pane_us()) else { return };
        for (id, version) in &mut state.versions {
            version.active.store(false, Ordering::Relaxed);
            for lane in version.lanes.values_mut() {
                if !lane.flush(open_us, length_us) {
                    self.metrics.write_failed(id);
                }
            }
        }
    }

    /// The tap of a version, or `None` when its settings want none.
    pub fn tap(self: &Arc<Self>, version: &TappedVersion) -> Option<Arc<dyn Tap>> {
        if !version.config.monitoring.drift.unwrap_or(self.config.enabled) {
            return None;
        }
        let mut state = self.state.lock();
        let entry = entry(&mut state, &version.id);
        entry.tapped(version, &self.config);
        let token = entry.tap.upgrade().unwrap_or_default();
        entry.tap = Arc::downgrade(&token);
        let tap = DriftTap {
            queue: Arc::clone(&self.queue),
            dropped: self.metrics.dropped(),
            id: Arc::new(version.id.clone()),
            active: Arc::clone(&entry.active),
            _token: token,
        };
        self.show_ranges(&state);
        Some(Arc::new(tap))
    }

    /// Compares a version with a baseline from now on. What was seen against the same baseline before counts on.
    pub fn set_baseline(&self, id: &ModelId, baseline: Baseline) {
        let mut state = self.state.lock();
        entry(&mut state, id).set_baseline(Arc::new(baseline), &self.config);
        self.show_ranges(&state);
    }

    /// Learns the baseline of a version from its next `rows` rows. What it is compared with now is given up.
    pub fn learn(&self, id: &ModelId, rows: usize) {
        entry(&mut self.state.lock(), id).learn(rows, &self.config);
    }

    /// What a version is compared with: given, or learned.
    pub fn baseline(&self, id: &ModelId) -> Option<Arc<Baseline>> {
        self.state.lock().versions.get(id)?.baseline.clone()
    }

    /// Gives a version up: its profiles in memory, its baseline and its metrics. Files stay until they are too old.
    pub fn forget(&self, id: &ModelId) {
        if let Some(version) = self.state.lock().versions.remove(id) {
            version.active.store(false, Ordering::Relaxed);
        }
        self.metrics.forget(id);
    }

    /// The report of a window, up to now; `None` without a baseline or without such requests.
    pub fn report(&self, id: &ModelId, lane: Lane, window: Window) -> Option<DriftReport> {
        self.report_at(id, lane, window, now_us())
    }

    /// The same at a given time.
    pub fn report_at(&self, id: &ModelId, lane: Lane, window: Window, now_us: i64) -> Option<DriftReport> {
        let state = self.state.lock();
        let version = state.versions.get(id)?;
        let mut report = version.lanes.get(&lane)?.report(window, now_us, &self.rules);
        report.unwatched = version.unwatched();
        Some(report)
    }

    /// The windows that are judged.
    pub fn windows(&self) -> &[Window] {
        &self.config.windows
    }

    /// Every version that is compared with a baseline.
    pub fn drifting(&self) -> Vec<VersionSummary> {
        let state = self.state.lock();
        let lanes =
            state.versions.iter().flat_map(|(id, version)| version.lanes.iter().map(move |lane| (id, lane)));
        lanes
            .map(|(id, (lane, found))| {
                let states = found.states().values().copied();
                let features =
                    DriftState::ALL.map(|state| states.clone().filter(|found| *found == state).count());
                VersionSummary { id: id.clone(), lane: *lane, state: overall(states), features }
            })
            .collect()
    }

    /// Whether an input of a request lies beyond all that its version's baseline has seen. Waits for nothing.
    pub fn is_outlier(&self, id: &ModelId, observation: &Observation) -> bool {
        self.outliers.is_outlier(id, observation)
    }

    fn show_ranges(&self, state: &State) {
        let ranges = state.versions.iter().filter_map(|(id, version)| Some((id.clone(), version.ranges()?)));
        self.outliers.replace(ranges.collect::<BTreeMap<ModelId, Arc<Ranges>>>());
    }

    fn pane_us(&self) -> i64 {
        i64::try_from(self.config.pane.as_micros()).unwrap_or(i64::MAX / 4).max(1)
    }

    /// Counts what waits, and at most what waited at first.
    fn drain(&self, state: &mut State, most: usize) {
        let mut seen: BTreeSet<Arc<ModelId>> = BTreeSet::new();
        for _ in 0..most.min(self.queue.len()) {
            let Some((id, observation)) = self.queue.pop() else { break };
            let State { versions, reader, .. } = state;
            let Some(version) = versions.get_mut(&*id) else { continue };
            let (counted, written) = version.count(&observation, reader, &self.config);
            let is_learned = counted == Counted::Learned && version.baseline.is_some();
            version.tally(counted, observation.rows);
            if let Err(error) = written {
                tracing::warn!(model = %id.name, version = %id.version, %error, "a learned baseline was not written");
                self.metrics.write_failed(&id);
            }
            if is_learned {
                self.show_ranges(state);
            }
            seen.insert(id);
        }
        for id in seen {
            let told = state.versions.get_mut(&*id).into_iter().flat_map(VersionState::told);
            told.for_each(|(counted, rows)| self.metrics.rows(&id, counted.as_str(), rows));
        }
    }

    /// The points of every lane of a version that has embeddings.
    fn points(&self, state: &State, open_us: i64) -> Vec<((ModelId, Lane), Points)> {
        let loaded = state.versions.iter().filter(|(_, version)| version.tap.strong_count() > 0);
        let lanes = loaded.flat_map(|(id, version)| version.lanes.iter().map(move |lane| (id, lane)));
        let points = |(id, (lane, found)): (&ModelId, (&Lane, &LaneState))| {
            Some(((id.clone(), *lane), found.points(open_us, self.pane_us(), &self.config)?))
        };
        lanes.filter_map(points).collect()
    }

    fn close(
        &self,
        state: &mut State,
        open_us: i64,
        now_us: i64,
        mut judged: BTreeMap<(ModelId, Lane), Judged>,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for (id, version) in &mut state.versions {
            if version.tap.strong_count() == 0 {
                // Unloaded: its open panes are kept on disk, its memory and metrics are not.
                let lanes = std::mem::take(&mut version.lanes);
                lanes.into_values().for_each(|mut lane| {
                    lane.flush(open_us, self.pane_us());
                });
                self.metrics.forget(id);
                continue;
            }
            let (mut bytes, mut worst, mut states) = (0, None, BTreeMap::new());
            for (lane, found) in &mut version.lanes {
                let judged = judged.remove(&(id.clone(), *lane));
                let closed = found.close(open_us, self.pane_us(), &self.config, &self.rules, judged);
                bytes += found.bytes();
                if !closed.is_written {
                    tracing::warn!(model = %id.name, version = %id.version, "drift: a pane was not written");
                    self.metrics.write_failed(id);
                }
                for (feature, state) in found.states() {
                    let shown = states.entry(feature.clone()).or_insert(*state);
                    *shown = (*shown).max(*state);
                }
                let state = |report: &Option<DriftReport>| report.as_ref().map(|report| report.state);
                if state(&worst) < Some(closed.report.state) {
                    worst = Some(closed.report);
                }
                transitions.extend(closed.transitions);
            }
            // Gauges have no label for the lane: they show the worse of both.
            if let Some(report) = worst {
                self.metrics.show(id, &states, &report, &self.config.always_scored);
                self.metrics.closed(id, now_us, bytes);
            }
        }
        transitions
    }
}

fn entry<'a>(state: &'a mut State, id: &ModelId) -> &'a mut VersionState {
    state.versions.entry(id.clone()).or_insert_with(|| VersionState::new(id.clone()))
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
