//! What revisions carry about versions and deployments: plain values, written once, in the registry's own format.
//!
//! Every map is ordered, so that the same value always has the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ModelName, Version};

/// A file of a version, by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Relative path with `/` between its parts; never absolute, never with `.` or `..` as a part.
    pub path: String,
    /// SHA-256 of the content, 64 lower-case hexadecimal digits: the blob's key.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
}

/// One version, as it was registered. Never changes; what may change later is in [`VersionState`](super::VersionState).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// Every file, ascending by path.
    pub files: Vec<FileRef>,
    /// Path of the ONNX file among them.
    pub model_file: String,
    /// SHA-256 over `"<sha256>  <path>\n"` of every file in order: equal for equal packages.
    pub digest: String,
    /// Where it was taken from, without credentials.
    pub source: String,
    /// Names the registration, so that a retry finds it instead of making a second version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What the model takes.
    pub inputs: Vec<TensorRecord>,
    /// What it gives.
    pub outputs: Vec<TensorRecord>,
    /// What its file says of itself.
    pub onnx: OnnxRecord,
    /// What loading it in a child process showed.
    pub validation: ValidationRecord,
    /// The working tree it was registered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRecord>,
    /// Data by role, for example `train` to `s3://bucket/table@7`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub datasets: BTreeMap<String, String>,
    /// The training run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Versions that it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<ModelRef>,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRecord {
    /// Its name.
    pub name: String,
    /// Its datatype, by its name in the protocol, for example `FP32`.
    pub datatype: String,
    /// Its dimensions; -1 for a dynamic one.
    pub shape: Vec<i64>,
}

/// What an ONNX file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxRecord {
    /// Version of the format.
    pub ir_version: u64,
    /// Operator sets by domain.
    pub opsets: BTreeMap<String, u64>,
    /// The program that wrote it.
    pub producer: String,
    /// How often each operator is used.
    pub operators: BTreeMap<String, u64>,
    /// Number of weights (elements of all initializers).
    pub parameters: u64,
}

/// What loading a version showed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRecord {
    /// The ONNX Runtime build that loaded it.
    pub onnxruntime: String,
    /// Time to open it, in microseconds.
    pub load_us: u64,
    /// Resident bytes that it took at its peak.
    pub memory_bytes: u64,
    /// Whether its rows are independent, in a line.
    pub batching: String,
    /// Inputs and the outputs that it gave for them: a JSON blob in the infer protocol's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<FileRef>,
}

/// A git working tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitRecord {
    /// The remote's URL without credentials; empty when there is none.
    pub remote: String,
    /// The branch; empty when detached.
    pub branch: String,
    /// The commit.
    pub commit: String,
    /// Whether files differ from the commit.
    pub dirty: bool,
}

/// What one deployment serves and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// Versions and their weights: a request without a version goes to each in proportion. A weight of 0 keeps a version
    /// loaded for those who name it. The sum is at least 1 and at most 1,000,000.
    pub traffic: BTreeMap<Version, u32>,
    /// What decides a request's share.
    pub sticky: StickyKey,
    /// Settings that go over those of the version's `model.toml`, by their dotted names there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// How long a version that is replaced stays loaded for a rollback.
    pub rollback_window_s: u64,
}

/// What is hashed to choose a version in a traffic split. A request without the key is spread by a random number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StickyKey {
    /// The request's id.
    #[default]
    RequestId,
    /// An HTTP header or gRPC metadata entry, by its lower-case name.
    Header(String),
}
