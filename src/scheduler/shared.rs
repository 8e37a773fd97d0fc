//! Between the callers and the workers of one version: queueing, taking back, waking, finishing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::executor::{Executor, Report};
use super::lane::LaneKey;
use super::metrics::SchedulerMetrics;
use super::policy::Waiting;
use super::queue::{Place, Pushed};
use super::state::{Assignment, Kick, State};
use super::ticket::{Promise, Ticket};
use super::{Job, Plan, SchedulerError, watchdog, worker};
use crate::backend::Model;

/// What every handle and every worker of a version holds.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) model: Arc<dyn Model>,
    pub(super) has_one_lane: bool,
    pub(super) metrics: SchedulerMetrics,
    pub(super) state: Mutex<State>,
    /// Workers sleep here.
    pub(super) wake: Condvar,
    /// The watchdog sleeps here.
    pub(super) watch: Condvar,
    /// How long a run may go on after it was asked to stop.
    pub(super) stuck_grace: Duration,
    /// Callers with an answer, until they are woken.
    pub(super) callers: Callers,
    /// Told when nobody waits, and when nothing runs.
    pub(super) idle: Notify,
    /// Callers between admission and reply.
    pub(super) inflight: AtomicU64,
}

/// Wakes the callers of a batch. On one core the first one woken runs at once, in place of the worker: so it wakes the
/// others itself, on its own thread and without a system call, and they queue their next jobs before the worker looks
/// at the queue again.
#[derive(Debug, Default)]
pub(super) struct Callers {
    wakers: Mutex<Vec<Waker>>,
    are_any: AtomicBool,
}

impl Callers {
    /// Wakes all of `wakers`, with the help of those who wake up.
    pub(super) fn wake(&self, wakers: &mut Vec<Waker>) {
        if wakers.len() > 1 {
            let mut list = self.wakers.lock();
            list.append(wakers);
            self.are_any.store(true, Ordering::Release);
            drop(list);
            self.help();
        } else if let Some(waker) = wakers.pop() {
            waker.wake();
        }
    }

