//! The one ONNX Runtime of the process: opened once, with one log, one memory cap and no telemetry.
//!
//! ONNX Runtime allows a single environment in a process and cannot be unloaded, so this is the one value of the crate
//! that is global. It is still passed by value: nothing but [`Runtime::start`] looks at the global.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;

use super::super::BackendError;
use super::arena::{self, ArenaUsage};
use super::janitor::Janitor;
use super::library::{Library, LibrarySource};

/// The started runtime. `None` until the first start; never taken away again.
static RUNTIME: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

/// How the runtime is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeSettings {
    /// Which library.
    pub library: LibrarySource,
    /// The most bytes that all runs on the CPU may hold at one time for inputs of operators, intermediate results and
    /// outputs. Weights do not count. `None` takes half of the machine's or control group's memory.
    pub arena_bytes_max: Option<usize>,
    /// Where its messages go.
    pub log: RuntimeLog,
}

/// Where ONNX Runtime's warnings and errors go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeLog {
    /// To `tracing`, target `onnxruntime`.
    #[default]
    Tracing,
    /// To standard error, for a child process whose parent keeps its tail.
    Stderr,
}

/// ONNX Runtime, opened and ready for sessions.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    settings: RuntimeSettings,
    library: Library,
    arena_bytes_max: usize,
    janitor: Janitor,
    build_info: String,
}

impl Runtime {
    /// Opens ONNX Runtime, or returns the one that was opened with the same settings.
    ///
    /// # Errors
    /// [`BackendError::Runtime`] when the library is missing, is something else, is too old, or one was opened with
    /// other settings before.
    pub fn start(settings: &RuntimeSettings) -> Result<Arc<Runtime>, BackendError> {
        let mut started = RUNTIME.lock();
        if let Some(runtime) = &*started {
            return if runtime.settings == *settings {
                Ok(Arc::clone(runtime))
            } else {
                Err(BackendError::Runtime("it was started with other settings before".to_owned()))
            };
        }
        let runtime = Arc::new(Runtime::open(settings)?);
        *started = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    fn open(settings: &RuntimeSettings) -> Result<Runtime, BackendError> {
        let library = Library::locate(&settings.library)?;
        let failed = |error: ort::Error| BackendError::Runtime(error.message().to_owned());
        let environment = load(library.path())?
            .with_name("weir")
            .with_telemetry(false)
            .with_logger(logger(settings.log))
            .build()
            .map_err(failed)?;
        environment.set_log_level(LogLevel::Warning);
        let arena_bytes_max = settings.arena_bytes_max.unwrap_or_else(default_arena_bytes);
        arena::register(&environment, arena_bytes_max).map_err(failed)?;
        let janitor = Janitor::new(&environment).map_err(failed)?;
        let build_info = ort::info().to_owned();
        Ok(Runtime { environment, settings: settings.clone(), library, arena_bytes_max, janitor, build_info })
    }

    /// ONNX Runtime's own description of its build: version, commit, flags.
    pub fn build_info(&self) -> &str {
        &self.build_info
    }

    /// A path under which this process, and a child that inherits its files, can open the library.
    pub fn library_path(&self) -> &Path {
        self.library.path()
    }

    /// The cap on memory of all runs on the CPU.
    pub fn arena_bytes_max(&self) -> usize {
        self.arena_bytes_max
    }

    /// What runs on the CPU hold now.
    ///
    /// # Errors
    /// [`BackendError::Runtime`] when this build keeps no statistics.
    pub fn arena_usage(&self) -> Result<ArenaUsage, BackendError> {
        self.janitor.usage().map_err(|error| BackendError::Runtime(error.message().to_owned()))
    }

    /// Gives memory that no run uses back to the system. Cheap enough to call every few seconds; the next runs take
    /// what they need again.
    ///
    /// # Errors
    /// [`BackendError::Runtime`] when this build cannot.
    pub fn shrink_arena(&self) -> Result<(), BackendError> {
        self.janitor.shrink().map_err(|error| BackendError::Runtime(error.message().to_owned()))
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Opens the library. `ort` answers most defects with an error, but asserts on a few (an `OrtGetApiBase` that returns
/// nothing), and a path that a user typed must not end in a panic.
fn load(path: &Path) -> Result<ort::environment::EnvironmentBuilder, BackendError> {
    match catch_unwind(AssertUnwindSafe(|| ort::init_from(path))) {
        Ok(Ok(builder)) => Ok(builder),
        Ok(Err(error)) => Err(BackendError::Runtime(error.to_string())),
        Err(_) => Err(BackendError::Runtime(format!("{} is not an ONNX Runtime library", path.display()))),
    }
}

fn logger(log: RuntimeLog) -> ort::logging::LoggerFunction {
    Arc::new(move |level, category: &str, id: &str, _location: &str, message: &str| match (log, level) {
        (_, LogLevel::Verbose | LogLevel::Info) => {}
        (RuntimeLog::Tracing, LogLevel::Warning) => {
            tracing::warn!(target: "onnxruntime", category, id, "{message}");
        }
        (RuntimeLog::Tracing, LogLevel::Error | LogLevel::Fatal) => {
            tracing::error!(target: "onnxruntime", category, id, "{message}");
        }
        // Nobody is left to tell when standard error is gone.
        (RuntimeLog::Stderr, _) => drop(writeln!(std::io::stderr(), "{message}")),
    })
}

/// Half of what this process may use: of the control group's limit where there is one, else of the machine.
fn default_arena_bytes() -> usize {
    let cgroup =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text));
    let available = [cgroup, machine].into_iter().flatten().min().unwrap_or(4 << 30);
    available / 2
}

fn memory_total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(meminfo: &str, expected: Option<usize>) {
        assert_eq!(memory_total(meminfo), expected);
    }

    #[test]
    fn total_memory_is_read() {
        check("MemTotal:       24000000 kB\nMemFree: 1 kB\n", Some(24_000_000 * 1024));
        check("MemFree: 1 kB\n", None);
        check("MemTotal: x kB\n", None);
    }
}
