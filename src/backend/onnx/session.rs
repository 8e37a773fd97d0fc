//! From settings to a session, and from a session to a signature. Runs nothing.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, ValueType};

use super::super::{Artifact, BackendError, Instance, Model, OpenOptions};
use super::environment::Runtime;
use super::error::of_device;
use super::pinned::PinnedMemory;
use super::pool::SessionPool;
use super::run::{OnnxInstance, RunnableSession, Sessions, node_counts};
use super::{precheck, providers};
use crate::model::config::{GraphLevel, Provider};
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::DataType;

/// An opened ONNX model. On the CPU all its instances share one session; elsewhere each run has one for itself.
#[derive(Debug)]
pub(super) struct OnnxModel {
    options: OpenOptions,
    signature: Signature,
    sessions: Sessions,
    pinned: Option<Arc<PinnedMemory>>,
}

impl OnnxModel {
    pub(super) fn open(
        runtime: &Arc<Runtime>,
        artifact: &Artifact,
        options: &OpenOptions,
    ) -> Result<OnnxModel, BackendError> {
        OnnxModel::open_as(runtime, artifact, options, options.runtime.provider == Provider::Cuda)
    }

    /// With a session for each run when `pooled`.
    pub(super) fn open_as(
        runtime: &Arc<Runtime>,
        artifact: &Artifact,
        options: &OpenOptions,
        pooled: bool,
    ) -> Result<OnnxModel, BackendError> {
        let facts = precheck::check(&artifact.path)?;
        let session = build(runtime, &artifact.path, options)?;
        let signature = signature(&session, &facts.unshaped)?;
        let first = runnable(&session, &signature)?;
        let (sessions, pinned) = if pooled {
            let has_plans = facts.operators.keys().any(|operator| operator.contains("Conv"));
            let (runtime, path) = (Arc::clone(runtime), artifact.path.clone());
            let (again, its_signature) = (options.clone(), signature.clone());
            let open = move || runnable(&build(&runtime, &path, &again)?, &its_signature);
            let pool = Arc::new(SessionPool::new(first, has_plans, open));
            let pinned = PinnedMemory::of(&session, options.instances.device);
            (Sessions::Pooled(pool), pinned.map(Arc::new))
        } else {
            (Sessions::Shared(Arc::new(first)), None)
        };
        Ok(OnnxModel { options: options.clone(), signature, sessions, pinned })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        let inputs = self.signature.inputs.len();
        Ok(Box::new(OnnxInstance::new(self.sessions.clone(), inputs, self.pinned.clone())?))
    }

    fn concurrency_max(&self) -> Option<usize> {
        match self.options.runtime.provider {
            Provider::Cpu => None,
            // Each holds the weights once more, so there are as many as were asked for.
            Provider::Cuda => Some(self.options.instances.count.unwrap_or(1)),
        }
    }

    fn pays_for_new_shapes(&self) -> bool {
        matches!(&self.sessions, Sessions::Pooled(pool) if pool.is_by_shapes())
    }

    fn keep_shapes(&self, shapes: usize) {
        if let Sessions::Pooled(pool) = &self.sessions {
            pool.keep(shapes);
        }
    }
}

/// Opens the file once more to see which provider runs how many nodes of the optimized graph.
pub(super) fn coverage(
    runtime: &Runtime,
    artifact: &Artifact,
    options: &OpenOptions,
) -> Result<Vec<(String, usize)>, BackendError> {
    precheck::check(&artifact.path)?;
    let mut options = options.clone();
    let entry = ("session.record_ep_graph_assignment_info".to_owned(), "1".to_owned());
    options.runtime.session_entries.extend([entry]);
    let session = build(runtime, &artifact.path, &options)?;
    node_counts(&session.inner()).map_err(|error| BackendError::Runtime(error.message().to_owned()))
}

fn build(runtime: &Runtime, path: &Path, options: &OpenOptions) -> Result<Session, BackendError> {
    let builder =
        builder(runtime, path, options).map_err(|error| BackendError::Runtime(error.message().to_owned()))?;
    let mut builder = providers::add(builder, options)?;
    // `ort` has an `unreachable!()` for types of inputs and outputs that it does not know (sequences of sequences).
    let made = catch_unwind(AssertUnwindSafe(|| builder.commit_from_file(path)));
    match made {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(of_opening(error.message(), path, options)),
        Err(_) => Err(BackendError::Artifact("an input or output has a type that is not known".to_owned())),
    }
}

