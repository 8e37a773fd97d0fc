//! What a registration writes, as functions of values: checks, the version that is there already, operations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Registration;
use crate::model::Version;
use crate::registry::ops::{approval, check};
use crate::registry::package::Package;
use crate::registry::record::VersionRecord;
use crate::registry::state::check_alias;
use crate::registry::{ModelState, Op, Refusal};

const DATASETS_MAX: usize = 64;
const PARENTS_MAX: usize = 64;

/// Checks what a caller gave, before anything is read or written.
pub(super) fn check(registration: &Registration) -> Result<(), Refusal> {
    check::intent(&registration.intent)?;
    check_entries("tag", &registration.tags, check::TAGS_MAX)?;
    check_entries("property", &registration.properties, check::PROPERTIES_MAX)?;
    check_entries("dataset", &registration.datasets, DATASETS_MAX)?;
    check::count("metrics", registration.metrics.len(), check::METRICS_MAX)?;
    for (name, value) in &registration.metrics {
        check::key("metric", name)?;
        if !value.is_finite() {
            return Err(Refusal::Invalid(format!("metric '{name}' is not a finite number")));
        }
    }
    if let Some(alias) = &registration.alias {
        check_alias(alias)?;
        if registration.intent.reason.trim().is_empty() {
            return Err(Refusal::Invalid("an alias needs a reason".to_owned()));
        }
    }
    let texts = [
        ("the idempotency key", &registration.idempotency_key, check::KEY_LEN_MAX),
        ("the run", &registration.run, check::VALUE_LEN_MAX),
        ("the description", &registration.description, check::DESCRIPTION_LEN_MAX),
    ];
    for (what, text, len_max) in texts {
        let Some(text) = text else { continue };
        check::text(what, text, len_max)?;
        if text.is_empty() {
            return Err(Refusal::Invalid(format!("{what} is empty")));
        }
    }
    check::count("versions that it is made from", registration.derived_from.len(), PARENTS_MAX)
}

fn check_entries(what: &str, entries: &BTreeMap<String, String>, max: usize) -> Result<(), Refusal> {
    check::count(&format!("entries of the kind {what}"), entries.len(), max)?;
    for (key, value) in entries {
        check::key(what, key)?;
        check::text(&format!("{what} '{key}'"), value, check::VALUE_LEN_MAX)?;
    }
    Ok(())
}

/// Checks that the weights outside of the model file are in the package.
pub(super) fn check_external(package: &Package, external: &[PathBuf]) -> Result<(), String> {
    let is_known = |path: &&PathBuf| package.files.iter().any(|file| file.local == **path);
    let Some(missing) = external.iter().find(|path| !is_known(path)) else { return Ok(()) };
    let name = missing.file_name().unwrap_or_default().to_string_lossy();
    Err(format!("its weights lie in '{}' beside it: register the folder", name.escape_debug()))
}

/// The version that this registration has made before, or that has the same files.
pub(super) fn known(
    state: &ModelState,
    registration: &Registration,
    digest: &str,
) -> Result<Option<Version>, Refusal> {
    if let Some(key) = &registration.idempotency_key {
        let named = |entry: &(&Version, &_)| has_key(entry.1, key);
        if let Some((version, made)) = state.versions.iter().find(named) {
            if made.record.digest != digest {
                return Err(Refusal::Exists(format!(
                    "the idempotency key has made version {version} from other files"
                )));
            }
            if made.deleted.is_some() {
                return Err(Refusal::Precondition(format!(
                    "version {version}, which the idempotency key has made, is deleted"
                )));
            }
            return Ok(Some(*version));
        }
    }
    let is_equal = |state: &crate::registry::VersionState| {
        state.deleted.is_none() && state.record.digest == digest && !registration.force_new
    };
    let equal = state.versions.iter().rev().find(|(_, state)| is_equal(state));
    Ok(equal.map(|(version, _)| *version))
}

fn has_key(state: &crate::registry::VersionState, key: &str) -> bool {
    state.record.idempotency_key.as_deref() == Some(key)
}

/// The operations that make the version, and its number; none when it is there already.
pub(super) fn ops(
    state: &ModelState,
    package: &Package,
    registration: &Registration,
    record: &VersionRecord,
) -> Result<(Vec<Op>, Version), Refusal> {
    if let Some(version) = known(state, registration, &record.digest)? {
        return Ok((Vec::new(), version));
    }
    let too_many = || Refusal::Precondition("there are no more version numbers".to_owned());
    let version = state.next_version().ok_or_else(too_many)?;
    for parent in record.derived_from.iter().filter(|parent| parent.model == state.model) {
        state.live(parent.version)?;
    }
    let mut ops = vec![Op::CreateVersion { version, record: Box::new(record.clone()) }];
    let mut tags = package.capture.tags.clone();
    tags.extend(registration.tags.clone());
    check_entries("tag", &tags, check::TAGS_MAX)?;
    ops.extend(tags.into_iter().map(|(key, value)| Op::SetTag { version: Some(version), key, value }));
    let mut properties = package.capture.properties.clone();
    properties.extend(registration.properties.clone());
    check_entries("property", &properties, check::PROPERTIES_MAX)?;
    ops.extend(properties.into_iter().map(|(key, value)| Op::SetProperty { version, key, value }));
    if !registration.metrics.is_empty() || registration.description.is_some() {
        ops.push(Op::Annotate {
            version: Some(version),
            metrics: registration.metrics.clone(),
            description: registration.description.clone(),
        });
    }
    if let Some(alias) = &registration.alias {
        let new = usize::from(!state.aliases.contains_key(alias));
        check::count("aliases", state.aliases.len() + new, check::ALIASES_MAX)?;
        // Where a second person is asked for, only the alias waits; the version is there.
        let alias = vec![Op::SetAlias { alias: alias.clone(), version }];
        ops.extend(approval::guard(state, registration.proposal, alias)?);
    }
    with_model(state, ops).map(|ops| (ops, version))
}

/// `ops`, after the model's creation when there is none yet.
pub(super) fn with_model(state: &ModelState, mut ops: Vec<Op>) -> Result<Vec<Op>, Refusal> {
    if state.created.is_none() {
        ops.insert(0, Op::CreateModel { description: String::new() });
    } else if state.deleted.is_some() {
        return Err(Refusal::Precondition(format!("model '{}' is deleted: undelete it first", state.model)));
    }
    Ok(ops)
}
