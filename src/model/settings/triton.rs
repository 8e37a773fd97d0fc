//! Triton's model configuration, as a tree, to Weir's settings: what applies is mapped, what does not is named in a
//! warning, what is unknown is refused with the nearest known field.

use super::keys::{BATCH_SIZE_MAX, WARMUP_RUNS_MAX, file_name, specific};
use super::values::{shorten, unknown};
use super::{DeclaredTensor, Entry, Node, ParsedModelConfig, SettingsError, Value};
use super::{model_toml, triton_batching, triton_runtime};
use crate::model::ModelName;
use crate::model::config::VersionPolicy;

/// A line and what is wrong there.
pub(super) type Defect = (usize, String);

/// Fields of Triton's `ModelConfig` that change nothing here.
const IGNORED: [&str; 14] = [
    "runtime",
    "batch_input",
    "batch_output",
    "sequence_batching",
    "ensemble_scheduling",
    "cc_model_filenames",
    "metric_tags",
    "model_operations",
    "model_transaction_policy",
    "model_repository_agents",
    "response_cache",
    "model_metrics",
    "scheduling_choice",
    "model_id",
];

/// Fields that are mapped by [`field`].
const MAPPED: [&str; 13] = [
    "name",
    "platform",
    "backend",
    "version_policy",
    "max_batch_size",
    "input",
    "output",
    "optimization",
    "dynamic_batching",
    "instance_group",
    "default_model_filename",
    "parameters",
    "model_warmup",
];

/// Reads a whole configuration.
pub(super) fn from_tree(entries: &[Entry], file: &str) -> Result<ParsedModelConfig, SettingsError> {
    let mut reading = Reading { parsed: ParsedModelConfig::default(), file };
    for entry in entries {
        field(&mut reading, entry).map_err(|(line, reason)| SettingsError {
            file: file.to_owned(),
            line,
            reason,
        })?;
    }
    let mut parsed = reading.parsed;
    model_toml::infer_default_priority(&mut parsed);
    parsed.check_agreement(file)?;
    Ok(parsed)
}

/// What has been read, and how the file is called.
pub(super) struct Reading<'a> {
    pub(super) parsed: ParsedModelConfig,
    pub(super) file: &'a str,
}

impl Reading<'_> {
    pub(super) fn note(&mut self, path: &str, line: usize) {
        self.parsed.note(path, self.file, line);
    }

    pub(super) fn warn(&mut self, line: usize, text: &str) {
        self.parsed.warn(self.file, line, text);
    }

    /// Names a field that is understood and does not apply.
    pub(super) fn ignore(&mut self, entry: &Entry, why: &str) {
        self.warn(entry.line, &format!("\"{}\" is ignored: {why}", shorten(&entry.key)));
    }
}

/// The defect of a value: its line and, before the reason, its field.
pub(super) fn at<T>(entry: &Entry, result: Result<T, String>) -> Result<T, Defect> {
    result.map_err(|reason| (entry.line, format!("\"{}\": {reason}", shorten(&entry.key))))
}

/// An unknown field in a message with these known ones.
pub(super) fn unknown_field<T>(entry: &Entry, known: &[&str]) -> Result<T, Defect> {
    Err((entry.line, unknown("field", &entry.key, known.iter().copied())))
}

/// The fields of a message that is given once or as a list of messages.
pub(super) fn messages(entry: &Entry) -> Result<Vec<&[Entry]>, Defect> {
    entry.node.items().iter().map(|item| at(entry, item.entries())).collect()
}

fn field(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    let line = entry.line;
    match entry.key.as_str() {
        "name" => {
            let name = at(entry, entry.node.text())?;
            if !name.is_empty() {
                at(entry, name.parse::<ModelName>().map_err(|error| error.to_string()))?;
                reading.parsed.name = Some(name.to_owned());
                reading.note("name", line);
            }
        }
        "platform" => at(entry, only(&entry.node, &["", "onnxruntime_onnx"]))?,
        "backend" => at(entry, only(&entry.node, &["", "onnxruntime"]))?,
        "max_batch_size" => {
            reading.parsed.config.max_batch_size = Some(at(entry, entry.node.count(0, BATCH_SIZE_MAX))?);
            reading.note("max_batch_size", line);
        }
        "default_model_filename" => {
            if !at(entry, entry.node.text())?.is_empty() {
                reading.parsed.model_file = Some(at(entry, file_name(&entry.node))?);
                reading.note("model_file", line);
            }
        }
        "version_policy" => version_policy(reading, entry)?,
        "input" | "output" => tensors(reading, entry)?,
        "dynamic_batching" => triton_batching::dynamic_batching(reading, entry)?,
        "instance_group" => triton_runtime::instance_group(reading, entry)?,
        "optimization" => triton_runtime::optimization(reading, entry)?,
        "parameters" => triton_runtime::parameters(reading, entry)?,
        "model_warmup" => warmup(reading, entry)?,
        key if IGNORED.contains(&key) => reading.ignore(entry, "it does not apply to this server"),
        _ => return unknown_field(entry, &[&MAPPED[..], &IGNORED[..]].concat()),
    }
    Ok(())
}

