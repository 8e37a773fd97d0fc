//! Sample inputs as people have them, as tensors of a model's signature.
//!
//! ```text
//! {"inputs": [{"name": "x", "shape": [1,4], "data": […]}]}     the infer protocol
//! {"inputs": {"x": [[…]]}}  {"inputs": [[…]]}                    MLflow's serving form; "instances" too
//! {"columns": ["a","b"], "data": [[…]]}  {"dataframe_split": …}  a table
//! {"x": [[…]]}  [[…]]                                            arrays by name, or the only input's
//! ```
//!
//! Datatypes come from the signature. Elements are numbers, truth values or texts; `"NaN"` and `"Infinity"` are numbers.

use bytes::Bytes;
use serde_json::Value;

use crate::model::{Signature, TensorSpec};
use crate::tensor::{DataType, Shape, StringsWriter, Tensor};

/// Deepest nesting of an array.
const DEPTH_MAX: usize = 16;

/// Reads `sample` for a model of `signature`.
///
/// # Errors
/// What does not fit, in a line.
pub fn read(sample: &Value, signature: &Signature) -> Result<Vec<Tensor>, String> {
    match sample {
        Value::Array(_) => only_input(sample, signature),
        Value::Object(object) => {
            let wrapped = ["dataframe_split", "inputs", "instances"].iter().find_map(|key| object.get(*key));
            match wrapped {
                Some(Value::Array(tensors)) if tensors.iter().all(|tensor| tensor.get("name").is_some()) => {
                    tensors.iter().map(|tensor| protocol_tensor(tensor, signature)).collect()
                }
                Some(inner) if signature.input("inputs").is_none() => read(inner, signature),
                _ => match (object.get("columns"), object.get("data")) {
                    (Some(Value::Array(columns)), Some(Value::Array(rows))) => {
                        table(columns, rows, signature)
                    }
                    _ => object.iter().map(|(name, value)| named(name, value, signature)).collect(),
                },
            }
        }
        _ => Err("a sample is a JSON object or array".to_owned()),
    }
}

fn only_input(value: &Value, signature: &Signature) -> Result<Vec<Tensor>, String> {
    let required: Vec<&TensorSpec> = signature.inputs.iter().filter(|spec| !spec.optional).collect();
    match required.as_slice() {
        [spec] => nested(spec, value).map(|tensor| vec![tensor]),
        _ => Err(format!("the model has {} inputs, and the sample names none", required.len())),
    }
}

fn named(name: &str, value: &Value, signature: &Signature) -> Result<Tensor, String> {
    nested(spec(name, signature)?, value)
}

fn spec<'a>(name: &str, signature: &'a Signature) -> Result<&'a TensorSpec, String> {
    let shown = || name.chars().take(64).flat_map(char::escape_debug).collect::<String>();
    signature.input(name).map(|(_, spec)| spec).ok_or_else(|| format!("the model has no input '{}'", shown()))
}

fn protocol_tensor(tensor: &Value, signature: &Signature) -> Result<Tensor, String> {
    let name = tensor.get("name").and_then(Value::as_str).ok_or("an input's name is a text")?;
    let spec = spec(name, signature)?;
    let data = tensor.get("data").ok_or_else(|| format!("input '{name}' has no data"))?;
    let Some(shape) = tensor.get("shape") else { return nested(spec, data) };
    let dims: Vec<i64> =
        serde_json::from_value(shape.clone()).map_err(|_| format!("input '{name}': its shape"))?;
    let shape = Shape::from_wire(&dims).map_err(|error| format!("input '{name}': {error}"))?;
    let mut leaves = Vec::new();
    flatten(data, 0, &mut leaves)?;
    tensor_of(spec, shape, &leaves)
}

/// Rows of columns: one matrix for the only input, or a column for each input of that name.
fn table(columns: &[Value], rows: &[Value], signature: &Signature) -> Result<Vec<Tensor>, String> {
    let names: Vec<&str> = columns.iter().filter_map(Value::as_str).collect();
    let by_name = !names.is_empty() && names.iter().all(|name| signature.input(name).is_some());
    if !by_name {
        return only_input(&Value::Array(rows.to_vec()), signature);
    }
    let column = |(at, name): (usize, &&str)| {
        let spec = spec(name, signature)?;
        let cells = rows.iter().map(|row| row.get(at).cloned().unwrap_or(Value::Null));
        // A model of columns takes [rows, 1] or [rows].
        let is_flat = spec.shape.as_ref().is_some_and(|dims| dims.len() == 1);
        let cells = cells.map(|cell| if is_flat { cell } else { Value::Array(vec![cell]) });
        nested(spec, &Value::Array(cells.collect()))
    };
    names.iter().enumerate().map(column).collect()
}

/// A tensor of nested arrays, which state the shape.
fn nested(spec: &TensorSpec, value: &Value) -> Result<Tensor, String> {
    let mut dims = Vec::new();
    let mut at = value;
    while let Value::Array(items) = at {
        dims.push(items.len());
        match items.first() {
            Some(first) if dims.len() < DEPTH_MAX => at = first,
            _ => break,
        }
    }
    let shape = Shape::new(&dims).map_err(|error| format!("input '{}': {error}", spec.name))?;
    let mut leaves = Vec::new();
    flatten(value, 0, &mut leaves)?;
    tensor_of(spec, shape, &leaves)
}

fn flatten<'a>(value: &'a Value, depth: usize, leaves: &mut Vec<&'a Value>) -> Result<(), String> {
    match value {
        Value::Array(_) if depth >= DEPTH_MAX => Err(format!("arrays nest more than {DEPTH_MAX} deep")),
        Value::Array(items) => items.iter().try_for_each(|item| flatten(item, depth + 1, leaves)),
        leaf => {
            leaves.push(leaf);
            Ok(())
        }
    }
}

