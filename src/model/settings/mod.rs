//! What the files beside a model say: `model.toml`, Triton's `config.pbtxt`, and Triton's JSON `config` override.
//!
//! Pure functions from text to [`ParsedModelConfig`]: no file is opened here, and nothing is decided that needs the
//! model itself. Every setting remembers where it was written, so that a mistake is named with its file and line and
//! `weir check` can say where each value came from.

mod checks;
mod json;
mod keys;
mod model_toml;
mod monitoring;
mod overlay;
mod node;
mod pbtxt;
mod toml_tree;
mod triton;
mod triton_batching;
mod triton_runtime;
pub mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use self::checks::DeclaredTensor;
pub use self::json::parse_config_json;
pub use self::keys::{MODEL_KEYS, ModelKey};
pub use self::model_toml::parse_model_toml;
pub use self::node::{Entry, Node, Value};
pub use self::pbtxt::parse_config_pbtxt;
pub use self::toml_tree::parse_toml;

use crate::error::{Code, Coded};
use crate::model::ModelConfig;

/// Longest configuration text that is read, in bytes.
pub const SETTINGS_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of a configuration text.
pub(crate) const SETTINGS_DEPTH_MAX: usize = 32;

/// Where a setting's value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: the built-in value.
    Default,
    /// On this line (counted from 1; 0 when the format has no lines) of this file.
    File {
        /// The file, as it was named to the parser.
        file: String,
        /// The line.
        line: usize,
    },
    /// Decided by looking at something else, for this reason.
    Inferred(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { file, line: 0 } => f.write_str(file),
            Source::File { file, line } => write!(f, "{file}:{line}"),
            Source::Inferred(why) => write!(f, "inferred: {why}"),
        }
    }
}

/// A configuration text cannot be used. Shows as `FILE:LINE: reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", line_suffix(*.line))]
pub struct SettingsError {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The line, counted from 1; 0 when the format has no lines.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

fn line_suffix(line: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}") }
}

impl Coded for SettingsError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

/// What a configuration text says, over the defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParsedModelConfig {
    /// The settings; what the text does not mention has its default.
    pub config: ModelConfig,
    /// The model's name, when the text states it: it must be the folder's.
    pub name: Option<String>,
    /// The file in the version's folder, when it is not `model.onnx`.
    pub model_file: Option<String>,
    /// Inputs that the text declares; to be compared with the model's by [`ParsedModelConfig::check_signature`].
    pub inputs: Vec<DeclaredTensor>,
    /// Outputs that the text declares.
    pub outputs: Vec<DeclaredTensor>,
    /// Where each setting of [`MODEL_KEYS`] came from, by its path; no entry means default.
    pub sources: BTreeMap<String, Source>,
    /// What was understood and does not apply, each with its file and line.
    pub warnings: Vec<String>,
}

impl ParsedModelConfig {
    /// Where the setting at `path` (for example `queue.delay`) came from.
    pub fn source(&self, path: &str) -> &Source {
        self.sources.get(path).unwrap_or(&Source::Default)
    }

    /// The settings as rows of path, value and source, in the order of [`MODEL_KEYS`].
    pub fn rows(&self) -> Vec<(&'static str, String, Source)> {
        MODEL_KEYS.iter().map(|key| (key.path, (key.show)(self), self.source(key.path).clone())).collect()
    }

    /// Notes that the setting at `path` was written on `line` of `file`.
    pub(crate) fn note(&mut self, path: &str, file: &str, line: usize) {
        self.sources.insert(path.to_owned(), Source::File { file: file.to_owned(), line });
    }

    /// Notes something that is ignored.
    pub(crate) fn warn(&mut self, file: &str, line: usize, text: &str) {
        self.warnings.push(format!("{file}{}: {text}", line_suffix(line)));
    }
}
