//! The messages of ONNX (`onnx.proto`), as far as they tell something: models, graphs, nodes, attributes, tensors.
//!
//! Field numbers are the format's and never change.

use std::io::{BufRead, Seek};

use super::ModelFacts;
use super::wire::{Defect, Reader, Value};

/// Protobuf's own default; ONNX Runtime's parser stops there too.
const DEPTH_MAX: u32 = 100;
const NAME_LEN_MAX: u64 = 64 << 10;
const OPERATORS_MAX: usize = 10_000;
const EXTERNAL_FILES_MAX: usize = 100_000;
const OPSETS_MAX: usize = 1000;

type Result<T = ()> = std::result::Result<T, Defect>;

pub(super) fn model<R: BufRead + Seek>(reader: &mut Reader<R>, end: u64, facts: &mut ModelFacts) -> Result {
    let mut has_graph = false;
    let mut producer_version = String::new();
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Varint(version)) => facts.ir_version = version,
            (2, Value::Len(len)) => facts.producer = reader.text(len, NAME_LEN_MAX)?,
            (3, Value::Len(len)) => producer_version = reader.text(len, NAME_LEN_MAX)?,
            (7, Value::Len(len)) => {
                has_graph = true;
                graph(reader, len, 1, facts)?;
            }
            (8, Value::Len(len)) => opset(reader, len, facts)?,
            (25, Value::Len(len)) => {
                facts.function_count += 1;
                nodes(reader, len, 7, 1, facts)?;
            }
            _ => reader.skip(value)?,
        }
    }
    if !producer_version.is_empty() {
        facts.producer = format!("{} {producer_version}", facts.producer);
    }
    if has_graph { Ok(()) } else { Err(Defect::NoGraph) }
}

fn opset<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, facts: &mut ModelFacts) -> Result {
    let end = reader.at() + len;
    let (mut domain, mut version) = (String::new(), 0);
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Len(len)) => domain = reader.text(len, NAME_LEN_MAX)?,
            (2, Value::Varint(number)) => version = number,
            _ => reader.skip(value)?,
        }
    }
    if facts.opsets.len() >= OPSETS_MAX {
        return Err(Defect::TooMany { limit: OPSETS_MAX, what: "operator sets" });
    }
    let domain = if domain.is_empty() { "ai.onnx".to_owned() } else { domain };
    facts.opsets.insert(domain, version);
    Ok(())
}

fn graph<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, depth: u32, facts: &mut ModelFacts) -> Result {
    check_depth(depth)?;
    let end = reader.at() + len;
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Len(len)) => node(reader, len, depth + 1, facts)?,
            (5, Value::Len(len)) => {
                facts.initializer_count += 1;
                let (bytes, elements) = tensor(reader, len, facts)?;
                facts.initializer_bytes += bytes;
                facts.parameter_count = facts.parameter_count.saturating_add(elements);
            }
            (11 | 12, Value::Len(len)) if depth == 1 => value_info(reader, len, facts)?,
            (15, Value::Len(len)) => {
                facts.initializer_count += 1;
                let (bytes, elements) = sparse_tensor(reader, len, facts)?;
                facts.initializer_bytes += bytes;
                facts.parameter_count = facts.parameter_count.saturating_add(elements);
            }
            _ => reader.skip(value)?,
        }
    }
    Ok(())
}

/// A message whose only interesting field holds nodes.
fn nodes<R: BufRead + Seek>(
    reader: &mut Reader<R>,
    len: u64,
    field: u64,
    depth: u32,
    facts: &mut ModelFacts,
) -> Result {
    let end = reader.at() + len;
    while let Some((number, value)) = reader.field(end)? {
        match value {
            Value::Len(len) if number == field => node(reader, len, depth + 1, facts)?,
            _ => reader.skip(value)?,
        }
    }
    Ok(())
}

fn node<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, depth: u32, facts: &mut ModelFacts) -> Result {
    check_depth(depth)?;
    let end = reader.at() + len;
    let (mut operator, mut domain) = (String::new(), String::new());
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (4, Value::Len(len)) => operator = reader.text(len, NAME_LEN_MAX)?,
            (5, Value::Len(len)) => attribute(reader, len, depth + 1, facts)?,
            (7, Value::Len(len)) => domain = reader.text(len, NAME_LEN_MAX)?,
            _ => reader.skip(value)?,
        }
    }
    let is_standard = domain.is_empty() || domain == "ai.onnx";
    facts.has_control_flow |=
        is_standard && matches!(operator.as_str(), "If" | "Loop" | "Scan" | "SequenceMap");
    let name = if is_standard { operator } else { format!("{domain}.{operator}") };
    if facts.operators.len() >= OPERATORS_MAX && !facts.operators.contains_key(&name) {
        return Err(Defect::TooMany { limit: OPERATORS_MAX, what: "different operators" });
    }
    *facts.operators.entry(name).or_default() += 1;
    Ok(())
}