fn only(node: &Node, words: &[&str]) -> Result<(), String> {
    let found = node.text()?;
    match words.contains(&found) {
        true => Ok(()),
        false => Err(format!(
            "only \"{}\" is served here, found \"{}\"",
            words.last().unwrap_or(&""),
            shorten(found)
        )),
    }
}

fn version_policy(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for choice in messages(entry)?.into_iter().flatten() {
        let fields = at(choice, choice.node.entries())?;
        let numbers = |key: &'static str| fields.iter().filter(move |field| field.key == key);
        reading.parsed.config.version_policy = match choice.key.as_str() {
            "all" => VersionPolicy::All,
            "latest" => match numbers("num_versions").next() {
                Some(count) => VersionPolicy::Latest(at(count, count.node.count(1, BATCH_SIZE_MAX))?),
                None => VersionPolicy::Latest(1),
            },
            "specific" => {
                let items: Vec<Node> =
                    numbers("versions").flat_map(|field| field.node.items().to_vec()).collect();
                at(choice, specific(&items))?
            }
            _ => return unknown_field(choice, &["all", "latest", "specific"]),
        };
        reading.note("versions", choice.line);
    }
    Ok(())
}

fn tensors(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for fields in messages(entry)? {
        let mut tensor = DeclaredTensor { line: entry.line, ..DeclaredTensor::default() };
        for field in fields {
            tensor_field(reading, &mut tensor, field)?;
        }
        if tensor.name.is_empty() {
            return Err((entry.line, format!("an {} has no name", entry.key)));
        }
        if let Some(labels) = tensor.label_file.clone() {
            reading.parsed.config.label_files.insert(tensor.name.clone(), labels);
            reading.note("labels", tensor.line);
        }
        match entry.key.as_str() {
            "input" => reading.parsed.inputs.push(tensor),
            _ => reading.parsed.outputs.push(tensor),
        }
    }
    Ok(())
}

fn tensor_field(reading: &mut Reading<'_>, tensor: &mut DeclaredTensor, field: &Entry) -> Result<(), Defect> {
    match field.key.as_str() {
        "name" => {
            tensor.name = at(field, field.node.text())?.to_owned();
            tensor.line = field.line;
        }
        "data_type" => tensor.dtype = at(field, super::checks::data_type(&field.node))?,
        "dims" => {
            for item in field.node.items() {
                tensor.dims.get_or_insert_default().push(at(field, super::checks::dimension(item))?);
            }
        }
        "label_filename" => {
            if !at(field, field.node.text())?.is_empty() {
                tensor.label_file = Some(at(field, file_name(&field.node))?);
            }
        }
        "reshape" => {
            tensor.reshaped = true;
            reading.ignore(field, "the model's own shape is served");
        }
        "format" | "optional" | "is_shape_tensor" | "is_non_linear_format_io" | "allow_ragged_batch" => {
            if !matches!(&field.node.value, Value::Bool(false) | Value::Word(_)) {
                reading.ignore(field, "the model file decides");
            }
        }
        _ => {
            return unknown_field(
                field,
                &[
                    "name",
                    "data_type",
                    "dims",
                    "label_filename",
                    "reshape",
                    "format",
                    "optional",
                    "is_shape_tensor",
                ],
            );
        }
    }
    Ok(())
}

/// Triton warms up with stated data; here the same number of runs is made with generated data.
fn warmup(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    let mut runs = 0;
    for fields in messages(entry)? {
        let count = fields.iter().find(|field| field.key == "count");
        let count = count.map_or(Ok(1), |count| at(count, count.node.count(0, WARMUP_RUNS_MAX)))?;
        runs += count.max(1);
    }
    // A repeated field comes once for each message.
    let before = if reading.parsed.sources.contains_key("warmup.runs") {
        reading.parsed.config.warmup.runs
    } else {
        0
    };
    reading.parsed.config.warmup.runs = (before + runs).min(WARMUP_RUNS_MAX);
    reading.note("warmup.runs", entry.line);
    reading.warn(entry.line, "\"model_warmup\" sets the number of runs; their inputs are generated");
    Ok(())
}
