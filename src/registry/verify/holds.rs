//! Versions that are made from other models' versions, against what those know of it. A registration that was cut off
//! between its two revisions leaves a hold without a holder.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Finding;
use crate::model::{ModelName, Version};
use crate::registry::state::ModelState;

/// Compares all holds. With `partly`, models that are not in `states` are not missed.
pub(super) fn walk(states: &BTreeMap<ModelName, ModelState>, partly: bool, findings: &mut Vec<Finding>) {
    let mut found = |model: &ModelName, problem: String| {
        findings.push(Finding { model: model.to_string(), rev: None, kind: "hold", problem });
    };
    for (model, state) in states.iter().filter(|(_, state)| state.deleted.is_none()) {
        for (number, version) in state.versions.iter().filter(|(_, version)| version.deleted.is_none()) {
            for holder in version.holders.iter().filter(|holder| !is_registering(holder)) {
                let known = parse(holder).map(|(name, version)| (states.get(&name), version));
                let lives = match known {
                    None => false,
                    Some((None, _)) => partly,
                    Some((Some(state), version)) => is_live(state, version),
                };
                if !lives {
                    found(model, format!("version {number} is held by {holder}, which is not there"));
                }
            }
            for parent in &version.record.derived_from {
                let lives = match states.get(&parent.model) {
                    None => partly,
                    Some(state) => is_live(state, parent.version),
                };
                if !lives {
                    let (name, from) = (&parent.model, parent.version);
                    found(model, format!("version {number} is made from {name}@{from}, which is not there"));
                }
            }
        }
    }
}

fn is_live(state: &ModelState, version: Version) -> bool {
    let found = state.versions.get(&version);
    state.deleted.is_none() && found.is_some_and(|version| version.deleted.is_none())
}

/// The version that `holder`, `name@3`, names.
fn parse(holder: &str) -> Option<(ModelName, Version)> {
    let (name, version) = holder.split_once('@')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

/// Whether `holder`, `name@registering-…`, is a registration that may still be going on: its id tells when it began.
fn is_registering(holder: &str) -> bool {
    let id = holder.split_once("@registering-").and_then(|(_, id)| id.parse::<Uuid>().ok());
    let began = id.and_then(|id| id.get_timestamp()).and_then(|time| {
        let (seconds, _) = time.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
    });
    began.is_some_and(|began| Utc::now() - began < chrono::TimeDelta::days(1))
}
