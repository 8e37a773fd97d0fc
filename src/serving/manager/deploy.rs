//! Carries out what a registry wants: targets come from above, versions are loaded on the loader threads, and every
//! publication is one store. `deployed` holds the rules; this file holds the locks.
//!
//! A name belongs to whoever served it first; at the start plain repositories are looked at first. The other is refused,
//! loudly.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::catalog::{Entry, Status};
use super::super::repository::{scan_folder, scan_version};
use super::super::settings::read_any_settings;
use super::super::{Servable, ServableState};
use super::deployed::{Deployed, DeployedModel, DeployedStatus, DeployedVersion, Pooled};
use super::failure::Failure;
use super::{Manager, Shared};
use crate::events::Event;
use crate::model::settings::SettingsError;
use crate::model::{ModelId, ModelName, Version};

/// The name is taken by a model of a plain repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a plain repository of this server has a model of this name, which is served instead")]
pub struct NameTaken;

impl Manager {
    /// Serves `target` instead of what is served of `model`. Returns at once: at that moment it is served already when
    /// every version with a share of the traffic was loaded, and is loaded by other threads when not.
    ///
    /// # Errors
    /// [`NameTaken`].
    pub fn deploy(&self, model: &ModelName, target: DeployedModel) -> Result<(), NameTaken> {
        let mut state = self.shared.state.lock();
        if !state.deployed.contains_key(model)
            && (state.has_record(model) || self.shared.engine.catalog.get(model).is_some())
        {
            return Err(NameTaken);
        }
        let target = Arc::new(target);
        let deployed =
            state.deployed.entry(model.clone()).or_insert_with(|| Deployed::new(Arc::clone(&target)));
        deployed.retarget(target);
        self.shared.settle_deployed(model, deployed);
        if deployed.missing().is_some() && !deployed.busy {
            deployed.busy = true;
            state.enqueue_deployed(model);
        }
        drop(state);
        self.shared.engine.decide_ready();
        self.shared.wake.notify_all();
        self.shared.finished.send_replace(());
        Ok(())
    }

    /// Serves nothing of `model` any more. Requests that run finish.
    pub fn undeploy(&self, model: &ModelName) {
        let mut state = self.shared.state.lock();
        if let Some(deployed) = state.deployed.remove(model) {
            self.shared.retire_deployed(model, deployed);
        }
        drop(state);
        self.shared.engine.decide_ready();
        self.shared.finished.send_replace(());
    }

    /// What has come of `model`; `None` when the registry does not have it served here.
    pub fn deployed(&self, model: &ModelName) -> Option<DeployedStatus> {
        self.shared.state.lock().deployed.get(model).map(Deployed::status)
    }

    /// Every model that is served from the registry.
    pub fn deployed_models(&self) -> Vec<ModelName> {
        self.shared.state.lock().deployed.keys().cloned().collect()
    }

    /// Where the settings of `model` came from, if it is served from the registry: `deployment default@rev 12`.
    pub fn deployed_origin(&self, model: &str) -> Option<String> {
        let state = self.shared.state.lock();
        let deployed = state.deployed.get(model)?;
        Some(deployed.published.as_ref().unwrap_or(&deployed.target).origin.clone())
    }

    /// Changes whenever something was loaded, published or taken away.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.shared.finished.subscribe()
    }

    /// Keeps the server from being ready until the registry was looked at.
    pub fn hold_ready(&self, held: bool) {
        self.shared.engine.catalog.hold(held);
        self.shared.engine.decide_ready();
    }
}

impl Shared {
    /// Loads what the newest target of `model` misses, one version after the other, and publishes as soon as it may.
    pub(super) fn load_deployed(&self, model: &ModelName) {
        loop {
            let (version, from, origin) = {
                let mut state = self.state.lock();
                let stopped = state.stopped;
                let Some(deployed) = state.deployed.get_mut(model) else { return };
                let missing = deployed.missing().filter(|_| !stopped);
                let Some((version, from)) = missing else {
                    deployed.busy = false;
                    return self.settle_deployed(model, deployed);
                };
                (version, from, deployed.target.origin.clone())
            };
            let id = ModelId { name: model.clone(), version };
            let loaded = self.load_version(&id, &from, &origin);
            self.take_load(&id, from, loaded);
            self.engine.decide_ready();
            self.finished.send_replace(());
        }
    }

    /// After a panic: the version that was being loaded has failed, so that it is not tried for ever.
    pub(super) fn abandon_deployed(&self, model: &ModelName) {
        let missing = self.state.lock().deployed.get(model).and_then(Deployed::missing);
        if let Some((version, from)) = missing {
            let id = ModelId { name: model.clone(), version };
            self.take_load(&id, from, Err(Failure::lasting("internal error".to_owned())));
        }
        self.load_deployed(model);
    }

    fn load_version(
        &self,
        id: &ModelId,
        from: &DeployedVersion,
        origin: &str,
    ) -> Result<Arc<Servable>, Failure> {
        let started = Instant::now();
        let loaded = self.try_load(id, from, origin);
        let took = started.elapsed();
        self.engine.metrics.load(&id.name, loaded.is_ok(), took);
        match &loaded {
            Ok(servable) => {
                super::reconcile::report(servable);
                self.engine.events.send(Event::Loaded { id: id.clone(), took });
            }
            Err(failure) => {
                let reason = failure.reason.clone();
                self.engine.events.send(Event::LoadFailed { id: id.clone(), reason });
            }
        }
        loaded
    }

