//! The table of a model's settings: path, meaning, how to read and how to show each. `docs/configuration.md` repeats
//! it, and a test compares the two.

use std::collections::BTreeMap;
use std::time::Duration;

use super::values::{shorten, show_duration};
use super::{Node, ParsedModelConfig, Value, monitoring};
use crate::model::ModelName;
use crate::model::Version;
use crate::model::config::{GraphLevel, Provider, VersionPolicy};

/// The most rows that may be asked for in a batch.
pub(super) const BATCH_SIZE_MAX: usize = 65_536;
/// The most waiting requests that may be asked for.
pub(super) const QUEUE_SIZE_MAX: usize = 1 << 20;
/// The most priority levels.
pub(super) const PRIORITIES_MAX: u32 = 32;
/// The most instances of a model.
pub(super) const INSTANCES_MAX: usize = 256;
/// The highest CUDA device number.
pub(super) const DEVICE_MAX: u32 = 255;
/// The most threads of a session.
pub(super) const THREADS_MAX: usize = 1024;
/// The most warm-up runs at each batch size.
pub(super) const WARMUP_RUNS_MAX: usize = 1000;
/// The longest queue delay.
pub(super) const QUEUE_DELAY_MAX: Duration = Duration::from_secs(10);
/// The longest default timeout.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Words of the graph level, in the order of [`GRAPH_LEVELS`].
const GRAPH_WORDS: [&str; 4] = ["disabled", "basic", "extended", "all"];
const GRAPH_LEVELS: [GraphLevel; 4] =
    [GraphLevel::Disabled, GraphLevel::Basic, GraphLevel::Extended, GraphLevel::All];

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// One value.
    Value,
    /// A table of free keys.
    Map,
}

/// One setting of a model.
#[derive(Clone, Copy)]
pub struct ModelKey {
    /// Section and key, with a dot between them.
    pub path: &'static str,
    /// How it is written.
    pub kind: KeyKind,
    /// What it does, in a line.
    pub help: &'static str,
    /// Reads the value; an error says what was expected. A map is given one entry at a time.
    pub(super) apply: fn(&mut ParsedModelConfig, &Node) -> Result<(), String>,
    /// The value as it would be written.
    pub(super) show: fn(&ParsedModelConfig) -> String,
}

impl std::fmt::Debug for ModelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelKey").field("path", &self.path).finish_non_exhaustive()
    }
}

const fn value(
    path: &'static str,
    help: &'static str,
    apply: fn(&mut ParsedModelConfig, &Node) -> Result<(), String>,
    show: fn(&ParsedModelConfig) -> String,
) -> ModelKey {
    ModelKey { path, kind: KeyKind::Value, help, apply, show }
}

const fn map(
    path: &'static str,
    help: &'static str,
    apply: fn(&mut ParsedModelConfig, &Node) -> Result<(), String>,
    show: fn(&ParsedModelConfig) -> String,
) -> ModelKey {
    ModelKey { path, kind: KeyKind::Map, help, apply, show }
}

