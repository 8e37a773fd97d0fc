//! Lanes, admission and workers of one model version: from a validated request to its rows of a batch, and back.
//!
//! [`Scheduler::submit`] takes a permit, queues a [`Job`] in the lane of its row shape and waits. A free worker, which
//! owns an instance of the model, takes what is queued and fits, gathers the rows into its staging buffers, runs the
//! batch, checks the real output rows and hands every job its rows as slices of shared memory. Nothing waits on a
//! timer unless the model's queue delay asks for it. The policy is a pure function of values (`policy`), so it is
//! tested with seeds and a fake clock.
//!
//! It never looks at a wire format, a model's name or a repository.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::backend::{BackendError, Model, Output};
use crate::error::{Code, Coded};
use crate::infer::Timing;
use crate::model::config::QueueConfig;
use crate::tensor::Tensor;

/// How a version is scheduled.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names the threads; the model and version.
    pub label: String,
    /// The most rows in a batch; 0 when the first axis is not a batch and requests run one by one.
    pub max_batch_size: usize,
    /// How requests wait.
    pub queue: QueueConfig,
    /// How many workers run at the same time.
    pub workers: usize,
}

/// One request for the scheduler. Validated: dtypes, ranks and fixed dimensions fit the signature.
#[derive(Debug)]
pub struct Job {
    /// Inputs in the order of the signature; `None` for an optional one left out.
    pub inputs: SmallVec<[Option<Tensor>; 4]>,
    /// Rows (the first dimension) when the version is batched; 1 otherwise.
    pub rows: usize,
    /// 0 is the default, 1 the highest.
    pub priority: u32,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Reply {
    /// The job's rows of every output, in the order of the signature.
    pub outputs: Vec<Output>,
    /// Queue, gather, compute and scatter times and the batch's rows.
    pub timing: Timing,
}

/// Why a job was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The queue is full.
    #[error("the queue is full ({size} requests are waiting)")]
    QueueFull {
        /// The queue's bound.
        size: usize,
        /// When a slot is likely to be free.
        retry_after: Duration,
    },
    /// The deadline has passed, or would pass before the answer.
    #[error("the deadline cannot be met")]
    DeadlineRefused {
        /// When it could be met, by the latency model.
        retry_after: Duration,
    },
    /// The deadline passed while the job waited or ran.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The version is being unloaded or its workers are gone.
    #[error("the model is not available")]
    Unavailable,
    /// The model failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The model returned outputs whose rows cannot be divided among the requests of the batch.
    #[error("output '{output}' has {actual} rows for {expected} rows of input")]
    OutputRows {
        /// Which output.
        output: String,
        /// Rows that went in.
        expected: usize,
        /// Rows that came out.
        actual: usize,
    },
    /// A worker panicked: a defect of this program.
    #[error("internal error")]
    Panicked,
}

impl Coded for SchedulerError {
    fn code(&self) -> Code {
        match self {
            SchedulerError::QueueFull { .. } => Code::ResourceExhausted,
            SchedulerError::DeadlineRefused { .. } | SchedulerError::DeadlineExceeded => {
                Code::DeadlineExceeded
            }
            SchedulerError::Unavailable => Code::Unavailable,
            SchedulerError::Backend(error) => error.code(),
            SchedulerError::OutputRows { .. } | SchedulerError::Panicked => Code::Internal,
        }
    }

    fn public_message(&self) -> String {
        match self {
            SchedulerError::Backend(error) => error.public_message(),
            other => other.to_string(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            SchedulerError::QueueFull { retry_after, .. }
            | SchedulerError::DeadlineRefused { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Handle to the lanes and workers of one version. When the last handle goes, the workers finish what is queued, drop
/// their instances on their own threads and end.
#[derive(Debug)]
pub struct Scheduler {}

impl Scheduler {
    /// Starts the workers.
    pub fn start(_model: Arc<dyn Model>, _plan: Plan) -> Result<Scheduler, SchedulerError> {
        Ok(Scheduler {})
    }

    /// Queues `job` and waits for its answer. Dropping the future frees the job's slot at once.
    pub async fn submit(&self, _job: Job) -> Result<Reply, SchedulerError> {
        Err(SchedulerError::Unavailable)
    }
}
