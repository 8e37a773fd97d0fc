//! What a registration writes, as functions of values: checks, the version that is there already, operations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Registration;
use crate::model::Version;
use crate::registry::package::Package;
use crate::registry::record::VersionRecord;
use crate::registry::state::check_alias;
use crate::registry::{ModelState, Op, Refusal};

const KEY_LEN_MAX: usize = 128;
const VALUE_LEN_MAX: usize = 4096;
const ENTRIES_MAX: usize = 256;
const PARENTS_MAX: usize = 64;

/// Checks what a caller gave, before anything is read or written.
pub(super) fn check(registration: &Registration) -> Result<(), Refusal> {
    let invalid = |reason: String| Err(Refusal::Invalid(reason));
    check_entries("tag", &registration.tags)?;
    check_entries("property", &registration.properties)?;
    check_entries("dataset", &registration.datasets)?;
    if registration.metrics.len() > ENTRIES_MAX {
        return invalid(format!("there are more than {ENTRIES_MAX} metrics"));
    }
    for (name, value) in &registration.metrics {
        check_key("metric", name)?;
        if !value.is_finite() {
            return invalid(format!("metric '{name}' is not a finite number"));
        }
    }
    if let Some(alias) = &registration.alias {
        check_alias(alias)?;
        if registration.intent.reason.trim().is_empty() {
            return invalid("an alias needs a reason".to_owned());
        }
    }
    let texts = [
        ("the idempotency key", &registration.idempotency_key, KEY_LEN_MAX),
        ("the run", &registration.run, KEY_LEN_MAX * 4),
        ("the description", &registration.description, VALUE_LEN_MAX * 4),
    ];
    for (what, text, len_max) in texts {
        let Some(text) = text else { continue };
        let is_line = what == "the description" || !text.chars().any(char::is_control);
        if text.is_empty() || text.len() > len_max || !is_line {
            return invalid(format!("{what} is 1 to {len_max} bytes of printable text"));
        }
    }
    if registration.derived_from.len() > PARENTS_MAX {
        return invalid(format!("there are more than {PARENTS_MAX} versions that it is made from"));
    }
    Ok(())
}

fn check_entries(what: &str, entries: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if entries.len() > ENTRIES_MAX {
        return Err(Refusal::Invalid(format!("there are more than {ENTRIES_MAX} entries of the kind {what}")));
    }
    for (key, value) in entries {
        check_key(what, key)?;
        if value.len() > VALUE_LEN_MAX {
            return Err(Refusal::Invalid(format!("{what} '{key}' is longer than {VALUE_LEN_MAX} bytes")));
        }
    }
    Ok(())
}

fn check_key(what: &str, key: &str) -> Result<(), Refusal> {
    let is_known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    if key.is_empty() || key.len() > KEY_LEN_MAX || !key.bytes().all(is_known) {
        let shown: String = key.chars().take(64).flat_map(char::escape_debug).collect();
        return Err(Refusal::Invalid(format!(
            "the key '{shown}' of a {what} is not 1 to {KEY_LEN_MAX} lower-case letters, digits, '.', '_', '-' or '/'"
        )));
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
    if registration.alias.is_some() && state.approvals > 0 {
        return Err(Refusal::Precondition(
            "aliases of this model need an approval: register it without one, and propose the alias then".to_owned(),
        ));
    }
    let mut ops = vec![Op::CreateVersion { version, record: Box::new(record.clone()) }];
    let mut tags = package.capture.tags.clone();
    tags.extend(registration.tags.clone());
    ops.extend(tags.into_iter().map(|(key, value)| Op::SetTag { version: Some(version), key, value }));
    let mut properties = package.capture.properties.clone();
    properties.extend(registration.properties.clone());
    ops.extend(properties.into_iter().map(|(key, value)| Op::SetProperty { version, key, value }));
    if !registration.metrics.is_empty() || registration.description.is_some() {
        ops.push(Op::Annotate {
            version: Some(version),
            metrics: registration.metrics.clone(),
            description: registration.description.clone(),
        });
    }
    if let Some(alias) = &registration.alias {
        ops.push(Op::SetAlias { alias: alias.clone(), version });
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
