//! A `ModelInferRequest` as slices of its frame: which bytes are which field, and how many. Gives them no meaning.
//!
//! The rules of protobuf hold: the last of a repeated scalar wins, unknown fields are skipped, repeated numbers may be
//! packed or not.

use smallvec::SmallVec;

use super::error::DecodeError;
use super::wire::{Field, Fields, Value, WireError, take_varint};
use crate::protocol::Limits;

/// Dimensions that are kept; the shape's own check refuses fewer than these.
const DIMS_KEPT: usize = 33;

/// The fields of a request.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub(super) model: &'a [u8],
    pub(super) version: &'a [u8],
    pub(super) id: &'a [u8],
    pub(super) parameters: Entries<'a>,
    pub(super) inputs: SmallVec<[Input<'a>; 2]>,
    pub(super) outputs: SmallVec<[Output<'a>; 2]>,
    pub(super) raw: SmallVec<[&'a [u8]; 2]>,
}

/// Entries of a parameter map, undecoded.
pub(super) type Entries<'a> = SmallVec<[&'a [u8]; 1]>;

/// The fields of an input.
#[derive(Debug, Default)]
pub(super) struct Input<'a> {
    pub(super) name: &'a [u8],
    pub(super) datatype: &'a [u8],
    pub(super) shape: SmallVec<[i64; 6]>,
    pub(super) parameters: Entries<'a>,
    /// A message field may come in parts, which count as one.
    pub(super) contents: SmallVec<[&'a [u8]; 1]>,
}

/// The fields of a requested output.
#[derive(Debug, Default)]
pub(super) struct Output<'a> {
    pub(super) name: &'a [u8],
    pub(super) parameters: Entries<'a>,
}

impl<'a> Message<'a> {
    /// Finds the fields in `frame`. Counts are checked against `limits` before anything is kept.
    pub(super) fn parse(frame: &'a [u8], limits: &Limits) -> Result<Message<'a>, DecodeError> {
        let mut message = Message::default();
        let mut fields = Fields::new(frame);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => message.model = field.bytes()?,
                2 => message.version = field.bytes()?,
                3 => message.id = field.bytes()?,
                4 => push_entry(&mut message.parameters, field, limits)?,
                5 => {
                    check_count("inputs", message.inputs.len(), limits.tensors_max)?;
                    message.inputs.push(Input::parse(field.bytes()?, limits)?);
                }
                6 => {
                    check_count("requested outputs", message.outputs.len(), limits.tensors_max)?;
                    message.outputs.push(Output::parse(field.bytes()?, limits)?);
                }
                7 => {
                    check_count("raw_input_contents", message.raw.len(), limits.tensors_max)?;
                    message.raw.push(field.bytes()?);
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

impl<'a> Input<'a> {
    fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Input<'a>, DecodeError> {
        let mut input = Input::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => input.name = field.bytes()?,
                2 => input.datatype = field.bytes()?,
                3 => push_dims(&mut input.shape, field)?,
                4 => push_entry(&mut input.parameters, field, limits)?,
                5 => {
                    check_count("parts of contents", input.contents.len(), limits.tensors_max)?;
                    input.contents.push(field.bytes()?);
                }
                _ => {}
            }
        }
        Ok(input)
    }
}

impl<'a> Output<'a> {
    fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Output<'a>, DecodeError> {
        let mut output = Output::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => output.name = field.bytes()?,
                2 => push_entry(&mut output.parameters, field, limits)?,
                _ => {}
            }
        }
        Ok(output)
    }
}

fn push_entry<'a>(entries: &mut Entries<'a>, field: Field<'a>, limits: &Limits) -> Result<(), DecodeError> {
    check_count("parameters", entries.len(), limits.parameters_max)?;
    entries.push(field.bytes()?);
    Ok(())
}

fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), DecodeError> {
    if count >= max { Err(DecodeError::TooMany { what, max }) } else { Ok(()) }
}

/// Adds packed or single dimensions. Those beyond what any shape may have are read and dropped.
fn push_dims(shape: &mut SmallVec<[i64; 6]>, field: Field<'_>) -> Result<(), WireError> {
    let mut push = |value: u64| {
        if shape.len() < DIMS_KEPT {
            shape.push(value.cast_signed());
        }
    };
    match field.value {
        Value::Varint(value) => push(value),
        Value::Len(mut packed) => {
            while !packed.is_empty() {
                push(take_varint(&mut packed)?);
            }
        }
        _ => return Err(field.wrong_type()),
    }
    Ok(())
}
