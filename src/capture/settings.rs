//! What capture is told, and why it cannot be started or changed. Nothing here opens a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use crate::error::{Code, Coded};
use crate::model::monitoring::{CaptureConfig, CaptureMode};

/// How the process captures. What a model says of itself (`CaptureConfig`) stands above `mode`, `rate`, `slow`,
/// `low_margin` and `first`.
#[derive(Debug, Clone)]
pub struct CaptureSettings {
    /// Where the WAL, the spool and the key lie. One process uses it at a time.
    pub folder: PathBuf,
    /// Where files go; `None` for `data` in the folder.
    pub store: Option<Arc<dyn ObjectStore>>,
    /// The promise.
    pub mode: CaptureMode,
    /// The share of requests that is written, 0 to 1.
    pub rate: f64,
    /// Requests that took longer are always written.
    pub slow: Option<Duration>,
    /// Answers whose two best scores are closer than this are always written.
    pub low_margin: Option<f64>,
    /// So many requests after a load are always written.
    pub first: u64,
    /// Seeds the hash that samples; the same on every replica.
    pub salt: u64,
    /// Most rows of a file.
    pub rotate_rows: u64,
    /// Most bytes of a WAL segment, from which a file is made.
    pub rotate_bytes: u64,
    /// How long a segment stays open at most.
    pub rotate_every: Duration,
    /// Most rows that wait for the writer.
    pub queue_rows: usize,
    /// Most bytes that wait for the writer.
    pub queue_bytes: usize,
    /// The share of a core that writing what is not promised takes at most while requests want all of it.
    pub busy_share: f64,
    /// Most bytes of WAL and spool together.
    pub disk_bytes_max: u64,
    /// Days that files are kept in the store; `None` for ever.
    pub retention_days: Option<u32>,
    /// The key of hashes; `None` for `hmac.key` in the folder. Made when it is missing.
    pub hmac_key_file: Option<PathBuf>,
    /// This process's name among those that write to the same store.
    pub replica: String,
    /// Between two tries to upload: doubled each time, up to the second.
    pub retry_pauses: (Duration, Duration),
    /// How long an answer waits for room or for the disk, at most.
    pub wait_max: Duration,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        CaptureSettings {
            folder: PathBuf::from("capture"),
            store: None,
            mode: CaptureMode::Off,
            rate: 1.0,
            slow: None,
            low_margin: None,
            first: 0,
            salt: 0,
            rotate_rows: 1_000_000,
            rotate_bytes: 64 << 20,
            rotate_every: Duration::from_secs(300),
            queue_rows: 65_536,
            queue_bytes: 64 << 20,
            busy_share: 0.001,
            disk_bytes_max: 8 << 30,
            retention_days: None,
            hmac_key_file: None,
            replica: "weir".to_owned(),
            retry_pauses: (Duration::from_millis(100), Duration::from_secs(30)),
            wait_max: Duration::from_secs(10),
        }
    }
}

impl CaptureSettings {
    /// What holds for a model that says `config`.
    pub(super) fn effective(&self, config: &CaptureConfig) -> Effective {
        Effective {
            mode: config.mode.unwrap_or(self.mode),
            rate: config.rate.unwrap_or(self.rate).clamp(0.0, 1.0),
            slow: config.slow.or(self.slow),
            low_margin: config.low_margin.or(self.low_margin),
            first: config.first.unwrap_or(self.first),
            salt: self.salt,
        }
    }
}

/// What holds for one model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effective {
    pub(super) mode: CaptureMode,
    pub(super) rate: f64,
    pub(super) slow: Option<Duration>,
    pub(super) low_margin: Option<f64>,
    pub(super) first: u64,
    pub(super) salt: u64,
}

/// Why capture cannot be started, changed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A file or folder cannot be used.
    #[error("capture: {what}: {source}")]
    Io {
        /// What was done to which.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another process uses the folder.
    #[error("capture: another process uses the folder {0}")]
    InUse(String),
    /// The store of files failed.
    #[error("capture: {what}: {source}")]
    Store {
        /// What was done to which.
        what: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// A file is not what it should be.
    #[error("capture: {what}: {reason}")]
    Damaged {
        /// Which file.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// A setting cannot be used.
    #[error("capture: {0}")]
    Invalid(String),
    /// A metric cannot be registered.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::MetricsError),
}

impl CaptureError {
    pub(super) fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> CaptureError {
        move |source| CaptureError::Io { what: what.to_string(), source }
    }

    pub(super) fn store(what: impl std::fmt::Display) -> impl FnOnce(object_store::Error) -> CaptureError {
        move |source| CaptureError::Store { what: what.to_string(), source }
    }

    pub(super) fn damaged(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> CaptureError {
        CaptureError::Damaged { what: what.to_string(), reason: reason.to_string() }
    }
}

impl Coded for CaptureError {
    fn code(&self) -> Code {
        match self {
            CaptureError::Invalid(_) => Code::InvalidArgument,
            CaptureError::InUse(_) => Code::FailedPrecondition,
            CaptureError::Store { .. } => Code::Unavailable,
            CaptureError::Io { .. } | CaptureError::Damaged { .. } | CaptureError::Metrics(_) => {
                Code::Internal
            }
        }
    }

    fn public_message(&self) -> String {
        match self {
            CaptureError::Invalid(reason) => reason.clone(),
            _ => "captured rows cannot be used now".to_owned(),
        }
    }
}
