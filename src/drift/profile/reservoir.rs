//! A sample of a feature's rows: the rows with the smallest keys, where a key is drawn for each row.
//!
//! Keys depend on the row's number and on a seed, never on the value: the reservoirs of all features of a profile hold
//! the same rows, so that row i of one belongs to row i of the others. Rows of weight w are drawn w times as often.
//! Reservoirs of different seeds merge to a sample of both.
//!
//! Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir" (2006).

use super::kll::mix;

/// A uniform sample of at most `capacity` values. A missing value is NaN.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reservoir {
    capacity: usize,
    seed: u64,
    rows: u64,
    /// Key and value. Sorted and cut when it has grown to twice the capacity, and by [`Reservoir::items`].
    items: Vec<(f64, f64)>,
    /// No key above it is worth keeping.
    bound: f64,
}

impl Reservoir {
    /// An empty reservoir. One of capacity 0 keeps nothing and costs nothing.
    pub fn new(capacity: usize, seed: u64) -> Reservoir {
        Reservoir { capacity, seed: mix(seed), rows: 0, items: Vec::new(), bound: f64::INFINITY }
    }

    /// Offers the next row.
    pub fn push(&mut self, value: f64, weight: f64) {
        if self.capacity == 0 || weight <= 0.0 {
            return;
        }
        self.rows += 1;
        // 53 bits, never 0.
        let uniform = ((mix(self.seed ^ self.rows) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let key = -uniform.ln() / weight;
        if key < self.bound {
            self.keep(key, value);
        }
    }

    /// Samples from what both have sampled from.
    pub fn merge(&mut self, other: &Reservoir) {
        if self.capacity == 0 {
            return;
        }
        self.rows += other.rows;
        for (key, value) in &other.items {
            self.keep(*key, *value);
        }
        self.cut();
    }

    /// The sampled values, in the order of their keys: row i is the same row in every feature of a profile.
    pub fn values(&self) -> Vec<f64> {
        self.items().into_iter().map(|(_, value)| value).collect()
    }

    /// Keys and values, sorted by key.
    pub fn items(&self) -> Vec<(f64, f64)> {
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
    pub(crate) fn restored(capacity: usize, seed: u64, rows: u64, items: Vec<(f64, f64)>) -> Reservoir {
        let mut reservoir = Reservoir { rows, items, ..Reservoir::new(capacity, seed) };
        reservoir.cut();
        reservoir
    }

    fn keep(&mut self, key: f64, value: f64) {
        self.items.push((key, value));
        if self.items.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.items.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        self.items.truncate(self.capacity);
        if self.items.len() == self.capacity {
            self.bound = self.items.last().map_or(f64::INFINITY, |(key, _)| *key);
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
