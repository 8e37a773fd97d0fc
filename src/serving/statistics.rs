//! Counts and durations per version, in the form of Triton's statistics extension.

use std::sync::Arc;

use crate::model::Version;

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
