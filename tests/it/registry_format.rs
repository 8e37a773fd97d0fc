//! The registry's format: golden files that pin every byte, and properties of the fold over random logs.

use std::path::PathBuf;

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;
use weir::registry::revision::{FORMAT, sha256_hex};
use weir::registry::snapshot::{parse_snapshot, snapshot_bytes};
use weir::registry::{Actor, FoldError, ModelState, Op, RegistryInfo, Revision};

use crate::support::root;

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/registry").join(name)
}

/// Compares with a golden file; what is there instead is left under the target folder.
fn check(name: &str, actual: &[u8]) {
    let expected = std::fs::read(golden(name)).unwrap_or_default();
    if actual != expected {
        let shown = crate::support::target_dir().join(format!("registry-format-{name}"));
        std::fs::write(&shown, actual).expect("the actual bytes can be written");
        panic!("the format changed: compare tests/golden/registry/{name} with {}", shown.display());
    }
}

/// Every operation, with every member.
fn every_op() -> Vec<serde_json::Value> {
    let file = |path: &str| json!({"path": path, "sha256": sha256_hex(path.as_bytes()), "size": path.len()});
    let tensor = json!({"name": "x", "datatype": "FP32", "shape": [-1, 4]});
    let record = |key: &str| {
        json!({
            "files": [file("labels.txt"), file("model.onnx")], "model_file": "model.onnx",
            "digest": sha256_hex(b"digest"), "source": "s3://bucket/models/iris", "idempotency_key": key,
            "inputs": [tensor], "outputs": [tensor],
            "onnx": {"ir_version": 9, "opsets": {"": 17, "ai.onnx.ml": 3}, "producer": "sklearn 1.5",
                "operators": {"Gemm": 2, "Relu": 1}, "parameters": 67},
            "validation": {"onnxruntime": "1.24.0", "load_us": 12_000, "memory_bytes": 30_000_000,
                "batching": "rows are independent", "golden": file("golden.json")},
            "git": {"remote": "https://host/repo.git", "branch": "main", "commit": "0a1b2c", "dirty": false},
            "datasets": {"train": "s3://bucket/table@7"}, "run": "run-12",
            "derived_from": [{"model": "base", "version": 3}]
        })
    };
    let (proposal, dropped) = (Uuid::from_u128(10), Uuid::from_u128(11));
    let spec = json!({"traffic": {"1": 900_000, "2": 100_000}, "sticky": {"header": "x-user"},
        "settings": {"batching.max_rows": 32}, "rollback_window_s": 600});
    let alias = json!({"op": "set_alias", "alias": "champion", "version": 2});
    vec![
        json!({"op": "create_model", "description": "flowers"}),
        json!({"op": "set_policy", "approvals": 1}),
        json!({"op": "create_version", "version": 1, "record": record("first")}),
        json!({"op": "create_version", "version": 2, "record": record("second")}),
        json!({"op": "reject_version", "source": "/models/bad", "digest": sha256_hex(b"bad"),
            "reason": "it does not load"}),
        json!({"op": "set_tag", "key": "area", "value": "qna"}),
        json!({"op": "set_tag", "version": 1, "key": "stage", "value": "old"}),
        json!({"op": "unset_tag", "key": "area"}),
        json!({"op": "unset_tag", "version": 1, "key": "stage"}),
        json!({"op": "set_property", "version": 1, "key": "owner", "value": "ann"}),
        json!({"op": "annotate", "version": 1, "metrics": {"auc": 0.912_345_678_901_234_5, "loss": 1e-300},
            "description": "the first"}),
        json!({"op": "annotate", "description": "irises"}),
        json!({"op": "set_alias", "alias": "champion", "version": 1}),
        json!({"op": "set_alias", "alias": "challenger", "version": 2}),
        json!({"op": "unset_alias", "alias": "challenger"}),
        json!({"op": "set_baseline", "version": 1, "profile": file("profile.json")}),
        json!({"op": "set_baseline", "version": 2}),
        json!({"op": "deploy", "deployment": "default", "spec": spec}),
        json!({"op": "deploy", "deployment": "staging", "spec": {"traffic": {"1": 1}, "sticky": "request_id",
            "rollback_window_s": 0}, "rollback_to": 3}),
        json!({"op": "set_traffic", "deployment": "default", "traffic": {"1": 1, "2": 1},
            "sticky": "request_id"}),
        json!({"op": "set_traffic", "deployment": "default", "traffic": {"1": 0, "2": 1}}),
        json!({"op": "undeploy", "deployment": "staging"}),
        json!({"op": "propose", "proposal": proposal, "ops": [alias]}),
        json!({"op": "approve", "proposal": proposal}),
        alias.clone(),
        json!({"op": "propose", "proposal": dropped, "ops": []}),
        json!({"op": "withdraw", "proposal": dropped}),
        json!({"op": "hold", "version": 2, "holder": "ensemble@1"}),
        json!({"op": "release", "version": 2, "holder": "ensemble@1"}),
        json!({"op": "tombstone", "version": 1}),
        json!({"op": "undelete", "version": 1}),
        json!({"op": "tombstone"}),
        json!({"op": "undelete"}),
    ]
}

