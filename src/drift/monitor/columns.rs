//! Numbers of several requests side by side: counting a column of many rows costs a fraction of counting each row.
//!
//! Requests of one row are the rule, and what a profile does for a column (moments, tallies) it would do for each of them.
//! Columns are emptied before anybody looks at the profiles; nothing waits here between two steps of the monitor.

use crate::drift::baseline::Current;

/// Rows after which columns are counted, so that they stay in the caches.
const ROWS_MAX: usize = 1_024;

/// A column for each feature of a baseline.
#[derive(Debug, Default)]
pub(super) struct Columns {
    columns: Vec<Vec<f64>>,
    rows: usize,
}

impl Columns {
    /// Adds numbers of the feature at `position`.
    pub(super) fn add(&mut self, position: usize, numbers: &[f64]) {
        if self.columns.len() <= position {
            self.columns.resize_with(position + 1, Vec::new);
        }
        if let Some(column) = self.columns.get_mut(position) {
            column.extend_from_slice(numbers);
        }
    }

    /// Says that `rows` rows have been added, and counts them in `current` when there are enough.
    pub(super) fn rows(&mut self, rows: usize, current: &mut Current) {
        self.rows += rows;
        if self.rows >= ROWS_MAX {
            self.empty_into(current);
        }
    }

    /// Counts what waits.
    pub(super) fn empty_into(&mut self, current: &mut Current) {
        self.rows = 0;
        for (column, profile) in self.columns.iter_mut().zip(&mut current.profiles) {
            if !column.is_empty() {
                profile.push_numbers(column);
                column.clear();
            }
        }
    }
}
