//! The metric families of capture, and what is known of each model's rows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use super::ledger::Totals;
use super::reason::{self, Counts, Dropped, REASONS, Reason};
use crate::metrics::{MetricsError, Registry};

/// The families; one of each in the process.
#[derive(Debug, Clone)]
pub(super) struct CaptureMetrics {
    rows: IntCounterVec,
    dropped: IntCounterVec,
    pub(super) lag: Gauge,
    pub(super) wal_bytes: IntGauge,
    pub(super) disk_bytes: IntGauge,
    pub(super) upload_failures: IntCounter,
    pub(super) uploads: IntCounter,
    pub(super) torn: IntCounter,
    pub(super) oversize: IntCounter,
}

impl CaptureMetrics {
    pub(super) fn register(registry: &Registry) -> Result<CaptureMetrics, MetricsError> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, MetricsError> {
            Ok(registry.counters(name, help, &[])?.with_label_values::<&str>(&[]))
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, MetricsError> {
            Ok(registry.int_gauges(name, help, &[])?.with_label_values::<&str>(&[]))
        };
        Ok(CaptureMetrics {
            rows: registry.counters(
                "weir_capture_rows_total",
                "Rows that capture was to write, wrote to its log, and dropped",
                &["model", "result"],
            )?,
            dropped: registry.counters(
                "weir_capture_dropped_rows_total",
                "Rows that capture dropped, by reason",
                &["model", "reason"],
            )?,
            lag: registry
                .gauges(
                    "weir_capture_lag_seconds",
                    "Age of the oldest row that is not in the store yet",
                    &[],
                )?
                .with_label_values::<&str>(&[]),
            wal_bytes: gauge("weir_capture_wal_bytes", "Bytes of the write-ahead log")?,
            disk_bytes: gauge(
                "weir_capture_disk_bytes",
                "Bytes of the write-ahead log and of files to be uploaded",
            )?,
            upload_failures: counter(
                "weir_capture_upload_failures_total",
                "Attempts to upload a file that failed",
            )?,
            uploads: counter("weir_capture_uploads_total", "Files that were uploaded")?,
            torn: counter(
                "weir_capture_torn_segments_total",
                "Segments of the log that were cut at the start",
            )?,
            oversize: counter(
                "weir_capture_oversize_values_total",
                "Values that were too large to be written",
            )?,
        })
    }

    /// What is counted of `model`, from what its folder says of earlier processes.
    pub(super) fn model(&self, model: &str, before: &Totals) -> Arc<ModelCounts> {
        let dropped = Counts::default();
        dropped.add_all(&reason::from_words(&before.dropped));
        let rows = |result| self.rows.with_label_values(&[model, result]);
        Arc::new(ModelCounts {
            accepted: AtomicU64::new(before.written + before.dropped.values().sum::<u64>()),
            written: AtomicU64::new(before.written),
            dropped,
            shown: [rows("accepted"), rows("written"), rows("dropped")],
            shown_by_reason: Default::default(),
            by_reason: self.dropped.clone(),
            model: model.to_owned(),
        })
    }
}

/// Rows of one model since its folder was made. Metrics show those of this process.
#[derive(Debug)]
pub(super) struct ModelCounts {
    accepted: AtomicU64,
    written: AtomicU64,
    dropped: Counts,
    shown: [IntCounter; 3],
    /// A series is shown from its first row on.
    shown_by_reason: [OnceLock<IntCounter>; REASONS],
    by_reason: IntCounterVec,
    model: String,
}

impl ModelCounts {
    pub(super) fn accept(&self, rows: u64) {
        self.accepted.fetch_add(rows, Ordering::Relaxed);
        self.shown[0].inc_by(rows);
    }

    pub(super) fn write(&self, rows: u64) {
        self.written.fetch_add(rows, Ordering::Relaxed);
        self.shown[1].inc_by(rows);
    }

    pub(super) fn drop_rows(&self, reason: Reason, rows: u64) {
        self.dropped.add(reason, rows);
        self.shown[2].inc_by(rows);
        if let Some(shown) = self.shown_by_reason.get(reason.index()) {
            let labels = [self.model.as_str(), reason.as_str()];
            shown.get_or_init(|| self.by_reason.with_label_values(&labels)).inc_by(rows);
        }
    }

    /// Accepted, written, dropped.
    pub(super) fn read(&self) -> (u64, u64, Dropped) {
        // What was accepted is read last, so that it is never less than the others together.
        let dropped = self.dropped.read();
        let written = self.written.load(Ordering::Acquire);
        (self.accepted.load(Ordering::Acquire), written, dropped)
    }
}
