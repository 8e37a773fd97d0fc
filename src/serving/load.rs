//! From files to a [`Servable`]: open, decide how to batch and with how many workers, warm up, start the workers.
//! Takes as long as the model needs; runs on the manager's threads, never on the async runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Servable;
use super::repository::VersionFiles;
use super::validate::Contract;
use crate::backend::{Artifact, Backend, BackendError, OpenOptions};
use crate::error::Coded;
use crate::model::{ModelConfig, ModelId};
use crate::scheduler::{Plan, Scheduler, SchedulerError, SchedulerMetrics};

/// Why a version is not served.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LoadError {
    /// The folder has no model file.
    #[error("the version's folder has no model.onnx")]
    NoFile,
    /// The backend refused it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Its workers could not be started.
    #[error("the workers could not be started: {0}")]
    Scheduler(#[from] SchedulerError),
}

impl LoadError {
    /// The reason that clients see in the index.
    pub(super) fn public_message(&self) -> String {
        match self {
            LoadError::Backend(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

/// Loads versions.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) backend: Arc<dyn Backend>,
    /// Cores of the machine that models may use.
    pub(super) cores: usize,
}

impl Loader {
    /// Loads one version and starts its workers.
    pub(super) fn load(
        &self,
        id: &ModelId,
        files: &VersionFiles,
        config: &ModelConfig,
    ) -> Result<Arc<Servable>, LoadError> {
        if files.stamps.is_empty() {
            return Err(LoadError::NoFile);
        }
        let options = OpenOptions { runtime: config.runtime.clone(), instances: config.instances.clone() };
        let model = self.backend.open(&Artifact { path: files.path.clone() }, &options)?;
        let signature = model.signature().clone();
        let workers =
            config.instances.count.unwrap_or(self.cores).min(model.concurrency_max().unwrap_or(usize::MAX));
        let max_batch_size =
            config.max_batch_size.unwrap_or(if signature.has_batch_candidate() { 64 } else { 0 });
        let plan = Plan {
            label: format!("{}/{}", id.name, id.version),
            max_batch_size,
            queue: config.queue.clone(),
            workers,
            inline_run_max: None,
        };
        let scheduler = Scheduler::start(model, plan, SchedulerMetrics::detached())?;
        Ok(Arc::new(Servable {
            id: id.clone(),
            name: id.name.shared(),
            version_text: id.version.to_string().into(),
            contract: Contract::new(&signature, max_batch_size > 0, config.allow_empty.unwrap_or(false)),
            signature,
            config: config.clone(),
            max_batch_size,
            workers,
            labels: BTreeMap::new(),
            scheduler,
        }))
    }
}
