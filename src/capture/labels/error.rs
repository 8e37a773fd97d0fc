//! Why labels were not taken, written or read.

use crate::error::{Code, Coded};

/// Why labels were not taken, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The log of labels could not be written or read.
    #[error("the log of labels '{path}': {source}")]
    Log {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store has not taken labels for so long that the log is full.
    #[error("{bytes} bytes of labels wait for the store, which is as many as are kept; try again later")]
    Full {
        /// What waits.
        bytes: u64,
    },
    /// More callers at a time than are let in.
    #[error("too many requests with labels at a time; try again later")]
    Busy,
    /// The object store failed.
    #[error("'{key}': {source}")]
    Store {
        /// What was read or written.
        key: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A file of the dataset is not what this program writes.
    #[error("'{key}' is no file of labels: {reason}")]
    Damaged {
        /// The file.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// More labels than are held in memory.
    #[error("there are more than {max} labels in this time: choose a shorter one")]
    TooMany {
        /// As many are held.
        max: usize,
    },
}

impl LabelError {
    pub(super) fn log(path: &std::path::Path, source: std::io::Error) -> LabelError {
        LabelError::Log { path: path.display().to_string(), source }
    }

    pub(super) fn damaged(key: &str, reason: impl std::fmt::Display) -> LabelError {
        LabelError::Damaged { key: key.to_owned(), reason: reason.to_string() }
    }
}

impl Coded for LabelError {
    fn code(&self) -> Code {
        match self {
            LabelError::Full { .. } | LabelError::Busy => Code::ResourceExhausted,
            LabelError::Log { .. } | LabelError::Store { .. } => Code::Unavailable,
            LabelError::TooMany { .. } => Code::InvalidArgument,
            LabelError::Damaged { .. } => Code::Internal,
        }
    }

    fn public_message(&self) -> String {
        match self {
            LabelError::Log { .. } => "the log of labels cannot be written or read".to_owned(),
            LabelError::Store { .. } => "the store of labels does not answer".to_owned(),
            LabelError::Damaged { .. } => "a file of labels is damaged".to_owned(),
            LabelError::Full { .. } | LabelError::Busy | LabelError::TooMany { .. } => self.to_string(),
        }
    }
}
