//! The rules, on a registry in memory: what each plan writes, what it refuses, and that "unchanged" writes nothing.

use std::collections::BTreeMap;

use serde_json::json;

use super::deploy::SpecChange;
use super::*;
use crate::error::{Code, Coded};
use crate::model::Version;
use crate::registry::record::{ModelRef, StickyKey, VersionRecord};
use crate::registry::{Actor, FileRef, Store};

/// A record of a version that nobody loads.
fn record(derived_from: &[(&str, u64)]) -> VersionRecord {
    let parent =
        |(model, version): &(&str, u64)| ModelRef { model: model.parse().unwrap(), version: v(*version) };
    let file = FileRef { path: "model.onnx".to_owned(), sha256: "0".repeat(64), size: 1 };
    VersionRecord {
        derived_from: derived_from.iter().map(parent).collect(),
        ..crate::registry::sample::record(vec![file])
    }
}

fn intent(sub: &str) -> Intent {
    let actor = Actor { sub: sub.to_owned(), method: "cli".to_owned() };
    Intent { actor, reason: "a test".to_owned(), request_id: String::new(), if_match: None }
}

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// One model `m` with three versions; the third is made from the second.
struct Rig {
    registry: Registry,
    model: ModelName,
}

impl Rig {
    async fn new() -> Rig {
        let registry = Registry::open(Store::memory()).await.unwrap();
        let rig = Rig { registry, model: "m".parse().unwrap() };
        let create = |version: u64, from: &[(&str, u64)]| Op::CreateVersion {
            version: v(version),
            record: Box::new(record(from)),
        };
        let made = rig
            .change("a", |_| {
                let model = Op::CreateModel { description: String::new() };
                Ok(vec![model, create(1, &[]), create(2, &[]), create(3, &[("m", 2)])])
            })
            .await;
        assert_eq!(made.unwrap().rev, 1);
        rig
    }

    async fn change<P>(&self, sub: &str, plan: P) -> Result<Change, RegistryError>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        change(&self.registry, &self.model, &intent(sub), plan).await
    }

    async fn deploy(&self, version: &str) -> Change {
        let change = SpecChange::default();
        self.change("a", |state| deploy::deploy(state, "default", version, &change)).await.unwrap()
    }

    async fn refused<P>(&self, sub: &str, plan: P) -> (Code, String)
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        let before = self.registry.state(&self.model).await.unwrap().rev;
        let error = self.change(sub, plan).await.unwrap_err();
        assert_eq!(self.registry.state(&self.model).await.unwrap().rev, before, "something was written");
        (error.code(), error.to_string())
    }
}

fn serves(state: &ModelState, deployment: &str) -> Vec<(u64, u32)> {
    state.deployments[deployment]
        .spec
        .traffic
        .iter()
        .map(|(version, weight)| (version.get(), *weight))
        .collect()
}

#[tokio::test]
async fn a_deployment_goes_forward_and_back() {
    let rig = Rig::new().await;
    assert_eq!(rig.deploy("1").await.rev, 2);
    assert!(!rig.deploy("1").await.is_made(), "the same again is no revision");
    let shares = deploy::parse_shares(&["1=90%".to_owned(), "2=10%".to_owned()]).unwrap();
    let split = rig.change("a", |state| deploy::traffic(state, "default", &shares, None)).await.unwrap();
    assert_eq!(serves(&split.state, "default"), [(1, 90), (2, 10)]);
    assert_eq!(rig.deploy("2").await.rev, 4);
    let back = rig.change("a", |state| deploy::rollback(state, "default", None)).await.unwrap();
    assert_eq!(serves(&back.state, "default"), [(1, 90), (2, 10)]);
    let first = rig.change("a", |state| deploy::rollback(state, "default", Some(2))).await.unwrap();
    assert_eq!(serves(&first.state, "default"), [(1, 100)]);
    assert!(matches!(first.ops[..], [Op::Deploy { rollback_to: Some(2), .. }]));
    let (code, text) = rig.refused("a", |state| deploy::rollback(state, "default", Some(1))).await;
    assert_eq!((code, text.contains("at revision 1")), (Code::NotFound, true), "{text}");
    let gone = rig.change("a", |state| deploy::undeploy(state, "default")).await.unwrap();
    assert!(gone.state.deployments.is_empty());
    let (code, _) = rig.refused("a", |state| deploy::rollback(state, "default", None)).await;
    assert_eq!(code, Code::NotFound);
}

