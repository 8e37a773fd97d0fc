//! A sample of a feature's rows: the rows with the smallest keys, where a key is drawn for each row.
//!
//! Keys depend on the row's number and on a seed, never on the value: the reservoirs of all features of a profile hold
//! the same rows, so that row i of one belongs to row i of the others. Rows of weight w are drawn w times as often.
//! Reservoirs of different seeds merge to a sample of both.
//!
//! Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir" (2006).

use std::cmp::Ordering;

use super::kll::mix;

/// What can be sampled: a number, or all numbers of a row.
pub trait Sampled: Clone {
    /// A total order: samples of equal keys do not depend on the order in which they came.
    fn order(&self, other: &Self) -> Ordering;
}

impl Sampled for f64 {
    fn order(&self, other: &f64) -> Ordering {
        self.total_cmp(other)
    }
}

/// A uniform sample of at most `capacity` values. A missing value is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservoir<T = f64> {
    capacity: usize,
    seed: u64,
    rows: u64,
    /// Key and value. Sorted and cut when it has grown to twice the capacity, and by [`Reservoir::items`].
    items: Vec<(f64, T)>,
    /// No key above it is worth keeping.
    bound: f64,
}

impl<T: Sampled> Default for Reservoir<T> {
    fn default() -> Reservoir<T> {
        Reservoir::new(0, 0)
    }
}

impl<T: Sampled> Reservoir<T> {
    /// An empty reservoir. One of capacity 0 keeps nothing and costs nothing.
    pub fn new(capacity: usize, seed: u64) -> Reservoir<T> {
        Reservoir { capacity, seed: mix(seed), rows: 0, items: Vec::new(), bound: f64::INFINITY }
    }

    /// Offers the next row.
    pub fn push(&mut self, value: T, weight: f64) {
        self.push_with(weight, || Some(value));
    }

    /// Offers the next row, whose value is made only when it is drawn. A row of none is passed over.
    pub fn push_with(&mut self, weight: f64, value: impl FnOnce() -> Option<T>) {
        if self.capacity == 0 || weight <= 0.0 {
            return;
        }
        self.rows += 1;
        // 53 bits, never 0.
        let uniform = ((mix(self.seed ^ self.rows) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let key = -uniform.ln() / weight;
        if key < self.bound
            && let Some(value) = value()
        {
            self.keep(key, value);
        }
    }

    /// Samples from what both have sampled from. Of a smaller reservoir no key above its bound is known, so none is kept.
    pub fn merge(&mut self, other: &Reservoir<T>) {
        if self.capacity == 0 {
            return;
        }
        self.rows += other.rows;
        self.bound = self.bound.min(other.bound);
        for (key, value) in &other.items {
            self.keep(*key, value.clone());
        }
        self.cut();
    }

    /// The sampled values, in the order of their keys: row i is the same row in every feature of a profile.
    pub fn values(&self) -> Vec<T> {
        self.items().into_iter().map(|(_, value)| value).collect()
    }

    /// Keys and values, sorted by key.
    pub fn items(&self) -> Vec<(f64, T)> {
        let mut copy = self.clone();
        copy.cut();
        copy.items
    }

    /// Rows that were offered.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Most values that it keeps.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Brings back what [`Reservoir::items`] and [`Reservoir::rows`] gave.
    pub(crate) fn restored(capacity: usize, seed: u64, rows: u64, items: Vec<(f64, T)>) -> Reservoir<T> {
        let mut reservoir = Reservoir { rows, items, ..Reservoir::new(capacity, seed) };
        reservoir.cut();
        reservoir
    }

    fn keep(&mut self, key: f64, value: T) {
        self.items.push((key, value));
        if self.items.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.items.retain(|(key, _)| *key <= self.bound);
        self.items.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.order(&b.1)));
        self.items.truncate(self.capacity);
        if let Some((key, _)) = self.items.last().filter(|_| self.items.len() == self.capacity) {
            self.bound = *key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_uniform_aligned_and_merge_in_any_order() {
        let (mut left, mut right) = (Reservoir::new(500, 1), Reservoir::new(500, 2));
        let mut aligned = Reservoir::new(500, 1);
        for row in 0..10_000u32 {
            left.push(f64::from(row), 1.0);
            aligned.push(-f64::from(row), 1.0);
            right.push(f64::from(row + 10_000), 1.0);
        }
        assert!(left.values().iter().zip(aligned.values()).all(|(a, b)| *a == -b));
        let mut other_way = right.clone();
        other_way.merge(&left);
        left.merge(&right);
        assert_eq!(left.items(), other_way.items());
        let mean = left.values().iter().sum::<f64>() / 500.0;
        assert!((mean - 10_000.0).abs() < 4.0 * 5_774.0 / 500f64.sqrt(), "{mean}");
    }

    /// A window of panes: each keeps less than the window may hold, and busy panes no more than quiet ones.
    #[test]
    fn a_larger_sample_of_smaller_ones_is_uniform() {
        let mut window = Reservoir::new(500, 0);
        for (pane, rows) in [(1, 9_000), (2, 1_000)] {
            let mut small = Reservoir::new(128, pane);
            (0..rows).for_each(|_| small.push(pane as f64, 1.0));
            window.merge(&small);
        }
        let values = window.values();
        let quiet = values.iter().filter(|value| **value == 2.0).count();
        assert!(values.len() >= 128 && quiet * 4 < values.len(), "{quiet} of {}", values.len());
    }

    #[test]
    fn heavy_rows_are_drawn_more_often() {
        let mut reservoir = Reservoir::new(1_000, 7);
        for row in 0..100_000u32 {
            let weight = if row % 2 == 0 { 3.0 } else { 1.0 };
            reservoir.push(f64::from(row % 2), weight);
        }
        let heavy = reservoir.values().iter().filter(|value| **value == 0.0).count();
        assert!((700..800).contains(&heavy), "{heavy}");
    }
}
