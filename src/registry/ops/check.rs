//! What keys, values, names and counts may be. Everything that a caller writes into a log passes here first, so a log
//! holds nothing that could not be shown, and no model can grow without bound.

use crate::registry::error::Refusal;
use crate::registry::revision::Intent;
use crate::registry::state::ModelState;

/// Tags of a model, and of a version.
pub const TAGS_MAX: usize = 64;
/// Properties of a version.
pub const PROPERTIES_MAX: usize = 64;
/// Metrics of a version.
pub const METRICS_MAX: usize = 256;
/// Aliases of a model.
pub const ALIASES_MAX: usize = 64;
/// Deployments of a model.
pub const DEPLOYMENTS_MAX: usize = 64;
/// Versions in a traffic split.
pub const SPLIT_MAX: usize = 32;
/// Settings of a deployment.
pub const SETTINGS_MAX: usize = 64;
/// Proposals that wait.
pub const PROPOSALS_MAX: usize = 64;
/// Holders of a version.
pub const HOLDERS_MAX: usize = 1024;
/// Bytes of a key.
pub const KEY_LEN_MAX: usize = 128;
/// Bytes of a tag's or property's value.
pub const VALUE_LEN_MAX: usize = 4096;
/// Bytes of a description.
pub const DESCRIPTION_LEN_MAX: usize = 8192;
/// Bytes of a reason.
pub const REASON_LEN_MAX: usize = 4096;
/// Bytes of an actor's or request's name.
pub const SUBJECT_LEN_MAX: usize = 256;

/// A text from outside as it may be shown in a message: short, and without characters that move a terminal's cursor.
pub fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Checks a key of a tag, property or metric: letters, digits and `._-/`, a letter or digit first.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn key(what: &str, key: &str) -> Result<(), Refusal> {
    let mut bytes = key.bytes();
    let ok = key.len() <= KEY_LEN_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
    let refuse = || {
        Refusal::Invalid(format!(
            "{what} '{}': a key is 1 to {KEY_LEN_MAX} letters, digits, '.', '_', '-' or '/', and starts with a letter \
             or digit",
            shown(key)
        ))
    };
    ok.then_some(()).ok_or_else(refuse)
}

/// Checks a text: at most `len_max` bytes, and no control characters but line ends and tabs.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn text(what: &str, text: &str, len_max: usize) -> Result<(), Refusal> {
    if text.len() > len_max {
        let len = text.len();
        return Err(Refusal::Invalid(format!("{what} has {len} bytes, and {len_max} are allowed")));
    }
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(c) => {
            Err(Refusal::Invalid(format!("{what} holds the control character '{}'", c.escape_debug())))
        }
        None => Ok(()),
    }
}

/// Checks that there are at most `max` of something.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn count(what: &str, count: usize, max: usize) -> Result<(), Refusal> {
    let refuse = || Refusal::Invalid(format!("that would be {count} {what}, and {max} are allowed"));
    (count <= max).then_some(()).ok_or_else(refuse)
}

/// Checks who wants a change and why.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn intent(intent: &Intent) -> Result<(), Refusal> {
    if intent.actor.sub.is_empty() {
        return Err(Refusal::Invalid("an actor is needed".to_owned()));
    }
    text("the actor", &intent.actor.sub, SUBJECT_LEN_MAX)?;
    text("the request's id", &intent.request_id, SUBJECT_LEN_MAX)?;
    text("the reason", &intent.reason, REASON_LEN_MAX)
}

/// Checks that the model exists.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn exists(state: &ModelState) -> Result<(), Refusal> {
    match (&state.created, &state.deleted) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::NotFound(format!("model '{}' is deleted", state.model))),
        (None, _) => Err(Refusal::NotFound(format!("there is no model '{}'", state.model))),
    }
}
