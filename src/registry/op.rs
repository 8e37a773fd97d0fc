//! The operations of a model's log. A revision is a list of them; a model's state is the fold of all.
//!
//! An operation that this program does not know makes the model read-only for it, so adding one, or a field of one, is
//! a change of the format: see `docs/registry-format.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{DeploymentSpec, FileRef, StickyKey, VersionRecord};
use crate::model::Version;

/// One change of one model. Where `version` is optional, its absence means the model itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The first operation of every log.
    CreateModel {
        /// What the model is for.
        description: String,
    },
    /// How many others must approve a deployment or an alias.
    SetPolicy {
        /// 0 for none, 1 for a second person.
        approvals: u32,
    },
    /// A new version, with the next number.
    CreateVersion {
        /// Its number.
        version: Version,
        /// What it is.
        record: Box<VersionRecord>,
    },
    /// A registration was refused, because the model did not load. Uses up no number.
    RejectVersion {
        /// Where it was taken from.
        source: String,
        /// The package's digest.
        digest: String,
        /// Why it was refused.
        reason: String,
    },
    /// Sets a tag.
    SetTag {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        /// `[a-z0-9]` and `._-/`, at most 128 bytes.
        key: String,
        /// At most 4096 bytes.
        value: String,
    },
    /// Removes a tag.
    UnsetTag {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        /// Which.
        key: String,
    },
    /// Sets a property, which can be set once.
    SetProperty {
        /// Whose.
        version: Version,
        /// Which.
        key: String,
        /// To what.
        value: String,
    },
    /// Adds metrics, or changes the description.
    Annotate {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        /// Finite numbers by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metrics: BTreeMap<String, f64>,
        /// The new description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// Points an alias at a version.
    SetAlias {
        /// A word that is not a number, as [`super::state::check_alias`] says.
        alias: String,
        /// The version.
        version: Version,
    },
    /// Removes an alias.
    UnsetAlias {
        /// Which.
        alias: String,
    },
    /// Sets or removes the profile that a version's traffic is compared with.
    SetBaseline {
        /// Whose.
        version: Version,
        /// The profile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        profile: Option<FileRef>,
    },
    /// Replaces what a deployment serves.
    Deploy {
        /// Its name, for example `default`.
        deployment: String,
        /// The whole of what it serves from now on.
        spec: DeploymentSpec,
        /// The revision whose deployment this brings back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollback_to: Option<u64>,
    },
    /// Changes only the shares of a deployment.
    SetTraffic {
        /// Which.
        deployment: String,
        /// The new shares.
        traffic: BTreeMap<Version, u32>,
        /// The new key, if it changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sticky: Option<StickyKey>,
    },
    /// Ends a deployment.
    Undeploy {
        /// Which.
        deployment: String,
    },
    /// Asks for approval of operations; they happen when they are approved.
    Propose {
        /// Names the proposal.
        proposal: Uuid,
        /// What would happen.
        ops: Vec<Op>,
    },
    /// Approves a proposal. The revision carries its operations after this one.
    Approve {
        /// Which.
        proposal: Uuid,
    },
    /// Drops a proposal.
    Withdraw {
        /// Which.
        proposal: Uuid,
    },
    /// Another model's version is made from this one, which therefore cannot be deleted.
    Hold {
        /// What is held.
        version: Version,
        /// Who holds it.
        holder: String,
    },
    /// The holder is gone.
    Release {
        /// What was held.
        version: Version,
        /// Who held it.
        holder: String,
    },
    /// Deletes a version, or the model: it is hidden, and its files are collected after a grace period.
    Tombstone {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
    /// Takes a deletion back.
    Undelete {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
}

impl Op {
    /// The operation's name in the log, for example `set_alias`.
    pub fn name(&self) -> &'static str {
        match self {
            Op::CreateModel { .. } => "create_model",
            Op::SetPolicy { .. } => "set_policy",
            Op::CreateVersion { .. } => "create_version",
            Op::RejectVersion { .. } => "reject_version",
            Op::SetTag { .. } => "set_tag",
            Op::UnsetTag { .. } => "unset_tag",
            Op::SetProperty { .. } => "set_property",
            Op::Annotate { .. } => "annotate",
            Op::SetAlias { .. } => "set_alias",
            Op::UnsetAlias { .. } => "unset_alias",
            Op::SetBaseline { .. } => "set_baseline",
            Op::Deploy { .. } => "deploy",
            Op::SetTraffic { .. } => "set_traffic",
            Op::Undeploy { .. } => "undeploy",
            Op::Propose { .. } => "propose",
            Op::Approve { .. } => "approve",
            Op::Withdraw { .. } => "withdraw",
            Op::Hold { .. } => "hold",
            Op::Release { .. } => "release",
            Op::Tombstone { .. } => "tombstone",
            Op::Undelete { .. } => "undelete",
        }
    }

    /// The version that something is said about.
    pub fn about(&self) -> Option<Version> {
        match self {
            Op::SetTag { version, .. }
            | Op::UnsetTag { version, .. }
            | Op::Annotate { version, .. }
            | Op::Tombstone { version }
            | Op::Undelete { version } => *version,
            Op::SetProperty { version, .. } | Op::SetBaseline { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// Whether the log must say who did it and why: it changes what is served, or takes something away.
    pub fn needs_reason(&self) -> bool {
        matches!(
            self,
            Op::SetAlias { .. }
                | Op::UnsetAlias { .. }
                | Op::Deploy { .. }
                | Op::SetTraffic { .. }
                | Op::Undeploy { .. }
                | Op::Tombstone { .. }
        )
    }
}
