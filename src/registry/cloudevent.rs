//! CloudEvents 1.0 derived from logs: what happened to a model, in a form that other systems take.
//!
//! Pure. The same log always gives the same events with the same ids, so whoever derives them, and how often, nobody
//! has to remember them: a receiver that knows (`source`, `id`) can drop what it has seen. Delivery is not done here.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::FoldError;
use super::op::Op;
use super::revision::Revision;
use super::signals::{self, Signal};
use super::state::{ModelState, Moment};
use crate::model::{ModelName, Version};

/// The media type of an event in its JSON form.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What every type begins with.
pub const TYPE_PREFIX: &str = "io.weir.";

/// One event in the JSON format of CloudEvents 1.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique in `source`; the same whenever and wherever the event is derived.
    pub id: String,
    /// The registry, `urn:weir:registry:<uuid>`.
    pub source: String,
    /// `io.weir.` and what happened, for example `io.weir.alias.changed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it happened to, for example `models/iris/versions/3`.
    pub subject: String,
    /// When, by its author's clock: RFC 3339 in UTC. Order comes from `sequence`.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Orders the events of one model, compared as text (the CloudEvents extension of this name).
    pub sequence: String,
    /// What happened.
    pub data: Map<String, Value>,
}

impl CloudEvent {
    /// The tags that filters look at: those of the version, over those of its model.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.data.get("tags")?.get(key)?.as_str()
    }
}

/// The `source` of a registry's events.
pub fn source(registry: Uuid) -> String {
    format!("urn:weir:registry:{registry}")
}

/// A time in the form of events.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The events of `revision`, one an operation, and moves `state` to it. `hash` is the SHA-256 of its file.
///
/// # Errors
/// [`FoldError`] when the revision does not follow `state`, which then is as it was.
pub fn of_revision(
    registry: Uuid,
    state: &mut ModelState,
    revision: &Revision,
    hash: &str,
) -> Result<Vec<CloudEvent>, FoldError> {
    let mut after_all = state.clone();
    after_all.apply(revision, hash)?;
    let moment = Moment {
        rev: revision.rev,
        time: revision.time,
        actor: revision.actor.clone(),
        reason: revision.reason.clone(),
    };
    let mut step = state.clone();
    let mut events = Vec::with_capacity(revision.ops.len());
    for (index, op) in revision.ops.iter().enumerate() {
        let before = view(&step, op);
        step.apply_op(op, &moment, revision.commit_id)?;
        let mut data = Map::new();
        let mut put = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
        put("model", json!(revision.model));
        put("version", json!(version_of(op)));
        put("op", summary(op));
        put("before", before);
        put("after", view(&step, op));
        put("actor", json!({ "sub": revision.actor.sub, "method": revision.actor.method }));
        put("reason", json!(revision.reason));
        put("request_id", json!(revision.request_id));
        put("revision", json!(revision.rev));
        put("head", json!(hash));
        put("tags", tags(&step, main_version(&step, op)));
        events.push(CloudEvent {
            specversion: "1.0".to_owned(),
            id: format!("{}/{}/{index}", revision.model, revision.rev),
            source: source(registry),
            kind: format!("{TYPE_PREFIX}{}", kind(op)),
            subject: subject(&revision.model, op),
            time: rfc3339(revision.time),
            datacontenttype: "application/json".to_owned(),
            sequence: format!("{:020}.{index:04}", revision.rev),
            data,
        });
    }
    *state = after_all;
    Ok(events)
}