fn attribute<R: BufRead + Seek>(
    reader: &mut Reader<R>,
    len: u64,
    depth: u32,
    facts: &mut ModelFacts,
) -> Result {
    check_depth(depth)?;
    let end = reader.at() + len;
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (5 | 10, Value::Len(len)) => drop(tensor(reader, len, facts)?),
            (6 | 11, Value::Len(len)) => graph(reader, len, depth + 1, facts)?,
            (22 | 23, Value::Len(len)) => drop(sparse_tensor(reader, len, facts)?),
            _ => reader.skip(value)?,
        }
    }
    Ok(())
}

/// Reads the heads of a sparse tensor's parts: its bytes, and the number of its values that are stated.
fn sparse_tensor<R: BufRead + Seek>(
    reader: &mut Reader<R>,
    len: u64,
    facts: &mut ModelFacts,
) -> Result<(u64, u64)> {
    let end = reader.at() + len;
    let (mut bytes, mut elements) = (0, 0);
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1 | 2, Value::Len(len)) => {
                let (part, count) = tensor(reader, len, facts)?;
                bytes += part;
                // Field 2 holds the places of the values.
                elements = if number == 1 { count } else { elements };
            }
            _ => reader.skip(value)?,
        }
    }
    Ok((bytes, elements))
}

/// Reads a tensor's head: the bytes of its elements in this file, and their number.
fn tensor<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, facts: &mut ModelFacts) -> Result<(u64, u64)> {
    let end = reader.at() + len;
    let (mut bytes, mut elements, mut name) = (0u64, Some(1u64), String::new());
    let mut is_empty = false;
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Varint(dim)) => {
                is_empty |= dim == 0;
                elements = times(elements, dim);
            }
            (1, Value::Len(len)) => {
                let end = reader.at() + len;
                while reader.at() < end {
                    let dim = reader.varint(end)?;
                    is_empty |= dim == 0;
                    elements = times(elements, dim);
                }
            }
            (4..=7 | 9..=11, Value::Len(len)) => {
                bytes += len;
                reader.skip(value)?;
            }
            (8, Value::Len(len)) => name = reader.text(len, NAME_LEN_MAX)?,
            (13, Value::Len(len)) => external_entry(reader, len, facts)?,
            _ => reader.skip(value)?,
        }
    }
    match elements {
        Some(_) if is_empty => Ok((bytes, 0)),
        Some(elements) => Ok((bytes, elements)),
        None => Err(Defect::TooManyElements(name)),
    }
}

/// The product, or `None` when no memory holds that many elements. Negative dimensions arrive as huge ones.
fn times(elements: Option<u64>, dim: u64) -> Option<u64> {
    elements?.checked_mul(dim.max(1)).filter(|&elements| elements < 1 << 48)
}

/// One key and value of a tensor's external data.
fn external_entry<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, facts: &mut ModelFacts) -> Result {
    let end = reader.at() + len;
    let (mut key, mut location) = (String::new(), String::new());
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Len(len)) => key = reader.text(len, NAME_LEN_MAX)?,
            (2, Value::Len(len)) => location = reader.text(len, NAME_LEN_MAX)?,
            _ => reader.skip(value)?,
        }
    }
    if key == "location" {
        facts.external_locations.insert(location);
        if facts.external_locations.len() > EXTERNAL_FILES_MAX {
            return Err(Defect::TooMany { limit: EXTERNAL_FILES_MAX, what: "external files" });
        }
    }
    Ok(())
}

/// Notes an input or output that is a tensor without a stated shape.
fn value_info<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64, facts: &mut ModelFacts) -> Result {
    let end = reader.at() + len;
    let (mut name, mut is_unshaped) = (String::new(), false);
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Len(len)) => name = reader.text(len, NAME_LEN_MAX)?,
            (2, Value::Len(len)) => is_unshaped = !has_shape(reader, len)?,
            _ => reader.skip(value)?,
        }
    }
    if is_unshaped {
        facts.unshaped.insert(name);
    }
    Ok(())
}

/// Whether a type is a tensor with a shape, or no tensor at all.
fn has_shape<R: BufRead + Seek>(reader: &mut Reader<R>, len: u64) -> Result<bool> {
    let end = reader.at() + len;
    let mut found = true;
    while let Some((number, value)) = reader.field(end)? {
        match (number, value) {
            (1, Value::Len(len)) => {
                let end = reader.at() + len;
                found = false;
                while let Some((number, value)) = reader.field(end)? {
                    found |= number == 2;
                    reader.skip(value)?;
                }
            }
            _ => reader.skip(value)?,
        }
    }
    Ok(found)
}

fn check_depth(depth: u32) -> Result {
    if depth > DEPTH_MAX { Err(Defect::TooDeep(DEPTH_MAX)) } else { Ok(()) }
}
