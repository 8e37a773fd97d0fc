//! Golden events: one log with every kind of operation, and what is derived from it.

use std::collections::BTreeMap;

use super::super::record::{DeploymentSpec, FileRef, StickyKey, TensorRecord, VersionRecord};
use super::super::revision::{Actor, FORMAT};
use super::super::signals::SignalKind;
use super::*;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn record(digest: char) -> Box<VersionRecord> {
    let sha256: String = std::iter::repeat_n(digest, 64).collect();
    let tensor =
        |name: &str| TensorRecord { name: name.to_owned(), datatype: "FP32".to_owned(), shape: vec![-1, 4] };
    Box::new(VersionRecord {
        files: vec![FileRef { path: "model.onnx".to_owned(), sha256: sha256.clone(), size: 1234 }],
        model_file: "model.onnx".to_owned(),
        digest: sha256,
        source: "file:iris.onnx".to_owned(),
        idempotency_key: None,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        onnx: Default::default(),
        validation: Default::default(),
        git: None,
        datasets: BTreeMap::from([("train".to_owned(), "s3://data/iris@7".to_owned())]),
        run: Some("run-1".to_owned()),
        derived_from: Vec::new(),
    })
}

fn spec(traffic: &[(u64, u32)]) -> DeploymentSpec {
    DeploymentSpec {
        traffic: traffic.iter().map(|(number, weight)| (version(*number), *weight)).collect(),
        sticky: StickyKey::RequestId,
        settings: BTreeMap::new(),
        rollback_window_s: 600,
    }
}

/// A model's life: at least one operation of each kind.
fn life() -> Vec<Vec<Op>> {
    let proposal = Uuid::from_u128(9);
    let other = Uuid::from_u128(10);
    let deployment = "default".to_owned();
    let alias = "champion".to_owned();
    let text = |text: &str| text.to_owned();
    let (one, two) = (version(1), version(2));
    let set_alias = Op::SetAlias { alias: alias.clone(), version: two };
    let profile = FileRef { path: text("profile"), sha256: "c".repeat(64), size: 9 };
    vec![
        vec![
            Op::CreateModel { description: text("flowers") },
            Op::CreateVersion { version: one, record: record('a') },
            Op::SetTag { version: None, key: text("area"), value: text("qna") },
            Op::SetTag { version: Some(one), key: text("stage"), value: text("test") },
        ],
        vec![Op::CreateVersion { version: two, record: record('b') }],
        vec![Op::RejectVersion { source: text("bad.onnx"), digest: text("d"), reason: text("it crashed") }],
        vec![
            Op::SetProperty { version: two, key: text("owner"), value: text("ada") },
            Op::Annotate {
                version: Some(two),
                metrics: BTreeMap::from([(text("auc"), 0.5)]),
                description: Some(text("better")),
            },
            Op::Annotate { version: None, metrics: BTreeMap::new(), description: Some(text("irises")) },
            Op::SetBaseline { version: two, profile: Some(profile) },
        ],
        vec![Op::SetAlias { alias: alias.clone(), version: one }],
        vec![Op::Deploy { deployment: deployment.clone(), spec: spec(&[(1, 100)]), rollback_to: None }],
        vec![Op::SetTraffic {
            deployment: deployment.clone(),
            traffic: spec(&[(1, 90), (2, 10)]).traffic,
            sticky: None,
        }],
        vec![Op::Deploy { deployment: deployment.clone(), spec: spec(&[(1, 100)]), rollback_to: Some(6) }],
        vec![Op::SetPolicy { approvals: 1 }],
        vec![Op::Propose { proposal, ops: vec![set_alias.clone()] }],
        vec![Op::Approve { proposal }, set_alias.clone()],
        vec![Op::Propose { proposal: other, ops: vec![set_alias] }, Op::Withdraw { proposal: other }],
        vec![
            Op::Hold { version: one, holder: text("forest@1") },
            Op::Release { version: one, holder: text("forest@1") },
        ],
        vec![Op::UnsetAlias { alias }, Op::Undeploy { deployment }],
        vec![
            Op::UnsetTag { version: Some(one), key: text("stage") },
            Op::UnsetTag { version: None, key: text("area") },
        ],
        vec![Op::Tombstone { version: Some(one) }, Op::Undelete { version: Some(one) }],
        vec![Op::Tombstone { version: None }, Op::Undelete { version: None }],
    ]
}

