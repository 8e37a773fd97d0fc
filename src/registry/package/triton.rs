//! A version as a Triton model repository: `<model>/config.pbtxt` and `<model>/<n>/…`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::PackageError;
use super::pull::{Building, check_record};
use crate::model::settings::{SETTINGS_BYTES_MAX, parse_config_pbtxt, parse_model_toml};
use crate::model::{ModelName, Version};
use crate::registry::blobs;
use crate::registry::error::Refusal;
use crate::registry::record::{FileRef, TensorRecord, VersionRecord};
use crate::registry::store::Store;

/// Largest batch of a generated configuration.
const BATCH_MAX: usize = 64;

const CONFIG: &str = "config.pbtxt";

/// Writes the repository to `target`. A `config.pbtxt` of the version is kept, else one is made from its signature.
///
/// # Errors
/// [`PackageError`]; then there is nothing at `target`.
pub async fn export(
    store: &Store,
    model: &ModelName,
    version: Version,
    record: &VersionRecord,
    target: &Path,
) -> Result<(), PackageError> {
    let building = Building::start(target)?;
    let layout = layout(store, model, version, record).await?;
    for (file, path) in &layout.files {
        blobs::fetch_to(store, file, &building.path().join(path)).await?;
    }
    if let Some((path, text)) = &layout.config {
        let path = building.path().join(path);
        std::fs::write(&path, text).map_err(|error| PackageError::io(&path, error))?;
    }
    building.finish()
}

/// Where each file goes, relative to the repository.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) files: Vec<(FileRef, PathBuf)>,
    /// The configuration that is written when there is none.
    pub(super) config: Option<(PathBuf, String)>,
}

/// Settings and the label files that they name lie beside the version's folder, everything else in it. A model file that
/// no settings name is called `model.onnx`, where every server looks for it.
pub(super) async fn layout(
    store: &Store,
    model: &ModelName,
    version: Version,
    record: &VersionRecord,
) -> Result<Layout, PackageError> {
    check_record(record)?;
    let home = PathBuf::from(&**model);
    let inside = home.join(version.to_string());
    let mut common = BTreeSet::new();
    let mut is_named = false;
    for file in record.files.iter().filter(|file| [CONFIG, "model.toml"].contains(&file.path.as_str())) {
        let bytes = blobs::read_small(store, file, SETTINGS_BYTES_MAX as u64).await?;
        let text = String::from_utf8_lossy(&bytes);
        let parsed = match file.path.as_str() {
            CONFIG => parse_config_pbtxt(&text, CONFIG),
            name => parse_model_toml(&text, name),
        };
        common.insert(file.path.clone());
        if let Ok(parsed) = parsed {
            common.extend(parsed.config.label_files.into_values());
            is_named |= parsed.model_file.as_ref() == Some(&record.model_file);
        }
    }
    let has_config = common.contains(CONFIG);
    let mut files = Vec::new();
    for file in &record.files {
        let path = match file.path.as_str() {
            path if path == record.model_file && !is_named => inside.join("model.onnx"),
            path if common.contains(path) => home.join(path),
            path => inside.join(path),
        };
        files.push((file.clone(), path));
    }
    let config = match has_config {
        true => None,
        false => Some((home.join(CONFIG), config_text(model, record)?)),
    };
    Ok(Layout { files, config })
}

/// A configuration for a version that has none.
///
/// # Errors
/// [`Refusal::Invalid`] when a datatype or name cannot be written.
pub fn config_text(model: &ModelName, record: &VersionRecord) -> Result<String, Refusal> {
    let all = || record.inputs.iter().chain(&record.outputs);
    let proved = record.validation.batching.strip_prefix("rows are independent, tried up to ");
    let rows: usize = proved.and_then(|rows| rows.parse().ok()).unwrap_or(0);
    // Triton's batch axis is not among the dimensions, of which there must be one.
    let can_batch =
        rows > 1 && all().all(|tensor| tensor.shape.first() == Some(&-1) && tensor.shape.len() > 1);
    let batch = if can_batch { rows.min(BATCH_MAX) } else { 0 };
    let mut text = format!("name: \"{model}\"\nbackend: \"onnxruntime\"\nmax_batch_size: {batch}\n");
    for (field, tensors) in [("input", &record.inputs), ("output", &record.outputs)] {
        for tensor in tensors {
            text.push_str(&tensor_text(field, tensor, can_batch)?);
        }
    }
    if can_batch {
        text.push_str("dynamic_batching { }\n");
    }
    Ok(text)
}

fn tensor_text(field: &str, tensor: &TensorRecord, can_batch: bool) -> Result<String, Refusal> {
    let datatype = match tensor.datatype.as_str() {
        "BYTES" => "STRING",
        "BOOL" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "INT8" | "INT16" | "INT32" | "INT64" | "FP16"
        | "FP32" | "FP64" | "BF16" => &tensor.datatype,
        other => return Err(Refusal::Invalid(format!("Triton has no datatype {other}"))),
    };
    let dims: Vec<String> = tensor.shape.iter().skip(usize::from(can_batch)).map(i64::to_string).collect();
    // A scalar is a tensor of one element to Triton.
    let shape = match dims.is_empty() {
        true => "dims: [ 1 ]\n  reshape: { shape: [ ] }".to_owned(),
        false => format!("dims: [ {} ]", dims.join(", ")),
    };
    let name = quoted(&tensor.name);
    Ok(format!("{field} {{\n  name: {name}\n  data_type: TYPE_{datatype}\n  {shape}\n}}\n"))
}

/// A text in the quotes of protobuf's text format.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::sample::record;

    #[test]
    fn a_configuration_batches_what_was_proved_independent() {
        let model: ModelName = "m".parse().unwrap();
        let mut version = record(Vec::new());
        version.validation.batching = "rows are independent, tried up to 32".to_owned();
        let text = config_text(&model, &version).unwrap();
        let parsed = parse_config_pbtxt(&text, CONFIG).unwrap();
        assert_eq!(parsed.config.max_batch_size, Some(32), "{text}");
        assert!(text.contains("dims: [ 4 ]"), "{text}");
        version.validation.batching = "rows depend on each other: 1 and 2".to_owned();
        let text = config_text(&model, &version).unwrap();
        assert!(text.contains("max_batch_size: 0") && text.contains("dims: [ -1, 4 ]"), "{text}");
        version.outputs[0].name = "a\"b\\".to_owned();
        assert!(config_text(&model, &version).unwrap().contains(r#"name: "a\"b\\""#));
    }
}
