//! Plans for deleting and what prevents it. Check and deletion are one revision of one log, so nothing that is in use
//! when a deletion is written can be lost by it, whoever else writes at the same time.

use std::collections::BTreeSet;

use super::{Change, change, check};
use crate::model::{ModelName, Version};
use crate::registry::blobs;
use crate::registry::client::Registry;
use crate::registry::error::{Refusal, RegistryError};
use crate::registry::op::Op;
use crate::registry::record::ModelRef;
use crate::registry::revision::Intent;
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

/// Deletes a version, or without one the model. Versions of other models that it was made from are released after it is
/// written, so a crash in between leaves a hold too many and never one too few.
///
/// # Errors
/// [`RegistryError`].
pub async fn carry_out(
    registry: &Registry,
    model: &ModelName,
    number: Option<Version>,
    intent: &Intent,
) -> Result<Change, RegistryError> {
    let made = match number {
        Some(number) => change(registry, model, intent, |state| version(state, number)).await?,
        None => change(registry, model, intent, self::model).await?,
    };
    for (parent, child) in foreign_parents(&made.state, number) {
        let intent = Intent { if_match: None, ..intent.clone() };
        change(registry, &parent.model, &intent, |state| release(state, parent.version, &child)).await?;
    }
    Ok(made)
}

/// Takes a deletion back. What it was made from is held again first, and its files must still be there.
///
/// # Errors
/// [`RegistryError`].
pub async fn take_back(
    registry: &Registry,
    model: &ModelName,
    number: Option<Version>,
    intent: &Intent,
) -> Result<Change, RegistryError> {
    let state = registry.state(model).await?;
    let is_hidden = match number {
        Some(number) => !undelete_version(&state, number)?.is_empty(),
        None => !undelete_model(&state)?.is_empty(),
    };
    if is_hidden {
        for (parent, child) in foreign_parents(&state, number) {
            let intent = Intent { if_match: None, ..intent.clone() };
            change(registry, &parent.model, &intent, |state| hold(state, parent.version, &child)).await?;
        }
        check_files(registry, &state, number).await?;
    }
    let made = match number {
        Some(number) => change(registry, model, intent, |state| undelete_version(state, number)).await?,
        None => change(registry, model, intent, undelete_model).await?,
    };
    if is_hidden && let Err(gone) = check_files(registry, &state, number).await {
        // A collection was faster than the commit, and nobody has the files to upload them again.
        let intent = Intent { if_match: None, ..intent.clone() };
        change(registry, model, &intent, |_| Ok(vec![Op::Tombstone { version: number }])).await?;
        return Err(gone);
    }
    Ok(made)
}

/// Versions of other models that the version, or without one every live version, was made from, each with its holder's
/// name.
fn foreign_parents(state: &ModelState, number: Option<Version>) -> Vec<(ModelRef, String)> {
    let is_meant = |version: &Version, is_live: bool| number.map_or(is_live, |number| number == *version);
    let versions =
        state.versions.iter().filter(|(version, found)| is_meant(version, found.deleted.is_none()));
    versions
        .flat_map(|(version, found)| {
            let parents = found.record.derived_from.iter().filter(|parent| parent.model != state.model);
            parents.map(move |parent| (parent.clone(), format!("{}@{version}", state.model)))
        })
        .collect()
}

/// Files are collected a grace period after a deletion; what is gone cannot be served again.
async fn check_files(
    registry: &Registry,
    state: &ModelState,
    number: Option<Version>,
) -> Result<(), RegistryError> {
    let meant = state.versions.iter().filter(|(version, found)| match number {
        Some(number) => **version == number,
        None => found.deleted.is_none(),
    });
    for (version, found) in meant {
        let missing = blobs::settle(registry.store(), &found.record.files).await?;
        if let Some(file) = missing.first() {
            return Err(Refusal::Precondition(format!(
                "version {version} cannot come back: its file '{}' was collected after the deletion",
                check::shown(&file.path)
            ))
            .into());
        }
    }
    Ok(())
}
