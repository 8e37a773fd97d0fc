//! How a version is to be served: the effective settings, whatever file or default they came from.
//!
//! Parsing files is `serving`'s business; this is what the words mean.

use std::collections::BTreeMap;
use std::time::Duration;

use super::monitoring::MonitoringConfig;

/// The effective settings of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which versions are served.
    pub version_policy: VersionPolicy,
    /// The most rows in a batch; 0 serves requests one by one, as they come. `None` decides at load: batched if the
    /// rows are proved independent.
    pub max_batch_size: Option<usize>,
    /// How requests wait.
    pub queue: QueueConfig,
    /// How many instances, and where.
    pub instances: InstanceConfig,
    /// How ONNX Runtime is set up.
    pub runtime: RuntimeConfig,
    /// What is run before a version takes traffic.
    pub warmup: WarmupConfig,
    /// Largest difference between rows run together and apart, relative and absolute, that still counts as equal.
    pub batch_tolerance: f64,
    /// Whether a version of a registry must answer its golden inputs as it did when it was registered.
    pub golden_check: bool,
    /// Largest difference, relative and absolute, from the golden outputs; `None` takes the one registered with them.
    pub golden_tolerance: Option<f64>,
    /// Whether a dimension of 0 is passed to the model. Off unless the probe showed that the model survives it.
    pub allow_empty: Option<bool>,
    /// For each output, the file in the model's folder that names its classes, one a line.
    pub label_files: BTreeMap<String, String>,
    /// How its traffic is watched.
    pub monitoring: MonitoringConfig,
    /// Free parameters, shown in the model's configuration.
    pub parameters: BTreeMap<String, String>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            version_policy: VersionPolicy::Latest(1),
            max_batch_size: None,
            queue: QueueConfig::default(),
            instances: InstanceConfig::default(),
            runtime: RuntimeConfig::default(),
            warmup: WarmupConfig::default(),
            batch_tolerance: 1e-4,
            golden_check: true,
            golden_tolerance: None,
            allow_empty: None,
            label_files: BTreeMap::new(),
            monitoring: MonitoringConfig::default(),
            parameters: BTreeMap::new(),
        }
    }
}

/// Which of a model's versions are served (Triton's `version_policy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest `n` numbers.
    Latest(usize),
    /// Every version.
    All,
    /// These numbers.
    Specific(Vec<u64>),
}

/// How requests wait for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a batch may wait to grow when a worker is free. Zero by default: batches grow under load by themselves.
    pub delay: Duration,
    /// The most requests waiting in all lanes of a version; one more is refused.
    pub size: usize,
    /// Priority levels 1 (highest) to this; 0 when the model has no priorities.
    pub priority_levels: u32,
    /// Priority of a request that states none.
    pub default_priority: u32,
    /// Deadline of a request that states none.
    pub default_timeout: Option<Duration>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            delay: Duration::ZERO,
            size: 1024,
            priority_levels: 0,
            default_priority: 0,
            default_timeout: None,
        }
    }
}

/// Where instances run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceConfig {
    /// How many instances (workers) a device has. `None` decides by the machine and the model.
    pub count: Option<usize>,
    /// The CUDA device, when the provider is CUDA.
    pub device: u32,
}

/// Which execution provider runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// ONNX Runtime's CPU provider.
    #[default]
    Cpu,
    /// ONNX Runtime's CUDA provider; needs its shared libraries beside the runtime.
    Cuda,
}

impl Provider {
    /// The provider's name in configuration and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
        }
    }
}

/// ONNX Runtime's graph optimization level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GraphLevel {
    /// None.
    Disabled,
    /// Constant folding and redundant node elimination.
    Basic,
    /// Node fusions as well.
    Extended,
    /// Layout changes as well.
    #[default]
    All,
}

/// How ONNX Runtime is set up for a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeConfig {
    /// Threads inside an operator. `None` decides by the machine and the model's cost.
    pub intra_threads: Option<usize>,
    /// Threads across operators; more than 1 turns parallel execution on.
    pub inter_threads: Option<usize>,
    /// Graph optimization.
    pub graph_level: GraphLevel,
    /// Execution provider.
    pub provider: Provider,
    /// Options of the provider by ONNX Runtime's own names.
    pub provider_options: BTreeMap<String, String>,
    /// Session configuration entries by ONNX Runtime's own names (`session.…`).
    pub session_entries: BTreeMap<String, String>,
}

/// What is run before a version takes traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmupConfig {
    /// Runs at each of batch 1, 2 and the largest.
    pub runs: usize,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        WarmupConfig { runs: 1 }
    }
}
