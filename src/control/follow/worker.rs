//! What the follower does: looks, plans, has files fetched, gives orders. When, `turns` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{mpsc, watch};

use super::fetch::{Fetch, Fetched, fetched_channel};
use super::health::{HealthHistory, stale};
use super::look::{Fault, Found, LookError, Looker};
use super::metrics::FollowMetrics;
use super::report::Reporter;
use super::tracked::Tracked;
use super::{FollowConfig, Shared};
use crate::model::{ModelName, Version};
use crate::registry::cache::{Cache, load_info};
use crate::registry::signals;
use crate::serving::{Engine, Manager};

/// How long the registry may be away before that is an event.
const STALE: Duration = Duration::from_secs(30);

/// The follower's own things.
pub(super) struct Worker {
    pub(super) config: Arc<FollowConfig>,
    pub(super) manager: Arc<Manager>,
    pub(super) metrics: FollowMetrics,
    pub(super) shared: Arc<Shared>,
    pub(super) looker: Looker,
    pub(super) tracked: BTreeMap<ModelName, Tracked>,
    pub(super) reporter: Reporter,
    health: HealthHistory,
    pub(super) cache: Option<Arc<Cache>>,
    /// Told when the first state of things is loaded.
    caught: watch::Sender<bool>,
    /// Counts requests to try again what has failed.
    pub(super) attempt: u64,
    /// What failed the last look, so that it is told once.
    pub(super) failing: Option<String>,
    /// Something may not be needed any more.
    may_evict: bool,
    pub(super) fetched: (mpsc::Sender<Fetched>, mpsc::Receiver<Fetched>),
}

impl Worker {
    pub(super) fn new(
        config: Arc<FollowConfig>,
        manager: Arc<Manager>,
        engine: Arc<Engine>,
        metrics: FollowMetrics,
        shared: Arc<Shared>,
        caught: watch::Sender<bool>,
    ) -> Worker {
        Worker {
            reporter: Reporter::new(Arc::clone(&config), engine),
            health: HealthHistory::default(),
            looker: Looker::new(Arc::clone(&config)),
            config,
            manager,
            metrics,
            shared,
            tracked: BTreeMap::new(),
            cache: None,
            caught,
            attempt: 0,
            failing: None,
            may_evict: true,
            fetched: fetched_channel(),
        }
    }

    /// Looks at the registry, and orders what has changed. False when it cannot be reached.
    pub(super) async fn look(&mut self) -> bool {
        let found = self.looker.look().await;
        self.metrics.looked(found.is_ok());
        self.shared.reachable.store(found.is_ok(), Ordering::Release);
        match found {
            Ok(found) => {
                self.reached();
                for one in found {
                    self.take(one).await;
                }
                true
            }
            Err(error) => {
                self.missed(&error);
                false
            }
        }
    }

    fn reached(&mut self) {
        let away = std::mem::replace(&mut *self.shared.seen.lock(), Instant::now()).elapsed();
        if self.failing.take().is_some() {
            tracing::info!("the registry can be reached again");
            self.tell_stale(away);
        }
        let Some(registry) = self.looker.registry() else { return };
        if self.shared.registry.borrow().is_none() {
            self.shared.registry.send_replace(Some(Arc::clone(registry)));
        }
        let id = registry.info().registry_id;
        self.open_cache(id);
    }

    /// The registry cannot be reached: what is served stays. At the start, the last states that were seen are followed.
    fn missed(&mut self, error: &LookError) {
        let text = error.to_string();
        if self.failing.as_ref() != Some(&text) {
            tracing::error!(error = text, "the registry cannot be reached; what is loaded is served on");
            self.failing = Some(text);
        }
        if self.cache.is_some() {
            return;
        }
        let Some(info) = load_info(&self.config.cache_folder, &self.config.location) else { return };
        self.open_cache(info.registry_id);
        let Some(cache) = &self.cache else { return };
        let states = cache.load_states();
        tracing::warn!(
            models = states.len(),
            "serving from copies, as the registry was when this server last saw it"
        );
        for state in states {
            tracing::warn!(model = %state.model, rev = state.rev, "this state may be stale");
            let model = state.model.clone();
            self.tracked.insert(model.clone(), Tracked::new(Arc::new(state), true));
            self.follow(&model);
        }
    }

