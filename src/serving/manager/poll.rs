//! Looks at the repository again and again, and orders what has changed.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::super::repository::{Change, Snapshot, diff, scan};
use super::Shared;
use super::record::Target;

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Starts the poller. It ends when the manager is gone.
pub(super) fn spawn(shared: &Arc<Shared>, first: Snapshot) -> io::Result<()> {
    let weak = Arc::downgrade(shared);
    let run = move || poll(&weak, first);
    thread::Builder::new().name("weir-poll".to_owned()).spawn(run).map(drop)
}

fn poll(weak: &Weak<Shared>, mut last: Snapshot) {
    let mut warned: BTreeSet<String> = last.warnings.iter().cloned().collect();
    loop {
        let Some(shared) = weak.upgrade() else { return };
        if !shared.pause(shared.config.poll_interval.max(INTERVAL_MIN)) {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| scan(&shared.sources))) {
            Ok(Ok(next)) => last = shared.follow(last, next, &mut warned),
            // Better to serve what was there than to take an unreachable disk for an empty one.
            Ok(Err(error)) => warn_once(&mut warned, &format!("cannot read the repository: {error}")),
            // A panic costs one look.
            Err(_) => {}
        }
    }
}

impl Shared {
    /// Waits; false when the manager stops.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stopped {
            if self.wake.wait_until(&mut state, until).timed_out() {
                return !state.stopped;
            }
        }
        false
    }

    /// Orders what differs between two looks; returns what is known now.
    fn follow(&self, last: Snapshot, mut next: Snapshot, warned: &mut BTreeSet<String>) -> Snapshot {
        for warning in &next.warnings {
            warn_once(warned, warning);
        }
        warned.retain(|warning| next.warnings.contains(warning));
        let changes = diff(&last, &next);
        for (name, files) in last.models {
            if next.unreadable.contains(&name) {
                next.models.insert(name, files);
            }
        }
        if changes.is_empty() {
            return next;
        }
        let mut state = self.state.lock();
        for (name, change) in changes {
            let target = match change {
                Change::Changed(files) => Target::Files(files),
                Change::Gone => Target::Gone,
            };
            state.order(&name, target, None);
        }
        drop(state);
        self.wake.notify_all();
        next
    }
}

/// A defect that stays is told once.
fn warn_once(warned: &mut BTreeSet<String>, warning: &str) {
    if warned.insert(warning.to_owned()) {
        tracing::warn!("{warning}");
    }
}
