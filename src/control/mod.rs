//! The control plane's door: operations that change what is served.
//!
//! It joins the repository, the serving table and the registry. The data plane never waits for it.

pub mod announce;
mod catalog;
pub mod events;
pub mod datasets;
pub mod feedback;
pub mod follow;
pub mod golden;
pub mod images;
pub mod intake;
pub mod monitoring;
pub mod performance;
pub mod register;
mod registry;
pub mod sample;
pub mod webhooks;

pub use self::registry::{Follow, RegistryDoor};

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use self::monitoring::{Monitoring, MonitoringError};
use crate::access::{AuthError, Identity, Role};
use crate::capture::labels::LabelStore;
use crate::error::{Code, Coded};
use crate::model::{ModelId, ModelName, Version};
use crate::serving::{LoadFailure, LoadRequest, Manager, ModelControl};

/// Reports of performance at a time.
const REPORTS_MAX: usize = 2;

/// What a client may override when it loads a model (Triton's model repository extension).
#[derive(Debug, Clone, Default)]
pub struct LoadOverrides {
    /// Triton's `config` parameter: a model configuration as JSON.
    pub config_json: Option<String>,
    /// Triton's `file:<version>/<name>` parameters: files instead of those in the repository.
    pub files: BTreeMap<String, Bytes>,
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
    /// Whoever asks may not do it.
    #[error(transparent)]
    Refused(#[from] AuthError),
    /// The server was started without a registry.
    #[error("this server has no registry, or has not reached it yet: start it with --registry")]
    NoRegistry,
    /// The model or version is not served here.
    #[error("{reason}")]
    NotServed {
        /// Why.
        reason: String,
    },
    /// The server does not capture.
    #[error("this server does not capture what models answer: start it with --monitoring-dir")]
    NoCapture,
    /// What was captured, or labels of it, could not be written or read.
    #[error("{reason}")]
    Watching {
        /// What it means.
        code: Code,
        /// Why, for clients.
        reason: String,
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
            ControlError::UnknownModel { .. } | ControlError::NotServed { .. } => Code::NotFound,
            ControlError::LoadFailed { .. } | ControlError::Invalid { .. } => Code::InvalidArgument,
            ControlError::NotAllowed { .. } | ControlError::NoRegistry => Code::FailedPrecondition,
            ControlError::NoCapture => Code::Conflict,
            ControlError::Watching { code, .. } => *code,
            ControlError::Refused(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            ControlError::Refused(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// The control plane.
#[derive(Debug)]
pub struct ControlPlane {
    manager: Arc<Manager>,
    /// Whether anyone who reaches the server may load and unload models: the operator said so.
    is_open: bool,
    /// Set once the registry was reached, which may be long after the server started.
    registry: OnceLock<RegistryDoor>,
    /// Set where traffic is watched.
    monitoring: OnceLock<Arc<Monitoring>>,
    /// Set where the server captures.
    labels: OnceLock<(Arc<LabelStore>, feedback::FeedbackMetrics)>,
    /// Reports of performance that are worked out at a time: each reads many files.
    reports: Semaphore,
}

impl ControlPlane {
    /// The door to `manager`, for those whose identity allows it.
    pub fn new(manager: Arc<Manager>) -> ControlPlane {
        ControlPlane {
            manager,
            is_open: false,
            registry: OnceLock::new(),
            monitoring: OnceLock::new(),
            labels: OnceLock::new(),
            reports: Semaphore::new(REPORTS_MAX),
        }
    }

    /// The same, for anyone: `--allow-remote-control` on a server without credentials.
    pub fn open(manager: Arc<Manager>) -> ControlPlane {
        ControlPlane { is_open: true, ..ControlPlane::new(manager) }
    }

    /// The same, with a registry.
    pub fn with_registry(self, registry: RegistryDoor) -> ControlPlane {
        self.attach_registry(registry);
        self
    }

    /// Opens the door to a registry that was reached. The first one stays.
    pub fn attach_registry(&self, registry: RegistryDoor) {
        self.registry.get_or_init(|| registry);
    }

    /// The registry.
    ///
    /// # Errors
    /// [`ControlError::NoRegistry`].
    pub fn registry(&self) -> Result<&RegistryDoor, ControlError> {
        self.registry.get().ok_or(ControlError::NoRegistry)
    }

    /// Opens the door to what watches traffic. The first one stays.
    pub fn attach_monitoring(&self, monitoring: Arc<Monitoring>) {
        self.monitoring.get_or_init(|| monitoring);
    }

    /// What watches traffic.
    ///
    /// # Errors
    /// [`MonitoringError::Off`].
    pub fn monitoring(&self) -> Result<&Arc<Monitoring>, MonitoringError> {
        self.monitoring.get().ok_or(MonitoringError::Off)
    }

    /// The served version that `version` of `model` names: a number, an alias, or empty for the default.
    ///
    /// # Errors
    /// [`ControlError::UnknownModel`], [`ControlError::NotServed`].
    pub fn served(&self, model: &str, version: &str) -> Result<ModelId, ControlError> {
        known_name(model)?;
        let found = self.manager.engine().find(model, version);
        let found = found.map_err(|error| ControlError::NotServed { reason: error.to_string() })?;
        Ok(found.id.clone())
    }

    /// Loads or reloads a model for `who` and waits until it is served.
    ///
    /// # Errors
    /// [`ControlError`]; what was served before is served still.
    pub async fn load(
        &self,
        who: &Identity,
        model: &str,
        overrides: LoadOverrides,
    ) -> Result<(), ControlError> {
        self.check_allowed(who, model)?;
        let name = known_name(model)?;
        let request = LoadRequest { config_json: overrides.config_json, files: uploads(overrides.files)? };
        self.manager.load(&name, request).await.map_err(|failure| explain(model, failure))
    }

    /// Unloads every version of a model for `who`; requests that run finish.
    ///
    /// # Errors
    /// [`ControlError::UnknownModel`] when the repository has no such model.
    pub async fn unload(&self, who: &Identity, model: &str) -> Result<(), ControlError> {
        self.check_allowed(who, model)?;
        let name = known_name(model)?;
        self.manager.unload(&name).await.map_err(|failure| explain(model, failure))
    }

    /// Whether `who` may load and unload `model` at all; both ask it themselves.
    ///
    /// # Errors
    /// [`ControlError::Refused`] or [`ControlError::NotAllowed`].
    pub fn check_allowed(&self, who: &Identity, model: &str) -> Result<(), ControlError> {
        match self.manager.control() {
            ModelControl::Explicit if self.is_open => Ok(()),
            ModelControl::Explicit => Ok(who.require(Role::Promoter, Some(model))?),
            mode => Err(ControlError::NotAllowed { mode: mode.as_str() }),
        }
    }
}

/// A text that is no model name names no model.
fn known_name(model: &str) -> Result<ModelName, ControlError> {
    model.parse().map_err(|_| ControlError::UnknownModel { model: shorten(model) })
}

fn explain(model: &str, failure: LoadFailure) -> ControlError {
    match failure {
        LoadFailure::Unknown => ControlError::UnknownModel { model: shorten(model) },
        LoadFailure::Upload(reason) => ControlError::Invalid { reason },
        failure => ControlError::LoadFailed { model: shorten(model), reason: failure.to_string() },
    }
}

/// Files by version and name. A name is one plain file name: it cannot leave the version's folder.
fn uploads(files: BTreeMap<String, Bytes>) -> Result<BTreeMap<(Version, String), Bytes>, ControlError> {
    let mut uploads = BTreeMap::new();
    for (key, data) in files {
        let path = key.strip_prefix("file:").unwrap_or(&key);
        let parts = path.split_once('/').and_then(|(version, file)| Some((version.parse().ok()?, file)));
        let is_plain = |file: &str| {
            !file.is_empty()
                && file.len() <= 255
                && !file.starts_with('.')
                && !file.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
        };
        match parts {
            Some((version, file)) if is_plain(file) => uploads.insert((version, file.to_owned()), data),
            _ => {
                let reason =
                    format!("'{}' is not 'file:<version>/<file name>' with a plain file name", shorten(&key));
                return Err(ControlError::Invalid { reason });
            }
        };
    }
    Ok(uploads)
}

/// A client's text, short and printable enough for an error message.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploaded_files_stay_in_their_version() {
        let check = |key: &str, ok: bool| {
            let files = BTreeMap::from([(key.to_owned(), Bytes::new())]);
            assert_eq!(uploads(files).is_ok(), ok, "{key:?}");
        };
        check("file:1/model.onnx", true);
        check("1/weights.bin", true);
        for key in [
            "file:1/../model.onnx",
            "file:0/model.onnx",
            "file:1/",
            "file:model.onnx",
            "1/a/b",
            "1/.x",
            "/1/a",
            "1/a\0",
        ] {
            check(key, false);
        }
    }
}
