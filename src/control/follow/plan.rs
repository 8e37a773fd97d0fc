//! What a model's state wants served under one deployment. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Version;
use crate::registry::{ModelState, StickyKey};
use crate::serving::{Routing, SplitKey};

/// What ought to be served of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The revision that last changed it.
    pub(super) rev: u64,
    /// How sources of settings name it.
    pub(super) origin: String,
    /// Every version that a request can reach.
    pub(super) versions: BTreeSet<Version>,
    pub(super) routing: Routing,
    /// Settings over those of each version's own file.
    pub(super) settings: BTreeMap<String, serde_json::Value>,
    /// How long what is replaced stays loaded.
    pub(super) window: Duration,
}

/// What `state` wants served by those who follow `deployment`; `None` when nothing.
pub(super) fn wanted(state: &ModelState, deployment: &str) -> Option<Wanted> {
    let deployed = state.deployments.get(deployment).filter(|_| state.exists())?;
    let is_live = |version: &Version| state.live(*version).is_ok();
    let spec = &deployed.spec;
    let traffic: BTreeMap<Version, u32> = spec
        .traffic
        .iter()
        .filter(|(version, _)| is_live(version))
        .map(|(v, weight)| (*v, *weight))
        .collect();
    if traffic.values().all(|weight| *weight == 0) {
        return None;
    }
    let aliases = state.aliases.iter().filter(|(_, alias)| is_live(&alias.version));
    let aliases: BTreeMap<String, Version> =
        aliases.map(|(name, alias)| (name.clone(), alias.version)).collect();
    let since = state.aliases.values().map(|alias| alias.since.rev);
    let key = match &spec.sticky {
        StickyKey::RequestId => SplitKey::RequestId,
        StickyKey::Header(name) => SplitKey::Header(name.as_str().into()),
    };
    Some(Wanted {
        rev: since.chain([deployed.since.rev]).max().unwrap_or_default(),
        origin: format!("deployment {deployment}@rev {}", deployed.since.rev),
        versions: traffic.keys().chain(aliases.values()).copied().collect(),
        routing: Routing { traffic, key, aliases },
        settings: spec.settings.clone(),
        window: Duration::from_secs(spec.rollback_window_s),
    })
}

impl Wanted {
    /// Whether requests that name no version may go to `version`.
    pub(super) fn has_share(&self, version: Version) -> bool {
        self.routing.traffic.get(&version).is_some_and(|weight| *weight > 0)
    }
}