fn tensor_of(spec: &TensorSpec, shape: Shape, leaves: &[&Value]) -> Result<Tensor, String> {
    let mut strings = StringsWriter::new();
    let mut bytes = Vec::new();
    for leaf in leaves {
        let wrong = || format!("input '{}': {leaf} is no {}", spec.name, spec.dtype);
        if spec.dtype == DataType::Bytes {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            strings.push(text.as_bytes()).map_err(|error| error.to_string())?;
        } else {
            push_number(spec.dtype, leaf, &mut bytes).ok_or_else(wrong)?;
        }
    }
    let data = if spec.dtype == DataType::Bytes { strings.finish() } else { Bytes::from(bytes) };
    Tensor::new(spec.name.clone().into(), spec.dtype, shape, data).map_err(|error| error.to_string())
}

/// One element, little-endian; `None` when the value is none of `dtype`.
fn push_number(dtype: DataType, leaf: &Value, bytes: &mut Vec<u8>) -> Option<()> {
    let real = || match leaf {
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            text.parse::<f64>().ok()
        }
        other => other.as_f64(),
    };
    // Tables write whole numbers as 3.0.
    let float = || leaf.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9e15);
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    let signed = || leaf.as_i64().or_else(|| float().map(|value| value as i64));
    let unsigned = || leaf.as_u64().or_else(|| signed().and_then(|value| u64::try_from(value).ok()));
    match dtype {
        DataType::Bool => {
            bytes.push(u8::from(leaf.as_bool().or_else(|| unsigned().map(|value| value != 0))?))
        }
        DataType::Int8 => bytes.extend(i8::try_from(signed()?).ok()?.to_le_bytes()),
        DataType::Int16 => bytes.extend(i16::try_from(signed()?).ok()?.to_le_bytes()),
        DataType::Int32 => bytes.extend(i32::try_from(signed()?).ok()?.to_le_bytes()),
        DataType::Int64 => bytes.extend(signed()?.to_le_bytes()),
        DataType::Uint8 => bytes.push(u8::try_from(unsigned()?).ok()?),
        DataType::Uint16 => bytes.extend(u16::try_from(unsigned()?).ok()?.to_le_bytes()),
        DataType::Uint32 => bytes.extend(u32::try_from(unsigned()?).ok()?.to_le_bytes()),
        DataType::Uint64 => bytes.extend(unsigned()?.to_le_bytes()),
        DataType::Fp16 => bytes.extend(half::f16::from_f64(real()?).to_le_bytes()),
        DataType::Bf16 => bytes.extend(half::bf16::from_f64(real()?).to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "the nearest FP32 is what is meant")]
        DataType::Fp32 => bytes.extend((real()? as f32).to_le_bytes()),
        DataType::Fp64 => bytes.extend(real()?.to_le_bytes()),
        DataType::Bytes => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Dim;

    fn signature(inputs: &[(&str, DataType, usize)]) -> Signature {
        let spec = |(name, dtype, rank): &(&str, DataType, usize)| TensorSpec {
            name: (*name).into(),
            dtype: *dtype,
            shape: Some(vec![Dim::Dynamic(None); *rank]),
            optional: false,
        };
        Signature { inputs: inputs.iter().map(spec).collect(), outputs: Vec::new() }
    }

    fn check(sample: Value, shape: &[usize], values: &[f32]) {
        let tensors = read(&sample, &signature(&[("x", DataType::Fp32, 2)])).unwrap();
        assert_eq!(tensors[0].shape().dims(), shape, "{sample}");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(tensors[0].data()[..], bytes[..], "{sample}");
    }

    #[test]
    fn every_form_gives_the_same_tensor() {
        let flat =
            json!({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 0.5]}]});
        check(flat, &[2, 2], &[1.0, 2.0, 3.0, 0.5]);
        check(json!({"inputs": {"x": [[1, 2]]}}), &[1, 2], &[1.0, 2.0]);
        check(json!({"inputs": [[1, 2]]}), &[1, 2], &[1.0, 2.0]);
        check(json!({"x": [[1, "NaN"]]})["x"].clone(), &[1, 2], &[1.0, f32::NAN]);
        check(json!([[1, 2]]), &[1, 2], &[1.0, 2.0]);
        check(json!({"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}), &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        check(json!({"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}}), &[1, 2], &[1.0, 2.0]);
    }

    #[test]
    fn columns_find_their_inputs() {
        let signature = signature(&[("age", DataType::Int64, 2), ("name", DataType::Bytes, 1)]);
        let sample = json!({"columns": ["name", "age"], "data": [["a", 3.0], ["bc", 4]]});
        let tensors = read(&sample, &signature).unwrap();
        assert_eq!((&**tensors[0].name(), tensors[0].shape().dims()), ("name", &[2][..]));
        assert_eq!((&**tensors[1].name(), tensors[1].shape().dims()), ("age", &[2, 1][..]));
        assert_eq!(tensors[0].data()[..], b"\x01\0\0\0a\x02\0\0\0bc"[..]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |sample: Value, expected: &str| {
            let error = read(&sample, &signature(&[("x", DataType::Uint8, 2)])).unwrap_err();
            assert!(error.contains(expected), "{error} should say {expected}");
        };
        check(json!({"y": [1]}), "no input 'y'");
        check(json!([[1, 300]]), "300 is no UINT8");
        check(json!([[1, 2], [3]]), "takes 4 bytes, got 3");
        check(json!([[1.5]]), "1.5 is no UINT8");
        check(json!(3), "a JSON object or array");
    }
}
