//! A loader thread: takes one model's order at a time and carries it out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use std::sync::atomic::Ordering;

use super::Shared;
use super::record::{Assignment, LoadFailure};

/// Starts a loader thread. It ends when the manager stops.
pub(super) fn spawn(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name(format!("weir-load-{index}")).spawn(move || work(&shared)).map(drop)
}

fn work(shared: &Shared) {
    while let Some(mut assignment) = take(shared) {
        // A panic is a bug of this program; it must not take the thread and those who wait with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| shared.reconcile(&mut assignment)))
            .unwrap_or_else(|_| Err(LoadFailure::Failed("internal error".to_owned())));
        let mut state = shared.state.lock();
        state.finish(assignment, &outcome);
        let is_settled = state.is_settled();
        drop(state);
        shared.engine.decide_ready();
        if let Some(examiner) = shared.loader.examiner.as_ref().filter(|_| is_settled) {
            examiner.rest();
        }
        shared.wake.notify_all();
        shared.finished.send_replace(());
    }
}

/// Waits for an order; `None` when the manager stops.
fn take(shared: &Shared) -> Option<Assignment> {
    let mut state = shared.state.lock();
    loop {
        if state.stopped {
            return None;
        }
        if let Some(assignment) = state.next() {
            shared.loader.versions.store(state.versions(), Ordering::Relaxed);
            return Some(assignment);
        }
        shared.wake.wait(&mut state);
    }
}
