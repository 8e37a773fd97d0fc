//! What is wanted of a state, and what is ordered when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::json;

use super::plan::wanted;
use super::tracked::Tracked;
use crate::model::Version;
use crate::registry::{Actor, Health, ModelState, Op, Revision};
use crate::serving::{DeployedModel, DeployedStatus, SplitKey};

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// A model with versions 1 to 4, and `ops` after them, one revision each.
fn state(ops: &[serde_json::Value]) -> ModelState {
    let record = json!({
        "files": [{ "path": "model.onnx", "sha256": "0".repeat(64), "size": 1 }],
        "model_file": "model.onnx", "digest": "", "source": "", "inputs": [], "outputs": [],
        "onnx": { "ir_version": 8, "opsets": {}, "producer": "", "operators": {}, "parameters": 0 },
        "validation": { "onnxruntime": "", "load_us": 0, "memory_bytes": 0, "batching": "" },
    });
    let mut all = vec![json!({ "op": "create_model", "description": "" })];
    all.extend(
        (1..=4).map(|version| json!({ "op": "create_version", "version": version, "record": record })),
    );
    all.extend(ops.iter().cloned());
    let mut state = ModelState::new("m".parse().unwrap());
    for op in all {
        let op: Op = serde_json::from_value(op).unwrap();
        let revision = Revision {
            format: 1,
            model: state.model.clone(),
            rev: state.rev + 1,
            prev: state.head.clone(),
            commit_id: uuid::Uuid::now_v7(),
            time: Utc::now(),
            actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
            reason: "because".to_owned(),
            request_id: String::new(),
            ops: vec![op],
            sig: None,
        };
        let hash = format!("{:064}", state.rev);
        state.apply(&revision, &hash).unwrap();
    }
    state
}

fn deploy(traffic: &serde_json::Value, window_s: u64) -> serde_json::Value {
    let spec = json!({ "traffic": traffic, "sticky": { "header": "x-user" }, "rollback_window_s": window_s });
    json!({ "op": "deploy", "deployment": "default", "spec": spec })
}

#[test]
fn a_deployment_wants_its_traffic_and_every_alias() {
    let alias = json!({ "op": "set_alias", "alias": "challenger", "version": 3 });
    let known = state(&[alias.clone(), deploy(&json!({ "1": 90, "2": 10 }), 60)]);
    assert_eq!(wanted(&known, "staging"), None);
    let found = wanted(&known, "default").unwrap();
    assert_eq!(found.versions, [v(1), v(2), v(3)].into());
    assert_eq!(found.routing.key, SplitKey::Header("x-user".into()));
    assert_eq!((found.rev, found.origin.as_str()), (7, "deployment default@rev 7"));
    let tag = json!({ "op": "set_tag", "version": 1, "key": "a", "value": "b" });
    let tagged = state(&[alias, deploy(&json!({ "1": 90, "2": 10 }), 60), tag]);
    assert_eq!(wanted(&tagged, "default").unwrap(), found, "a tag changes nothing that is served");
    let gone = state(&[deploy(&json!({ "1": 1 }), 60), json!({ "op": "undeploy", "deployment": "default" })]);
    assert_eq!(wanted(&gone, "default"), None);
    let deleted = state(&[deploy(&json!({ "1": 1 }), 60), json!({ "op": "tombstone" })]);
    assert_eq!(wanted(&deleted, "default"), None);
}

/// A follower's knowledge of one model, with every file there.
struct House {
    tracked: Tracked,
    now: Instant,
}

impl House {
    fn new() -> House {
        House { tracked: Tracked::new(Arc::new(state(&[])), false), now: Instant::now() }
    }

    fn deploy(&mut self, ops: &[serde_json::Value], is_switched: bool) -> Option<DeployedModel> {
        self.tracked.state = Arc::new(state(ops));
        self.tracked.plan("default");
        self.order(is_switched)
    }

    fn order(&mut self, is_switched: bool) -> Option<DeployedModel> {
        self.tracked.order(self.now, is_switched, 0, |version| Some(PathBuf::from(version.to_string())))
    }
}

