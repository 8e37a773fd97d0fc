//! What a model's state wants served under one deployment. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Version;
use crate::registry::{DeploymentSpec, ModelState, StickyKey};
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
    let since = deployed.since.rev;
    let aliases = state.aliases.values().map(|alias| alias.since.rev);
    let rev = aliases.chain([since]).max().unwrap_or_default();
    let mut wanted = by(state, &deployed.spec, deployment, since)?;
    (wanted.rev, wanted.routing.revision) = (rev, rev);
    Some(wanted)
}

/// What was wanted before, `back` deployments ago: 0 is the last one that was another than the present. With it, how far
/// back that was, because deployments that cannot help are passed over.
pub(super) fn wanted_before(state: &ModelState, deployment: &str, back: usize) -> Option<(usize, Wanted)> {
    let deployed = state.deployments.get(deployment).filter(|_| state.exists())?;
    let mut earlier = deployed.history.iter().rev().enumerate().skip(back);
    earlier.find_map(|(back, (since, spec))| {
        let is_other = spec.traffic != deployed.spec.traffic || spec.settings != deployed.spec.settings;
        is_other.then(|| by(state, spec, deployment, since.rev)).flatten().map(|wanted| (back, wanted))
    })
}

/// What `spec` wants of the versions that there are, with the aliases of now.
fn by(state: &ModelState, spec: &DeploymentSpec, deployment: &str, rev: u64) -> Option<Wanted> {
    let is_live = |version: &Version| state.live(*version).is_ok();
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
    let key = match &spec.sticky {
        StickyKey::RequestId => SplitKey::RequestId,
        StickyKey::Header(name) => SplitKey::Header(name.as_str().into()),
    };
    Some(Wanted {
        rev,
        origin: format!("deployment {deployment}@rev {rev}"),
        versions: traffic.keys().chain(aliases.values()).copied().collect(),
        routing: Routing { traffic, key, aliases, revision: rev },
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
