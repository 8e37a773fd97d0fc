//! Plans for deleting and what prevents it. Check and deletion are one revision of one log, so nothing that is in use
//! when a deletion is written can be lost by it, whoever else writes at the same time.

use std::collections::BTreeSet;

use super::check;
use crate::model::Version;
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::state::ModelState;

/// Deletes a version that nobody uses. One that is deleted already changes nothing.
///
/// # Errors
/// [`Refusal::InUse`] with every holder.
pub fn version(state: &ModelState, version: Version) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    if state.versions.get(&version).is_some_and(|known| known.deleted.is_some()) {
        return Ok(Vec::new());
    }
    state.live(version)?;
    let holders = state.holders(version);
    match holders.is_empty() {
        true => Ok(vec![Op::Tombstone { version: Some(version) }]),
        false => {
            Err(Refusal::InUse { what: format!("version {version} of model '{}'", state.model), holders })
        }
    }
}

/// Deletes a model that nobody uses.
///
/// # Errors
/// [`Refusal::InUse`] with every holder.
pub fn model(state: &ModelState) -> Result<Vec<Op>, Refusal> {
    if state.deleted.is_some() {
        return Ok(Vec::new());
    }
    check::exists(state)?;
    let holders = model_holders(state);
    match holders.is_empty() {
        true => Ok(vec![Op::Tombstone { version: None }]),
        false => Err(Refusal::InUse { what: format!("model '{}'", state.model), holders }),
    }
}

/// Who would be harmed if the model went. Its own versions' lineage does not count: they go with it.
pub fn model_holders(state: &ModelState) -> Vec<String> {
    let deployments = state.deployments.keys().map(|name| format!("deployment '{name}'"));
    let aliases = state.aliases.keys().map(|name| format!("alias '{name}'"));
    let mut holders: Vec<String> = deployments.chain(aliases).collect();
    let live = || state.versions.iter().filter(|(_, version)| version.deleted.is_none());
    let baselines = live().filter(|(_, version)| version.baseline.is_some());
    holders.extend(baselines.map(|(number, _)| format!("baseline of version {number}")));
    let others: BTreeSet<&String> = live().flat_map(|(_, version)| &version.holders).collect();
    holders.extend(others.into_iter().map(|holder| format!("lineage of {holder}")));
    holders
}

/// Takes the deletion of a version back. What it was made from, in the same model, must not be deleted.
///
/// # Errors
/// [`Refusal`].
pub fn undelete_version(state: &ModelState, version: Version) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    let missing = || Refusal::NotFound(format!("model '{}' has no version {version}", state.model));
    let known = state.versions.get(&version).ok_or_else(missing)?;
    if known.deleted.is_none() {
        return Ok(Vec::new());
    }
    let parents = known.record.derived_from.iter().filter(|parent| parent.model == state.model);
    for parent in parents {
        if state.live(parent.version).is_err() {
            return Err(Refusal::Precondition(format!(
                "version {version} is made from version {}, which is deleted: undelete that one first",
                parent.version
            )));
        }
    }
    Ok(vec![Op::Undelete { version: Some(version) }])
}

/// Takes the deletion of the model back.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn undelete_model(state: &ModelState) -> Result<Vec<Op>, Refusal> {
    if state.deleted.is_some() {
        return Ok(vec![Op::Undelete { version: None }]);
    }
    check::exists(state).map(|()| Vec::new())
}

/// Holds a version for a version of another model that is made from it (`name@3`).
///
/// # Errors
/// [`Refusal`].
pub fn hold(state: &ModelState, version: Version, holder: &str) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    check::text("the holder", holder, check::SUBJECT_LEN_MAX)?;
    let holders = &state.live(version)?.holders;
    if holders.contains(holder) {
        return Ok(Vec::new());
    }
    check::count("holders of a version", holders.len() + 1, check::HOLDERS_MAX)?;
    Ok(vec![Op::Hold { version, holder: holder.to_owned() }])
}

/// Ends a hold. One that is not there changes nothing, so that it can be tried again.
///
/// # Errors
/// None today; the result leaves room.
pub fn release(state: &ModelState, version: Version, holder: &str) -> Result<Vec<Op>, Refusal> {
    let is_held = state.versions.get(&version).is_some_and(|known| known.holders.contains(holder));
    match is_held {
        true => Ok(vec![Op::Release { version, holder: holder.to_owned() }]),
        false => Ok(Vec::new()),
    }
}
