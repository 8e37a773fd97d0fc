//! Capture as a whole, in process: what goes into taps comes out of files, and the counts say what did not.

mod chaos;
mod columns;
#[path = "../../../tests/support/faulty_store.rs"]
mod faulty_store;
mod killed;
mod large;
mod privacy;
mod torn;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::{Capture, CaptureSettings, Filter, ModelStatus, Reader};
use crate::infer::{Acknowledgement, Attention, Observation, Tap, TappedVersion};
use crate::metrics::Registry;
use crate::model::monitoring::{CaptureConfig, CaptureMode};
use crate::model::{Dim, ModelConfig, ModelId, Signature, TensorSpec, Version};
use crate::tensor::{DataType, Name, Shape, StringsWriter, Tensor};

/// Long enough for anything here, on any machine.
const LONG: Duration = Duration::from_secs(20);

fn spec(name: &str, dtype: DataType, dims: &[Option<usize>]) -> TensorSpec {
    let shape = dims.iter().map(|dim| dim.map_or(Dim::Dynamic(None), Dim::Fixed)).collect();
    TensorSpec { name: name.into(), dtype, shape: Some(shape), optional: false }
}

fn version(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> TappedVersion {
    TappedVersion {
        id: ModelId { name: "m".parse().unwrap(), version: Version::new(3).unwrap() },
        signature: Signature { inputs, outputs },
        is_batched: true,
        config: ModelConfig::default(),
        digest: None,
    }
}

/// Two features in, two scores out.
fn small() -> TappedVersion {
    let (any, two) = (None, Some(2));
    version(vec![spec("x", DataType::Fp32, &[any, two])], vec![spec("p", DataType::Fp32, &[any, two])])
}

fn floats(name: &str, rows: usize, values: &[f32]) -> Tensor {
    let shape = Shape::new(&[rows, values.len() / rows]).unwrap();
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(name.into(), DataType::Fp32, shape, data.into()).unwrap()
}

fn texts(name: &str, dims: &[usize], values: &[&[u8]]) -> Tensor {
    let mut writer = StringsWriter::new();
    values.iter().for_each(|value| writer.push(value).unwrap());
    Tensor::new(name.into(), DataType::Bytes, Shape::new(dims).unwrap(), writer.finish()).unwrap()
}

fn observation(id: &str, inputs: Vec<Tensor>, outputs: Vec<Tensor>, rows: usize) -> Arc<Observation> {
    Arc::new(Observation {
        id: Name::from(id),
        rows,
        inputs: inputs.into_iter().map(Some).collect(),
        outputs: outputs.into_iter().collect(),
        finished: Some(SystemTime::now()),
        ..Observation::default()
    })
}

/// One row of [`small`].
fn row(id: &str) -> Arc<Observation> {
    observation(id, vec![floats("x", 1, &[1.0, 2.0])], vec![floats("p", 1, &[0.25, 0.75])], 1)
}

fn settings(folder: &Path, mode: CaptureMode) -> CaptureSettings {
    CaptureSettings { folder: folder.to_owned(), mode, ..CaptureSettings::default() }
}

fn start(settings: CaptureSettings) -> Arc<Capture> {
    Capture::start(settings, &Registry::new()).unwrap()
}

fn tap(capture: &Capture, version: &TappedVersion) -> Arc<dyn Tap> {
    capture.tap(version).unwrap()
}

fn wait(acknowledgement: Option<Acknowledgement>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    acknowledgement.is_none_or(|acknowledgement| runtime.block_on(acknowledgement).is_ok())
}

fn data(folder: &Path) -> Arc<dyn ObjectStore> {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    Arc::new(LocalFileSystem::new_with_prefix(folder.join("data")).unwrap())
}

/// Everything in a store, by files.
fn batches(store: Arc<dyn ObjectStore>) -> Vec<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut batches = Vec::new();
    let each = |_: &_, batch: RecordBatch| {
        batches.push(batch);
        Ok(ControlFlow::Continue(()))
    };
    runtime.block_on(Reader::new(store).read(&Filter::default(), each)).unwrap();
    batches
}

/// How often each request's id is in a store.
fn ids(store: Arc<dyn ObjectStore>) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for batch in batches(store) {
        for id in batch.column_by_name("request_id").unwrap().as_string::<i32>() {
            *ids.entry(id.unwrap().to_owned()).or_default() += 1;
        }
    }
    ids
}

fn dropped(status: &ModelStatus) -> u64 {
    status.dropped.values().sum()
}

/// The invariant, after a stop; and that files hold what was written, each row once.
fn check(capture: &Capture, store: Arc<dyn ObjectStore>) -> ModelStatus {
    let status = capture.status();
    let model = status.models.get("m").cloned().unwrap_or_default();
    assert_eq!(model.accepted, model.written + dropped(&model), "{status:?}");
    if status.waiting_segments == 0 {
        let rows: usize = batches(store).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows as u64, model.written, "{status:?}");
    }
    model
}