    fn try_load(&self, id: &ModelId, from: &DeployedVersion, origin: &str) -> Result<Arc<Servable>, Failure> {
        let unreadable =
            |error: std::io::Error| Failure::lasting(format!("the version's files cannot be read: {error}"));
        let path = from.folder.join(&from.model_file);
        let folder = path.parent().unwrap_or(&from.folder);
        let files = scan_version(folder).map_err(unreadable)?;
        let beside = scan_folder(&from.folder).map_err(unreadable)?;
        // The registry may call the model otherwise than its file does.
        let defect = |error: SettingsError| {
            tracing::error!(model = %id, %error, "the version's settings cannot be used");
            Failure::lasting(error.to_string())
        };
        let mut settings = read_any_settings(&beside).map_err(defect)?;
        let file = Path::new(&from.model_file).file_name().and_then(|name| name.to_str());
        settings.parsed.model_file = file.map(str::to_owned);
        settings.parsed.overlay(&from.settings, origin).map_err(defect)?;
        self.loader.load(id, &files, &settings, Some(from)).map_err(|error| {
            self.note_failure(id, &error);
            Failure { is_of_the_moment: error.is_of_the_moment(), ..Failure::lasting(error.public_message()) }
        })
    }

    /// Puts a load into the pool, or notes its failure.
    fn take_load(&self, id: &ModelId, from: DeployedVersion, loaded: Result<Arc<Servable>, Failure>) {
        let mut state = self.state.lock();
        let Some(deployed) = state.deployed.get_mut(&id.name) else {
            // Taken away while it was loaded.
            self.engine.catalog.set(&id.name, None);
            return;
        };
        match loaded {
            Ok(servable) => deployed.pool.push(Pooled { servable, from }),
            Err(failure) => {
                deployed.failed.insert(id.version, failure.of(from));
            }
        }
        self.settle_deployed(&id.name, deployed);
    }

    /// Publishes the newest target if it may be, frees what nobody wants, and writes the index.
    fn settle_deployed(&self, model: &ModelName, deployed: &mut Deployed) {
        if let Some(routes) = deployed.publishable() {
            let started = Instant::now();
            let from = deployed.routes.routing.main();
            let is_swap = deployed.published.is_some();
            self.engine.publish(model, routes.versions.values().cloned().collect(), Some(&routes.routing));
            for servable in routes.versions.values() {
                self.engine.metrics.published(&servable.id, servable.memory_bytes);
            }
            deployed.routes = routes;
            deployed.published = Some(Arc::clone(&deployed.target));
            self.tell_swap(model, is_swap, from, deployed.routes.routing.main(), started.elapsed());
        }
        let dropped = deployed.prune();
        for pooled in dropped {
            let version = pooled.servable.id.version;
            if !deployed.pool.iter().any(|other| other.servable.id.version == version) {
                self.engine.retire(&pooled.servable);
            }
        }
        self.note_deployed(model, deployed);
    }

    fn tell_swap(
        &self,
        model: &ModelName,
        is_swap: bool,
        from: Option<Version>,
        to: Option<Version>,
        took: Duration,
    ) {
        if is_swap {
            self.engine.metrics.swap(model, took);
        }
        if from == to {
            return;
        }
        match (from, to) {
            (None, Some(to)) => tracing::info!(model = %model, version = %to, "serving"),
            (Some(from), Some(to)) => tracing::info!(model = %model, %from, %to, "swapped"),
            _ => {}
        }
        self.engine.events.send(Event::Swapped { model: model.clone(), from, to });
    }

    /// Takes a model out of the table and the index.
    fn retire_deployed(&self, model: &ModelName, deployed: Deployed) {
        self.engine.publish(model, Vec::new(), None);
        let from = deployed.routes.routing.main();
        for pooled in &deployed.pool {
            self.engine.retire(&pooled.servable);
        }
        self.engine.catalog.set(model, None);
        self.engine.metrics.forget_model(model);
        if from.is_some() {
            tracing::info!(model = %model, "unloaded");
            self.engine.events.send(Event::Swapped { model: model.clone(), from, to: None });
        }
    }

    /// Writes into the index what has come of the model.
    fn note_deployed(&self, model: &ModelName, deployed: &Deployed) {
        let mut entry = self.engine.catalog.get(model).unwrap_or_default();
        let is_loading = |status: &Status| {
            matches!(status.state, ServableState::Loading | ServableState::Verifying | ServableState::Start)
        };
        entry
            .versions
            .retain(|version, status| is_loading(status) && deployed.target.versions.contains_key(version));
        for version in deployed.target.versions.keys() {
            entry.versions.entry(*version).or_insert_with(|| Status {
                state: ServableState::Start,
                reason: String::new(),
                serial: 0,
            });
        }
        for (&version, failure) in &deployed.failed {
            entry.versions.insert(version, Status::ended(failure.reason.clone()));
        }
        for (&version, servable) in &deployed.routes.versions {
            let failure = deployed.failed.get(&version);
            let reason = failure.map(|failure| {
                format!("an older load is served, because the newer failed: {}", failure.reason)
            });
            let serial = servable.farewell.serial;
            let status =
                Status { state: ServableState::Available, reason: reason.unwrap_or_default(), serial };
            entry.versions.insert(version, status);
        }
        entry.required = deployed.target.required || deployed.published.is_some();
        self.engine.catalog.set(model, Some(Entry { reason: "nothing is loaded yet".to_owned(), ..entry }));
    }
}
