//! An MLflow model directory: what its `MLmodel` says, and, when it lies in a run's artifacts, the run's git tags.
//!
//! Only the onnx flavor is read. Python code and environments of the directory are kept as files and never run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Capture, PackageError, check_path};
use crate::registry::record::GitRecord;

/// The file that makes a folder an MLflow model.
pub(super) const FILE: &str = "MLmodel";

/// Longest `MLmodel`, and longest input example.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Longest value of a tag or property that is kept.
const VALUE_LEN_MAX: usize = 4096;

/// What is taken from the directory.
#[derive(Debug, PartialEq)]
pub(super) struct MlflowModel {
    pub(super) model_file: String,
    pub(super) capture: Capture,
}

/// `MLmodel`, as far as it is used.
#[derive(Debug, Deserialize)]
struct MlModel {
    flavors: BTreeMap<String, Value>,
    run_id: Option<String>,
    mlflow_version: Option<String>,
    model_uuid: Option<String>,
    model_id: Option<String>,
    utc_time_created: Option<String>,
    signature: Option<BTreeMap<String, Value>>,
    saved_input_example_info: Option<Example>,
    metadata: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Example {
    artifact_path: String,
}

/// Reads the directory at `folder`.
pub(super) fn read(folder: &Path) -> Result<MlflowModel, PackageError> {
    let (mut model, example) = parse(&text(&folder.join(FILE))?)?;
    if let Some(path) = example {
        let sample = text(&folder.join(path)).ok().and_then(|text| serde_json::from_str(&text).ok());
        model.capture.sample = sample;
    }
    model.capture.git = model.capture.run.as_deref().and_then(|run| run_git(folder, run));
    Ok(model)
}

/// The meaning of an `MLmodel`, and the path of its input example.
fn parse(text: &str) -> Result<(MlflowModel, Option<String>), PackageError> {
    let wrong = |reason: String| PackageError::Invalid(format!("{FILE}: {reason}"));
    let model: MlModel =
        serde_saphyr::from_str(text).map_err(|error| wrong(first_line(&error.to_string())))?;
    let Some(onnx) = model.flavors.get("onnx") else {
        let flavors: Vec<&str> = model.flavors.keys().map(String::as_str).take(8).collect();
        return Err(wrong(format!("it has no onnx flavor, only {}", flavors.join(", "))));
    };
    let model_file = onnx.get("data").and_then(Value::as_str).unwrap_or("model.onnx").to_owned();
    check_path(&model_file).map_err(&wrong)?;
    let example = model.saved_input_example_info.map(|example| example.artifact_path);
    if let Some(path) = &example {
        check_path(path).map_err(&wrong)?;
    }
    let mut capture = Capture { run: model.run_id.filter(|run| !run.is_empty()), ..Capture::default() };
    let named = [
        ("mlflow.version", model.mlflow_version),
        ("mlflow.model_id", model.model_id),
        ("mlflow.model_uuid", model.model_uuid),
        ("mlflow.created", model.utc_time_created),
        ("mlflow.onnx_version", onnx.get("onnx_version").and_then(plain)),
    ];
    let signature = model.signature.unwrap_or_default().into_iter();
    let signature = signature.map(|(part, value)| (format!("mlflow.signature.{part}"), plain(&value)));
    let named = named.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(signature);
    let kept = named.filter_map(|(key, value)| Some((key, value?)));
    capture.properties.extend(kept.filter(|(_, value)| value.len() <= VALUE_LEN_MAX));
    for (key, value) in model.metadata.unwrap_or_default() {
        let value = plain(&value).filter(|value| value.len() <= VALUE_LEN_MAX);
        if let (Some(key), Some(value)) = (tag_key(&key), value) {
            capture.tags.insert(key, value);
        }
    }
    Ok((MlflowModel { model_file, capture }, example))
}

/// A text, number or truth value as text; nothing for lists and maps.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A key that a tag may have: what it may not have becomes `_`.
fn tag_key(key: &str) -> Option<String> {
    let key: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || "._-/".contains(c) { c } else { '_' }).collect();
    let is_key = key.len() <= 128 && key.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_key.then_some(key)
}

/// The git tags of the run `run`, when `folder` is one of its artifacts in a tracking folder:
/// `<experiment>/<run>/artifacts/<model>` beside `<experiment>/<run>/tags`.
fn run_git(folder: &Path, run: &str) -> Option<GitRecord> {
    let artifacts = folder.ancestors().skip(1).take(4);
    let artifacts = artifacts.into_iter().find(|folder| folder.ends_with("artifacts"))?;
    let home = artifacts.parent().filter(|home| home.ends_with(run) && home.join("meta.yaml").is_file())?;
    let tag = |name: &str| {
        let value = text(&home.join("tags").join(format!("mlflow.source.git.{name}"))).ok()?;
        Some(value.trim().to_owned()).filter(|value| value.len() <= VALUE_LEN_MAX)
    };
    Some(GitRecord {
        commit: tag("commit")?,
        branch: tag("branch").unwrap_or_default(),
        remote: tag("repoURL").map(|url| super::git::without_credentials(&url)).unwrap_or_default(),
        dirty: tag("dirty").is_some_and(|dirty| dirty.eq_ignore_ascii_case("true")),
    })
}

fn text(path: &Path) -> Result<String, PackageError> {
    let failed = |error: std::io::Error| PackageError::io(path, error);
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > TEXT_BYTES_MAX {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(PackageError::invalid(format!("{name} is not a file of at most {TEXT_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_is_kept() {
        let text = "artifact_path: model\nflavors:\n  onnx:\n    code: null\n    data: net.onnx\n    onnx_version: 1.17.0\n  python_function:\n    data: net.onnx\nmetadata:\n  Team: vision\n  nested: {a: 1}\nmlflow_version: 2.20.1\nrun_id: 0123abc\nsaved_input_example_info:\n  artifact_path: input_example.json\n  type: ndarray\nsignature:\n  inputs: '[{\"type\": \"tensor\"}]'\n  outputs: null\n";
        let (model, example) = parse(text).unwrap();
        assert_eq!(model.model_file, "net.onnx");
        assert_eq!(model.capture.run.as_deref(), Some("0123abc"));
        assert_eq!(model.capture.tags, BTreeMap::from([("Team".to_owned(), "vision".to_owned())]));
        let keys: Vec<&str> = model.capture.properties.keys().map(String::as_str).collect();
        assert_eq!(keys, ["mlflow.onnx_version", "mlflow.signature.inputs", "mlflow.version"]);
        assert_eq!(example.as_deref(), Some("input_example.json"));
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        };
        check("flavors: {onnx: {data: ../secret.onnx}}", "has a part that is empty");
        check(
            "flavors: {onnx: {data: m.onnx}}\nsaved_input_example_info: {artifact_path: /etc/x}",
            "is absolute",
        );
        check("flavors: {sklearn: {}}", "it has no onnx flavor, only sklearn");
        check("a: [", "MLmodel: ");
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\nflavors: {x: [*f,*f,*f,*f,*f,*f,*f,*f]}\n";
        check(bomb, "MLmodel: ");
    }
}
