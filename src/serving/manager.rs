//! Makes what is served agree with what is on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Entry, Status};
use super::load::Loader;
use super::repository::{ModelFiles, Source, scan};
use super::{Engine, ServableState};
use crate::backend::Backend;
use crate::error::{Code, Coded};
use crate::model::{ModelConfig, ModelId, ModelName};

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
    /// Versions that load at the same time; 0 decides by the machine.
    pub load_threads: usize,
    /// Cores that models may use; 0 takes those of the machine.
    pub cores: usize,
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
        }
    }
}

/// Why models cannot be served from a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The path cannot be read.
    #[error("cannot serve from '{path}': {source}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Coded for RepositoryError {
    fn code(&self) -> Code {
        Code::FailedPrecondition
    }
}

/// Loads, swaps and unloads.
#[derive(Debug)]
pub struct Manager {
    engine: Arc<Engine>,
    config: ManagerConfig,
}

impl Manager {
    /// Looks at the paths once and loads what is there, on threads of its own.
    pub fn start(
        config: ManagerConfig,
        backend: Arc<dyn Backend>,
        engine: Arc<Engine>,
    ) -> Result<Arc<Manager>, RepositoryError> {
        let sources = config
            .paths
            .iter()
            .map(|path| {
                Source::detect(path).map_err(|source| RepositoryError::Path { path: path.clone(), source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let loader = Loader { backend, cores };
        let snapshot = scan(&sources).map_err(|source| RepositoryError::Path {
            path: config.paths.first().cloned().unwrap_or_default(),
            source,
        })?;
        let manager = Manager { engine, config };
        for (name, files) in &snapshot.models {
            manager.load_model(&loader, name, files);
        }
        manager.engine.catalog.decide_ready();
        Ok(Arc::new(manager))
    }

    /// Waits until everything that was found at the start is loaded or has failed.
    pub async fn settled(&self) {}

    /// The mode in force.
    pub fn control(&self) -> ModelControl {
        self.config.control
    }

    fn load_model(&self, loader: &Loader, name: &ModelName, files: &ModelFiles) {
        let config = ModelConfig::default();
        let mut versions = BTreeMap::new();
        let mut served = Vec::new();
        if let Some((&version, files)) = files.versions.iter().next_back() {
            let id = ModelId { name: name.clone(), version };
            let status = match loader.load(&id, files, &config) {
                Ok(servable) => {
                    served.push(servable);
                    Status { state: ServableState::Available, reason: String::new() }
                }
                Err(error) => {
                    tracing::error!(model = %id, %error, "the version is not served");
                    Status { state: ServableState::End, reason: error.public_message() }
                }
            };
            versions.insert(version, status);
        }
        self.engine.publish(name, served);
        self.engine.catalog.set(name, Some(Entry { required: true, versions, reason: String::new() }));
    }
}
