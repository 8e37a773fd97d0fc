//! Why a log cannot be folded, and why a change is refused.

use rustix::io::Errno;

use crate::error::{Code, Coded};
use crate::model::ModelName;

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

/// Where a model's log cannot be followed any further. What stands before is verified and stays in use; the model
/// cannot be changed until a later read gets past it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model '{model}', revision {rev}: {source}")]
pub struct LogFault {
    /// The model.
    pub model: ModelName,
    /// The first revision that cannot be used.
    pub rev: u64,
    /// Why.
    pub source: FoldError,
}

impl From<LogFault> for RegistryError {
    fn from(fault: LogFault) -> RegistryError {
        RegistryError::Log { model: fault.model.to_string(), rev: fault.rev, source: fault.source }
    }
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
    #[error("{key}: {source}{}{}", root_cause(source), explain(source))]
    Io {
        /// The object.
        key: String,
        /// Why.
        source: object_store::Error,
    },
    /// An object is larger than anything that the registry writes.
    #[error("{key}: it has {size} bytes, more than any such file may have")]
    TooLarge {
        /// The object.
        key: String,
        /// Its length in bytes.
        size: u64,
    },
}

impl StoreError {
    pub(super) fn io(key: &str, source: object_store::Error) -> StoreError {
        StoreError::Io { key: key.to_owned(), source }
    }

    /// Whether the same call may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        use object_store::Error;
        match self {
            StoreError::Io { source, .. } => match source {
                Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
                | Error::InvalidPath { .. }
                | Error::UnknownConfigurationKey { .. } => false,
                _ => !errno(source).is_some_and(is_permanent),
            },
            StoreError::Location { .. } | StoreError::TooLarge { .. } => false,
        }
    }

    /// Whether the store cannot create an object only if there is none.
    pub(super) fn is_not_implemented(&self) -> bool {
        matches!(self, StoreError::Io { source: object_store::Error::NotImplemented { .. }, .. })
    }
}

/// The operating system's error below one of the store.
fn errno(error: &object_store::Error) -> Option<Errno> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(errno) = Errno::from_io_error(io)
        {
            return Some(errno);
        }
        cause = error.source();
    }
    None
}

/// Whether waiting a moment cannot help.
fn is_permanent(errno: Errno) -> bool {
    let list = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::PERM,
        Errno::ACCESS,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NAMETOOLONG,
    ];
    list.contains(&errno)
}

/// The deepest cause, where the error does not name it: that a connection was refused, say, or a name not found.
fn root_cause(error: &object_store::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let cause = deepest.to_string();
    if error.to_string().contains(&cause) { String::new() } else { format!(": {cause}") }
}

/// What an error of the operating system means for a registry in a directory.
fn explain(error: &object_store::Error) -> &'static str {
    match errno(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => " (the disk of the registry is full; nothing was changed)",
        Some(Errno::ROFS) => " (the registry's file system is mounted read-only)",
        Some(Errno::ACCESS) => " (this user may not write there)",
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            " (the file system has no hard links, which a registry in a directory needs: use another one or a bucket)"
        }
        Some(Errno::MFILE | Errno::NFILE) => " (too many files are open: raise the limit, see ulimit -n)",
        _ => "",
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
    /// Others were faster too often. Nothing was written.
    #[error(
        "model '{model}' is changed by others all the time, last by revision {rev}: gave up after {tries} tries"
    )]
    Contended {
        /// The model.
        model: String,
        /// The revision that was in the way last.
        rev: u64,
        /// How often it was tried.
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
