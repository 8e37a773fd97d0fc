//! Golden answers: what a version gave for a sample when it was registered, compared with what it gives when it is loaded
//! to be served. Whoever asks runs the model.
//!
//! The file is a request and an answer in the infer protocol's form, so that it can be replayed with any client:
//! `{"tolerance": 0.001, "inputs": [{"name", "shape", "datatype", "data"}], "outputs": […]}`.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Number, Value, json};

use super::sample;
use crate::model::{Signature, TensorSpec};
use crate::serving::{Judge, RunOnce, element_difference};
use crate::tensor::{DataType, StringsIter, Tensor};

/// Largest difference, relative and absolute, that counts as equal: builds, processors and thread counts sum in
/// different orders. Half precision counts within its own steps; whole numbers and texts must be equal.
pub const TOLERANCE: f64 = 1e-3;

/// Longest golden file that is read, in bytes. A registration keeps 2 MiB of tensors at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Inputs and the outputs that belong to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// What to ask.
    pub inputs: Vec<Tensor>,
    /// What was answered.
    pub outputs: Vec<Tensor>,
    /// Largest difference that counts as equal.
    pub tolerance: f64,
}

impl Golden {
    /// The file's bytes; `None` when a text is not UTF-8, which JSON cannot say.
    pub fn to_json(&self) -> Option<Vec<u8>> {
        let all = |tensors: &[Tensor]| tensors.iter().map(tensor_json).collect::<Option<Vec<Value>>>();
        let (inputs, outputs) = (all(&self.inputs)?, all(&self.outputs)?);
        let file = json!({ "tolerance": self.tolerance, "inputs": inputs, "outputs": outputs });
        serde_json::to_vec(&file).ok()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Golden, String> {
        let file: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let tensors = |key: &str| {
            let list = file.get(key).and_then(Value::as_array).ok_or_else(|| format!("it has no {key}"))?;
            let specs = list.iter().map(stated).collect::<Result<Vec<TensorSpec>, String>>()?;
            let signature = Signature { inputs: specs, outputs: Vec::new() };
            sample::read(&json!({ "inputs": list }), &signature)
        };
        let tolerance = file.get("tolerance").and_then(Value::as_f64).unwrap_or(TOLERANCE);
        Ok(Golden { inputs: tensors("inputs")?, outputs: tensors("outputs")?, tolerance })
    }
}

/// Compares what a model gave with what it gave when it was registered. Outputs that the file does not name are not
/// looked at.
///
/// # Errors
/// The first difference, in a line.
pub fn check(golden: &Golden, outputs: &[Tensor]) -> Result<(), String> {
    for expected in &golden.outputs {
        let name = expected.name();
        let Some(found) = outputs.iter().find(|output| **output.name() == **name) else {
            return Err(format!("output '{name}' is missing"));
        };
        if (found.dtype(), found.shape()) != (expected.dtype(), expected.shape()) {
            return Err(format!(
                "output '{name}' is {}{} and was {}{}",
                found.dtype(),
                found.shape(),
                expected.dtype(),
                expected.shape()
            ));
        }
        let difference =
            element_difference(expected.dtype(), found.data(), expected.data(), golden.tolerance);
        if let Some(difference) = difference {
            return Err(format!("output '{name}' is not what it was: {difference}"));
        }
    }
    Ok(())
}

/// Judges versions by the golden file that was registered with them.
#[derive(Debug)]
pub struct GoldenJudge;

impl Judge for GoldenJudge {
    fn judge(&self, golden: &Path, tolerance: Option<f64>, run: &mut RunOnce<'_>) -> Result<(), String> {
        let unusable = |reason: String| format!("the golden file cannot be used: {reason}");
        let len = std::fs::metadata(golden).map_err(|error| unusable(error.to_string()))?.len();
        if len > FILE_BYTES_MAX {
            return Err(unusable(format!("it has {len} bytes, more than {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(golden).map_err(|error| unusable(error.to_string()))?;
        let mut golden = Golden::from_json(&bytes).map_err(unusable)?;
        golden.tolerance = tolerance.unwrap_or(golden.tolerance);
        check(&golden, &run(&golden.inputs)?)
    }
}

/// The datatype that a tensor of the file states.
fn stated(tensor: &Value) -> Result<TensorSpec, String> {
    let text =
        |key: &str| tensor.get(key).and_then(Value::as_str).ok_or_else(|| format!("a tensor has no {key}"));
    let dtype = DataType::from_wire_name(text("datatype")?).ok_or("a datatype is unknown")?;
    Ok(TensorSpec { name: text("name")?.into(), dtype, shape: None, optional: false })
}

fn tensor_json(tensor: &Tensor) -> Option<Value> {
    let data: Option<Vec<Value>> = match tensor.dtype().element_size() {
        Some(size) => tensor.data().chunks_exact(size).map(|bytes| number(tensor.dtype(), bytes)).collect(),
        None => StringsIter::new(tensor.data())
            .map(|text| std::str::from_utf8(text.ok()?).ok().map(Value::from))
            .collect(),
    };
    Some(json!({
        "name": &**tensor.name(), "shape": tensor.shape().to_wire(), "datatype": tensor.dtype().as_str(), "data": data?,
    }))
}

fn number(dtype: DataType, bytes: &[u8]) -> Option<Value> {
    Some(match dtype {
        DataType::Bool => Value::from(bytes.first() == Some(&1)),
        DataType::Uint8 => Value::from(u8::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Uint16 => Value::from(u16::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Uint32 => Value::from(u32::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Uint64 => Value::from(u64::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Int8 => Value::from(i8::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Int16 => Value::from(i16::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Int32 => Value::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Int64 => Value::from(i64::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Fp16 => short(half::f16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
        DataType::Bf16 => short(half::bf16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
        DataType::Fp32 => short(f32::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Fp64 => real(f64::from_le_bytes(bytes.try_into().ok()?)),
        DataType::Bytes => return None,
    })
}

/// The fewest digits that mean this FP32 and no other.
fn short(value: f32) -> Value {
    match value.to_string().parse::<f64>() {
        Ok(decimal) if value.is_finite() => real(decimal),
        _ => real(f64::from(value)),
    }
}

fn real(value: f64) -> Value {
    let special = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    Number::from_f64(value).map_or_else(|| Value::from(special), Value::Number)
}

/// The bytes of the file as a version keeps them: with the tensors of a trial, when they can be written.
pub(super) fn file(inputs: Vec<Tensor>, outputs: Vec<Tensor>) -> Option<Bytes> {
    Golden { inputs, outputs, tolerance: TOLERANCE }.to_json().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn fp32(values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = Shape::new(&[values.len()]).unwrap();
        Tensor::new("y".into(), DataType::Fp32, shape, Bytes::from(data)).unwrap()
    }

    fn golden(outputs: Vec<Tensor>) -> Golden {
        Golden { inputs: vec![fp32(&[0.1, -0.0, 1e-30])], outputs, tolerance: TOLERANCE }
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let strings = Bytes::from_static(b"\x01\0\0\0a\x02\0\0\0\xc3\xa9");
        let whole = Bytes::copy_from_slice(&[i64::MIN.to_le_bytes(), i64::MAX.to_le_bytes()].concat());
        let tensor = |name: &str, dtype, data: &Bytes| {
            Tensor::new(name.into(), dtype, Shape::new(&[2]).unwrap(), data.clone()).unwrap()
        };
        let outputs = vec![
            fp32(&[f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, 0.3, 16_777_217.0]),
            tensor("s", DataType::Bytes, &strings),
            tensor("i", DataType::Int64, &whole),
            tensor("h", DataType::Fp16, &Bytes::from_static(&[0, 0x3c, 1, 0x3c])),
            tensor("b", DataType::Bool, &Bytes::from_static(&[0, 1])),
        ];
        let golden = golden(outputs);
        let bytes = golden.to_json().unwrap();
        assert!(std::str::from_utf8(&bytes).unwrap().contains("[0.1,"), "short numbers");
        assert_eq!(Golden::from_json(&bytes).unwrap(), golden);
        let not_utf8 = tensor("s", DataType::Bytes, &Bytes::from_static(b"\x01\0\0\0\xff\0\0\0\0"));
        assert_eq!(super::tests::golden(vec![not_utf8]).to_json(), None);
    }

    #[test]
    fn a_judge_reads_the_file_and_may_be_told_to_be_generous() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.json");
        std::fs::write(&path, golden(vec![fp32(&[1.0])]).to_json().unwrap()).unwrap();
        let judge = |answer: f32, tolerance: Option<f64>| {
            let mut run = |inputs: &[Tensor]| {
                assert_eq!(inputs, golden(Vec::new()).inputs);
                Ok(vec![fp32(&[answer])])
            };
            GoldenJudge.judge(&path, tolerance, &mut run)
        };
        judge(1.0005, None).unwrap();
        assert!(judge(1.0005, Some(0.0)).unwrap_err().contains("output 'y'"));
        assert!(judge(1.01, None).unwrap_err().contains("output 'y'"));
        judge(1.01, Some(0.1)).unwrap();
        let mut refuses = |_: &[Tensor]| Err("the model refused it".to_owned());
        assert!(GoldenJudge.judge(&path, None, &mut refuses).unwrap_err().contains("refused"));
        std::fs::write(&path, "{").unwrap();
        assert!(judge(1.0, None).unwrap_err().contains("cannot be used"));
    }

    #[test]
    fn differences_beyond_the_tolerance_are_named() {
        let check = |given: &[f32], ok: bool| {
            let result = check(&golden(vec![fp32(&[1.0, f32::NAN])]), &[fp32(given)]);
            assert_eq!(result.is_ok(), ok, "{result:?}");
        };
        check(&[1.0, f32::NAN], true);
        check(&[1.0005, f32::NAN], true);
        check(&[1.01, f32::NAN], false);
        check(&[1.0, 0.0], false);
        check(&[1.0], false);
        assert!(super::check(&golden(vec![fp32(&[1.0])]), &[]).unwrap_err().contains("'y' is missing"));
    }
}
