//! The backend against the real ONNX Runtime, on small files.

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::{Input, InputData, Instance, Output};
use super::*;
use crate::tensor::{AlignedBuffer, DataType, Shape, StringsIter, StringsWriter};

#[path = "../../../tests/support/onnx_file.rs"]
pub(in crate::backend) mod onnx_file;

pub(in crate::backend) fn backend() -> OnnxBackend {
    let settings = RuntimeSettings { arena_bytes_max: Some(256 << 20), ..RuntimeSettings::default() };
    OnnxBackend::new(Runtime::start(&settings).unwrap())
}

pub(in crate::backend) struct File {
    _folder: TempDir,
    pub(in crate::backend) path: PathBuf,
}

pub(in crate::backend) fn file(content: &[u8]) -> File {
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

#[test]
fn wrong_inputs_are_refused_and_named() {
    let model = open(&onnx_file::affine()).unwrap();
    let mut instance = model.instance().unwrap();
    let data = f32s(&[0.0; 6]);
    let mut check = |dtype, dims: &[usize], data: &[u8], expected: &str| {
        let error = run(&mut *instance, dtype, dims, data).unwrap_err();
        assert!(matches!(error, BackendError::Run { invalid_input: true, .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} should say {expected}");
    };
    check(DataType::Fp32, &[2, 4], data.as_slice(), "input 'x': shape [2,4] of FP32 takes 32 bytes, got 24");
    check(DataType::Fp32, &[3, 2], data.as_slice(), "index: 1 Got: 2 Expected: 3");
    check(DataType::Int32, &[2, 3], data.as_slice(), "Unexpected input data type");
    check(DataType::Bool, &[1, 3], &[0, 1, 2], "a BOOL element is neither 0 nor 1");
    let error = instance.run(&[None]).unwrap_err().to_string();
    assert_eq!(error, "input 'x': it is missing");
    assert!(instance.run(&[]).is_err());
}

#[test]
fn no_rows_are_passed_on() {
    let model = open(&onnx_file::affine()).unwrap();
    let mut instance = model.instance().unwrap();
    let outputs = run(&mut *instance, DataType::Fp32, &[0, 3], &[]).unwrap();
    assert_eq!((outputs[0].shape.dims(), outputs[0].data.len()), (&[0, 3][..], 0));
}

#[test]
fn unaligned_inputs_are_copied() {
    let model = open(&onnx_file::affine()).unwrap();
    let mut instance = model.instance().unwrap();
    let mut buffer = AlignedBuffer::new();
    buffer.extend_from_slice(&[0]);
    buffer.extend_from_slice(f32s(&[1.0, 2.0, 3.0]).as_slice());
    let outputs = run(&mut *instance, DataType::Fp32, &[1, 3], &buffer.as_slice()[1..]).unwrap();
    assert_eq!(read_f32s(&outputs[0].data), [3.0, 5.0, 7.0]);
}

#[test]
fn outputs_own_their_memory() {
    // The graph's output is its input: ONNX Runtime returns the caller's own memory.
    let passed_through = onnx_file::model(
        &[],
        &[onnx_file::value("x", onnx_file::FLOAT, &[onnx_file::D::S("n")])],
        &[onnx_file::value("x", onnx_file::FLOAT, &[onnx_file::D::S("n")])],
        &[],
    );
    for content in [passed_through, onnx_file::identity(onnx_file::FLOAT)] {
        let model = open(&content).unwrap();
        let mut instance = model.instance().unwrap();
        for len in [1usize, 100_000] {
            let mut input = f32s(&vec![1.5; len]);
            let outputs = run(&mut *instance, DataType::Fp32, &[len], input.as_slice()).unwrap();
            input.as_mut_slice().fill(0);
            assert!(read_f32s(&outputs[0].data).iter().all(|&v| v == 1.5));
        }
    }
}

#[test]
fn an_output_outlives_its_model() {
    let model = open(&onnx_file::affine()).unwrap();
    let mut instance = model.instance().unwrap();
    let input = f32s(&vec![1.0; 30_000]);
    let outputs = run(&mut *instance, DataType::Fp32, &[10_000, 3], input.as_slice()).unwrap();
    drop((instance, model));
    std::thread::spawn(move || assert!(read_f32s(&outputs[0].data).iter().all(|&v| v == 3.0)))
        .join()
        .unwrap();
}

#[test]
fn shared_session_under_stress() {
    let model = open(&onnx_file::affine()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let mut instance = model.instance().unwrap();
            scope.spawn(move || {
                for step in 0..2000u16 {
                    let rows = 1 + usize::from((step * 7 + thread) % 40);
                    let input = f32s(&vec![f32::from(step) + f32::from(thread) * 0.125; rows * 3]);
                    let outputs = run(&mut *instance, DataType::Fp32, &[rows, 3], input.as_slice()).unwrap();
                    let expected = 2.0 * (f32::from(step) + f32::from(thread) * 0.125) + 1.0;
                    assert_eq!(outputs[0].shape.dims(), [rows, 3]);
                    assert!(read_f32s(&outputs[0].data).iter().all(|&v| v == expected));
                }
            });
        }
    });
}

/// As on a device, but on the CPU: each run has a session of a pool, and there is no page-locked memory.
#[test]
fn pooled_sessions_run_apart() {
    let file = file(&onnx_file::affine());
    let artifact = Artifact { path: file.path.clone() };
    let model = session::OnnxModel::open_as(backend().runtime(), &artifact, &OpenOptions::default(), true);
    let model = model.unwrap();
    assert!(!model.pays_for_new_shapes(), "it has no convolution");
    std::thread::scope(|scope| {
        for worker in 0..4u8 {
            let mut instance = model.instance().unwrap();
            assert!(instance.staging_memory().is_none());
            scope.spawn(move || {
                for rows in 1..50u8 {
                    let values: Vec<f32> =
                        (0..rows * 3).map(|at| f32::from(at) + f32::from(worker)).collect();
                    let dims = [usize::from(rows), 3];
                    let outputs =
                        run(&mut *instance, DataType::Fp32, &dims, f32s(&values).as_slice()).unwrap();
                    let expected: Vec<f32> = values.iter().map(|value| value * 2.0 + 1.0).collect();
                    assert_eq!(read_f32s(&outputs[0].data), expected);
                    assert!(
                        run(&mut *instance, DataType::Fp32, &[1, 2], f32s(&[0.0; 2]).as_slice()).is_err()
                    );
                }
            });
        }
    });
}

#[test]
fn an_endless_run_is_stopped_and_the_next_is_not() {
    let endless = open(&onnx_file::endless()).unwrap();
    let mut instance = endless.instance().unwrap();
    let interrupter = instance.interrupter();
    let input = f32s(&[1.0]);
    // A call that fails before the runtime sees it counts as well.
    instance.run(&[]).unwrap_err();
    for number in 2..=4u64 {
        // Late and early requests must stop nothing; only the one for the run under way does.
        let stop = Arc::clone(&interrupter);
        let stopped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let until = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            while !until.load(std::sync::atomic::Ordering::Acquire) {
                stop.interrupt(number - 1);
                stop.interrupt(number);
                std::thread::yield_now();
            }
        });
        let error = run(&mut *instance, DataType::Fp32, &[1, 1], input.as_slice()).unwrap_err();
        stopped.store(true, std::sync::atomic::Ordering::Release);
        thread.join().unwrap();
        assert!(matches!(error, BackendError::Interrupted), "{error:?}");
    }
    let affine = open(&onnx_file::affine()).unwrap();
    let mut instance = affine.instance().unwrap();
    let interrupter = instance.interrupter();
    for number in 1..=1000u64 {
        interrupter.interrupt(number);
        interrupter.interrupt(number - 1);
        run(&mut *instance, DataType::Fp32, &[1, 3], f32s(&[1.0; 3]).as_slice()).unwrap();
        interrupter.interrupt(number);
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
fn a_request_that_is_too_big_poisons_nothing() {
    let model = open(&onnx_file::fill()).unwrap();
    let mut instance = model.instance().unwrap();
    let mut fill = |count: i64| {
        let mut buffer = AlignedBuffer::new();
        buffer.extend_from_slice(&count.to_le_bytes());
        run(&mut *instance, DataType::Int64, &[1], buffer.as_slice())
    };
    fill(8).unwrap();
    let before = resident_bytes();
    // 1 GiB and 16 TiB do not fit the arena's 256 MiB; 200 MiB do.
    for (count, fits) in [(1i64 << 28, false), (1 << 42, false), (50 << 20, true), (1 << 28, false)] {
        assert_eq!(fill(count).is_ok(), fits, "{count} elements");
        assert_eq!(fill(8).unwrap()[0].data.len(), 32);
    }
    let runtime = Arc::clone(backend().runtime());
    assert!(runtime.arena_usage().unwrap().reserved_bytes <= 256 << 20);
    runtime.shrink_arena().unwrap();
    assert!(resident_bytes() < before + (100 << 20), "200 MiB were not given back");
}

#[test]
fn a_shape_that_lies_is_seen() {
    let model = open(&onnx_file::lying_shape()).unwrap();
    let mut instance = model.instance().unwrap();
    let (x, s) = (f32s(&[0.0; 12]), {
        let mut buffer = AlignedBuffer::new();
        [2i64, 6].iter().for_each(|v| buffer.extend_from_slice(&v.to_le_bytes()));
        buffer
    });
    let (x_shape, s_shape) = (Shape::new(&[4, 3]).unwrap(), Shape::new(&[2]).unwrap());
    let outputs = instance
        .run(&[
            Some(Input { dtype: DataType::Fp32, shape: &x_shape, data: InputData::Fixed(x.as_slice()) }),
            Some(Input { dtype: DataType::Int64, shape: &s_shape, data: InputData::Fixed(s.as_slice()) }),
        ])
        .unwrap();
    assert_eq!(outputs[0].shape.dims(), [2, 6]);
}

#[test]
fn a_provider_that_is_not_there_is_an_error() {
    use crate::model::config::{Provider, RuntimeConfig};
    let file = file(&onnx_file::affine());
    let runtime = RuntimeConfig { provider: Provider::Cuda, ..RuntimeConfig::default() };
    let options = OpenOptions { runtime, ..OpenOptions::default() };
    let opened = backend().open(&Artifact { path: file.path.clone() }, &options);
    let error = opened.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "execution provider cuda: this ONNX Runtime is built without it; pass --onnxruntime PATH of a CUDA build"
    );
}
