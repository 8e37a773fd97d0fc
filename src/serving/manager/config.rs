//! What to serve and how to follow it, by value from above.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::super::repository::Source;
use crate::error::{Code, Coded};

/// How the set of served models changes while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelControl {
    /// By looking at the repository again and again.
    #[default]
    Poll,
    /// By the repository API only.
    Explicit,
    /// Not at all.
    None,
}

impl ModelControl {
    /// The mode's name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ModelControl::Poll => "poll",
            ModelControl::Explicit => "explicit",
            ModelControl::None => "none",
        }
    }
}

/// What to serve and how to follow it.
#[derive(Debug, Clone)]
pub struct ManagerConfig {
    /// Repositories, folders of one model, or single model files.
    pub paths: Vec<PathBuf>,
    /// How the set of served models changes.
    pub control: ModelControl,
    /// Time between two looks in [`ModelControl::Poll`].
    pub poll_interval: Duration,
    /// What is loaded at the start in [`ModelControl::Explicit`]: names, or `*` for all.
    pub startup_models: Vec<String>,
    /// Versions that load at the same time; 0 takes the machine's cores.
    pub load_threads: usize,
    /// Cores that models may use; 0 takes the machine's.
    pub cores: usize,
    /// Where files of load requests are written for as long as they are served; `None` refuses such files.
    pub upload_folder: Option<PathBuf>,
    /// Most bytes of the files of one load request.
    pub upload_bytes_max: usize,
    /// The first and the longest pause before a version is tried again that failed for a reason of the moment.
    pub retry_pauses: (Duration, Duration),
}

impl Default for ManagerConfig {
    fn default() -> Self {
        ManagerConfig {
            paths: Vec::new(),
            control: ModelControl::Poll,
            poll_interval: Duration::from_secs(1),
            startup_models: vec!["*".to_owned()],
            load_threads: 0,
            cores: 0,
            upload_folder: None,
            upload_bytes_max: 256 << 20,
            retry_pauses: (Duration::from_secs(10), Duration::from_secs(1_800)),
        }
    }
}

impl ManagerConfig {
    /// What the paths are.
    pub(super) fn sources(&self) -> Result<Vec<Source>, RepositoryError> {
        self.paths
            .iter()
            .map(|path| {
                Source::detect(path).map_err(|source| RepositoryError::Path { path: path.clone(), source })
            })
            .collect()
    }
}

/// Why models cannot be served at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The path cannot be read.
    #[error("cannot serve from '{path}': {source}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A repository cannot be read.
    #[error("cannot read the repository: {0}")]
    Scan(#[source] io::Error),
    /// The machine gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Coded for RepositoryError {
    fn code(&self) -> Code {
        Code::FailedPrecondition
    }
}
