//! Settings that go over those of a model's own file: by their dotted paths, as JSON values. This is what a deployment
//! says; a value is written as `model.toml` would have it.

use std::collections::BTreeMap;

use super::keys::KeyKind;
use super::model_toml::infer_default_priority;
use super::values::unknown;
use super::{Entry, MODEL_KEYS, Node, ParsedModelConfig, SettingsError, Source, Value};

/// Paths that a deployment does not set: the registry says which versions are served, and under which name.
const NOT_HERE: [&str; 3] = ["name", "model_file", "versions"];

impl ParsedModelConfig {
    /// Sets `settings` over what was written; `origin` is how errors and sources name them, for example
    /// `deployment default@rev 12`.
    ///
    /// # Errors
    /// [`SettingsError`]: an unknown path, a value that cannot be used, or settings that contradict each other.
    pub fn overlay(
        &mut self,
        settings: &BTreeMap<String, serde_json::Value>,
        origin: &str,
    ) -> Result<(), SettingsError> {
        let defect = |reason: String| SettingsError { file: origin.to_owned(), line: 0, reason };
        for (path, value) in settings {
            let known = || MODEL_KEYS.iter().map(|key| key.path).filter(|path| !NOT_HERE.contains(path));
            let key = MODEL_KEYS.iter().find(|key| key.path == path && !NOT_HERE.contains(&key.path));
            let key = key.ok_or_else(|| defect(unknown("setting", path, known())))?;
            let node = tree(value);
            let named = |reason: String| defect(format!("\"{path}\": {reason}"));
            if key.kind == KeyKind::Map {
                for inner in node.entries().map_err(named)? {
                    let one = Node { line: 0, value: Value::Table(vec![inner.clone()]) };
                    (key.apply)(self, &one).map_err(named)?;
                }
            } else {
                (key.apply)(self, &node).map_err(named)?;
            }
            self.sources.insert(path.clone(), Source::File { file: origin.to_owned(), line: 0 });
        }
        infer_default_priority(self);
        self.check_agreement(origin)
    }
}

/// JSON as `model.toml` would have it. Bounded in depth by `serde_json`.
fn tree(json: &serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Word("null".to_owned()),
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Number(number.to_string()),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(tree).collect()),
        serde_json::Value::Object(map) => Value::Table(
            map.iter().map(|(key, value)| Entry { key: key.clone(), line: 0, node: tree(value) }).collect(),
        ),
    };
    Node { line: 0, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::parse_model_toml;

    fn over(json: serde_json::Value) -> Result<ParsedModelConfig, SettingsError> {
        let mut parsed = parse_model_toml("max_batch_size = 4\n[queue]\ndelay = \"2ms\"\n", "model.toml")?;
        let settings = serde_json::from_value(json).unwrap_or_default();
        parsed.overlay(&settings, "deployment default@rev 12").map(|()| parsed)
    }

    #[test]
    fn a_deployment_goes_over_the_file() {
        let parsed = over(serde_json::json!({ "max_batch_size": 8, "instances.count": 3 })).unwrap();
        assert_eq!(parsed.config.max_batch_size, Some(8));
        assert_eq!(parsed.config.instances.count, Some(3));
        assert_eq!(parsed.source("max_batch_size").to_string(), "deployment default@rev 12");
        assert_eq!(parsed.source("queue.delay").to_string(), "model.toml:3");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (json, part) in [
            (serde_json::json!({ "max_batch_sise": 8 }), "max_batch_size"),
            (serde_json::json!({ "max_batch_size": "x" }), "deployment default@rev 12"),
            (serde_json::json!({ "versions": "all" }), "versions"),
        ] {
            let error = over(json).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
