//! Fills an index with 10,000 models of 50 revisions and times searches: `cargo run --release --example search`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for a terminal")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use weir::model::{ModelName, Version};
use weir::registry::revision::FORMAT;
use weir::registry::search::{Index, Order, What, parse};
use weir::registry::{Actor, ModelState, Op, Revision};

const MODELS: u64 = 10_000;
const VERSIONS: u64 = 16;
const ROUNDS: usize = 200;

/// A model of 50 revisions: its creation, 16 versions, two annotations of each, and an alias.
fn model(number: u64) -> ModelState {
    let name: ModelName = format!("model-{number:05}").parse().unwrap();
    let mut state = ModelState::new(name);
    let mut rev = 0;
    let mut apply = |state: &mut ModelState, op: Op| {
        rev += 1;
        let revision = Revision {
            format: FORMAT,
            model: state.model.clone(),
            rev,
            prev: state.head.clone(),
            commit_id: uuid::Uuid::nil(),
            time: Utc::now() - TimeDelta::minutes(i64::try_from(number * 50 + 50 - rev).unwrap()),
            actor: Actor { sub: "bench".to_owned(), method: "cli".to_owned() },
            reason: "bench".to_owned(),
            request_id: String::new(),
            ops: vec![op],
            sig: None,
        };
        state.apply(&revision, &format!("{rev:064}")).unwrap();
    };
    apply(&mut state, Op::CreateModel { description: format!("model {number}") });
    for version in (1..=VERSIONS).map(|version| Version::new(version).unwrap()) {
        apply(&mut state, Op::CreateVersion { version, record: Box::new(record(number, version.get())) });
        let area = ["qna", "vision", "fraud", "speech"][usize::try_from(number % 4).unwrap()];
        let tag = Op::SetTag { version: Some(version), key: "area".to_owned(), value: area.to_owned() };
        apply(&mut state, tag);
        let auc = f64::from(u32::try_from((number * 31 + version.get() * 7) % 1000).unwrap()) / 1000.0;
        let metrics = BTreeMap::from([("auc".to_owned(), auc)]);
        apply(&mut state, Op::Annotate { version: Some(version), metrics, description: None });
    }
    let version = Version::new(VERSIONS).unwrap();
    apply(&mut state, Op::SetAlias { alias: "champion".to_owned(), version });
    assert_eq!(state.rev, 50);
    state
}

fn record(number: u64, version: u64) -> weir::registry::VersionRecord {
    let file = serde_json::json!({ "path": "model.onnx", "sha256": "0".repeat(64), "size": 1 });
    serde_json::from_value(serde_json::json!({
        "files": [file], "model_file": "model.onnx", "digest": "0".repeat(64), "source": "model.onnx",
        "inputs": [], "outputs": [],
        "onnx": { "ir_version": 9, "opsets": { "": 17 }, "producer": "pytorch",
                  "operators": { "Gemm": 3, "Relu": 2, "Softmax": 1 }, "parameters": 1000 },
        "validation": { "onnxruntime": "1", "load_us": 1, "memory_bytes": 1, "batching": "yes" },
        "datasets": { "train": format!("s3://data/{number}@{version}") }, "run": format!("run-{number}-{version}"),
    }))
    .unwrap()
}

fn main() {
    let start = Instant::now();
    let states: Vec<Arc<ModelState>> = (0..MODELS).map(|number| Arc::new(model(number))).collect();
    println!("fold {MODELS} models x 50 revisions: {:.2?}", start.elapsed());
    let start = Instant::now();
    let mut index = Index::default();
    states.iter().for_each(|state| index.update(state));
    println!("index of {} versions: {:.2?}", index.len(), start.elapsed());
    for (text, order) in [
        ("tags.area = 'qna' AND metric.auc >= 0.9 AND alias = champion AND created > -7d", "name"),
        ("tags.area = qna", "name"),
        ("tags.area = qna AND metric.auc >= 0.99", "metric.auc desc"),
        ("metric.auc >= 0.5", "created desc"),
        ("name ~ '*-0999?' AND NOT alias = champion", "name"),
        ("dataset.train ~ '*/77@*' OR run = run-3-4", "name"),
        ("operator = Gemm AND opset >= 17", "updated desc"),
        ("", "name"),
    ] {
        let query = parse(text).unwrap();
        let order: Order = order.parse().unwrap();
        for what in [What::Versions, What::Models] {
            let mut times: Vec<Duration> = Vec::new();
            let mut count = 0;
            for _ in 0..ROUNDS {
                let start = Instant::now();
                count = index.search(&query, what, &order, 50, None, Utc::now()).unwrap().found.len();
                times.push(start.elapsed());
            }
            times.sort();
            let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
            println!("{what:?} p50 {p50:.2?} p99 {p99:.2?} found {count}: {text}");
        }
    }
    let start = Instant::now();
    let changed = Arc::new(model(MODELS + 1));
    index.update(&changed);
    println!("one more model: {:.2?}", start.elapsed());
}
