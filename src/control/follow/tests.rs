//! What is wanted of a state, and what is ordered when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::json;

use super::look::Fault;
use super::plan::{wanted, wanted_before};
use super::tracked::Tracked;
use super::{Command, Follow, FollowConfig, Follower, Metrics, Registry, StoreOptions};
use crate::backend::fake::FakeBackend;
use crate::control::announce::announcements;
use crate::model::Version;
use crate::registry::store::Store;
use crate::registry::{Actor, Health, ModelState, Op, Revision, leases};
use crate::serving::{DeployedModel, DeployedStatus, Engine, Manager, ManagerConfig, ModelControl, SplitKey};

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

/// What the manager says of a target at `rev`: served, or not loaded with nothing served.
fn status(rev: u64, is_served: bool) -> DeployedStatus {
    DeployedStatus {
        wanted: rev,
        served: is_served.then_some(rev),
        settled: true,
        errors: if is_served { Vec::new() } else { vec!["version 4: broken".to_owned()] },
        is_current: is_served,
        ..DeployedStatus::default()
    }
}

fn versions(order: &DeployedModel) -> Vec<u64> {
    order.versions.keys().map(|version| version.get()).collect()
}

#[test]
fn deployments_before_are_found_newest_first_without_those_that_cannot_help() {
    let ops = [
        deploy(&json!({ "1": 1 }), 60),
        deploy(&json!({ "2": 1 }), 60),
        deploy(&json!({ "4": 1 }), 60),
        deploy(&json!({ "3": 1 }), 60),
        json!({ "op": "tombstone", "version": 3 }),
        deploy(&json!({ "4": 1 }), 90),
    ];
    let known = state(&ops[..4]);
    let before = |state: &ModelState, back| {
        let found = wanted_before(state, "default", back);
        found.map(|(back, wanted)| (back, wanted.routing.main().unwrap().get(), wanted.rev))
    };
    assert_eq!(before(&known, 0), Some((0, 4, 8)));
    assert_eq!(before(&known, 1), Some((1, 2, 7)));
    assert_eq!(before(&known, 3), None);
    assert_eq!(wanted_before(&known, "staging", 0), None);
    let known = state(&ops);
    assert_eq!(before(&known, 0), Some((2, 2, 7)), "3 is deleted, and 4 is what does not load");
}

#[test]
fn where_nothing_is_served_an_earlier_deployment_is() {
    let mut house = House::new();
    let ops = [1, 2, 3, 4].map(|number| deploy(&json!({ number.to_string(): 1 }), 60));
    let newest = house.deploy(&ops, true).unwrap();
    assert_eq!((versions(&newest), newest.rev), (vec![4], 9));
    let loading = DeployedStatus { wanted: 9, ..DeployedStatus::default() };
    assert!(!house.tracked.reroute("default", Some(&loading)), "it is being loaded");
    assert!(house.tracked.reroute("default", Some(&status(9, false))));
    assert!(house.tracked.is_open(Some(&loading)));
    let order = house.order(false).unwrap();
    assert_eq!((versions(&order), order.rev), (vec![3], 8));
    assert_ne!(order.attempt, newest.attempt, "what has failed is tried again");
    assert!(house.tracked.reroute("default", Some(&status(8, false))), "nor does that one load");
    assert_eq!(versions(&house.order(false).unwrap()), [2]);
    assert!(house.tracked.reroute("default", Some(&status(7, true))));
    assert_eq!(versions(&house.order(true).unwrap()), [4], "the newest is tried once more");
    let fell_back = DeployedStatus { served: Some(7), is_current: false, ..status(9, false) };
    assert!(!house.tracked.reroute("default", Some(&fell_back)));
    let lease = house.tracked.lease(Some(&fell_back));
    assert_eq!((lease.health, lease.rev, lease.outcome(9)), (Health::Degraded, 9, Some(false)));
    assert_eq!(lease.reason, "the deployment of revision 7 is served");
    assert_eq!(lease.error.as_deref(), Some("version 4: broken"));
}

#[test]
fn an_end_is_found_when_no_deployment_loads() {
    let mut house = House::new();
    let mut ops = vec![deploy(&json!({ "1": 1 }), 60), deploy(&json!({ "4": 1 }), 60)];
    house.deploy(&ops, true).unwrap();
    assert!(house.tracked.reroute("default", Some(&status(7, false))));
    house.order(false).unwrap();
    assert!(house.tracked.reroute("default", Some(&status(6, false))));
    house.order(false).unwrap();
    assert!(!house.tracked.reroute("default", Some(&status(7, false))));
    assert_eq!(house.tracked.lease(Some(&status(7, false))).health, Health::Failed);
    // Another deployment is another chance.
    ops.push(deploy(&json!({ "3": 1 }), 60));
    house.deploy(&ops, false).unwrap();
    assert!(house.tracked.reroute("default", Some(&status(8, false))));
    assert_eq!(versions(&house.order(false).unwrap()), [4]);
}