fn revision(state: &ModelState, ops: Vec<Op>, seconds: i64) -> Revision {
    Revision {
        format: FORMAT,
        model: state.model.clone(),
        rev: state.rev + 1,
        prev: state.head.clone(),
        commit_id: Uuid::from_u128(u128::from(state.rev) + 1),
        time: DateTime::from_timestamp_millis(1_790_000_000_123 + seconds * 1000).expect("a time"),
        actor: Actor { sub: "ann@desk".to_owned(), method: "cli".to_owned() },
        reason: "because".to_owned(),
        request_id: "r-1".to_owned(),
        ops,
        sig: None,
    }
}

fn fold(model: &str, files: &[Vec<u8>]) -> Result<ModelState, FoldError> {
    let mut state = ModelState::new(model.parse().expect("a name"));
    for file in files {
        state.apply(&Revision::parse(file)?, &sha256_hex(file))?;
    }
    Ok(state)
}

#[test]
fn bytes_are_as_they_always_were() {
    let info = RegistryInfo { format: FORMAT, registry_id: Uuid::from_u128(1), hash: "sha256".to_owned() };
    check("weir.json", &serde_json::to_vec_pretty(&info).expect("JSON"));
    let ops: Vec<Op> =
        every_op().into_iter().map(|op| serde_json::from_value(op).expect("an operation")).collect();
    let names: std::collections::BTreeSet<&str> = ops.iter().map(Op::name).collect();
    assert_eq!(names.len(), 21, "an operation is missing from the golden revision");
    let first = revision(&ModelState::new("iris".parse().expect("a name")), ops, 0).to_bytes().expect("JSON");
    check("revision-1.json", &first);
    let state = fold("iris", std::slice::from_ref(&first)).expect("folds");
    let tag = Op::SetTag { version: None, key: "k".to_owned(), value: "v".to_owned() };
    let second = revision(&state, vec![tag], -600).to_bytes().expect("JSON");
    check("revision-2.json", &second);
    let state = fold("iris", &[first, second]).expect("folds");
    check("snapshot-2.json", &snapshot_bytes(&state).expect("JSON"));
}

/// What was written in format 1 is read for good. These files are never changed, only added to.
#[test]
fn golden_files_are_read() {
    let read = |name: &str| std::fs::read(golden(name)).expect("a golden file");
    let files = [read("revision-1.json"), read("revision-2.json")];
    let state = fold("iris", &files).expect("folds");
    assert_eq!(parse_snapshot(&read("snapshot-2.json")).expect("a snapshot"), state);
    assert_eq!(state.rev, 2);
    for file in files {
        assert_eq!(Revision::parse(&file).expect("a revision").to_bytes().expect("JSON"), file);
    }
}

#[test]
fn what_is_newer_is_said_to_be() {
    let file = std::fs::read_to_string(golden("revision-2.json")).expect("a golden file");
    let cases = [
        file.replace("\"format\":1", "\"format\":2"),
        file.replace("set_tag", "set_mood"),
        file.replace("\"key\":\"k\"", "\"key\":\"k\",\"until\":7"),
    ];
    for case in cases {
        let refused = Revision::parse(case.as_bytes()).expect_err("a newer file");
        assert!(matches!(refused, FoldError::Newer(_)), "{refused}: {case}");
    }
    let cut: String = file.chars().take(100).collect();
    assert!(matches!(Revision::parse(cut.as_bytes()), Err(FoldError::Malformed(_))));
}

