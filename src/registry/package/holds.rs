//! Holds across models: a version that another model's version is made from must not be deleted.
//!
//! Two logs cannot be changed at once, so it is done in an order in which every crash is harmless: the parent is held
//! under a name of the registration before the child exists, and under the child's name after that. A hold whose holder
//! does not exist is *dangling*: it keeps too much, never too little, and `weir fsck` lists it.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::model::{ModelName, Version};
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::ops::delete;
use crate::registry::record::ModelRef;
use crate::registry::state::ModelState;

/// How a version is called as a holder.
pub fn holder(model: &ModelName, version: Version) -> String {
    format!("{model}@{version}")
}

/// How a registration is called as a holder, until its version has a number.
pub fn pending(model: &ModelName, registration: Uuid) -> String {
    format!("{model}@registering-{registration}")
}

/// The parents in other models, by model.
pub fn foreign<'a>(child: &ModelName, parents: &'a [ModelRef]) -> BTreeMap<&'a ModelName, Vec<Version>> {
    let mut found: BTreeMap<&ModelName, Vec<Version>> = BTreeMap::new();
    for parent in parents.iter().filter(|parent| parent.model != *child) {
        found.entry(&parent.model).or_default().push(parent.version);
    }
    found
}

/// Holds `versions` for `holder`; nothing for those that it holds already.
///
/// # Errors
/// [`Refusal::NotFound`] when one does not exist or is deleted.
pub fn hold(state: &ModelState, versions: &[Version], holder: &str) -> Result<Vec<Op>, Refusal> {
    each(versions, |version| delete::hold(state, version, holder))
}

/// Lets go of `versions`; nothing for those that `holder` does not hold.
///
/// # Errors
/// As [`delete::release`].
pub fn release(state: &ModelState, versions: &[Version], holder: &str) -> Result<Vec<Op>, Refusal> {
    each(versions, |version| delete::release(state, version, holder))
}

fn each(
    versions: &[Version],
    plan: impl Fn(Version) -> Result<Vec<Op>, Refusal>,
) -> Result<Vec<Op>, Refusal> {
    let planned: Result<Vec<Vec<Op>>, Refusal> = versions.iter().map(|version| plan(*version)).collect();
    planned.map(|ops| ops.concat())
}
