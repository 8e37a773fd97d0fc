//! What is served, in the messages of the protocol: metadata, configuration, statistics, index. Values only.

use crate::model::config::{GraphLevel, Provider, VersionPolicy};
use crate::model::{Signature, TensorSpec, Version};
use crate::protocol::grpc::pb;
use crate::serving::{BatchStatistics, DurationCount, IndexEntry, ModelStatistics, Servable};
use crate::tensor::DataType;
use crate::transport::http::{EXTENSIONS, SERVER_NAME};

pub(super) fn server_metadata(version: &str) -> pb::ServerMetadataResponse {
    pb::ServerMetadataResponse {
        name: SERVER_NAME.to_owned(),
        version: version.to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub(super) fn model_metadata(servable: &Servable, versions: &[Version]) -> pb::ModelMetadataResponse {
    let tensors = |specs: &[TensorSpec]| {
        let tensor = |spec: &TensorSpec| pb::model_metadata_response::TensorMetadata {
            name: spec.name.to_string(),
            datatype: spec.dtype.as_str().to_owned(),
            shape: spec.wire_shape(),
        };
        specs.iter().map(tensor).collect()
    };
    pb::ModelMetadataResponse {
        name: servable.name.to_string(),
        versions: versions.iter().map(Version::to_string).collect(),
        platform: Servable::PLATFORM.to_owned(),
        inputs: tensors(&servable.signature.inputs),
        outputs: tensors(&servable.signature.outputs),
        properties: Default::default(),
    }
}

pub(super) fn index_entry(entry: IndexEntry) -> pb::repository_index_response::ModelIndex {
    pb::repository_index_response::ModelIndex {
        name: entry.name.to_string(),
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: entry.state.as_index_state().to_owned(),
        reason: entry.reason,
    }
}

pub(super) fn model_config(servable: &Servable) -> pb::ModelConfig {
    let Signature { inputs, outputs } = &servable.signature;
    let config = &servable.config;
    let batched = servable.max_batch_size > 0;
    let output = |spec: &TensorSpec| pb::ModelOutput {
        name: spec.name.to_string(),
        data_type: data_type(spec.dtype).into(),
        dims: dims(spec, batched),
        label_filename: config.label_files.get(&*spec.name).cloned().unwrap_or_default(),
        ..Default::default()
    };
    let input = |spec: &TensorSpec| pb::ModelInput {
        name: spec.name.to_string(),
        data_type: data_type(spec.dtype).into(),
        dims: dims(spec, batched),
        optional: spec.optional,
        ..Default::default()
    };
    let parameter = |(name, value): (&String, &String)| {
        (name.clone(), pb::ModelParameter { string_value: value.clone() })
    };
    pb::ModelConfig {
        name: servable.name.to_string(),
        platform: Servable::PLATFORM.to_owned(),
        backend: "onnxruntime".to_owned(),
        version_policy: Some(version_policy(&config.version_policy)),
        max_batch_size: saturate(servable.max_batch_size),
        input: inputs.iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
        instance_group: vec![instance_group(servable)],
        default_model_filename: "model.onnx".to_owned(),
        optimization: Some(optimization(servable)),
        scheduling_choice: batched.then(|| dynamic_batching(servable)),
        parameters: config.parameters.iter().map(parameter).collect(),
        model_transaction_policy: Some(pb::ModelTransactionPolicy { decoupled: false }),
        response_cache: Some(pb::ModelResponseCache { enable: false }),
        ..Default::default()
    }
}

/// Without the batch dimension when there is one, as Triton's clients expect.
fn dims(spec: &TensorSpec, batched: bool) -> Vec<i64> {
    let shape = spec.wire_shape();
    shape.into_iter().skip(usize::from(batched)).collect()
}

fn data_type(dtype: DataType) -> pb::DataType {
    match dtype {
        DataType::Bool => pb::DataType::TypeBool,
        DataType::Uint8 => pb::DataType::TypeUint8,
        DataType::Uint16 => pb::DataType::TypeUint16,
        DataType::Uint32 => pb::DataType::TypeUint32,
        DataType::Uint64 => pb::DataType::TypeUint64,
        DataType::Int8 => pb::DataType::TypeInt8,
        DataType::Int16 => pb::DataType::TypeInt16,
        DataType::Int32 => pb::DataType::TypeInt32,
        DataType::Int64 => pb::DataType::TypeInt64,
        DataType::Fp16 => pb::DataType::TypeFp16,
        DataType::Bf16 => pb::DataType::TypeBf16,
        DataType::Fp32 => pb::DataType::TypeFp32,
        DataType::Fp64 => pb::DataType::TypeFp64,
        DataType::Bytes => pb::DataType::TypeString,
    }
}

fn version_policy(policy: &VersionPolicy) -> pb::ModelVersionPolicy {
    use pb::model_version_policy::{All, Latest, PolicyChoice, Specific};
    let choice = match policy {
        VersionPolicy::Latest(count) => {
            PolicyChoice::Latest(Latest { num_versions: u32::try_from(*count).unwrap_or(u32::MAX) })
        }
        VersionPolicy::All => PolicyChoice::All(All {}),
        VersionPolicy::Specific(versions) => PolicyChoice::Specific(Specific {
            versions: versions.iter().map(|&version| i64::try_from(version).unwrap_or(i64::MAX)).collect(),
        }),
    };
    pb::ModelVersionPolicy { policy_choice: Some(choice) }
}

fn instance_group(servable: &Servable) -> pb::ModelInstanceGroup {
    use pb::model_instance_group::Kind;
    let cuda = servable.config.runtime.provider == Provider::Cuda;
    pb::ModelInstanceGroup {
        name: servable.name.to_string(),
        kind: if cuda { Kind::Gpu } else { Kind::Cpu }.into(),
        count: saturate(servable.workers),
        gpus: if cuda { vec![saturate(servable.config.instances.device as usize)] } else { Vec::new() },
        ..Default::default()
    }
}

fn optimization(servable: &Servable) -> pb::ModelOptimizationPolicy {
    // Triton's levels: -1 basic and none, 1 extended, 0 the default, which is all.
    let level = match servable.config.runtime.graph_level {
        GraphLevel::Disabled | GraphLevel::Basic => -1,
        GraphLevel::Extended => 1,
        GraphLevel::All => 0,
    };
    pb::ModelOptimizationPolicy {
        graph: Some(pb::model_optimization_policy::Graph { level }),
        ..Default::default()
    }
}

fn dynamic_batching(servable: &Servable) -> pb::model_config::SchedulingChoice {
    let queue = &servable.config.queue;
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    pb::model_config::SchedulingChoice::DynamicBatching(pb::ModelDynamicBatching {
        preferred_batch_size: vec![saturate(servable.max_batch_size)],
        max_queue_delay_microseconds: micros(queue.delay),
        priority_levels: u64::from(queue.priority_levels),
        default_priority_level: u64::from(queue.default_priority),
        default_queue_policy: Some(pb::ModelQueuePolicy {
            default_timeout_microseconds: queue.default_timeout.map(micros).unwrap_or_default(),
            allow_timeout_override: true,
            max_queue_size: u32::try_from(queue.size).unwrap_or(u32::MAX),
            ..Default::default()
        }),
        ..Default::default()
    })
}

pub(super) fn model_statistics(statistics: ModelStatistics) -> pb::ModelStatistics {
    let batch = |batch: &BatchStatistics| pb::InferBatchStatistics {
        batch_size: batch.batch_size,
        compute_input: duration(batch.compute_input),
        compute_infer: duration(batch.compute_infer),
        compute_output: duration(batch.compute_output),
    };
    let memory = pb::MemoryUsage { r#type: "CPU".to_owned(), id: 0, byte_size: statistics.memory_bytes };
    pb::ModelStatistics {
        name: statistics.name.to_string(),
        version: statistics.version.to_string(),
        last_inference: statistics.last_inference_ms,
        inference_count: statistics.inference_count,
        execution_count: statistics.execution_count,
        inference_stats: Some(pb::InferStatistics {
            success: duration(statistics.success),
            fail: duration(statistics.fail),
            queue: duration(statistics.queue),
            compute_input: duration(statistics.compute_input),
            compute_infer: duration(statistics.compute_infer),
            compute_output: duration(statistics.compute_output),
            cache_hit: duration(DurationCount::default()),
            cache_miss: duration(DurationCount::default()),
        }),
        batch_stats: statistics.batches.iter().map(batch).collect(),
        memory_usage: if statistics.memory_bytes > 0 { vec![memory] } else { Vec::new() },
        response_stats: Default::default(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "message fields are optional in generated code")]
fn duration(duration: DurationCount) -> Option<pb::StatisticDuration> {
    Some(pb::StatisticDuration { count: duration.count, ns: duration.ns })
}

fn saturate(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
