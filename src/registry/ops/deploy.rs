//! Plans for deployments: what is served, how it is split, and going back.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{check, settings};
use crate::model::Version;
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::record::{DeploymentSpec, StickyKey};
use crate::registry::state::{DeploymentState, ModelState, check_deployment};

/// The largest sum of weights.
pub const WEIGHT_SUM_MAX: u64 = 1_000_000;
/// The weight of a version that has all the traffic.
const WHOLE: u32 = 100;
/// How long a replaced version stays loaded, when nothing else was said.
pub const ROLLBACK_WINDOW_S: u64 = 600;
/// The longest that it may.
pub const ROLLBACK_WINDOW_S_MAX: u64 = 7 * 24 * 3600;
/// Bytes of a header's name.
const HEADER_LEN_MAX: usize = 64;

/// What of a deployment is to be different. What is not mentioned stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpecChange {
    /// Settings over `model.toml`, by dotted name; `None` takes one away.
    pub settings: BTreeMap<String, Option<Value>>,
    /// What decides a request's share.
    pub sticky: Option<StickyKey>,
    /// How long a replaced version stays loaded.
    pub rollback_window_s: Option<u64>,
}

/// Gives all of a deployment's traffic to one version (a number or an alias). The deployment is made when it is new.
///
/// # Errors
/// [`Refusal`].
pub fn deploy(
    state: &ModelState,
    deployment: &str,
    version: &str,
    change: &SpecChange,
) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    check_deployment(deployment)?;
    let version = state.resolve(version)?;
    let current = state.deployments.get(deployment).map(|deployment| &deployment.spec);
    if current.is_none() {
        check::count("deployments", state.deployments.len() + 1, check::DEPLOYMENTS_MAX)?;
    }
    let mut spec = current.cloned().unwrap_or(DeploymentSpec {
        traffic: BTreeMap::new(),
        sticky: StickyKey::default(),
        settings: BTreeMap::new(),
        rollback_window_s: ROLLBACK_WINDOW_S,
    });
    spec.traffic = BTreeMap::from([(version, WHOLE)]);
    for (key, value) in &change.settings {
        match value {
            Some(value) => spec.settings.insert(key.clone(), value.clone()),
            None => spec.settings.remove(key),
        };
    }
    spec.sticky = change.sticky.clone().unwrap_or(spec.sticky);
    spec.rollback_window_s = change.rollback_window_s.unwrap_or(spec.rollback_window_s);
    check_spec(state, &spec)?;
    Ok(deploy_unless_same(state, deployment, spec, None))
}

/// Shares a deployment's traffic between versions (numbers or aliases). Versions that are not named get none and are
/// unloaded; a weight of 0 keeps one loaded for those who name it.
///
/// # Errors
/// [`Refusal`].
pub fn traffic(
    state: &ModelState,
    deployment: &str,
    shares: &[(String, u32)],
    sticky: Option<&StickyKey>,
) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    let current = find(state, deployment)?;
    let mut traffic = BTreeMap::new();
    for (name, weight) in shares {
        let version = state.resolve(name)?;
        if traffic.insert(version, *weight).is_some() {
            return Err(Refusal::Invalid(format!("version {version} is named twice")));
        }
    }
    let mut spec = DeploymentSpec { traffic, ..current.spec.clone() };
    spec.sticky = sticky.cloned().unwrap_or(spec.sticky);
    check_spec(state, &spec)?;
    if spec == current.spec {
        return Ok(Vec::new());
    }
    let sticky = Some(spec.sticky).filter(|sticky| *sticky != current.spec.sticky);
    Ok(vec![Op::SetTraffic { deployment: deployment.to_owned(), traffic: spec.traffic, sticky }])
}

/// Brings back what the deployment served before; with `to`, what it served at that revision of the model.
///
/// # Errors
/// [`Refusal`].
pub fn rollback(state: &ModelState, deployment: &str, to: Option<u64>) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    let current = find(state, deployment)?;
    let found = match to {
        None => current.history.last().map(|(moment, spec)| (moment.rev, spec)),
        Some(rev) => spec_at(current, rev),
    };
    let missing = || {
        let wanted = to.map_or("before".to_owned(), |rev| format!("at revision {rev}"));
        Refusal::NotFound(format!("deployment '{deployment}' remembers nothing that it served {wanted}"))
    };
    let (rev, spec) = found.ok_or_else(missing)?;
    let gone = |version: &&Version| state.live(**version).is_err();
    if let Some(version) = spec.traffic.keys().find(gone) {
        return Err(Refusal::Precondition(format!(
            "version {version}, which deployment '{deployment}' served at revision {rev}, is deleted: undelete it first"
        )));
    }
    check_spec(state, spec)?;
    Ok(deploy_unless_same(state, deployment, spec.clone(), Some(rev)))
}

/// Ends a deployment.
///
/// # Errors
/// [`Refusal`].
pub fn undeploy(state: &ModelState, deployment: &str) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    find(state, deployment)?;
    Ok(vec![Op::Undeploy { deployment: deployment.to_owned() }])
}

