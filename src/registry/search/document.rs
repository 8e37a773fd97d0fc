//! What is searched: a document for each version, with what its model says of itself, and one for a model without
//! versions.

use crate::model::{ModelName, Version};
use crate::registry::record::VersionRecord;
use crate::registry::state::{ModelState, VersionState};

use super::query::Field;

/// A version, or a model that has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The model.
    pub model: ModelName,
    /// The version; `None` for a model without versions.
    pub version: Option<Version>,
}

/// What a document says in one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Text(String),
    Number(f64),
}

/// The documents of a model, each with its terms. A field may have several terms.
pub(super) fn documents(state: &ModelState) -> Vec<(Key, Vec<(Field, Term)>)> {
    if state.created.is_none() {
        return Vec::new();
    }
    let key = |version| Key { model: state.model.clone(), version };
    if state.versions.is_empty() {
        return vec![(key(None), model_terms(state))];
    }
    let versions = state.versions.iter();
    versions.map(|(version, found)| (key(Some(*version)), version_terms(state, *version, found))).collect()
}

fn text(value: &str) -> Term {
    Term::Text(value.to_owned())
}

#[allow(clippy::cast_precision_loss, reason = "counts and times in milliseconds are far below 2^53")]
pub(super) fn whole_number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss, reason = "times in milliseconds are far below 2^53")]
pub(super) fn millis(time: chrono::DateTime<chrono::Utc>) -> f64 {
    time.timestamp_millis() as f64
}

/// The version of the default operator set.
pub(super) fn opset(record: &VersionRecord) -> Option<f64> {
    let opset = ["", "ai.onnx"].iter().find_map(|domain| record.onnx.opsets.get(*domain));
    opset.map(|opset| whole_number(*opset))
}

fn model_terms(state: &ModelState) -> Vec<(Field, Term)> {
    let mut terms = vec![
        (Field::Name, text(&state.model)),
        (Field::Description, text(&state.description)),
        (Field::Deleted, text(if state.deleted.is_some() { "true" } else { "false" })),
    ];
    if let Some(created) = &state.created {
        terms.push((Field::Created, Term::Number(millis(created.time))));
        terms.push((Field::Actor, text(&created.actor.sub)));
    }
    terms.extend(state.updated.map(|time| (Field::Updated, Term::Number(millis(time)))));
    terms.extend(state.tags.iter().map(|(key, value)| (Field::Tag(key.clone()), text(value))));
    terms
}

fn version_terms(state: &ModelState, version: Version, found: &VersionState) -> Vec<(Field, Term)> {
    let record = &found.record;
    let is_deleted = state.deleted.is_some() || found.deleted.is_some();
    let mut terms = vec![
        (Field::Name, text(&state.model)),
        (Field::Version, Term::Number(whole_number(version.get()))),
        (Field::Description, text(&found.description)),
        (Field::Deleted, text(if is_deleted { "true" } else { "false" })),
        (Field::Created, Term::Number(millis(found.created.time))),
        (Field::Updated, Term::Number(millis(found.updated))),
        (Field::Actor, text(&found.created.actor.sub)),
        (Field::Producer, text(&record.onnx.producer)),
    ];
    let of_model = state.tags.iter().filter(|(key, _)| !found.tags.contains_key(*key));
    terms.extend(of_model.chain(&found.tags).map(|(key, value)| (Field::Tag(key.clone()), text(value))));
    let properties = found.properties.iter();
    terms.extend(properties.map(|(key, value)| (Field::Property(key.clone()), text(value))));
    let metrics = found.metrics.iter().filter(|(_, value)| value.is_finite());
    terms.extend(metrics.map(|(key, value)| (Field::Metric(key.clone()), Term::Number(*value))));
    let datasets = record.datasets.iter();
    terms.extend(datasets.map(|(role, data)| (Field::Dataset(role.clone()), text(data))));
    let aliases = state.aliases.iter().filter(|(_, alias)| alias.version == version);
    terms.extend(aliases.map(|(name, _)| (Field::Alias, text(name))));
    let serves = state.deployments.iter().filter(|(_, it)| it.spec.traffic.contains_key(&version));
    terms.extend(serves.map(|(name, _)| (Field::Deployment, text(name))));
    terms.extend(record.onnx.operators.keys().map(|name| (Field::Operator, text(name))));
    terms.extend(opset(record).map(|opset| (Field::Opset, Term::Number(opset))));
    terms.extend(record.run.iter().map(|run| (Field::Run, text(run))));
    if let Some(git) = &record.git {
        let fields = [
            (Field::GitCommit, &git.commit),
            (Field::GitBranch, &git.branch),
            (Field::GitRemote, &git.remote),
        ];
        terms.extend(fields.map(|(field, value)| (field, text(value))));
    }
    terms
}

/// Whether one document fits a query, without an index: what the index must agree with.
#[cfg(test)]
pub(super) fn fits(
    terms: &[(Field, Term)],
    query: &super::query::Query,
    now: chrono::DateTime<chrono::Utc>,
) -> bool {
    use super::query::{Operator, Query};
    match query {
        Query::All => true,
        Query::And(parts) => parts.iter().all(|part| fits(terms, part, now)),
        Query::Or(parts) => parts.iter().any(|part| fits(terms, part, now)),
        Query::Not(part) => !fits(terms, part, now),
        Query::Is(found) => {
            let equal = Operator::Eq;
            let operator = if found.operator == Operator::Ne { equal } else { found.operator };
            let any = terms.iter().filter(|(field, _)| *field == found.field).any(|(_, term)| match term {
                Term::Text(text) => match operator {
                    Operator::Like => super::value::is_like(text, &found.value),
                    _ => *text == found.value,
                },
                Term::Number(number) => super::value::bounds(&found.field, operator, &found.value, now)
                    .is_some_and(|range| std::ops::RangeBounds::contains(&range, number)),
            });
            any != (found.operator == Operator::Ne)
        }
    }
}