    /// Wakes those who are left.
    pub(super) fn help(&self) {
        while self.are_any.load(Ordering::Acquire) {
            let mut list = self.wakers.lock();
            let waker = list.pop();
            self.are_any.store(!list.is_empty(), Ordering::Release);
            drop(list);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// How a job asks to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// In a slot of its own.
    Slot,
    /// As a part of a job that has a slot.
    Part,
}

impl Shared {
    /// Queues `job` and sees to it that a worker looks, or says why not.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        job: Job,
        admission: Admission,
        now: Instant,
    ) -> Result<(Arc<Ticket>, Place), SchedulerError> {
        let key = if self.has_one_lane { LaneKey::only() } else { LaneKey::of(&job.inputs) };
        let (rows, deadline) = (job.rows, job.deadline);
        let priority = self.priority(job.priority);
        let ticket = Ticket::new(job, now, admission == Admission::Part);
        let promise = Promise::new(Arc::clone(&ticket));

        let mut state = self.state.lock();
        if let Err(error) = self.admit(&mut state, &key, rows, deadline, priority, now) {
            drop(state);
            promise.release();
            return Err(error);
        }
        let waiting = Waiting { rows, priority, deadline, queued_at: now };
        let place = match admission {
            Admission::Part => state.queues.push_part(key, waiting, promise),
            Admission::Slot => match state.queues.push(key, waiting, promise) {
                Pushed::Queued(place) => place,
                Pushed::Displaced(place, displaced) => {
                    let error = self.queue_full(&state, now);
                    self.metrics.rejected_displaced.inc();
                    self.metrics.queue_length.dec();
                    MutexGuard::unlocked(&mut state, || answer(displaced, &error));
                    place
                }
                Pushed::Full(promise) => {
                    let error = self.queue_full(&state, now);
                    drop(state);
                    promise.release();
                    self.metrics.rejected_full.inc();
                    return Err(error);
                }
            },
        };
        // An inline caller takes its batch itself.
        let kick = if self.plan.is_inline() { Kick::None } else { state.kick() };
        self.metrics.queue_length.inc();
        drop(state);
        self.perform(kick);
        Ok((ticket, place))
    }

    /// Takes a slot for a job that is queued in parts, or says why there is none.
    pub(super) fn hold_slot(&self, job: &Job) -> Result<(), SchedulerError> {
        let now = Instant::now();
        let key = if self.has_one_lane { LaneKey::only() } else { LaneKey::of(&job.inputs) };
        let mut state = self.state.lock();
        self.admit(&mut state, &key, job.rows, job.deadline, self.priority(job.priority), now)?;
        if !state.queues.hold_slot() {
            self.metrics.rejected_full.inc();
            return Err(self.queue_full(&state, now));
        }
        drop(state);
        self.enter();
        Ok(())
    }

    fn admit(
        &self,
        state: &mut State,
        key: &LaneKey,
        rows: usize,
        deadline: Option<Instant>,
        priority: u32,
        now: Instant,
    ) -> Result<(), SchedulerError> {
        if state.is_closed || state.is_stuck() {
            self.metrics.rejected_unavailable.inc();
            return Err(SchedulerError::Unavailable);
        }
        let Some(deadline) = deadline else { return Ok(()) };
        let predicted = state.predict(key.hash(), rows, priority, now).unwrap_or_default();
        if deadline <= now || (now + predicted > deadline && !state.is_trial()) {
            self.metrics.rejected_deadline.inc();
            return Err(SchedulerError::DeadlineRefused { retry_after: predicted });
        }
        Ok(())
    }

    fn queue_full(&self, state: &State, now: Instant) -> SchedulerError {
        SchedulerError::QueueFull { size: self.plan.queue.size, retry_after: state.retry_after(now) }
    }

    /// The priority that a request's number means: 1 is the most important, 0 the model's default.
    fn priority(&self, stated: u32) -> u32 {
        let queue = &self.plan.queue;
        match (queue.priority_levels, stated, queue.default_priority) {
            (0, _, _) => 0,
            (levels, 0, 0) => levels,
            (levels, 0, default) => default.min(levels),
            (levels, stated, _) => stated.min(levels),
        }
    }

    /// Wakes or spawns a worker.
    pub(super) fn perform(self: &Arc<Self>, kick: Kick) {
        match kick {
            Kick::None => {}
            Kick::Notify => {
                self.wake.notify_one();
            }
            Kick::Spawn => worker::spawn(self),
        }
    }

    /// Takes a job back that nobody waits for any more. When its batch runs for nobody else, the run is stopped.
    pub(super) fn take_back(self: &Arc<Self>, ticket: &Ticket, place: Place) {
        ticket.abandon();
        let mut state = self.state.lock();
        if let Some(promise) = state.queues.remove(place) {
            drop(state);
            promise.release();
            self.metrics.queue_length.dec();
            return;
        }
        let batch = ticket.batch();
        let Some(running) = state.running.iter_mut().find(|running| running.batch == batch) else { return };
        running.live = running.live.saturating_sub(1);
        if running.live > 0 {
            return;
        }
        running.abandoned_at = Some(Instant::now());
        let interrupt = running.interrupt();
        let is_watched = std::mem::replace(&mut state.is_watched, true);
        drop(state);
        interrupt();
        if is_watched {
            self.watch.notify_one();
        } else {
            watchdog::spawn(self);
        }
    }

    /// Counts a finished batch and puts its executor back. The lock is held by the caller, who goes on to the
    /// next. Returns an executor that is not needed any more, to be dropped without the lock.
    pub(super) fn finish(
        &self,
        state: &mut State,
        done: Assignment,
        report: &Report,
        now: Instant,
    ) -> Option<Box<Executor>> {
        let finished = state.finish(done, report, now);
        if state.is_idle() {
            self.idle.notify_waiters();
        }
        if finished.was_stuck {
            self.metrics.workers_stuck.dec();
        }
        finished.superfluous
    }

    /// Counts what a batch did; without the lock.
    pub(super) fn observe(&self, report: &Report) {
        if report.runs > 0 {
            self.metrics.batches.inc();
            self.metrics.rows.inc_by(report.rows as u64);
            // Rows of a batch are far below 2^53.
            self.metrics.batch_rows.observe(report.rows as f64);
        }
        if report.panicked {
            self.metrics.worker_panics.inc();
        }
    }

    /// A caller comes in.
    pub(super) fn enter(&self) {
        self.inflight.fetch_add(1, Ordering::Relaxed);
        self.metrics.inflight.inc();
    }

    /// A caller goes.
    pub(super) fn leave(&self) {
        self.metrics.inflight.dec();
        if self.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

/// Answers a job with an error.
pub(super) fn answer(promise: Promise, error: &SchedulerError) {
    if let Some(waker) = promise.keep(Err(error.clone())) {
        waker.wake();
    }
}
