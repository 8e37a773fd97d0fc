//! The metric families of serving, and the handles of one version.
//!
//! Handles are made when a version is published, and their series when the first request needs them: a repository of
//! a thousand idle models shows no histogram of requests that never came. After that a request looks up no label.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::statistics::StatisticsCounters;
use crate::error::Code;
use crate::infer::{AnswerObserver, Protocol, Timing};
use crate::metrics::{DURATION_BUCKETS, MetricsError, Registry};
use crate::model::ModelId;
use crate::scheduler::SchedulerFamilies;

/// Bucket bounds for loads and swaps in seconds.
const LOAD_BUCKETS: [f64; 10] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0];

/// The stages of a request, in the order of the labels of `stage`.
const STAGES: [&str; 7] = ["decode", "queue", "gather", "compute", "scatter", "encode", "total"];

/// Outcomes: `ok`, or the code of the failure.
const OUTCOMES: usize = 16;

/// The families; one of each in the process.
#[derive(Debug, Clone)]
pub(super) struct ServingMetrics {
    requests: IntCounterVec,
    unrouted: IntCounterVec,
    stages: HistogramVec,
    loads: IntCounterVec,
    load_seconds: HistogramVec,
    swaps: IntCounterVec,
    swap_seconds: HistogramVec,
    memory: IntGaugeVec,
    ready: IntGaugeVec,
    server_ready: IntGaugeVec,
    /// The scheduler's families, which are resolved when a version is loaded.
    pub(super) scheduler: SchedulerFamilies,
}

impl ServingMetrics {
    /// Registers the families.
    pub(super) fn register(registry: &Registry) -> Result<ServingMetrics, MetricsError> {
        let version = ["model", "version"];
        Ok(ServingMetrics {
            requests: registry.counters(
                "weir_requests_total",
                "Requests that reached a version, by protocol and outcome",
                &["model", "version", "protocol", "outcome"],
            )?,
            unrouted: registry.counters(
                "weir_requests_unrouted_total",
                "Requests that reached no version: malformed, of an unknown model, or too late",
                &["protocol", "outcome"],
            )?,
            stages: registry.histograms(
                "weir_request_stage_duration_seconds",
                "Time of answered requests in each stage",
                &["model", "version", "stage"],
                &DURATION_BUCKETS,
            )?,
            loads: registry.counters(
                "weir_model_loads_total",
                "Versions that were loaded, or were not, by outcome",
                &["model", "outcome"],
            )?,
            load_seconds: registry.histograms(
                "weir_model_load_duration_seconds",
                "Time to probe, open and warm a version",
                &["model"],
                &LOAD_BUCKETS,
            )?,
            swaps: registry.counters(
                "weir_swaps_total",
                "Changes of a model's served versions",
                &["model"],
            )?,
            swap_seconds: registry.histograms(
                "weir_swap_duration_seconds",
                "Time to publish a change of a model's served versions",
                &["model"],
                &DURATION_BUCKETS,
            )?,
            memory: registry.int_gauges(
                "weir_model_memory_bytes",
                "Resident bytes that loading the version takes, as its probe measured them",
                &version,
            )?,
            ready: registry.int_gauges("weir_model_ready", "Whether the version takes requests", &version)?,
            server_ready: registry.int_gauges(
                "weir_server_ready",
                "Whether the server takes requests",
                &[],
            )?,
            scheduler: SchedulerFamilies::register(registry)?,
        })
    }

    /// Counts a request that reached no version. Its model's name is not a label: clients choose it.
    pub(super) fn unrouted(&self, protocol: Protocol, code: Code) {
        self.unrouted.with_label_values(&[protocol.as_str(), code.as_str()]).inc();
    }

    /// Counts a load and its time.
    pub(super) fn load(&self, model: &str, ok: bool, took: Duration) {
        self.loads.with_label_values(&[model, if ok { "ok" } else { "failed" }]).inc();
        self.load_seconds.with_label_values(&[model]).observe(took.as_secs_f64());
    }

    /// Counts a swap and its time.
    pub(super) fn swap(&self, model: &str, took: Duration) {
        self.swaps.with_label_values(&[model]).inc();
        self.swap_seconds.with_label_values(&[model]).observe(took.as_secs_f64());
    }

    /// Shows a version as served.
    pub(super) fn published(&self, id: &ModelId, memory_bytes: u64) {
        let version = id.version.to_string();
        let labels = [&*id.name, version.as_str()];
        self.memory.with_label_values(&labels).set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        self.ready.with_label_values(&labels).set(1);
    }

    /// Shows whether the server is ready.
    pub(super) fn server_ready(&self, ready: bool) {
        self.server_ready.with_label_values::<&str>(&[]).set(i64::from(ready));
    }

    /// Takes a version's series away, so that there are never more than versions served.
    pub(super) fn forget_version(&self, id: &ModelId) {
        let version = id.version.to_string();
        let labels = [&*id.name, version.as_str()];
        self.scheduler.forget(labels[0], labels[1]);
        // An error only says that the series was never made.
        self.memory.remove_label_values(&labels).ok();
        self.ready.remove_label_values(&labels).ok();
        for stage in STAGES {
            self.stages.remove_label_values(&[labels[0], labels[1], stage]).ok();
        }
        for protocol in Protocol::ALL {
            for outcome in outcomes() {
                self.requests.remove_label_values(&[labels[0], labels[1], protocol.as_str(), outcome]).ok();
            }
        }
    }

