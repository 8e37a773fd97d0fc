//! The monitor from observations to transitions, with the time as a value.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::error::Code;
use crate::infer::{Attention, Choice, Route};
use crate::model::{Dim, ModelConfig, Signature, TensorSpec};
use crate::tensor::{DataType, Shape, Tensor};

const PANE_US: i64 = 300_000_000;
/// A multiple of a day and of a pane.
const START_US: i64 = 1_700_006_400_000_000 / 86_400_000_000 * 86_400_000_000;

struct Rig {
    monitor: Arc<Monitor>,
    registry: Registry,
    tap: Arc<dyn Tap>,
    seen: Arc<Mutex<Vec<Transition>>>,
    now_us: i64,
    random: u64,
}

fn id() -> ModelId {
    ModelId { name: "taxi".parse().unwrap(), version: crate::model::Version::new(3).unwrap() }
}

fn version() -> TappedVersion {
    let spec = |name: &str, dtype, width| TensorSpec {
        name: name.into(),
        dtype,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(width)]),
        optional: false,
    };
    TappedVersion {
        id: id(),
        signature: Signature {
            inputs: vec![spec("x", DataType::Fp32, 2)],
            outputs: vec![spec("label", DataType::Int64, 1)],
        },
        is_batched: true,
        config: ModelConfig::default(),
        digest: None,
    }
}

impl Rig {
    fn new(folder: Option<&Path>) -> Rig {
        Rig::of(folder, version())
    }

    fn of(folder: Option<&Path>, version: TappedVersion) -> Rig {
        let (registry, seen) = (Registry::new(), Arc::new(Mutex::new(Vec::new())));
        let windows = vec![Window::Pane, Window::Last(Duration::from_secs(3_600))];
        let folder = folder.map(Path::to_owned);
        let config = DriftConfig { folder, windows, ..DriftConfig::default() };
        let sink = Arc::clone(&seen);
        let monitor =
            Monitor::new(config, &registry, Box::new(move |transition| sink.lock().push(transition)))
                .unwrap();
        let tap = monitor.tap(&version).unwrap();
        Rig { monitor, registry, tap, seen, now_us: START_US, random: 1 }
    }

    fn uniform(&mut self) -> f32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A request of `rows` rows, the first feature moved by `shift`.
    fn observation(&mut self, rows: usize, shift: f32, route: Route) -> Observation {
        let values: Vec<f32> = (0..rows).flat_map(|_| [self.uniform() + shift, self.uniform()]).collect();
        let labels: Vec<i64> = values.chunks(2).map(|row| i64::from(row[1] > 0.5)).collect();
        let tensor = |name: &str, dtype, width, data: Vec<u8>| {
            Tensor::new(name.into(), dtype, Shape::new(&[rows, width]).unwrap(), Bytes::from(data)).unwrap()
        };
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let input = tensor("x", DataType::Fp32, 2, bytes);
        let output =
            tensor("label", DataType::Int64, 1, labels.iter().flat_map(|v| v.to_le_bytes()).collect());
        Observation {
            rows,
            choice: Choice { route, revision: 0 },
            inputs: [Some(input)].into_iter().collect(),
            outputs: [output].into_iter().collect(),
            ..Observation::default()
        }
    }

    /// One pane of 1,000 rows in ten requests, and its end.
    fn pane(&mut self, shift: f32, route: Route) {
        self.requests(shift, route);
        self.now_us += PANE_US;
        self.monitor.step(self.now_us);
    }

    fn requests(&mut self, shift: f32, route: Route) {
        for _ in 0..10 {
            let observation = self.observation(100, shift, route);
            assert_eq!(self.tap.attention(), Attention::Open);
            self.tap.observe(&Arc::new(observation));
            self.monitor.step(self.now_us);
        }
    }

    fn learned(folder: Option<&Path>) -> Rig {
        Rig::new(folder).taught()
    }

    fn taught(self) -> Rig {
        let mut rig = self;
        assert_eq!(rig.tap.attention(), Attention::None);
        rig.monitor.learn(&id(), 5_000);
        (0..5).for_each(|_| rig.requests(0.0, Route::Default));
        assert_eq!(rig.monitor.baseline(&id()).unwrap().rows(), 5_000.0);
        rig
    }

    /// What happened since the last look, as `feature: from -> to`.
    fn news(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock());
        let feature = |t: &Transition| t.feature.clone().unwrap_or_else(|| "whole".into());
        seen.iter().map(|t| format!("{}: {} -> {}", feature(t), t.from.as_str(), t.to.as_str())).collect()
    }

    fn rows(&self, lane: Lane) -> f64 {
        self.monitor
            .report_at(&id(), lane, Window::Deploy, self.now_us)
            .map_or(0.0, |report| report.current_rows)
    }

    fn metrics(&self) -> String {
        String::from_utf8(self.registry.expose().unwrap()).unwrap()
    }
}

