//! What a registry wants served of a model, and what has come of it: plain values and the rules between them.
//!
//! A model of the registry has a pool of loaded versions. The newest target says which of them get requests. As soon as
//! every version with a share of the traffic is in the pool, the target is published; what only an alias needs follows
//! when it is loaded, and keeps what it had when it cannot be. So bringing back a version that is still in the pool is
//! one publication, whatever else is being loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::table::Routing;
use super::super::{GoldenFile, Servable};
use super::failure::Failure;
use crate::model::Version;

/// What a registry wants served of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct DeployedModel {
    /// The revision that says so.
    pub rev: u64,
    /// How sources of settings and errors name it, for example `deployment default@rev 12`.
    pub origin: String,
    /// Every version that a request can reach.
    pub versions: BTreeMap<Version, DeployedVersion>,
    /// Versions that stay loaded, if they are, so that a rollback finds them warm.
    pub keep: Vec<(Version, DeployedVersion)>,
    /// Where requests go. Every version in it is in `versions`.
    pub routing: Routing,
    /// A version that did not load is tried again when this changes.
    pub attempt: u64,
    /// Whether the server is ready only when the model is served.
    pub required: bool,
}

/// A version's files and settings. A version of a registry never changes, so equal values are equal loads.
#[derive(Debug, Clone, PartialEq)]
pub struct DeployedVersion {
    /// The folder with the version's files, its own configuration among them.
    pub folder: PathBuf,
    /// SHA-256 over the files, as the registry has it.
    pub digest: String,
    /// The model file, relative to the folder.
    pub model_file: String,
    /// Settings that go over those of the version's own file.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// What it must answer before it takes traffic, if anything is known.
    pub golden: Option<GoldenFile>,
}

/// What has come of a model of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeployedStatus {
    /// The newest target's revision.
    pub wanted: u64,
    /// The revision of the target that is served.
    pub served: Option<u64>,
    /// Versions that requests can reach.
    pub serving: BTreeSet<Version>,
    /// Versions that are only kept.
    pub kept: BTreeSet<Version>,
    /// Whether everything was loaded or has failed.
    pub settled: bool,
    /// Why versions of the newest target are not served.
    pub errors: Vec<String>,
    /// Whether one of them failed for a reason of the moment, so that another attempt may find it loading.
    pub may_pass: bool,
    /// Whether the newest target's traffic is served as it says.
    pub is_current: bool,
}

/// A loaded version and what it was loaded from.
#[derive(Debug, Clone)]
pub(super) struct Pooled {
    pub(super) servable: Arc<Servable>,
    pub(super) from: DeployedVersion,
}

/// A model of the registry. Changed under the manager's lock; loads happen outside.
#[derive(Debug)]
pub(super) struct Deployed {
    pub(super) target: Arc<DeployedModel>,
    /// The target that was published last.
    pub(super) published: Option<Arc<DeployedModel>>,
    /// What the table routes, once something is published.
    pub(super) routes: Routes,
    pub(super) pool: Vec<Pooled>,
    /// Versions of the target that did not load.
    pub(super) failed: BTreeMap<Version, Failure<DeployedVersion>>,
    /// A loader thread has it, or it is in the queue.
    pub(super) busy: bool,
}

/// What is published of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    pub(super) versions: BTreeMap<Version, Arc<Servable>>,
    pub(super) routing: Routing,
}

impl Deployed {
    pub(super) fn new(target: Arc<DeployedModel>) -> Deployed {
        Deployed {
            target,
            published: None,
            routes: Routes::default(),
            pool: Vec::new(),
            failed: BTreeMap::new(),
            busy: false,
        }
    }

    /// Takes a newer target.
    pub(super) fn retarget(&mut self, target: Arc<DeployedModel>) {
        if target.attempt != self.target.attempt {
            self.failed.clear();
        }
        self.failed.retain(|version, failure| target.versions.get(version) == Some(&failure.key));
        self.target = target;
    }

    /// The load of `version` as `from` describes it.
    fn pooled(&self, version: Version, from: &DeployedVersion) -> Option<&Pooled> {
        self.pool.iter().find(|pooled| pooled.servable.id.version == version && pooled.from == *from)
    }

