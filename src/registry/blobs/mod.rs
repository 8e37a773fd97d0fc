//! Files by their content: `blobs/sha256/ab/cdef…`.
//!
//! A blob's key is the SHA-256 of its bytes. Whoever uploads hashes the very bytes that it sends, and lets the object
//! appear only when they give the key; so whatever is there is right, uploading it again is harmless, and an upload that
//! is cut off leaves nothing. Nothing is held in memory that is longer than a few parts of an upload. Which blobs may go
//! is for [`gc`](super::gc); whether the store has kept them, for `weir fsck`.

mod download;
mod intent;
mod path;
mod stream;
mod upload;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

pub use self::download::{check, check_size, fetch_to, read_small};
pub use self::intent::{Content, settle, touch};
pub(super) use self::intent::{INTENTS, Intent, SWEEP_MAX};
pub use self::path::{check_files, check_path, place};
pub use self::stream::read_pieces;
pub use self::upload::{put_bytes, put_content, put_file};

use super::error::StoreError;
use super::record::FileRef;
use super::store::Store;
use crate::error::{Code, Coded};

/// Where all blobs are.
pub(super) const BLOBS: &str = "blobs/sha256";

/// Why a file could not be stored or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not have it.
    #[error("the content of '{path}' ({sha256}) is missing in the registry")]
    Missing {
        /// The file.
        path: String,
        /// Its content.
        sha256: String,
    },
    /// The store has something else in its place.
    #[error("the content of '{path}' ({sha256}) is damaged in the registry: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What its content should be.
        sha256: String,
        /// What is wrong.
        reason: String,
    },
    /// It was written to while it was read.
    #[error("'{path}' changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A name, hash or set of names that no version may have.
    #[error("{0}")]
    Refused(String),
    /// A local file cannot be read or written.
    #[error("'{path}': {source}")]
    Local {
        /// The file, by its name in the version.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Coded for BlobError {
    fn code(&self) -> Code {
        match self {
            BlobError::Store(_) => Code::Unavailable,
            BlobError::Missing { .. } | BlobError::Damaged { .. } => Code::FailedPrecondition,
            BlobError::Changed { .. } => Code::Conflict,
            BlobError::Refused(_) => Code::InvalidArgument,
            BlobError::Local { .. } => Code::Internal,
        }
    }

    fn public_message(&self) -> String {
        match self {
            BlobError::Store(_) => "the registry's store cannot be reached".to_owned(),
            other => other.to_string(),
        }
    }
}

impl BlobError {
    fn missing(file: &FileRef) -> BlobError {
        BlobError::Missing { path: file.path.clone(), sha256: file.sha256.clone() }
    }

    fn damaged(file: &FileRef, reason: impl Into<String>) -> BlobError {
        BlobError::Damaged { path: file.path.clone(), sha256: file.sha256.clone(), reason: reason.into() }
    }

    fn local(path: &str, source: std::io::Error) -> BlobError {
        BlobError::Local { path: path.to_owned(), source }
    }
}

/// The key of a blob. `sha256` has been checked to be 64 hexadecimal digits, by [`check_files`] or because it was
/// computed.
pub fn blob_key(sha256: &str) -> String {
    let (first, rest) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    format!("{BLOBS}/{first}/{rest}")
}

/// The SHA-256 whose blob has this key; `None` for other objects.
pub(super) fn sha256_of_key(key: &str) -> Option<String> {
    let (first, rest) = key.strip_prefix(BLOBS)?.strip_prefix('/')?.split_once('/')?;
    let sha256 = format!("{first}{rest}");
    path::is_sha256(&sha256).then_some(sha256)
}

/// Whether the store has the content of `file`, by its key and size; [`check`] reads it.
///
/// # Errors
/// [`BlobError::Store`], or [`BlobError::Refused`] for a hash that is none.
pub async fn exists(store: &Store, file: &FileRef) -> Result<bool, BlobError> {
    Ok(size_of(store, file).await? == Some(file.size))
}

/// The size of the blob of `file`; `None` when there is none.
pub(super) async fn size_of(store: &Store, file: &FileRef) -> Result<Option<u64>, BlobError> {
    path::check_sha256(&file.sha256)?;
    let key = blob_key(&file.sha256);
    match store.raw().head(&Path::from(key.as_str())).await {
        Ok(meta) => Ok(Some(meta.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(StoreError::io(&key, error).into()),
    }
}

/// Replaces a blob that has another length than its content, as a full disk or a bad copy of a registry leaves it.
async fn replace_damaged(store: &Store, file: &FileRef, bytes: Bytes) -> Result<(), BlobError> {
    Ok(store.overwrite(&blob_key(&file.sha256), bytes).await?)
}

#[cfg(test)]
mod tests;
