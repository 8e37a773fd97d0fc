//! The experiments in this process, on models that kill nobody. `tests/it/probe.rs` has the others.

use super::super::fake::{FakeBackend, FakeModel};
use super::super::onnx::tests::{backend, file, onnx_file};
use super::super::{Artifact, BackendError, DeviceFault, Input, InputData, OpenOptions, Output};
use super::exercise::{Host, ProbeSubject, exercise};
use super::protocol::Stage;
use super::*;
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::DataType;

fn probe(content: &[u8], rows_max: usize) -> (Verdict, Vec<Stage>) {
    let file = file(content);
    let subject = ProbeSubject {
        artifact: Artifact { path: file.path.clone() },
        options: OpenOptions::default(),
        rows_max,
        tolerance: 1e-4,
        try_zero: true,
        sample: SampleRun::MadeUp,
    };
    let mut stages = Vec::new();
    let host = Host { resident: || 0, peak: || 0, give_up: |error| panic!("{error}") };
    let verdict = exercise(&backend(), &subject, host, &mut |progress| stages.push(progress.stage.clone()));
    (verdict, stages)
}

#[test]
fn independent_rows_are_proved() {
    let (verdict, stages) = probe(&onnx_file::affine(), 32);
    assert_eq!(verdict.outcome, Outcome::Passed);
    assert_eq!(verdict.exercised, Exercised::Yes);
    assert_eq!(verdict.row_independence, RowIndependence::Independent { rows_max: 32 });
    assert_eq!(verdict.zero_size, ZeroSize::Survives);
    assert_eq!(verdict.output_shapes, [[1, 3]]);
    assert_eq!(verdict.run_times.iter().map(|(rows, _)| *rows).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32]);
    assert!(!verdict.has_nan);
    let zero = Stage::Zero { place: "dimension 0 of input 'x'".to_owned() };
    let run = |rows| Stage::Run { rows };
    let runs = [run(1), run(1), run(2), run(4), run(8), run(16), run(32)];
    assert_eq!(stages, [&[Stage::Load][..], &runs, &[Stage::Rows, Stage::Sample, zero]].concat());
}

fn check_rows(content: &[u8], expected: &str) {
    let (verdict, _) = probe(content, 8);
    let RowIndependence::Dependent(why) = &verdict.row_independence else {
        panic!("{verdict:?}");
    };
    assert!(why.contains(expected), "{why} should say {expected}");
    assert!(verdict.is_passed());
}

#[test]
fn dependent_rows_are_seen() {
    check_rows(&onnx_file::centred(), "something else with a batch mate than alone: output 'y'");
    check_rows(&onnx_file::sorted(), "something else with a batch mate than alone: output 'y'");
    check_rows(&onnx_file::doubled(), "has the shape [2,3] for 1 rows");
    check_rows(&onnx_file::random(), "the same row gave two answers");
}

#[test]
fn signatures_of_all_kinds_are_exercised() {
    use onnx_file::*;
    let names = [FLOAT, INT32, INT64, STRING, BOOL, FLOAT16];
    for element in names {
        let (verdict, _) = probe(&identity(element), 4);
        assert_eq!(verdict.row_independence, RowIndependence::Independent { rows_max: 4 }, "{element}");
    }
    let (verdict, _) = probe(&strings(), 4);
    assert_eq!(verdict.row_independence, RowIndependence::Independent { rows_max: 4 });
    let (verdict, _) = probe(&lying_shape(), 4);
    assert_eq!(verdict.row_independence, RowIndependence::NotCandidate);
    assert!(verdict.is_passed());
}

#[test]
fn what_does_not_open_is_refused() {
    let (verdict, _) = probe(b"not a model", 4);
    let Outcome::Refused { reason, signal: None, .. } = verdict.outcome else { panic!("{verdict:?}") };
    assert!(reason.contains("no ONNX file"), "{reason}");
}

/// A fake model of which a device takes at most four rows, or fails for ever at `fatal_rows`.
fn probe_on_device(fatal_rows: usize) -> Verdict {
    let file = file(b"");
    let spec = spec();
    let signature = Signature { inputs: vec![spec.clone()], outputs: vec![spec] };
    let run = move |inputs: &[Option<Input<'_>>]| {
        let input = inputs.iter().flatten().next().unwrap();
        let rows = input.shape.rows().unwrap();
        let failed = |fault| BackendError::Device { fault, message: "CUDA failure".to_owned() };
        match rows {
            _ if rows == fatal_rows => Err(failed(DeviceFault::Lost)),
            5.. => Err(failed(DeviceFault::Full)),
            _ => {
                let InputData::Fixed(data) = input.data else { panic!("no strings") };
                let data = bytes::Bytes::copy_from_slice(data);
                Ok(vec![Output { dtype: input.dtype, shape: input.shape.clone(), data }])
            }
        }
    };
    let name = file.path.file_name().unwrap().to_str().unwrap().to_owned();
    let backend = FakeBackend::new().with_model(&name, FakeModel::new(signature, run));
    let subject = ProbeSubject {
        artifact: Artifact { path: file.path.clone() },
        options: OpenOptions::default(),
        rows_max: 16,
        tolerance: 1e-4,
        try_zero: false,
        sample: SampleRun::None,
    };
    let host = Host { resident: || 0, peak: || 0, give_up: |error| panic!("given up: {error}") };
    exercise(&backend, &subject, host, &mut |_| {})
}

fn spec() -> TensorSpec {
    let shape = Some(vec![Dim::Dynamic(Some("batch".into())), Dim::Fixed(2)]);
    TensorSpec { name: "x".into(), dtype: DataType::Fp32, shape, optional: false }
}

#[test]
fn a_full_device_bounds_the_batch_and_its_verdict_is_not_kept() {
    let verdict = probe_on_device(usize::MAX);
    assert_eq!(verdict.row_independence, RowIndependence::Independent { rows_max: 4 });
    assert!(verdict.is_passed() && verdict.is_of_the_moment);
}

#[test]
#[should_panic(expected = "given up: CUDA failure")]
fn a_lost_device_ends_the_experiments() {
    probe_on_device(2);
}
