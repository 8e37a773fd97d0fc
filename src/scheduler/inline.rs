//! Cheap batches run by the asking task itself, on its async thread: two thread switches less for each batch.
//!
//! A caller queues its job and lets the other ready tasks of its thread run once, so that they queue theirs. Then
//! whoever comes first takes the batch and a free executor, runs it and answers everyone in it; the others find their
//! answers. No job is forgotten: a caller tries until its job is taken or no executor is free, and then marks the
//! state as contended, so that whoever returns an executor looks at the queue again. It does so a few times itself and
//! then leaves the rest to a worker thread, because its own caller is waiting.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::pending::Pending;
use super::shared::Shared;
use super::state::{Kick, Next};
use super::worker::{answer_expired, run};

/// Batches that a task runs for others after its own.
const EXTRA_BATCHES_MAX: usize = 2;

/// Runs batches until the job of `pending` has been taken by somebody.
pub(super) async fn drive(shared: &Arc<Shared>, pending: &Pending<'_>) {
    tokio::task::yield_now().await;
    while pending.is_queued() && run_batch(shared) {}
}

/// Runs one batch, and a few more if others found no executor meanwhile. Says whether it could.
fn run_batch(shared: &Arc<Shared>) -> bool {
    let mut expired = Vec::new();
    let mut state = shared.state.lock();
    for extra in 0..=EXTRA_BATCHES_MAX {
        let next = state.next(Instant::now(), &mut expired);
        if !expired.is_empty() {
            MutexGuard::unlocked(&mut state, || answer_expired(shared, &mut expired));
        }
        let Next::Run(mut assignment) = next else {
            state.is_contended = state.queues.len() > 0;
            return extra > 0;
        };
        let report = MutexGuard::unlocked(&mut state, || run(shared, &mut assignment));
        let superfluous = shared.finish(&mut state, assignment, &report, Instant::now());
        if superfluous.is_some() {
            MutexGuard::unlocked(&mut state, || drop(superfluous));
        }
        if !state.is_contended || state.queues.len() == 0 {
            return true;
        }
    }
    let kick = state.kick();
    drop(state);
    if kick != Kick::None {
        shared.perform(kick);
    }
    true
}
