//! What the parameters of a request, an input and a requested output mean.
//!
//! Parameters that are not known are ignored, as the protocol asks; those that would change the answer's meaning and
//! are not supported (sequences, shared memory) are refused.

use std::time::Duration;

use super::error::DecodeError;
use super::message::Entries;
use super::wire::{Fields, Value, WireError};

/// A parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice<'a> {
    Unset,
    Bool(bool),
    Int64(i64),
    Text(&'a str),
    Double,
    Uint64(u64),
}

/// What the parameters of a request say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestParameters {
    pub(super) priority: u32,
    pub(super) timeout: Option<Duration>,
}

/// Reads a request's parameters.
pub(super) fn of_request(entries: &Entries<'_>) -> Result<RequestParameters, DecodeError> {
    let mut parameters = RequestParameters::default();
    for entry in entries {
        let (name, choice) = read_entry(entry)?;
        match name {
            "priority" => {
                parameters.priority = whole_number(choice)
                    .and_then(|value| u32::try_from(value).ok())
                    .ok_or(wrong("priority", "must be a whole number from 0 to 4294967295"))?;
            }
            "timeout" => parameters.timeout = timeout(choice)?,
            "sequence_id" => refuse_sequence("sequence_id", choice)?,
            "sequence_start" => refuse_sequence("sequence_start", choice)?,
            "sequence_end" => refuse_sequence("sequence_end", choice)?,
            _ => {}
        }
    }
    Ok(parameters)
}

/// Whether an input or output is said to be in shared memory.
pub(super) fn names_shared_memory(entries: &Entries<'_>) -> Result<bool, DecodeError> {
    for entry in entries {
        if read_entry(entry)?.0.starts_with("shared_memory_") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The `classification` of a requested output; 0 when it has none.
pub(super) fn classification(entries: &Entries<'_>) -> Result<u32, DecodeError> {
    let mut classes = 0;
    for entry in entries {
        let (name, choice) = read_entry(entry)?;
        if name == "classification" {
            classes = whole_number(choice)
                .and_then(|value| u32::try_from(value).ok())
                .ok_or(wrong("classification", "must be a whole number from 0 to 4294967295"))?;
        }
    }
    Ok(classes)
}

fn wrong(name: &'static str, expected: &'static str) -> DecodeError {
    DecodeError::Parameter { name, expected }
}

fn whole_number(choice: Choice<'_>) -> Option<u64> {
    match choice {
        Choice::Int64(value) => u64::try_from(value).ok(),
        Choice::Uint64(value) => Some(value),
        _ => None,
    }
}

/// Microseconds as a number or, from clients that have only strings, as digits. 0 is no timeout.
fn timeout(choice: Choice<'_>) -> Result<Option<Duration>, DecodeError> {
    let micros = match choice {
        Choice::Text(text) => text.parse().ok(),
        other => whole_number(other),
    };
    let micros = micros.ok_or(wrong("timeout", "must be a whole number of microseconds, 0 for none"))?;
    Ok((micros > 0).then(|| Duration::from_micros(micros)))
}

/// Clients send the values that mean "no sequence" too; those pass.
fn refuse_sequence(name: &'static str, choice: Choice<'_>) -> Result<(), DecodeError> {
    match choice {
        Choice::Unset | Choice::Bool(false) | Choice::Int64(0) | Choice::Uint64(0) | Choice::Text("") => {
            Ok(())
        }
        _ => Err(DecodeError::Sequence { name }),
    }
}

/// Name and value of a map entry.
fn read_entry(entry: &[u8]) -> Result<(&str, Choice<'_>), DecodeError> {
    let mut name = "";
    let mut choice = Choice::Unset;
    let mut fields = Fields::new(entry);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = text(field.bytes()?, "a parameter's name")?,
            2 => read_choice(field.bytes()?, &mut choice)?,
            _ => {}
        }
    }
    Ok((name, choice))
}

fn read_choice<'a>(message: &'a [u8], choice: &mut Choice<'a>) -> Result<(), DecodeError> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        *choice = match (field.number, field.value) {
            (1, Value::Varint(value)) => Choice::Bool(value != 0),
            (2, Value::Varint(value)) => Choice::Int64(value.cast_signed()),
            (3, Value::Len(bytes)) => Choice::Text(text(bytes, "a parameter's value")?),
            (4, Value::Fixed64(_)) => Choice::Double,
            (5, Value::Varint(value)) => Choice::Uint64(value),
            (1..=5, _) => return Err(WireError::WireType { field: field.number }.into()),
            _ => *choice,
        };
    }
    Ok(())
}

fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8 { field })
}
