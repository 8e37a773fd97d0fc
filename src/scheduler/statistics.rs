//! Counts and stage times per batch size, for the statistics extension.

use std::collections::BTreeMap;
use std::time::Duration;

use super::executor::Report;

/// What batches of one size have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchSizeStatistics {
    /// Rows of these batches; 1 for a version that is served unbatched.
    pub rows: usize,
    /// How many there were.
    pub batches: u64,
    /// Calls of the model; more than `batches` when some had to be run again in parts.
    pub runs: u64,
    /// Time spent gathering.
    pub gather: Duration,
    /// Time spent in the model.
    pub compute: Duration,
    /// Time spent scattering.
    pub scatter: Duration,
}

/// By rows; bounded by the largest batch.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    by_rows: BTreeMap<usize, BatchSizeStatistics>,
}

impl Statistics {
    pub(super) fn record(&mut self, report: &Report) {
        if report.runs == 0 {
            return;
        }
        let rows = report.rows;
        let entry =
            self.by_rows.entry(rows).or_insert_with(|| BatchSizeStatistics { rows, ..Default::default() });
        entry.batches += 1;
        entry.runs += report.runs;
        entry.gather += report.gather;
        entry.compute += report.compute;
        entry.scatter += report.scatter;
    }

    pub(super) fn snapshot(&self) -> Vec<BatchSizeStatistics> {
        self.by_rows.values().copied().collect()
    }
}
