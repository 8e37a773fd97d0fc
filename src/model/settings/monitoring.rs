//! Reading and showing of the settings that say how a model's traffic is watched.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::values::{shorten, show_duration};
use super::{Node, ParsedModelConfig};
use crate::model::monitoring::{CaptureMode, Privacy};

/// The longest request that capture may call slow.
pub(super) const SLOW_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest name of a feature, in bytes.
const FEATURE_NAME_BYTES_MAX: usize = 256;
/// Most tensors whose rows are points.
const EMBEDDINGS_MAX: usize = 8;
/// Most headers that are captured of a model.
const ATTRIBUTES_MAX: usize = 16;
/// Longest name of one.
const ATTRIBUTE_LEN_MAX: usize = 64;
/// Headers that say who a client is by something that must stay secret.
const CREDENTIALS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
/// Most named elements of a tensor's row.
const FEATURE_NAMES_MAX: usize = 65_536;

/// One tensor's list of names.
pub(super) fn apply_features(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    for entry in node.entries()? {
        let names = entry.node.items().iter().map(feature_name).collect::<Result<Vec<String>, String>>()?;
        if names.is_empty() || names.len() > FEATURE_NAMES_MAX {
            return Err(format!("expected 1 to {FEATURE_NAMES_MAX} names, found {}", names.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("\"{}\" stands twice", shorten(twice)));
        }
        parsed.config.monitoring.feature_names.insert(entry.key.clone(), names);
    }
    Ok(())
}

fn feature_name(node: &Node) -> Result<String, String> {
    let name = node.text()?;
    match !name.is_empty() && name.len() <= FEATURE_NAME_BYTES_MAX && !name.chars().any(char::is_control) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "expected a name of 1 to {FEATURE_NAME_BYTES_MAX} bytes, found \"{}\"",
            shorten(name)
        )),
    }
}

pub(super) fn show_features(parsed: &ParsedModelConfig) -> String {
    let entries = parsed.config.monitoring.feature_names.iter();
    let entries: Vec<String> = entries.map(|(tensor, names)| format!("{tensor:?} = {names:?}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

pub(super) fn apply_mode(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    let at = node.one_of(&CaptureMode::WORDS)?;
    parsed.config.monitoring.capture.mode = CaptureMode::ALL.get(at).copied();
    Ok(())
}

pub(super) fn apply_rate(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    match node.real()? {
        rate if rate <= 1.0 => parsed.config.monitoring.capture.rate = Some(rate),
        rate => return Err(format!("expected a number from 0 to 1, found {rate}")),
    }
    Ok(())
}

pub(super) fn apply_embeddings(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    let names = node.items().iter().map(feature_name).collect::<Result<Vec<String>, String>>()?;
    if names.len() > EMBEDDINGS_MAX {
        return Err(format!("expected at most {EMBEDDINGS_MAX} tensors, found {}", names.len()));
    }
    parsed.config.monitoring.embeddings = names;
    Ok(())
}

pub(super) fn show_slow(parsed: &ParsedModelConfig) -> String {
    let slow = parsed.config.monitoring.capture.slow;
    slow.map_or("none".to_owned(), |slow| format!("{:?}", show_duration(slow)))
}

pub(super) fn apply_attributes(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    let names = node.items().iter().map(attribute).collect::<Result<BTreeSet<String>, String>>()?;
    if names.len() > ATTRIBUTES_MAX {
        return Err(format!("expected at most {ATTRIBUTES_MAX} headers, found {}", names.len()));
    }
    parsed.config.monitoring.capture.attributes = names.into_iter().map(Arc::from).collect();
    Ok(())
}

/// The name of a header, in lower case. What authenticates a client is never written.
fn attribute(node: &Node) -> Result<String, String> {
    let name = node.text()?.to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !name.is_empty() && name.len() <= ATTRIBUTE_LEN_MAX && name.chars().all(is_token);
    match is_name && !name.ends_with("-bin") {
        false => Err(format!("expected the name of a header of text, found \"{}\"", shorten(&name))),
        true if CREDENTIALS.contains(&&*name) => Err(format!("\"{name}\" holds credentials")),
        true => Ok(name),
    }
}

/// One feature's policy.
pub(super) fn apply_privacy(parsed: &mut ParsedModelConfig, node: &Node) -> Result<(), String> {
    for entry in node.entries()? {
        let policy = entry.node.text()?.parse::<Privacy>().map_err(|error| error.to_string())?;
        parsed.config.monitoring.capture.privacy.insert(entry.key.clone(), policy);
    }
    Ok(())
}

pub(super) fn show_privacy(parsed: &ParsedModelConfig) -> String {
    let entries = parsed.config.monitoring.capture.privacy.iter();
    let entries: Vec<String> =
        entries.map(|(feature, policy)| format!("{feature:?} = {:?}", policy.to_string())).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}