    /// Says that what was served may have been stale, now that somebody can read it.
    fn tell_stale(&self, away: Duration) {
        if away >= STALE {
            let signal = stale(&self.config.replica, away, Utc::now());
            self.config.announcer.announce(signals::REGISTRY, signal);
        }
    }

    fn open_cache(&mut self, id: uuid::Uuid) {
        if self.cache.is_some() {
            return;
        }
        let config = &self.config;
        match Cache::open(&config.cache_folder, id, &config.deployment, config.cache_bytes_max) {
            Ok(cache) => self.cache = Some(Arc::new(cache)),
            Err(error) => {
                tracing::error!(%error, "the folder for the registry's copies cannot be used; nothing of it is served");
            }
        }
    }

    /// Takes what was found of a model, unless it is older than what is known.
    pub(super) async fn take(&mut self, found: Found) {
        let is_first = !*self.caught.borrow();
        let model = found.model;
        let state = found.state;
        let tracked =
            self.tracked.entry(model.clone()).or_insert_with(|| Tracked::new(Arc::clone(&state), is_first));
        let went_back = Fault::went_back(&tracked.state, &state);
        // What could be verified is followed, though the log may go on in ways that cannot.
        if went_back.is_none() {
            tracked.state = state;
        }
        let fault = found.fault.or(went_back);
        let is_told = fault == tracked.fault;
        tracked.fault = fault;
        if let Some(fault) = tracked.fault.as_ref().filter(|_| !is_told) {
            let text = &fault.text;
            tracing::error!(model = %model, fault = text, "the model's log cannot be verified; its last verified state is served");
            if let Some(signal) = fault.signal() {
                self.config.announcer.announce(&model, signal);
            }
        }
        self.follow(&model);
        self.keep_state(&model).await;
    }

    /// Orders what the model's state wants, and has missing files fetched.
    fn follow(&mut self, model: &ModelName) {
        let Some(tracked) = self.tracked.get_mut(model) else { return };
        if tracked.plan(&self.config.deployment) {
            self.may_evict = true;
        }
        if tracked.wanted.is_none() {
            if self.manager.deployed(model).is_some() {
                tracing::info!(model = %model, rev = tracked.state.rev, "the registry has it served no more");
                self.manager.undeploy(model);
            }
            self.metrics.forget(model);
            return;
        }
        self.order(model);
        self.fetch(model);
    }

    /// Gives every order anew that may have failed.
    pub(super) fn order_all(&mut self) {
        for tracked in self.tracked.values_mut() {
            tracked.detours.reset();
            tracked.again.reset();
        }
        let models: Vec<ModelName> = self.tracked.keys().cloned().collect();
        models.iter().for_each(|model| self.order(model));
    }

    /// Gives the manager its order, if every file is here that it needs.
    fn order(&mut self, model: &ModelName) {
        let (Some(tracked), Some(cache)) = (self.tracked.get_mut(model), &self.cache) else { return };
        let is_switched = self.manager.deployed(model).is_none_or(|status| status.is_current);
        let ready = |version| cache.ready(model, version);
        let Some(order) = tracked.order(Instant::now(), is_switched, self.attempt, ready) else { return };
        match self.manager.deploy(model, order) {
            Ok(()) => tracked.refused = None,
            Err(error) => {
                if tracked.refused.is_none() {
                    tracing::error!(model = %model, %error, "the registry's model is not served");
                }
                tracked.refuse(error.to_string());
            }
        }
    }

    /// Starts to fetch the files that are missing.
    fn fetch(&mut self, model: &ModelName) {
        let (Some(tracked), Some(cache)) = (self.tracked.get_mut(model), &self.cache) else { return };
        if !tracked.needs_fetch(Instant::now(), |version| cache.ready(model, version).is_some()) {
            return;
        }
        let Some(wanted) = tracked.next() else { return };
        let mut versions: Vec<Version> = wanted.versions.iter().copied().collect();
        versions.sort_by_key(|version| !wanted.has_share(*version));
        let state = Arc::clone(&tracked.state);
        let fetch = tracked.begin_fetch();
        let store = self.looker.registry().map(|registry| registry.store().clone());
        let job = Fetch { model: model.clone(), fetch, versions, state, store, cache: Arc::clone(cache) };
        tokio::spawn(job.run(self.fetched.0.clone()));
    }

