//! A version's files: found in whatever form a user has them, copied into blobs, and written out again.
//!
//! ```text
//! file | folder | Triton model | MLflow model ──► folder ──► Package ──► upload ──► blobs + VersionRecord
//! s3:// az:// gs:// ──► remote (downloaded) ────────┘                                 │
//!                                       outgoing (tar) ◄── pull, triton, oci ◄────────┘
//! ```
//!
//! Nothing here opens a model. What a package says is believed only after `control::register` has had it tried.

pub mod folder;
pub mod git;
pub mod holds;
pub mod incoming;
mod mlflow;
pub mod oci;
pub mod outgoing;
pub mod pull;
pub mod remote;
mod source;
pub mod triton;
pub mod upload;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::blobs::{self, BlobError};
use super::error::{Refusal, StoreError};
use super::record::{FileRef, GitRecord};
use super::revision::hex;
use crate::error::{Code, Coded};

pub use self::source::{Choice, open};

/// What a package may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most files.
    pub files_max: usize,
    /// The most bytes of all files together.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { files_max: 10_000, bytes_max: 64 << 30 }
    }
}

/// The files of one version, before they are registered.
#[derive(Debug)]
pub struct Package {
    /// Where they were found, without credentials.
    pub source: String,
    /// Every file, ascending by path.
    pub files: Vec<LocalFile>,
    /// Path of the ONNX file among them.
    pub model_file: String,
    /// The folder with settings and labels; `None` for a single file.
    pub settings_folder: Option<PathBuf>,
    /// What the source says about the version.
    pub capture: Capture,
    /// Where a download lies, for as long as the package lives.
    staging: Option<std::sync::Arc<remote::Staging>>,
}

/// A file of a package.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Its path in the version.
    pub path: String,
    /// Where it lies.
    pub local: PathBuf,
    stamp: Stamp,
}

/// What tells that a file has changed. The change time cannot be set back by an ordinary program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a source says about a version, beside its files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capture {
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// The training run.
    pub run: Option<String>,
    /// The code that made it.
    pub git: Option<GitRecord>,
    /// Inputs to try it with, as the source writes them.
    pub sample: Option<serde_json::Value>,
}

/// Why a source is no package, or a package cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// It is not what can be registered.
    #[error("{0}")]
    Invalid(String),
    /// It is longer than what is taken.
    #[error("{0}")]
    TooLarge(String),
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Its path, as the user knows it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The registry's store, or the one that it is read from, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be stored, or what is stored is not what was registered.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The version cannot be exported so.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl PackageError {
    fn io(path: &Path, source: std::io::Error) -> PackageError {
        PackageError::Io { path: path.display().to_string(), source }
    }

    fn invalid(reason: impl Into<String>) -> PackageError {
        PackageError::Invalid(reason.into())
    }
}

impl Coded for PackageError {
    fn code(&self) -> Code {
        match self {
            PackageError::Invalid(_) => Code::InvalidArgument,
            PackageError::TooLarge(_) => Code::TooLarge,
            PackageError::Io { .. } => Code::Internal,
            PackageError::Store(_) => Code::Unavailable,
            PackageError::Blob(error) => error.code(),
            PackageError::Refused(refusal) => refusal.code(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            // The path may be one of this machine.
            PackageError::Io { .. } => "a file of the package cannot be read or written".to_owned(),
            PackageError::Store(_) => "the registry's store cannot be reached".to_owned(),
            PackageError::Blob(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

impl Package {
    /// Where the model file lies.
    pub fn model_path(&self) -> Option<&Path> {
        self.file(&self.model_file).map(|file| &*file.local)
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&LocalFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file is not what it was when it was found.
    pub fn has_changed(&self) -> bool {
        self.files.iter().any(|file| Stamp::of(&file.local).ok() != Some(file.stamp))
    }
}

impl LocalFile {
    /// Its length when it was found.
    pub fn size(&self) -> u64 {
        self.stamp.len
    }
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Stamp> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The digest of a version's files: equal for equal packages. `files` ascend by path.
pub fn digest_of(files: &[FileRef]) -> String {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(format!("{}  {}\n", file.sha256, file.path));
    }
    hex(&digest.finalize())
}

/// Checks that `path` may be a file's path in a version, as [`blobs::check_path`] says.
fn check_path(path: &str) -> Result<(), String> {
    blobs::check_path(path).map_err(|error| error.to_string())
}
