//! The scheduler's metric families and the handles of one version, resolved when it is published.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{MetricsError, ROWS_BUCKETS, Registry};

const LABELS: [&str; 2] = ["model", "version"];

/// Why requests are refused.
const REJECTED: [&str; 4] = ["queue_full", "displaced", "deadline", "unavailable"];

/// The families; one of each in the process.
#[derive(Debug, Clone)]
pub struct SchedulerFamilies {
    queue_length: IntGaugeVec,
    inflight: IntGaugeVec,
    batch_rows: HistogramVec,
    batches: IntCounterVec,
    rows: IntCounterVec,
    rejected: IntCounterVec,
    expired: IntCounterVec,
    cancelled: IntCounterVec,
    workers_stuck: IntGaugeVec,
    worker_panics: IntCounterVec,
}

/// The handles of one version.
#[derive(Debug, Clone)]
pub struct SchedulerMetrics {
    pub(super) queue_length: IntGauge,
    pub(super) inflight: IntGauge,
    pub(super) batch_rows: Histogram,
    pub(super) batches: IntCounter,
    pub(super) rows: IntCounter,
    pub(super) rejected_full: IntCounter,
    pub(super) rejected_displaced: IntCounter,
    pub(super) rejected_deadline: IntCounter,
    pub(super) rejected_unavailable: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) cancelled: IntCounter,
    pub(super) workers_stuck: IntGauge,
    pub(super) worker_panics: IntCounter,
}

impl SchedulerFamilies {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<SchedulerFamilies, MetricsError> {
        let reason = [LABELS[0], LABELS[1], "reason"];
        Ok(SchedulerFamilies {
            queue_length: registry.int_gauges(
                "weir_queue_length",
                "Requests waiting for a worker",
                &LABELS,
            )?,
            inflight: registry.int_gauges("weir_inflight_requests", "Requests queued or running", &LABELS)?,
            batch_rows: registry.histograms("weir_batch_rows", "Rows in a batch", &LABELS, &ROWS_BUCKETS)?,
            batches: registry.counters("weir_batches_total", "Batches run", &LABELS)?,
            rows: registry.counters("weir_rows_total", "Rows run", &LABELS)?,
            rejected: registry.counters(
                "weir_requests_rejected_total",
                "Requests refused before they ran, by reason",
                &reason,
            )?,
            expired: registry.counters(
                "weir_requests_expired_total",
                "Requests whose deadline passed while they waited or ran",
                &LABELS,
            )?,
            cancelled: registry.counters(
                "weir_requests_cancelled_total",
                "Requests whose client went away while they waited or ran",
                &LABELS,
            )?,
            workers_stuck: registry.int_gauges(
                "weir_workers_stuck",
                "Workers in a run that nobody waits for and that does not stop",
                &LABELS,
            )?,
            worker_panics: registry.counters(
                "weir_worker_panics_total",
                "Batches that ended in a panic",
                &LABELS,
            )?,
        })
    }

    /// Takes away the series of a version that is served no more.
    pub fn forget(&self, model: &str, version: &str) {
        let labels = [model, version];
        for gauges in [&self.queue_length, &self.inflight, &self.workers_stuck] {
            gauges.remove_label_values(&labels).ok();
        }
        for counters in [&self.batches, &self.rows, &self.expired, &self.cancelled, &self.worker_panics] {
            counters.remove_label_values(&labels).ok();
        }
        self.batch_rows.remove_label_values(&labels).ok();
        for reason in REJECTED {
            self.rejected.remove_label_values(&[model, version, reason]).ok();
        }
    }

    /// The handles of one version.
    pub fn resolve(&self, model: &str, version: &str) -> SchedulerMetrics {
        let labels = [model, version];
        let rejected = |reason: &str| self.rejected.with_label_values(&[model, version, reason]);
        SchedulerMetrics {
            queue_length: self.queue_length.with_label_values(&labels),
            inflight: self.inflight.with_label_values(&labels),
            batch_rows: self.batch_rows.with_label_values(&labels),
            batches: self.batches.with_label_values(&labels),
            rows: self.rows.with_label_values(&labels),
            rejected_full: rejected(REJECTED[0]),
            rejected_displaced: rejected(REJECTED[1]),
            rejected_deadline: rejected(REJECTED[2]),
            rejected_unavailable: rejected(REJECTED[3]),
            expired: self.expired.with_label_values(&labels),
            cancelled: self.cancelled.with_label_values(&labels),
            workers_stuck: self.workers_stuck.with_label_values(&labels),
            worker_panics: self.worker_panics.with_label_values(&labels),
        }
    }
}

impl SchedulerMetrics {
    /// Handles that no registry shows, for tests and benches.
    pub fn detached() -> SchedulerMetrics {
        let counter = || IntCounter::new("detached", "detached").expect("the name is a metric name");
        let gauge = || IntGauge::new("detached", "detached").expect("the name is a metric name");
        let histogram = HistogramOpts::new("detached", "detached").buckets(ROWS_BUCKETS.to_vec());
        SchedulerMetrics {
            queue_length: gauge(),
            inflight: gauge(),
            batch_rows: Histogram::with_opts(histogram).expect("the buckets ascend"),
            batches: counter(),
            rows: counter(),
            rejected_full: counter(),
            rejected_displaced: counter(),
            rejected_deadline: counter(),
            rejected_unavailable: counter(),
            expired: counter(),
            cancelled: counter(),
            workers_stuck: gauge(),
            worker_panics: counter(),
        }
    }
}
