//! A reused, aligned buffer that the rows of a batch are gathered into before a run.
//!
//! It grows to the largest batch it has held and keeps that memory; it never shrinks by itself, because its owner (a
//! worker's instance) is dropped with its version.

/// Alignment of staging memory in bytes: a cache line, and enough for any SIMD load of ONNX Runtime's kernels.
pub const STAGING_ALIGNMENT: usize = 64;

/// An aligned byte buffer that is filled from the front and reused.
#[derive(Default)]
pub struct AlignedBuffer {
    /// Longer than what is in use by up to one alignment, so that an aligned start can be found without unsafe code.
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer that owns no memory yet.
    pub fn new() -> AlignedBuffer {
        AlignedBuffer::default()
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Makes room for `capacity` bytes in all, so that the appends that follow do not move what is there.
    pub fn reserve_total(&mut self, capacity: usize) {
        if self.start + capacity <= self.storage.len() {
            return;
        }
        let mut storage = vec![0; capacity.next_power_of_two().max(4096) + STAGING_ALIGNMENT];
        let start = storage.as_ptr().align_offset(STAGING_ALIGNMENT);
        storage[start..start + self.len].copy_from_slice(self.as_slice());
        self.storage = storage;
        self.start = start;
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let old_len = self.len;
        self.reserve_total(old_len + bytes.len());
        self.len += bytes.len();
        self.as_mut_slice()[old_len..].copy_from_slice(bytes);
    }

    /// The bytes written since the last [`clear`](Self::clear).
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    /// The same, to be written to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }

    /// How many bytes are in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_what_was_written() {
        let mut buffer = AlignedBuffer::new();
        let mut expected = Vec::new();
        for step in 0..200u8 {
            let row = vec![step; usize::from(step) * 7];
            buffer.extend_from_slice(&row);
            expected.extend_from_slice(&row);
            assert_eq!(buffer.as_slice(), expected);
            assert!(buffer.is_empty() || buffer.as_slice().as_ptr().addr().is_multiple_of(STAGING_ALIGNMENT));
        }
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