/// Every setting, in the order of the documentation.
pub const MODEL_KEYS: &[ModelKey] = &[
    value("name", "The model's name; must be the folder's name.", apply_name, |p| {
        quoted_or(p.name.as_deref(), "the folder's")
    }),
    value(
        "model_file",
        "The file in a version's folder.",
        |p, n| file_name(n).map(|name| p.model_file = Some(name)),
        |p| format!("{:?}", p.model_file.as_deref().unwrap_or("model.onnx")),
    ),
    value(
        "versions",
        "Which versions are served: \"all\", { latest = N } or a list of numbers.",
        apply_versions,
        |p| show_versions(&p.config.version_policy),
    ),
    value(
        "max_batch_size",
        "The most rows in a batch; 0 serves requests one by one. Without it, decided at load.",
        |p, n| n.count(0, BATCH_SIZE_MAX).map(|size| p.config.max_batch_size = Some(size)),
        |p| or_automatic(p.config.max_batch_size),
    ),
    value(
        "batch_tolerance",
        "Largest difference, relative and absolute, between rows run together and apart that counts as equal.",
        |p, n| n.real().map(|tolerance| p.config.batch_tolerance = tolerance),
        |p| p.config.batch_tolerance.to_string(),
    ),
    value(
        "golden_check",
        "Whether a registry's version must answer its golden inputs as it did when it was registered.",
        |p, n| n.truth().map(|check| p.config.golden_check = check),
        |p| p.config.golden_check.to_string(),
    ),
    value(
        "golden_tolerance",
        "Largest difference, relative and absolute, from the golden outputs. Without it, the one registered with them.",
        |p, n| n.real().map(|tolerance| p.config.golden_tolerance = Some(tolerance)),
        |p| or_automatic(p.config.golden_tolerance),
    ),
    value(
        "allow_empty",
        "Whether a dimension of 0 is passed to the model. Without it, decided by the probe.",
        |p, n| n.truth().map(|allow| p.config.allow_empty = Some(allow)),
        |p| or_automatic(p.config.allow_empty),
    ),
    value(
        "queue.delay",
        "How long a batch may wait to grow when a worker is free.",
        |p, n| n.duration(QUEUE_DELAY_MAX).map(|delay| p.config.queue.delay = delay),
        |p| format!("{:?}", show_duration(p.config.queue.delay)),
    ),
    value(
        "queue.size",
        "The most requests that wait; one more is refused.",
        |p, n| n.count(1, QUEUE_SIZE_MAX).map(|size| p.config.queue.size = size),
        |p| p.config.queue.size.to_string(),
    ),
    value(
        "queue.priorities",
        "Priority levels, 1 (highest) to this; 0 for none.",
        |p, n| n.small(0, PRIORITIES_MAX).map(|levels| p.config.queue.priority_levels = levels),
        |p| p.config.queue.priority_levels.to_string(),
    ),
    value(
        "queue.default_priority",
        "Priority of a request that states none.",
        |p, n| n.small(1, PRIORITIES_MAX).map(|level| p.config.queue.default_priority = level),
        |p| p.config.queue.default_priority.to_string(),
    ),
    value(
        "queue.default_timeout",
        "Deadline of a request that states none.",
        |p, n| {
            n.duration(TIMEOUT_MAX)
                .map(|timeout| p.config.queue.default_timeout = Some(timeout).filter(|t| !t.is_zero()))
        },
        |p| {
            p.config
                .queue
                .default_timeout
                .map_or("none".to_owned(), |timeout| format!("{:?}", show_duration(timeout)))
        },
    ),
    value(
        "instances.count",
        "Workers that run at the same time. Without it, decided by the machine and the model.",
        |p, n| n.count(1, INSTANCES_MAX).map(|count| p.config.instances.count = Some(count)),
        |p| or_automatic(p.config.instances.count),
    ),
    value(
        "instances.device",
        "The CUDA device, with provider \"cuda\".",
        |p, n| n.small(0, DEVICE_MAX).map(|device| p.config.instances.device = device),
        |p| p.config.instances.device.to_string(),
    ),
    value(
        "runtime.provider",
        "ONNX Runtime's execution provider: \"cpu\" or \"cuda\".",
        |p, n| {
            n.one_of(&["cpu", "cuda"])
                .map(|at| p.config.runtime.provider = [Provider::Cpu, Provider::Cuda][at])
        },
        |p| format!("{:?}", p.config.runtime.provider.as_str()),
    ),
    value(
        "runtime.intra_threads",
        "Threads inside an operator. Without it, decided by the machine and the model.",
        |p, n| n.count(1, THREADS_MAX).map(|threads| p.config.runtime.intra_threads = Some(threads)),
        |p| or_automatic(p.config.runtime.intra_threads),
    ),
    value(
        "runtime.inter_threads",
        "Threads across operators; more than 1 runs branches of the graph in parallel.",
        |p, n| n.count(1, THREADS_MAX).map(|threads| p.config.runtime.inter_threads = Some(threads)),
        |p| or_automatic(p.config.runtime.inter_threads),
    ),
    value(
        "runtime.graph_level",
        "Graph optimization: \"disabled\", \"basic\", \"extended\" or \"all\".",
        |p, n| n.one_of(&GRAPH_WORDS).map(|at| p.config.runtime.graph_level = GRAPH_LEVELS[at]),
        |p| format!("{:?}", show_graph_level(p.config.runtime.graph_level)),
    ),
    map(
        "runtime.provider_options",
        "Options of the provider by ONNX Runtime's own names.",
        |p, n| insert(&mut p.config.runtime.provider_options, n),
        |p| show_map(&p.config.runtime.provider_options),
    ),
    map(
        "runtime.session",
        "Session configuration entries by ONNX Runtime's own names.",
        |p, n| insert(&mut p.config.runtime.session_entries, n),
        |p| show_map(&p.config.runtime.session_entries),
    ),
    value(
        "warmup.runs",
        "Runs at each of batch 1, 2 and the largest before a version takes traffic.",
        |p, n| n.count(0, WARMUP_RUNS_MAX).map(|runs| p.config.warmup.runs = runs),
        |p| p.config.warmup.runs.to_string(),
    ),
    map(
        "labels",
        "For each output, a file in the model's folder that names its classes, one a line.",
        apply_label,
        |p| show_map(&p.config.label_files),
    ),
    map(
        "features",
        "For each tensor, the names of a row's elements: columns of capture, features of drift.",
        monitoring::apply_features,
        monitoring::show_features,
    ),
    value(
        "capture.mode",
        "What capture promises: \"off\", \"best_effort\", \"durable\" or \"audit\". Without it, the server's.",
        monitoring::apply_mode,
        |p| {
            p.config
                .monitoring
                .capture
                .mode
                .map_or("the server's".to_owned(), |m| format!("{:?}", m.as_str()))
        },
    ),
    value(
        "capture.rate",
        "The share of requests that is captured, 0 to 1. Without it, the server's.",
        monitoring::apply_rate,
        |p| or_servers(p.config.monitoring.capture.rate),
    ),
    value(
        "capture.slow",
        "Requests that took longer are captured whatever the rate.",
        |p, n| n.duration(monitoring::SLOW_MAX).map(|slow| p.config.monitoring.capture.slow = Some(slow)),
        monitoring::show_slow,
    ),
    value(
        "capture.low_margin",
        "Answers whose two best scores are closer than this are captured whatever the rate.",
        |p, n| n.real().map(|margin| p.config.monitoring.capture.low_margin = Some(margin)),
        |p| p.config.monitoring.capture.low_margin.map_or("none".to_owned(), |margin| margin.to_string()),
    ),
    value(
        "capture.first",
        "So many requests after a load are captured whatever the rate.",
        |p, n| n.whole(0, i64::MAX as u64).map(|first| p.config.monitoring.capture.first = Some(first)),
        |p| p.config.monitoring.capture.first.map_or("0".to_owned(), |first| first.to_string()),
    ),
    map(
        "capture.privacy",
        "For each feature, what is done to its values before they are written: \"keep\", \"drop\", \"hmac\", \"bucket:5\" and others.",
        monitoring::apply_privacy,
        monitoring::show_privacy,
    ),
    value(
        "capture.attributes",
        "Headers or metadata entries that are captured beside a request's rows, hashed unless capture.privacy says otherwise of \"attr.NAME\", for example [\"x-tenant\"].",
        monitoring::apply_attributes,
        |p| format!("{:?}", p.config.monitoring.capture.attributes),
    ),
    value(
        "drift.enabled",
        "Whether its traffic is compared with its baseline. Without it, the server's.",
        |p, n| n.truth().map(|enabled| p.config.monitoring.drift = Some(enabled)),
        |p| or_servers(p.config.monitoring.drift),
    ),
    value(
        "drift.embeddings",
        "Tensors whose rows are compared as points: of numbers, 2 to 4,096 a row, for example [\"pooled\"].",
        monitoring::apply_embeddings,
        |p| format!("{:?}", p.config.monitoring.embeddings),
    ),
    map(
        "parameters",
        "Free parameters, shown in the model's configuration.",
        |p, n| insert(&mut p.config.parameters, n),
        |p| show_map(&p.config.parameters),
    ),
];

