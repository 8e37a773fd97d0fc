//! The experiments in this process, on models that kill nobody. `tests/it/probe.rs` has the others.

use super::super::onnx::tests::{backend, file, onnx_file};
use super::super::{Artifact, OpenOptions};
use super::exercise::{Meter, ProbeSubject, exercise};
use super::protocol::Stage;
use super::*;

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
    let meter = Meter { resident: || 0, peak: || 0 };
    let verdict = exercise(&backend(), &subject, meter, &mut |progress| stages.push(progress.stage.clone()));
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
