//! Why a data set was not built.

use crate::capture::CaptureError;
use crate::capture::labels::LabelError;
use crate::error::{Code, Coded};

/// Why a data set was not built, or captured rows not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The query makes no sense, or the rows do not.
    #[error("{0}")]
    Invalid(String),
    /// The labels could not be read.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The captured files could not be listed.
    #[error(transparent)]
    Captured(#[from] CaptureError),
    /// The object store failed.
    #[error("'{key}': {source}")]
    Store {
        /// What was read or written.
        key: String,
        /// What it said.
        source: object_store::Error,
    },
    /// There is something already where the data set would be written.
    #[error("there is a '{0}' already: a data set needs an empty place")]
    Exists(String),
    /// A captured file is not what capture writes.
    #[error("'{key}' is no file of captured rows: {reason}")]
    Damaged {
        /// The file.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A captured file changed while the data set was built.
    #[error("'{0}' changed while it was read")]
    Changed(String),
    /// More rows than are looked at.
    #[error("there are more than {max} rows in this time: choose a shorter one")]
    TooMany {
        /// As many are looked at.
        max: usize,
    },
}

impl DatasetError {
    pub(super) fn store(key: &str, source: object_store::Error) -> DatasetError {
        DatasetError::Store { key: key.to_owned(), source }
    }

    pub(super) fn damaged(key: &str, reason: impl std::fmt::Display) -> DatasetError {
        DatasetError::Damaged { key: key.to_owned(), reason: reason.to_string() }
    }
}

impl Coded for DatasetError {
    fn code(&self) -> Code {
        match self {
            DatasetError::Invalid(_) | DatasetError::TooMany { .. } => Code::InvalidArgument,
            DatasetError::Labels(error) => error.code(),
            DatasetError::Captured(_) | DatasetError::Store { .. } => Code::Unavailable,
            DatasetError::Exists(_) => Code::AlreadyExists,
            DatasetError::Damaged { .. } | DatasetError::Changed(_) => Code::Internal,
        }
    }

    fn public_message(&self) -> String {
        match self {
            DatasetError::Labels(error) => error.public_message(),
            DatasetError::Captured(_) | DatasetError::Store { .. } => {
                "the store of captured rows does not answer".to_owned()
            }
            DatasetError::Damaged { .. } | DatasetError::Changed(_) => {
                "a captured file is damaged".to_owned()
            }
            DatasetError::Invalid(_) | DatasetError::Exists(_) | DatasetError::TooMany { .. } => {
                self.to_string()
            }
        }
    }
}