#[test]
fn a_step_that_panics_is_not_the_last() {
    let mut rig = Rig::new(None);
    let observation = Arc::new(rig.observation(3, 0.0, Route::Default));
    rig.monitor.is_broken.store(true, Ordering::Relaxed);
    rig.tap.observe(&observation);
    assert!(!rig.monitor.queue.is_empty());
    let alive = runner::start(&rig.monitor).unwrap();
    while !rig.monitor.queue.is_empty() {
        std::thread::yield_now();
    }
    assert!(!rig.monitor.is_broken.load(Ordering::Relaxed));
    drop(alive);
}

#[test]
fn clean_traffic_is_ok_a_shift_is_drift_and_its_end_resolves() {
    let mut rig = Rig::learned(None);
    rig.pane(0.0, Route::Default);
    assert_eq!(rig.news(), ["whole: insufficient -> ok"]);
    (0..3).for_each(|_| rig.pane(0.0, Route::Champion));
    assert_eq!(rig.news(), [""; 0]);
    assert!(!rig.metrics().contains("weir_drift_score"));
    rig.pane(0.3, Route::Named);
    assert_eq!(rig.news(), ["in.x[0]: ok -> warn", "whole: ok -> warn"]);
    rig.pane(0.3, Route::Default);
    let report = rig.seen.lock()[0].report.clone().unwrap();
    assert!(report.measure("js").unwrap().value > 0.1 && report.bins.is_empty());
    assert_eq!(rig.news(), ["in.x[0]: warn -> drift", "whole: warn -> drift"]);
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"weir_drift_state{model="taxi",state="drift",version="3"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"weir_drift_score{feature="in.x[0]",measure="js",model="taxi",version="3"}"#));
    assert!(metrics.contains(r#"weir_drift_rows_total{model="taxi",result="profiled",version="3"} 6000"#));
    let summary = &rig.monitor.drifting()[0];
    assert_eq!((summary.state, summary.features), (DriftState::Drift, [0, 2, 0, 1]));
    // The last hour still holds the shift, until it is over.
    (0..20).for_each(|_| rig.pane(0.0, Route::Default));
    assert_eq!(rig.monitor.drifting()[0].state, DriftState::Ok, "{:?}", rig.news());
    assert!(rig.news().last().is_none_or(|last| last == "whole: drift -> ok" || last == "whole: warn -> ok"));
    assert!(!rig.metrics().contains("weir_drift_score"));
    let report = rig.monitor.report_at(&id(), Lane::Main, Window::Pane, rig.now_us).unwrap();
    assert_eq!((report.current_rows, report.features[0].history.len()), (1_000.0, 26));
}

#[test]
fn a_restart_loses_at_most_the_open_pane_and_a_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::learned(Some(folder.path()));
    rig.pane(0.0, Route::Default);
    rig.pane(0.3, Route::Default);
    rig.requests(0.3, Route::Default);
    let now_us = rig.now_us;
    // Killed: nothing more is written. The learned baseline and the states are there again.
    drop(rig);
    let mut rig = Rig { now_us, ..Rig::new(Some(folder.path())) };
    assert_eq!(rig.rows(Lane::Main), 2_000.0);
    rig.pane(0.3, Route::Default);
    assert_eq!(rig.news(), ["in.x[0]: warn -> drift", "whole: warn -> drift"]);
    rig.requests(0.0, Route::Default);
    rig.monitor.stop();
    let now_us = rig.now_us;
    let rig = Rig { now_us: now_us + PANE_US, ..Rig::new(Some(folder.path())) };
    assert_eq!(rig.rows(Lane::Main), 4_000.0);
}

/// A shift too small for a window to be called more than a warning is dated all the same, and still after a restart.
#[test]
fn a_change_of_the_mean_is_dated_by_both_detectors() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::learned(Some(folder.path()));
    (0..40).for_each(|_| rig.pane(0.0, Route::Default));
    let trends = |rig: &Rig| {
        let report = rig.monitor.report_at(&id(), Lane::Main, Window::Pane, rig.now_us).unwrap();
        report.features.into_iter().map(|feature| feature.trend).collect::<Vec<_>>()
    };
    let quiet = crate::drift::report::Trend { panes: 40, ..Default::default() };
    assert_eq!(trends(&rig), [Some(quiet), Some(quiet), None], "a class has no mean");
    let changed_us = rig.now_us;
    (0..24).for_each(|_| rig.pane(0.1, Route::Default));
    let found = trends(&rig);
    let trend = found[0].unwrap();
    assert_eq!(trend.panes, 64);
    assert!(trend.page_hinkley_us > Some(changed_us) && trend.adwin_us > Some(changed_us), "{trend:?}");
    assert_eq!(found[1].unwrap().adwin_us, None);
    let now_us = rig.now_us;
    drop(rig);
    let rig = Rig { now_us, ..Rig::new(Some(folder.path())) };
    assert_eq!(trends(&rig), found);
}

