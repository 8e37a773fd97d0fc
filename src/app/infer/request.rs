//! Inputs to the body of a request: arrays as binary tensor data, typed values as JSON.

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{Given, Wanted};

/// A request's body.
#[derive(Debug)]
pub(super) struct Body {
    /// JSON, and the binary data after it.
    pub(super) bytes: Bytes,
    /// Length of the JSON.
    pub(super) header_len: usize,
}

/// The body that asks for `wanted` (all, as JSON, when empty).
pub(super) fn encode(
    inputs: &[(String, Given)],
    wanted: &[Wanted],
    metadata: &Value,
) -> anyhow::Result<Body> {
    let mut binary: Vec<&Bytes> = Vec::new();
    let mut tensors = Vec::new();
    for (name, given) in inputs {
        tensors.push(match given {
            Given::Array(array) => {
                binary.push(&array.data);
                json!({
                    "name": name, "datatype": array.dtype.as_str(), "shape": array.shape.to_wire(),
                    "parameters": { "binary_data_size": array.data.len() },
                })
            }
            Given::Json(value) => {
                let shape = shape_of(value).with_context(|| format!("input '{name}'"))?;
                let datatype = datatype(metadata, name)?;
                // A single value is a tensor without dimensions.
                let data = if value.is_array() { value.clone() } else { json!([value]) };
                json!({ "name": name, "datatype": datatype, "shape": shape, "data": data })
            }
        });
    }
    let outputs = wanted.iter().map(|output| {
        let is_binary = output.file.is_some();
        json!({ "name": output.name, "parameters": { "binary_data": is_binary } })
    });
    let mut request = json!({ "inputs": tensors });
    let outputs: Vec<Value> = outputs.collect();
    if !outputs.is_empty() {
        request["outputs"] = Value::Array(outputs);
    }
    let header = request.to_string();
    let mut bytes = BytesMut::new();
    bytes.put_slice(header.as_bytes());
    binary.into_iter().for_each(|data| bytes.put_slice(data));
    Ok(Body { bytes: bytes.freeze(), header_len: header.len() })
}

fn datatype<'a>(metadata: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    let inputs = metadata["inputs"].as_array().context("the server's metadata names no inputs")?;
    let found = inputs.iter().find(|input| input["name"] == name);
    match found.and_then(|input| input["datatype"].as_str()) {
        Some(datatype) => Ok(datatype),
        None => {
            let known: Vec<&str> = inputs.iter().filter_map(|input| input["name"].as_str()).collect();
            bail!("the model has no input '{name}'; it takes {}", known.join(", "))
        }
    }
}

/// The shape of nested lists.
fn shape_of(value: &Value) -> anyhow::Result<Vec<usize>> {
    let Value::Array(items) = value else { return Ok(Vec::new()) };
    let mut shape = vec![items.len()];
    if let Some(first) = items.first() {
        let inner = shape_of(first)?;
        for item in items {
            anyhow::ensure!(shape_of(item)? == inner, "the nested lists differ in length");
        }
        shape.extend(inner);
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_a_shape() {
        let check = |text: &str, expected: Option<&[usize]>| {
            let found = shape_of(&serde_json::from_str(text).unwrap()).ok();
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("1", Some(&[]));
        check("[]", Some(&[0]));
        check("[[1,2],[3,4],[5,6]]", Some(&[3, 2]));
        check("[[1,2],[3]]", None);
        check("[1,[2]]", None);
    }

    #[test]
    fn typed_values_take_the_model_s_datatype() {
        let metadata = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 2] }] });
        let inputs = [("x".to_owned(), Given::Json(json!([[1.5, 2]])))];
        let body = encode(&inputs, &[], &metadata).unwrap();
        let expected =
            json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, 2]] }] });
        assert_eq!(serde_json::from_slice::<Value>(&body.bytes).unwrap(), expected);
        let unknown = [("y".to_owned(), Given::Json(json!(1)))];
        assert!(encode(&unknown, &[], &metadata).unwrap_err().to_string().contains("it takes x"));
    }
}