/// Makes deployment `to` serve what `from` serves, settings included.
///
/// # Errors
/// [`Refusal`].
pub fn clone(state: &ModelState, from: &str, to: &str) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    check_deployment(to)?;
    let spec = find(state, from)?.spec.clone();
    if !state.deployments.contains_key(to) {
        check::count("deployments", state.deployments.len() + 1, check::DEPLOYMENTS_MAX)?;
    }
    check_spec(state, &spec)?;
    Ok(deploy_unless_same(state, to, spec, None))
}

/// The deployment of that name.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn find<'a>(state: &'a ModelState, deployment: &str) -> Result<&'a DeploymentState, Refusal> {
    let missing = || {
        let shown = check::shown(deployment);
        Refusal::NotFound(format!("model '{}' has no deployment '{shown}'", state.model))
    };
    state.deployments.get(deployment).ok_or_else(missing)
}

/// What a deployment served when the model was at revision `rev`, and the revision that brought it.
pub fn spec_at(deployment: &DeploymentState, rev: u64) -> Option<(u64, &DeploymentSpec)> {
    let now = std::iter::once((deployment.since.rev, &deployment.spec));
    let before = deployment.history.iter().rev().map(|(moment, spec)| (moment.rev, spec));
    now.chain(before).find(|(since, _)| *since <= rev)
}

/// Reads shares such as `1=90`, `champion=90%`. Percentages must sum to 100.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_shares(texts: &[String]) -> Result<Vec<(String, u32)>, Refusal> {
    let mut shares = Vec::new();
    let mut percents = 0;
    for text in texts {
        let wrong = || {
            let shown = check::shown(text);
            Refusal::Invalid(format!("'{shown}': expected VERSION=WEIGHT, such as 2=10 or champion=10%"))
        };
        let (name, weight) = text.split_once('=').ok_or_else(wrong)?;
        let (weight, percent) = match weight.strip_suffix('%') {
            Some(weight) => (weight, true),
            None => (weight, false),
        };
        percents += usize::from(percent);
        let is_number = !weight.is_empty() && weight.bytes().all(|byte| byte.is_ascii_digit());
        let weight: u32 = weight.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        shares.push((name.to_owned(), weight));
    }
    let sum: u64 = shares.iter().map(|(_, weight)| u64::from(*weight)).sum();
    match percents {
        0 => Ok(shares),
        _ if percents < shares.len() => {
            Err(Refusal::Invalid("give every share as a percentage, or none".to_owned()))
        }
        _ if sum != 100 => Err(Refusal::Invalid(format!("the percentages sum to {sum}, not to 100"))),
        _ => Ok(shares),
    }
}

/// Reads a sticky key: `request_id` or `header:NAME`.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_sticky(text: &str) -> Result<StickyKey, Refusal> {
    match text.split_once(':') {
        Some(("header", name)) => Ok(StickyKey::Header(name.to_ascii_lowercase())),
        None if text == "request_id" => Ok(StickyKey::RequestId),
        _ => {
            let shown = check::shown(text);
            Err(Refusal::Invalid(format!("'{shown}': a sticky key is request_id or header:NAME")))
        }
    }
}

/// Checks everything about a specification, its versions included.
///
/// # Errors
/// [`Refusal`].
pub fn check_spec(state: &ModelState, spec: &DeploymentSpec) -> Result<(), Refusal> {
    check::count("versions in one split", spec.traffic.len(), check::SPLIT_MAX)?;
    spec.traffic.keys().try_for_each(|version| state.live(*version).map(drop))?;
    let sum: u64 = spec.traffic.values().map(|weight| u64::from(*weight)).sum();
    if sum == 0 || sum > WEIGHT_SUM_MAX {
        return Err(Refusal::Invalid(format!(
            "the weights sum to {sum}, and must sum to 1 to {WEIGHT_SUM_MAX}"
        )));
    }
    if spec.rollback_window_s > ROLLBACK_WINDOW_S_MAX {
        let days = ROLLBACK_WINDOW_S_MAX / (24 * 3600);
        return Err(Refusal::Invalid(format!("a rollback window is at most {days} days")));
    }
    if let StickyKey::Header(name) = &spec.sticky {
        check_header(name)?;
    }
    settings::check(&spec.settings)
}

fn check_header(name: &str) -> Result<(), Refusal> {
    let ok = (1..=HEADER_LEN_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    let refuse = || {
        Refusal::Invalid(format!(
            "'{}': a sticky header's name is 1 to {HEADER_LEN_MAX} lower-case letters, digits, '-' or '_'",
            check::shown(name)
        ))
    };
    ok.then_some(()).ok_or_else(refuse)
}

fn deploy_unless_same(
    state: &ModelState,
    deployment: &str,
    spec: DeploymentSpec,
    rollback_to: Option<u64>,
) -> Vec<Op> {
    let current = state.deployments.get(deployment);
    if current.is_some_and(|current| current.spec == spec) {
        return Vec::new();
    }
    vec![Op::Deploy { deployment: deployment.to_owned(), spec, rollback_to }]
}
