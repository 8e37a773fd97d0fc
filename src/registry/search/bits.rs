//! Sets of documents, a bit each.

/// A set of the numbers below its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// The empty set of numbers below `len`.
    pub(super) fn none(len: usize) -> Bits {
        Bits { words: vec![0; len.div_ceil(64)] }
    }

    pub(super) fn insert(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Makes room for numbers below `len`.
    pub(super) fn grow(&mut self, len: usize) {
        self.words.resize(len.div_ceil(64).max(self.words.len()), 0);
    }

    pub(super) fn and(&mut self, other: &Bits) {
        self.each(other, |a, b| a & b);
    }

    pub(super) fn or(&mut self, other: &Bits) {
        self.each(other, |a, b| a | b);
    }

    pub(super) fn without(&mut self, other: &Bits) {
        self.each(other, |a, b| a & !b);
    }

    fn each(&mut self, other: &Bits, join: impl Fn(u64, u64) -> u64) {
        for (at, word) in self.words.iter_mut().enumerate() {
            *word = join(*word, other.words.get(at).copied().unwrap_or(0));
        }
    }
}