fn derive() -> Vec<CloudEvent> {
    let registry = Uuid::from_u128(1);
    let mut state = ModelState::new("iris".parse().unwrap());
    let mut events = Vec::new();
    for (index, ops) in life().into_iter().enumerate() {
        let rev = index as u64 + 1;
        let revision = Revision {
            format: FORMAT,
            model: state.model.clone(),
            rev,
            prev: state.head.clone(),
            commit_id: Uuid::from_u128(u128::from(rev)),
            time: DateTime::from_timestamp_millis(1_790_000_000_000 + index as i64).unwrap(),
            actor: Actor { sub: "ada@host".to_owned(), method: "cli".to_owned() },
            reason: format!("because {rev}"),
            request_id: String::new(),
            ops,
            sig: None,
        };
        let hash = format!("{rev:064x}");
        events.extend(of_revision(registry, &mut state, &revision, &hash).unwrap());
    }
    let signal = Signal {
        kind: SignalKind::DeploymentReady,
        detail: serde_json::Map::new(),
        rev: 6,
        deployment: Some("default".to_owned()),
        version: Some(version(1)),
        replica: Some("host-1".to_owned()),
        time: DateTime::from_timestamp_millis(1_790_000_001_000).unwrap(),
        reason: "loaded".to_owned(),
    };
    events.push(of_signal(registry, "iris", Some(&state), 1, &signal));
    let stale = Signal { kind: SignalKind::RegistryStale, deployment: None, version: None, rev: 0, ..signal };
    events.push(of_signal(registry, signals::REGISTRY, None, 1, &stale));
    events
}

#[test]
fn events_are_as_they_always_were() {
    let lines: Vec<String> = derive().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let actual = lines.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events/life.jsonl");
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if actual != expected {
        let shown = std::env::temp_dir().join("weir-events-actual.jsonl");
        std::fs::write(&shown, &actual).unwrap();
        panic!("events changed: compare {path} with {}", shown.display());
    }
}

#[test]
fn every_operation_has_its_event_and_required_attributes() {
    let events = derive();
    let ops: std::collections::BTreeSet<String> =
        life().iter().flatten().map(|op| op.name().to_owned()).collect();
    assert_eq!(ops.len(), 21, "an operation is missing from the golden log");
    let mut ids = std::collections::BTreeSet::new();
    for event in &events {
        assert_eq!(event.specversion, "1.0");
        assert!(!event.id.is_empty() && ids.insert(event.id.clone()), "{}", event.id);
        assert!(event.source.starts_with("urn:weir:registry:"));
        assert!(event.kind.starts_with(TYPE_PREFIX), "{}", event.kind);
        assert!(DateTime::parse_from_rfc3339(&event.time).is_ok(), "{}", event.time);
        let value = serde_json::to_value(event).unwrap();
        for name in value.as_object().unwrap().keys() {
            // CloudEvents: attribute names are lower-case letters and digits.
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        }
        assert_eq!(serde_json::from_value::<CloudEvent>(value).unwrap(), *event);
    }
    let of_log = |event: &&CloudEvent| event.data.contains_key("op");
    let sequences: Vec<&str> = events.iter().filter(of_log).map(|event| event.sequence.as_str()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_revision_that_does_not_follow_gives_nothing() {
    let mut state = ModelState::new("iris".parse().unwrap());
    let before = state.clone();
    let revision = Revision {
        format: FORMAT,
        model: state.model.clone(),
        rev: 2,
        prev: state.head.clone(),
        commit_id: Uuid::nil(),
        time: DateTime::default(),
        actor: Actor { sub: "a".to_owned(), method: "cli".to_owned() },
        reason: String::new(),
        request_id: String::new(),
        ops: vec![Op::CreateModel { description: String::new() }],
        sig: None,
    };
    assert!(of_revision(Uuid::nil(), &mut state, &revision, "").is_err());
    assert_eq!(state, before);
}
