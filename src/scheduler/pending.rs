//! The caller's side of a queued job: a future that takes the job back when it is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::Place;
use super::shared::Shared;
use super::ticket::{Outcome, Ticket};
use super::{SchedulerError, shared};

/// Waits for the answer of a queued job.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    shared: &'a Arc<shared::Shared>,
    ticket: Arc<Ticket>,
    place: Place,
    state: Waits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    Answered,
    Expired,
}

impl<'a> Pending<'a> {
    /// Takes charge of a job that was just queued.
    pub(super) fn new(shared: &'a Arc<Shared>, ticket: Arc<Ticket>, place: Place) -> Pending<'a> {
        if !ticket.is_part {
            shared.enter();
        }
        Pending { shared, ticket, place, state: Waits::Yes }
    }

    /// Whether no worker has taken the job yet, so that an inline caller may.
    pub(super) fn is_queued(&self) -> bool {
        self.ticket.batch() == 0 && !self.ticket.is_answered()
    }

    /// The deadline has passed.
    pub(super) fn expire(mut self) -> SchedulerError {
        if self.state == Waits::Yes {
            self.state = Waits::Expired;
        }
        SchedulerError::DeadlineExceeded
    }
}

impl Future for Pending<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let polled = self.ticket.poll(context);
        if polled.is_ready() {
            self.state = Waits::Answered;
            self.shared.callers.help();
        }
        polled
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        match self.state {
            Waits::Answered => {}
            Waits::Expired => self.shared.metrics.expired.inc(),
            // A part is taken back because its job has ended, which counts itself.
            Waits::Yes if self.ticket.is_part => {}
            Waits::Yes => self.shared.metrics.cancelled.inc(),
        }
        if self.state != Waits::Answered {
            self.shared.take_back(&self.ticket, self.place);
        }
        if !self.ticket.is_part {
            self.shared.leave();
        }
    }
}
