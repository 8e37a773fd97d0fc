//! Joins what watches traffic with what is served: taps for loaded versions, baselines from files and from the registry,
//! reports and captures for those who ask, events for those who follow.
//!
//! ```text
//!  loader ──► tap(version, folder) ──► capture's tap + drift's tap
//!                └─► <version>/baseline.json ─┐
//!  registry (set_baseline) ───────────────────┴─► drift
//!  drift's transitions ─► log, and signals ─► Announcer (models of the registry)
//! ```
//!
//! It computes nothing and holds no rows.

mod baselines;
mod tap;
mod tell;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::baselines::{BASELINE_BYTES_MAX, BASELINE_FILE, check_baseline, follow};
use self::tap::Both;
use super::announce::Announcer;
use crate::capture::{Capture, CaptureError, CaptureStatus};
use crate::drift::monitor::{Lane, Monitor, Transition};
use crate::drift::report::DriftReport;
use crate::error::{Code, Coded};
use crate::infer::{Tap, TapSource, TappedVersion};
use crate::model::monitoring::CaptureConfig;
use crate::model::{ModelId, ModelName};

/// Why a question about traffic has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitoringError {
    /// The server watches nothing.
    #[error("this server keeps no captured rows and profiles: start it with --monitoring-dir")]
    Off,
    /// The server watches no drift.
    #[error("this server does not watch drift (drift.enabled)")]
    DriftOff,
    /// The version has nothing to be compared with, or had no such requests.
    #[error(
        "{0} has no baseline, or no such requests: set one with 'weir profile-data --model', put baseline.json beside its \
         model.onnx, or have it learned"
    )]
    NoBaseline(ModelId),
    /// There is no such window.
    #[error("there is no window \"{window}\"; there are {known}")]
    NoWindow {
        /// As the client wrote it.
        window: String,
        /// What there is.
        known: String,
    },
    /// Capture refused.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl Coded for MonitoringError {
    fn code(&self) -> Code {
        match self {
            MonitoringError::Off | MonitoringError::DriftOff => Code::FailedPrecondition,
            MonitoringError::NoBaseline(_) => Code::NotFound,
            MonitoringError::NoWindow { .. } => Code::InvalidArgument,
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

/// How a report is shown: those who ask over HTTP get what the command line shows of files.
pub use crate::drift::render;

/// Which report is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ReportQuery<'a> {
    /// A window's name; empty for the longest of at most a day.
    pub window: &'a str,
    /// Whether the requests that a split sent to a canary are meant.
    pub is_canary: bool,
}

/// What watches the traffic of this server.
#[derive(Debug)]
pub struct Monitoring {
    capture: Arc<Capture>,
    drift: OnceLock<Arc<Monitor>>,
    /// The newest known revision of each model of the registry.
    revisions: Mutex<BTreeMap<ModelName, u64>>,
    announcer: Announcer,
    replica: String,
}

impl Monitoring {
    /// Watches with `capture`; `replica` is this server's name in events.
    pub fn new(capture: Arc<Capture>, announcer: Announcer, replica: String) -> Arc<Monitoring> {
        Arc::new(Monitoring {
            capture,
            drift: OnceLock::new(),
            revisions: Mutex::default(),
            announcer,
            replica,
        })
    }

    /// Watches drift, too. Only the first call counts.
    pub fn watch_drift(&self, monitor: Arc<Monitor>) {
        let outliers = Arc::clone(self.drift.get_or_init(|| monitor));
        self.capture.keep_outliers(Arc::new(move |id, observation| outliers.is_outlier(id, observation)));
    }

    /// What is known of the drift of a version.
    ///
    /// # Errors
    /// [`MonitoringError`]: nothing is watched, the version has no baseline, or there is no such window.
    pub fn drift(&self, id: &ModelId, query: ReportQuery<'_>) -> Result<DriftReport, MonitoringError> {
        let monitor = self.monitor()?;
        let known = monitor.windows();
        let wanted = match query.window {
            "" => known.iter().rev().find(|window| window.name() != "deploy"),
            name => known.iter().find(|window| window.name() == name),
        };
        let window = *wanted.ok_or_else(|| MonitoringError::NoWindow {
            window: query.window.chars().take(32).flat_map(char::escape_debug).collect(),
            known: known.iter().map(|window| window.name()).collect::<Vec<_>>().join(", "),
        })?;
        let lane = if query.is_canary { Lane::Canary } else { Lane::Main };
        monitor.report(id, lane, window).ok_or_else(|| MonitoringError::NoBaseline(id.clone()))
    }

    /// Makes the baseline of a version of its next `rows` rows.
    ///
    /// # Errors
    /// [`MonitoringError::DriftOff`].
    pub fn learn(&self, id: &ModelId, rows: usize) -> Result<(), MonitoringError> {
        self.monitor()?.learn(id, rows);
        Ok(())
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

    /// Tells of a change of a version's drift.
    pub fn tell(&self, transition: &Transition) {
        tell::log(transition);
        let Some(rev) = self.revisions.lock().get(&transition.id.name).copied() else { return };
        if let Some(signal) = tell::signal(transition, rev, &self.replica) {
            self.announcer.announce(&transition.id.name, signal);
        }
    }

    /// Writes what waits. Blocks for at most about `bound`.
    pub fn stop(&self, bound: Duration) {
        if let Some(drift) = self.drift.get() {
            drift.stop();
        }
        self.capture.stop(bound);
    }

    fn monitor(&self) -> Result<&Arc<Monitor>, MonitoringError> {
        self.drift.get().ok_or(MonitoringError::DriftOff)
    }
}

impl TapSource for Monitoring {
    fn tap(&self, version: &TappedVersion, folder: Option<&Path>) -> Option<Arc<dyn Tap>> {
        let capture = self.capture.tap(version);
        let drift = self.drift.get().and_then(|monitor| {
            let tap = monitor.tap(version)?;
            if let Some(folder) = folder {
                let is_registered = self.revisions.lock().contains_key(&version.id.name);
                // Where the registry has spoken, its word counts.
                if !is_registered || monitor.baseline(&version.id).is_none() {
                    baselines::from_folder(monitor, &version.id, folder);
                }
            }
            Some(tap)
        });
        match (capture, drift) {
            (Some(capture), Some(drift)) => Some(Arc::new(Both { capture, drift })),
            (Some(tap), None) | (None, Some(tap)) => Some(tap),
            (None, None) => None,
        }
    }
}
