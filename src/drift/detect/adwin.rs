//! ADWIN: a window of the last values that shrinks when its older and its newer part have different means. Slower than
//! Page-Hinkley and far from false alarms. Buckets of powers of two keep the window in logarithmic space.
//!
//! ```text
//! row 2: [4][4][4]   row 1: [2][2]   row 0: [1][1][1][1]      oldest on the left; at most `buckets_max` in a row,
//!                                                             the two oldest of a fuller one merge into the next row
//! ```

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What the detector is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The probability of a false alarm that a cut is tested with.
    pub delta: f64,
    /// Cuts are tested every so many values, at least 1.
    pub clock: u64,
    /// Buckets of each size.
    pub buckets_max: usize,
    /// The fewest values on either side of a cut.
    pub part_min: f64,
    /// No cut is tested in a window of so many values or fewer.
    pub grace: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { delta: 0.002, clock: 32, buckets_max: 5, part_min: 5.0, grace: 10.0 }
    }
}

/// A run of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    /// The sum of squared distances from the mean.
    variance: f64,
}

/// The window. Source: Bifet and Gavaldà 2007; river 0.23 `drift.ADWIN`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    settings: Settings,
    /// Buckets of 1, 2, 4, ... values; in each row the oldest first.
    rows: Vec<VecDeque<Bucket>>,
    ticks: u64,
    width: f64,
    total: f64,
    variance: f64,
}

impl Default for Adwin {
    fn default() -> Self {
        Adwin::new(Settings::default())
    }
}

impl Adwin {
    /// A detector that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Adwin { settings, rows: Vec::new(), ticks: 0, width: 0.0, total: 0.0, variance: 0.0 }
    }

    /// How many values the window holds.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Their mean; NaN without any.
    pub fn mean(&self) -> f64 {
        self.total / self.width
    }

    /// Takes a value; true where it raises an alarm, after which the detector has forgotten everything.
    pub fn update(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        self.insert(value);
        self.ticks += 1;
        let is_due =
            self.ticks.is_multiple_of(self.settings.clock.max(1)) && self.width > self.settings.grace;
        let mut is_alarm = false;
        while is_due && self.has_cut() {
            is_alarm = true;
            self.drop_oldest();
        }
        if is_alarm {
            *self = Adwin::new(self.settings);
        }
        is_alarm
    }

    fn insert(&mut self, value: f64) {
        self.width += 1.0;
        if self.width > 1.0 {
            let before = self.width - 1.0;
            let distance = value - self.total / before;
            self.variance += before * distance * distance / self.width;
        }
        self.total += value;
        if self.rows.is_empty() {
            self.rows.push(VecDeque::new());
        }
        self.rows[0].push_back(Bucket { total: value, variance: 0.0 });
        let mut row = 0;
        while self.rows[row].len() > self.settings.buckets_max {
            let (Some(first), Some(second)) = (self.rows[row].pop_front(), self.rows[row].pop_front()) else {
                return;
            };
            row += 1;
            if row == self.rows.len() {
                self.rows.push(VecDeque::new());
            }
            self.rows[row].push_back(merged(first, second, size(row - 1)));
        }
    }

    fn drop_oldest(&mut self) {
        let n = size(self.rows.len() - 1);
        let Some(oldest) = self.rows.last_mut().and_then(VecDeque::pop_front) else { return };
        self.width -= n;
        self.total -= oldest.total;
        self.variance -= oldest.variance + between(n, oldest.total / n, self.width, self.total / self.width);
        while self.rows.len() > 1 && self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
    }

    /// Whether some cut divides the window into parts with different means.
    fn has_cut(&self) -> bool {
        let (mut old, mut old_total) = (0.0, 0.0);
        let (mut new, mut new_total) = (self.width, self.total);
        let oldest_first = self.rows.iter().enumerate().rev();
        for (n, bucket) in oldest_first.flat_map(|(row, buckets)| buckets.iter().map(move |b| (size(row), b)))
        {
            old += n;
            new -= n;
            old_total += bucket.total;
            new_total -= bucket.total;
            let is_cut = new >= self.settings.part_min && old >= self.settings.part_min;
            if is_cut && self.differ(old, new, old_total / old - new_total / new) {
                return true;
            }
        }
        false
    }

    /// Whether means of `old` and `new` values differ by more than chance allows.
    fn differ(&self, old: f64, new: f64, difference: f64) -> bool {
        let confidence = (2.0 * self.width.ln() / self.settings.delta).ln();
        let least = self.settings.part_min;
        let reciprocal = 1.0 / (old - least + 1.0) + 1.0 / (new - least + 1.0);
        let epsilon = (2.0 * reciprocal * (self.variance / self.width) * confidence).sqrt()
            + 2.0 / 3.0 * confidence * reciprocal;
        difference.abs() > epsilon
    }
}

/// How many values a bucket of this row stands for.
fn size(row: usize) -> f64 {
    2.0_f64.powi(i32::try_from(row).unwrap_or(i32::MAX))
}

fn merged(first: Bucket, second: Bucket, n: f64) -> Bucket {
    let spread = between(n, first.total / n, n, second.total / n);
    Bucket { total: first.total + second.total, variance: first.variance + second.variance + spread }
}

/// What two parts add to the sum of squares by the distance of their means.
fn between(n: f64, n_mean: f64, m: f64, m_mean: f64) -> f64 {
    n * m * (n_mean - m_mean) * (n_mean - m_mean) / (n + m)
}
