//! A reused, aligned buffer that the rows of a batch are gathered into before a run.
//!
//! It grows to the largest batch it has held and keeps that memory; it never shrinks by itself, because its owner (a
//! worker's instance) is dropped with its version.
//!
//! The memory is the process's own, or what a [`StagingMemory`] lends: a device may read some memory faster than other.

use std::sync::Arc;

/// Alignment of staging memory in bytes: a cache line, and enough for any SIMD load of ONNX Runtime's kernels.
pub const STAGING_ALIGNMENT: usize = 64;

/// Lends memory that a device reads faster than ordinary memory.
pub trait StagingMemory: Send + Sync {
    /// A block of `len` bytes, or `None` when there is no more.
    fn lend(&self, len: usize) -> Option<Box<dyn StagingBlock>>;
}

/// A block of memory that was lent. It goes back when it is dropped.
pub trait StagingBlock: Send {
    /// Its bytes: always the same ones.
    fn as_slice(&self) -> &[u8];

    /// Its bytes, to be written to.
    fn as_mut_slice(&mut self) -> &mut [u8];
}

/// An aligned byte buffer that is filled from the front and reused.
#[derive(Default)]
pub struct AlignedBuffer {
    /// Longer than what is in use by up to one alignment, so that an aligned start can be found without unsafe code.
    storage: Storage,
    start: usize,
    len: usize,
    memory: Option<Arc<dyn StagingMemory>>,
}

enum Storage {
    Own(Vec<u8>),
    Lent(Box<dyn StagingBlock>),
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::Own(Vec::new())
    }
}

impl Storage {
    fn as_slice(&self) -> &[u8] {
        match self {
            Storage::Own(bytes) => bytes,
            Storage::Lent(block) => block.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Storage::Own(bytes) => bytes,
            Storage::Lent(block) => block.as_mut_slice(),
        }
    }
}

impl AlignedBuffer {
    /// An empty buffer that owns no memory yet.
    pub fn new() -> AlignedBuffer {
        AlignedBuffer::default()
    }

    /// An empty buffer that will be in memory of `memory`, as long as that has some.
    pub fn within(memory: Option<Arc<dyn StagingMemory>>) -> AlignedBuffer {
        AlignedBuffer { memory, ..AlignedBuffer::default() }
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Makes room for `capacity` bytes in all, so that the appends that follow do not move what is there.
    pub fn reserve_total(&mut self, capacity: usize) {
        if self.start + capacity <= self.storage.as_slice().len() {
            return;
        }
        let len = capacity.next_power_of_two().max(4096) + STAGING_ALIGNMENT;
        let lent = self.memory.as_ref().and_then(|memory| memory.lend(len));
        let mut storage = lent.map_or_else(|| Storage::Own(vec![0; len]), Storage::Lent);
        let start = storage.as_slice().as_ptr().align_offset(STAGING_ALIGNMENT);
        storage.as_mut_slice()[start..start + self.len].copy_from_slice(self.as_slice());
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
        &self.storage.as_slice()[self.start..self.start + self.len]
    }

    /// The same, to be written to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut_slice()[self.start..self.start + self.len]
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

    /// Lends so many blocks, off by a byte.
    struct Lender(std::sync::atomic::AtomicUsize);

    struct Block(Vec<u8>);

    impl StagingMemory for Lender {
        fn lend(&self, len: usize) -> Option<Box<dyn StagingBlock>> {
            use std::sync::atomic::Ordering::Relaxed;
            self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()?;
            Some(Box::new(Block(vec![7; len + 1])))
        }
    }

    impl StagingBlock for Block {
        fn as_slice(&self) -> &[u8] {
            &self.0[1..]
        }

        fn as_mut_slice(&mut self) -> &mut [u8] {
            &mut self.0[1..]
        }
    }

    #[test]
    fn stays_aligned_and_keeps_what_was_written() {
        check(AlignedBuffer::new());
        for blocks in [0, 1, 2, 100] {
            check(AlignedBuffer::within(Some(Arc::new(Lender(blocks.into())))));
        }
    }

    fn check(mut buffer: AlignedBuffer) {
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
