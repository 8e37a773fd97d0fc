//! What a version made of one request, and who may look at it.
//!
//! `serving` makes an [`Observation`] when an answer is ready (or has failed) and hands it, by reference, to the
//! version's [`Tap`]. A tap never blocks, never copies a tensor and never changes the answer; the one thing it may do is
//! ask the caller to wait for an [`Acknowledgement`], which only the capture modes that promise it do.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Attributes, Protocol, Timing};
use crate::error::Code;
use crate::model::{ModelConfig, ModelId, Signature};
use crate::tensor::{Name, Tensor};

/// How a request came to its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum Route {
    /// It named no version and there was nothing to choose.
    #[default]
    Default,
    /// A traffic split chose, and this version has the largest share.
    Champion,
    /// A traffic split chose a version with a smaller share.
    Canary,
    /// It named the version or an alias of it.
    Named,
}

impl Route {
    /// Whether a traffic split chose: a request without a key may go elsewhere the next time.
    pub fn is_by_split(self) -> bool {
        matches!(self, Route::Champion | Route::Canary)
    }

    /// The word in captured rows, profiles and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Route::Default => "default",
            Route::Champion => "champion",
            Route::Canary => "canary",
            Route::Named => "named",
        }
    }
}

/// How the version of a request was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// By which way.
    pub route: Route,
    /// The registry's revision of the model that said so: the last that changed its deployment or an alias. 0 for models
    /// that no registry deploys.
    pub revision: u64,
}

/// One request as its version saw it. Tensors share the memory of the request and of the answer.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// The client's id; empty when it gave none.
    pub id: Name,
    /// What decided the traffic split when that is a header; empty otherwise.
    pub key: Name,
    /// Headers that its model's capture wants.
    pub attributes: Option<Attributes>,
    /// The door it came through.
    pub protocol: Protocol,
    /// How it came to this version.
    pub choice: Choice,
    /// Rows when the version is batched (axis 0 of every tensor), else 1.
    pub rows: usize,
    /// In the signature's order; `None` for an optional input that was left out.
    pub inputs: Vec<Option<Tensor>>,
    /// All outputs, in the signature's order, whatever the client selected; empty when the request failed.
    pub outputs: Vec<Tensor>,
    /// Why it failed; `None` when it was answered.
    pub failure: Option<Code>,
    /// How long each stage took.
    pub timing: Timing,
    /// From the first byte (or from routing, when the transport set no mark) to the answer.
    pub latency: Duration,
    /// When the answer was ready. `None` only in values made for tests.
    pub finished: Option<SystemTime>,
}

impl Observation {
    /// Bytes of its tensors and of the headers that it carries.
    pub fn bytes(&self) -> usize {
        let carried = self.attributes.iter().flat_map(|attributes| attributes.iter());
        let carried: usize = carried.map(|(_, value)| value.len()).sum();
        let inputs = self.inputs.iter().flatten().map(|tensor| tensor.data().len()).sum::<usize>();
        carried + inputs + self.outputs.iter().map(|tensor| tensor.data().len()).sum::<usize>()
    }
}

/// Resolves when what was observed is as safe as the tap promises. The caller's answer leaves after it.
pub type Acknowledgement = Pin<Box<dyn Future<Output = Result<(), TapRefused>> + Send>>;

/// The tap could not keep its promise, so the request must fail rather than be answered unseen.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TapRefused(pub String);

/// Whether a tap would take a request that comes now; the more it would, the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// It looks at nothing now: no observation is made.
    None,
    /// It is behind: no observation is made, and it is told of the rows by [`Tap::skip`].
    Full,
    /// It takes observations.
    Open,
}

/// Watches the finished requests of one version.
pub trait Tap: Send + Sync + std::fmt::Debug {
    /// Asked when a request begins. A guess: [`Tap::observe`] may have no room all the same.
    fn attention(&self) -> Attention;

    /// Counts rows of a finished request that there was no room for when it began. One that looks at nothing counts nothing.
    fn skip(&self, rows: usize);

    /// Takes an observation. Must not block; what it has no room for it drops and counts.
    ///
    /// Returns something to wait for only where the tap's promise asks for it.
    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement>;
}

/// What a tap is made for.
#[derive(Debug, Clone)]
pub struct TappedVersion {
    /// Name and version.
    pub id: ModelId,
    /// What it takes and gives.
    pub signature: Signature,
    /// Whether axis 0 of every tensor is rows.
    pub is_batched: bool,
    /// Its effective settings.
    pub config: ModelConfig,
    /// SHA-256 over its files, where a registry deploys it.
    pub digest: Option<String>,
}

/// Makes the tap of each version that is loaded. Asked on a loading thread, before the version is published.
pub trait TapSource: Send + Sync + std::fmt::Debug {
    /// The tap, or `None` when nobody wants to watch the version. Its files lie in `folder`, where there is one.
    fn tap(&self, version: &TappedVersion, folder: Option<&Path>) -> Option<Arc<dyn Tap>>;
}
