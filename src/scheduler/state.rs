//! What the callers and the workers of one version share under one lock: the queues, the free executors, the running
//! batches, and what has been learnt of them. Every method is short and does not block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::executor::{Executor, Report};
use super::latency::LatencyModel;
use super::policy::{Backlog, Limits, predict};
use super::queue::{Queues, Take};
use super::statistics::Statistics;
use super::ticket::Promise;
use crate::backend::Interrupt;

/// Retry hint while nothing is known about the model.
const RETRY_UNKNOWN: Duration = Duration::from_millis(10);

/// Of the jobs refused for what a run is believed to take while nothing else is to do, one in so many is run all the
/// same: otherwise one slow run would have everybody with a deadline refused for ever, and nothing be learnt.
pub(super) const TRIAL_EVERY: u32 = 8;

/// Under the lock.
pub(super) struct State {
    pub(super) queues: Queues<Promise>,
    /// Executors that run nothing; the one used last is used next, because its memory is warm.
    #[expect(clippy::vec_box, reason = "moved out and in with every batch")]
    pub(super) idle: Vec<Box<Executor>>,
    /// Batches in run, one for each busy executor.
    pub(super) running: Vec<Running>,
    pub(super) latency: LatencyModel,
    pub(super) statistics: Statistics,
    /// Worker threads that are alive, stuck ones included.
    pub(super) threads: usize,
    /// Worker threads that may be alive.
    pub(super) threads_max: usize,
    /// Worker threads in the condition variable.
    pub(super) sleeping: usize,
    /// Worker threads that were woken or spawned and have not looked at the queue yet.
    pub(super) notified: usize,
    /// Runs that nobody waits for and that do not stop.
    pub(super) stuck: usize,
    /// Executors made in place of stuck ones.
    pub(super) replaced: usize,
    /// Whether a watchdog thread is alive.
    pub(super) is_watched: bool,
    /// An inline caller found no free executor; whoever returns one looks at the queue again.
    pub(super) is_contended: bool,
    /// The last handle has gone: finish what is queued and end.
    pub(super) is_closed: bool,
    next_batch: u64,
    refused_idle: u32,
    limits: Limits,
}

/// A batch in run.
pub(super) struct Running {
    pub(super) batch: u64,
    /// Jobs that somebody still waits for.
    pub(super) live: usize,
    /// When the last of them went.
    pub(super) abandoned_at: Option<Instant>,
    /// Counted as stuck.
    pub(super) is_stuck: bool,
    /// Another executor was made in place of its own.
    pub(super) is_replaced: bool,
    pub(super) lane: u64,
    pub(super) rows: usize,
    pub(super) started_at: Instant,
    interrupter: Arc<dyn Interrupt>,
    run_number: Arc<AtomicU64>,
}

/// A batch for a worker.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) executor: Box<Executor>,
    pub(super) taken_at: Instant,
    batch: u64,
    lane: u64,
}

/// What a worker is to do.
pub(super) enum Next {
    Run(Assignment),
    WaitUntil(Instant),
    /// Nothing is queued, or no executor is free.
    Nothing,
}

/// What is left to do after a batch.
#[derive(Debug)]
pub(super) struct Finished {
    /// It was counted as stuck.
    pub(super) was_stuck: bool,
    /// There is another executor in place of this one.
    pub(super) superfluous: Option<Box<Executor>>,
}

/// How to get a worker to look at the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kick {
    None,
    Notify,
    Spawn,
}

impl Running {
    /// Asks the run to stop, once the lock is released. Its number is read under the lock, while the batch is in run:
    /// read later it might be the number of the executor's next batch, whose callers still wait. A run of this batch
    /// that begins in between is asked by the watchdog.
    pub(super) fn interrupt(&self) -> impl FnOnce() + use<> {
        let (interrupter, run) = (Arc::clone(&self.interrupter), self.run_number.load(Ordering::Acquire));
        move || interrupter.interrupt(run)
    }
}

impl State {
    pub(super) fn new(limits: Limits, queue_size: usize, displaces: bool, threads_max: usize) -> State {
        State {
            queues: Queues::new(limits, queue_size, displaces),
            idle: Vec::new(),
            running: Vec::new(),
            latency: LatencyModel::default(),
            statistics: Statistics::default(),
            threads: 0,
            threads_max,
            sleeping: 0,
            notified: 0,
            stuck: 0,
            replaced: 0,
            is_watched: false,
            is_contended: false,
            is_closed: false,
            next_batch: 1,
            refused_idle: 0,
            limits,
        }
    }