#[test]
fn features_that_the_baseline_does_not_have_are_named() {
    let mut rig = Rig::learned(None);
    let whole = rig.monitor.baseline(&id()).unwrap();
    let part = Baseline::new(whole.features().iter().take(1).cloned().collect(), whole.rows());
    rig.monitor.set_baseline(&id(), part);
    rig.pane(0.0, Route::Default);
    let report = rig.monitor.report_at(&id(), Lane::Main, Window::Pane, rig.now_us).unwrap();
    assert_eq!(report.features.len(), 1);
    assert_eq!(report.unwatched, ["in.x[1]", "out.label"]);
}

/// What each coordinate says alone is as it was: they only no longer go together.
#[test]
fn an_embedding_drifts_while_its_coordinates_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let tapped = || {
        let mut version = version();
        version.config.monitoring.embeddings = vec!["x".to_owned(), "label".to_owned()];
        version
    };
    let mut rig = Rig::of(Some(folder.path()), tapped()).taught();
    let report = |rig: &Rig, window| rig.monitor.report_at(&id(), Lane::Main, window, rig.now_us).unwrap();
    let first = report(&rig, Window::Pane);
    assert_eq!((first.embeddings.len(), first.embeddings[0].state), (1, DriftState::Insufficient));
    (0..3).for_each(|_| rig.pane(0.0, Route::Default));
    assert_eq!(rig.news(), ["whole: insufficient -> ok"]);
    let calm = report(&rig, Window::Last(Duration::from_secs(3_600)));
    let found = &calm.embeddings[0];
    assert_eq!((&*found.name, found.width, found.state), ("in.x", 2, DriftState::Ok));
    assert_eq!((found.baseline_points, found.current_points), (500, 256));

    for _ in 0..2 {
        for _ in 0..10 {
            let mut observation = rig.observation(100, 0.0, Route::Default);
            let values: Vec<f32> = (0..100).map(|_| rig.uniform()).collect();
            let alike =
                values.iter().flat_map(|x| [x.to_le_bytes(), x.to_le_bytes()]).flatten().collect::<Vec<u8>>();
            let shape = Shape::new(&[100, 2]).unwrap();
            let tensor = Tensor::new("x".into(), DataType::Fp32, shape, Bytes::from(alike)).unwrap();
            observation.inputs = [Some(tensor)].into_iter().collect();
            rig.tap.observe(&Arc::new(observation));
            rig.monitor.step(rig.now_us);
        }
        rig.now_us += PANE_US;
        rig.monitor.step(rig.now_us);
    }
    let reasons: Vec<String> = rig.seen.lock().iter().map(|transition| transition.reason.clone()).collect();
    assert!(reasons[0].starts_with("mmd2 0."), "{reasons:?}");
    assert_eq!(
        rig.news(),
        ["in.x: ok -> warn", "whole: ok -> warn", "in.x: warn -> drift", "whole: warn -> drift"]
    );
    let found = report(&rig, Window::Pane);
    assert_eq!((found.state, found.embeddings[0].state), (DriftState::Drift, DriftState::Drift));
    assert!(found.features.iter().all(|feature| feature.state == DriftState::Ok));
    let score = r#"weir_drift_score{feature="in.x",measure="mmd2",model="taxi",version="3"}"#;
    assert!(rig.metrics().contains(score));

    // A restart knows the baseline's points, what was seen, and the state.
    rig.monitor.stop();
    let again = Rig::of(Some(folder.path()), tapped());
    assert_eq!(again.monitor.drifting()[0].state, DriftState::Drift);
    again.monitor.step(rig.now_us);
    again.monitor.step(rig.now_us + PANE_US);
    let hour = Window::Last(Duration::from_secs(3_600));
    let kept = again.monitor.report_at(&id(), Lane::Main, hour, rig.now_us + PANE_US).unwrap();
    assert_eq!((kept.embeddings[0].current_points, kept.current_rows), (256, 5_000.0));
    // Without the setting its points are passed over, and the baseline's as well.
    let plain = Rig::new(Some(folder.path()));
    let report = plain.monitor.report_at(&id(), Lane::Main, Window::Deploy, rig.now_us).unwrap();
    assert_eq!((report.embeddings.len(), report.current_rows), (0, 5_000.0));
}

