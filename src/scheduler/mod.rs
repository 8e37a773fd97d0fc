//! Lanes, admission and workers of one model version: from a validated request to its rows of a batch, and back.
//!
//! [`Scheduler::submit`] queues a [`Job`] in the lane of its row shape and waits. A free worker takes what is queued
//! and fits, gathers the rows into its staging buffers, runs the batch, checks the real output rows and hands every
//! job its rows as slices of shared memory. Nothing waits on a timer unless the model's queue delay asks for it.
//!
//! ```text
//!  submit ─► admit ─► queue (lanes) ─► worker, or the caller itself when the model is cheap:
//!              │ refuse                  take batch + executor ─► gather ─► run ─► scatter ─► answer all
//!              ▼                                                             │ failed: halves again
//!  dropped: taken back, or the run is interrupted when nobody else waits ────┘
//! ```
//!
//! The policy is a pure function of values (`policy`, `queue`), so it is tested with seeds and a fake clock.
//! This module never looks at a wire format, a model's name or a repository.

mod error;
mod executor;
mod gather;
mod inline;
mod lane;
mod latency;
mod metrics;
mod pending;
mod policy;
mod queue;
mod shared;
mod split;
mod state;
mod statistics;
#[cfg(test)]
mod tests;
mod ticket;
mod watchdog;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use tokio::sync::Notify;

pub use self::error::SchedulerError;
pub use self::metrics::{SchedulerFamilies, SchedulerMetrics};
pub use self::policy::filled_sizes;
pub use self::statistics::BatchSizeStatistics;

use self::executor::Executor;
use self::pending::Pending;
use self::policy::Limits;
use self::shared::{Admission, Callers, Shared};
use self::state::{Kick, State};
use self::ticket::Outcome;
use crate::backend::{Model, Output};
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
    /// Whether the model pays for every new shape, so that batches are filled up to a power of two of rows.
    pub fills_batches: bool,
    /// Set for a model whose largest batch runs so fast, and never much longer, that the asking task may run it
    /// itself instead of waking a worker thread: fixed row shapes, no control flow, measured at load. The value is
    /// the measured time.
    pub inline_run_max: Option<Duration>,
}

impl Plan {
    fn is_inline(&self) -> bool {
        self.inline_run_max.is_some() && self.queue.delay.is_zero()
    }

    fn limits(&self) -> Limits {
        let batched = self.max_batch_size > 0;
        Limits {
            rows_max: self.max_batch_size.max(1),
            delay: self.queue.delay,
            batched,
            fills: batched && self.fills_batches,
        }
    }
}

/// One request for the scheduler. Validated: dtypes, ranks and fixed dimensions fit the signature.
#[derive(Debug)]
pub struct Job {
    /// Inputs in the order of the signature; `None` for an optional one left out.
    pub inputs: SmallVec<[Option<Tensor>; 2]>,
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

/// How busy a scheduler is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerLoad {
    /// Requests waiting for a worker.
    pub queued: usize,
    /// Batches in run, stuck ones included.
    pub running: usize,
    /// Requests between admission and answer.
    pub inflight: u64,
    /// Executors that run nothing.
    pub free: usize,
    /// Runs that nobody waits for and that do not stop.
    pub stuck: usize,
}

/// Handle to the lanes and workers of one version. When it goes, the workers finish what is queued, drop their
/// instances on their own threads and end.
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Makes the instances. Worker threads start with the first work.
    ///
    /// # Errors
    /// [`SchedulerError::Backend`] when the model gives no instance.
    pub fn start(
        model: Arc<dyn Model>,
        plan: Plan,
        metrics: SchedulerMetrics,
    ) -> Result<Scheduler, SchedulerError> {
        Scheduler::start_with(model, plan, metrics, watchdog::STUCK_GRACE)
    }

    fn start_with(
        model: Arc<dyn Model>,
        plan: Plan,
        metrics: SchedulerMetrics,
        stuck_grace: Duration,
    ) -> Result<Scheduler, SchedulerError> {
        let batched = plan.max_batch_size > 0;
        let workers = plan.workers.clamp(1, model.concurrency_max().unwrap_or(usize::MAX).max(1));
        let limits = plan.limits();
        let displaces = plan.queue.priority_levels > 0;
        let mut state = State::new(limits, plan.queue.size.max(1), displaces, workers);
        for _ in 0..workers {
            state.idle.push(Box::new(Executor::new(Arc::clone(&model), limits)?));
        }
        let shared = Arc::new(Shared {
            has_one_lane: !batched || lane::has_one_lane(model.signature()),
            plan,
            model,
            metrics,
            state: Mutex::new(state),
            wake: Condvar::new(),
            watch: Condvar::new(),
            stuck_grace,
            callers: Callers::default(),
            idle: Notify::new(),
            inflight: AtomicU64::new(0),
        });
        Ok(Scheduler { shared })
    }

    /// Queues `job` at once; the future waits for its answer. Dropping it frees the job's slot at once. It is small: the job
    /// is not in it.
    pub fn submit(&self, job: Job) -> impl Future<Output = Outcome> + Send {
        let rows_max = self.shared.plan.max_batch_size;
        if rows_max > 0 && job.rows > rows_max {
            // Boxed, because its future is large and the others should not carry its size.
            return Either::Left(Box::pin(split::submit(self, job, rows_max)));
        }
        Either::Right(self.submit_one(job, Admission::Slot))
    }

    fn submit_one(&self, job: Job, admission: Admission) -> impl Future<Output = Outcome> + Send {
        let deadline = job.deadline;
        let queued = self.shared.enqueue(job, admission, Instant::now());
        let pending = queued.map(|(ticket, place)| Pending::new(&self.shared, ticket, place));
        async move {
            let mut pending = pending?;
            match deadline {
                None => self.answer(&mut pending).await,
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline.into(), self.answer(&mut pending)).await {
                        Ok(outcome) => outcome,
                        Err(_) => Err(pending.expire()),
                    }
                }
            }
        }
    }

    async fn answer(&self, pending: &mut Pending<'_>) -> Outcome {
        if self.shared.plan.is_inline() {
            inline::drive(&self.shared, pending).await;
        }
        pending.await
    }

    /// How busy it is now.
    pub fn load(&self) -> SchedulerLoad {
        let state = self.shared.state.lock();
        SchedulerLoad {
            queued: state.queues.slots(),
            running: state.running.len(),
            inflight: self.shared.inflight.load(Ordering::Relaxed),
            free: state.idle.len(),
            stuck: state.stuck,
        }
    }

    /// Counts and stage times per batch size, ascending.
    pub fn batch_statistics(&self) -> Vec<BatchSizeStatistics> {
        self.shared.state.lock().statistics.snapshot()
    }

    /// Waits until nobody waits for an answer and nothing runs (runs that do not stop excepted). New work may come meanwhile:
    /// whoever drains stops routing to this version first.
    pub async fn wait_idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            let is_idle = self.shared.state.lock().is_idle();
            if is_idle && self.shared.inflight.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_closed = true;
        // Instances may take long to drop: never on the thread of whoever drops the handle.
        let kick = if state.threads == 0 {
            state.threads += 1;
            state.notified += 1;
            Kick::Spawn
        } else {
            Kick::None
        };
        drop(state);
        self.shared.wake.notify_all();
        self.shared.watch.notify_all();
        self.shared.perform(kick);
    }
}
