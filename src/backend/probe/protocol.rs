//! What parent and child say to each other, one JSON value a line. Both ends are the same binary, so this is no format
//! that anyone else may rely on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::{Artifact, OpenOptions};
use super::exercise::ProbeSubject;
use super::sample::SampleRun;
use super::verdict::Verdict;
use crate::model::config::{GraphLevel, InstanceConfig, Provider, RuntimeConfig};

/// The first line to a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Path of the ONNX Runtime library, openable in the child.
    pub(super) library: PathBuf,
    /// Cap of the child's arena.
    pub(super) arena_bytes_max: usize,
}

/// Every other line to a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) path: PathBuf,
    pub(super) options: WireOptions,
    pub(super) rows_max: usize,
    pub(super) tolerance: f64,
    pub(super) try_zero: bool,
    pub(super) sample: SampleRun,
    /// Bytes of address space that this model may take; `None` without a limit.
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_seconds: u64,
}

/// A line from a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The child is up.
    Ready,
    /// An experiment starts.
    Progress(Progress),
    /// All are done.
    Done(Verdict),
    /// The child's device is lost, and the child with it.
    Lost(String),
    /// The child cannot work at all.
    Unusable(String),
}

/// What is about to be done, and what is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    pub(super) so_far: Verdict,
}

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Load,
    Run { rows: usize },
    Rows,
    Sample,
    Zero { place: String },
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stage::Load => f.write_str("loading"),
            Stage::Run { rows: 1 } => f.write_str("running one row"),
            Stage::Run { rows } => write!(f, "running {rows} rows"),
            Stage::Rows => f.write_str("comparing rows"),
            Stage::Sample => f.write_str("running the sample"),
            Stage::Zero { place } => write!(f, "running with 0 as {place}"),
        }
    }
}

/// [`OpenOptions`] as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WireOptions {
    intra_threads: Option<usize>,
    inter_threads: Option<usize>,
    graph_level: u8,
    cuda: bool,
    provider_options: BTreeMap<String, String>,
    session_entries: BTreeMap<String, String>,
    instance_count: Option<usize>,
    device: u32,
}

const GRAPH_LEVELS: [GraphLevel; 4] =
    [GraphLevel::Disabled, GraphLevel::Basic, GraphLevel::Extended, GraphLevel::All];

impl WireOptions {
    pub(super) fn of(options: &OpenOptions) -> WireOptions {
        let OpenOptions { runtime, instances } = options;
        let level = GRAPH_LEVELS.iter().position(|level| *level == runtime.graph_level);
        WireOptions {
            intra_threads: runtime.intra_threads,
            inter_threads: runtime.inter_threads,
            graph_level: level.and_then(|level| u8::try_from(level).ok()).unwrap_or(3),
            cuda: runtime.provider == Provider::Cuda,
            provider_options: runtime.provider_options.clone(),
            session_entries: runtime.session_entries.clone(),
            instance_count: instances.count,
            device: instances.device,
        }
    }

    fn into_options(self) -> OpenOptions {
        let level = GRAPH_LEVELS.get(usize::from(self.graph_level));
        OpenOptions {
            runtime: RuntimeConfig {
                intra_threads: self.intra_threads,
                inter_threads: self.inter_threads,
                graph_level: level.copied().unwrap_or_default(),
                provider: if self.cuda { Provider::Cuda } else { Provider::Cpu },
                provider_options: self.provider_options,
                session_entries: self.session_entries,
            },
            instances: InstanceConfig { count: self.instance_count, device: self.device },
        }
    }
}

impl Request {
    pub(super) fn into_subject(self) -> ProbeSubject {
        ProbeSubject {
            artifact: Artifact { path: self.path },
            options: self.options.into_options(),
            rows_max: self.rows_max,
            tolerance: self.tolerance,
            try_zero: self.try_zero,
            sample: self.sample,
        }
    }
}
