//! The data plane's door: one function for an inference, and look-ups for those who describe models.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::catalog::Catalog;
use super::error::shorten;
use super::table::{Miss, ServingTable};
use super::{EngineError, IndexEntry, ModelStatistics, Servable, respond};
use crate::infer::{InferRequest, InferResponse, Timing};
use crate::metrics::{MetricsError, Registry};
use crate::model::{ModelName, Version};
use crate::scheduler::Job;

/// The data plane.
#[derive(Debug, Default)]
pub struct Engine {
    /// What is served. Requests only load it; `publish` alone stores.
    table: ArcSwap<ServingTable>,
    /// Held while a new table is made from the current one, so that no publication is lost.
    publishing: Mutex<()>,
    /// What is known, served or not.
    pub(super) catalog: Catalog,
}

impl Engine {
    /// An engine that serves nothing yet; a [`Manager`](super::Manager) fills it.
    ///
    /// # Errors
    /// When its metric families are registered already.
    pub fn new(_metrics: &Registry) -> Result<Engine, MetricsError> {
        Ok(Engine::default())
    }

    /// Answers one request. The only way in, for every protocol.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, EngineError> {
        let servable = self.find(&request.model, &request.version)?;
        answer(&servable, request).await
    }

    /// Whether the process works at all.
    pub fn is_live(&self) -> bool {
        true
    }

    /// Whether every model that must be served is, and the server is not draining.
    pub fn is_ready(&self) -> bool {
        self.catalog.is_ready()
    }

    /// The version that a request for `model` and `version` (empty for the default) would go to.
    pub fn find(&self, model: &str, version: &str) -> Result<Arc<Servable>, EngineError> {
        // The guard ends with this function; what a request keeps across its awaits is the version itself.
        match self.table.load().route(model, version) {
            Ok(servable) => Ok(Arc::clone(servable)),
            Err(miss) => Err(self.explain(miss, model, version)),
        }
    }

    /// The served versions of `model`, ascending.
    pub fn versions(&self, model: &str) -> Vec<Version> {
        self.table.load().versions(model).iter().map(|servable| servable.id.version).collect()
    }

    /// Everything the server knows of, served or not, by name and version.
    pub fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        self.catalog.index(ready_only)
    }

    /// Statistics of one version, of all served versions of a model (empty `version`), or of everything (empty
    /// `model`).
    pub fn statistics(&self, _model: &str, _version: &str) -> Result<Vec<ModelStatistics>, EngineError> {
        Ok(Vec::new())
    }

    /// Everything that is served, by name and version.
    pub fn served(&self) -> Vec<Arc<Servable>> {
        self.table.load().all()
    }

    /// Serves exactly `versions` of `model` from now on: one store. Requests that were routed before go on with the
    /// version they hold.
    pub(super) fn publish(&self, model: &ModelName, versions: Vec<Arc<Servable>>) {
        let _publishing = self.publishing.lock();
        let next = self.table.load().with_model(model, versions);
        self.table.store(Arc::new(next));
    }

    /// Why the table has no answer. Slow path: a request that finds its version never comes here.
    #[cold]
    fn explain(&self, miss: Miss, model: &str, version: &str) -> EngineError {
        let Some(entry) = self.catalog.get(model) else {
            return EngineError::ModelNotFound { model: shorten(model) };
        };
        let status = version.parse().ok().and_then(|number: Version| entry.versions.get(&number));
        match (status, miss) {
            (Some(status), _) if !version.is_empty() => EngineError::NotReady {
                model: model.to_owned(),
                reason: format!("version {version} is {}: {}", status.state.as_index_state(), status.reason),
            },
            (_, Miss::Version) => {
                EngineError::VersionNotFound { model: shorten(model), version: shorten(version) }
            }
            _ if !version.is_empty() => {
                EngineError::VersionNotFound { model: shorten(model), version: shorten(version) }
            }
            _ => EngineError::NotReady { model: model.to_owned(), reason: entry.unavailable_reason() },
        }
    }
}

/// Validates `request` against the version it was routed to, has it run, and puts the answer together.
async fn answer(servable: &Servable, request: InferRequest) -> Result<InferResponse, EngineError> {
    let selection = respond::select(servable, &request.outputs)?;
    let bound = servable.contract.bind(&servable.name, request.inputs)?;
    let job = Job {
        inputs: bound.inputs,
        rows: bound.rows,
        priority: request.priority,
        deadline: request.deadline,
    };
    let reply = servable.scheduler.submit(job).await?;
    let outputs = respond::collect(servable, &selection, reply.outputs)?;
    Ok(InferResponse {
        model: Arc::clone(&servable.name),
        version: servable.id.version,
        version_text: Arc::clone(&servable.version_text),
        id: request.id,
        outputs,
        timing: Timing { received: request.timing.received, decode: request.timing.decode, ..reply.timing },
        observer: None,
    })
}
