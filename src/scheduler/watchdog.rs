//! Runs that nobody waits for and that do not stop: asked again, then counted as stuck and replaced, up to a bound.
//!
//! ONNX Runtime stops between kernels and never inside one, so a run can outlive its callers by any time. One thread a
//! version watches such runs; it starts with the first of them and sleeps while there is none. A stuck run that ends
//! after all gives its thread and instance up, if they were replaced, or takes its place again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::SchedulerError;
use super::executor::Executor;
use super::shared::{Shared, answer};
use super::state::State;

/// How long a run may go on after it was asked to stop.
pub(super) const STUCK_GRACE: Duration = Duration::from_secs(1);

/// A run is not stuck before it has taken so many times what it was expected to.
const STUCK_FACTOR: u32 = 4;

/// How often a run is asked again: the first request may have come just before the run began.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Executors made in place of stuck ones, at the same time.
const REPLACEMENTS_MAX: usize = 2;

/// Sees to it that somebody watches; the lock is held, and `is_watched` was false.
pub(super) fn spawn(shared: &Arc<Shared>) {
    let own = Arc::clone(shared);
    let spawned =
        std::thread::Builder::new().name("weir-watchdog".to_owned()).spawn(move || keep_watch(&own));
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start a watchdog thread");
        shared.state.lock().is_watched = false;
    }
}

/// Watches until the scheduler ends, whatever panics.
fn keep_watch(shared: &Arc<Shared>) {
    while catch_unwind(AssertUnwindSafe(|| watch(shared))).is_err() {
        tracing::error!(model = shared.plan.label, "watching runs panicked; it begins again");
        shared.watch.wait_for(&mut shared.state.lock(), shared.stuck_grace);
    }
}

fn watch(shared: &Arc<Shared>) {
    let mut state = shared.state.lock();
    while !state.is_closed {
        let now = Instant::now();
        let Some((batch, stuck_at)) = next_stuck(&state, shared.stuck_grace) else {
            shared.watch.wait(&mut state);
            continue;
        };
        if now >= stuck_at {
            replace(shared, &mut state, batch);
            continue;
        }
        let interrupts: Vec<_> = state
            .running
            .iter()
            .filter(|running| running.abandoned_at.is_some() && !running.is_stuck)
            .map(super::state::Running::interrupt)
            .collect();
        MutexGuard::unlocked(&mut state, || interrupts.into_iter().for_each(|interrupt| interrupt()));
        shared.watch.wait_until(&mut state, stuck_at.min(now + ASK_AGAIN));
    }
}

/// The abandoned run that is stuck first, and when.
fn next_stuck(state: &State, grace: Duration) -> Option<(u64, Instant)> {
    let abandoned = state.running.iter().filter(|running| !running.is_stuck);
    let moments = abandoned.filter_map(|running| {
        let asked = running.abandoned_at? + grace;
        let expected = state.latency.estimate(running.lane, running.rows).unwrap_or_default();
        Some((running.batch, asked.max(running.started_at + expected * STUCK_FACTOR)))
    });
    moments.min_by_key(|(_, stuck_at)| *stuck_at)
}

/// Counts the run as stuck and makes another executor, if the bound allows it.
fn replace(shared: &Arc<Shared>, state: &mut MutexGuard<'_, State>, batch: u64) {
    let Some(running) = state.running.iter_mut().find(|running| running.batch == batch) else { return };
    running.is_stuck = true;
    state.stuck += 1;
    shared.metrics.workers_stuck.inc();
    tracing::error!(model = shared.plan.label, "a run does not stop; its worker is counted as stuck");
    if state.replaced < REPLACEMENTS_MAX {
        state.replaced += 1;
        let made = MutexGuard::unlocked(state, || {
            catch_unwind(AssertUnwindSafe(|| Executor::new(Arc::clone(&shared.model), shared.plan.limits())))
        });
        let running = state.running.iter_mut().find(|running| running.batch == batch);
        match (made, running) {
            (Ok(Ok(executor)), Some(running)) => {
                running.is_replaced = true;
                state.threads_max += 1;
                state.idle.push(Box::new(executor));
                let kick = state.kick();
                MutexGuard::unlocked(state, || shared.perform(kick));
            }
            // The run has ended meanwhile, or there is no other instance to be had.
            (made, _) => {
                state.replaced -= 1;
                MutexGuard::unlocked(state, || drop(made));
            }
        }
    }
    if state.is_stuck() {
        strand(shared, state);
    }
}

/// Nobody is left to run what is queued.
fn strand(shared: &Arc<Shared>, state: &mut MutexGuard<'_, State>) {
    let stranded = state.queues.drain();
    MutexGuard::unlocked(state, || {
        for promise in stranded {
            shared.metrics.queue_length.dec();
            answer(promise, &SchedulerError::Unavailable);
        }
    });
}