    /// Takes a model's series away.
    pub(super) fn forget_model(&self, model: &str) {
        for outcome in ["ok", "failed"] {
            self.loads.remove_label_values(&[model, outcome]).ok();
        }
        self.load_seconds.remove_label_values(&[model]).ok();
        self.swaps.remove_label_values(&[model]).ok();
        self.swap_seconds.remove_label_values(&[model]).ok();
    }
}

/// Every code, in the order of their numbers.
const CODES: [Code; 15] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::ResourceExhausted,
    Code::TooLarge,
    Code::FailedPrecondition,
    Code::Conflict,
    Code::Stale,
    Code::Unavailable,
    Code::DeadlineExceeded,
    Code::Cancelled,
    Code::Unimplemented,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::Internal,
];

fn outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once("ok").chain(CODES.into_iter().map(Code::as_str))
}

/// The handles of one version.
#[derive(Debug)]
pub(super) struct VersionMetrics {
    families: ServingMetrics,
    id: ModelId,
    version: Arc<str>,
    requests: [[OnceLock<IntCounter>; OUTCOMES]; Protocol::ALL.len()],
    stages: OnceLock<[Histogram; STAGES.len()]>,
    /// The version's series were taken away; what its last requests count goes nowhere.
    forgotten: AtomicBool,
    /// For the statistics extension.
    pub(super) statistics: StatisticsCounters,
}

impl VersionMetrics {
    /// Handles of a version that is about to be published.
    pub(super) fn new(families: &ServingMetrics, id: &ModelId) -> VersionMetrics {
        VersionMetrics {
            families: families.clone(),
            id: id.clone(),
            version: id.version.to_string().into(),
            requests: Default::default(),
            stages: OnceLock::new(),
            forgotten: AtomicBool::new(false),
            statistics: StatisticsCounters::default(),
        }
    }

    /// Makes no more series. Those that exist are taken away by [`ServingMetrics::forget_version`].
    pub(super) fn retire(&self) {
        self.forgotten.store(true, Ordering::Release);
    }

    fn count(&self, protocol: Protocol, outcome: Option<Code>) {
        let index = outcome.map_or(0, |code| 1 + code as usize);
        let Some(cell) = self.requests[protocol.index()].get(index) else { return };
        if let Some(counter) = cell.get() {
            return counter.inc();
        }
        if !self.forgotten.load(Ordering::Acquire) {
            let outcome = outcome.map_or("ok", Code::as_str);
            cell.get_or_init(|| {
                let labels = [&*self.id.name, &*self.version, protocol.as_str(), outcome];
                self.families.requests.with_label_values(&labels)
            })
            .inc();
        }
    }

    fn stages(&self) -> Option<&[Histogram; STAGES.len()]> {
        if let Some(stages) = self.stages.get() {
            return Some(stages);
        }
        if self.forgotten.load(Ordering::Acquire) {
            return None;
        }
        Some(self.stages.get_or_init(|| {
            STAGES
                .map(|stage| self.families.stages.with_label_values(&[&*self.id.name, &*self.version, stage]))
        }))
    }
}

impl AnswerObserver for VersionMetrics {
    fn encoded(&self, timing: &Timing, since: Instant) {
        if let Some([.., encode, total]) = self.stages() {
            let now = Instant::now();
            encode.observe((now - since).as_secs_f64());
            if let Some(received) = timing.received {
                total.observe((now - received).as_secs_f64());
            }
        }
    }
}

/// One request while it is answered. Dropped without an outcome, it counts as cancelled: its caller has gone.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    metrics: &'a VersionMetrics,
    protocol: Protocol,
    started: Instant,
    open: bool,
}

impl<'a> Measured<'a> {
    /// Starts to measure; `received` is when the transport saw the request.
    pub(super) fn start(
        metrics: &'a VersionMetrics,
        protocol: Protocol,
        received: Option<Instant>,
    ) -> Measured<'a> {
        Measured { metrics, protocol, started: received.unwrap_or_else(Instant::now), open: true }
    }

    /// The request is answered.
    pub(super) fn succeeded(mut self, rows: usize, timing: &Timing) {
        self.open = false;
        self.metrics.count(self.protocol, None);
        self.metrics.statistics.succeeded(rows, timing, self.started.elapsed());
        if let Some([decode, queue, gather, compute, scatter, ..]) = self.metrics.stages() {
            decode.observe(timing.decode.as_secs_f64());
            queue.observe(timing.queue.as_secs_f64());
            gather.observe(timing.gather.as_secs_f64());
            compute.observe(timing.compute.as_secs_f64());
            scatter.observe(timing.scatter.as_secs_f64());
        }
    }

    /// The request got an error.
    pub(super) fn failed(mut self, code: Code) {
        self.open = false;
        self.metrics.count(self.protocol, Some(code));
        self.metrics.statistics.failed(self.started.elapsed());
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if self.open {
            let code = if std::thread::panicking() { Code::Internal } else { Code::Cancelled };
            self.metrics.count(self.protocol, Some(code));
            self.metrics.statistics.failed(self.started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_numbers() {
        for (index, code) in CODES.into_iter().enumerate() {
            assert_eq!(code as usize, index, "{code:?}");
        }
        assert!(CODES.len() < OUTCOMES);
    }
}
