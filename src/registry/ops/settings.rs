//! A deployment's settings over a version's `model.toml`: the same keys, with the same checks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check;
use crate::model::settings::ParsedModelConfig;
use crate::registry::error::Refusal;

/// Checks settings by the rules of `model.toml`. What contradicts a version's own file is found when it is loaded.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check(settings: &BTreeMap<String, Value>) -> Result<(), Refusal> {
    check::count("settings", settings.len(), check::SETTINGS_MAX)?;
    for (key, value) in settings {
        check::text("a setting's name", key, check::KEY_LEN_MAX)?;
        let len = value.to_string().len();
        if len > check::VALUE_LEN_MAX {
            let max = check::VALUE_LEN_MAX;
            return Err(Refusal::Invalid(format!(
                "a setting's value has {len} bytes, and {max} are allowed"
            )));
        }
    }
    ParsedModelConfig::default()
        .overlay(settings, "setting")
        .map_err(|error| Refusal::Invalid(format!("settings: {}", error.reason)))
}

/// Reads a value as it is typed: JSON where it is a number, a truth value, a list, an object or in quotes, and text
/// otherwise.
pub fn parse_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Null) | Err(_) => Value::String(text.to_owned()),
        Ok(value) => value,
    }
}
