//! Why a job was not done.

use std::time::Duration;

use crate::backend::BackendError;
use crate::error::{Code, Coded};

/// Why a job was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The queue is full, or a more important request took the place.
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
    /// The rows of a request that was divided into several batches came back in different shapes.
    #[error("output '{output}' has rows of different shapes in the batches of this request; send fewer rows")]
    OutputShapes {
        /// Which output.
        output: String,
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
            SchedulerError::OutputShapes { .. } => Code::InvalidArgument,
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
