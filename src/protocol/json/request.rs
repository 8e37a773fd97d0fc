//! The infer request around its inputs: id, parameters, requested outputs.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::cursor::Cursor;
use super::error::{DecodeError, shorten};
use super::input;
use crate::infer::RequestedOutput;
use crate::protocol::binary::BinaryTail;
use crate::protocol::limits::Limits;
use crate::protocol::parameters::{
    ParameterError, ParameterValue, RequestParameters, check_tensor_parameter, classification,
};
use crate::protocol::rest::InferBody;
use crate::tensor::{Name, Tensor};

/// Decodes the JSON of an infer request; binary inputs are taken from `tail` in the order of their appearance.
///
/// # Errors
/// [`DecodeError`], which names the tensor and what was expected.
pub(in crate::protocol) fn decode_request(
    json: &[u8],
    tail: &mut BinaryTail,
    limits: &Limits,
) -> Result<InferBody, DecodeError> {
    let mut cursor = Cursor::new(json, limits.json_depth_max)?;
    let mut draft = Draft { body: InferBody::default(), seen: Vec::new(), parameters: None, limits };
    cursor.object("an inference request", |cursor, key| draft.entry(cursor, &key, tail))?;
    cursor.finish()?;
    draft.finish()
}

/// What the request has said so far.
struct Draft<'l> {
    body: InferBody,
    /// Keys of the protocol that were there.
    seen: Vec<&'static str>,
    parameters: Option<RequestParameters>,
    limits: &'l Limits,
}

impl Draft<'_> {
    fn entry(
        &mut self,
        cursor: &mut Cursor<'_>,
        key: &str,
        tail: &mut BinaryTail,
    ) -> Result<(), DecodeError> {
        let known = ["id", "inputs", "outputs", "parameters"];
        let Some(known) = known.into_iter().find(|known| *known == key) else { return cursor.skip(1) };
        if self.seen.contains(&known) {
            return Err(DecodeError::Duplicate { offset: cursor.offset(), key: known.to_owned() });
        }
        self.seen.push(known);
        match known {
            "id" => self.body.id = Name::from(cursor.string("the id as a string")?.into_owned()),
            "inputs" => self.body.inputs = decode_inputs(cursor, tail, self.limits)?,
            "outputs" => self.outputs(cursor)?,
            _ => self.parameters = Some(decode_parameters(cursor, self.limits)?),
        }
        Ok(())
    }

    fn outputs(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let limits = self.limits;
        let body = &mut self.body;
        cursor.array("an array of outputs", |cursor| {
            if body.outputs.len() == limits.tensors_max {
                return Err(DecodeError::TooMany { what: "outputs", max: limits.tensors_max });
            }
            let (output, binary) = decode_output(cursor, body.outputs.len(), limits)?;
            body.outputs.push(output);
            body.forms.by_output.push(binary);
            Ok(())
        })
    }

    fn finish(self) -> Result<InferBody, DecodeError> {
        let mut body = self.body;
        if !self.seen.contains(&"inputs") {
            return Err(DecodeError::Missing { place: "the request".to_owned(), key: "inputs" });
        }
        if let Some(parameters) = self.parameters {
            body.priority = parameters.priority;
            body.timeout = parameters.timeout;
            body.forms.binary = parameters.binary_data_output;
        }
        Ok(body)
    }
}

fn decode_inputs(
    cursor: &mut Cursor<'_>,
    tail: &mut BinaryTail,
    limits: &Limits,
) -> Result<Vec<Tensor>, DecodeError> {
    let mut inputs = Vec::new();
    cursor.array("an array of inputs", |cursor| {
        if inputs.len() == limits.tensors_max {
            return Err(DecodeError::TooMany { what: "inputs", max: limits.tensors_max });
        }
        inputs.push(input::decode(cursor, inputs.len(), tail, limits)?);
        Ok(())
    })?;
    Ok(inputs)
}

fn decode_parameters(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<RequestParameters, DecodeError> {
    let mut parameters = RequestParameters::default();
    let refused = |source| DecodeError::Parameter { place: "the request".to_owned(), source };
    each_parameter(cursor, limits, "parameters of the request", |key, value| {
        parameters.set(key, value).map_err(refused)
    })?;
    Ok(parameters)
}

fn decode_output(
    cursor: &mut Cursor<'_>,
    index: usize,
    limits: &Limits,
) -> Result<(RequestedOutput, Option<bool>), DecodeError> {
    let mut name = None;
    let mut settings = None;
    cursor.object("a requested output", |cursor, key| {
        let duplicate = |offset| DecodeError::Duplicate { offset, key: key.to_string() };
        match &*key {
            "name" if name.is_some() => Err(duplicate(cursor.offset())),
            "name" => {
                name = Some(Name::from(cursor.string("the output's name")?.into_owned()));
                Ok(())
            }
            "parameters" if settings.is_some() => Err(duplicate(cursor.offset())),
            "parameters" => {
                settings = Some(decode_output_parameters(cursor, index, limits)?);
                Ok(())
            }
            _ => cursor.skip(3),
        }
    })?;
    let missing = || DecodeError::Missing { place: format!("output {index}"), key: "name" };
    let name = name.ok_or_else(missing)?;
    let (classification, binary) = settings.unwrap_or_default();
    Ok((RequestedOutput { name, classification }, binary))
}

/// How many classes, and whether in binary form.
fn decode_output_parameters(
    cursor: &mut Cursor<'_>,
    index: usize,
    limits: &Limits,
) -> Result<(u32, Option<bool>), DecodeError> {
    let mut classes = 0;
    let mut binary = None;
    each_parameter(cursor, limits, "parameters of an output", |key, value| {
        let set = match key {
            "classification" => classification(value).map(|count| classes = count),
            "binary_data" => {
                let expected = "true or false";
                let wrong = ParameterError::Kind { name: key.to_owned(), expected };
                value.bool().ok_or(wrong).map(|value| binary = Some(value))
            }
            _ => check_tensor_parameter(key),
        };
        set.map_err(|source| DecodeError::Parameter { place: format!("output {index}"), source })
    })?;
    Ok((classes, binary))
}

/// Calls `set` for every parameter of the object at the cursor.
fn each_parameter(
    cursor: &mut Cursor<'_>,
    limits: &Limits,
    what: &'static str,
    mut set: impl FnMut(&str, ParameterValue<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut keys: SmallVec<[Cow<'_, str>; 4]> = SmallVec::new();
    cursor.object("an object of parameters", |cursor, key| {
        if keys.len() == limits.parameters_max {
            return Err(DecodeError::TooMany { what, max: limits.parameters_max });
        }
        if keys.contains(&key) {
            return Err(DecodeError::Duplicate { offset: cursor.offset(), key: shorten(&key) });
        }
        let mut held = Cow::Borrowed("");
        set(&key, cursor.scalar(&mut held)?)?;
        keys.push(key);
        Ok(())
    })
}
