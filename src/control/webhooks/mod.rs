//! Delivers events to webhooks: one process at a time, under a lease, a worker for each subscription.
//!
//! ```text
//!  lease held ──► a worker a subscription:  logs ──► Outbox (lanes by subject) ──► Sender ──► receiver
//!                                                       │ cursor every quarter of a second while it changes
//!                                                       └──► dead letters
//! ```
//!
//! The process may be killed at any time: the next one goes on from the last cursor, so an event may come twice and
//! none is lost. What to do after an answer is decided in `registry::webhook::schedule`.

pub mod admin;
mod sender;
mod worker;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::metrics::WebhookMetrics;
pub use self::sender::{Lookup, Post, Sender, SenderError, SystemLookup};
pub use self::worker::signing_keys;

use self::worker::Worker;
use crate::registry::election::Election;
use crate::registry::webhook::{self, SUBSCRIPTIONS_MAX, Subscription};
use crate::registry::{Registry, StoreError};

/// Where the secrets are that sign deliveries. May read files: it is asked off the async threads.
pub trait SecretSource: Debug + Send + Sync {
    /// The text of the secret `name`; `None` when this server does not know it.
    fn secret(&self, name: &str) -> Option<String>;
}

/// How events are delivered.
#[derive(Debug, Clone)]
pub struct DeliverySettings {
    /// What this process is called in the lease.
    pub name: String,
    /// How long a lease is good for: the longest pause after a deliverer was killed.
    pub term: Duration,
    /// Time between two looks at the logs.
    pub poll_interval: Duration,
}

/// Delivers.
#[derive(Debug)]
pub struct Deliverer {
    registry: Arc<Registry>,
    sender: Arc<dyn Post>,
    secrets: Arc<dyn SecretSource>,
    settings: DeliverySettings,
    metrics: WebhookMetrics,
    running: HashMap<String, Running>,
    /// When the lease was last renewed, while it is held.
    held_at: Option<Instant>,
    #[cfg(test)]
    breaks_once: bool,
}

/// A worker and the form of the subscription that it works for.
#[derive(Debug)]
struct Running {
    number: u64,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Deliverer {
    /// A deliverer for the subscriptions of `registry`.
    pub fn new(
        registry: Arc<Registry>,
        sender: Arc<dyn Post>,
        secrets: Arc<dyn SecretSource>,
        settings: DeliverySettings,
        metrics: WebhookMetrics,
    ) -> Deliverer {
        Deliverer {
            registry,
            sender,
            secrets,
            settings,
            metrics,
            running: HashMap::new(),
            held_at: None,
            #[cfg(test)]
            breaks_once: false,
        }
    }

    /// Delivers, while this process holds the lease, until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let store = self.registry.store().clone();
        let mut election = Election::new(store, self.settings.name.clone(), self.settings.term);
        let mut ticks = tokio::time::interval(election.interval());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = worker::stopped(&mut stop) => break,
            }
            if AssertUnwindSafe(self.turn(&mut election)).catch_unwind().await.is_err() {
                tracing::error!("delivering events panicked; it begins again from the last cursors");
                self.held_at = None;
                self.cut();
            }
        }
        self.end_all().await;
        if let Err(error) = election.release().await {
            tracing::debug!(%error, "the lease to deliver events was not given back");
        }
    }

    /// Renews the lease, or tries to get it, and does what follows from that.
    async fn turn(&mut self, election: &mut Election) {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.breaks_once), "told to");
        let now = Instant::now();
        match election.try_hold().await {
            Ok(true) => {
                if self.held_at.is_none() {
                    tracing::info!(name = self.settings.name, "this process delivers events now");
                }
                self.held_at = Some(now);
                if let Err(error) = self.reconcile().await {
                    tracing::warn!(%error, "the webhooks cannot be read");
                }
            }
            Ok(false) => {
                self.held_at = None;
                self.cut();
            }
            Err(error) => {
                tracing::warn!(%error, "the lease to deliver events cannot be renewed");
                if self.held_at.is_none_or(|at| now.duration_since(at) > self.settings.term / 2) {
                    self.held_at = None;
                    self.cut();
                }
            }
        }
    }

    /// Makes a worker run for each subscription in its newest form, and for no other.
    async fn reconcile(&mut self) -> Result<(), StoreError> {
        let mut wanted: HashMap<String, (u64, Subscription)> = HashMap::new();
        for (number, subscription) in webhook::list(self.registry.store()).await? {
            if subscription.stopped.is_none() && wanted.len() < SUBSCRIPTIONS_MAX {
                wanted.insert(subscription.name.clone(), (number, subscription));
            }
        }
        let is_wanted = |name: &String, running: &Running| {
            wanted.get(name).is_some_and(|(number, _)| *number == running.number)
                && !running.task.is_finished()
        };
        let old: Vec<String> = self
            .running
            .iter()
            .filter(|(name, r)| !is_wanted(name, r))
            .map(|(name, _)| name.clone())
            .collect();
        for name in old {
            if let Some(running) = self.running.remove(&name) {
                running.end().await;
            }
        }
        for (name, (number, subscription)) in wanted {
            if !self.running.contains_key(&name) {
                let running = self.start(number, subscription);
                self.running.insert(name, running);
            }
        }
        Ok(())
    }

    fn start(&self, number: u64, subscription: Subscription) -> Running {
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            registry: Arc::clone(&self.registry),
            sender: Arc::clone(&self.sender),
            secrets: Arc::clone(&self.secrets),
            metrics: self.metrics.of(&subscription.name),
            poll_interval: self.settings.poll_interval,
            number,
            subscription,
        };
        let task = tokio::spawn(worker.run(stopped));
        Running { number, stop, task }
    }

    /// Ends every worker at once: another process delivers.
    fn cut(&mut self) {
        for (_, running) in self.running.drain() {
            running.task.abort();
        }
    }

    /// Ends every worker after it wrote how far it came.
    async fn end_all(&mut self) {
        for (_, running) in self.running.drain() {
            running.end().await;
        }
    }
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "a webhook's worker ended badly");
        }
    }
}
