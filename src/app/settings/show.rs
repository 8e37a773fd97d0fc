//! The effective settings as TOML, each with where it came from: what `weir config` prints, and can read again.

use super::{KEYS, Settings, Typed};
use crate::model::settings::values::{show_duration, show_size};

impl Settings {
    /// The settings as a TOML text.
    pub(in crate::app) fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            let Ok(setting) = self.get(key.path) else { continue };
            if key.section() != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                section = key.section();
                text.push_str(&format!("{gap}[{section}]\n"));
            }
            let line = format!("{} = {}", key.name(), setting.value.to_toml());
            text.push_str(&format!("{line:<44} # {}\n", setting.origin));
        }
        text
    }
}

impl Typed {
    /// The value as TOML.
    pub(in crate::app) fn to_toml(&self) -> String {
        match self {
            Typed::Text(text) => quoted(text),
            Typed::List(items) => {
                format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
            }
            Typed::Number(number) => number.to_string(),
            Typed::Real(number) => format!("{number:?}"),
            Typed::Size(bytes) => quoted(&show_size(*bytes)),
            Typed::Duration(duration) => quoted(&show_duration(*duration)),
            Typed::Switch(value) => value.to_string(),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
