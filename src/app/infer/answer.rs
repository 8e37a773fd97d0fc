//! The server's answer to outputs that can be shown or written.

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

use super::npy::Array;
use crate::tensor::{DataType, Shape};

/// One output.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    dtype: DataType,
    shape: Shape,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Json(Value),
    Binary(Bytes),
}

/// The outputs of an answer: its JSON, and the binary data after it.
pub(super) fn decode(answer: &Value, binary: &Bytes) -> anyhow::Result<Vec<Output>> {
    let mut offset = 0;
    let outputs = answer["outputs"].as_array().context("the answer has no outputs")?;
    outputs
        .iter()
        .map(|output| {
            let name = output["name"].as_str().context("an output has no name")?.to_owned();
            let datatype = output["datatype"].as_str().unwrap_or_default();
            let dtype = DataType::from_wire_name(datatype)
                .with_context(|| format!("output '{name}' is {datatype}"))?;
            let dims: Vec<i64> =
                serde_json::from_value(output["shape"].clone()).context("an output's shape")?;
            let data = match output["parameters"]["binary_data_size"].as_u64() {
                None => Data::Json(output["data"].clone()),
                Some(size) => {
                    let end = offset + usize::try_from(size)?;
                    anyhow::ensure!(end <= binary.len(), "the answer is cut off in output '{name}'");
                    let data = binary.slice(offset..end);
                    offset = end;
                    Data::Binary(data)
                }
            };
            Ok(Output { name, dtype, shape: Shape::from_wire(&dims)?, data })
        })
        .collect()
}

impl Output {
    /// Name, datatype and shape.
    pub(super) fn title(&self) -> String {
        format!("{} {}{}", self.name, self.dtype, self.shape)
    }

    /// The elements as text.
    pub(super) fn shown(&self) -> anyhow::Result<String> {
        match &self.data {
            Data::Json(value) => Ok(value.to_string()),
            Data::Binary(data) => Ok(format!("{} bytes", data.len())),
        }
    }

    /// The elements as an array; they were asked for in binary form.
    pub(super) fn array(&self) -> anyhow::Result<Array> {
        match &self.data {
            Data::Binary(data) => {
                Ok(Array { dtype: self.dtype, shape: self.shape.clone(), data: data.clone() })
            }
            Data::Json(_) => anyhow::bail!("the server did not send output '{}' in binary form", self.name),
        }
    }
}
