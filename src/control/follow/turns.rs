//! The follower's task: waits for a reason, and takes one turn for each. A turn that panics, a defect, costs what is known
//! here and nothing that is served.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Command;
use super::fetch::{Fetched, fetched_channel};
use super::look::{Found, Looker};
use super::worker::Worker;
use crate::registry::leases::LEASE_REFRESH;

/// How long it rests after a panic, so that one that comes again and again takes no core.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the follower is woken for.
enum Turn {
    Command(Command),
    Fetched(Fetched),
    Look,
    /// Something of what is served has changed, or the lease is due.
    Report,
}

impl Worker {
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        let mut poll = tokio::time::interval(self.config.poll_interval);
        let mut lease = tokio::time::interval(LEASE_REFRESH);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        lease.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.manager.changes();
        loop {
            let turn = tokio::select! {
                order = orders.recv() => match order {
                    Some(Command::Stop) | None => break,
                    Some(command) => Turn::Command(command),
                },
                Some(fetched) = self.fetched.1.recv() => Turn::Fetched(fetched),
                _ = poll.tick() => Turn::Look,
                _ = lease.tick() => Turn::Report,
                changed = changes.changed() => match changed {
                    Ok(()) => Turn::Report,
                    Err(_) => break,
                },
            };
            if AssertUnwindSafe(self.turn(turn)).catch_unwind().await.is_err() {
                self.begin_anew();
                tokio::time::sleep(AFTER_PANIC).await;
                poll.reset_immediately();
            }
        }
        self.reporter.end(self.looker.registry()).await;
    }

    async fn turn(&mut self, turn: Turn) {
        let is_news = matches!(turn, Turn::Report);
        match turn {
            Turn::Command(Command::Look { done }) => {
                self.attempt += 1;
                let seen = self.look().await;
                self.order_all();
                // A caller that has gone needs no answer.
                done.send(seen).ok();
            }
            Turn::Command(Command::Adopt(state)) => {
                let model = state.model.clone();
                self.take(Found { model, state, fault: None }).await;
            }
            #[cfg(test)]
            Turn::Command(Command::Break) => panic!("told to"),
            // Ends the loop.
            Turn::Command(Command::Stop) => {}
            Turn::Fetched(fetched) => self.take_fetched(fetched),
            Turn::Look => drop(self.look().await),
            Turn::Report => {}
        }
        self.tick().await;
        if is_news {
            self.report_soon();
        }
    }

    /// After a panic nothing that is kept here is trusted: everything is looked at as after a start, while what is loaded
    /// is served on.
    fn begin_anew(&mut self) {
        tracing::error!(
            "the follower panicked and looks at the whole registry again; what is loaded is served on"
        );
        self.looker = Looker::new(Arc::clone(&self.config));
        self.tracked.clear();
        self.cache = None;
        self.failing = None;
        self.fetched = fetched_channel();
    }
}
