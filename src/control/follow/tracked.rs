//! One followed model: what the registry wants, which files are here, what the manager was told, what is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::again::Again;
use super::detour::Detours;
use super::look::Fault;
use super::plan::{Wanted, wanted};
use crate::model::{ModelName, Version};
use crate::registry::cache::golden_beside;
use crate::registry::{Health, LoadedState, ModelLease, ModelState, VersionRecord};
use crate::serving::{DeployedModel, DeployedStatus, DeployedVersion, GoldenFile};

/// Most replaced versions of a model that are kept for a rollback; the longest replaced go first.
const KEPT_MAX: usize = 4;

/// Time between two tries to get files.
const RETRY: Duration = Duration::from_secs(2);

/// A followed model.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) state: Arc<ModelState>,
    /// Why the log cannot be followed beyond `state`.
    pub(super) fault: Option<Fault>,
    pub(super) wanted: Option<Wanted>,
    /// Earlier deployments, where the newest does not load and nothing is served.
    pub(super) detours: Detours,
    /// What may load another time as it is.
    pub(super) again: Again,
    /// The last order that the manager was given.
    ordered: Option<DeployedModel>,
    /// Versions that were replaced, and until when they are kept.
    kept: Vec<(Version, DeployedVersion, Instant)>,
    /// Files are being fetched; counts the tries, so that an answer to an older one is known.
    pub(super) fetching: Option<u64>,
    fetches: u64,
    /// Why files could not be had.
    pub(super) errors: BTreeMap<Version, String>,
    /// Not before then are they tried again.
    pub(super) retry_at: Option<Instant>,
    /// Why the manager refused it.
    pub(super) refused: Option<String>,
    /// Whether it was wanted when the server started.
    pub(super) required: bool,
    /// Whether it ever was: those who wait for its end want to hear of it.
    was_wanted: bool,
}

impl Tracked {
    pub(super) fn new(state: Arc<ModelState>, required: bool) -> Tracked {
        Tracked {
            state,
            fault: None,
            wanted: None,
            detours: Detours::default(),
            again: Again::default(),
            ordered: None,
            kept: Vec::new(),
            fetching: None,
            fetches: 0,
            errors: BTreeMap::new(),
            retry_at: None,
            refused: None,
            required,
            was_wanted: false,
        }
    }

    /// Decides anew what is wanted. True when that has changed.
    pub(super) fn plan(&mut self, deployment: &str) -> bool {
        let next = wanted(&self.state, deployment);
        let has_changed = next != self.wanted;
        if has_changed {
            self.detours.reset();
            self.again.reset();
            self.forget_files();
        }
        if next.is_none() {
            self.ordered = None;
            self.kept.clear();
            self.refused = None;
            self.detours = Detours::default();
        }
        self.was_wanted |= next.is_some();
        self.wanted = next;
        has_changed
    }

    /// What is to be ordered next: what is wanted, or an earlier deployment while that does not load.
    pub(super) fn next(&self) -> Option<&Wanted> {
        self.detours.now.as_ref().map(|detour| &detour.wanted).or(self.wanted.as_ref())
    }

    /// Other files are needed from now on.
    pub(super) fn forget_files(&mut self) {
        self.errors.clear();
        self.retry_at = None;
        self.fetching = None;
    }

    /// Starts another try to get files.
    pub(super) fn begin_fetch(&mut self) -> u64 {
        self.fetches += 1;
        self.fetching = Some(self.fetches);
        self.errors.clear();
        self.retry_at = None;
        self.fetches
    }

    /// Takes the outcome of a try; false when a newer one has been started, or what was wanted has changed.
    pub(super) fn end_fetch(&mut self, fetch: u64, errors: BTreeMap<Version, String>, now: Instant) -> bool {
        if self.fetching != Some(fetch) {
            return false;
        }
        self.fetching = None;
        self.retry_at = (!errors.is_empty()).then(|| now + RETRY);
        self.errors = errors;
        true
    }

    /// The order for the manager, with the versions whose folders `ready` knows; `None` while one with a share of the
    /// traffic is missing, or when the manager has the order already.
    pub(super) fn order(
        &mut self,
        now: Instant,
        is_switched: bool,
        attempt: u64,
        ready: impl Fn(Version) -> Option<PathBuf>,
    ) -> Option<DeployedModel> {
        let wanted = self.detours.now.as_ref().map(|detour| &detour.wanted).or(self.wanted.as_ref())?;
        let mut versions = BTreeMap::new();
        for version in &wanted.versions {
            let record = &self.state.versions.get(version)?.record;
            match ready(*version) {
                Some(folder) => {
                    versions.insert(*version, deployed_version(folder, record, &wanted.settings));
                }
                None if wanted.has_share(*version) => return None,
                None => {}
            }
        }
        let until = now + wanted.window;
        if let Some(before) = &self.ordered {
            let replaced =
                before.versions.iter().filter(|(version, from)| versions.get(version) != Some(from));
            for (version, from) in replaced {
                self.kept.retain(|(kept, as_kept, _)| (kept, as_kept) != (version, from));
                self.kept.push((*version, from.clone(), until));
            }
        }
        self.kept.retain(|(version, from, _)| versions.get(version) != Some(from));
        if is_switched {
            self.kept.retain(|(_, _, until)| *until > now);
        } else {
            // What is served until the switch is replaced then, not when that was ordered.
            self.kept.iter_mut().for_each(|(_, _, kept_until)| *kept_until = until.max(*kept_until));
        }
        self.kept.drain(..self.kept.len().saturating_sub(KEPT_MAX));
        let order = DeployedModel {
            rev: wanted.rev,
            origin: wanted.origin.clone(),
            versions,
            keep: self.kept.iter().map(|(version, from, _)| (*version, from.clone())).collect(),
            routing: wanted.routing.clone(),
            attempt: attempt.wrapping_add(self.again.tries).wrapping_mul(1 << 32).wrapping_add(wanted.rev),
            required: self.required,
        };
        if self.ordered.as_ref() == Some(&order) {
            return None;
        }
        self.ordered = Some(order.clone());
        Some(order)
    }

