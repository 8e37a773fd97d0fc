//! What a version is examined for before the server opens it, and the examiner that asks a child process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{BATCH_DEFAULT, Findings, Rows, plan_tolerance};
use super::settings::Settings;
use crate::backend::onnx::precheck;
use crate::backend::probe::{
    Exercised, Outcome, ProbeSubject, Prober, RowIndependence, SampleRun, Verdict, ZeroSize, warm_up,
};
use crate::backend::{Artifact, BackendError, Instance, OpenOptions};
use crate::model::Signature;

/// Learns about a version before the server opens it, at no risk to the server.
pub(super) trait Examiner: Send + Sync + fmt::Debug {
    /// What running the version showed.
    fn examine(&self, artifact: &Artifact, settings: &Settings) -> Result<Findings, ExamineError>;

    /// Runs the opened version on what it was examined with.
    fn warm_up(&self, signature: &Signature, instance: &mut dyn Instance, rows: &[usize], runs: usize);

    /// Gives back what it holds, because there is nothing to do for now.
    fn rest(&self) {}
}

/// Why a version must not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ExamineError {
    /// The file is defective, or there is no examiner.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// It is a danger to the process.
    #[error("{reason}{}{}", if .log_tail.is_empty() { "" } else { "; the runtime's log ends: " }, .log_tail)]
    Refused {
        /// What it did.
        reason: String,
        /// The runtime's last lines, for the log.
        log_tail: String,
        /// Whether it may do better another time: the machine or the device was busy, say.
        is_of_the_moment: bool,
    },
}

impl ExamineError {
    /// Whether the same may succeed another time, with nothing about the model changed.
    pub(super) fn is_of_the_moment(&self) -> bool {
        match self {
            ExamineError::Backend(error) => error.is_of_the_moment(),
            ExamineError::Refused { is_of_the_moment, .. } => *is_of_the_moment,
        }
    }
}

/// Examines by a child process.
#[derive(Debug)]
pub(super) struct ProbeExaminer {
    prober: Arc<Prober>,
}

impl ProbeExaminer {
    pub(super) fn new(prober: Arc<Prober>) -> ProbeExaminer {
        ProbeExaminer { prober }
    }
}

impl Examiner for ProbeExaminer {
    fn examine(&self, artifact: &Artifact, settings: &Settings) -> Result<Findings, ExamineError> {
        let facts = precheck::check(&artifact.path)?;
        let verdict = self.prober.probe(&subject(artifact, settings))?;
        if let Outcome::Refused { reason, log_tail, .. } = &verdict.outcome {
            return Err(ExamineError::Refused {
                reason: reason.clone(),
                log_tail: log_tail.clone(),
                is_of_the_moment: verdict.is_of_the_moment,
            });
        }
        Ok(findings(&verdict, facts.has_control_flow))
    }

    fn warm_up(&self, signature: &Signature, instance: &mut dyn Instance, rows: &[usize], runs: usize) {
        warm_up(signature, instance, rows, runs);
    }

    fn rest(&self) {
        self.prober.rest();
    }
}

/// What a version is probed with.
pub(super) fn subject(artifact: &Artifact, settings: &Settings) -> ProbeSubject {
    let config = &settings.parsed.config;
    let mut runtime = config.runtime.clone();
    // One thread: that is what is compared when threads are given out.
    runtime.intra_threads.get_or_insert(1);
    ProbeSubject {
        artifact: artifact.clone(),
        options: OpenOptions { runtime, instances: config.instances.clone() },
        rows_max: config.max_batch_size.unwrap_or(BATCH_DEFAULT).max(1),
        tolerance: plan_tolerance(&settings.parsed).0,
        try_zero: config.allow_empty != Some(false),
        sample: SampleRun::None,
    }
}

/// The verdict in the words of the plan.
pub(super) fn findings(verdict: &Verdict, has_control_flow: bool) -> Findings {
    let rows = match (&verdict.row_independence, &verdict.exercised) {
        (RowIndependence::Independent { rows_max }, _) => Rows::Independent { rows_max: *rows_max },
        (RowIndependence::Dependent(why), _) => Rows::Dependent(why.clone()),
        (_, Exercised::No(why)) => Rows::Unknown(format!("it could not be run on made-up inputs: {why}")),
        (RowIndependence::Unproven(why), _) => Rows::Unknown(why.clone()),
        (RowIndependence::NotCandidate, _) => Rows::Unknown("it has no batch axis".to_owned()),
    };
    let kills_empty = match &verdict.zero_size {
        ZeroSize::Kills(why) => Some(why.clone()),
        ZeroSize::Survives | ZeroSize::NotApplicable => None,
    };
    Findings {
        rows,
        survives_empty: verdict.zero_size == ZeroSize::Survives,
        kills_empty,
        run_times: verdict.run_times.clone(),
        has_control_flow,
        memory_bytes: verdict.memory_bytes,
    }
}

impl Findings {
    /// What is known of a version that nobody examined: nothing.
    pub(super) fn none() -> Findings {
        Findings {
            rows: Rows::Unknown("models are not probed".to_owned()),
            survives_empty: false,
            kills_empty: None,
            run_times: Vec::new(),
            has_control_flow: true,
            memory_bytes: 0,
        }
    }

    /// The time of one row on one thread.
    pub(super) fn run_of_one(&self) -> Option<Duration> {
        self.run_times.iter().find(|(rows, _)| *rows == 1).map(|(_, run)| *run)
    }
}
