//! One tree for TOML, protobuf text and JSON: values with the line they stand on, and typed look-ups with messages.

use std::time::Duration;

use super::values::{parse_duration, shorten};

/// A value and the line it stands on (0 when the format has no lines).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line, counted from 1.
    pub line: usize,
    /// The value.
    pub value: Value,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line of the key.
    pub line: usize,
    /// The value.
    pub node: Node,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Quoted text.
    Text(String),
    /// A number, as written and without separators.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// An unquoted word (an enum value in protobuf text).
    Word(String),
    /// A list.
    List(Vec<Node>),
    /// A table or message; protobuf text may repeat a key.
    Table(Vec<Entry>),
}

impl Node {
    /// What the value is, for messages.
    fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("\"{}\"", shorten(text)),
            Value::Number(text) | Value::Word(text) => shorten(text),
            Value::Bool(value) => value.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    fn expected<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("expected {what}, found {}", self.describe()))
    }

    /// The text of a quoted value.
    pub fn text(&self) -> Result<&str, String> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => self.expected("a text in quotes"),
        }
    }

    /// The text of a value of one word, quoted or not, a number or a truth value.
    pub fn scalar(&self) -> Result<String, String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) | Value::Word(text) => Ok(text.clone()),
            Value::Bool(value) => Ok(value.to_string()),
            _ => self.expected("a text, a number or a truth value"),
        }
    }

    /// A whole number from `min` to `max`. JSON's 64-bit numbers may be in quotes.
    pub fn whole(&self, min: u64, max: u64) -> Result<u64, String> {
        let what = || format!("a whole number from {min} to {max}");
        match &self.value {
            Value::Number(text) | Value::Text(text) => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => self.expected(&what()),
            },
            _ => self.expected(&what()),
        }
    }

    /// A whole number from `min` to `max` as a size in memory.
    pub fn count(&self, min: usize, max: usize) -> Result<usize, String> {
        let number = self.whole(min as u64, max as u64)?;
        usize::try_from(number).map_err(|_| format!("expected a whole number from {min} to {max}"))
    }

    /// A whole number that fits 32 bits.
    pub fn small(&self, min: u32, max: u32) -> Result<u32, String> {
        let number = self.whole(u64::from(min), u64::from(max))?;
        u32::try_from(number).map_err(|_| format!("expected a whole number from {min} to {max}"))
    }

    /// A finite number of at least 0.
    pub fn real(&self) -> Result<f64, String> {
        match &self.value {
            Value::Number(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
                _ => self.expected("a number of at least 0"),
            },
            _ => self.expected("a number of at least 0"),
        }
    }

    /// `true` or `false`.
    pub fn truth(&self) -> Result<bool, String> {
        match &self.value {
            Value::Bool(value) => Ok(*value),
            Value::Word(word) if matches!(word.as_str(), "t" | "True") => Ok(true),
            Value::Word(word) if matches!(word.as_str(), "f" | "False") => Ok(false),
            _ => self.expected("true or false"),
        }
    }

    /// A duration of at most `max`.
    pub fn duration(&self, max: Duration) -> Result<Duration, String> {
        let text = match &self.value {
            Value::Text(text) => text,
            _ => return self.expected("a duration in quotes, such as \"200ms\""),
        };
        let duration = parse_duration(text)?;
        if duration > max {
            return Err(format!(
                "expected at most {}, found {}",
                super::values::show_duration(max),
                shorten(text)
            ));
        }
        Ok(duration)
    }

    /// One of `words`; answers its position.
    pub fn one_of(&self, words: &[&str]) -> Result<usize, String> {
        let found = match &self.value {
            Value::Text(text) | Value::Word(text) => text.as_str(),
            _ => "",
        };
        match words.iter().position(|word| *word == found) {
            Some(position) => Ok(position),
            None => self.expected(&format!("one of {}", words.join(", "))),
        }
    }

    /// The entries of a table or message.
    pub fn entries(&self) -> Result<&[Entry], String> {
        match &self.value {
            Value::Table(entries) => Ok(entries),
            _ => self.expected("a table"),
        }
    }

    /// The items of a list; a single value is a list of one.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }
}