#[test]
fn what_failed_for_a_reason_of_the_moment_is_tried_again_after_pauses_that_grow() {
    let pauses = (Duration::from_secs(10), Duration::from_secs(60));
    let mut house = House::new();
    let ops = [1, 4].map(|number| deploy(&json!({ number.to_string(): 1 }), 60));
    let first = house.deploy(&ops, true).unwrap();
    let served = DeployedStatus { served: Some(6), is_current: false, ..status(7, false) };
    let full = DeployedStatus { may_pass: true, ..served.clone() };
    let mut try_again = |after: u64, status: &DeployedStatus| {
        house.now += Duration::from_secs(after);
        house.tracked.step("default", house.now, Some(status), pauses).then(|| house.order(false).unwrap())
    };
    for after in [0, 3_600] {
        assert_eq!(try_again(after, &served), None, "it is at fault itself");
    }
    let mut attempts = vec![first.attempt];
    for pause in [10, 30, 60, 60] {
        assert_eq!(try_again(0, &full), None);
        assert_eq!(try_again(pause - 1, &full), None, "before {pause} s");
        let order = try_again(1, &full).unwrap();
        assert_eq!(versions(&order), [4]);
        attempts.push(order.attempt);
        let loading = DeployedStatus { settled: false, errors: Vec::new(), ..served.clone() };
        assert_eq!(try_again(0, &loading), None);
    }
    attempts.dedup();
    assert_eq!(attempts.len(), 5, "the manager tells the attempts apart");
    assert_eq!(try_again(3_600, &served), None, "now it is at fault itself");
    // Another deployment begins with the first pause.
    house.tracked.again.reset();
    assert!(!house.tracked.step("default", house.now, Some(&full), pauses));
    assert!(house.tracked.step("default", house.now + pauses.0, Some(&full), pauses));
}

#[test]
fn where_nothing_is_served_every_deployment_is_tried_again() {
    let pauses = (Duration::from_secs(10), Duration::from_secs(60));
    let mut house = House::new();
    let ops = [1, 4].map(|number| deploy(&json!({ number.to_string(): 1 }), 60));
    house.deploy(&ops, true).unwrap();
    let step = |house: &mut House, status: &DeployedStatus| {
        let is_due = house.tracked.step("default", house.now, Some(status), pauses);
        is_due.then(|| house.order(false).map(|order| versions(&order)))
    };
    // The newest is broken; the device has no room for the one before.
    let (broken, full) = (status(7, false), DeployedStatus { may_pass: true, ..status(6, false) });
    assert_eq!(step(&mut house, &broken), Some(Some(vec![1])));
    assert_eq!(step(&mut house, &full), Some(Some(vec![4])), "there is none before that");
    assert_eq!(step(&mut house, &broken), None, "no deployment loads");
    house.now += pauses.0;
    assert_eq!(step(&mut house, &broken), Some(Some(vec![4])), "the newest first");
    assert_eq!(step(&mut house, &broken), Some(Some(vec![1])));
    assert_eq!(
        step(&mut house, &status(6, true)),
        Some(Some(vec![4])),
        "there is room now: the newest once more"
    );
    let fell_back = DeployedStatus { served: Some(6), is_current: false, ..broken };
    house.now += pauses.1 * 10;
    assert_eq!(step(&mut house, &fell_back), None, "it is at fault itself");
}

#[test]
fn a_log_that_went_back_is_named_by_what_is_missing() {
    let known = state(&[deploy(&json!({ "1": 1 }), 60)]);
    let shorter = state(&[]);
    assert_eq!(Fault::went_back(&known, &known), None);
    assert_eq!(Fault::went_back(&shorter, &known), None);
    assert_eq!(Fault::went_back(&known, &shorter).unwrap().rev, 6);
    let other = ModelState { head: "another".to_owned(), ..known.clone() };
    assert_eq!(Fault::went_back(&known, &other).unwrap().rev, 6);
}

/// A follower of a new registry in `folder`, of a server that serves nothing.
async fn follower(folder: &Path) -> Arc<Follower> {
    let place = folder.join("registry");
    let location = place.display().to_string();
    let store = StoreOptions::default();
    Registry::open(Store::open(&location, &store).unwrap()).await.unwrap();
    let metrics = Metrics::new();
    let engine = Arc::new(Engine::new(&metrics).unwrap());
    let config = ManagerConfig { control: ModelControl::None, ..ManagerConfig::default() };
    let manager = Manager::start(config, Arc::new(FakeBackend::new()), Arc::clone(&engine)).unwrap();
    let config = FollowConfig {
        location,
        store,
        deployment: "default".to_owned(),
        poll_interval: Duration::from_secs(3_600),
        cache_folder: folder.join("cache"),
        cache_bytes_max: 1 << 20,
        replica: "r".to_owned(),
        url: "http://127.0.0.1:1".to_owned(),
        signer: None,
        announcer: announcements().0,
    };
    Follower::start(config, manager, engine, &metrics).unwrap()
}

#[tokio::test]
async fn a_follower_that_panics_looks_at_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let follower = follower(folder.path()).await;
    follower.caught_up().await;
    follower.refresh().await.unwrap();
    let registry = follower.reached().await;
    follower.commands.send(Command::Break).await.unwrap();
    // It looks without being told to, and its lease is still written.
    let before = Instant::now();
    while *follower.shared.seen.lock() < before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    leases::remove(registry.store(), "r").await.unwrap();
    while leases::read_all(registry.store()).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    follower.stop().await;
}
