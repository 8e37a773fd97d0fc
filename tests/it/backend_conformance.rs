//! What every backend promises, asked of the real one and of the fake one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use weir::backend::fake::{FakeBackend, FakeModel};
use weir::backend::onnx::{OnnxBackend, Runtime, RuntimeSettings};
use weir::backend::{
    Artifact, Backend, BackendError, Input, InputData, Instance, Model, OpenOptions, Output,
};
use weir::model::{Dim, TensorSpec};
use weir::tensor::{AlignedBuffer, DataType, Shape, StringsIter, StringsWriter};

use crate::onnx_file;

/// `affine.onnx` is `y = 2 x + 1` of FP32 `[batch, 3]`; `strings.onnx` gives BYTES `[batch, 2]` back; `endless.onnx`
/// never ends by itself, on FP32 `[batch, 1]`.
fn conforms(backend: &dyn Backend, folder: &TempDir) {
    let path = |name: &str| folder.path().join(name);
    let open = |name: &str| backend.open(&Artifact { path: path(name) }, &OpenOptions::default());
    assert!(matches!(open("missing.onnx"), Err(BackendError::Artifact(_))));
    let affine = open("affine.onnx").unwrap();
    signature_is_the_models(&*affine);
    instances_run_side_by_side(&*affine);
    wrong_inputs_are_refused(&mut *affine.instance().unwrap());
    outputs_outlive(open("affine.onnx").unwrap());
    strings_come_back(&mut *open("strings.onnx").unwrap().instance().unwrap());
    only_the_run_that_is_meant_is_stopped(&mut *open("endless.onnx").unwrap().instance().unwrap());
    a_late_interrupt_stops_nobody(&mut *affine.instance().unwrap());
}

fn signature_is_the_models(model: &dyn Model) {
    let signature = model.signature();
    let texts = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&signature.inputs), ["x FP32[-1, 3]"]);
    assert_eq!(texts(&signature.outputs), ["y FP32[-1, 3]"]);
}

fn run(instance: &mut dyn Instance, dims: &[usize], values: &[f32]) -> Result<Vec<Output>, BackendError> {
    let mut buffer = AlignedBuffer::new();
    values.iter().for_each(|value| buffer.extend_from_slice(&value.to_le_bytes()));
    let shape = Shape::new(dims).unwrap();
    instance.run(&[Some(Input {
        dtype: DataType::Fp32,
        shape: &shape,
        data: InputData::Fixed(buffer.as_slice()),
    })])
}

fn check_affine(instance: &mut dyn Instance, rows: usize, x: f32) {
    let outputs = run(instance, &[rows, 3], &vec![x; rows * 3]).unwrap();
    assert_eq!((outputs.len(), outputs[0].dtype), (1, DataType::Fp32));
    assert_eq!(outputs[0].shape.dims(), [rows, 3]);
    assert_eq!(outputs[0].data.len(), rows * 12);
    let (values, _) = outputs[0].data.as_chunks::<4>();
    assert!(values.iter().all(|value| f32::from_le_bytes(*value) == 2.0 * x + 1.0));
}

fn instances_run_side_by_side(model: &dyn Model) {
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let mut instance = model.instance().unwrap();
            scope.spawn(move || {
                for rows in [1, 0, 7, 1000] {
                    check_affine(&mut *instance, rows, f32::from(thread));
                }
            });
        }
    });
}

fn wrong_inputs_are_refused(instance: &mut dyn Instance) {
    let refused = |result: Result<Vec<Output>, BackendError>| {
        assert!(matches!(result, Err(BackendError::Run { invalid_input: true, .. })), "{result:?}");
    };
    refused(run(instance, &[2, 4], &[0.0; 8]));
    refused(run(instance, &[2, 3], &[0.0; 5]));
    refused(run(instance, &[6], &[0.0; 6]));
    refused(instance.run(&[]));
    refused(instance.run(&[None]));
    let shape = Shape::new(&[1, 3]).unwrap();
    refused(instance.run(&[Some(Input {
        dtype: DataType::Int8,
        shape: &shape,
        data: InputData::Fixed(&[0; 3]),
    })]));
    check_affine(instance, 2, 1.0);
}

fn outputs_outlive(model: Arc<dyn Model>) {
    let mut instance = model.instance().unwrap();
    let outputs = run(&mut *instance, &[5000, 3], &[1.0; 15_000]).unwrap();
    drop((instance, model));
    let slice: Bytes = outputs[0].data.slice(12..24);
    drop(outputs);
    std::thread::spawn(move || assert_eq!(slice[..4], 3f32.to_le_bytes())).join().unwrap();
}

fn strings_come_back(instance: &mut dyn Instance) {
    let elements: [&[u8]; 4] = [b"", b"a\0b", "\u{1f980}".as_bytes(), &[b'x'; 3000]];
    let run_of = |elements: &[&[u8]]| {
        let mut writer = StringsWriter::new();
        elements.iter().for_each(|element| writer.push(element).unwrap());
        writer.finish()
    };
    let shape = Shape::new(&[2, 2]).unwrap();
    let mut run = |runs: &[Bytes]| {
        instance.run(&[Some(Input { dtype: DataType::Bytes, shape: &shape, data: InputData::Strings(runs) })])
    };
    let outputs = run(&[run_of(&elements[..2]), run_of(&elements[2..])]).unwrap();
    let read: Vec<&[u8]> = StringsIter::new(&outputs[0].data).map(Result::unwrap).collect();
    assert_eq!(read, elements);
    let few = run(&[run_of(&elements[..3])]);
    assert!(matches!(few, Err(BackendError::Run { invalid_input: true, .. })));
    let cut = run(&[run_of(&elements).slice(..20)]);
    assert!(matches!(cut, Err(BackendError::Run { invalid_input: true, .. })));
}

fn only_the_run_that_is_meant_is_stopped(instance: &mut dyn Instance) {
    let interrupter = instance.interrupter();
    for number in 1..=3 {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // It cannot be seen from outside when the run begins; asking again and again is harmless.
                while !ended.load(Ordering::Acquire) {
                    interrupter.interrupt(number - 1);
                    interrupter.interrupt(number);
                    std::thread::yield_now();
                }
            });
            let result = run(instance, &[1, 1], &[0.0]);
            ended.store(true, Ordering::Release);
            assert!(matches!(result, Err(BackendError::Interrupted)), "{result:?}");
        });
    }
}

fn a_late_interrupt_stops_nobody(instance: &mut dyn Instance) {
    let interrupter = instance.interrupter();
    for number in 1..100 {
        interrupter.interrupt(number);
        check_affine(instance, 1, 0.5);
        interrupter.interrupt(number);
    }
}

#[test]
fn onnx_runtime_conforms() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("affine.onnx", &onnx_file::affine());
    write("strings.onnx", &onnx_file::strings());
    write("endless.onnx", &onnx_file::endless());
    let runtime = Runtime::start(&RuntimeSettings::default()).unwrap();
    conforms(&OnnxBackend::new(runtime), &folder);
}

#[test]
fn the_fake_conforms() {
    let strings = TensorSpec {
        name: "x".into(),
        dtype: DataType::Bytes,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(2)]),
        optional: false,
    };
    let backend = FakeBackend::new()
        .with_model("affine.onnx", FakeModel::elementwise(3, |x| 2.0 * x + 1.0))
        .with_model("strings.onnx", FakeModel::identity(vec![strings]))
        .with_model("endless.onnx", FakeModel::elementwise(1, |x| x).with_latency(|_| Duration::MAX));
    conforms(&backend, &TempDir::new().unwrap());
}