/// Manifests list every file and gap: their sums are what the counts say.
fn check_manifests(folder: &Path, status: &ModelStatus) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reader = Reader::new(data(folder));
    let (mut rows, mut gaps, mut paths) = (0, 0, Vec::new());
    for key in runtime.block_on(reader.manifests("m")).unwrap() {
        let manifest = runtime.block_on(reader.manifest(&key)).unwrap().unwrap();
        for entry in manifest.segments.into_values() {
            rows += entry.rows;
            gaps += entry.dropped.values().sum::<u64>();
            paths.extend(entry.path);
        }
    }
    let files = runtime.block_on(reader.files(&Filter::default())).unwrap();
    let mut files: Vec<String> = files.into_iter().map(|file| file.key).collect();
    files.sort();
    paths.sort();
    assert_eq!(files, paths);
    assert_eq!((rows, gaps), (status.written, dropped(status)));
}

#[test]
fn rows_come_back_with_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::BestEffort));
    let tap = tap(&capture, &small());
    assert_eq!(tap.attention(), Attention::Open);
    let x = floats("x", 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let p = floats("p", 3, &[0.5, 0.5, 0.1, 0.9, 1.0, 0.0]);
    let seen = Arc::new(Observation {
        key: Name::from("customer-7"),
        latency: Duration::from_micros(1_234),
        ..Observation::clone(&observation("r-1", vec![x], vec![p], 3))
    });
    assert!(tap.observe(&seen).is_none());
    assert!(tap.observe(&row("")).is_none());
    capture.stop(LONG);
    assert_eq!(tap.attention(), Attention::None);
    let status = check(&capture, data(folder.path()));
    assert_eq!((status.accepted, status.written), (4, 4));
    assert_eq!(capture.status().disk_bytes, 0);

    let batches = batches(data(folder.path()));
    let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
    let text = |name: &str, at| batch.column_by_name(name).unwrap().as_string::<i32>().value(at).to_owned();
    let number = |name: &str, at| {
        batch.column_by_name(name).unwrap().as_primitive::<arrow_array::types::UInt64Type>().value(at)
    };
    assert_eq!(
        (text("request_id", 2), text("route", 2), text("status", 2)),
        ("r-1".into(), "default".into(), "ok".into())
    );
    assert_eq!((number("latency_us", 0), number("model_version", 0)), (1_234, 3));
    assert_eq!(text("key_hash", 0).len(), 32);
    assert_eq!(uuid::Uuid::parse_str(&text("request_id", 3)).unwrap().get_version_num(), 7);
    let x = batch.column_by_name("in.x").unwrap().as_fixed_size_list();
    assert_eq!(x.value(1).as_primitive::<arrow_array::types::Float32Type>().values(), &[3.0, 4.0]);
}

#[test]
fn a_writer_that_panics_loses_what_was_not_written_and_goes_on() {
    for mode in [CaptureMode::BestEffort, CaptureMode::Audit] {
        let folder = tempfile::tempdir().unwrap();
        let capture = start(settings(folder.path(), mode));
        let tap = tap(&capture, &small());
        assert!(wait(tap.observe(&row("before"))));
        capture.shared.is_broken.store(true, Ordering::Relaxed);
        while capture.shared.is_broken.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert!(wait(tap.observe(&row("after"))), "{mode:?}");
        capture.stop(LONG);
        let status = capture.status().models.remove("m").unwrap();
        assert_eq!((status.accepted, status.written + dropped(&status)), (2, 2), "{mode:?}");
        assert!(status.written >= 1);
        // What was written before lies in a segment that the next start takes.
        start(settings(folder.path(), mode)).stop(LONG);
        let ids = ids(data(folder.path()));
        assert_eq!(ids.values().sum::<usize>() as u64, status.written, "{ids:?}");
        assert_eq!(ids.get("after"), Some(&1));
    }
}

#[test]
fn a_folder_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::BestEffort));
    let second = Capture::start(settings(folder.path(), CaptureMode::BestEffort), &Registry::new());
    assert!(matches!(second, Err(super::CaptureError::InUse(_))));
    capture.stop(LONG);
}

#[test]
fn a_configuration_changes_live() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::Off));
    let tap = tap(&capture, &small());
    assert_eq!(tap.attention(), Attention::None);
    let name = "m".parse().unwrap();
    let privacy = BTreeMap::from([("in.x".to_owned(), "drop".parse().unwrap())]);
    let config = CaptureConfig { mode: Some(CaptureMode::BestEffort), privacy, ..CaptureConfig::default() };
    capture.configure(&name, Some(config.clone())).unwrap();
    assert_eq!(tap.attention(), Attention::Open);
    tap.observe(&row("a"));
    let bad = BTreeMap::from([("in.x".to_owned(), "mask:(".parse().unwrap())]);
    assert!(capture.configure(&name, Some(CaptureConfig { privacy: bad, ..config })).is_err());
    capture
        .configure(
            &name,
            Some(CaptureConfig { mode: Some(CaptureMode::BestEffort), ..CaptureConfig::default() }),
        )
        .unwrap();
    tap.observe(&row("b"));
    capture.configure(&name, None).unwrap();
    assert_eq!(tap.attention(), Attention::None);
    capture.stop(LONG);
    check(&capture, data(folder.path()));
    let nulls: BTreeMap<String, usize> = batches(data(folder.path()))
        .iter()
        .map(|batch| {
            let id = batch.column_by_name("request_id").unwrap().as_string::<i32>().value(0).to_owned();
            (id, batch.column_by_name("in.x").unwrap().null_count())
        })
        .collect();
    assert_eq!(nulls, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 0)]));
}
