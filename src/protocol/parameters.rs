//! Request parameters with a meaning, the same for both doors: what is understood, what is refused, what is ignored.
//!
//! `priority` and `timeout` (microseconds) are understood, `binary_data_output` by REST. Sequences and shared memory
//! are not served, so a request that counts on them is refused rather than answered wrongly. Any other parameter is
//! the client's own affair.

use std::time::Duration;

use crate::error::{Code, Coded};

/// A parameter's value, borrowed from the request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ParameterValue<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; wide enough for `int64` and `uint64`.
    Whole(i128),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(&'a str),
    /// JSON's `null`.
    Null,
}

/// What a request's parameters say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestParameters {
    /// 0 is the default, 1 the highest.
    pub(super) priority: u32,
    /// How long the client waits for its answer.
    pub(super) timeout: Option<Duration>,
    /// Whether outputs are sent in binary form unless an output says otherwise.
    pub(super) binary_data_output: bool,
}

/// Why a parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The value is not of the parameter's kind or range.
    #[error("parameter '{name}' must be {expected}")]
    Kind {
        /// Which parameter.
        name: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The parameter belongs to something that this server does not do.
    #[error("parameter '{name}' is not supported: this server has no {feature}")]
    Unsupported {
        /// Which parameter.
        name: String,
        /// What it belongs to.
        feature: &'static str,
    },
}

impl Coded for ParameterError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

impl RequestParameters {
    /// Takes one parameter of a request.
    ///
    /// # Errors
    /// [`ParameterError`] when the value makes no sense or the server does not do what it asks.
    pub(super) fn set(&mut self, name: &str, value: ParameterValue<'_>) -> Result<(), ParameterError> {
        match name {
            "priority" => {
                self.priority = value
                    .whole()
                    .and_then(|value| u32::try_from(value).ok())
                    .ok_or_else(|| kind(name, "a whole number from 0 to 4294967295"))?;
            }
            "timeout" => {
                let micros = value
                    .whole()
                    .and_then(|value| u64::try_from(value).ok())
                    .ok_or_else(|| kind(name, "a whole number of microseconds"))?;
                // 0 is how Triton's clients say "none".
                self.timeout = (micros > 0).then(|| Duration::from_micros(micros));
            }
            "binary_data_output" => {
                self.binary_data_output = value.bool().ok_or_else(|| kind(name, "true or false"))?;
            }
            "sequence_id" | "sequence_start" | "sequence_end" if !value.is_nothing() => {
                return Err(ParameterError::Unsupported { name: name.to_owned(), feature: "sequences" });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks a parameter of an input or of a requested output that has no meaning of its own to the caller.
///
/// # Errors
/// [`ParameterError::Unsupported`] for shared memory.
pub(super) fn check_tensor_parameter(name: &str) -> Result<(), ParameterError> {
    match name {
        "shared_memory_region" | "shared_memory_offset" | "shared_memory_byte_size" => {
            Err(ParameterError::Unsupported { name: name.to_owned(), feature: "shared memory" })
        }
        _ => Ok(()),
    }
}

/// The `classification` parameter of a requested output: how many classes.
///
/// # Errors
/// [`ParameterError::Kind`] when it is not a whole number.
pub(super) fn classification(value: ParameterValue<'_>) -> Result<u32, ParameterError> {
    value
        .whole()
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| kind("classification", "a whole number from 0 to 4294967295"))
}

fn kind(name: &str, expected: &'static str) -> ParameterError {
    ParameterError::Kind { name: name.to_owned(), expected }
}

impl ParameterValue<'_> {
    /// The value as a whole number.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            ParameterValue::Whole(value) => Some(value),
            _ => None,
        }
    }

    /// The value as a truth value.
    pub(super) fn bool(self) -> Option<bool> {
        match self {
            ParameterValue::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the value is what a client that does not use the parameter may send.
    fn is_nothing(self) -> bool {
        match self {
            ParameterValue::Bool(value) => !value,
            ParameterValue::Whole(value) => value == 0,
            ParameterValue::Double(_) => false,
            ParameterValue::Text(text) => text.is_empty(),
            ParameterValue::Null => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: ParameterValue<'_>, expected: Result<RequestParameters, &str>) {
        let mut parameters = RequestParameters::default();
        let set = parameters.set(name, value).map(|()| parameters).map_err(|error| error.to_string());
        assert_eq!(set, expected.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn meanings() {
        use ParameterValue::{Bool, Double, Null, Text, Whole};
        let none = RequestParameters::default();
        check("priority", Whole(1), Ok(RequestParameters { priority: 1, ..none }));
        check("priority", Whole(-1), Err("parameter 'priority' must be a whole number from 0 to 4294967295"));
        let timeout = Some(Duration::from_millis(5));
        check("timeout", Whole(5000), Ok(RequestParameters { timeout, ..none }));
        check("timeout", Whole(0), Ok(none));
        check("timeout", Double(0.5), Err("parameter 'timeout' must be a whole number of microseconds"));
        check("binary_data_output", Bool(true), Ok(RequestParameters { binary_data_output: true, ..none }));
        check("sequence_id", Whole(0), Ok(none));
        check("sequence_start", Bool(false), Ok(none));
        check("sequence_end", Null, Ok(none));
        check(
            "sequence_id",
            Text("a"),
            Err("parameter 'sequence_id' is not supported: this server has no sequences"),
        );
        check("triton_enable_empty_final_response", Bool(true), Ok(none));
        check("mine", Text("x"), Ok(none));
    }
}