#[test]
fn rows_of_a_batch_job_count_with_those_of_requests_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::learned(Some(folder.path()));
    rig.pane(0.0, Route::Default);
    let tapped = version();
    let features = crate::model::features::features(&tapped.signature, true, &BTreeMap::new());
    let baseline = Arc::new(rig.monitor.baseline(&id()).unwrap().for_version(&features, &[]));
    let add = |job: &str, start_us| {
        let mut current = baseline.current(crate::drift::profile::Sampling::LIVE);
        (0..500).for_each(|_| current.push(0, crate::drift::profile::Value::Number(0.95), 1.0));
        current.rows = 500.0;
        let batch = Batch { job: job.to_owned(), start_us, length_us: PANE_US, current };
        add_batch(folder.path(), &id(), Arc::clone(&baseline), batch).unwrap()
    };
    let start_us = rig.now_us - PANE_US;
    assert!(add("nightly", start_us) && !add("nightly", start_us) && add("hourly", start_us));
    assert_eq!(rig.rows(Lane::Main), 1_000.0, "a server looks when it closes a pane");
    rig.pane(0.0, Route::Default);
    assert_eq!(rig.rows(Lane::Main), 3_000.0);
    let report = rig.monitor.report_at(&id(), Lane::Main, Window::Deploy, rig.now_us).unwrap();
    let psi = report.features[0].measure("psi").unwrap().value;
    assert!(psi > 0.2, "a third of the rows are alike: {psi}");
    let (first, second) = (&report.features[0].current, &report.features[1].current);
    assert_eq!((first.rows, second.rows), (3_000.0, 2_000.0));
}

#[test]
fn a_canary_is_looked_at_apart_and_failures_are_counted_only() {
    let mut rig = Rig::learned(None);
    rig.pane(0.0, Route::Default);
    rig.requests(0.5, Route::Canary);
    for failure in [Code::InvalidArgument, Code::Internal] {
        let failed = Observation { rows: 7, failure: Some(failure), ..Observation::default() };
        rig.tap.observe(&Arc::new(failed));
    }
    rig.pane(0.0, Route::Default);
    rig.requests(0.5, Route::Canary);
    rig.pane(0.0, Route::Default);
    assert_eq!((rig.rows(Lane::Main), rig.rows(Lane::Canary)), (3_000.0, 2_000.0));
    let states: Vec<_> = rig.monitor.drifting().iter().map(|version| (version.lane, version.state)).collect();
    assert_eq!(states, [(Lane::Main, DriftState::Ok), (Lane::Canary, DriftState::Drift)]);
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"weir_drift_rows_total{model="taxi",result="invalid",version="3"} 7"#));
    assert!(metrics.contains(r#"weir_drift_rows_total{model="taxi",result="failed",version="3"} 7"#));
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut rig = Rig::learned(None);
    for _ in 0..2 {
        let observation = rig.observation(40_000, 0.0, Route::Default);
        rig.tap.observe(&Arc::new(observation));
    }
    assert!(rig.metrics().contains(r#"weir_drift_dropped_rows_total{reason="queue_rows"} 40000"#));
}

#[test]
fn an_unloaded_or_forgotten_version_has_no_metrics() {
    let mut rig = Rig::learned(None);
    rig.pane(0.0, Route::Default);
    assert!(rig.metrics().contains("weir_drift_state"));
    let Rig { monitor, registry, tap, now_us, .. } = rig;
    drop(tap);
    monitor.step(now_us + PANE_US);
    let metrics = String::from_utf8(registry.expose().unwrap()).unwrap();
    assert!(!metrics.contains("weir_drift_state"), "{metrics}");
    monitor.forget(&id());
    assert!(monitor.baseline(&id()).is_none());
    let off = TappedVersion {
        config: ModelConfig {
            monitoring: crate::model::monitoring::MonitoringConfig {
                drift: Some(false),
                ..Default::default()
            },
            ..ModelConfig::default()
        },
        ..version()
    };
    assert!(monitor.tap(&off).is_none());
}

#[test]
fn the_thread_ends_with_the_monitor() {
    let monitor = Monitor::start(DriftConfig::default(), &Registry::new(), Box::new(drop)).unwrap();
    let weak = Arc::downgrade(&monitor);
    monitor.stop();
    drop(monitor);
    // The thread may hold it for one more step.
    while weak.upgrade().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn numbers_beyond_the_baseline_are_outliers() {
    let mut rig = Rig::learned(None);
    let (id, inside) = (id(), rig.observation(10, 0.0, Route::Default));
    assert!(!rig.monitor.is_outlier(&id, &inside));
    let outside = rig.observation(10, 1_000.0, Route::Default);
    assert!(rig.monitor.is_outlier(&id, &outside));
    let other = ModelId { name: "other".parse().unwrap(), ..id };
    assert!(!rig.monitor.is_outlier(&other, &outside));
}
