//! What served when, who put it there, why, and what was known of it: told from the log.
//!
//! Order comes from revision numbers. Times are the authors' clocks, as recorded; where one went backwards, a revision
//! counts from the latest time before it, and the answer says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::error::FoldError;
use super::history::Entry;
use super::op::Op;
use super::record::{FileRef, GitRecord, ValidationRecord};
use super::revision::Actor;
use super::state::{ModelState, Moment, VersionState};
use crate::model::{ModelName, Version};

/// Everything that ever served of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The model.
    pub model: ModelName,
    /// The newest revision that was read.
    pub rev: u64,
    /// SHA-256 of its file.
    pub head: String,
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// Revisions whose time is before that of an earlier one.
    pub clock_went_back: Vec<ClockStep>,
}

/// A revision that is recorded as earlier than one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// The revision.
    pub rev: u64,
    /// By how much, in milliseconds.
    pub back_ms: i64,
}

/// What a name led to, from one revision to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Whether `name` is a deployment's or an alias's.
    pub of: Named,
    /// Its name.
    pub name: String,
    /// `deploy`, `traffic`, `rollback`, `undeploy`, `alias` or `unalias`.
    pub what: &'static str,
    /// The revision.
    pub rev: u64,
    /// From when, by its author's clock.
    pub time: DateTime<Utc>,
    /// From when it counts: `time`, or the latest time before it when the clock went backwards.
    pub counts_from: DateTime<Utc>,
    /// The revision that ended it, and from when that one counts.
    pub until: Option<(u64, DateTime<Utc>)>,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The request that led to it.
    pub request_id: String,
    /// The key of its signature.
    pub signed_by: Option<String>,
    /// Who asked and who agreed, where approval was needed.
    pub approval: Option<Approval>,
    /// What it led to; empty for nothing.
    pub traffic: Vec<Share>,
    /// What was known of these versions then.
    pub evidence: Vec<Evidence>,
}

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// A deployment.
    Deployment,
    /// An alias.
    Alias,
}

/// A version's share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The version.
    pub version: Version,
    /// Its weight.
    pub weight: u32,
    /// Its share of the requests that name no version.
    pub percent: f64,
}

/// A change that a second person agreed to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approval {
    /// Who asked for it, when and why.
    pub proposed: Moment,
    /// Who agreed.
    pub approved_by: Actor,
}

/// What was known of a version when it began to serve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The version.
    pub version: Version,
    /// Its registration.
    pub registered: Moment,
    /// Where it was taken from.
    pub source: String,
    /// SHA-256 over its files.
    pub digest: String,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What loading it showed.
    pub validation: ValidationRecord,
    /// The working tree.
    pub git: Option<GitRecord>,
    /// The training run.
    pub run: Option<String>,
    /// Data.
    pub datasets: BTreeMap<String, String>,
    /// The profile that its traffic is compared with.
    pub baseline: Option<FileRef>,
}

/// Tells the timeline of `model` from all its revisions.
///
/// # Errors
/// [`FoldError`] when they do not follow each other.
pub fn timeline(model: &ModelName, entries: &[Entry]) -> Result<Timeline, FoldError> {
    let mut state = ModelState::new(model.clone());
    let mut changes: Vec<Change> = Vec::new();
    let mut clock_went_back = Vec::new();
    let mut latest: Option<DateTime<Utc>> = None;
    for Entry { revision, hash } in entries {
        let approval = revision.ops.iter().find_map(|op| approval(&state, op, &revision.actor));
        state.apply(revision, hash)?;
        let before = latest.filter(|latest| *latest > revision.time);
        if let Some(before) = before {
            let back_ms = (before - revision.time).num_milliseconds();
            clock_went_back.push(ClockStep { rev: revision.rev, back_ms });
        }
        let counts_from = before.unwrap_or(revision.time);
        latest = Some(counts_from);
        for (of, name, what) in touched(&revision.ops) {
            let mut running =
                changes.iter_mut().rev().filter(|change| change.of == of && change.name == name);
            if let Some(running) = running.next() {
                running.until = Some((revision.rev, counts_from));
            }
            let traffic = traffic(&state, of, &name);
            let evidence = traffic.iter().filter_map(|share| {
                state.versions.get(&share.version).map(|version| evidence(share.version, version))
            });
            changes.push(Change {
                of,
                what,
                rev: revision.rev,
                time: revision.time,
                counts_from,
                until: None,
                actor: revision.actor.clone(),
                reason: revision.reason.clone(),
                request_id: revision.request_id.clone(),
                signed_by: revision.sig.as_ref().map(|sig| sig.key.clone()),
                approval: approval.clone(),
                evidence: evidence.collect(),
                traffic,
                name,
            });
        }
    }
    Ok(Timeline { model: model.clone(), rev: state.rev, head: state.head, changes, clock_went_back })
}

