//! Carries out one order about one model, on a loader thread: settings, versions to load, one publication.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::catalog::{Entry, Status};
use super::super::load::LoadError;
use super::super::repository::{ModelFiles, choose, scan_folder, scan_model};
use super::super::settings::{Settings, read_settings};
use super::super::{Servable, ServableState};
use super::Shared;
use super::failure::Failure;
use super::record::{Assignment, Current, LoadFailure, LoadRequest, Loaded, Target, VersionKey};
use super::upload::UploadFolder;
use crate::events::Event;
use crate::model::{ModelId, ModelName, Version};

type Served = BTreeMap<Version, Loaded>;
type Failed = BTreeMap<Version, Failure<Arc<VersionKey>>>;

impl Shared {
    /// Carries out `order`. On failure, what was served is served still.
    pub(super) fn reconcile(&self, order: &mut Assignment) -> Result<(), LoadFailure> {
        let Assignment { model, target, current, .. } = order;
        match target {
            Target::Files(files) => self.serve(model, current, files, None, false),
            Target::Requested(request) => {
                let (files, upload) = self.requested_files(model, request)?;
                let served = self.serve(model, current, &files, request.config_json.as_deref(), true);
                // Files that nothing serves go at once, with what is dropped here.
                let replaced = std::mem::replace(&mut current.upload, upload);
                if served.is_err() {
                    current.upload = replaced.or(current.upload.take());
                }
                served
            }
            Target::Unloaded if self.engine.catalog.get(model).is_none() => Err(LoadFailure::Unknown),
            Target::Unloaded => {
                self.take_out(model, current);
                Ok(())
            }
            Target::Gone => {
                self.take_out(model, current);
                self.engine.catalog.set(model, None);
                self.engine.metrics.forget_model(model);
                Ok(())
            }
        }
    }

    /// The files that a load request means: its own, or those in the repository now.
    fn requested_files(
        &self,
        model: &ModelName,
        request: &LoadRequest,
    ) -> Result<(ModelFiles, Option<Arc<UploadFolder>>), LoadFailure> {
        let refuse = |error: std::io::Error| LoadFailure::Upload(error.to_string());
        if request.files.is_empty() {
            let files = scan_model(&self.sources, model).map_err(refuse)?;
            return files.map(|files| (files, None)).ok_or(LoadFailure::Unknown);
        }
        let root =
            self.config.upload_folder.as_deref().ok_or_else(|| {
                LoadFailure::Upload("this server takes no model files in requests".to_owned())
            })?;
        let bytes: usize = request.files.values().map(bytes::Bytes::len).sum();
        if bytes > self.config.upload_bytes_max {
            let max = self.config.upload_bytes_max;
            return Err(LoadFailure::Upload(format!(
                "the files have {bytes} bytes; at most {max} are taken"
            )));
        }
        let name = format!("{model}-{}", self.uploads.fetch_add(1, Ordering::Relaxed));
        let folder = UploadFolder::write(root, &name, &request.files).map_err(|error| {
            tracing::error!(model = %model, %error, "uploaded files could not be written");
            LoadFailure::Upload("the files could not be written".to_owned())
        })?;
        let files = scan_folder(folder.path()).map_err(refuse)?;
        Ok((files, Some(Arc::new(folder))))
    }

    /// Serves the versions of `files` that the settings want. `again` tries those that failed before.
    fn serve(
        &self,
        model: &ModelName,
        current: &mut Current,
        files: &ModelFiles,
        config_json: Option<&str>,
        again: bool,
    ) -> Result<(), LoadFailure> {
        let settings = match read_settings(model, files, config_json) {
            Ok(settings) => settings,
            Err(error) => {
                tracing::error!(model = %model, %error, "the model's settings cannot be used");
                self.engine.metrics.load(model, false, std::time::Duration::ZERO);
                self.note(model, current, files, Some(&error.to_string()));
                return Err(LoadFailure::Failed(error.to_string()));
            }
        };
        if again {
            current.failed.clear();
        }
        let choice =
            choose(&settings.parsed.config.version_policy, &files.versions.keys().copied().collect());
        let (mut served, mut failed) = (Served::new(), Failed::new());
        for &version in &choice.order {
            if served.len() == choice.count {
                break;
            }
            let id = ModelId { name: model.clone(), version };
            match self.obtain(&id, current, files, &settings) {
                Ok(loaded) => {
                    served.insert(version, loaded);
                }
                Err(failure) => {
                    failed.insert(version, failure);
                    // A version that was changed in place and does not load any more: its old load goes on.
                    served.extend(current.served.get(&version).map(|old| (version, old.clone())));
                }
            }
        }
        if served.is_empty() && !choice.order.is_empty() {
            served.clone_from(&current.served);
        }
        let wanted = choice.order.iter().take(choice.count);
        let reasons: Vec<String> = wanted
            .filter_map(|version| {
                failed.get(version).map(|failure| format!("version {version}: {}", failure.reason))
            })
            .collect();
        current.failed = failed;
        self.publish(model, current, served);
        self.note(model, current, files, None);
        if reasons.is_empty() { Ok(()) } else { Err(LoadFailure::Failed(reasons.join("; "))) }
    }