/// The event of the signal `number` of `scope`; `state` is that of the model, when the scope is one.
pub fn of_signal(
    registry: Uuid,
    scope: &str,
    state: Option<&ModelState>,
    number: u64,
    signal: &Signal,
) -> CloudEvent {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
    put("model", json!(state.map(|state| &state.model)));
    put("version", json!(signal.version));
    put("deployment", json!(signal.deployment));
    put("replica", json!(signal.replica));
    put("reason", json!(signal.reason));
    put("revision", json!(signal.rev));
    if !signal.detail.is_empty() {
        put("detail", Value::Object(signal.detail.clone()));
    }
    put("tags", state.map_or_else(|| json!({}), |state| tags(state, signal.version)));
    let subject = match (&signal.deployment, signal.version) {
        _ if scope == signals::REGISTRY => "registry".to_owned(),
        (Some(deployment), _) => format!("models/{scope}/deployments/{deployment}"),
        (None, Some(version)) => format!("models/{scope}/versions/{version}"),
        (None, None) => format!("models/{scope}"),
    };
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: signal.id(scope),
        source: source(registry),
        kind: format!("{TYPE_PREFIX}{}", signal.kind.name()),
        subject,
        time: rfc3339(signal.time),
        datacontenttype: "application/json".to_owned(),
        // After the operations of the revision that it is about, before those of the next.
        sequence: format!("{:020}.s{number:020}", signal.rev),
        data,
    }
}

/// The type of an operation's event, without the prefix.
fn kind(op: &Op) -> &'static str {
    match op {
        Op::CreateModel { .. } => "model.created",
        Op::SetPolicy { .. } | Op::Annotate { version: None, .. } => "model.changed",
        Op::SetTag { version: None, .. } | Op::UnsetTag { version: None, .. } => "model.tagged",
        Op::Tombstone { version: None } => "model.deleted",
        Op::Undelete { version: None } => "model.undeleted",
        Op::CreateVersion { .. } => "version.registered",
        Op::RejectVersion { .. } => "version.failed",
        Op::SetTag { .. } | Op::UnsetTag { .. } => "version.tagged",
        Op::SetProperty { .. } | Op::Annotate { .. } => "version.annotated",
        Op::Tombstone { .. } => "version.deleted",
        Op::Undelete { .. } => "version.undeleted",
        Op::Hold { .. } => "version.held",
        Op::Release { .. } => "version.released",
        Op::SetAlias { .. } | Op::UnsetAlias { .. } => "alias.changed",
        Op::SetBaseline { .. } => "baseline.set",
        Op::Deploy { rollback_to: Some(_), .. } => "rollout.rolledback",
        Op::Deploy { .. } => "deployment.requested",
        Op::SetTraffic { .. } => "rollout.step",
        Op::Undeploy { .. } => "deployment.retired",
        Op::Propose { .. } => "approval.requested",
        Op::Approve { .. } => "approval.given",
        Op::Withdraw { .. } => "approval.withdrawn",
    }
}

/// What an operation is about. Events of one subject are delivered in order, so it is the thing that changes: an alias
/// that moves from version 1 to 2 and back is one subject.
fn subject(model: &ModelName, op: &Op) -> String {
    match op {
        Op::SetAlias { alias, .. } | Op::UnsetAlias { alias } => format!("models/{model}/aliases/{alias}"),
        Op::Deploy { deployment, .. } | Op::SetTraffic { deployment, .. } | Op::Undeploy { deployment } => {
            format!("models/{model}/deployments/{deployment}")
        }
        Op::Propose { proposal, .. } | Op::Approve { proposal } | Op::Withdraw { proposal } => {
            format!("models/{model}/proposals/{proposal}")
        }
        _ => match version_of(op) {
            Some(version) => format!("models/{model}/versions/{version}"),
            None => format!("models/{model}"),
        },
    }
}

/// The version that an operation names.
fn version_of(op: &Op) -> Option<Version> {
    match op {
        Op::CreateVersion { version, .. }
        | Op::SetProperty { version, .. }
        | Op::SetAlias { version, .. }
        | Op::SetBaseline { version, .. }
        | Op::Hold { version, .. }
        | Op::Release { version, .. } => Some(*version),
        Op::SetTag { version, .. }
        | Op::UnsetTag { version, .. }
        | Op::Annotate { version, .. }
        | Op::Tombstone { version }
        | Op::Undelete { version } => *version,
        _ => None,
    }
}

