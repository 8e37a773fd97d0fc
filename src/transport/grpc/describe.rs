//! What is served, in the messages of the protocol: metadata, configuration, statistics, index. Values only.

use crate::model::config::VersionPolicy;
use crate::model::{TensorSpec, Version};
use crate::protocol::describe::{
    BACKEND, BatchingDescription, Described, InstanceDescription, MODEL_FILENAME, ModelDescription,
    TensorDescription, config_datatype,
};
use crate::protocol::grpc::pb;
use crate::serving::{BatchStatistics, DurationCount, IndexEntry, ModelStatistics, Servable};
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
    let model = ModelDescription::new(&Described {
        name: &servable.name,
        platform: Servable::PLATFORM,
        signature: &servable.signature,
        config: &servable.config,
        max_batch_size: servable.max_batch_size,
        workers: servable.workers,
    });
    let input = |tensor: &TensorDescription| pb::ModelInput {
        name: tensor.name.clone(),
        data_type: config_datatype(tensor.dtype).1,
        dims: tensor.dims.clone(),
        optional: tensor.optional,
        ..Default::default()
    };
    let output = |tensor: &TensorDescription| pb::ModelOutput {
        name: tensor.name.clone(),
        data_type: config_datatype(tensor.dtype).1,
        dims: tensor.dims.clone(),
        label_filename: tensor.label_filename.clone(),
        ..Default::default()
    };
    let parameter = |(name, value): (&String, &String)| {
        (name.clone(), pb::ModelParameter { string_value: value.clone() })
    };
    pb::ModelConfig {
        platform: model.platform.to_owned(),
        backend: BACKEND.to_owned(),
        version_policy: Some(version_policy(&model.version_policy)),
        max_batch_size: saturate(model.max_batch_size),
        input: model.inputs.iter().map(input).collect(),
        output: model.outputs.iter().map(output).collect(),
        instance_group: vec![instance_group(&model.name, &model.instances)],
        default_model_filename: MODEL_FILENAME.to_owned(),
        scheduling_choice: model.batching.as_ref().map(dynamic_batching),
        parameters: model.parameters.iter().map(parameter).collect(),
        model_transaction_policy: Some(pb::ModelTransactionPolicy { decoupled: false }),
        name: model.name,
        ..Default::default()
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

fn instance_group(model: &str, instances: &InstanceDescription) -> pb::ModelInstanceGroup {
    use pb::model_instance_group::Kind;
    pb::ModelInstanceGroup {
        name: format!("{model}_0"),
        kind: if instances.gpu.is_some() { Kind::Gpu } else { Kind::Cpu }.into(),
        count: saturate(instances.count),
        gpus: instances.gpu.map(u32::cast_signed).into_iter().collect(),
        ..Default::default()
    }
}

fn dynamic_batching(batching: &BatchingDescription) -> pb::model_config::SchedulingChoice {
    pb::model_config::SchedulingChoice::DynamicBatching(pb::ModelDynamicBatching {
        max_queue_delay_microseconds: batching.max_queue_delay_us,
        priority_levels: u64::from(batching.priority_levels),
        default_priority_level: u64::from(batching.default_priority_level),
        default_queue_policy: Some(pb::ModelQueuePolicy {
            default_timeout_microseconds: batching.default_timeout_us,
            allow_timeout_override: true,
            max_queue_size: u32::try_from(batching.max_queue_size).unwrap_or(u32::MAX),
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
