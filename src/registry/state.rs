//! A model's state: the fold of its log. Also what is written to snapshots, so every map is ordered.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{FoldError, Refusal};
use super::op::Op;
use super::record::{DeploymentSpec, FileRef, VersionRecord};
use super::revision::{Actor, FORMAT, NO_PREVIOUS, Revision};
use crate::model::{ModelName, Version};

/// Earlier specifications that a deployment remembers, for rollbacks; older ones are in the log.
pub const HISTORY_MAX: usize = 32;

/// When something happened, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The revision.
    pub rev: u64,
    /// Its author's clock.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// Everything that the log of one model says, up to revision `rev`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelState {
    /// The model.
    pub model: ModelName,
    /// The newest revision in it; 0 before the first.
    pub rev: u64,
    /// SHA-256 of that revision's file.
    pub head: String,
    /// Its creation; `None` before the first revision.
    pub created: Option<Moment>,
    /// The time of revision `rev`.
    pub updated: Option<DateTime<Utc>>,
    /// What the model is for.
    pub description: String,
    /// Approvals that a deployment or alias needs.
    pub approvals: u32,
    /// Tags of the model.
    pub tags: BTreeMap<String, String>,
    /// Its deletion.
    pub deleted: Option<Moment>,
    /// Every version that ever was, deleted ones included.
    pub versions: BTreeMap<Version, VersionState>,
    /// Aliases.
    pub aliases: BTreeMap<String, AliasState>,
    /// Deployments.
    pub deployments: BTreeMap<String, DeploymentState>,
    /// What waits for approval.
    pub proposals: BTreeMap<Uuid, Proposal>,
}

/// A version and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionState {
    /// As it was registered.
    pub record: VersionRecord,
    /// When.
    pub created: Moment,
    /// When something was last said about it: a tag, a metric, a description, a deletion.
    pub updated: DateTime<Utc>,
    /// The commit that made it.
    pub commit_id: Uuid,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Properties, each set once.
    pub properties: BTreeMap<String, String>,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// The profile that its traffic is compared with.
    pub baseline: Option<FileRef>,
    /// Versions of other models that are made from it.
    pub holders: BTreeSet<String>,
    /// Its deletion.
    pub deleted: Option<Moment>,
}

/// Where an alias points, since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasState {
    /// The version.
    pub version: Version,
    /// Since when.
    pub since: Moment,
}

/// What a deployment serves, and what it served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentState {
    /// What it serves.
    pub spec: DeploymentSpec,
    /// Since when.
    pub since: Moment,
    /// What it served before, newest last, at most [`HISTORY_MAX`].
    pub history: Vec<(Moment, DeploymentSpec)>,
}

/// Operations that wait for approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Who proposed them, when and why.
    pub proposed: Moment,
    /// What would happen.
    pub ops: Vec<Op>,
}

impl ModelState {
    /// The state before the first revision.
    pub fn new(model: ModelName) -> ModelState {
        ModelState {
            model,
            rev: 0,
            head: NO_PREVIOUS.to_owned(),
            created: None,
            updated: None,
            description: String::new(),
            approvals: 0,
            tags: BTreeMap::new(),
            deleted: None,
            versions: BTreeMap::new(),
            aliases: BTreeMap::new(),
            deployments: BTreeMap::new(),
            proposals: BTreeMap::new(),
        }
    }

    /// The state after `revision`, whose file has the SHA-256 `hash`. On an error the state is as it was.
    ///
    /// # Errors
    /// [`FoldError`] when the revision is not the next one, or says what cannot have happened.
    pub fn apply(&mut self, revision: &Revision, hash: &str) -> Result<(), FoldError> {
        let mut next = self.clone();
        next.apply_in_place(revision, hash)?;
        *self = next;
        Ok(())
    }