/// An operation that a number stands for; it need not fit the state.
fn op((kind, a, b, metric): (u8, u64, u64, f64)) -> Op {
    let version = serde_json::from_value(json!(a % 4 + 1)).expect("a version");
    let (key, value) = (format!("k{}", b % 5), format!("v{b}"));
    match kind {
        0 => Op::SetTag { version: None, key, value },
        1 => Op::SetTag { version: Some(version), key, value },
        2 => Op::UnsetTag { version: Some(version), key },
        3 => Op::SetProperty { version, key, value },
        4 => {
            Op::Annotate { version: Some(version), metrics: [(key, metric)].into(), description: Some(value) }
        }
        5 => Op::SetAlias { alias: key, version },
        6 => Op::UnsetAlias { alias: key },
        7 => Op::Tombstone { version: Some(version) },
        8 => Op::Undelete { version: Some(version) },
        9 => Op::Hold { version, holder: key },
        10 => Op::Release { version, holder: key },
        11 => Op::Undeploy { deployment: key },
        12 => Op::SetPolicy { approvals: u32::from(kind) },
        13 => serde_json::from_value(json!({"op": "deploy", "deployment": key, "spec":
            {"traffic": {(a % 4 + 1).to_string(): 1}, "sticky": "request_id", "rollback_window_s": b % 100}}))
        .expect("an operation"),
        14 => Op::SetTraffic { deployment: key, traffic: [(version, 7)].into(), sticky: None },
        _ => every_op()
            .into_iter()
            .filter(|op| op["op"] == "create_version")
            .map(|mut op| {
                op["version"] = json!(a % 4 + 1);
                serde_json::from_value(op).expect("an operation")
            })
            .next()
            .expect("a registration"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any log: each prefix has one state, a snapshot and the tail give the state of the whole log, every revision
    /// is written as it was read, a revision that does not fit changes nothing, and no clock matters to the order.
    #[test]
    fn states_are_functions_of_the_log(
        kinds in prop::collection::vec((0_u8..18, any::<u64>(), any::<u64>(), prop::num::f64::NORMAL), 1..60),
        clocks in prop::collection::vec(-100_000_i64..100_000, 60),
        cut in any::<prop::sample::Index>(),
    ) {
        let create = Op::CreateModel { description: "any".to_owned() };
        let mut state = ModelState::new("any".parse().expect("a name"));
        let (mut files, mut prefixes) = (Vec::new(), vec![state.clone()]);
        let ops = std::iter::once(create).chain(kinds.into_iter().map(op));
        for (op, clock) in ops.zip(clocks) {
            let written = revision(&state, vec![op], clock);
            let file = written.to_bytes().expect("JSON");
            let read = Revision::parse(&file).expect("a revision");
            prop_assert_eq!(&read, &written);
            prop_assert_eq!(&read.to_bytes().expect("JSON"), &file);
            let before = state.clone();
            if state.apply(&read, &sha256_hex(&file)).is_ok() {
                prop_assert_eq!(state.rev, before.rev + 1);
                files.push(file);
                prefixes.push(state.clone());
            } else {
                prop_assert_eq!(&state, &before);
            }
        }
        let cut = cut.index(prefixes.len());
        let (head, tail) = files.split_at(cut);
        prop_assert_eq!(&fold("any", head).expect("folds"), &prefixes[cut]);
        let mut continued = parse_snapshot(&snapshot_bytes(&prefixes[cut]).expect("JSON")).expect("a snapshot");
        prop_assert_eq!(&continued, &prefixes[cut]);
        for file in tail {
            continued.apply(&Revision::parse(file).expect("a revision"), &sha256_hex(file)).expect("folds");
        }
        prop_assert_eq!(&continued, &state);
        prop_assert_eq!(snapshot_bytes(&continued).expect("JSON"), snapshot_bytes(&state).expect("JSON"));
        // Left out, repeated or out of order: refused.
        if let [first, second, ..] = files.as_slice() {
            prop_assert!(fold("any", std::slice::from_ref(second)).is_err());
            prop_assert!(fold("any", &[first.clone(), first.clone()]).is_err());
            prop_assert!(fold("other", std::slice::from_ref(first)).is_err());
        }
    }
}
