//! One label, and what makes it one: bounds on its parts. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// What bounds a label.
pub mod limits {
    /// Longest request id, in bytes.
    pub const REQUEST_ID_LEN_MAX: usize = 256;
    /// Longest text of a label, in bytes; of a list, all its texts together.
    pub const TEXT_LEN_MAX: usize = 4096;
    /// Most items of a list.
    pub const ITEMS_MAX: usize = 1024;
    /// Longest name of a source, in bytes.
    pub const SOURCE_LEN_MAX: usize = 128;
    /// Most labels in one request.
    pub const BATCH_MAX: usize = 10_000;
    /// How far the clock of whoever sends labels may be ahead, in microseconds.
    pub const AHEAD_US_MAX: i64 = 3_600_000_000;
    /// Whole numbers up to this are exact as 64-bit floats.
    pub const EXACT_MAX: u64 = 1 << 53;
}

/// What is true of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum LabelValue {
    /// A number: a class by its number, an amount.
    Number(f64),
    /// A class by its name.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// Several at once, each a number, a text, or yes or no.
    List(Vec<LabelValue>),
}

impl LabelValue {
    /// The number that it is: yes is 1 and no is 0.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            LabelValue::Number(number) => Some(*number),
            LabelValue::Bool(yes) => Some(f64::from(u8::from(*yes))),
            LabelValue::Text(_) | LabelValue::List(_) => None,
        }
    }

    /// As JSON text, equal for equal labels.
    pub fn to_json(&self) -> String {
        Value::from(self.clone()).to_string()
    }

    fn scalar(value: &Value) -> Result<LabelValue, String> {
        match value {
            Value::Bool(yes) => Ok(LabelValue::Bool(*yes)),
            Value::Number(number) => number_of(number).map(LabelValue::Number),
            Value::String(text) if text.len() > limits::TEXT_LEN_MAX => {
                Err(format!("the label is longer than {} bytes", limits::TEXT_LEN_MAX))
            }
            Value::String(text) => Ok(LabelValue::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err("a label is a number, a text, true or false, or a list of those".to_owned())
            }
        }
    }
}

fn number_of(number: &Number) -> Result<f64, String> {
    let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    if whole.is_some_and(|whole| whole > limits::EXACT_MAX) {
        return Err("whole numbers beyond 2^53 are not exact as numbers: send the label as text".to_owned());
    }
    number.as_f64().filter(|number| number.is_finite()).ok_or_else(|| "the label is not finite".to_owned())
}

impl TryFrom<Value> for LabelValue {
    type Error = String;

    fn try_from(value: Value) -> Result<LabelValue, String> {
        let Value::Array(items) = &value else { return LabelValue::scalar(&value) };
        if items.len() > limits::ITEMS_MAX {
            return Err(format!("the label has more than {} items", limits::ITEMS_MAX));
        }
        let texts: usize = items.iter().filter_map(Value::as_str).map(str::len).sum();
        if texts > limits::TEXT_LEN_MAX {
            return Err(format!("the label is longer than {} bytes", limits::TEXT_LEN_MAX));
        }
        items.iter().map(LabelValue::scalar).collect::<Result<_, _>>().map(LabelValue::List)
    }
}

impl From<LabelValue> for Value {
    fn from(value: LabelValue) -> Value {
        match value {
            // Whole numbers are written as such, so that 1 and 1.0 are one label.
            #[allow(clippy::cast_possible_truncation, reason = "it is whole and at most 2^53")]
            LabelValue::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT_F64 => {
                Value::from(number as i64)
            }
            LabelValue::Number(number) => Value::from(number),
            LabelValue::Text(text) => Value::from(text),
            LabelValue::Bool(yes) => Value::from(yes),
            LabelValue::List(items) => items.into_iter().map(Value::from).collect(),
        }
    }
}

/// [`limits::EXACT_MAX`], as what it bounds.
const EXACT_F64: f64 = 9_007_199_254_740_992.0;

/// What turned out to be true of one row of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The request, by the id that the client gave it.
    #[serde(rename = "r")]
    pub request_id: String,
    /// The row of the request, from 0.
    #[serde(rename = "n")]
    pub row: u32,
    /// What is true of it.
    #[serde(rename = "v")]
    pub value: LabelValue,
    /// Since when that is known, in microseconds since 1970. `None` for when it is received.
    #[serde(rename = "t")]
    pub time_us: Option<i64>,
    /// Who says so; may be empty.
    #[serde(rename = "s")]
    pub source: String,
}

impl Label {
    /// Whether every part is within its bounds at the time `now_us`.
    ///
    /// # Errors
    /// What is wrong, for whoever sent it.
    pub fn check(&self, now_us: i64) -> Result<(), String> {
        let is_name = |text: &str| !text.chars().any(char::is_control);
        if self.request_id.is_empty() || self.request_id.len() > limits::REQUEST_ID_LEN_MAX {
            return Err(format!("request_id has 1 to {} bytes", limits::REQUEST_ID_LEN_MAX));
        }
        if !is_name(&self.request_id) || !is_name(&self.source) {
            return Err("request_id and source have no control characters".to_owned());
        }
        if self.source.len() > limits::SOURCE_LEN_MAX {
            return Err(format!("source has at most {} bytes", limits::SOURCE_LEN_MAX));
        }
        match self.time_us {
            Some(time) if time < 0 => Err("label_time is before 1970".to_owned()),
            Some(time) if time > now_us.saturating_add(limits::AHEAD_US_MAX) => {
                Err("label_time is in the future".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        let check = |value: Value, expected: Option<&str>| {
            let found = LabelValue::try_from(value.clone()).ok().map(|value| value.to_json());
            assert_eq!(found.as_deref(), expected, "{value}");
        };
        check(json!(1), Some("1"));
        check(json!(1.0), Some("1"));
        check(json!(-0.25), Some("-0.25"));
        check(json!("Adelie"), Some("\"Adelie\""));
        check(json!(true), Some("true"));
        check(json!([1, "a", false]), Some("[1,\"a\",false]"));
        check(json!(9_007_199_254_740_992_u64), Some("9007199254740992"));
        check(json!(9_007_199_254_740_993_u64), None);
        check(json!(i64::MIN), None);
        for wrong in [json!(null), json!({}), json!([[1]]), json!([null])] {
            check(wrong, None);
        }
        check(json!("x".repeat(limits::TEXT_LEN_MAX)), Some(&format!("\"{}\"", "x".repeat(4096))));
        check(json!("x".repeat(limits::TEXT_LEN_MAX + 1)), None);
        check(json!(["x".repeat(2049), "x".repeat(2048)]), None);
        check(json!(vec![0; limits::ITEMS_MAX + 1]), None);
    }

    #[test]
    fn labels_stay_within_their_bounds() {
        let label = |request_id: &str, time_us| Label {
            request_id: request_id.to_owned(),
            row: 0,
            value: LabelValue::Bool(true),
            time_us,
            source: String::new(),
        };
        let check = |label: Label, expected: bool| {
            assert_eq!(label.check(1_000).is_ok(), expected, "{label:?}");
        };
        check(label("a", None), true);
        check(label("a", Some(1_000 + limits::AHEAD_US_MAX)), true);
        check(label("a", Some(1_001 + limits::AHEAD_US_MAX)), false);
        check(label("a", Some(-1)), false);
        check(label("", None), false);
        check(label("a\nb", None), false);
        check(label(&"é".repeat(129), None), false);
        check(Label { source: "s".repeat(129), ..label("a", None) }, false);
    }
}
