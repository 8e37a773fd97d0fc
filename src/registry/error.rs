//! Why a log cannot be folded, and why a change is refused.

use crate::error::{Code, Coded};

/// Why a revision does not continue a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// It was written by a newer program: what is known stays readable, and nothing may be written.
    #[error("{0} is not known to this program: the model is read-only until it is upgraded")]
    Newer(String),
    /// It is no revision.
    #[error("it is not a revision: {0}")]
    Malformed(String),
    /// It is not the one that follows.
    #[error("it does not follow revision {after}: {reason}")]
    Broken {
        /// The revision before.
        after: u64,
        /// What does not fit.
        reason: String,
    },
    /// It is not signed by someone whose signature counts.
    #[error("{0}")]
    Signature(String),
    /// An operation cannot have happened.
    #[error("{op}: {reason}")]
    Impossible {
        /// The operation's name.
        op: &'static str,
        /// Why.
        reason: String,
    },
}

/// Why a change is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The model, version, alias, deployment or proposal does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists already, or says the opposite of what exists.
    #[error("{0}")]
    Exists(String),
    /// A value cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Something else must happen first.
    #[error("{0}")]
    Precondition(String),
    /// It is in use.
    #[error("{what} is in use: {}", .holders.join(", "))]
    InUse {
        /// What.
        what: String,
        /// By whom.
        holders: Vec<String>,
    },
    /// The caller has seen an older revision than there is.
    #[error("the model is at revision {current}, and the request was made for revision {expected}")]
    Stale {
        /// What the caller has seen.
        expected: u64,
        /// What there is.
        current: u64,
    },
    /// The actor may not do this.
    #[error("{0}")]
    Forbidden(String),
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::Exists(_) => Code::AlreadyExists,
            Refusal::Precondition(_) | Refusal::InUse { .. } => Code::Conflict,
            Refusal::Stale { .. } => Code::Stale,
            Refusal::Forbidden(_) => Code::PermissionDenied,
        }
    }
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The location cannot be used.
    #[error("cannot use the registry '{location}': {reason}")]
    Location {
        /// As it was given.
        location: String,
        /// Why.
        reason: String,
    },
    /// A read or write failed.
    #[error("{key}: {source}")]
    Io {
        /// The object.
        key: String,
        /// Why.
        source: object_store::Error,
    },
}

impl StoreError {
    pub(super) fn io(key: &str, source: object_store::Error) -> StoreError {
        StoreError::Io { key: key.to_owned(), source }
    }
}

/// Why the registry could not answer or was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The change is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot be reached or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of a version is missing, damaged or refused.
    #[error(transparent)]
    Blob(#[from] super::blobs::BlobError),
    /// A model's log is damaged, or newer than this program.
    #[error("model '{model}', revision {rev}: {source}")]
    Log {
        /// The model.
        model: String,
        /// The first revision that cannot be used.
        rev: u64,
        /// Why.
        source: FoldError,
    },
    /// Others were faster too often.
    #[error("model '{model}' is changed by others all the time: the change was tried {tries} times")]
    Contended {
        /// The model.
        model: String,
        /// How often.
        tries: u32,
    },
    /// `weir.json` is missing, damaged or newer than this program.
    #[error("the registry '{location}' cannot be used: {reason}")]
    Unusable {
        /// The location.
        location: String,
        /// Why.
        reason: String,
    },
}

impl Coded for RegistryError {
    fn code(&self) -> Code {
        match self {
            RegistryError::Refused(refusal) => refusal.code(),
            RegistryError::Store(_) => Code::Unavailable,
            RegistryError::Blob(error) => error.code(),
            RegistryError::Log { .. } | RegistryError::Unusable { .. } => Code::FailedPrecondition,
            RegistryError::Contended { .. } => Code::Conflict,
        }
    }

    fn public_message(&self) -> String {
        match self {
            RegistryError::Store(_) => "the registry's store cannot be reached".to_owned(),
            RegistryError::Blob(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}
