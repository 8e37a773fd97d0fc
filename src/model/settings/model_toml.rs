//! `model.toml`: Weir's own settings of a model. The keys are the table of `keys`; everything else is refused.

use super::keys::{KeyKind, MODEL_KEYS, ModelKey};
use super::toml_tree::parse_toml;
use super::values::unknown;
use super::{Entry, ParsedModelConfig, SettingsError, Source, Value};

/// Reads `model.toml`; `file` is how errors and sources name it.
///
/// # Errors
/// [`SettingsError`] with the line: not TOML, an unknown key (with the nearest known one), or a value out of range.
pub fn parse_model_toml(text: &str, file: &str) -> Result<ParsedModelConfig, SettingsError> {
    let mut parsed = ParsedModelConfig::default();
    for entry in parse_toml(text, file)? {
        read(&mut parsed, &entry, "", file).map_err(|(line, reason)| SettingsError {
            file: file.to_owned(),
            line,
            reason,
        })?;
    }
    infer_default_priority(&mut parsed);
    parsed.check_agreement(file)?;
    Ok(parsed)
}

/// Reads one entry, or the entries of a section. An error is a line and a reason.
fn read(
    parsed: &mut ParsedModelConfig,
    entry: &Entry,
    prefix: &str,
    file: &str,
) -> Result<(), (usize, String)> {
    let path = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
    if let Some(key) = MODEL_KEYS.iter().find(|key| key.path == path) {
        return apply(parsed, key, entry, file);
    }
    let is_section =
        MODEL_KEYS.iter().any(|key| key.path.split_once('.').is_some_and(|(head, _)| head == path));
    if !is_section {
        return Err((entry.line, unknown("key", &path, candidates(prefix))));
    }
    match &entry.node.value {
        Value::Table(entries) => entries.iter().try_for_each(|inner| read(parsed, inner, &path, file)),
        _ => Err((entry.line, format!("\"{path}\" is a section: write [{path}]"))),
    }
}

fn apply(
    parsed: &mut ParsedModelConfig,
    key: &ModelKey,
    entry: &Entry,
    file: &str,
) -> Result<(), (usize, String)> {
    let named = |(line, reason): (usize, String)| (line, format!("\"{}\": {reason}", key.path));
    if key.kind == KeyKind::Map {
        let entries = entry.node.entries().map_err(|reason| named((entry.line, reason)))?;
        for inner in entries {
            let one = super::Node { line: inner.line, value: Value::Table(vec![inner.clone()]) };
            (key.apply)(parsed, &one).map_err(|reason| named((inner.line, reason)))?;
        }
    } else {
        (key.apply)(parsed, &entry.node).map_err(|reason| named((entry.line, reason)))?;
    }
    parsed.note(key.path, file, entry.line);
    Ok(())
}

/// What could have been meant in the section `prefix`: its keys, and at the top the sections too.
fn candidates(prefix: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in MODEL_KEYS {
        match key.path.rsplit_once('.') {
            Some((section, _)) if section == prefix => names.push(key.path),
            Some((section, _)) if prefix.is_empty() => names.push(section),
            None if prefix.is_empty() => names.push(key.path),
            _ => {}
        }
    }
    names.dedup();
    names
}

/// A model with priorities and no default takes the middle one.
pub(super) fn infer_default_priority(parsed: &mut ParsedModelConfig) {
    let queue = &mut parsed.config.queue;
    if queue.priority_levels > 0 && queue.default_priority == 0 {
        queue.default_priority = queue.priority_levels.div_ceil(2);
        let why = "the middle of the priorities".to_owned();
        parsed.sources.insert("queue.default_priority".to_owned(), Source::Inferred(why));
    }
}