#[tokio::test]
async fn settings_stay_with_the_deployment() {
    let rig = Rig::new().await;
    let with = |key: &str, value: serde_json::Value| SpecChange {
        settings: BTreeMap::from([(key.to_owned(), Some(value))]),
        ..SpecChange::default()
    };
    for (key, value, expected) in [
        ("max_batch_sise", json!(1), "did you mean \"max_batch_size\"?"),
        ("max_batch_size", json!(-1), "max_batch_size"),
        ("queue.delay", json!("1 parsec"), "expected a duration"),
        ("model_file", json!("x"), "unknown setting"),
        ("queue.size", json!(null), "queue.size"),
    ] {
        let change = with(key, value);
        let (code, text) = rig.refused("a", |state| deploy::deploy(state, "default", "1", &change)).await;
        assert_eq!((code, text.contains(expected)), (Code::InvalidArgument, true), "{text}");
    }
    let mut change = with("max_batch_size", json!(16));
    change.settings.insert("runtime.session".to_owned(), Some(json!({"session.x\"\u{7f}": "1\n"})));
    change.sticky = Some(deploy::parse_sticky("header:X-User").unwrap());
    rig.change("a", |state| deploy::deploy(state, "default", "1", &change)).await.unwrap();
    let next = rig.deploy("2").await;
    let spec = &next.state.deployments["default"].spec;
    assert_eq!(spec.settings["max_batch_size"], 16);
    assert_eq!(spec.sticky, StickyKey::Header("x-user".to_owned()));
    let clone = rig.change("a", |state| deploy::clone(state, "default", "staging")).await.unwrap();
    assert_eq!(diff::specs(spec, &clone.state.deployments["staging"].spec), []);
    let unset =
        SpecChange { settings: BTreeMap::from([("max_batch_size".to_owned(), None)]), ..Default::default() };
    let last = rig.change("a", |state| deploy::deploy(state, "staging", "1", &unset)).await.unwrap();
    let differences = diff::specs(spec, &last.state.deployments["staging"].spec);
    let fields: Vec<&str> = differences.iter().map(|found| found.field.as_str()).collect();
    assert_eq!(fields, ["traffic.1", "traffic.2", "settings.max_batch_size"]);
    assert_eq!(diff::specs(diff::select(&last.state, "default@2").unwrap(), spec).len(), 2);
}

#[test]
fn shares_are_read_or_refused() {
    let check = |texts: &[&str], expected: Result<&[(&str, u32)], &str>| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        match (deploy::parse_shares(&texts), expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<(&str, u32)> =
                    found.iter().map(|(name, share)| (name.as_str(), *share)).collect();
                assert_eq!(found, expected);
            }
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{texts:?}: {found:?}, expected {expected:?}"),
        }
    };
    check(&["1=90", "champion=10"], Ok(&[("1", 90), ("champion", 10)]));
    check(&["1=90%", "2=10%"], Ok(&[("1", 90), ("2", 10)]));
    check(&["1=90%", "2=20%"], Err("sum to 110"));
    check(&["1=90%", "2=10"], Err("every share as a percentage"));
    for wrong in ["1", "1=", "1=-1", "1=+1", "1=x", "1=4294967296", "\u{1b}[2J"] {
        check(&[wrong], Err("expected VERSION=WEIGHT"));
    }
}