    /// As [`ModelState::apply`], for long logs: without the copy, so on an error the state is of no more use.
    pub(super) fn apply_in_place(&mut self, revision: &Revision, hash: &str) -> Result<(), FoldError> {
        let broken = |reason: &str| FoldError::Broken { after: self.rev, reason: reason.to_owned() };
        if revision.format > FORMAT {
            return Err(FoldError::Newer(format!("format {}", revision.format)));
        }
        if revision.model != self.model {
            return Err(broken("it belongs to another model"));
        }
        if revision.rev != self.rev + 1 {
            return Err(broken("its number is not the next one"));
        }
        if revision.prev != self.head {
            return Err(broken("its hash of the revision before is another"));
        }
        let moment = Moment {
            rev: revision.rev,
            time: revision.time,
            actor: revision.actor.clone(),
            reason: revision.reason.clone(),
        };
        for op in &revision.ops {
            self.apply_op(op, &moment, revision.commit_id)?;
        }
        self.rev = revision.rev;
        self.updated = Some(revision.time);
        self.head = hash.to_owned();
        Ok(())
    }

    /// Whether the model exists and is not deleted.
    pub fn exists(&self) -> bool {
        self.created.is_some() && self.deleted.is_none()
    }

    /// The number that the next version gets.
    pub fn next_version(&self) -> Option<Version> {
        let last = self.versions.keys().next_back().map_or(0, |version| version.get());
        Version::new(last + 1)
    }

    /// A version that is not deleted.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn live(&self, version: Version) -> Result<&VersionState, Refusal> {
        let missing = || Refusal::NotFound(format!("model '{}' has no version {version}", self.model));
        self.versions.get(&version).filter(|state| state.deleted.is_none()).ok_or_else(missing)
    }

    /// The version that `text` names: a number or an alias; empty means the newest that is not deleted.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn resolve(&self, text: &str) -> Result<Version, Refusal> {
        let missing = || {
            let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
            Refusal::NotFound(format!("model '{}' has no version or alias '{shown}'", self.model))
        };
        if text.is_empty() {
            let newest = self.versions.iter().rev().find(|(_, state)| state.deleted.is_none());
            return newest.map(|(version, _)| *version).ok_or_else(missing);
        }
        let version = match text.parse() {
            Ok(version) => version,
            Err(_) => self.aliases.get(text).map(|alias| alias.version).ok_or_else(missing)?,
        };
        self.live(version).map(|_| version)
    }

    /// Who would be harmed if `version` went: deployments, aliases, its baseline, versions made from it. Empty when
    /// nobody.
    pub fn holders(&self, version: Version) -> Vec<String> {
        let mut holders = Vec::new();
        for (name, deployment) in &self.deployments {
            if deployment.spec.traffic.contains_key(&version) {
                holders.push(format!("deployment '{name}'"));
            }
        }
        for (name, _) in self.aliases.iter().filter(|(_, alias)| alias.version == version) {
            holders.push(format!("alias '{name}'"));
        }
        if let Some(state) = self.versions.get(&version) {
            holders.extend(state.baseline.iter().map(|_| "baseline".to_owned()));
            holders.extend(state.holders.iter().map(|holder| format!("lineage of {holder}")));
        }
        for (number, state) in self.versions.iter().filter(|(_, state)| state.deleted.is_none()) {
            let is_child =
                |from: &super::record::ModelRef| from.model == self.model && from.version == version;
            if state.record.derived_from.iter().any(is_child) {
                holders.push(format!("lineage of {}@{number}", self.model));
            }
        }
        holders
    }
}

/// Checks an alias: `[a-z][a-z0-9._-]{0,63}`, so it is never a number.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_alias(alias: &str) -> Result<(), Refusal> {
    check_word(alias, "an alias", 64)
}

/// Checks a deployment's name, by the same rule as aliases.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_deployment(name: &str) -> Result<(), Refusal> {
    check_word(name, "a deployment's name", 64)
}

fn check_word(word: &str, what: &str, len_max: usize) -> Result<(), Refusal> {
    let mut bytes = word.bytes();
    let ok = word.len() <= len_max
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    let refuse = || {
        Refusal::Invalid(format!(
            "{what} is 1 to {len_max} lower-case letters, digits, '.', '_' or '-', and starts with a letter"
        ))
    };
    ok.then_some(()).ok_or_else(refuse)
}
