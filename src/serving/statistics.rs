//! Counts and durations per version, in the form of Triton's statistics extension.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Servable;
use crate::infer::Timing;
use crate::model::Version;
use crate::scheduler::BatchSizeStatistics;

/// How often, and how long in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DurationCount {
    /// How often.
    pub count: u64,
    /// Total nanoseconds.
    pub ns: u64,
}

/// Statistics of runs at one batch size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStatistics {
    /// Rows in the batch.
    pub batch_size: u64,
    /// Gathering.
    pub compute_input: DurationCount,
    /// Running.
    pub compute_infer: DurationCount,
    /// Scattering.
    pub compute_output: DurationCount,
}

/// A snapshot of one version's statistics (Triton's `ModelStatistics`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatistics {
    /// The model.
    pub name: Arc<str>,
    /// The version.
    pub version: Version,
    /// Milliseconds since the epoch of the last request; 0 before the first.
    pub last_inference_ms: u64,
    /// Rows answered.
    pub inference_count: u64,
    /// Batches run.
    pub execution_count: u64,
    /// Answered requests, total time.
    pub success: DurationCount,
    /// Failed requests, total time.
    pub fail: DurationCount,
    /// Waiting.
    pub queue: DurationCount,
    /// Gathering.
    pub compute_input: DurationCount,
    /// Running.
    pub compute_infer: DurationCount,
    /// Scattering.
    pub compute_output: DurationCount,
    /// By batch size, ascending.
    pub batches: Vec<BatchStatistics>,
    /// Resident bytes that loading the version took, as the probe measured them; 0 when unknown.
    pub memory_bytes: u64,
}

/// A version's statistics of requests as they grow; those of batches are the scheduler's.
#[derive(Debug, Default)]
pub(super) struct StatisticsCounters {
    last_inference_ms: AtomicU64,
    rows: AtomicU64,
    success: AtomicDuration,
    fail: AtomicDuration,
    queue: AtomicDuration,
    compute_input: AtomicDuration,
    compute_infer: AtomicDuration,
    compute_output: AtomicDuration,
}

/// A count and a sum of nanoseconds. The two are read apart: a snapshot may be one request off.
#[derive(Debug, Default)]
struct AtomicDuration {
    count: AtomicU64,
    ns: AtomicU64,
}

impl AtomicDuration {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(ns(took), Ordering::Relaxed);
    }

    fn read(&self) -> DurationCount {
        DurationCount { count: self.count.load(Ordering::Relaxed), ns: self.ns.load(Ordering::Relaxed) }
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl StatisticsCounters {
    /// Counts an answered request of `rows` rows.
    pub(super) fn succeeded(&self, rows: usize, timing: &Timing, total: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last_inference_ms.store(now_ms, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.success.add(total);
        self.queue.add(timing.queue);
        self.compute_input.add(timing.gather);
        self.compute_infer.add(timing.compute);
        self.compute_output.add(timing.scatter);
    }

    /// Counts a request that got an error.
    pub(super) fn failed(&self, total: Duration) {
        self.fail.add(total);
    }

    /// The statistics of `servable`, whose counters these are.
    pub(super) fn snapshot(&self, servable: &Servable) -> ModelStatistics {
        let sizes = servable.scheduler.batch_statistics();
        ModelStatistics {
            name: Arc::clone(&servable.name),
            version: servable.id.version,
            last_inference_ms: self.last_inference_ms.load(Ordering::Relaxed),
            inference_count: self.rows.load(Ordering::Relaxed),
            execution_count: sizes.iter().map(|size| size.runs).sum(),
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            compute_input: self.compute_input.read(),
            compute_infer: self.compute_infer.read(),
            compute_output: self.compute_output.read(),
            batches: sizes.iter().map(batch_statistics).collect(),
            memory_bytes: servable.memory_bytes,
        }
    }
}

fn batch_statistics(size: &BatchSizeStatistics) -> BatchStatistics {
    let duration = |took| DurationCount { count: size.batches, ns: ns(took) };
    BatchStatistics {
        batch_size: size.rows as u64,
        compute_input: duration(size.gather),
        compute_infer: duration(size.compute),
        compute_output: duration(size.scatter),
    }
}
