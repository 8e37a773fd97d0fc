//! Bodies of the API: what changes take, and what they answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::registry::Op;
use crate::registry::ops::{Change, show};

/// A change that needs nothing but a reason.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoned {
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// Tags to set and to remove.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tags {
    /// Tags to set.
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    /// Tags to remove.
    #[serde(default)]
    pub(super) unset: Vec<String>,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// What a model is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribeModel {
    /// The new description.
    pub(super) description: String,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// What is known of a version. Properties can be set once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribeVersion {
    /// The new description.
    #[serde(default)]
    pub(super) description: Option<String>,
    /// Metrics to add or change.
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, f64>,
    /// Properties to set.
    #[serde(default)]
    pub(super) properties: BTreeMap<String, String>,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// Where an alias points.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetAlias {
    /// A version's number, or another alias.
    pub(super) version: VersionText,
    /// Why. Needed.
    #[serde(default)]
    pub(super) reason: String,
}

/// A version: its number, or an alias.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum VersionText {
    /// A number.
    Number(u64),
    /// A number as text, or an alias.
    Text(String),
}

impl VersionText {
    pub(super) fn into_text(self) -> String {
        match self {
            VersionText::Number(number) => number.to_string(),
            VersionText::Text(text) => text,
        }
    }
}

/// How many others must approve a deployment or an alias.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    /// 0 or 1.
    pub(super) approvals: u32,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// What to deploy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    /// The version that gets all traffic: a number or an alias.
    pub(super) version: VersionText,
    /// Settings over those of the version's `model.toml`, by their dotted names; null takes one away.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, Option<Value>>,
    /// `request_id`, or `header:<name>`.
    #[serde(default)]
    pub(super) sticky: Option<String>,
    /// How long a version that is replaced stays loaded, in seconds.
    #[serde(default)]
    pub(super) rollback_window_s: Option<u64>,
    /// Why. Needed.
    #[serde(default)]
    pub(super) reason: String,
}

/// Shares of a deployment's requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Traffic {
    /// Weights by version or alias.
    pub(super) weights: BTreeMap<String, u32>,
    /// `request_id`, or `header:<name>`.
    #[serde(default)]
    pub(super) sticky: Option<String>,
    /// Why. Needed.
    #[serde(default)]
    pub(super) reason: String,
}

/// What to go back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// A revision; without it, what was served before.
    #[serde(default)]
    pub(super) to: Option<u64>,
    /// Why. Needed.
    #[serde(default)]
    pub(super) reason: String,
}

/// Which deployment to copy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloneFrom {
    /// The deployment that is copied.
    pub(super) from: String,
    /// Why. Needed.
    #[serde(default)]
    pub(super) reason: String,
}

/// What a change came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// The model.
    model: String,
    /// The model's revision after it.
    revision: u64,
    /// Whether a revision was made; false when it was so already.
    changed: bool,
    /// The proposal that it became, where the model's policy asks for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    proposal: Option<Uuid>,
    /// What was done, a line each.
    summary: Vec<String>,
    /// What was written.
    #[schema(value_type = Vec<Object>)]
    ops: Vec<Op>,
}

impl Changed {
    pub(super) fn new(model: &str, change: &Change) -> Changed {
        Changed {
            model: model.to_owned(),
            revision: change.rev,
            changed: change.is_made(),
            proposal: change.proposal(),
            summary: change.ops.iter().map(show::op).collect(),
            ops: change.ops.clone(),
        }
    }
}
