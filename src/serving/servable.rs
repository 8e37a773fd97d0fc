//! A version that can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::Catalog;
use super::metrics::VersionMetrics;
use super::validate::Contract;
use crate::events::{Event, EventBus};
use crate::infer::Tap;
use crate::model::settings::ParsedModelConfig;
use crate::model::{ModelConfig, ModelId, Signature};
use crate::scheduler::Scheduler;
use crate::tensor::Tensor;

/// A loaded version with its scheduler. Freed when the last request that was routed to it ends.
#[derive(Debug)]
pub struct Servable {
    /// Name and version.
    pub id: ModelId,
    /// The model's name, shared with responses.
    pub name: Arc<str>,
    /// The version's number as text, shared with responses.
    pub version_text: Arc<str>,
    /// What it takes and gives.
    pub signature: Signature,
    /// The effective settings.
    pub config: ModelConfig,
    /// The same with where each came from, for people to read.
    pub settings: ParsedModelConfig,
    /// The most rows in a batch; 0 when it is served unbatched. What `config` and the probe came to.
    pub max_batch_size: usize,
    /// Workers that run at the same time.
    pub workers: usize,
    /// Class names by output name, for the classification extension.
    pub labels: BTreeMap<String, Vec<String>>,
    /// What an operator should know: settings that do not apply, why it is not batched.
    pub warnings: Vec<String>,
    /// Resident bytes that loading takes, as the probe measured them; 0 when unknown.
    pub memory_bytes: u64,
    /// Time to probe, open and warm it.
    pub load_duration: Duration,
    /// Its lanes and workers.
    pub scheduler: Scheduler,
    /// Who watches what it answers.
    pub(super) tap: Option<Arc<dyn Tap>>,
    /// The signature made ready for checking requests.
    pub(super) contract: Contract,
    /// Its handles.
    pub(super) metrics: Arc<VersionMetrics>,
    /// Reports that the version is gone. The last field: the workers have been told before.
    pub(super) farewell: Farewell,
}

impl Servable {
    /// The platform name that Triton's clients expect for ONNX models.
    pub const PLATFORM: &'static str = "onnxruntime_onnx";

    /// The class names of the output called like `tensor`; empty when it has none.
    pub(super) fn labels_of(&self, tensor: &Tensor) -> &[String] {
        self.labels.get(tensor.name().as_str()).map_or(&[], Vec::as_slice)
    }
}

/// Tells the catalog and the listeners when the version it belongs to is dropped.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) catalog: Arc<Catalog>,
    pub(super) events: EventBus,
    pub(super) id: ModelId,
    /// Which load of the version this is.
    pub(super) serial: u64,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        tracing::debug!(model = %self.id, "the version is freed");
        self.catalog.ended(&self.id, self.serial);
        self.events.send(Event::Freed { id: self.id.clone() });
    }
}
