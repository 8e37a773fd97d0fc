//! The worker of one subscription: reads the logs, sends what is due, keeps the cursor.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use url::Url;

use super::SecretSource;
use super::metrics::Handles;
use super::sender::Post;
use crate::registry::cloudevent::CloudEvent;
use crate::registry::feed::{Feed, FeedEvent, Place, Start};
use crate::registry::webhook::dead::{self, DeadLetter};
use crate::registry::webhook::outbox::{Due, Outbox};
use crate::registry::webhook::schedule::{Next, Outcome, next};
use crate::registry::webhook::signature::{SigningKey, delivery_id};
use crate::registry::webhook::{self, Subscription, cursor};
use crate::registry::{Registry, RegistryError, StoreError};

/// Subjects that are sent at the same time.
const LANES_AT_ONCE: usize = 8;
/// Events that are read from the logs at a time.
const READ_AT_ONCE: usize = 256;
/// The longest time that progress is only in memory.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// How often secrets are read again.
const SECRETS_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How long a worker that ends waits for answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How this program is called in a handshake.
const ORIGIN: &str = "weir";

/// Works for one subscription.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) registry: Arc<Registry>,
    pub(super) sender: Arc<dyn Post>,
    pub(super) secrets: Arc<dyn SecretSource>,
    pub(super) metrics: Handles,
    pub(super) poll_interval: Duration,
    /// The number of the subscription's form.
    pub(super) number: u64,
    pub(super) subscription: Subscription,
}

/// What makes a worker end by itself.
#[derive(Debug)]
enum End {
    /// Another process moved the cursor.
    Lost,
    /// The receiver wants no more.
    Stopped,
    /// The store failed; the worker is started again.
    Failed(RegistryError),
}

impl From<RegistryError> for End {
    fn from(error: RegistryError) -> End {
        End::Failed(error)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        End::Failed(error.into())
    }
}