    /// Takes a batch and an executor, if there are both. Expired jobs are for the caller to answer without the lock.
    pub(super) fn next(&mut self, now: Instant, expired: &mut Vec<Promise>) -> Next {
        if self.queues.len() == 0 {
            self.is_contended = false;
            return Next::Nothing;
        }
        let Some(mut executor) = self.idle.pop() else { return Next::Nothing };
        debug_assert!(executor.batch.is_empty());
        match self.queues.take(now, &self.latency, &mut executor.batch, expired) {
            Take::Batch { lane, rows } => {
                let batch = self.next_batch;
                self.next_batch += 1;
                for promise in &executor.batch {
                    promise.ticket().set_batch(batch);
                }
                let (interrupter, run_number) = executor.stopper();
                let live = executor.batch.len();
                self.running.push(Running {
                    batch,
                    live,
                    abandoned_at: None,
                    is_stuck: false,
                    is_replaced: false,
                    interrupter,
                    run_number,
                    lane,
                    rows,
                    started_at: now,
                });
                Next::Run(Assignment { executor, taken_at: now, batch, lane })
            }
            Take::WaitUntil(until) => {
                self.idle.push(executor);
                Next::WaitUntil(until)
            }
            Take::Empty => {
                self.idle.push(executor);
                Next::Nothing
            }
        }
    }

    /// Puts an executor back and learns from its run. An executor that was replaced is
    /// returned, to be dropped without the lock.
    pub(super) fn finish(&mut self, done: Assignment, report: &Report, now: Instant) -> Finished {
        if report.clean {
            self.latency.record(done.lane, report.rows, now.saturating_duration_since(done.taken_at));
        }
        self.statistics.record(report);
        let position = self.running.iter().position(|running| running.batch == done.batch);
        let running = position.map(|position| self.running.swap_remove(position));
        debug_assert!(running.is_some(), "a batch is finished once");
        let is_replaced = running.as_ref().is_some_and(|running| running.is_replaced);
        let was_stuck = running.is_some_and(|running| running.is_stuck);
        self.stuck -= usize::from(was_stuck);
        if is_replaced {
            self.replaced -= 1;
            self.threads_max -= 1;
            return Finished { was_stuck, superfluous: Some(done.executor) };
        }
        self.idle.push(done.executor);
        Finished { was_stuck, superfluous: None }
    }

    /// Whether a worker must be woken or spawned for what is queued. Counts it as notified.
    pub(super) fn kick(&mut self) -> Kick {
        if self.idle.len() <= self.notified || !self.queues.exceeds(self.notified) {
            return Kick::None;
        }
        if self.sleeping > self.notified {
            self.notified += 1;
            return Kick::Notify;
        }
        if self.threads < self.threads_max {
            self.threads += 1;
            self.notified += 1;
            return Kick::Spawn;
        }
        Kick::None
    }

    /// How long until a job of `rows` rows is likely to be answered, when that is known.
    pub(super) fn predict(&self, lane: u64, rows: usize, priority: u32, now: Instant) -> Option<Duration> {
        let run_own = self.latency.estimate(lane, rows.min(self.limits.rows_max))?;
        let run_full = self.latency.estimate(lane, self.limits.rows_max)?;
        Some(predict(&Backlog {
            rows_ahead: self.queues.rows_ahead(priority),
            rows,
            rows_max: self.limits.rows_max,
            workers: (self.idle.len() + self.running.len() - self.stuck).max(1),
            free_in: self.free_in(now),
            run_full,
            run_own,
        }))
    }

    /// Whether a job that is about to be refused is run all the same, to see what runs take now.
    pub(super) fn is_trial(&mut self) -> bool {
        if self.idle.is_empty() || self.queues.len() > 0 {
            return false;
        }
        self.refused_idle = (self.refused_idle + 1) % TRIAL_EVERY;
        self.refused_idle == 0
    }

    /// When a slot is likely to be free.
    pub(super) fn retry_after(&self, now: Instant) -> Duration {
        let run = self.latency.estimate(0, self.limits.rows_max);
        run.map_or(RETRY_UNKNOWN, |run| self.free_in(now).saturating_add(run))
    }

    /// Whether every executor is in a run that does not stop.
    pub(super) fn is_stuck(&self) -> bool {
        self.idle.is_empty() && self.stuck > 0 && self.stuck == self.running.len()
    }

    /// Whether nothing is queued and nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.queues.len() == 0 && self.running.len() == self.stuck
    }

    fn free_in(&self, now: Instant) -> Duration {
        if !self.idle.is_empty() {
            return Duration::ZERO;
        }
        let ends = self.running.iter().filter(|running| !running.is_stuck).map(|running| {
            let expected = self.latency.estimate(running.lane, running.rows).unwrap_or_default();
            expected.saturating_sub(now.saturating_duration_since(running.started_at))
        });
        ends.min().unwrap_or_default()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queues.len())
            .field("running", &self.running.len())
            .field("idle", &self.idle.len())
            .field("threads", &self.threads)
            .field("stuck", &self.stuck)
            .finish_non_exhaustive()
    }
}
