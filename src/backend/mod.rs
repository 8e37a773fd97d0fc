//! From rows to a device: opens an artifact and runs batches on it.
//!
//! [`Backend`] opens a [`Model`]; a model hands out [`Instance`]s, one for each worker, which share its weights or do
//! not: that is the backend's secret. Input memory is borrowed for the time of the run; output memory is owned by the
//! returned [`bytes::Bytes`]. A backend believes no declared shape: what it returns is what the runtime really made.

pub mod fake;
pub mod onnx;
pub mod probe;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Code, Coded};
use crate::model::Signature;
use crate::model::config::{InstanceConfig, RuntimeConfig};
use crate::tensor::{DataType, Shape, StagingMemory};

/// What to open.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The model file. External data is read from the same folder only, after `backend::onnx` has checked it.
    pub path: PathBuf,
}

/// How to open it.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// How the runtime is set up.
    pub runtime: RuntimeConfig,
    /// Where it runs.
    pub instances: InstanceConfig,
}

/// Opens artifacts.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Opens `artifact`. Takes as long as the model needs: never call it on an async thread.
    ///
    /// # Errors
    /// [`BackendError`] with the runtime's reason; the process is not harmed unless the runtime aborts it, which is
    /// why an unknown artifact is opened in a child process first.
    fn open(&self, artifact: &Artifact, options: &OpenOptions) -> Result<Arc<dyn Model>, BackendError>;
}

/// An opened model.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;

    /// A handle for one worker.
    fn instance(&self) -> Result<Box<dyn Instance>, BackendError>;

    /// The most instances that may run at the same time, or `None` for any number.
    fn concurrency_max(&self) -> Option<usize> {
        None
    }

    /// Whether a run of another shape than the last takes much longer than one of the same, so that whoever batches
    /// should keep to few shapes.
    fn pays_for_new_shapes(&self) -> bool {
        false
    }

    /// Lets the model keep what it needs for so many shapes at the same time, where it pays for new ones.
    fn keep_shapes(&self, _shapes: usize) {}
}

/// One worker's private handle to a model.
pub trait Instance: Send {
    /// Runs one batch: `inputs` in the order of the signature's inputs, `None` for an optional input left out.
    /// Returns all outputs in the order of the signature, with their real shapes.
    ///
    /// # Errors
    /// [`BackendError::Interrupted`] after [`Interrupt::interrupt`]; [`BackendError::Run`] with the runtime's text.
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError>;

    /// Memory that this instance's device reads faster than ordinary memory, for whoever gathers its inputs.
    fn staging_memory(&self) -> Option<Arc<dyn StagingMemory>> {
        None
    }

    /// A handle that stops this instance's running [`run`](Instance::run) from another thread.
    fn interrupter(&self) -> Arc<dyn Interrupt>;
}

/// Stops a run from another thread.
pub trait Interrupt: Send + Sync {
    /// Asks the current run, if any, to stop between kernels. A request that arrives between two runs must not stop
    /// the second: the caller passes the number of the run it means (counted from 1 by the instance for each `run`).
    fn interrupt(&self, run: u64);
}

/// One input of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Element type.
    pub dtype: DataType,
    /// Shape of the whole batch.
    pub shape: &'a Shape,
    /// The elements. BYTES are in wire form.
    pub data: InputData<'a>,
}

/// Memory of an input.
#[derive(Debug, Clone, Copy)]
pub enum InputData<'a> {
    /// Row-major elements of a fixed-size datatype, aligned for their type.
    Fixed(&'a [u8]),
    /// Runs of BYTES elements in wire form, to be read one run after the other.
    Strings(&'a [Bytes]),
}

/// One output of a batch.
#[derive(Debug, Clone)]
pub struct Output {
    /// Element type.
    pub dtype: DataType,
    /// The real shape.
    pub shape: Shape,
    /// The elements; shares the runtime's memory. BYTES are in wire form.
    pub data: Bytes,
}

/// Why a backend did not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The runtime library is missing, unusable or of the wrong version.
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    /// The artifact is missing, malformed, or not allowed.
    #[error("model file: {0}")]
    Artifact(String),
    /// An execution provider that was asked for is not to be had.
    #[error("execution provider {provider}: {reason}")]
    Provider {
        /// Which one.
        provider: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The runtime refused or failed the run; the text is the runtime's.
    #[error("{message}")]
    Run {
        /// The runtime's text, for the log.
        message: String,
        /// Whether the runtime blamed its input.
        invalid_input: bool,
    },
    /// The device failed, which says nothing of the input.
    #[error("{message}")]
    Device {
        /// How.
        fault: DeviceFault,
        /// The runtime's text, for the log.
        message: String,
    },
    /// The run was stopped because nobody waits for it.
    #[error("the run was stopped")]
    Interrupted,
    /// An input or output has a type that the protocol cannot carry.
    #[error("tensor '{name}' has the type {found}, which cannot be served")]
    Unsupported {
        /// Which tensor.
        name: String,
        /// Its type.
        found: String,
    },
}

/// How a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// Its memory is full. Less at a time, or the same later, may succeed.
    Full,
    /// It does nothing more for this process, which has to be started anew.
    Lost,
}

impl BackendError {
    /// Whether the device does nothing more for this process.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, BackendError::Device { fault: DeviceFault::Lost, .. })
    }

    /// Whether the same may succeed another time, with nothing about the model changed.
    pub fn is_of_the_moment(&self) -> bool {
        matches!(self, BackendError::Runtime(_) | BackendError::Provider { .. } | BackendError::Device { .. })
    }
}

impl Coded for BackendError {
    fn code(&self) -> Code {
        match self {
            BackendError::Runtime(_) | BackendError::Provider { .. } => Code::FailedPrecondition,
            BackendError::Artifact(_) | BackendError::Unsupported { .. } => Code::InvalidArgument,
            BackendError::Run { invalid_input: true, .. } => Code::InvalidArgument,
            BackendError::Run { .. } => Code::Internal,
            // Another server may have a device that works.
            BackendError::Device { .. } => Code::Unavailable,
            BackendError::Interrupted => Code::Cancelled,
        }
    }

    fn public_message(&self) -> String {
        match self {
            BackendError::Run { invalid_input: true, .. } => "the model refused its inputs".to_owned(),
            BackendError::Run { .. } => "the model failed on this input".to_owned(),
            BackendError::Device { fault: DeviceFault::Full, .. } => {
                "the device has no memory left for this".to_owned()
            }
            BackendError::Device { fault: DeviceFault::Lost, .. } => {
                "the device is lost until this server is started anew".to_owned()
            }
            other => other.to_string(),
        }
    }
}