/// The version whose tags an event carries: the one that is named, or the one that gets most of the traffic.
fn main_version(state: &ModelState, op: &Op) -> Option<Version> {
    match op {
        Op::Deploy { deployment, .. } | Op::SetTraffic { deployment, .. } => {
            let traffic = &state.deployments.get(deployment)?.spec.traffic;
            traffic.iter().max_by_key(|(_, weight)| **weight).map(|(version, _)| *version)
        }
        op => version_of(op),
    }
}

/// The tags of the model, under those of `version`.
fn tags(state: &ModelState, version: Option<Version>) -> Value {
    let mut tags = state.tags.clone();
    if let Some(version) = version.and_then(|version| state.versions.get(&version)) {
        tags.extend(version.tags.clone());
    }
    json!(tags)
}

/// The part of the state that `op` changes.
fn view(state: &ModelState, op: &Op) -> Value {
    let version = |version: &Version| state.versions.get(version);
    match op {
        Op::CreateModel { .. } => json!(state.created.as_ref().map(|_| &state.description)),
        Op::SetPolicy { .. } => json!({ "approvals": state.approvals }),
        Op::CreateVersion { version: number, .. } => json!(version(number).map(|v| &v.record.digest)),
        Op::RejectVersion { .. } => Value::Null,
        Op::SetTag { version: None, key, .. } | Op::UnsetTag { version: None, key } => {
            json!(state.tags.get(key))
        }
        Op::SetTag { version: Some(number), key, .. } | Op::UnsetTag { version: Some(number), key } => {
            json!(version(number).and_then(|v| v.tags.get(key)))
        }
        Op::SetProperty { version: number, key, .. } => {
            json!(version(number).and_then(|v| v.properties.get(key)))
        }
        Op::Annotate { version: None, .. } => json!({ "description": state.description }),
        Op::Annotate { version: Some(number), metrics, .. } => json!(version(number).map(|v| {
            let shown: Map<String, Value> =
                metrics.keys().map(|name| (name.clone(), json!(v.metrics.get(name)))).collect();
            json!({ "description": v.description, "metrics": shown })
        })),
        Op::SetAlias { alias, .. } | Op::UnsetAlias { alias } => {
            json!(state.aliases.get(alias).map(|alias| json!({ "version": alias.version })))
        }
        Op::SetBaseline { version: number, .. } => {
            json!(version(number).and_then(|v| v.baseline.as_ref()).map(|profile| &profile.sha256))
        }
        Op::Deploy { deployment, .. } | Op::SetTraffic { deployment, .. } | Op::Undeploy { deployment } => {
            json!(state.deployments.get(deployment).map(|deployment| &deployment.spec))
        }
        Op::Propose { proposal, .. } | Op::Approve { proposal } | Op::Withdraw { proposal } => {
            json!(state.proposals.get(proposal).map(|proposal| {
                let ops: Vec<Value> = proposal.ops.iter().map(summary).collect();
                json!({ "by": proposal.proposed.actor.sub, "reason": proposal.proposed.reason, "ops": ops })
            }))
        }
        Op::Hold { version: number, .. } | Op::Release { version: number, .. } => {
            json!(version(number).map(|v| &v.holders))
        }
        Op::Tombstone { version: None } | Op::Undelete { version: None } => {
            json!({ "deleted": state.deleted.is_some() })
        }
        Op::Tombstone { version: Some(number) } | Op::Undelete { version: Some(number) } => {
            json!(version(number).map(|v| json!({ "deleted": v.deleted.is_some() })))
        }
    }
}

/// The operation as it stands in the log; of a version's record only what identifies it, since a receiver that wants
/// every file and operator can ask for them.
fn summary(op: &Op) -> Value {
    let Op::CreateVersion { version, record } = op else {
        // An operation is plain maps, texts and numbers: it always has a JSON form.
        return serde_json::to_value(op).unwrap_or_default();
    };
    let bytes = record.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
    json!({
        "op": op.name(),
        "version": version,
        "digest": record.digest,
        "source": record.source,
        "files": record.files.len(),
        "bytes": bytes,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "git": record.git,
        "datasets": record.datasets,
        "run": record.run,
        "derived_from": record.derived_from,
    })
}

#[cfg(test)]
mod tests;
