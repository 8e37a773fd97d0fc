//! Models, statistics and the repository's index as the JSON of the Open Inference Protocol and Triton's extensions.
//!
//! Names are in snake case and 64-bit integers are numbers, as Triton's REST door writes them.

use serde_json::{Map, Value, json};

use crate::model::config::VersionPolicy;
use crate::protocol::describe::{
    BACKEND, BatchingDescription, Described, InstanceDescription, MODEL_FILENAME, ModelDescription,
    TensorDescription, config_datatype,
};
use crate::serving::{BatchStatistics, DurationCount, IndexEntry, ModelStatistics, Servable};

/// The description of a served version.
pub(super) fn description(servable: &Servable) -> ModelDescription {
    ModelDescription::new(&Described {
        name: &servable.name,
        platform: Servable::PLATFORM,
        signature: &servable.signature,
        config: &servable.config,
        max_batch_size: servable.max_batch_size,
        workers: servable.workers,
    })
}

/// `GET /v2/models/{m}`.
pub(super) fn metadata(model: &ModelDescription, versions: &[String]) -> Value {
    let tensor = |tensor: &TensorDescription| json!({ "name": tensor.name, "datatype": tensor.dtype.as_str(), "shape": tensor.shape });
    json!({
        "name": model.name,
        "versions": versions,
        "platform": model.platform,
        "inputs": model.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": model.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

/// `GET /v2/models/{m}/config`.
pub(super) fn config(model: &ModelDescription) -> Value {
    let mut value = json!({
        "name": model.name,
        "platform": model.platform,
        "backend": BACKEND,
        "version_policy": version_policy(&model.version_policy),
        "max_batch_size": model.max_batch_size,
        "input": model.inputs.iter().map(config_input).collect::<Vec<_>>(),
        "output": model.outputs.iter().map(config_output).collect::<Vec<_>>(),
        "instance_group": [instance_group(&model.name, &model.instances)],
        "default_model_filename": MODEL_FILENAME,
        "parameters": parameters(model),
        "model_transaction_policy": { "decoupled": false },
    });
    if let (Some(batching), Some(object)) = (&model.batching, value.as_object_mut()) {
        object.insert("dynamic_batching".to_owned(), dynamic_batching(batching));
    }
    value
}

fn config_input(tensor: &TensorDescription) -> Value {
    json!({
        "name": tensor.name,
        "data_type": config_datatype(tensor.dtype).0,
        "format": "FORMAT_NONE",
        "dims": tensor.dims,
        "is_shape_tensor": false,
        "allow_ragged_batch": false,
        "optional": tensor.optional,
    })
}

fn config_output(tensor: &TensorDescription) -> Value {
    json!({
        "name": tensor.name,
        "data_type": config_datatype(tensor.dtype).0,
        "dims": tensor.dims,
        "label_filename": tensor.label_filename,
        "is_shape_tensor": false,
    })
}

fn version_policy(policy: &VersionPolicy) -> Value {
    match policy {
        VersionPolicy::Latest(count) => json!({ "latest": { "num_versions": count } }),
        VersionPolicy::All => json!({ "all": {} }),
        VersionPolicy::Specific(versions) => json!({ "specific": { "versions": versions } }),
    }
}

fn instance_group(model: &str, instances: &InstanceDescription) -> Value {
    json!({
        "name": format!("{model}_0"),
        "kind": if instances.gpu.is_some() { "KIND_GPU" } else { "KIND_CPU" },
        "count": instances.count,
        "gpus": instances.gpu.into_iter().collect::<Vec<_>>(),
    })
}

fn dynamic_batching(batching: &BatchingDescription) -> Value {
    json!({
        "preferred_batch_size": [],
        "max_queue_delay_microseconds": batching.max_queue_delay_us,
        "preserve_ordering": false,
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority_level,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": batching.default_timeout_us,
            "allow_timeout_override": true,
            "max_queue_size": batching.max_queue_size,
        },
    })
}

fn parameters(model: &ModelDescription) -> Map<String, Value> {
    model.parameters.iter().map(|(key, value)| (key.clone(), json!({ "string_value": value }))).collect()
}

/// `GET /v2/models/{m}/stats`.
pub(super) fn statistics(models: &[ModelStatistics]) -> Value {
    json!({ "model_stats": models.iter().map(model_statistics).collect::<Vec<_>>() })
}

fn model_statistics(model: &ModelStatistics) -> Value {
    let none = duration(DurationCount::default());
    let memory = match model.memory_bytes {
        0 => Vec::new(),
        bytes => vec![json!({ "type": "CPU", "id": 0, "byte_size": bytes })],
    };
    json!({
        "name": *model.name,
        "version": model.version.to_string(),
        "last_inference": model.last_inference_ms,
        "inference_count": model.inference_count,
        "execution_count": model.execution_count,
        "inference_stats": {
            "success": duration(model.success),
            "fail": duration(model.fail),
            "queue": duration(model.queue),
            "compute_input": duration(model.compute_input),
            "compute_infer": duration(model.compute_infer),
            "compute_output": duration(model.compute_output),
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": model.batches.iter().map(batch_statistics).collect::<Vec<_>>(),
        "memory_usage": memory,
        "response_stats": {},
    })
}

fn batch_statistics(batch: &BatchStatistics) -> Value {
    json!({
        "batch_size": batch.batch_size,
        "compute_input": duration(batch.compute_input),
        "compute_infer": duration(batch.compute_infer),
        "compute_output": duration(batch.compute_output),
    })
}

fn duration(total: DurationCount) -> Value {
    json!({ "count": total.count, "ns": total.ns })
}

/// `POST /v2/repository/index`.
pub(super) fn index(entries: &[IndexEntry]) -> Value {
    let entry = |entry: &IndexEntry| {
        let version = entry.version.map(|version| version.to_string()).unwrap_or_default();
        json!({
            "name": &*entry.name,
            "version": version,
            "state": entry.state.as_index_state(),
            "reason": entry.reason,
        })
    };
    Value::Array(entries.iter().map(entry).collect())
}
