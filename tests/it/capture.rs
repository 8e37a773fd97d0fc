//! A folder that capture wrote, read by programs that nobody here wrote, and by the command line.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir::capture::{Capture, CaptureSettings};
use weir::infer::{Observation, TappedVersion};
use weir::metrics::Registry;
use weir::model::monitoring::CaptureMode;
use weir::model::{Dim, ModelConfig, ModelId, Signature, TensorSpec, Version};
use weir::tensor::{DataType, Shape, StringsWriter, Tensor};

use crate::support::{python, root, run};

const ROWS: usize = 500;

/// Captures numbers and text, several rows a request, into `folder`.
fn capture(folder: &Path) {
    let spec = |name: &str, dtype, size| TensorSpec {
        name: name.into(),
        dtype,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(size)]),
        optional: false,
    };
    let version = TappedVersion {
        id: ModelId { name: "m".parse().expect("a name"), version: Version::new(2).expect("a version") },
        signature: Signature {
            inputs: vec![spec("x", DataType::Fp32, 3), spec("s", DataType::Bytes, 1)],
            outputs: vec![spec("p", DataType::Fp32, 2)],
        },
        is_batched: true,
        config: ModelConfig::default(),
        digest: Some("0123".to_owned()),
    };
    let settings = CaptureSettings {
        folder: folder.to_owned(),
        mode: CaptureMode::Durable,
        rotate_rows: 120,
        ..CaptureSettings::default()
    };
    let capture = Capture::start(settings, &Registry::new()).expect("capture starts");
    let tap = capture.tap(&version).expect("a tap");
    let numbers = |name: &str, size: usize| {
        let data = vec![0; 5 * size * 4];
        let shape = Shape::new(&[5, size]).expect("a shape");
        Tensor::new(name.into(), DataType::Fp32, shape, data.into()).expect("a tensor")
    };
    for request in 0..ROWS / 5 {
        let mut words = StringsWriter::new();
        (0..5).for_each(|row| words.push(format!("word-{row}").as_bytes()).expect("a short word"));
        let shape = Shape::new(&[5, 1]).expect("a shape");
        let words = Tensor::new("s".into(), DataType::Bytes, shape, words.finish()).expect("a tensor");
        let observation = Observation {
            id: format!("request-{request}").into(),
            rows: 5,
            inputs: [Some(numbers("x", 3)), Some(words)].into_iter().collect(),
            outputs: [numbers("p", 2)].into_iter().collect(),
            finished: Some(SystemTime::now()),
            ..Observation::default()
        };
        assert!(tap.observe(&Arc::new(observation)).is_none());
    }
    capture.stop(Duration::from_secs(60));
    let status = capture.status();
    assert_eq!(status.models["m"].written, ROWS as u64, "{status:?}");
    assert_eq!(status.waiting_segments, 0, "{status:?}");
}

#[test]
fn duckdb_and_pyarrow_read_a_captured_folder_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    capture(folder.path());
    let printed = run(Command::new(python("requirements-capture.txt"))
        .arg(root().join("tests/clients/capture_duckdb.py"))
        .arg(folder.path().join("data"))
        .args(["--rows", &ROWS.to_string()]));
    assert_eq!(printed.matches("ok ").count(), 2, "{printed}");
}

#[test]
fn the_command_line_lists_shows_and_exports() {
    let folder = tempfile::tempdir().expect("a folder");
    capture(folder.path());
    let store = folder.path().join("data");
    let weir =
        |args: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_weir")).arg("capture").args(args).arg(&store));
    assert!(weir(&["ls"]).contains("m@2"));
    assert_eq!(weir(&["head", "-n", "3"]).lines().count(), 3);
    assert_eq!(weir(&["export"]).lines().count(), ROWS);
    let azure = weir(&["export", "--form", "azure"]);
    assert!(azure.lines().all(|line| line.contains("\"specversion\":\"1.0\"")), "{azure}");
    assert!(weir(&["delete", "--key", "nobody"]).contains("deleted 0 rows"));

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    let listed = Command::new(env!("CARGO_BIN_EXE_weir")).args(["capture", "ls"]).arg(&empty).output();
    let listed = listed.expect("it runs");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
    assert!(said.contains("no captured files there"), "{said}");
}

#[test]
fn a_bucket_that_cannot_be_reached_is_an_error() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT", "http://127.0.0.1:9"),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let listed = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["capture", "ls", "s3://nowhere"])
        .envs(variables)
        .output();
    let listed = listed.expect("it runs");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert_eq!(listed.status.code(), Some(1), "{said}");
    assert!(said.contains("127.0.0.1:9") && !said.contains("panicked"), "{said}");
}