    pub(super) fn take_fetched(&mut self, fetched: Fetched) {
        let Fetched { model, fetch, errors } = fetched;
        let Some(tracked) = self.tracked.get_mut(&model) else { return };
        if let Some(errors) = errors {
            for (version, error) in &errors {
                tracing::error!(model = %model, %version, error, "the version's files cannot be had");
            }
            tracked.end_fetch(fetch, errors, Instant::now());
        }
        self.order(&model);
    }

    /// What is due by time or by what has come of orders: files to try again, earlier deployments to try, replaced versions
    /// to let go, the first state of things reached.
    pub(super) async fn tick(&mut self) {
        let mut due = Vec::new();
        let (now, pauses) = (Instant::now(), self.manager.retry_pauses());
        for (model, tracked) in &mut self.tracked {
            let status = self.manager.deployed(model);
            let is_stepping = tracked.step(&self.config.deployment, now, status.as_ref(), pauses);
            if is_stepping || tracked.is_due() {
                due.push(model.clone());
            }
        }
        for model in due {
            self.order(&model);
            self.fetch(&model);
        }
        let is_fetching = self.tracked.values().any(|tracked| tracked.fetching.is_some());
        if !*self.caught.borrow() && self.cache.is_some() && !self.is_open() {
            self.caught.send_replace(true);
            self.manager.hold_ready(false);
        }
        self.show();
        if self.may_evict && !is_fetching {
            self.may_evict = false;
            self.evict();
        }
    }

    /// Whether anything has not come to rest.
    fn is_open(&self) -> bool {
        self.tracked.iter().any(|(model, tracked)| tracked.is_open(self.manager.deployed(model).as_ref()))
    }

    fn evict(&self) {
        let Some(cache) = self.cache.clone() else { return };
        let in_use: BTreeSet<(ModelName, Version)> =
            self.tracked.iter().flat_map(|(model, tracked)| tracked.in_use(model)).collect();
        tokio::spawn(async move {
            match cache.evict(in_use).await {
                Ok(0) => {}
                Ok(bytes) => tracing::info!(bytes, "copies of versions that are not in use were removed"),
                Err(error) => {
                    tracing::warn!(%error, "copies of versions that are not in use are not removed")
                }
            }
        });
    }

    /// Keeps the state for a start without the registry.
    async fn keep_state(&self, model: &ModelName) {
        let (Some(tracked), Some(cache)) = (self.tracked.get(model), self.cache.clone()) else { return };
        let state = Arc::clone(&tracked.state);
        let is_wanted = tracked.wanted.is_some();
        let kept = tokio::task::spawn_blocking(move || match is_wanted {
            true => cache.save_state(&state),
            false => {
                cache.forget_state(&state.model);
                Ok(())
            }
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(model = %model, %error, "the model's state is not kept for a start without the registry");
        }
    }

    fn show(&self) {
        self.metrics.stale(self.shared.seen.lock().elapsed());
        let damaged = self.tracked.values().filter(|tracked| tracked.fault.is_some()).count();
        self.metrics.damaged(damaged);
        let followed = self.tracked.iter().filter(|(_, tracked)| tracked.wanted.is_some());
        for (index, (model, tracked)) in followed.enumerate() {
            let is_served = tracked.is_served(self.manager.deployed(model).as_ref());
            self.metrics.model(index, model, tracked.state.rev, is_served);
        }
    }

    /// Writes the lease, beside what else is to be done.
    pub(super) fn report_soon(&mut self) {
        let is_reachable = self.shared.reachable.load(Ordering::Acquire);
        let Some(registry) = self.looker.registry().filter(|_| is_reachable) else { return };
        let followed = self.tracked.iter().filter(|(_, tracked)| tracked.is_followed());
        let models = followed
            .map(|(model, tracked)| (model.clone(), tracked.lease(self.manager.deployed(model).as_ref())));
        let models: BTreeMap<_, _> = models.collect();
        let found =
            self.tracked.iter().filter_map(|(model, tracked)| Some((model.clone(), tracked.detours.found?)));
        self.health.instead = found.collect();
        let config = &self.config;
        let now = Utc::now();
        for (model, signal) in self.health.news(&models, &config.replica, &config.deployment, now) {
            config.announcer.announce(&model, signal);
        }
        self.reporter.report(registry, models);
    }
}
