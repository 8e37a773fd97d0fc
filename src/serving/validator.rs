//! Tries a version for a registration: the same child process, limits and experiments as before a version is served, and
//! a sample run that is kept. Serves nothing, and never opens the model in this process.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::examine::{findings, subject};
use super::plan::plan_batch;
use super::repository::scan_folder;
use super::settings::{Settings, read_any_settings};
use crate::backend::onnx::precheck::{self, ModelFacts};
use crate::backend::probe::{
    Outcome, Prober, RowIndependence, SampleOutcome, SampleRun, SampleTensors, Verdict,
};
use crate::backend::{Artifact, BackendError};
use crate::model::{ModelName, Signature};
use crate::tensor::Tensor;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The name that it would have.
    pub model: ModelName,
    /// The model file.
    pub file: PathBuf,
    /// The folder of its settings and labels; `None` when it has none.
    pub folder: Option<PathBuf>,
    /// Inputs to run it on; `None` makes some up.
    pub sample: Option<Vec<Tensor>>,
}

/// What a trial showed.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What the file says of itself.
    pub facts: ModelFacts,
    /// What it takes and gives.
    pub signature: Signature,
    /// The runtime that opened it.
    pub runtime: String,
    /// How long that took.
    pub load: Duration,
    /// Resident bytes at the most.
    pub peak_bytes: u64,
    /// Whether its rows are independent, in a line.
    pub batching: String,
    /// Inputs and the outputs for them, or why there are none.
    pub sample: Result<(Vec<Tensor>, Vec<Tensor>), String>,
    /// What is odd about its settings.
    pub warnings: Vec<String>,
}

/// Why there is no trial to show.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The model is at fault.
    #[error("{reason}")]
    Refused {
        /// What it did.
        reason: String,
    },
    /// Nothing was found out about the model.
    #[error("the model could not be tried: {0}")]
    Unable(String),
}

/// Tries candidates. Blocking.
pub trait Validate: Send + Sync + fmt::Debug {
    /// Tries `candidate`. Takes as long as the limits of the trial allow.
    ///
    /// # Errors
    /// [`TrialError`].
    fn validate(&self, candidate: &Candidate) -> Result<Trial, TrialError>;
}

/// Tries candidates in child processes.
#[derive(Debug)]
pub struct Validator {
    prober: Arc<Prober>,
    runtime: String,
}

impl Validator {
    /// A validator that asks `prober`, whose children use the ONNX Runtime build `runtime`. The prober should have no
    /// cache: what a registration records is to be seen, not remembered.
    pub fn new(prober: Arc<Prober>, runtime: &str) -> Validator {
        Validator { prober, runtime: runtime.to_owned() }
    }
}

impl Validate for Validator {
    fn validate(&self, candidate: &Candidate) -> Result<Trial, TrialError> {
        let refused = |reason: String| TrialError::Refused { reason };
        let facts = precheck::check(&candidate.file).map_err(|error| refused(error.to_string()))?;
        let settings = settings(candidate)?;
        let artifact = Artifact { path: candidate.file.clone() };
        let mut subject = subject(&artifact, &settings);
        subject.sample = match &candidate.sample {
            None => SampleRun::MadeUp,
            Some(inputs) => SampleRun::Given(SampleTensors(inputs.clone())),
        };
        let verdict = self.prober.probe(&subject).map_err(|error| match error {
            BackendError::Runtime(why) => TrialError::Unable(why),
            other => refused(other.to_string()),
        })?;
        if let Outcome::Refused { reason, log_tail, .. } = &verdict.outcome {
            let log = if log_tail.is_empty() { "" } else { "; the runtime's log ends: " };
            return Err(refused(format!("{reason}{log}{log_tail}")));
        }
        let signature = verdict.signature();
        let mut parsed = settings.parsed.clone();
        parsed.check_signature(&signature, &settings.origin).map_err(|error| refused(error.to_string()))?;
        let findings = findings(&verdict, facts.has_control_flow);
        let (_, warning) =
            plan_batch(&parsed.config, &signature, &findings).map_err(|error| refused(error.to_string()))?;
        parsed.warnings.extend(warning);
        Ok(Trial {
            signature,
            runtime: self.runtime.clone(),
            load: verdict.load_time,
            peak_bytes: verdict.peak_bytes,
            batching: batching(&verdict),
            sample: sample(verdict.sample),
            warnings: parsed.warnings,
            facts,
        })
    }
}

/// The settings that the version would be served with.
fn settings(candidate: &Candidate) -> Result<Settings, TrialError> {
    let Some(folder) = &candidate.folder else { return Ok(Settings::default()) };
    let unable = |error: std::io::Error| TrialError::Unable(error.to_string());
    let files = scan_folder(folder).map_err(unable)?;
    let refused =
        |error: crate::model::settings::SettingsError| TrialError::Refused { reason: error.to_string() };
    read_any_settings(&files).map_err(refused)
}

fn batching(verdict: &Verdict) -> String {
    match &verdict.row_independence {
        RowIndependence::Independent { rows_max } => format!("rows are independent, tried up to {rows_max}"),
        RowIndependence::Dependent(why) => format!("rows depend on each other: {why}"),
        RowIndependence::Unproven(why) => format!("unknown: {why}"),
        RowIndependence::NotCandidate => "no batch axis".to_owned(),
    }
}

fn sample(outcome: SampleOutcome) -> Result<(Vec<Tensor>, Vec<Tensor>), String> {
    match outcome {
        SampleOutcome::Done { inputs, outputs } => Ok((inputs.0, outputs.0)),
        SampleOutcome::Missing(why) => Err(why),
        SampleOutcome::NotAsked => Err("it was not run".to_owned()),
    }
}
