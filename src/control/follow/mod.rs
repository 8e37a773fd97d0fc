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
//! never writes to a model's log; what it sees goes into leases and signals.

mod plan;
mod look;
mod tracked;
mod detour;
mod again;
mod fetch;
mod worker;
mod turns;
mod report;
mod health;
mod metrics;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::metrics::FollowMetrics;
use self::worker::Worker;
use super::Follow;
use super::announce::Announcer;
use super::golden::GoldenJudge;
use crate::metrics::{MetricsError, Registry as Metrics};
use crate::registry::sign::Signer;
use crate::registry::{ModelState, Registry, RegistryError, StoreError, StoreOptions};
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
    /// Signs what is changed through this server.
    pub signer: Option<Arc<Signer>>,
    /// Takes what this server sees of its deployments.
    pub announcer: Announcer,
}

/// Follows a registry until it is stopped.
#[derive(Debug)]
pub struct Follower {
    deployment: String,
    /// For messages.
    location: String,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    caught_up: watch::Receiver<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the follower and those who ask it share.
#[derive(Debug)]
struct Shared {
    /// Set when the registry was reached for the first time.
    registry: watch::Sender<Option<Arc<Registry>>>,
    /// Whether the last look was answered.
    reachable: AtomicBool,
    /// When the registry was last seen.
    seen: Mutex<Instant>,
}

/// What the follower is told.
#[derive(Debug)]
enum Command {
    /// Look now, and try once more what has failed.
    Look { done: oneshot::Sender<bool> },
    /// Follow a state that somebody here has just made.
    Adopt(Arc<ModelState>),
    /// Panic.
    #[cfg(test)]
    Break,
    /// Remove the lease and end.
    Stop,
}

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
        manager.judge_by(Arc::new(GoldenJudge));
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let (caught, caught_up) = watch::channel(false);
        let shared = Arc::new(Shared {
            registry: watch::Sender::new(None),
            reachable: AtomicBool::new(false),
            seen: Mutex::new(Instant::now()),
        });
        manager.hold_ready(true);
        let deployment = config.deployment.clone();
        let location = config.location.clone();
        let worker = Worker::new(Arc::new(config), manager, engine, metrics, Arc::clone(&shared), caught);
        let task = Mutex::new(Some(tokio::spawn(worker.run(orders))));
        Ok(Arc::new(Follower { deployment, location, commands, shared, caught_up, task }))
    }

    /// The registry, as soon as it was reached.
    pub async fn reached(&self) -> Arc<Registry> {
        let mut registry = self.shared.registry.subscribe();
        match registry.wait_for(Option::is_some).await.map(|registry| registry.clone()) {
            Ok(Some(registry)) => registry,
            // It cannot be reached any more: nobody sends.
            _ => std::future::pending().await,
        }
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

impl Follow for Follower {
    fn deployment(&self) -> &str {
        &self.deployment
    }

    fn staleness(&self) -> Option<Duration> {
        self.shared.registry.borrow().as_ref().map(|_| self.shared.seen.lock().elapsed())
    }

    /// What was found is ordered when this returns: versions that are loaded already get their requests by then.
    fn refresh(&self) -> BoxFuture<'_, Result<(), RegistryError>> {
        let look = async {
            let (done, answer) = oneshot::channel();
            let is_sent = self.commands.send(Command::Look { done }).await.is_ok();
            let is_seen = is_sent && answer.await.unwrap_or(false);
            is_seen.then_some(()).ok_or_else(|| {
                let reason = "it cannot be reached".to_owned();
                StoreError::Location { location: self.location.clone(), reason }.into()
            })
        };
        Box::pin(look)
    }

    fn adopt(&self, state: &Arc<ModelState>) {
        if self.commands.try_send(Command::Adopt(Arc::clone(state))).is_err() {
            tracing::debug!(model = %state.model, "the change is followed at the next look");
        }
    }
}