/// Why a file was not opened, which may be the device's doing.
fn of_opening(message: &str, path: &Path, options: &OpenOptions) -> BackendError {
    let message = without_path(message, path);
    let of_device = match options.runtime.provider {
        Provider::Cuda => of_device(&message),
        Provider::Cpu => None,
    };
    of_device.unwrap_or(BackendError::Artifact(message))
}

fn builder(runtime: &Runtime, path: &Path, options: &OpenOptions) -> Result<SessionBuilder, ort::Error> {
    let settings = &options.runtime;
    let level = match settings.graph_level {
        GraphLevel::Disabled => GraphOptimizationLevel::Disable,
        GraphLevel::Basic => GraphOptimizationLevel::Level1,
        GraphLevel::Extended => GraphOptimizationLevel::Level2,
        GraphLevel::All => GraphOptimizationLevel::All,
    };
    let inter_threads = settings.inter_threads.unwrap_or(1);
    // A path with a NUL cannot be opened either; its messages go without.
    let log_id = path.to_str().filter(|path| !path.contains('\0')).unwrap_or_default();
    let mut builder = Session::builder(runtime.environment())?
        .with_log_id(log_id)?
        .with_optimization_level(level)?
        .with_intra_threads(intra_threads(options))?
        .with_inter_threads(inter_threads)?
        .with_parallel_execution(inter_threads > 1)?
        // A worker that waits gives its core away instead of burning it.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // The shared, capped arena; weights are not in it, so they go back to the system with the model.
        .with_env_allocators()?
        .with_device_allocated_initializers()?;
    for (name, value) in &settings.session_entries {
        builder = builder.with_config_entry(name, value)?;
    }
    Ok(builder)
}

/// Threads inside an operator when nothing is configured: the cores, divided among the instances. One instance for
/// each core, which is the default, needs no further threads.
fn intra_threads(options: &OpenOptions) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let shared = || cores / options.instances.count.unwrap_or(cores).max(1);
    options.runtime.intra_threads.unwrap_or_else(shared).max(1)
}

fn runnable(session: &Session, signature: &Signature) -> Result<RunnableSession, BackendError> {
    let c_string = |name: &Arc<str>| {
        CString::new(&**name)
            .map_err(|_| BackendError::Artifact(format!("the name {name:?} has a NUL in it")))
    };
    let inputs = signature.inputs.iter().map(|spec| Ok((c_string(&spec.name)?, spec.optional)));
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)
        .map_err(|error| BackendError::Runtime(error.message().to_owned()))?;
    Ok(RunnableSession {
        session: session.inner(),
        memory,
        inputs: inputs.collect::<Result<_, BackendError>>()?,
        outputs: signature.outputs.iter().map(|spec| c_string(&spec.name)).collect::<Result<_, _>>()?,
    })
}

fn signature(session: &Session, unshaped: &BTreeSet<String>) -> Result<Signature, BackendError> {
    let specs = |outlets: &[Outlet]| -> Result<Vec<TensorSpec>, BackendError> {
        outlets.iter().map(|outlet| tensor_spec(outlet, unshaped)).collect()
    };
    Ok(Signature { inputs: specs(session.inputs())?, outputs: specs(session.outputs())? })
}

/// `unshaped` are the names for which the file states no shape: ONNX Runtime reports those as scalars.
fn tensor_spec(outlet: &Outlet, unshaped: &BTreeSet<String>) -> Result<TensorSpec, BackendError> {
    let unsupported =
        || BackendError::Unsupported { name: outlet.name().to_owned(), found: outlet.dtype().to_string() };
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(unsupported());
    };
    let dims = shape.iter().zip(dimension_symbols.iter()).map(|(&dim, symbol)| match usize::try_from(dim) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Dynamic((!symbol.is_empty()).then(|| Arc::from(symbol.as_str()))),
    });
    Ok(TensorSpec {
        name: outlet.name().into(),
        dtype: dtype(*ty).ok_or_else(unsupported)?,
        shape: (!shape.is_empty() || !unshaped.contains(outlet.name())).then(|| dims.collect()),
        optional: false,
    })
}

fn dtype(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// The runtime's text without the folder that the file is in.
fn without_path(message: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    message.replace(&*path.to_string_lossy(), &name)
}
