//! Writes signals to the registry: what this server saw, for those who follow its events.
//!
//! ```text
//!  follower (health of deployments) ─┐
//!  drift (transitions)  ─────────────┴─► bounded queue ─► one task: append, with retries ─► signals/<scope>/log
//! ```
//!
//! Announcing never waits: a signal for which there is no room is logged and lost, since what it tells is in the lease, in
//! the metrics and in the log as well. It decides nothing and knows no meaning of what it writes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::registry::signals::{self, Signal};
use crate::registry::{Registry, RegistryError};

/// Signals that may wait for the store.
const WAITING_MAX: usize = 256;

/// How often a signal is tried, and the longest pause between two tries. Together about 8 minutes.
const TRIES: u32 = 16;
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// Takes signals.
#[derive(Debug, Clone)]
pub struct Announcer {
    waiting: mpsc::Sender<(String, Signal)>,
}

/// Writes what was announced. Ends when every [`Announcer`] is gone.
#[derive(Debug)]
pub struct Announcements {
    waiting: mpsc::Receiver<(String, Signal)>,
}

/// A queue of signals: those who announce keep one end, one task runs the other.
pub fn announcements() -> (Announcer, Announcements) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    (Announcer { waiting: sender }, Announcements { waiting })
}

impl Announcer {
    /// Has `signal` written to the log of `scope`, a model's name or [`signals::REGISTRY`].
    pub fn announce(&self, scope: &str, signal: Signal) {
        let kind = signal.kind.name();
        if self.waiting.try_send((scope.to_owned(), signal)).is_err() {
            tracing::warn!(scope, kind, "a signal is not written: too many wait");
        }
    }
}

impl Announcements {
    /// Writes signals to `registry`, in order.
    pub async fn run(mut self, registry: Arc<Registry>) {
        while let Some((scope, signal)) = self.waiting.recv().await {
            // A panic costs one signal.
            AssertUnwindSafe(write(&registry, &scope, &signal)).catch_unwind().await.ok();
        }
    }
}

async fn write(registry: &Registry, scope: &str, signal: &Signal) {
    let mut pause = Duration::from_millis(500);
    for attempt in 1..=TRIES {
        let Err(error) = append(registry, scope, signal).await else {
            tracing::debug!(scope, kind = signal.kind.name(), "a signal was written");
            return;
        };
        if attempt == TRIES {
            tracing::warn!(scope, kind = signal.kind.name(), %error, "a signal is not written: the store did not take it");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Writes a signal, if the registry is still there: a folder that was moved away must not be made anew. What every
/// replica sees is written once.
async fn append(registry: &Registry, scope: &str, signal: &Signal) -> Result<(), RegistryError> {
    registry.check_place().await?;
    match signal.replica {
        Some(_) => signals::append(registry.store(), scope, signal).await.map(drop)?,
        None => signals::append_once(registry.store(), scope, signal).await?,
    }
    Ok(())
}
