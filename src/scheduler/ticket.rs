//! A queued job and the place where its answer is put: one allocation that the caller and the worker share.
//!
//! The worker's side is a [`Promise`], which answers `Unavailable` when it is dropped without an answer, so that a
//! reply is always sent. The caller's side is the ticket itself, which it polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use super::{Job, Reply, SchedulerError};

/// What a job came to.
pub(super) type Outcome = Result<Reply, SchedulerError>;

/// A queued job.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The job; the inputs live until the caller and the worker have both let go of the ticket.
    pub(super) job: Job,
    /// When it was queued.
    pub(super) queued_at: Instant,
    /// Whether it is a part of a split job, whose output rows must be exact even when it runs alone.
    pub(super) is_part: bool,
    /// The batch that has it; 0 while it waits. Written and read under the scheduler's lock.
    batch: AtomicU64,
    /// Nobody waits any more. Written by the caller, read by the worker to save a run.
    gone: AtomicBool,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    is_answered: bool,
}

/// The duty to answer a ticket.
#[derive(Debug)]
pub(super) struct Promise {
    ticket: Option<Arc<Ticket>>,
}

impl Ticket {
    pub(super) fn new(job: Job, queued_at: Instant, is_part: bool) -> Arc<Ticket> {
        Arc::new(Ticket {
            job,
            queued_at,
            is_part,
            batch: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            slot: Mutex::new(Slot::default()),
        })
    }

    /// Takes the answer, or leaves the task's waker to be called when there is one.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut slot = self.slot.lock();
        if let Some(outcome) = slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        if slot.is_answered {
            return Poll::Ready(Err(SchedulerError::Unavailable));
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether an answer is there or was there.
    pub(super) fn is_answered(&self) -> bool {
        self.slot.lock().is_answered
    }

    /// Says that nobody waits any more.
    pub(super) fn abandon(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The batch that has the job, or 0.
    pub(super) fn batch(&self) -> u64 {
        self.batch.load(Ordering::Relaxed)
    }

    /// Notes the batch that has the job.
    pub(super) fn set_batch(&self, batch: u64) {
        self.batch.store(batch, Ordering::Relaxed);
    }

    fn answer(&self, outcome: Outcome) -> Option<Waker> {
        let mut slot = self.slot.lock();
        debug_assert!(!slot.is_answered, "a job is answered once");
        slot.is_answered = true;
        slot.outcome = Some(outcome);
        slot.waker.take()
    }
}

impl Promise {
    pub(super) fn new(ticket: Arc<Ticket>) -> Promise {
        Promise { ticket: Some(ticket) }
    }

    /// The job.
    pub(super) fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("a promise holds its ticket until it is consumed")
    }

    /// Answers. The caller's task runs when the returned waker is called.
    pub(super) fn keep(mut self, outcome: Outcome) -> Option<Waker> {
        self.ticket.take().and_then(|ticket| ticket.answer(outcome))
    }

    /// Gives the duty up because the caller itself has gone.
    pub(super) fn release(mut self) {
        self.ticket = None;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(waker) =
            self.ticket.take().and_then(|ticket| ticket.answer(Err(SchedulerError::Unavailable)))
        {
            waker.wake();
        }
    }
}