    /// The next version to load: those with a share of the traffic first.
    pub(super) fn missing(&self) -> Option<(Version, DeployedVersion)> {
        let weight = |version: &Version| self.target.routing.traffic.get(version).copied().unwrap_or(0);
        let mut missing: Vec<_> = self
            .target
            .versions
            .iter()
            .filter(|(version, from)| {
                self.pooled(**version, from).is_none() && !self.failed.contains_key(version)
            })
            .collect();
        missing.sort_by_key(|(version, _)| std::cmp::Reverse((weight(version), **version)));
        missing.first().map(|(version, from)| (**version, (*from).clone()))
    }

    /// What to publish now: the newest target, if every version with a share of its traffic is loaded, with those of
    /// its aliases that lead somewhere. `None` when what is published has to stay.
    pub(super) fn publishable(&self) -> Option<Routes> {
        let target = &self.target;
        let mut versions = BTreeMap::new();
        for (version, from) in &target.versions {
            match self.pooled(*version, from) {
                Some(pooled) => {
                    versions.insert(*version, Arc::clone(&pooled.servable));
                }
                None if target.routing.traffic.get(version).is_some_and(|weight| *weight > 0) => return None,
                None => {}
            }
        }
        // Reachable by its number for as long as it is kept: a client may have asked which version it got.
        for (version, from) in &target.keep {
            if let (false, Some(pooled)) = (versions.contains_key(version), self.pooled(*version, from)) {
                versions.insert(*version, Arc::clone(&pooled.servable));
            }
        }
        let mut routing = Routing { aliases: BTreeMap::new(), ..target.routing.clone() };
        for (alias, version) in &target.routing.aliases {
            let before = self.routes.routing.aliases.get(alias).copied();
            let old = before.and_then(|old| Some((old, self.routes.versions.get(&old)?)));
            if versions.contains_key(version) {
                routing.aliases.insert(alias.clone(), *version);
            } else if let Some((old, servable)) = old {
                routing.aliases.insert(alias.clone(), old);
                versions.entry(old).or_insert_with(|| Arc::clone(servable));
            }
        }
        routing.traffic.retain(|version, _| versions.contains_key(version));
        Some(Routes { versions, routing })
    }

    /// Drops what is neither published nor kept; returns it.
    pub(super) fn prune(&mut self) -> Vec<Pooled> {
        let (target, routes) = (&self.target, &self.routes);
        let is_wanted = |pooled: &Pooled| {
            let version = pooled.servable.id.version;
            let routed = routes.versions.get(&version);
            routed.is_some_and(|servable| Arc::ptr_eq(servable, &pooled.servable))
                || target.versions.get(&version) == Some(&pooled.from)
                || target.keep.iter().any(|(kept, from)| *kept == version && *from == pooled.from)
        };
        let (wanted, dropped) = std::mem::take(&mut self.pool).into_iter().partition(is_wanted);
        self.pool = wanted;
        dropped
    }

    /// What has come of it.
    pub(super) fn status(&self) -> DeployedStatus {
        let reachable = self.published.as_ref().map(|published| &published.versions);
        let is_serving = |version: &Version| reachable.is_some_and(|versions| versions.contains_key(version));
        let all = self.pool.iter().map(|pooled| pooled.servable.id.version);
        let (serving, kept): (BTreeSet<_>, BTreeSet<_>) = all.partition(|version| {
            is_serving(version) || self.routes.routing.aliases.values().any(|aliased| aliased == version)
        });
        let errors =
            self.failed.iter().map(|(version, failure)| format!("version {version}: {}", failure.reason));
        DeployedStatus {
            wanted: self.target.rev,
            served: self.published.as_ref().map(|published| published.rev),
            kept: kept.difference(&serving).copied().collect(),
            serving,
            settled: !self.busy,
            errors: errors.collect(),
            may_pass: self.failed.values().any(|failure| failure.is_of_the_moment),
            is_current: self.published.as_ref().is_some_and(|published| Arc::ptr_eq(published, &self.target)),
        }
    }
}
