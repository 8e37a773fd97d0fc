//! A quantile sketch of numbers: KLL, in the memory layout and byte format of Apache DataSketches.
//!
//! The crate `datasketches` has one too, but tosses its coins from a stream that differs in every process, so that a
//! baseline of the same data would have other bytes each time. Here a coin is a function of the level and of how much
//! the sketch has seen: the same values in the same order make the same sketch. What is written is read by every
//! DataSketches library, and the tests hold it against the crate.
//!
//! Source: Karnin, Lang, Liberty, "Optimal quantile approximation in streams" (2016).

use datasketches::kll::{KllFloat, KllSketch};

use super::ProfileError;

/// The smallest level, in items.
const LEVEL_MIN: usize = 8;
/// Most levels that are read: enough for 2^60 values.
const LEVELS_MAX: usize = 61;

/// Estimates quantiles of everything that was pushed. NaN is not a number and is never pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Kll {
    k: u16,
    n: u64,
    /// Level `i` holds values of weight 2^i; all but the first are sorted.
    levels: Vec<Vec<f64>>,
    retained: usize,
    capacity: usize,
    min: f64,
    max: f64,
}

impl Kll {
    /// An empty sketch; `k` of at least 8 decides the accuracy (400: about 0.7 % of rank).
    pub fn new(k: u16) -> Kll {
        let k = k.max(8);
        Kll {
            k,
            n: 0,
            levels: vec![Vec::new()],
            retained: 0,
            capacity: total_capacity(k, 1),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Its accuracy parameter.
    pub fn k(&self) -> u16 {
        self.k
    }

    /// How many values (weights included) it has seen.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Bytes of its items.
    pub fn bytes(&self) -> usize {
        self.retained * 8
    }

    /// Adds a value; NaN is left out.
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if self.retained >= self.capacity {
            self.compress();
        }
        self.n += 1;
        self.retained += 1;
        self.levels[0].push(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds a value that stands for `weight` equal ones.
    pub fn push_weighted(&mut self, value: f64, weight: u64) {
        if value.is_nan() || weight == 0 {
            return;
        }
        let weight = weight.min(1 << 40);
        for level in 0..=weight.ilog2() as usize {
            if weight >> level & 1 == 0 {
                continue;
            }
            self.grow(level + 1);
            match level {
                0 => self.levels[0].push(value),
                _ => {
                    let at = self.levels[level].partition_point(|other| *other < value);
                    self.levels[level].insert(at, value);
                }
            }
            self.retained += 1;
        }
        self.n += weight;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.shrink();
    }

    /// Adds what another sketch has seen.
    pub fn merge(&mut self, other: &Kll) {
        self.grow(other.levels.len());
        for (level, items) in other.levels.iter().enumerate() {
            let mine = &mut self.levels[level];
            mine.extend_from_slice(items);
            if level > 0 && !items.is_empty() {
                // Two sorted runs: the stable sort merges them.
                mine.sort_by(f64::total_cmp);
            }
        }
        self.n += other.n;
        self.retained += other.retained;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.shrink();
    }

    /// The values that it keeps, in order, each with what it stands for.
    pub fn weighted(&self) -> Vec<(f64, u64)> {
        let levels = self.levels.iter().enumerate();
        let mut all: Vec<(f64, u64)> =
            levels.flat_map(|(level, items)| items.iter().map(move |item| (*item, 1u64 << level))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    /// The values at `ranks` (0 to 1, ascending): the smallest kept value that at least this share is not above. Empty
    /// for an empty sketch.
    pub fn quantiles(&self, ranks: &[f64]) -> Vec<f64> {
        if self.n == 0 {
            return Vec::new();
        }
        let all = self.weighted();
        let (mut at, mut seen) = (0, all[0].1);
        let mut found = Vec::with_capacity(ranks.len());
        for &rank in ranks {
            let wanted = rank * self.n as f64;
            while (seen as f64) < wanted && at + 1 < all.len() {
                at += 1;
                seen += all[at].1;
            }
            found.push(if rank <= 0.0 {
                self.min
            } else if rank >= 1.0 {
                self.max
            } else {
                all[at].0
            });
        }
        found
    }

    /// The bytes of DataSketches' `kll_doubles_sketch`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(36 + 4 * self.levels.len() + 8 * self.retained);
        let (is_empty, is_single) = (self.n == 0, self.n == 1);
        let (ints, version) = (if self.n > 1 { 5 } else { 2 }, if is_single { 2 } else { 1 });
        bytes.extend([ints, version, 15, u8::from(is_empty) | u8::from(is_single) << 2]);
        bytes.extend(self.k.to_le_bytes());
        bytes.extend([8, 0]);
        if self.n > 1 {
            bytes.extend(self.n.to_le_bytes());
            bytes.extend(self.k.to_le_bytes());
            bytes.extend([u8::try_from(self.levels.len()).unwrap_or(u8::MAX), 0]);
            let mut offset = self.capacity - self.retained;
            for level in &self.levels {
                bytes.extend(u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
                offset += level.len();
            }
            bytes.extend(self.min.to_le_bytes());
            bytes.extend(self.max.to_le_bytes());
        }
        // The format fills the first level from its end.
        bytes.extend(self.levels[0].iter().rev().flat_map(|item| item.to_le_bytes()));
        bytes.extend(self.levels[1..].iter().flatten().flat_map(|item| item.to_le_bytes()));
        bytes
    }

    /// Reads what [`Kll::to_bytes`] or another DataSketches library wrote. Allocates no more than the bytes justify.
    pub fn from_bytes(bytes: &[u8]) -> Result<Kll, ProfileError> {
        // The crate proves what the layout claims: lengths, order, weights, no NaN.
        KllSketch::<KllFloat<f64>>::deserialize(bytes)
            .map_err(|error| ProfileError::Sketch(error.to_string()))?;
        let short = || ProfileError::Sketch("KLL bytes are cut off".to_owned());
        let word = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|chunk| u32::from_le_bytes(*chunk));
        let k = bytes.get(4..6).map(|b| u16::from(b[0]) | u16::from(b[1]) << 8).ok_or_else(short)?;
        let number = |at: usize| bytes.get(at..)?.first_chunk::<8>().map(|chunk| f64::from_le_bytes(*chunk));
        let mut sketch = Kll::new(k);
        match bytes[3] & 0b101 {
            0 => {}
            4 => {
                sketch.push(number(8).ok_or_else(short)?);
                return Ok(sketch);
            }
            _ => return Ok(sketch),
        }
        let n = bytes.get(8..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(short)?;
        let count = usize::from(*bytes.get(18).ok_or_else(short)?);
        if count > LEVELS_MAX {
            return Err(ProfileError::Sketch(format!("KLL of {count} levels")));
        }
        let capacity = total_capacity(k, count);
        let mut ends: Vec<usize> = Vec::with_capacity(count + 1);
        for level in 0..count {
            ends.push(word(20 + 4 * level).ok_or_else(short)? as usize);
        }
        ends.push(capacity);
        let mut at = 20 + 4 * count;
        (sketch.min, sketch.max) = (number(at).ok_or_else(short)?, number(at + 8).ok_or_else(short)?);
        at += 16;
        sketch.levels.clear();
        for pair in ends.windows(2) {
            let mut items = Vec::with_capacity(pair[1].saturating_sub(pair[0]).min(bytes.len() / 8));
            for _ in pair[0]..pair[1] {
                items.push(number(at).ok_or_else(short)?);
                at += 8;
            }
            sketch.levels.push(items);
        }
        if bytes[3] & 2 == 0 {
            sketch.levels[0].reverse();
        }
        (sketch.n, sketch.capacity) = (u64::from_le_bytes(*n), capacity);
        sketch.retained = sketch.levels.iter().map(Vec::len).sum();
        Ok(sketch)
    }

    fn grow(&mut self, levels: usize) {
        if self.levels.len() < levels {
            self.levels.resize_with(levels, Vec::new);
            self.capacity = total_capacity(self.k, levels);
        }
    }

    fn shrink(&mut self) {
        while self.retained > self.capacity {
            self.compress();
        }
    }

    /// Halves the lowest full level into the one above it.
    fn compress(&mut self) {
        let count = self.levels.len();
        let is_full = |level: &usize| self.levels[*level].len() >= level_capacity(self.k, count, *level);
        let level = (0..count).find(is_full).unwrap_or(count - 1);
        self.grow(level + 2);
        let mut items = std::mem::take(&mut self.levels[level]);
        // The odd one stays: the newest of the unsorted first level, the smallest above it.
        let odd = items.len() % 2 == 1;
        let kept = match level {
            0 if odd => items.pop(),
            _ if odd => Some(items.remove(0)),
            _ => None,
        };
        if level == 0 {
            items.sort_by(f64::total_cmp);
        }
        let coin = usize::from(mix(self.n ^ (level as u64) << 56) & 1 == 1);
        let above = &mut self.levels[level + 1];
        let promoted = items.len() / 2;
        above.extend(items.iter().skip(coin).step_by(2));
        above.sort_by(f64::total_cmp);
        self.levels[level].extend(kept);
        self.retained -= promoted;
    }
}

/// SplitMix64's finaliser: spreads every bit over all.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Items that `level` of `count` may hold: k (2/3)^depth below the top, rounded as DataSketches rounds.
fn level_capacity(k: u16, count: usize, level: usize) -> usize {
    let share = |k: u64, depth: usize| {
        let halves = (k << 1 << depth) / 3u64.pow(u32::try_from(depth).unwrap_or(0));
        (halves + 1) >> 1
    };
    let depth = count - level - 1;
    let capacity = match depth {
        0..=30 => share(u64::from(k), depth),
        _ => share(share(u64::from(k), depth / 2), depth - depth / 2),
    };
    LEVEL_MIN.max(usize::try_from(capacity).unwrap_or(usize::MAX))
}

fn total_capacity(k: u16, count: usize) -> usize {
    (0..count).map(|level| level_capacity(k, count, level)).sum()
}

#[cfg(test)]
mod tests {
    use datasketches::common::SearchCriteria;

    use super::*;

    fn numbers(n: u64, seed: u64) -> impl Iterator<Item = f64> {
        (0..n).map(move |i| mix(mix(seed) ^ i) as f64 / u64::MAX as f64)
    }

    fn sketch(k: u16, n: u64, seed: u64) -> Kll {
        let mut sketch = Kll::new(k);
        numbers(n, seed).for_each(|number| sketch.push(number));
        sketch
    }

    #[test]
    fn the_bytes_are_those_of_datasketches() {
        for n in [0, 1, 2, 7, 400, 401, 5_000, 60_000] {
            let mine = sketch(400, n, n);
            let bytes = mine.to_bytes();
            let theirs = KllSketch::<KllFloat<f64>>::deserialize(&bytes).unwrap();
            assert_eq!((theirs.n(), theirs.num_retained()), (n, mine.retained), "n = {n}");
            assert_eq!(theirs.serialize(), bytes, "n = {n}");
            assert_eq!(Kll::from_bytes(&bytes).unwrap(), mine, "n = {n}");
            if n > 0 {
                let median = theirs.quantile(0.5, SearchCriteria::Inclusive).unwrap().unwrap().into_inner();
                assert_eq!(mine.quantiles(&[0.5]), [median], "n = {n}");
            }
        }
    }

    #[test]
    fn what_the_crate_writes_is_read() {
        let mut theirs = KllSketch::<KllFloat<f64>>::new(200).unwrap();
        numbers(10_000, 3).for_each(|number| theirs.update(KllFloat::<f64>::new(number).unwrap()));
        let mine = Kll::from_bytes(&theirs.serialize()).unwrap();
        let quantile = theirs.quantile(0.9, SearchCriteria::Inclusive).unwrap().unwrap().into_inner();
        assert_eq!((mine.n(), mine.quantiles(&[0.9])), (10_000, vec![quantile]));
    }

    #[test]
    fn ranks_are_within_the_documented_error_alone_and_merged() {
        let (mut outside, seeds) = (0, 200);
        for seed in 0..seeds {
            let mut whole = sketch(400, 3_000, seed);
            whole.merge(&sketch(400, 5_000, seed + 1_000));
            assert_eq!(whole.weighted().iter().map(|(_, weight)| weight).sum::<u64>(), 8_000);
            // The values are uniform: a quantile is its rank, give or take the draw itself (0.01 is 2 sigma of it).
            let quantiles = whole.quantiles(&[0.1, 0.5, 0.9]);
            let worst = quantiles.iter().zip([0.1, 0.5, 0.9]).map(|(q, r)| (q - r).abs()).fold(0.0, f64::max);
            outside += u32::from(worst > 0.0066 * 1.5 + 0.011);
        }
        assert!(outside <= 2, "{outside} of {seeds}");
    }

    #[test]
    fn weights_stand_for_equal_values() {
        let mut weighted = Kll::new(400);
        for value in 0..100u32 {
            weighted.push_weighted(f64::from(value), u64::from(value % 7 + 1));
        }
        let mut plain = Kll::new(400);
        (0..100u32).for_each(|value| (0..value % 7 + 1).for_each(|_| plain.push(f64::from(value))));
        assert_eq!(weighted.n(), plain.n());
        assert_eq!(weighted.quantiles(&[0.0, 0.25, 0.5, 1.0]), plain.quantiles(&[0.0, 0.25, 0.5, 1.0]));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = sketch(400, 5_000, 1).to_bytes();
        for len in 0..bytes.len() {
            if len < 64 || len % 97 == 0 {
                assert!(Kll::from_bytes(&bytes[..len]).is_err(), "{len}");
            }
        }
        for at in 0..60 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            Kll::from_bytes(&damaged).ok();
        }
    }
}