fn kept(order: &DeployedModel) -> Vec<u64> {
    order.keep.iter().map(|(version, _)| version.get()).collect()
}

#[test]
fn what_is_replaced_is_kept_for_the_window_that_begins_with_the_switch() {
    let mut house = House::new();
    let first = deploy(&json!({ "1": 1 }), 60);
    let order = house.deploy(std::slice::from_ref(&first), true).unwrap();
    assert!(kept(&order).is_empty());
    assert_eq!(house.order(true), None, "the manager knows");
    let second = [first, deploy(&json!({ "2": 1 }), 60)];
    assert_eq!(kept(&house.deploy(&second, true).unwrap()), [1]);
    // The second one loads for longer than the window.
    house.now += Duration::from_secs(100);
    assert_eq!(house.order(false), None);
    house.now += Duration::from_secs(59);
    assert_eq!(house.order(true), None, "it was switched a moment ago");
    house.now += Duration::from_secs(2);
    assert!(kept(&house.order(true).unwrap()).is_empty());
}

#[test]
fn a_rollback_takes_what_was_kept_and_keeps_what_it_replaces() {
    let mut house = House::new();
    let mut ops = vec![deploy(&json!({ "1": 1 }), 60)];
    house.deploy(&ops, true).unwrap();
    for (next, expected) in [(2, vec![1]), (1, vec![2]), (3, vec![2, 1]), (4, vec![2, 1, 3])] {
        ops.push(deploy(&json!({ next.to_string(): 1 }), 60));
        let order = house.deploy(&ops, true).unwrap();
        assert_eq!(kept(&order), expected, "after {next}");
        assert!(order.versions.contains_key(&v(next)));
    }
    ops.push(json!({ "op": "undeploy", "deployment": "default" }));
    assert_eq!(house.deploy(&ops, true), None);
    ops.push(deploy(&json!({ "1": 1 }), 60));
    assert!(kept(&house.deploy(&ops, true).unwrap()).is_empty(), "an end is an end");
}

#[test]
fn nothing_is_ordered_before_the_files_of_the_traffic_are_there() {
    let mut house = House::new();
    let alias = json!({ "op": "set_alias", "alias": "champion", "version": 2 });
    house.tracked.state = Arc::new(state(&[alias, deploy(&json!({ "1": 1 }), 60)]));
    assert!(house.tracked.plan("default"));
    let here = |there: &'static [u64]| {
        move |version: Version| there.contains(&version.get()).then(|| PathBuf::from("x"))
    };
    assert_eq!(house.tracked.order(house.now, true, 0, here(&[2])), None);
    assert!(house.tracked.needs_fetch(house.now, |version| version == v(2)));
    let order = house.tracked.order(house.now, true, 0, here(&[1])).unwrap();
    assert_eq!(order.versions.keys().copied().collect::<Vec<_>>(), [v(1)], "the alias follows later");
    let fetch = house.tracked.begin_fetch();
    assert!(!house.tracked.needs_fetch(house.now, |_| false));
    let errors = BTreeMap::from([(v(2), "gone".to_owned())]);
    assert!(!house.tracked.end_fetch(fetch + 1, errors.clone(), house.now));
    assert!(house.tracked.end_fetch(fetch, errors, house.now));
    assert!(!house.tracked.needs_fetch(house.now, |_| false), "not at once");
    assert!(house.tracked.needs_fetch(house.now + Duration::from_secs(5), |_| false));
    let status =
        DeployedStatus { served: Some(7), settled: true, is_current: true, ..DeployedStatus::default() };
    let lease = house.tracked.lease(Some(&status));
    assert_eq!((lease.health, lease.error.as_deref()), (Health::Degraded, Some("version 2: gone")));
    house.tracked.errors.clear();
    let lease = house.tracked.lease(Some(&status));
    assert_eq!((lease.health, lease.rev, lease.outcome(7)), (Health::Ok, 7, Some(true)));
}