    /// The manager refused the order; it is tried again.
    pub(super) fn refuse(&mut self, reason: String) {
        self.refused = Some(reason);
        self.ordered = None;
    }

    /// Whether time alone may change something.
    pub(super) fn is_due(&self) -> bool {
        self.wanted.is_some() && (!self.is_ordered() || !self.kept.is_empty() || self.retry_at.is_some())
    }

    /// Whether the replica has something to say about it.
    pub(super) fn is_followed(&self) -> bool {
        self.was_wanted || self.fault.is_some()
    }

    /// Whether the newest deployment is served, or still may be.
    pub(super) fn is_served(&self, status: Option<&DeployedStatus>) -> bool {
        !matches!(self.stands(status).0, Health::Degraded | Health::Failed)
    }

    /// Whether the manager was told of what is wanted now.
    pub(super) fn is_ordered(&self) -> bool {
        let wanted = self.wanted.as_ref().map(|wanted| (wanted.rev, &wanted.routing));
        let ordered = self.ordered.as_ref().map(|ordered| (ordered.rev, &ordered.routing));
        wanted == ordered
    }

    /// Whether files of wanted versions are neither here nor being fetched, and may be tried.
    pub(super) fn needs_fetch(&self, now: Instant, ready: impl Fn(Version) -> bool) -> bool {
        let Some(wanted) = self.next() else { return false };
        self.fetching.is_none()
            && self.retry_at.is_none_or(|at| at <= now)
            && wanted.versions.iter().any(|version| !ready(*version))
    }

    /// Everything that is wanted, loaded or kept, for eviction to leave alone.
    pub(super) fn in_use(&self, model: &ModelName) -> impl Iterator<Item = (ModelName, Version)> {
        let wanted = self.wanted.iter().chain(self.next());
        let wanted = wanted.flat_map(|wanted| wanted.versions.iter().copied());
        let ordered = self.ordered.iter().flat_map(|ordered| ordered.versions.keys().copied());
        let kept = self.kept.iter().map(|(version, _, _)| *version);
        wanted.chain(ordered).chain(kept).map(|version| (model.clone(), version))
    }

    /// Whether it has not come to rest yet.
    pub(super) fn is_open(&self, status: Option<&DeployedStatus>) -> bool {
        self.fetching.is_some() || self.detours.now.is_some() || self.stands(status).0 == Health::Loading
    }

    /// Whether the newest deployment is served, and settled.
    pub(super) fn stands(&self, status: Option<&DeployedStatus>) -> (Health, Option<String>) {
        let Some(_) = &self.wanted else { return (Health::Ok, None) };
        let mut errors: Vec<String> = self.refused.iter().cloned().collect();
        errors.extend(self.errors.iter().map(|(version, error)| format!("version {version}: {error}")));
        errors.extend(status.iter().flat_map(|status| status.errors.iter().cloned()));
        let is_serving = status.is_some_and(|status| status.served.is_some());
        let is_open = self.fetching.is_some() || status.is_some_and(|status| !status.settled);
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        let health = match (&error, is_serving) {
            (None, _) if !is_open && self.is_ordered() && status.is_some_and(|status| status.is_current) => {
                Health::Ok
            }
            (Some(_), true) if !is_open => Health::Degraded,
            (Some(_), false) if !is_open => Health::Failed,
            _ => Health::Loading,
        };
        (health, error)
    }

    /// What the replica's lease says of it.
    pub(super) fn lease(&self, status: Option<&DeployedStatus>) -> ModelLease {
        let (health, error) = self.stands(status);
        let mut loaded = BTreeMap::new();
        if let Some(status) = status {
            loaded.extend(status.kept.iter().map(|version| (*version, LoadedState::Kept)));
            loaded.extend(status.serving.iter().map(|version| (*version, LoadedState::Serving)));
        }
        let before = status.and_then(|status| status.served).unwrap_or_default();
        let reason = match (&self.fault, health) {
            (Some(fault), _) => format!("the last verified state is followed: {}", fault.text),
            (None, Health::Loading) if self.detours.now.is_some() => {
                "an earlier deployment is tried".to_owned()
            }
            (None, Health::Loading) if self.fetching.is_some() => "its files are being fetched".to_owned(),
            (None, Health::Loading) => "its versions are being loaded".to_owned(),
            (None, Health::Degraded) => match self.detours.found {
                Some(rev) => format!("the deployment of revision {rev} is served"),
                None => "what was deployed before is served".to_owned(),
            },
            _ => String::new(),
        };
        ModelLease {
            rev: if health == Health::Loading { before.min(self.state.rev) } else { self.state.rev },
            seen: self.state.rev,
            loaded,
            health,
            error,
            reason,
        }
    }
}

/// A version whose copies are in `folder`, with its golden outputs, if it was registered with some.
fn deployed_version(
    folder: PathBuf,
    record: &VersionRecord,
    settings: &BTreeMap<String, serde_json::Value>,
) -> DeployedVersion {
    let validation = &record.validation;
    let golden = validation
        .golden
        .as_ref()
        .map(|_| GoldenFile { path: golden_beside(&folder), runtime: validation.onnxruntime.clone() });
    DeployedVersion {
        folder,
        digest: record.digest.clone(),
        model_file: record.model_file.clone(),
        settings: settings.clone(),
        golden,
    }
}
