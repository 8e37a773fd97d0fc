//! Labels, data sets and performance through the real program and real crashes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_array::{TimestampMicrosecondArray, UInt32Array, UInt64Array};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir::capture::labels::{LABELS_MAX, Label, LabelStore, LabelStoreOptions, LabelValue, read};
use weir::model::ModelName;

use crate::support::target_dir;

/// Tells the process that is to be killed where to write.
const KILLED_FOLDER: &str = "WEIR_TEST_LABELS_UNTIL_KILLED";

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn store(folder: &Path) -> Arc<dyn ObjectStore> {
    std::fs::create_dir_all(folder).unwrap();
    Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap())
}

fn open(folder: &Path) -> LabelStore {
    let options = LabelStoreOptions { folder: folder.join("log"), ..LabelStoreOptions::default() };
    LabelStore::open(store(&folder.join("store")), options).unwrap()
}

fn label(request_id: String, value: f64) -> Label {
    Label { request_id, row: 0, value: LabelValue::Number(value), time_us: Some(1), source: String::new() }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Not a test by itself: the process that [`acknowledged_labels_outlive_kill_9`] kills.
#[test]
fn labels_until_killed() {
    let Some(folder) = std::env::var_os(KILLED_FOLDER) else { return };
    let labels = open(Path::new(&folder));
    block_on(async {
        for n in 0_u32.. {
            let id = format!("{}-{n}", std::process::id());
            labels.append(&model(), vec![label(id.clone(), 1.0)]).await.unwrap();
            if n % 7 == 6 {
                labels.flush().await.unwrap();
            }
            let mut out = std::io::stdout();
            out.write_all(format!("\nacknowledged {id}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn acknowledged_labels_outlive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    // Each round ends at another place between two flushes.
    for lines in [5, 11, 24, 38] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "truth::labels_until_killed", "--nocapture"])
            .env(KILLED_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let is_id = |line: String| line.strip_prefix("acknowledged ").map(str::to_owned);
        acknowledged.extend(out.by_ref().filter_map(is_id).take(lines));
        child.kill().unwrap();
        acknowledged.extend(out.filter_map(is_id));
        child.wait().unwrap();
    }
    let labels = open(folder.path());
    let table = block_on(async {
        labels.flush().await.unwrap();
        read(labels.store(), &model(), None, LABELS_MAX).await.unwrap()
    });
    assert!(acknowledged.len() >= 78, "{}", acknowledged.len());
    let lost: Vec<_> = acknowledged.iter().filter(|id| table.get(id, 0).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

const ROWS: u32 = 3000;
const BEGIN_US: i64 = 1_767_225_600_000_000;

/// The input, the answer and, for two of three rows, the truth of a row.
fn row(n: u32) -> (f32, i64, Option<i64>) {
    let x = (n * 7919 % 1000) as f32 / 1000.0;
    let answer = i64::from(x > 0.5);
    let truth = if n.is_multiple_of(10) { 1 - answer } else { answer };
    (x, answer, (n % 3 != 2).then_some(truth))
}

/// Captured rows of three days, and labels.
fn fill(folder: &Path) {
    let store_folder = folder.join("store");
    for day in 0..3_u32 {
        let rows: Vec<u32> = (0..ROWS).filter(|n| n % 3 == day).collect();
        let len = rows.len();
        let time = |n: &u32| BEGIN_US + i64::from(day) * 86_400_000_000 + i64::from(*n) * 1_000_000;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("request_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|n| format!("r{n}"))))),
            ("row", Arc::new(UInt32Array::from(vec![0; len]))),
            (
                "ts_us",
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(rows.iter().map(time)).with_timezone("UTC"),
                ),
            ),
            ("model_version", Arc::new(UInt64Array::from(vec![1; len]))),
            ("route", Arc::new(StringArray::from(vec!["default"; len]))),
            (
                "status",
                Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|n| if n.is_multiple_of(50) { "internal" } else { "ok" }),
                )),
            ),
            ("sample_weight", Arc::new(Float64Array::from(vec![2.0; len]))),
            ("key_hash", Arc::new(StringArray::from(vec![None::<&str>; len]))),
            ("in.x", Arc::new(Float32Array::from_iter_values(rows.iter().map(|n| row(*n).0)))),
            ("out.label", Arc::new(Int64Array::from_iter_values(rows.iter().map(|n| row(*n).1)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let place = store_folder.join(format!("capture/model=m/version=1/date=2026-01-0{}/hour=00", day + 1));
        std::fs::create_dir_all(&place).unwrap();
        let file = std::fs::File::create(place.join("r-1.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let labels = open(folder);
    let sent = (0..ROWS).filter_map(|n| Some(label(format!("r{n}"), row(n).2? as f64)));
    block_on(async {
        labels.append(&model(), sent.collect()).await.unwrap();
        labels.flush().await.unwrap();
    });
}

fn weir(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), if text.is_empty() { String::from_utf8(output.stderr).unwrap() } else { text })
}

fn hash(path: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_training_set_and_performance_from_the_command_line() {
    let folder = target_dir().join("truth");
    std::fs::remove_dir_all(&folder).ok();
    fill(&folder);
    let capture = folder.join("store").display().to_string();
    let rows = ["--capture", &capture, "--model", "m", "--from", "2026-01-01", "--to", "2026-02-01"];
    let build = |out: &Path| {
        let out = out.display().to_string();
        let more = ["--split", "hash:0.8", "--keep-duplicates", "--json", "--out", &out];
        let (ok, text) = weir(&[&["dataset", "build"], &rows[..], &more[..]].concat());
        assert!(ok, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let (one, other) = (build(&folder.join("one")), build(&folder.join("other")));
    assert_eq!(one["manifest"], other["manifest"]);
    let digest = format!("sha256:{}", hash(&folder.join("one/dataset.json")));
    assert_eq!((&one["digest"], &other["digest"]), (&digest.as_str().into(), &digest.as_str().into()));
    let reference = one["reference"].as_str().unwrap();
    assert!(reference.starts_with("file:///") && reference.ends_with(&digest), "{reference}");
    for file in one["manifest"]["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let sha256 = hash(&folder.join("one").join(path));
        assert_eq!(
            (&sha256, &hash(&folder.join("other").join(path))),
            (&file["sha256"].as_str().unwrap().to_owned(), &sha256)
        );
    }
    let expected: Vec<u32> = (0..ROWS).filter(|n| !n.is_multiple_of(50) && row(*n).2.is_some()).collect();
    assert_eq!(one["manifest"]["counts"]["kept"], expected.len());
    let (ok, text) = weir(&[&["performance"], &rows[..], &["--json"]].concat());
    assert!(ok, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let right = expected.iter().filter(|n| Some(row(**n).1) == row(**n).2).count() as f64;
    let accuracy = report["versions"][0]["accuracy"].as_f64().unwrap();
    assert!((accuracy - right / expected.len() as f64).abs() < 1e-12, "{report}");
    let coverage: Vec<f64> =
        report["days"].as_array().unwrap().iter().map(|day| day["coverage"].as_f64().unwrap()).collect();
    assert_eq!(coverage, [1.0, 1.0, 0.0]);
    let (ok, table) = weir(&[&["performance"], &rows[..]].concat());
    assert!(ok && table.contains("accuracy") && table.contains("2026-01-02"), "{table}");
}

#[test]
fn wrong_commands_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let rows = ["dataset", "build", "--capture", &place, "--model", "m"];
    let check = |more: &[&str], expected: &str| {
        let (ok, text) = weir(&[&rows[..], more].concat());
        assert!(!ok && text.contains(expected), "{more:?}: {text}");
    };
    let out = folder.path().join("out").display().to_string();
    check(&["--out", &out, "--from", "yesterday"], "--from");
    check(&["--out", &out, "--split", "time:2"], "hash:SHARE");
    check(&["--out", &out, "--from", "-1d", "--to", "-2d"], "before it begins");
    check(&[], "--out");
    let (ok, text) = weir(&["performance", "--capture", "/nowhere/at/all", "--model", "m"]);
    assert!(!ok && text.contains("no directory"), "{text}");
}
