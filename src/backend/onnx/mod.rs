//! The ONNX Runtime backend: opens ONNX files and runs them on the CPU or on CUDA.
//!
//! ```text
//! library      finds libonnxruntime.so: the embedded one, unpacked to memory, or a path
//! environment  the one ONNX Runtime of the process: log, memory cap, version
//! process      what it does to the process: reports to its maker, memory that stays
//! precheck     reads the file before ONNX Runtime does
//! session      settings -> session, and its signature
//! pool         which session runs a batch, where each runs one at a time
//! pinned       page-locked memory to gather inputs into, on CUDA
//! providers    execution providers by name
//! run          one worker's runs, and how they are stopped
//! value        tensors in and out
//! ```
//!
//! `unsafe` stands in `arena`, `process`, `run` and `value` only. This backend trusts its files no more than ONNX Runtime does:
//! an unknown file is opened in a child process first (`backend::probe`).

mod arena;
mod environment;
mod error;
mod janitor;
mod library;
mod pinned;
mod pool;
pub mod precheck;
mod process;
mod providers;
mod run;
mod session;
mod value;

pub use self::arena::ArenaUsage;
pub use self::environment::{Runtime, RuntimeLog, RuntimeSettings};
pub use self::library::LibrarySource;
pub use self::process::{TELEMETRY_SWITCH, switch_telemetry_off, trim_heap};

use std::sync::Arc;

use super::{Artifact, Backend, BackendError, Model, OpenOptions};

/// Opens ONNX files with the process's ONNX Runtime.
#[derive(Debug, Clone)]
pub struct OnnxBackend {
    runtime: Arc<Runtime>,
}

impl OnnxBackend {
    /// A backend on a started runtime.
    pub fn new(runtime: Arc<Runtime>) -> OnnxBackend {
        OnnxBackend { runtime }
    }

    /// The runtime that it opens models with.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// How many nodes of the optimized graph each execution provider runs.
    ///
    /// # Errors
    /// As for [`Backend::open`]: the file is opened once more.
    pub fn coverage(
        &self,
        artifact: &Artifact,
        options: &OpenOptions,
    ) -> Result<Vec<(String, usize)>, BackendError> {
        session::coverage(&self.runtime, artifact, options)
    }
}

impl Backend for OnnxBackend {
    fn open(&self, artifact: &Artifact, options: &OpenOptions) -> Result<Arc<dyn Model>, BackendError> {
        Ok(Arc::new(session::OnnxModel::open(&self.runtime, artifact, options)?))
    }
}

#[cfg(test)]
pub(super) mod tests;
