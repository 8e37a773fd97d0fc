//! Joins what watches traffic with what is served: taps for loaded versions, baselines from files and from the registry,
//! reports and captures for those who ask, events for those who follow.
//!
//! ```text
//!  loader ──► tap(version, folder) ──► capture's tap + drift's tap
//!                └─► <version>/baseline.json ─┐
//!  registry (set_baseline) ───────────────────┴─► drift
//!  drift's transitions ─► signals ─► Announcer (models of the registry), log
//! ```
//!
//! It computes nothing and holds no rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Capture, CaptureError, CaptureStatus};
use crate::error::{Code, Coded};
use crate::infer::{Tap, TapSource, TappedVersion};
use crate::model::ModelName;
use crate::model::monitoring::CaptureConfig;

/// Why a question about traffic has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitoringError {
    /// The server watches nothing.
    #[error("this server keeps no captured rows and profiles: start it with --monitoring-dir")]
    Off,
    /// Capture refused.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl Coded for MonitoringError {
    fn code(&self) -> Code {
        match self {
            MonitoringError::Off => Code::FailedPrecondition,
            MonitoringError::Capture(error) => error.code(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            MonitoringError::Capture(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

/// What watches the traffic of this server.
#[derive(Debug)]
pub struct Monitoring {
    capture: Arc<Capture>,
}

impl Monitoring {
    /// Watches with `capture`.
    pub fn new(capture: Arc<Capture>) -> Arc<Monitoring> {
        Arc::new(Monitoring { capture })
    }

    /// How capture is.
    pub fn captured(&self) -> CaptureStatus {
        self.capture.status()
    }

    /// Captures `model` as `config` says from now on; `None` for what its files and the server say.
    ///
    /// # Errors
    /// [`MonitoringError::Capture`].
    pub fn configure(&self, model: &ModelName, config: Option<CaptureConfig>) -> Result<(), MonitoringError> {
        Ok(self.capture.configure(model, config)?)
    }

    /// Writes what waits. Blocks for at most `bound`.
    pub fn stop(&self, bound: Duration) {
        self.capture.stop(bound);
    }
}

impl TapSource for Monitoring {
    fn tap(&self, version: &TappedVersion, _folder: Option<&Path>) -> Option<Arc<dyn Tap>> {
        self.capture.tap(version)
    }
}