fn apply_name(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    let name = node.text()?;
    name.parse::<ModelName>().map_err(|error| error.to_string())?;
    parsed.name = Some(name.to_owned());
    Ok(())
}

fn apply_versions(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    const EXPECTED: &str = "expected \"all\", { latest = N } or a list of version numbers";
    parsed.config.version_policy = match &node.value {
        Value::Text(text) if text == "all" => VersionPolicy::All,
        Value::Text(text) if text == "latest" => VersionPolicy::Latest(1),
        Value::Table(entries) => match entries.as_slice() {
            [only] if only.key == "latest" => VersionPolicy::Latest(only.node.count(1, BATCH_SIZE_MAX)?),
            _ => return Err(EXPECTED.to_owned()),
        },
        Value::List(items) => specific(items)?,
        _ => return Err(EXPECTED.to_owned()),
    };
    Ok(())
}

/// A policy of these versions only.
pub(super) fn specific(items: &[Node]) -> Result<VersionPolicy, String> {
    let versions: Result<Vec<u64>, String> =
        items.iter().map(|item| item.whole(1, i64::MAX as u64)).collect();
    let mut versions = versions?;
    versions.sort_unstable();
    versions.dedup();
    match versions.iter().copied().all(|version| Version::new(version).is_some()) && !versions.is_empty() {
        true => Ok(VersionPolicy::Specific(versions)),
        false => Err("expected at least one version number".to_owned()),
    }
}

fn apply_label(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    for entry in node.entries()? {
        parsed.config.label_files.insert(entry.key.clone(), file_name(&entry.node)?);
    }
    Ok(())
}

/// A plain file name: it cannot lead out of its folder.
pub(super) fn file_name(node: &Node) -> Result<String, String> {
    let name = node.text()?;
    let plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'));
    match plain {
        true => Ok(name.to_owned()),
        false => Err(format!("expected a plain file name without folders, found \"{}\"", shorten(name))),
    }
}

fn insert(target: &mut BTreeMap<String, String>, node: &Node) -> Result<(), String> {
    for entry in node.entries()? {
        target.insert(entry.key.clone(), entry.node.scalar()?);
    }
    Ok(())
}

fn or_automatic<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or("automatic".to_owned(), |value| value.to_string())
}

fn or_servers<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or("the server's".to_owned(), |value| value.to_string())
}

fn quoted_or(value: Option<&str>, otherwise: &str) -> String {
    value.map_or(otherwise.to_owned(), |value| format!("{value:?}"))
}

fn show_map(map: &BTreeMap<String, String>) -> String {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key:?} = {value:?}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn show_versions(policy: &VersionPolicy) -> String {
    match policy {
        VersionPolicy::All => "\"all\"".to_owned(),
        VersionPolicy::Latest(count) => format!("{{ latest = {count} }}"),
        VersionPolicy::Specific(versions) => format!("{versions:?}"),
    }
}

fn show_graph_level(level: GraphLevel) -> &'static str {
    let at = GRAPH_LEVELS.iter().position(|known| *known == level);
    at.and_then(|at| GRAPH_WORDS.get(at)).copied().unwrap_or("all")
}