#[tokio::test]
async fn splits_have_rules() {
    let rig = Rig::new().await;
    let split = |shares: &[(&str, u32)]| -> Vec<(String, u32)> {
        shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
    };
    let (code, _) =
        rig.refused("a", |state| deploy::traffic(state, "default", &split(&[("1", 1)]), None)).await;
    assert_eq!(code, Code::NotFound, "there is no deployment yet");
    rig.deploy("1").await;
    rig.change("a", |state| alias::set(state, "champion", "1")).await.unwrap();
    for (shares, expected) in [
        (split(&[("1", 0)]), Code::InvalidArgument),
        (split(&[]), Code::InvalidArgument),
        (split(&[("1", 1_000_000), ("2", 1)]), Code::InvalidArgument),
        (split(&[("1", 50), ("champion", 50)]), Code::InvalidArgument),
        (split(&[("1", 50), ("9", 50)]), Code::NotFound),
    ] {
        let (code, text) = rig.refused("a", |state| deploy::traffic(state, "default", &shares, None)).await;
        assert_eq!(code, expected, "{shares:?}: {text}");
    }
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let rig = Rig::new().await;
    rig.deploy("1").await;
    rig.change("a", |state| alias::set(state, "champion", "1")).await.unwrap();
    rig.change("a", |state| deploy::clone(state, "default", "staging")).await.unwrap();
    let profile = FileRef { path: "baseline.json".to_owned(), sha256: "0".repeat(64), size: 1 };
    rig.change("a", |state| annotate::baseline(state, "1", Some(&profile))).await.unwrap();
    rig.change("a", |state| delete::hold(state, v(1), "other@7")).await.unwrap();
    let (code, text) = rig.refused("a", |state| delete::version(state, v(1))).await;
    assert_eq!(code, Code::Conflict);
    for holder in ["deployment 'default'", "deployment 'staging'", "alias 'champion'", "baseline", "other@7"]
    {
        assert!(text.contains(holder), "{text}");
    }
    let (_, text) = rig.refused("a", |state| delete::version(state, v(2))).await;
    assert!(text.ends_with("is in use: lineage of m@3"), "{text}");
    let (_, text) = rig.refused("a", delete::model).await;
    assert!(text.contains("deployment 'staging'") && text.contains("lineage of other@7"), "{text}");

    for version in [3, 2] {
        rig.change("a", |state| delete::version(state, v(version))).await.unwrap();
        assert!(!rig.change("a", |state| delete::version(state, v(version))).await.unwrap().is_made());
    }
    let (code, text) = rig.refused("a", |state| delete::undelete_version(state, v(3))).await;
    assert_eq!((code, text.contains("made from version 2")), (Code::Conflict, true), "{text}");
    let (code, _) = rig.refused("a", |state| alias::set(state, "old", "2")).await;
    assert_eq!(code, Code::NotFound);
    rig.change("a", |state| delete::undelete_version(state, v(2))).await.unwrap();
    rig.change("a", |state| delete::undelete_version(state, v(3))).await.unwrap();
}

#[tokio::test]
async fn a_deleted_model_refuses_everything_but_undelete() {
    let rig = Rig::new().await;
    rig.change("a", delete::model).await.unwrap();
    let (code, text) =
        rig.refused("a", |state| deploy::deploy(state, "default", "1", &SpecChange::default())).await;
    assert_eq!((code, text.as_str()), (Code::NotFound, "model 'm' is deleted"));
    rig.change("a", delete::undelete_model).await.unwrap();
    rig.deploy("1").await;
}

#[tokio::test]
async fn a_version_that_was_served_and_deleted_is_not_rolled_back_to() {
    let rig = Rig::new().await;
    rig.deploy("1").await;
    rig.deploy("2").await;
    rig.change("a", |state| delete::version(state, v(1))).await.unwrap();
    let (code, text) = rig.refused("a", |state| deploy::rollback(state, "default", None)).await;
    assert_eq!((code, text.contains("undelete it first")), (Code::Conflict, true), "{text}");
}

#[tokio::test]
async fn a_second_person_approves() {
    let rig = Rig::new().await;
    rig.deploy("1").await;
    rig.change("a", |state| approval::policy(state, 1)).await.unwrap();
    let proposed = rig.deploy("2").await;
    assert_eq!(serves(&proposed.state, "default"), [(1, 100)]);
    let id = proposed.proposal().unwrap();
    let actor = |sub: &str| intent(sub).actor;
    let (code, _) = rig.refused("a", |state| approval::approve(state, &actor("a"), id)).await;
    assert_eq!(code, Code::PermissionDenied);
    let tagged = BTreeMap::from([("k".to_owned(), "1".to_owned())]);
    assert!(
        rig.change("a", |state| annotate::tag(state, "2", &tagged, &[])).await.unwrap().proposal().is_none()
    );
    let approved = rig.change("b", |state| approval::approve(state, &actor("b"), id)).await.unwrap();
    assert_eq!(serves(&approved.state, "default"), [(2, 100)]);
    assert!(matches!(approved.ops[..], [Op::Approve { .. }, Op::Deploy { .. }]));
    let (code, _) = rig.refused("b", |state| approval::approve(state, &actor("b"), id)).await;
    assert_eq!(code, Code::NotFound);
    assert!(rig.change("a", |state| approval::policy(state, 0)).await.unwrap().proposal().is_some());
    let back = rig.change("a", |state| deploy::rollback(state, "default", None)).await.unwrap();
    assert_eq!(serves(&back.state, "default"), [(1, 100)], "a rollback waits for nobody");
}

