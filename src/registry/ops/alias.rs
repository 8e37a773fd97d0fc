//! Plans for aliases.

use super::check;
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::state::{ModelState, check_alias};

/// Points an alias at a version (a number or another alias).
///
/// # Errors
/// [`Refusal`].
pub fn set(state: &ModelState, alias: &str, version: &str) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    check_alias(alias)?;
    if version.is_empty() {
        return Err(Refusal::Invalid(format!("alias '{alias}': name a version")));
    }
    let version = state.resolve(version)?;
    match state.aliases.get(alias) {
        Some(current) if current.version == version => return Ok(Vec::new()),
        Some(_) => {}
        None => check::count("aliases", state.aliases.len() + 1, check::ALIASES_MAX)?,
    }
    Ok(vec![Op::SetAlias { alias: alias.to_owned(), version }])
}

/// Removes an alias.
///
/// # Errors
/// [`Refusal`].
pub fn unset(state: &ModelState, alias: &str) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    if !state.aliases.contains_key(alias) {
        let shown = check::shown(alias);
        return Err(Refusal::NotFound(format!("model '{}' has no alias '{shown}'", state.model)));
    }
    Ok(vec![Op::UnsetAlias { alias: alias.to_owned() }])
}