impl Timeline {
    /// What counted at `time`, the newest change of each name that was not over.
    pub fn at(&self, time: DateTime<Utc>) -> Vec<&Change> {
        let counts = |change: &&Change| {
            change.counts_from <= time && change.until.is_none_or(|(_, until)| until > time)
        };
        self.changes.iter().filter(counts).collect()
    }

    /// Only what counted at `time`, if one is given, and only of one deployment, if one is named.
    pub fn narrowed(self, time: Option<DateTime<Utc>>, deployment: Option<&str>) -> Timeline {
        let is_asked = |change: &&Change| {
            deployment.is_none_or(|name| change.of == Named::Deployment && change.name == name)
        };
        let changes = match time {
            Some(time) => self.at(time).into_iter().filter(is_asked).cloned().collect(),
            None => self.changes.iter().filter(is_asked).cloned().collect(),
        };
        Timeline { changes, ..self }
    }
}

/// The names that `ops` change, each once, with what was last done to it.
fn touched(ops: &[Op]) -> Vec<(Named, String, &'static str)> {
    let mut found: Vec<(Named, String, &'static str)> = Vec::new();
    let mut seen = BTreeSet::new();
    for op in ops.iter().rev() {
        let (of, name, what) = match op {
            Op::Deploy { deployment, rollback_to: Some(_), .. } => {
                (Named::Deployment, deployment, "rollback")
            }
            Op::Deploy { deployment, .. } => (Named::Deployment, deployment, "deploy"),
            Op::SetTraffic { deployment, .. } => (Named::Deployment, deployment, "traffic"),
            Op::Undeploy { deployment } => (Named::Deployment, deployment, "undeploy"),
            Op::SetAlias { alias, .. } => (Named::Alias, alias, "alias"),
            Op::UnsetAlias { alias } => (Named::Alias, alias, "unalias"),
            _ => continue,
        };
        if seen.insert((of == Named::Alias, name.clone())) {
            found.push((of, name.clone(), what));
        }
    }
    found.reverse();
    found
}

fn approval(state: &ModelState, op: &Op, actor: &Actor) -> Option<Approval> {
    let Op::Approve { proposal } = op else { return None };
    let proposed = state.proposals.get(proposal)?.proposed.clone();
    Some(Approval { proposed, approved_by: actor.clone() })
}

fn traffic(state: &ModelState, of: Named, name: &str) -> Vec<Share> {
    let weights: BTreeMap<Version, u32> = match of {
        Named::Alias => state.aliases.get(name).map(|alias| BTreeMap::from([(alias.version, 1)])),
        Named::Deployment => state.deployments.get(name).map(|deployment| deployment.spec.traffic.clone()),
    }
    .unwrap_or_default();
    let sum: f64 = weights.values().map(|weight| f64::from(*weight)).sum();
    let share = |(version, weight): (Version, u32)| {
        let percent = if sum > 0.0 { f64::from(weight) / sum * 100.0 } else { 0.0 };
        Share { version, weight, percent }
    };
    weights.into_iter().map(share).collect()
}

fn evidence(number: Version, version: &VersionState) -> Evidence {
    let record = &version.record;
    Evidence {
        version: number,
        registered: version.created.clone(),
        source: record.source.clone(),
        digest: record.digest.clone(),
        metrics: version.metrics.clone(),
        validation: record.validation.clone(),
        git: record.git.clone(),
        run: record.run.clone(),
        datasets: record.datasets.clone(),
        baseline: version.baseline.clone(),
    }
}

/// A time as it is typed: RFC 3339, `now`, or that long ago: `-90s`, `-30m`, `-2h`, `-7d`, `-2w`.
///
/// # Errors
/// What would be right.
pub fn parse_time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let wrong = || "expected a time like 2026-01-31T12:00:00Z, now, or that long ago like -2h".to_owned();
    if text == "now" {
        return Ok(now);
    }
    let Some(ago) = text.strip_prefix('-') else {
        return DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| wrong());
    };
    let ago = parse_age(ago).and_then(|ago| TimeDelta::from_std(ago).map_err(|_| wrong()));
    ago.ok().and_then(|ago| now.checked_sub_signed(ago)).ok_or_else(wrong)
}

/// A length of time as people say it of history: `90s`, `30m`, `2h`, `7d`, `2w`.
///
/// # Errors
/// What would be right.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a length of time like 90s, 30m, 2h, 7d or 2w".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