#[tokio::test]
async fn an_approval_checks_the_rules_again() {
    let rig = Rig::new().await;
    rig.deploy("1").await;
    rig.change("a", |state| approval::policy(state, 1)).await.unwrap();
    let id = rig.deploy("3").await.proposal().unwrap();
    rig.change("a", |state| delete::version(state, v(3))).await.unwrap();
    let approver = intent("b").actor;
    let (code, _) = rig.refused("b", |state| approval::approve(state, &approver, id)).await;
    assert_eq!(code, Code::NotFound);
    let withdrawn = rig.change("b", |state| approval::withdraw(state, id)).await.unwrap();
    assert!(withdrawn.state.proposals.is_empty());
}

#[tokio::test]
async fn annotations_are_bounded_and_properties_written_once() {
    let rig = Rig::new().await;
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    for (key, value) in
        [("", "x"), ("a b", "x"), (".a", "x"), ("ä", "x"), ("k", "\u{1b}[2J"), ("k", &"x".repeat(4097))]
    {
        let tags = one(key, value);
        let (code, text) = rig.refused("a", |state| annotate::tag(state, "1", &tags, &[])).await;
        assert_eq!(code, Code::InvalidArgument, "{key:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let many: BTreeMap<String, String> = (0..65).map(|at| (format!("k{at}"), String::new())).collect();
    let (_, text) = rig.refused("a", |state| annotate::tag(state, "", &many, &[])).await;
    assert!(text.contains("65 tags, and 64 are allowed"), "{text}");
    rig.change("a", |state| annotate::tag(state, "", &one("k", "1"), &[])).await.unwrap();
    let swapped = rig.change("a", |state| annotate::tag(state, "", &one("l", "1"), &["k".to_owned()])).await;
    assert_eq!(swapped.unwrap().state.tags, one("l", "1"));

    rig.change("a", |state| annotate::properties(state, "1", &one("p", "1"))).await.unwrap();
    assert!(
        !rig.change("a", |state| annotate::properties(state, "1", &one("p", "1"))).await.unwrap().is_made()
    );
    let (code, _) = rig.refused("a", |state| annotate::properties(state, "1", &one("p", "2"))).await;
    assert_eq!(code, Code::AlreadyExists);

    for value in [f64::NAN, f64::INFINITY] {
        let metrics = BTreeMap::from([("auc".to_owned(), value)]);
        let (code, _) = rig.refused("a", |state| annotate::describe(state, "1", None, &metrics)).await;
        assert_eq!(code, Code::InvalidArgument);
    }
    let metrics = BTreeMap::from([("auc".to_owned(), 0.9)]);
    let described =
        rig.change("a", |state| annotate::describe(state, "1", Some("good"), &metrics)).await.unwrap();
    assert_eq!(described.state.versions[&v(1)].metrics["auc"], 0.9);
    assert!(
        !rig.change("a", |state| annotate::describe(state, "1", Some("good"), &metrics))
            .await
            .unwrap()
            .is_made()
    );
}

#[tokio::test]
async fn names_from_outside_are_refused_or_escaped() {
    let rig = Rig::new().await;
    for name in ["", "1", "Champion", "a b", "../x", "ä", "\u{1b}[2J", &"a".repeat(65)] {
        let (code, text) = rig.refused("a", |state| alias::set(state, name, "1")).await;
        assert_eq!(code, Code::InvalidArgument, "{name:?}");
        assert!(!text.contains('\u{1b}'));
        let (code, _) =
            rig.refused("a", |state| deploy::deploy(state, name, "1", &SpecChange::default())).await;
        assert_eq!(code, Code::InvalidArgument, "{name:?}");
        let (code, text) = rig.refused("a", |state| deploy::undeploy(state, name)).await;
        assert_eq!((code, text.contains('\u{1b}')), (Code::NotFound, false), "{name:?}");
    }
    for version in ["9", "no", "\u{1b}[2J"] {
        let (code, text) =
            rig.refused("a", |state| deploy::deploy(state, "default", version, &SpecChange::default())).await;
        assert_eq!((code, text.contains('\u{1b}')), (Code::NotFound, false));
    }
}
