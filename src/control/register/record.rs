//! From a package and its trial to the record of a version.

use super::Registration;
use crate::model::TensorSpec;
use crate::registry::package::Package;
use crate::registry::record::{FileRef, OnnxRecord, TensorRecord, ValidationRecord, VersionRecord};
use crate::serving::Trial;

pub(super) fn make_record(
    package: &Package,
    registration: &Registration,
    files: Vec<FileRef>,
    digest: String,
    trial: &Trial,
    golden: Option<FileRef>,
) -> VersionRecord {
    let facts = &trial.facts;
    let counts = facts.operators.iter();
    let mut derived_from = registration.derived_from.clone();
    derived_from.sort();
    derived_from.dedup();
    VersionRecord {
        files,
        model_file: package.model_file.clone(),
        digest,
        source: package.source.clone(),
        idempotency_key: registration.idempotency_key.clone(),
        inputs: trial.signature.inputs.iter().map(tensor).collect(),
        outputs: trial.signature.outputs.iter().map(tensor).collect(),
        onnx: OnnxRecord {
            ir_version: facts.ir_version,
            opsets: facts.opsets.clone(),
            producer: facts.producer.clone(),
            operators: counts.map(|(name, count)| (name.clone(), *count as u64)).collect(),
            parameters: facts.parameter_count,
        },
        validation: ValidationRecord {
            onnxruntime: trial.runtime.clone(),
            load_us: u64::try_from(trial.load.as_micros()).unwrap_or(u64::MAX),
            memory_bytes: trial.peak_bytes,
            batching: trial.batching.clone(),
            golden,
        },
        git: package.capture.git.clone().or_else(|| registration.git.clone()),
        datasets: registration.datasets.clone(),
        run: registration.run.clone().or_else(|| package.capture.run.clone()),
        derived_from,
    }
}

fn tensor(spec: &TensorSpec) -> TensorRecord {
    TensorRecord {
        name: spec.name.to_string(),
        datatype: spec.dtype.as_str().to_owned(),
        shape: spec.wire_shape(),
    }
}