    /// The version as it is served, if nothing about it has changed, or a new load of it.
    fn obtain(
        &self,
        id: &ModelId,
        current: &Current,
        files: &ModelFiles,
        settings: &Settings,
    ) -> Result<Loaded, Failure<Arc<VersionKey>>> {
        let Some(version_files) = files.versions.get(&id.version) else {
            let key = VersionKey::new(&Default::default(), settings);
            let reason = "the version is not in the repository".to_owned();
            return Err(Failure { key, reason, is_of_the_moment: false });
        };
        let key = VersionKey::new(version_files, settings);
        if let Some(loaded) = current.served.get(&id.version).filter(|loaded| loaded.key == key) {
            return Ok(loaded.clone());
        }
        // A version that failed is tried again when its files change, not at every look; or when it was not its fault.
        let held = |failure: &&Failure<Arc<VersionKey>>| failure.key == key && !failure.is_of_the_moment;
        if let Some(failure) = current.failed.get(&id.version).filter(held) {
            return Err(failure.clone());
        }
        let started = Instant::now();
        let loaded = self.loader.load(id, version_files, settings, None).and_then(|servable| {
            if version_files.have_changed() { Err(LoadError::Changing) } else { Ok(servable) }
        });
        let took = started.elapsed();
        self.engine.metrics.load(&id.name, loaded.is_ok(), took);
        match loaded {
            Ok(servable) => {
                report(&servable);
                self.engine.events.send(Event::Loaded { id: id.clone(), took });
                Ok(Loaded { servable, key })
            }
            Err(error) => {
                self.note_failure(id, &error);
                let reason = error.public_message();
                self.engine.events.send(Event::LoadFailed { id: id.clone(), reason: reason.clone() });
                Err(Failure { key, reason, is_of_the_moment: error.is_of_the_moment() })
            }
        }
    }

    /// Says that a load failed, and takes notice where the device is why.
    pub(super) fn note_failure(&self, id: &ModelId, error: &LoadError) {
        tracing::error!(model = %id, %error, "the version could not be loaded");
        if error.is_device_lost() {
            self.engine.lose_device(error);
        }
    }

    /// Serves `next` instead of what is served, by one store.
    fn publish(&self, model: &ModelName, current: &mut Current, next: Served) {
        let same = current.served.len() == next.len()
            && next.iter().all(|(version, loaded)| {
                let old = current.served.get(version);
                old.is_some_and(|old| Arc::ptr_eq(&old.servable, &loaded.servable))
            });
        if same {
            return;
        }
        let started = Instant::now();
        let servables = next.values().map(|loaded| Arc::clone(&loaded.servable)).collect();
        self.engine.publish(model, servables, None);
        if !current.served.is_empty() && !next.is_empty() {
            self.engine.metrics.swap(model, started.elapsed());
        }
        let before = std::mem::replace(&mut current.served, next);
        for loaded in current.served.values() {
            self.engine.metrics.published(&loaded.servable.id, loaded.servable.memory_bytes);
        }
        let default = |served: &Served| served.keys().next_back().copied();
        let (from, to) = (default(&before), default(&current.served));
        for (version, old) in before {
            if !current.served.contains_key(&version) {
                self.engine.retire(&old.servable);
            }
        }
        if from != to {
            match (from, to) {
                (None, Some(to)) => tracing::info!(model = %model, version = %to, "serving"),
                (Some(from), Some(to)) => tracing::info!(model = %model, %from, %to, "swapped"),
                _ => tracing::info!(model = %model, "unloaded"),
            }
            self.engine.events.send(Event::Swapped { model: model.clone(), from, to });
        }
    }

    /// Serves nothing of `model`.
    fn take_out(&self, model: &ModelName, current: &mut Current) {
        let known = self.engine.catalog.get(model).unwrap_or_default();
        let mut versions: BTreeMap<Version, Status> =
            known.versions.keys().map(|&version| (version, Status::ended("unloaded"))).collect();
        for (&version, loaded) in &current.served {
            versions.insert(version, draining(&loaded.servable));
        }
        let entry = Entry { required: false, versions, reason: known.reason };
        self.engine.catalog.set(model, Some(entry));
        self.publish(model, current, Served::new());
        current.failed.clear();
        current.upload = None;
    }

    /// Writes into the index what has come of `files`.
    fn note(&self, model: &ModelName, current: &Current, files: &ModelFiles, defect: Option<&str>) {
        let required = self.engine.catalog.get(model).is_some_and(|entry| entry.required);
        let mut versions: BTreeMap<Version, Status> = files
            .versions
            .keys()
            .map(|&version| (version, Status::ended(defect.unwrap_or("not chosen by the version policy"))))
            .collect();
        for (&version, failure) in &current.failed {
            versions.insert(version, Status::ended(failure.reason.clone()));
        }
        for (&version, loaded) in &current.served {
            let failure = current.failed.get(&version).map(|failure| failure.reason.as_str()).or(defect);
            let reason = failure
                .map(|reason| format!("an older load is served, because the newer failed: {reason}"))
                .unwrap_or_default();
            let serial = loaded.servable.farewell.serial;
            versions.insert(version, Status { state: ServableState::Available, reason, serial });
        }
        let reason = defect.unwrap_or("the model has no version folders").to_owned();
        let required = required || !current.served.is_empty();
        self.engine.catalog.set(model, Some(Entry { required, versions, reason }));
    }
}

/// What the index says of a version that takes no more requests.
fn draining(servable: &Servable) -> Status {
    let serial = servable.farewell.serial;
    Status { state: ServableState::Draining, reason: "unloaded".to_owned(), serial }
}

/// Tells the log of a load.
pub(super) fn report(servable: &Servable) {
    for warning in &servable.warnings {
        tracing::warn!(model = %servable.id, "{warning}");
    }
    tracing::info!(
        model = %servable.id,
        max_batch_size = servable.max_batch_size,
        workers = servable.workers,
        took_ms = u64::try_from(servable.load_duration.as_millis()).unwrap_or(u64::MAX),
        "loaded"
    );
}
