//! Plans for what is said about models and versions: tags, properties, metrics, descriptions, baselines.
//!
//! `version` is empty for the model itself, and otherwise a number or an alias.

use std::collections::BTreeMap;

use super::check;
use crate::model::Version;
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::record::FileRef;
use crate::registry::state::ModelState;

/// Sets and removes tags.
///
/// # Errors
/// [`Refusal`].
pub fn tag(
    state: &ModelState,
    version: &str,
    set: &BTreeMap<String, String>,
    unset: &[String],
) -> Result<Vec<Op>, Refusal> {
    let version = target(state, version)?;
    let tags = match version {
        Some(version) => &state.live(version)?.tags,
        None => &state.tags,
    };
    let mut ops = Vec::new();
    for key in unset {
        if set.contains_key(key) {
            return Err(Refusal::Invalid(format!("tag '{}' is both set and unset", check::shown(key))));
        }
        if !tags.contains_key(key) {
            return Err(Refusal::NotFound(format!("there is no tag '{}'", check::shown(key))));
        }
        ops.push(Op::UnsetTag { version, key: key.clone() });
    }
    for (key, value) in set {
        check::key("tag", key)?;
        check::text(&format!("tag '{key}'"), value, check::VALUE_LEN_MAX)?;
        if tags.get(key) != Some(value) {
            ops.push(Op::SetTag { version, key: key.clone(), value: value.clone() });
        }
    }
    let added = set.keys().filter(|key| !tags.contains_key(*key)).count();
    let kept = tags.keys().filter(|key| !unset.contains(key)).count();
    if added > 0 {
        check::count("tags", kept + added, check::TAGS_MAX)?;
    }
    Ok(ops)
}

/// Sets properties, each of which can be set once. The same value again changes nothing.
///
/// # Errors
/// [`Refusal`].
pub fn properties(
    state: &ModelState,
    version: &str,
    set: &BTreeMap<String, String>,
) -> Result<Vec<Op>, Refusal> {
    let version = required(state, version)?;
    let known = &state.live(version)?.properties;
    let mut ops = Vec::new();
    for (key, value) in set {
        check::key("property", key)?;
        check::text(&format!("property '{key}'"), value, check::VALUE_LEN_MAX)?;
        match known.get(key) {
            Some(current) if current == value => {}
            Some(current) => {
                let current = check::shown(current);
                return Err(Refusal::Exists(format!(
                    "property '{key}' of version {version} is '{current}', and is written once"
                )));
            }
            None => ops.push(Op::SetProperty { version, key: key.clone(), value: value.clone() }),
        }
    }
    check::count("properties", known.len() + ops.len(), check::PROPERTIES_MAX)?;
    Ok(ops)
}

/// Sets the description, and metrics of a version.
///
/// # Errors
/// [`Refusal`].
pub fn describe(
    state: &ModelState,
    version: &str,
    description: Option<&str>,
    metrics: &BTreeMap<String, f64>,
) -> Result<Vec<Op>, Refusal> {
    let version = target(state, version)?;
    let current = match version {
        Some(version) => state.live(version)?.description.as_str(),
        None => state.description.as_str(),
    };
    if let Some(text) = description {
        check::text("the description", text, check::DESCRIPTION_LEN_MAX)?;
    }
    let description = description.filter(|text| *text != current).map(str::to_owned);
    let mut changed = BTreeMap::new();
    for (name, value) in metrics {
        check::key("metric", name)?;
        if !value.is_finite() {
            return Err(Refusal::Invalid(format!("metric '{name}': {value} is not a finite number")));
        }
        let Some(version) = version else {
            return Err(Refusal::Invalid("metrics belong to a version: name it, as in NAME@3".to_owned()));
        };
        let known = &state.live(version)?.metrics;
        if known.get(name) != Some(value) {
            changed.insert(name.clone(), *value);
        }
    }
    if let Some(version) = version {
        let known = &state.live(version)?.metrics;
        let added = changed.keys().filter(|name| !known.contains_key(*name)).count();
        check::count("metrics", known.len() + added, check::METRICS_MAX)?;
    }
    match description.is_none() && changed.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(vec![Op::Annotate { version, metrics: changed, description }]),
    }
}

/// Sets or removes the profile that a version's traffic is compared with.
///
/// # Errors
/// [`Refusal`].
pub fn baseline(state: &ModelState, version: &str, profile: Option<&FileRef>) -> Result<Vec<Op>, Refusal> {
    let version = required(state, version)?;
    match state.live(version)?.baseline.as_ref() == profile {
        true => Ok(Vec::new()),
        false => Ok(vec![Op::SetBaseline { version, profile: profile.cloned() }]),
    }
}

/// The version that is meant; `None` for the model itself.
fn target(state: &ModelState, version: &str) -> Result<Option<Version>, Refusal> {
    check::exists(state)?;
    match version {
        "" => Ok(None),
        version => state.resolve(version).map(Some),
    }
}

fn required(state: &ModelState, version: &str) -> Result<Version, Refusal> {
    let missing = || Refusal::Invalid(format!("name a version, as in {}@3", state.model));
    target(state, version)?.ok_or_else(missing)
}
