//! A loader thread: takes one model's order at a time and carries it out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use std::sync::atomic::Ordering;

use super::Shared;
use super::record::{Assignment, LoadFailure, Work};

/// Starts a loader thread. It ends when the manager stops.
pub(super) fn spawn(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name(format!("weir-load-{index}")).spawn(move || work(&shared)).map(drop)
}

fn work(shared: &Shared) {
    while let Some(work) = take(shared) {
        match work {
            Work::Order(assignment) => carry_out(shared, *assignment),
            Work::Deployed(model) => {
                let loaded = catch_unwind(AssertUnwindSafe(|| shared.load_deployed(&model)));
                if loaded.is_err() {
                    // What made it panic is noted as failed, so the second try ends.
                    catch_unwind(AssertUnwindSafe(|| shared.abandon_deployed(&model))).ok();
                }
            }
        }
        let is_settled = shared.state.lock().is_settled();
        shared.engine.decide_ready();
        if let Some(examiner) = shared.loader.examiner.as_ref().filter(|_| is_settled) {
            examiner.rest();
        }
        shared.wake.notify_all();
        shared.finished.send_replace(());
    }
}

/// Carries out one order about a model of a plain repository.
fn carry_out(shared: &Shared, mut assignment: Assignment) {
    // A panic is a bug of this program; it must not take the thread and those who wait with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| shared.reconcile(&mut assignment)))
        .unwrap_or_else(|_| Err(LoadFailure::Failed("internal error".to_owned())));
    shared.state.lock().finish(assignment, &outcome, shared.config.retry_pauses);
}

/// Waits for something to do; `None` when the manager stops.
fn take(shared: &Shared) -> Option<Work> {
    let mut state = shared.state.lock();
    loop {
        if state.stopped {
            return None;
        }
        let retry_at = state.retry(Instant::now());
        if let Some(work) = state.next() {
            shared.loader.versions.store(state.versions(), Ordering::Relaxed);
            return Some(work);
        }
        match retry_at {
            Some(at) => drop(shared.wake.wait_until(&mut state, at)),
            None => shared.wake.wait(&mut state),
        }
    }
}
