//! A version that can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::validate::Contract;
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
    /// The most rows in a batch; 0 when it is served unbatched. What `config` and the probe came to.
    pub max_batch_size: usize,
    /// Workers that run at the same time.
    pub workers: usize,
    /// Class names by output name, for the classification extension.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Its lanes and workers.
    pub scheduler: Scheduler,
    /// The signature made ready for checking requests.
    pub(super) contract: Contract,
}

impl Servable {
    /// The platform name that Triton's clients expect for ONNX models.
    pub const PLATFORM: &'static str = "onnxruntime_onnx";

    /// The class names of the output called like `tensor`; empty when it has none.
    pub(super) fn labels_of(&self, tensor: &Tensor) -> &[String] {
        self.labels.get(tensor.name().as_str()).map_or(&[], Vec::as_slice)
    }
}