impl Worker {
    /// Delivers until it is stopped, another took over, or the receiver wants no more.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let name = self.subscription.name.clone();
        loop {
            let ended = match Session::open(&self).await {
                Ok(mut session) => session.deliver(&mut stop).await,
                Err(end) => Err(end),
            };
            self.metrics.backlog.set(0);
            match ended {
                Ok(()) => return,
                Err(End::Lost) => {
                    return tracing::warn!(webhook = name, "another process delivers its events");
                }
                Err(End::Stopped) => {
                    return tracing::warn!(webhook = name, "its receiver wants no more events");
                }
                Err(End::Failed(error)) => {
                    tracing::warn!(webhook = name, %error, "events wait for the store")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(STORE_PAUSE) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }
}

/// Milliseconds since 1970 on a clock that never goes back.
#[derive(Debug, Clone, Copy)]
struct Clock {
    base_ms: i64,
    base: Instant,
}

impl Clock {
    fn now_ms(self) -> i64 {
        self.base_ms.saturating_add(i64::try_from(self.base.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn at(self, ms: i64) -> Instant {
        let after = u64::try_from(ms.saturating_sub(self.base_ms)).unwrap_or(0);
        self.base + Duration::from_millis(after)
    }
}

/// From reading a cursor to losing the store.
struct Session<'a> {
    worker: &'a Worker,
    target: Url,
    clock: Clock,
    feed: Feed,
    outbox: Outbox,
    sending: JoinSet<(Due, Outcome)>,
    /// The keys, or which secret is missing.
    keys: Result<Vec<SigningKey>, String>,
    keys_at: Instant,
    /// Whether the receiver agreed, where it is asked.
    is_agreed: bool,
    /// The number of the newest cursor.
    cursor: u64,
    is_changed: bool,
}

impl<'a> Session<'a> {
    async fn open(worker: &'a Worker) -> Result<Session<'a>, End> {
        let store = worker.registry.store();
        let (number, cursor) = cursor::read(store, &worker.subscription.name).await?;
        let only = worker.subscription.filter.model().and_then(|name| name.parse().ok());
        let start = Start::After(cursor.resume());
        let feed = Feed::open(Arc::clone(&worker.registry), start, only).await?;
        let now = Instant::now();
        Ok(Session {
            target: worker.subscription.target().map_err(RegistryError::from)?,
            clock: Clock { base_ms: Utc::now().timestamp_millis(), base: now },
            feed,
            outbox: Outbox::new(&cursor),
            sending: JoinSet::new(),
            keys: worker.keys().await,
            keys_at: now,
            is_agreed: !worker.subscription.handshake,
            cursor: number,
            is_changed: false,
            worker,
        })
    }

    async fn deliver(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), End> {
        let mut polls = tokio::time::interval(self.worker.poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushes = tokio::time::interval(FLUSH_INTERVAL);
        flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.send_due();
            self.worker.metrics.backlog.set(i64::try_from(self.outbox.len()).unwrap_or(i64::MAX));
            let next_due = self.outbox.next_ms().map(|ms| self.clock.at(ms));
            let can_send = self.sending.len() < LANES_AT_ONCE;
            let due = async {
                match next_due.filter(|_| can_send) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(sent) = self.sending.join_next() => match sent {
                    Ok((due, outcome)) => self.settle(due, outcome).await?,
                    // A sender that panicked: its lane would wait for ever, so everything begins again.
                    Err(error) => return Err(lost_sender(&error)),
                },
                () = due => {}
                _ = polls.tick() => if self.read_logs().await? {
                    polls.reset_immediately();
                },
                _ = flushes.tick(), if self.is_changed => self.flush().await?,
                () = stopped(stop) => break,
            }
        }
        self.settle_sent().await?;
        self.flush().await
    }

    /// Waits a little for the answers that are on their way, so that a successor need not send those events again.
    async fn settle_sent(&mut self) -> Result<(), End> {
        let end = Instant::now() + ANSWERS_WITHIN;
        while let Ok(Some(sent)) = tokio::time::timeout_at(end, self.sending.join_next()).await {
            if let Ok((due, outcome)) = sent {
                self.settle(due, outcome).await?;
            }
        }
        self.sending.abort_all();
        Ok(())
    }

    /// Starts to send what is due.
    fn send_due(&mut self) {
        while self.sending.len() < LANES_AT_ONCE
            && let Some(due) = self.outbox.due(self.clock.now_ms())
        {
            let (sender, target) = (Arc::clone(&self.worker.sender), self.target.clone());
            let (keys, must_agree) = (self.keys.clone(), !self.is_agreed);
            self.sending.spawn(async move {
                let outcome = match keys {
                    Err(reason) => Outcome::NotSent(reason),
                    Ok(keys) => attempt(sender.as_ref(), &target, &keys, &due.event, must_agree).await,
                };
                (due, outcome)
            });
        }
    }

    /// Does what follows an attempt.
    async fn settle(&mut self, due: Due, outcome: Outcome) -> Result<(), End> {
        let (name, id) = (&self.worker.subscription.name, &due.event.id);
        let now_ms = self.clock.now_ms();
        let age = Duration::from_millis(u64::try_from(now_ms - due.first_ms).unwrap_or(0));
        let next = next(&outcome, due.attempt, age);
        match &next {
            Next::Done => self.worker.metrics.delivered.inc(),
            _ => self.worker.metrics.failed.inc(),
        }
        match next {
            Next::Done => self.is_agreed = true,
            Next::Retry(wait) => {
                let wait = wait + jitter(&due.event, due.attempt, wait);
                tracing::info!(
                    webhook = name,
                    event = id,
                    ?wait,
                    reason = outcome.describe(),
                    "to be sent again"
                );
                self.outbox.retry(&due.subject, wait, now_ms);
                self.is_changed = true;
                return Ok(());
            }
            Next::Stop => {
                self.outbox.retry(&due.subject, Duration::ZERO, now_ms);
                self.flush().await?;
                return Err(self.stop_subscription(outcome.describe()).await);
            }
            Next::Dead(reason) => {
                tracing::warn!(webhook = name, event = id, reason, "given up");
                let event = CloudEvent::clone(&due.event);
                let letter = DeadLetter { event, reason, attempts: due.attempt, time: Utc::now() };
                dead::bury(self.worker.registry.store(), name, &letter).await?;
                self.worker.metrics.dead.inc();
            }
        }
        self.outbox.finish(&due.subject, now_ms);
        self.is_changed = true;
        if let Place::Request { key } = &due.place {
            dead::discard(self.worker.registry.store(), key).await?;
        }
        Ok(())
    }

    /// Notes that the receiver wants no more. Events stay in the log, and the cursor where it is.
    async fn stop_subscription(&self, reason: String) -> End {
        let stopped = Subscription { stopped: Some(reason), ..self.worker.subscription.clone() };
        let written = webhook::write(self.worker.registry.store(), self.worker.number, &stopped).await;
        match written {
            Ok(_) | Err(RegistryError::Refused(_)) => End::Stopped,
            Err(error) => End::Failed(error),
        }
    }

    /// Takes what is new in the logs, and what somebody wants to be sent again. True when there may be more.
    async fn read_logs(&mut self) -> Result<bool, End> {
        if self.keys_at.elapsed() > SECRETS_INTERVAL || self.keys.is_err() {
            self.keys = self.worker.keys().await;
            self.keys_at = Instant::now();
        }
        let now_ms = self.clock.now_ms();
        let mut is_more = false;
        if self.outbox.has_room() {
            for event in self.feed.poll(READ_AT_ONCE).await? {
                let is_wanted = self.worker.subscription.filter.wants(&event.event);
                self.outbox.take(event, is_wanted, now_ms);
                is_more = self.outbox.has_room();
                self.is_changed = true;
            }
        }
        self.read_requests(now_ms).await?;
        Ok(is_more)
    }

    async fn read_requests(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let (store, name) = (self.worker.registry.store(), &self.worker.subscription.name);
        for key in dead::requests(store, name).await? {
            if !self.outbox.has_room() {
                break;
            }
            if !self.outbox.holds_request(&key)
                && let Some(event) = dead::requested(store, name, &key).await?
            {
                self.outbox.take(FeedEvent { event, place: Place::Request { key } }, true, now_ms);
            }
        }
        Ok(())
    }

    /// Writes how far it came.
    async fn flush(&mut self) -> Result<(), End> {
        if !self.is_changed {
            return Ok(());
        }
        let (store, name) = (self.worker.registry.store(), &self.worker.subscription.name);
        let is_ours = cursor::write(store, name, self.cursor + 1, &self.outbox.cursor()).await?;
        if !is_ours {
            return Err(End::Lost);
        }
        self.cursor += 1;
        self.is_changed = false;
        Ok(())
    }
}

impl Worker {
    /// The keys that sign, read anew.
    async fn keys(&self) -> Result<Vec<SigningKey>, String> {
        let (secrets, names) = (Arc::clone(&self.secrets), self.subscription.secrets.clone());
        let read = tokio::task::spawn_blocking(move || signing_keys(secrets.as_ref(), &names));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The keys of the secrets `names`.
///
/// # Errors
/// Which one cannot be used, and why.
pub fn signing_keys(secrets: &dyn SecretSource, names: &[String]) -> Result<Vec<SigningKey>, String> {
    let key = |name: &String| {
        let text =
            secrets.secret(name).ok_or_else(|| format!("the secret '{name}' is not known to this server"))?;
        SigningKey::parse(&text).map_err(|reason| format!("the secret '{name}' cannot be used: {reason}"))
    };
    names.iter().map(key).collect()
}

async fn attempt(
    sender: &dyn Post,
    target: &Url,
    keys: &[SigningKey],
    event: &CloudEvent,
    must_agree: bool,
) -> Outcome {
    if must_agree && let Err(outcome) = sender.handshake(target, ORIGIN).await {
        return outcome;
    }
    sender.post(target, keys, event).await
}

/// Up to a tenth of `wait`, so that events that failed together do not come back together. The same at each run.
fn jitter(event: &CloudEvent, attempt: u32, wait: Duration) -> Duration {
    let id = delivery_id(event);
    let seed = id.bytes().fold(attempt, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    wait.mul_f64(f64::from(seed % 1000) / 10_000.0)
}

/// Waits until the worker shall end. When nobody is left who could say so, that is the end as well.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await.map(drop));
}

fn lost_sender(error: &tokio::task::JoinError) -> End {
    let reason = format!("a delivery ended badly: {error}");
    End::Failed(RegistryError::Store(StoreError::Location { location: "webhook".to_owned(), reason }))
}
