//! The monitor's thread: steps by the clock, on what the requests leave of the cores. A step that panics costs
//! the observation or the end of a pane that it was about, and no later ones.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Monitor, now_us};
use crate::infer::Pace;

/// How often the queue is looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long it rests after a panic, so that one that comes again and again takes no core.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Starts the thread. It ends when what is returned is dropped, or with the monitor.
pub(super) fn start(monitor: &Arc<Monitor>) -> io::Result<SyncSender<()>> {
    let (alive, ended) = sync_channel(1);
    let (weak, share) = (Arc::downgrade(monitor), monitor.config.busy_share);
    let run = move || {
        let (mut pace, mut rest) = (Pace::begin(share), STEP);
        while ended.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
            let Some(monitor) = weak.upgrade() else { return };
            rest = match catch_unwind(AssertUnwindSafe(|| monitor.step(now_us()))) {
                Ok(()) => {
                    monitor.make_way(pace.is_in_the_way());
                    pace.rest(if monitor.queue.is_empty() { STEP } else { Duration::ZERO })
                }
                Err(_) => {
                    // Not the same pane again, if it was its end.
                    monitor.state.lock().pane_us = None;
                    AFTER_PANIC
                }
            };
        }
    };
    thread::Builder::new().name("weir-drift".to_owned()).spawn(run)?;
    Ok(alive)
}
