//! The worker threads: each takes what is queued and a free executor, runs it, and looks again.
//!
//! Threads are spawned when there is work for them and stay. After being woken a worker lets the other threads of its
//! core run once, because on a busy core they are about to queue more.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::SchedulerError;
use super::executor::Report;
use super::shared::{Shared, answer};
use super::state::{Assignment, Kick, Next, State};
use super::ticket::Promise;

/// The kernel keeps so many bytes of a thread's name.
const THREAD_NAME_MAX: usize = 15;

/// Spawns a worker that `State::kick` has counted. When no thread can be had and none is there, the queue is emptied
/// with `Unavailable`.
pub(super) fn spawn(shared: &Arc<Shared>) {
    let own = Arc::clone(shared);
    let spawned = std::thread::Builder::new().name(thread_name(&shared.plan.label)).spawn(move || work(&own));
    let Err(error) = spawned else { return };
    tracing::error!(model = shared.plan.label, %error, "cannot start a worker thread");
    let mut state = shared.state.lock();
    state.threads -= 1;
    state.notified -= 1;
    if state.threads == 0 {
        let stranded = state.queues.drain();
        drop(state);
        for promise in stranded {
            shared.metrics.queue_length.dec();
            answer(promise, &SchedulerError::Unavailable);
        }
    }
}

fn thread_name(label: &str) -> String {
    let mut end = label.len().min(THREAD_NAME_MAX);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    // A NUL in a name makes the spawn fail.
    label
        .chars()
        .take_while(|&c| c != '\0')
        .scan(0, |len, c| {
            *len += c.len_utf8();
            (*len <= end).then_some(c)
        })
        .collect()
}

fn work(shared: &Arc<Shared>) {
    let mut expired: Vec<Promise> = Vec::new();
    let mut finished: Option<(Assignment, Report)> = None;
    let mut state = shared.state.lock();
    state.notified = state.notified.saturating_sub(1);
    loop {
        if let Some((done, report)) = finished.take() {
            let superfluous = shared.finish(&mut state, done, &report, Instant::now());
            if superfluous.is_some() {
                MutexGuard::unlocked(&mut state, || drop(superfluous));
            }
            if state.threads > state.threads_max {
                break;
            }
        }
        let next = state.next(Instant::now(), &mut expired);
        if !expired.is_empty() {
            MutexGuard::unlocked(&mut state, || answer_expired(shared, &mut expired));
        }
        match next {
            Next::Run(mut assignment) => {
                let kick = state.kick();
                drop(state);
                shared.perform(kick);
                let report = run(shared, &mut assignment);
                finished = Some((assignment, report));
                state = shared.state.lock();
            }
            Next::WaitUntil(until) => {
                sleep(shared, &mut state, Some(until));
            }
            Next::Nothing if state.is_closed => break,
            Next::Nothing => {
                sleep(shared, &mut state, None);
                if !state.queues.exceeds(1) {
                    MutexGuard::unlocked(&mut state, std::thread::yield_now);
                }
            }
        }
    }
    end(shared, state);
}

/// Runs a batch that was taken, on any thread.
pub(super) fn run(shared: &Shared, assignment: &mut Assignment) -> Report {
    let jobs = i64::try_from(assignment.executor.batch.len()).unwrap_or(i64::MAX);
    shared.metrics.queue_length.sub(jobs);
    let report = assignment.executor.run(assignment.taken_at);
    shared.callers.wake(&mut assignment.executor.wakers);
    shared.observe(&report);
    report
}

/// Answers jobs whose deadline passed while they waited.
pub(super) fn answer_expired(shared: &Shared, expired: &mut Vec<Promise>) {
    for promise in expired.drain(..) {
        shared.metrics.queue_length.dec();
        shared.metrics.expired.inc();
        answer(promise, &SchedulerError::DeadlineExceeded);
    }
}

fn sleep(shared: &Shared, state: &mut MutexGuard<'_, State>, until: Option<Instant>) {
    state.sleeping += 1;
    match until {
        None => shared.wake.wait(state),
        Some(until) => {
            shared.wake.wait_until(state, until);
        }
    }
    state.sleeping -= 1;
    state.notified = state.notified.saturating_sub(1);
}

/// The thread ends; when the version has ended, so do the executors that nobody uses.
fn end(shared: &Arc<Shared>, mut state: MutexGuard<'_, State>) {
    state.threads -= 1;
    let kick = state.kick();
    let executors =
        if state.is_closed && kick == Kick::None { std::mem::take(&mut state.idle) } else { Vec::new() };
    drop(state);
    drop(executors);
    shared.perform(kick);
}
