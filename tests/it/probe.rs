//! The probe with its real child process, on models that kill, hang or lie.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir::backend::onnx::{OnnxBackend, Runtime, RuntimeSettings};
use weir::backend::probe::{
    Exercised, Outcome, ProbeLimits, ProbeSubject, Prober, ProberSettings, RowIndependence, SampleRun,
    Verdict, ZeroSize,
};
use weir::backend::{Artifact, Backend, OpenOptions};

use crate::onnx_file;

struct Fixture {
    folder: TempDir,
    runtime: Arc<Runtime>,
    prober: Prober,
}

fn fixture(limits: ProbeLimits) -> Fixture {
    let folder = TempDir::new().unwrap();
    let runtime = Runtime::start(&RuntimeSettings::default()).unwrap();
    let prober = Prober::new(ProberSettings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_weir")),
        arguments: vec!["probe".to_owned()],
        library: runtime.library_path().to_owned(),
        build_info: runtime.build_info().to_owned(),
        limits,
        children_max: 2,
        cache: Some(folder.path().join("verdicts")),
    });
    Fixture { folder, runtime, prober }
}

impl Fixture {
    fn subject(&self, name: &str, content: &[u8]) -> ProbeSubject {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        ProbeSubject {
            artifact: Artifact { path },
            options: OpenOptions::default(),
            rows_max: 8,
            tolerance: 1e-4,
            try_zero: true,
            sample: SampleRun::None,
        }
    }

    fn probe(&self, name: &str, content: &[u8]) -> Verdict {
        self.prober.probe(&self.subject(name, content)).unwrap()
    }

    /// Whether a healthy model is probed and found healthy, with the same prober.
    fn check_alive(&self) {
        let verdict = self.probe("affine.onnx", &onnx_file::affine());
        assert_eq!(verdict.row_independence, RowIndependence::Independent { rows_max: 8 });
        assert_eq!((verdict.outcome, verdict.exercised), (Outcome::Passed, Exercised::Yes));
    }
}

fn short() -> ProbeLimits {
    ProbeLimits { wall: Duration::from_secs(3), ..ProbeLimits::default() }
}

#[track_caller]
fn refusal(verdict: &Verdict) -> (&str, Option<i32>) {
    match &verdict.outcome {
        Outcome::Refused { reason, signal, .. } => (reason, *signal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_model_that_aborts_on_batch_0_is_served_without_it() {
    let fixture = fixture(ProbeLimits::default());
    for (name, content) in [("lstm.onnx", onnx_file::lstm()), ("einsum.onnx", onnx_file::einsum())] {
        let verdict = fixture.probe(name, &content);
        assert_eq!(verdict.outcome, Outcome::Passed, "{name}");
        assert_eq!(verdict.exercised, Exercised::Yes, "{name}");
        let ZeroSize::Kills(how) = &verdict.zero_size else { panic!("{name}: {verdict:?}") };
        assert!(how.contains("killed by SIG") && how.contains("running with 0 as dimension"), "{how}");
    }
    fixture.check_alive();
}

#[test]
fn a_model_that_kills_while_loading_is_refused_with_the_signal() {
    let fixture = fixture(ProbeLimits::default());
    let verdict = fixture.probe("div.onnx", &onnx_file::folded_division());
    assert_eq!(refusal(&verdict), ("it was killed by SIGFPE while loading", Some(8)));
    fixture.check_alive();
}

#[test]
fn models_that_never_end_are_stopped() {
    let fixture = fixture(short());
    let verdict = fixture.probe("endless.onnx", &onnx_file::endless());
    assert_eq!(refusal(&verdict), ("it did not end within 3s while running one row", None));
    let verdict = fixture.probe("load.onnx", &onnx_file::endless_load());
    assert_eq!(refusal(&verdict), ("it did not end within 3s while loading", None));
    fixture.check_alive();
}

#[test]
fn verdicts_are_kept_and_damaged_ones_are_found_again() {
    let fixture = fixture(ProbeLimits::default());
    let first = fixture.probe("a.onnx", &onnx_file::centred());
    let kept: Vec<PathBuf> = std::fs::read_dir(fixture.folder.path().join("verdicts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    // The same file under another name is the same model; times are measured, so equality shows that nothing ran.
    assert_eq!(fixture.probe("b.onnx", &onnx_file::centred()), first);
    std::fs::write(&kept[0], b"{\"format\":1,").unwrap();
    let again = fixture.probe("a.onnx", &onnx_file::centred());
    assert_eq!(again.row_independence, first.row_independence);
    assert_eq!(fixture.probe("b.onnx", &onnx_file::centred()), again);
}

#[test]
fn many_models_are_probed_by_a_few_children() {
    let fixture = fixture(ProbeLimits::default());
    let contents = [onnx_file::affine(), onnx_file::strings(), onnx_file::sorted(), onnx_file::einsum()];
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (fixture, contents) = (&fixture, &contents);
            scope.spawn(move || {
                for step in 0..8 {
                    let index = (thread + step) % 4;
                    let verdict = fixture.probe(&format!("{thread}-{step}.onnx"), &contents[index]);
                    assert_eq!(verdict.outcome, Outcome::Passed);
                    assert_eq!(matches!(verdict.zero_size, ZeroSize::Kills(_)), index == 3);
                }
            });
        }
    });
    fixture.prober.rest();
    fixture.check_alive();
}

#[test]
fn what_the_probe_passed_the_server_opens() {
    let fixture = fixture(ProbeLimits::default());
    let subject = fixture.subject("affine.onnx", &onnx_file::affine());
    assert!(fixture.prober.probe(&subject).unwrap().is_passed());
    let model =
        OnnxBackend::new(Arc::clone(&fixture.runtime)).open(&subject.artifact, &subject.options).unwrap();
    assert_eq!(model.signature().inputs.len(), 1);
}

#[test]
fn a_probe_that_cannot_start_says_why() {
    let mut settings = ProberSettings {
        program: PathBuf::from("/nonexistent/weir"),
        arguments: Vec::new(),
        library: PathBuf::from("/nonexistent/library"),
        build_info: String::new(),
        limits: ProbeLimits::default(),
        children_max: 1,
        cache: None,
    };
    let fixture = fixture(ProbeLimits::default());
    let subject = fixture.subject("affine.onnx", &onnx_file::affine());
    let error = Prober::new(settings.clone()).probe(&subject).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/weir does not start"), "{error}");
    settings.program = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
    settings.arguments = vec!["probe".to_owned()];
    let error = Prober::new(settings).probe(&subject).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/library"), "{error}");
}
