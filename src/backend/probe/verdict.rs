//! What a probe found. Kept as JSON between starts, so a change of meaning needs a new `cache::FORMAT`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::SampleOutcome;
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::DataType;

/// What a probe found about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it may be served at all.
    pub outcome: Outcome,
    /// Whether it ran on made-up inputs.
    pub exercised: Exercised,
    /// How long it took to open.
    pub load_time: Duration,
    /// Resident bytes that opening and running it took; at least the size of its file.
    pub memory_bytes: u64,
    /// The same at its highest, which is while it opens for most models.
    pub peak_bytes: u64,
    /// What it takes.
    pub inputs: Vec<SeenTensor>,
    /// What it gives.
    pub outputs: Vec<SeenTensor>,
    /// The sample run.
    pub sample: SampleOutcome,
    /// The fastest run at each number of rows that was tried, ascending.
    pub run_times: Vec<(usize, Duration)>,
    /// Whether rows may share a batch.
    pub row_independence: RowIndependence,
    /// What it does with dimensions of 0.
    pub zero_size: ZeroSize,
    /// The real shape of each output for the first inputs that it accepted.
    pub output_shapes: Vec<Vec<usize>>,
    /// Whether an output held a NaN.
    pub has_nan: bool,
    /// Whether another time may find something else: it ran out of time, a library was missing, a device was full or lost.
    pub is_of_the_moment: bool,
}

/// An input or output of the opened model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTensor {
    /// Its name.
    pub name: String,
    /// Its datatype, by its wire name.
    pub datatype: String,
    /// Its dimensions, -1 for a dynamic one; `None` when not even the rank is stated.
    pub shape: Option<Vec<i64>>,
    /// Whether it may be left out.
    pub optional: bool,
}

impl SeenTensor {
    pub(super) fn of(spec: &TensorSpec) -> SeenTensor {
        SeenTensor {
            name: spec.name.to_string(),
            datatype: spec.dtype.as_str().to_owned(),
            shape: spec.shape.as_ref().map(|dims| dims.iter().map(Dim::to_wire).collect()),
            optional: spec.optional,
        }
    }

    fn to_spec(&self) -> Option<TensorSpec> {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Dynamic(None), Dim::Fixed);
        Some(TensorSpec {
            name: self.name.as_str().into(),
            dtype: DataType::from_wire_name(&self.datatype)?,
            shape: self.shape.as_ref().map(|dims| dims.iter().map(dim).collect()),
            optional: self.optional,
        })
    }
}

/// Whether a model may be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It opened, and survived what it was given.
    Passed,
    /// It must not be opened in the server.
    Refused {
        /// Why, for the operator.
        reason: String,
        /// The signal that ended the child.
        signal: Option<i32>,
        /// The last lines that the runtime wrote, control characters escaped. May be empty.
        log_tail: String,
    },
}

/// Whether a model ran on made-up inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exercised {
    /// It ran.
    Yes,
    /// It refused everything that was tried; the runtime's last reason.
    No(String),
}

/// Whether rows of different callers may share a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowIndependence {
    /// Rows gave the same together as apart, up to this many in a batch.
    Independent {
        /// The largest batch that ran.
        rows_max: usize,
    },
    /// Rows must not share a batch.
    Dependent(String),
    /// It could not be found out.
    Unproven(String),
    /// The signature has no batch axis.
    NotCandidate,
}

/// What a model does with dimensions of 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZeroSize {
    /// It answered or refused each.
    Survives,
    /// One ended the process or never returned: which dimension, and how.
    Kills(String),
    /// Not tried: no dimension is dynamic, or the model did not run at all.
    NotApplicable,
}

impl Verdict {
    /// A verdict to be filled in as the experiments go.
    pub(super) fn new() -> Verdict {
        Verdict {
            outcome: Outcome::Passed,
            exercised: Exercised::No("it was not run".to_owned()),
            load_time: Duration::ZERO,
            memory_bytes: 0,
            peak_bytes: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            sample: SampleOutcome::NotAsked,
            run_times: Vec::new(),
            row_independence: RowIndependence::Unproven("it was not run".to_owned()),
            zero_size: ZeroSize::NotApplicable,
            output_shapes: Vec::new(),
            has_nan: false,
            is_of_the_moment: false,
        }
    }

    /// What the opened model takes and gives. The names of its dynamic dimensions are not kept.
    pub fn signature(&self) -> Signature {
        let specs = |seen: &[SeenTensor]| seen.iter().filter_map(SeenTensor::to_spec).collect();
        Signature { inputs: specs(&self.inputs), outputs: specs(&self.outputs) }
    }

    /// Whether the model may be served.
    pub fn is_passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.outcome = Outcome::Refused { reason, signal: None, log_tail: String::new() };
    }
}
