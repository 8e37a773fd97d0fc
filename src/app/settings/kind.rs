//! What a setting is: how its value is written, read and named in flags and variables.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::settings::values::{parse_size, shorten};
use crate::model::settings::{Node, Value};

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Kind {
    /// Any text.
    Text,
    /// An IP address.
    Address,
    /// Texts; in the environment separated by this character.
    List(char),
    /// A whole number.
    Number(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// A number above 0.
    Positive,
    /// Bytes, from and to.
    Size(u64, u64),
    /// A duration, in milliseconds from and to.
    Duration(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// A value of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) enum Typed {
    Text(String),
    List(Vec<String>),
    Number(u64),
    Real(f64),
    Size(u64),
    Duration(Duration),
    Switch(bool),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and key, with a dot between them.
    pub path: &'static str,
    pub(in crate::app) kind: Kind,
    /// The built-in value, as a flag would have it; the items of a list are separated by commas.
    pub default: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
}

impl Key {
    /// The section.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key in its section.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The flag, for example `--http-port`. Some sections keep their name: `--log-level`, `--tls-cert`; the registry itself
    /// is `--registry`.
    pub fn flag(&self) -> String {
        let name = match self.section() {
            _ if self.path == "registry.url" => "registry",
            "log" | "otlp" | "tls" | "auth" | "registry" | "events" | "monitoring" | "capture" | "drift" => {
                self.path
            }
            _ => self.name(),
        };
        format!("--{}", name.replace(['.', '_'], "-"))
    }

    /// The environment variable, for example `WEIR_SERVER_HTTP_PORT`; the registry itself is `WEIR_REGISTRY`.
    pub fn variable(&self) -> String {
        match self.path {
            "registry.url" => "WEIR_REGISTRY".to_owned(),
            path => format!("WEIR_{}", path.replace('.', "_").to_uppercase()),
        }
    }

    /// The items of a text from the environment.
    pub(super) fn split(&self, text: &str) -> Vec<String> {
        match self.kind {
            Kind::List(separator) => {
                text.split(separator).map(str::to_owned).filter(|item| !item.is_empty()).collect()
            }
            _ => vec![text.to_owned()],
        }
    }

    /// The built-in value as a node.
    pub(super) fn default_node(&self) -> Node {
        match (self.kind, self.default) {
            (Kind::List(_), "") => self.node_of(&[]),
            (_, default) => self.node_of(&[default.to_owned()]),
        }
    }

    /// What was typed as a node of the right form, so that one reader serves files, variables and flags.
    pub(super) fn node_of(&self, texts: &[String]) -> Node {
        let text = texts.last().cloned().unwrap_or_default();
        let value = match self.kind {
            Kind::List(_) => Value::List(
                texts.iter().map(|text| Node { line: 0, value: Value::Text(text.clone()) }).collect(),
            ),
            Kind::Number(..) | Kind::Share | Kind::Positive => Value::Number(text),
            Kind::Switch => match text.as_str() {
                "true" | "1" => Value::Bool(true),
                "false" | "0" => Value::Bool(false),
                _ => Value::Word(text),
            },
            _ => Value::Text(text),
        };
        Node { line: 0, value }
    }

    /// Reads a value; an error says what was expected.
    pub(super) fn read(&self, node: &Node) -> Result<Typed, String> {
        match self.kind {
            Kind::Text => node.text().map(|text| Typed::Text(text.to_owned())),
            Kind::Address => match node.text()?.parse::<IpAddr>() {
                Ok(address) => Ok(Typed::Text(address.to_string())),
                Err(_) => Err(format!("expected an IP address, found \"{}\"", shorten(node.text()?))),
            },
            Kind::List(_) => {
                let items: Result<Vec<String>, String> =
                    node.items().iter().map(|item| item.text().map(str::to_owned)).collect();
                items.map(Typed::List)
            }
            Kind::Number(min, max) => match node.value {
                Value::Text(_) => Err(format!("expected a whole number from {min} to {max}, without quotes")),
                _ => node.whole(min, max).map(Typed::Number),
            },
            Kind::Share => match node.real()? {
                share if share <= 1.0 => Ok(Typed::Real(share)),
                share => Err(format!("expected a number from 0 to 1, found {share}")),
            },
            Kind::Positive => match node.real()? {
                number if number > 0.0 => Ok(Typed::Real(number)),
                number => Err(format!("expected a number above 0, found {number}")),
            },
            Kind::Size(min, max) => read_size(node, min, max).map(Typed::Size),
            Kind::Duration(min_ms, max_ms) => {
                let duration = node.duration(Duration::from_millis(max_ms))?;
                let min = Duration::from_millis(min_ms);
                if duration < min {
                    return Err(format!("expected at least {}ms, found {}", min_ms, shorten(node.text()?)));
                }
                Ok(Typed::Duration(duration))
            }
            Kind::Switch => node.truth().map(Typed::Switch),
            Kind::Choice(words) => node.one_of(words).map(|at| Typed::Text(words[at].to_owned())),
        }
    }
}

fn read_size(node: &Node, min: u64, max: u64) -> Result<u64, String> {
    use crate::model::settings::values::show_size;
    let bytes = match &node.value {
        Value::Number(text) => parse_size(text)?,
        _ => parse_size(node.text()?)?,
    };
    match (min..=max).contains(&bytes) {
        true => Ok(bytes),
        false => {
            Err(format!("expected {} to {}, found {}", show_size(min), show_size(max), show_size(bytes)))
        }
    }
}
