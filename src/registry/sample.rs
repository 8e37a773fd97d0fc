//! Small values for the tests of this module.

use super::record::{FileRef, OnnxRecord, TensorRecord, ValidationRecord, VersionRecord};
use super::revision::{Actor, Intent, sha256_hex};

/// Somebody who wants something.
pub(crate) fn intent() -> Intent {
    Intent {
        actor: Actor { sub: "ada@desk".to_owned(), method: "cli".to_owned() },
        reason: "because".to_owned(),
        request_id: String::new(),
        if_match: None,
    }
}

/// A version of `files`, of which the first is the model.
pub(crate) fn record(files: Vec<FileRef>) -> VersionRecord {
    let tensor =
        |name: &str| TensorRecord { name: name.to_owned(), datatype: "FP32".to_owned(), shape: vec![-1, 4] };
    let listed: String = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path)).collect();
    VersionRecord {
        model_file: files.first().map(|file| file.path.clone()).unwrap_or_default(),
        digest: sha256_hex(listed.as_bytes()),
        files,
        source: "model.onnx".to_owned(),
        idempotency_key: None,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        onnx: OnnxRecord::default(),
        validation: ValidationRecord::default(),
        git: None,
        datasets: Default::default(),
        run: None,
        derived_from: Vec::new(),
    }
}
