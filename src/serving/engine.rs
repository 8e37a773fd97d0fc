//! The data plane's door: one function for an inference, and look-ups for those who describe models.

use std::sync::Arc;

use super::{IndexEntry, ModelStatistics, Servable};
use crate::error::{Code, Coded};
use crate::infer::{InferRequest, InferResponse};
use crate::model::Version;
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
    /// An input is missing.
    #[error("model '{model}' needs input '{input}'")]
    MissingInput {
        /// The model.
        model: String,
        /// The input.
        input: String,
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
        actual: Shape,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The model is not to be given this (a dimension of 0 that killed the probe, say).
    #[error("input '{input}' has shape {actual}; {reason}")]
    EmptyRefused {
        /// The input.
        input: Name,
        /// The request's.
        actual: Shape,
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
    /// The scheduler or the model failed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

impl Coded for EngineError {
    fn code(&self) -> Code {
        match self {
            EngineError::ModelNotFound { .. } | EngineError::VersionNotFound { .. } => Code::NotFound,
            EngineError::NotReady { .. } => Code::Unavailable,
            EngineError::Scheduler(error) => error.code(),
            _ => Code::InvalidArgument,
        }
    }

    fn public_message(&self) -> String {
        match self {
            EngineError::Scheduler(error) => error.public_message(),
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

/// The data plane.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Answers one request. The only way in, for every protocol.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, EngineError> {
        Err(EngineError::ModelNotFound { model: request.model.to_string() })
    }

    /// Whether the process works at all.
    pub fn is_live(&self) -> bool {
        true
    }

    /// Whether every model that must be served is, and the server is not draining.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// The version that a request for `model` and `version` (empty for the default) would go to.
    pub fn find(&self, model: &str, _version: &str) -> Result<Arc<Servable>, EngineError> {
        Err(EngineError::ModelNotFound { model: model.to_owned() })
    }

    /// The served versions of `model`, ascending.
    pub fn versions(&self, _model: &str) -> Vec<Version> {
        Vec::new()
    }

    /// Everything the server knows of, served or not, by name and version.
    pub fn index(&self, _ready_only: bool) -> Vec<IndexEntry> {
        Vec::new()
    }

    /// Statistics of one version, of all served versions of a model (empty `version`), or of everything (empty
    /// `model`).
    pub fn statistics(&self, _model: &str, _version: &str) -> Result<Vec<ModelStatistics>, EngineError> {
        Ok(Vec::new())
    }
}
