//! Why a request was not answered. Every text names the tensor and what was expected, and nothing inside the server.

use crate::error::{Code, Coded};
use crate::scheduler::SchedulerError;
use crate::tensor::{DataType, Name, Shape};

/// Why a request was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No model of that name.
    #[error("model '{model}' is not found")]
    ModelNotFound {
        /// The name as the client wrote it, shortened.
        model: String,
    },
    /// The model has no such version.
    #[error("model '{model}' has no version '{version}'")]
    VersionNotFound {
        /// The model.
        model: String,
        /// The version as the client wrote it, shortened.
        version: String,
    },
    /// The model is known, but no version of it is ready.
    #[error("model '{model}' is not ready: {reason}")]
    NotReady {
        /// The model.
        model: String,
        /// Its state or what failed.
        reason: String,
    },
    /// The server takes no more requests.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// An input is missing.
    #[error("model '{model}' needs input '{input}'")]
    MissingInput {
        /// The model.
        model: String,
        /// The input.
        input: String,
    },
    /// An output that is asked for more than once: each copy would cost an answer's memory.
    #[error("output '{output}' is requested twice")]
    DuplicateOutput {
        /// The output.
        output: String,
    },
    /// An input is there twice.
    #[error("input '{input}' is given twice")]
    DuplicateInput {
        /// The input.
        input: Name,
    },
    /// The model has no such input.
    #[error("model '{model}' has no input '{input}'; it takes {expected}")]
    UnknownInput {
        /// The model.
        model: String,
        /// The input, shortened.
        input: String,
        /// What it takes.
        expected: String,
    },
    /// The model has no such output.
    #[error("model '{model}' has no output '{output}'; it gives {expected}")]
    UnknownOutput {
        /// The model.
        model: String,
        /// The output, shortened.
        output: String,
        /// What it gives.
        expected: String,
    },
    /// An input's datatype is not the model's.
    #[error("input '{input}' is {actual}; model '{model}' takes {expected}")]
    DataType {
        /// The model.
        model: String,
        /// The input.
        input: Name,
        /// The model's.
        expected: DataType,
        /// The request's.
        actual: DataType,
    },
    /// An input's shape is not the model's.
    #[error("input '{input}' has shape {actual}; model '{model}' takes {expected}: {reason}")]
    Shape {
        /// The model.
        model: String,
        /// The input.
        input: Name,
        /// The model's, -1 for any size.
        expected: String,
        /// The request's.
        actual: Box<Shape>,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The model is not to be given this (a dimension of 0 that killed the probe, say).
    #[error("input '{input}' has shape {actual}; {reason}")]
    EmptyRefused {
        /// The input.
        input: Name,
        /// The request's.
        actual: Box<Shape>,
        /// Why.
        reason: &'static str,
    },
    /// Classification of an output that is not a vector of numbers.
    #[error("output '{output}' cannot be classified: {reason}")]
    Classification {
        /// The output.
        output: String,
        /// Why not.
        reason: &'static str,
    },
    /// What watches the version could not keep its promise, so the answer was not given.
    #[error("model '{model}': the request could not be recorded: {reason}")]
    Unseen {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// The model's answer is not a tensor: a defect of the backend.
    #[error("output '{output}' of model '{model}' is defective: {reason}")]
    Defective {
        /// The model.
        model: String,
        /// The output.
        output: String,
        /// What is wrong with it, for the log.
        reason: String,
    },
    /// The scheduler or the model failed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

impl EngineError {
    /// Whether the device of the model does nothing more for this process.
    pub(super) fn is_device_lost(&self) -> bool {
        matches!(self, EngineError::Scheduler(SchedulerError::Backend(error)) if error.is_device_lost())
    }
}

impl Coded for EngineError {
    fn code(&self) -> Code {
        match self {
            EngineError::ModelNotFound { .. } | EngineError::VersionNotFound { .. } => Code::NotFound,
            EngineError::NotReady { .. } | EngineError::ShuttingDown | EngineError::Unseen { .. } => {
                Code::Unavailable
            }
            EngineError::Defective { .. } => Code::Internal,
            EngineError::Scheduler(error) => error.code(),
            _ => Code::InvalidArgument,
        }
    }

    fn public_message(&self) -> String {
        match self {
            EngineError::Scheduler(error) => error.public_message(),
            EngineError::Defective { output, .. } => format!("output '{output}' is defective"),
            other => other.to_string(),
        }
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            EngineError::Scheduler(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// A client's text, short and printable enough for an error message.
pub(super) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}
