//! What the registry costs: commits with and without fsync, a cold start of many models, a poll without news.
//!
//! `registry [MODELS] [REVISIONS]` works in a directory of its own under the system's temporary one; set `TMPDIR` to
//! choose the disk. It builds the cold start's logs by writing the files that commits would have written.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the console, not for users")]

use std::path::Path;
use std::time::{Duration, Instant};

use weir::model::ModelName;
use weir::registry::client::revision_key;
use weir::registry::revision::{FORMAT, sha256_hex};
use weir::registry::snapshot::{SNAPSHOT_EVERY, snapshot_bytes, snapshot_key};
use weir::registry::{Actor, Intent, ModelState, Op, Registry, Revision, Seen, Store, StoreOptions};

const COMMITS: usize = 400;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let models = arguments.next().map_or(10_000, |text| text.parse().unwrap());
    let revisions = arguments.next().map_or(50, |text| text.parse().unwrap());
    for fsync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let took = commits(&open(folder.path(), fsync).await).await;
        println!("commit, fsync {fsync}: p50 {:?}, p99 {:?}", took[COMMITS / 2], took[COMMITS * 99 / 100]);
    }
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let bytes = build(folder.path(), models, revisions);
    println!("built {models} models x {revisions} revisions, {} MB, in {:?}", bytes >> 20, begun.elapsed());
    let before = resident_kb();
    for round in ["first", "second"] {
        let registry = open(folder.path(), false).await;
        let mut seen = Seen::default();
        let begun = Instant::now();
        let views = registry.changed(&mut seen).await.unwrap();
        assert_eq!(views.len(), models);
        assert!(views.iter().all(|view| view.state.rev == revisions && view.fault.is_none()));
        println!("cold start from snapshots, {round}: {:?}", begun.elapsed());
        if round == "first" {
            println!("memory for {models} states: {} MB", (resident_kb() - before) >> 10);
        }
        let begun = Instant::now();
        assert!(registry.changed(&mut seen).await.unwrap().is_empty());
        println!("poll without news: {:?}", begun.elapsed());
        let begun = Instant::now();
        registry.state(&name(models / 2)).await.unwrap();
        println!("read of one state without news: {:?}", begun.elapsed());
    }
    for index in 0..models {
        std::fs::remove_dir_all(folder.path().join(format!("models/{}/snap", name(index)))).unwrap();
    }
    let begun = Instant::now();
    let registry = open(folder.path(), false).await;
    assert_eq!(registry.changed(&mut Seen::default()).await.unwrap().len(), models);
    println!("cold start without snapshots: {:?}", begun.elapsed());
}

async fn open(folder: &Path, fsync: bool) -> Registry {
    let options = StoreOptions { fsync, ..StoreOptions::default() };
    Registry::open(Store::open(folder.to_str().unwrap(), &options).unwrap()).await.unwrap()
}

fn name(index: usize) -> ModelName {
    format!("model-{index:05}").parse().unwrap()
}

async fn commits(registry: &Registry) -> Vec<Duration> {
    let actor = Actor { sub: "ann@desk".to_owned(), method: "cli".to_owned() };
    let intent = Intent { actor, reason: "a bench".to_owned(), request_id: String::new(), if_match: None };
    let mut took = Vec::new();
    for number in 0..=COMMITS {
        let op = match number {
            0 => Op::CreateModel { description: String::new() },
            _ => Op::SetTag { version: None, key: "k".to_owned(), value: number.to_string() },
        };
        let begun = Instant::now();
        registry.commit(&name(0), &intent, |_| Ok(vec![op.clone()])).await.unwrap();
        took.push(begun.elapsed());
    }
    // The first pays for the probe of the store.
    took.remove(0);
    took.sort_unstable();
    took
}

/// Logs with a version in every tenth revision, and between them tags, metrics and aliases.
fn build(folder: &Path, models: usize, revisions: u64) -> u64 {
    let mut bytes = 0;
    let mut write = |key: String, content: Vec<u8>| {
        let path = folder.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        bytes += content.len() as u64;
        std::fs::write(path, content).unwrap();
    };
    for index in 0..models {
        let model = name(index);
        let mut state = ModelState::new(model.clone());
        for rev in 1..=revisions {
            let revision = revision(&state, op(rev));
            let file = revision.to_bytes().unwrap();
            state.apply(&revision, &sha256_hex(&file)).unwrap();
            write(revision_key(&model, rev), file);
            if rev % SNAPSHOT_EVERY == 0 && rev + 2 * SNAPSHOT_EVERY > revisions {
                write(snapshot_key(&model, rev), snapshot_bytes(&state).unwrap());
            }
        }
        write(format!("heads/{model}"), format!("{{\"rev\":{revisions}}}\n").into_bytes());
    }
    bytes
}

fn op(rev: u64) -> serde_json::Value {
    let hash = sha256_hex(&rev.to_le_bytes());
    let tensor = serde_json::json!({"name": "input", "datatype": "FP32", "shape": [-1, 64]});
    match rev {
        1 => serde_json::json!({"op": "create_model", "description": "a model of a bench"}),
        _ if rev % 10 == 2 => serde_json::json!({"op": "create_version", "version": rev / 10 + 1, "record": {
            "files": [{"path": "model.onnx", "sha256": hash, "size": 4096}], "model_file": "model.onnx",
            "digest": hash, "source": "s3://bucket/model", "inputs": [tensor], "outputs": [tensor],
            "onnx": {"ir_version": 9, "opsets": {"": 17}, "producer": "torch 2.8",
                "operators": {"Conv": 12, "Relu": 12, "Gemm": 2}, "parameters": 1_000_000},
            "validation": {"onnxruntime": "1.24", "load_us": 9000, "memory_bytes": 9_000_000, "batching": "yes"}}}),
        _ if rev % 10 == 3 => {
            serde_json::json!({"op": "set_alias", "alias": "champion", "version": rev / 10 + 1})
        }
        _ if rev % 10 == 4 && rev > 10 => serde_json::json!({"op": "annotate", "version": rev / 10,
            "metrics": {"auc": 0.9, "loss": 0.1}}),
        _ => serde_json::json!({"op": "set_tag", "key": format!("k{}", rev % 4), "value": rev.to_string()}),
    }
}

fn revision(state: &ModelState, op: serde_json::Value) -> Revision {
    let op: Op = serde_json::from_value(op).unwrap();
    Revision {
        format: FORMAT,
        model: state.model.clone(),
        rev: state.rev + 1,
        prev: state.head.clone(),
        commit_id: serde_json::from_str("\"00000000-0000-0000-0000-000000000001\"").unwrap(),
        time: Default::default(),
        actor: Actor { sub: "ann@desk".to_owned(), method: "cli".to_owned() },
        reason: "a bench".to_owned(),
        request_id: String::new(),
        ops: vec![op],
        sig: None,
    }
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
