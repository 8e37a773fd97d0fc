//! Why rows are dropped, and counts by reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a row that was to be written is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// As many rows wait as may.
    QueueRows,
    /// As many bytes wait as may.
    QueueBytes,
    /// WAL and spool take as much of the disk as they may.
    DiskQuota,
    /// The disk refused.
    DiskError,
    /// The rows could not be made a batch.
    Encoding,
    /// The caller went away while its row waited for room.
    Abandoned,
    /// Capture stopped.
    Stopping,
}

/// The number of reasons, and of counts in a record of the WAL. One is spare.
pub(super) const REASONS: usize = 8;

impl Reason {
    pub(super) const ALL: [Reason; 7] = [
        Reason::QueueRows,
        Reason::QueueBytes,
        Reason::DiskQuota,
        Reason::DiskError,
        Reason::Encoding,
        Reason::Abandoned,
        Reason::Stopping,
    ];

    /// The word in metrics and manifests.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::QueueRows => "queue_rows",
            Reason::QueueBytes => "queue_bytes",
            Reason::DiskQuota => "disk_quota",
            Reason::DiskError => "disk_error",
            Reason::Encoding => "encoding",
            Reason::Abandoned => "abandoned",
            Reason::Stopping => "stopping",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Rows by reason.
pub(super) type Dropped = [u64; REASONS];

/// The sum of two.
pub(super) fn add(one: &mut Dropped, other: &Dropped) {
    for (one, other) in one.iter_mut().zip(other) {
        *one += other;
    }
}

/// By the words, without those that did not happen.
pub(super) fn by_word(dropped: &Dropped) -> BTreeMap<String, u64> {
    let words = Reason::ALL.iter().map(|reason| reason.as_str());
    words.zip(dropped).filter(|(_, rows)| **rows > 0).map(|(word, rows)| (word.to_owned(), *rows)).collect()
}

/// The opposite of [`by_word`]; words of another program count as the spare one.
pub(super) fn from_words(words: &BTreeMap<String, u64>) -> Dropped {
    let mut dropped = Dropped::default();
    for (word, rows) in words {
        let index = Reason::ALL.iter().position(|reason| reason.as_str() == word).unwrap_or(REASONS - 1);
        if let Some(count) = dropped.get_mut(index) {
            *count += rows;
        }
    }
    dropped
}

/// Counts that many threads add to.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; REASONS]);

impl Counts {
    pub(super) fn add(&self, reason: Reason, rows: u64) {
        if let Some(count) = self.0.get(reason.index()) {
            count.fetch_add(rows, Ordering::Relaxed);
        }
    }

    pub(super) fn add_all(&self, dropped: &Dropped) {
        for (count, rows) in self.0.iter().zip(dropped) {
            count.fetch_add(*rows, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Dropped {
        std::array::from_fn(|index| self.0.get(index).map_or(0, |count| count.load(Ordering::Relaxed)))
    }

    /// Takes what was counted; it is 0 then.
    pub(super) fn take(&self) -> Dropped {
        std::array::from_fn(|index| self.0.get(index).map_or(0, |count| count.swap(0, Ordering::Relaxed)))
    }
}
