//! A model as clients are told about it: its metadata and its configuration in Triton's terms, before either door
//! puts them into its own form.
//!
//! Triton's two views of a shape differ: metadata has the batch dimension, the configuration leaves it out when
//! `max_batch_size` is above 0. Clients (perf_analyzer) rely on both.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::config::{Provider, VersionPolicy};
use crate::model::{ModelConfig, Signature, TensorSpec};
use crate::tensor::DataType;

/// The backend's name that Triton's clients expect for ONNX models.
pub const BACKEND: &str = "onnxruntime";
/// The model file's name in a version's folder.
pub const MODEL_FILENAME: &str = "model.onnx";

/// What a description is made from.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The platform, for example `onnxruntime_onnx`.
    pub platform: &'static str,
    /// What it takes and gives.
    pub signature: &'a Signature,
    /// Its settings.
    pub config: &'a ModelConfig,
    /// The most rows in a batch; 0 when it is not batched.
    pub max_batch_size: usize,
    /// Workers that run at the same time.
    pub workers: usize,
}

/// A model's configuration in Triton's terms (`ModelConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// The model's name.
    pub name: String,
    /// The platform.
    pub platform: &'static str,
    /// The most rows in a batch; 0 when it is not batched.
    pub max_batch_size: usize,
    /// Which versions are served.
    pub version_policy: VersionPolicy,
    /// What it takes.
    pub inputs: Vec<TensorDescription>,
    /// What it gives.
    pub outputs: Vec<TensorDescription>,
    /// How requests are batched; `None` when they are not.
    pub batching: Option<BatchingDescription>,
    /// Where it runs.
    pub instances: InstanceDescription,
    /// Free parameters.
    pub parameters: BTreeMap<String, String>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDescription {
    /// The name.
    pub name: String,
    /// The element type.
    pub dtype: DataType,
    /// All dimensions, -1 for any size: what metadata shows.
    pub shape: Vec<i64>,
    /// The dimensions without the batch's: what the configuration shows.
    pub dims: Vec<i64>,
    /// Whether a request may leave it out.
    pub optional: bool,
    /// The file that names its classes; empty when there is none.
    pub label_filename: String,
}

/// Triton's `ModelDynamicBatching` and the parts of its queue policy that Weir has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchingDescription {
    /// How long a batch may wait to grow.
    pub max_queue_delay_us: u64,
    /// Priority levels; 0 when there are none.
    pub priority_levels: u32,
    /// The level of a request that states none.
    pub default_priority_level: u32,
    /// Deadline of a request that states none; 0 when it has none.
    pub default_timeout_us: u64,
    /// The most requests that wait.
    pub max_queue_size: usize,
}

/// Triton's `ModelInstanceGroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceDescription {
    /// How many instances.
    pub count: usize,
    /// The CUDA device, or `None` on the CPU.
    pub gpu: Option<u32>,
}

impl ModelDescription {
    /// The description of `described`.
    pub fn new(described: &Described<'_>) -> ModelDescription {
        let Described { config, max_batch_size, .. } = *described;
        let batched = max_batch_size > 0;
        let tensor = |spec: &TensorSpec| TensorDescription::new(spec, config, batched);
        ModelDescription {
            name: described.name.to_owned(),
            platform: described.platform,
            max_batch_size,
            version_policy: config.version_policy.clone(),
            inputs: described.signature.inputs.iter().map(tensor).collect(),
            outputs: described.signature.outputs.iter().map(tensor).collect(),
            batching: batched.then(|| BatchingDescription::new(config)),
            instances: InstanceDescription {
                count: described.workers,
                gpu: (config.runtime.provider == Provider::Cuda).then_some(config.instances.device),
            },
            parameters: config.parameters.clone(),
        }
    }
}

impl TensorDescription {
    fn new(spec: &TensorSpec, config: &ModelConfig, batched: bool) -> TensorDescription {
        let shape = spec.wire_shape();
        let dims = shape.iter().skip(usize::from(batched)).copied().collect();
        TensorDescription {
            name: spec.name.to_string(),
            dtype: spec.dtype,
            shape,
            dims,
            optional: spec.optional,
            label_filename: config.label_files.get(&*spec.name).cloned().unwrap_or_default(),
        }
    }
}

impl BatchingDescription {
    fn new(config: &ModelConfig) -> BatchingDescription {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        BatchingDescription {
            max_queue_delay_us: micros(config.queue.delay),
            priority_levels: config.queue.priority_levels,
            default_priority_level: config.queue.default_priority,
            default_timeout_us: config.queue.default_timeout.map(micros).unwrap_or_default(),
            max_queue_size: config.queue.size,
        }
    }
}

/// The datatype's name and number in Triton's configuration (`inference.DataType`).
pub fn config_datatype(dtype: DataType) -> (&'static str, i32) {
    match dtype {
        DataType::Bool => ("TYPE_BOOL", 1),
        DataType::Uint8 => ("TYPE_UINT8", 2),
        DataType::Uint16 => ("TYPE_UINT16", 3),
        DataType::Uint32 => ("TYPE_UINT32", 4),
        DataType::Uint64 => ("TYPE_UINT64", 5),
        DataType::Int8 => ("TYPE_INT8", 6),
        DataType::Int16 => ("TYPE_INT16", 7),
        DataType::Int32 => ("TYPE_INT32", 8),
        DataType::Int64 => ("TYPE_INT64", 9),
        DataType::Fp16 => ("TYPE_FP16", 10),
        DataType::Fp32 => ("TYPE_FP32", 11),
        DataType::Fp64 => ("TYPE_FP64", 12),
        DataType::Bytes => ("TYPE_STRING", 13),
        DataType::Bf16 => ("TYPE_BF16", 14),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dim;

    fn signature() -> Signature {
        let spec = |name: &str, dims: &[Dim]| TensorSpec {
            name: name.into(),
            dtype: DataType::Fp32,
            shape: Some(dims.to_vec()),
            optional: false,
        };
        Signature {
            inputs: vec![spec("x", &[Dim::Dynamic(None), Dim::Fixed(4)])],
            outputs: vec![spec("y", &[Dim::Dynamic(None)])],
        }
    }

    fn describe(max_batch_size: usize) -> ModelDescription {
        ModelDescription::new(&Described {
            name: "iris",
            platform: "onnxruntime_onnx",
            signature: &signature(),
            config: &ModelConfig::default(),
            max_batch_size,
            workers: 2,
        })
    }

    #[test]
    fn the_batch_dimension_is_left_out_of_a_batched_model() {
        let batched = describe(8);
        assert_eq!((&*batched.inputs[0].shape, &*batched.inputs[0].dims), (&[-1, 4][..], &[4][..]));
        assert_eq!((&*batched.outputs[0].shape, &*batched.outputs[0].dims), (&[-1][..], &[][..]));
        assert!(batched.batching.is_some());
        let single = describe(0);
        assert_eq!(&*single.inputs[0].dims, &[-1, 4]);
        assert!(single.batching.is_none());
    }
}
