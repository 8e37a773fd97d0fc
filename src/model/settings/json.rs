//! Triton's JSON form of a model's configuration, as a client sends it with `repository/models/{m}/load`.

use super::triton::from_tree;
use super::{Entry, Node, ParsedModelConfig, SETTINGS_BYTES_MAX, SettingsError, Value};

/// Reads the `config` parameter of a load request; `origin` is how errors name it (`the load request`, say).
///
/// # Errors
/// [`SettingsError`] without a line: not JSON, an unknown field, or a value that cannot be used.
pub fn parse_config_json(text: &str, origin: &str) -> Result<ParsedModelConfig, SettingsError> {
    let error = |reason: String| SettingsError { file: origin.to_owned(), line: 0, reason };
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(error(format!("the configuration is longer than {SETTINGS_BYTES_MAX} bytes")));
    }
    // Bounded in depth by serde_json itself (128), in size by the length above.
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|defect| error(format!("not JSON: {defect}")))?;
    match tree(json).value {
        Value::Table(entries) => from_tree(&entries, origin),
        _ => Err(error("expected a JSON object".to_owned())),
    }
}

fn tree(json: serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Word("null".to_owned()),
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::Number(number.to_string()),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(tree).collect()),
        serde_json::Value::Object(map) => Value::Table(
            map.into_iter()
                .map(|(key, value)| Entry { key: snake_case(&key), line: 0, node: tree(value) })
                .collect(),
        ),
    };
    Node { line: 0, value }
}

/// Protobuf's JSON may write `maxBatchSize` for `max_batch_size`. Only keys that are plain camel case are turned, so
/// the free keys of maps keep their form.
fn snake_case(key: &str) -> String {
    let camel =
        key.starts_with(|c: char| c.is_ascii_lowercase()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    if !camel {
        return key.to_owned();
    }
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
