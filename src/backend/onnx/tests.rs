//! The backend against the real ONNX Runtime, on small files.

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::{Input, InputData, Instance, Output};
use super::*;
use crate::tensor::{AlignedBuffer, DataType, Shape, StringsIter, StringsWriter};

#[path = "../../../tests/support/onnx_file.rs"]
mod onnx_file;

fn backend() -> OnnxBackend {
    let settings = RuntimeSettings { arena_bytes_max: Some(256 << 20), ..RuntimeSettings::default() };
    OnnxBackend::new(Runtime::start(&settings).unwrap())
}

struct File {
    _folder: TempDir,
    path: PathBuf,
}

fn file(content: &[u8]) -> File {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, content).unwrap();
    File { _folder: folder, path }
}

fn open(content: &[u8]) -> Result<Arc<dyn Model>, BackendError> {
    let file = file(content);
    backend().open(&Artifact { path: file.path.clone() }, &OpenOptions::default())
}

fn run(
    instance: &mut dyn Instance,
    dtype: DataType,
    dims: &[usize],
    data: &[u8],
) -> Result<Vec<Output>, BackendError> {
    let shape = Shape::new(dims).unwrap();
    instance.run(&[Some(Input { dtype, shape: &shape, data: InputData::Fixed(data) })])
}

/// Aligned bytes of `values`.
fn f32s(values: &[f32]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new();
    values.iter().for_each(|value| buffer.extend_from_slice(&value.to_le_bytes()));
    buffer
}

fn read_f32s(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_model_opens_and_runs() {
    let model = open(&onnx_file::affine()).unwrap();
    assert_eq!(model.signature().inputs[0].to_string(), "x FP32[-1, 3]");
    assert_eq!(model.signature().outputs[0].to_string(), "y FP32[-1, 3]");
    assert!(model.signature().has_batch_candidate());
    let mut instance = model.instance().unwrap();
    let outputs =
        run(&mut *instance, DataType::Fp32, &[2, 3], f32s(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).as_slice())
            .unwrap();
    assert_eq!(outputs[0].shape.dims(), [2, 3]);
    assert_eq!(read_f32s(&outputs[0].data), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
}

#[test]
fn strings_keep_nul_and_length() {
    let model = open(&onnx_file::strings()).unwrap();
    let mut instance = model.instance().unwrap();
    let elements: [&[u8]; 4] = [b"", b"a\0b", "\u{e4}\u{1f980}".as_bytes(), &[b'x'; 5000]];
    let runs: Vec<Bytes> = elements
        .chunks(2)
        .map(|pair| {
            let mut writer = StringsWriter::new();
            pair.iter().for_each(|element| writer.push(element).unwrap());
            writer.finish()
        })
        .collect();
    let shape = Shape::new(&[2, 2]).unwrap();
    let input = Input { dtype: DataType::Bytes, shape: &shape, data: InputData::Strings(&runs) };
    let outputs = instance.run(&[Some(input)]).unwrap();
    let read: Vec<&[u8]> = StringsIter::new(&outputs[0].data).map(Result::unwrap).collect();
    assert_eq!(read, elements);
}
