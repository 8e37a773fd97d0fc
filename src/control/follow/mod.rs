//! Makes what is served agree with the registry.
//!
//! ```text
//!  poll (1 s) ──┐                          ┌─► cache: verified files ─┐
//!  refresh() ───┼─► look: what has changed ─► plan ───────────────────┴─► Manager::deploy (one publication)
//!  own commits ─┘          │                                                    │
//!                          └─► the last state is kept on disk      leases/<replica>.json ◄── what has come of it
//! ```
//!
//! One task does all of it, so nothing here is locked while something is awaited. A store that cannot be reached changes
//! nothing that is served; neither does a log that cannot be verified: its last verified state is followed. This module
//! never writes to a model's log.

mod plan;
mod look;
mod tracked;
mod worker;
mod report;
mod metrics;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::metrics::FollowMetrics;
use self::worker::Worker;
use crate::metrics::{MetricsError, Registry as Metrics};
use crate::model::ModelName;
use crate::registry::{Registry, StoreOptions};
use crate::serving::{Engine, Manager};

/// Orders that may wait for the follower.
const COMMANDS_MAX: usize = 64;

/// How long the follower may take to end: to remove its lease.
const STOP_MAX: Duration = Duration::from_secs(3);

/// What is followed, and how.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// Where the registry is.
    pub location: String,
    /// How its store is opened.
    pub store: StoreOptions,
    /// The deployment that is followed, of every model.
    pub deployment: String,
    /// Time between two looks.
    pub poll_interval: Duration,
    /// Where copies are kept.
    pub cache_folder: PathBuf,
    /// Bytes of copies, as far as what is in use allows.
    pub cache_bytes_max: u64,
    /// Names this process in leases.
    pub replica: String,
    /// Where it answers over HTTP.
    pub url: String,
}

/// Follows a registry until it is stopped.
#[derive(Debug)]
pub struct Follower {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    caught_up: watch::Receiver<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the follower and those who ask it share.
#[derive(Debug)]
struct Shared {
    /// Set when the registry was reached for the first time.
    registry: Mutex<Option<Arc<Registry>>>,
    /// Whether the last look was answered.
    reachable: AtomicBool,
    /// When the registry was last seen.
    seen: Mutex<Instant>,
}

/// What the follower is told.
#[derive(Debug)]
enum Command {
    /// Look now, at one model or at all. `again` tries what has failed once more.
    Look { model: Option<ModelName>, again: bool, done: oneshot::Sender<bool> },
    /// Remove the lease and end.
    Stop,
}

/// The registry cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry cannot be reached")]
pub struct Unreachable;

impl Follower {
    /// Starts to follow. The server is not ready before what the registry wants is loaded, or has failed.
    ///
    /// # Errors
    /// When the metric families are registered already.
    pub fn start(
        config: FollowConfig,
        manager: Arc<Manager>,
        engine: Arc<Engine>,
        metrics: &Metrics,
    ) -> Result<Arc<Follower>, MetricsError> {
        let metrics = FollowMetrics::register(metrics)?;
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let (caught, caught_up) = watch::channel(false);
        let shared = Arc::new(Shared {
            registry: Mutex::new(None),
            reachable: AtomicBool::new(false),
            seen: Mutex::new(Instant::now()),
        });
        manager.hold_ready(true);
        let worker = Worker::new(Arc::new(config), manager, engine, metrics, Arc::clone(&shared), caught);
        let task = Mutex::new(Some(tokio::spawn(worker.run(orders))));
        Ok(Arc::new(Follower { commands, shared, caught_up, task }))
    }

    /// Looks at the registry now, and tries again what could not be loaded. Returns when what was found is ordered:
    /// versions that are loaded already get their requests by then.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn refresh(&self) -> Result<(), Unreachable> {
        self.look(None, true).await
    }

    /// Looks at one model now: somebody here has changed it.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn follow(&self, model: &ModelName) -> Result<(), Unreachable> {
        self.look(Some(model.clone()), false).await
    }

    async fn look(&self, model: Option<ModelName>, again: bool) -> Result<(), Unreachable> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Look { model, again, done }).await.map_err(|_| Unreachable)?;
        answer.await.unwrap_or(false).then_some(()).ok_or(Unreachable)
    }

    /// The registry for reading, once it was reached.
    ///
    /// # Errors
    /// [`Unreachable`] when it never was.
    pub fn registry(&self) -> Result<Arc<Registry>, Unreachable> {
        self.shared.registry.lock().clone().ok_or(Unreachable)
    }

    /// The registry for changing it.
    ///
    /// # Errors
    /// [`Unreachable`] when the last look was not answered.
    pub fn writable(&self) -> Result<Arc<Registry>, Unreachable> {
        if !self.shared.reachable.load(Ordering::Acquire) {
            return Err(Unreachable);
        }
        self.registry()
    }

    /// Time since the registry was last seen.
    pub fn staleness(&self) -> Duration {
        self.shared.seen.lock().elapsed()
    }

    /// Waits until what the registry wanted at the start is loaded, or has failed.
    pub async fn caught_up(&self) {
        let mut caught_up = self.caught_up.clone();
        // An error means that the follower has ended: there is nothing to wait for.
        caught_up.wait_for(|caught_up| *caught_up).await.ok();
    }

    /// Removes the lease and ends.
    pub async fn stop(&self) {
        self.commands.send(Command::Stop).await.ok();
        let task = self.task.lock().take();
        if let Some(task) = task
            && tokio::time::timeout(STOP_MAX, task).await.is_err()
        {
            tracing::warn!("the lease in the registry could not be removed; it expires by itself");
        }
    }
}
