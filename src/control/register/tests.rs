//! Registrations with a trial that only says what it is told to.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::{Dim, Signature, TensorSpec};
use crate::registry::package::{Choice, Limits, folder};
use crate::registry::revision::Actor;
use crate::registry::store::Store;
use crate::tensor::DataType;

/// Refuses what begins with `kills`.
#[derive(Debug)]
pub(crate) struct FakeTrial;

impl Validate for FakeTrial {
    fn validate(&self, candidate: &Candidate) -> Result<Trial, TrialError> {
        let content =
            std::fs::read(&candidate.file).map_err(|error| TrialError::Unable(error.to_string()))?;
        if content.starts_with(b"kills") {
            return Err(TrialError::Refused { reason: "it was killed by SIGFPE while loading".to_owned() });
        }
        let spec = TensorSpec {
            name: "x".into(),
            dtype: DataType::Fp32,
            shape: Some(vec![Dim::Dynamic(None)]),
            optional: false,
        };
        Ok(Trial {
            facts: Default::default(),
            signature: Signature { inputs: vec![spec.clone()], outputs: vec![spec] },
            runtime: "test".to_owned(),
            load: Duration::from_millis(3),
            peak_bytes: 5,
            batching: "no batch axis".to_owned(),
            sample: Ok((candidate.sample.clone().unwrap_or_default(), Vec::new())),
            warnings: Vec::new(),
        })
    }
}

fn validator() -> Arc<dyn Validate> {
    Arc::new(FakeTrial)
}

async fn registry() -> Registry {
    Registry::open(Store::memory()).await.unwrap()
}

fn registration(model: &str) -> Registration {
    Registration {
        model: model.parse().unwrap(),
        intent: Intent {
            actor: Actor { sub: "ada@desk".to_owned(), method: "cli".to_owned() },
            reason: String::new(),
            request_id: String::new(),
            if_match: None,
        },
        description: None,
        tags: BTreeMap::new(),
        properties: BTreeMap::new(),
        metrics: BTreeMap::new(),
        datasets: BTreeMap::new(),
        run: None,
        derived_from: Vec::new(),
        git: None,
        alias: None,
        proposal: Uuid::nil(),
        idempotency_key: None,
        force_new: false,
        sample: None,
    }
}

fn package(folder: &Path, content: &str) -> Package {
    let path = folder.join(format!("{}.onnx", Uuid::now_v7()));
    std::fs::write(&path, content).unwrap();
    // One name for all, so that equal content means an equal package.
    let home = folder.join(Uuid::now_v7().to_string());
    std::fs::create_dir(&home).unwrap();
    std::fs::rename(&path, home.join("model.onnx")).unwrap();
    folder::read(&home, "test", Choice::Newest, Limits::default()).unwrap().remove(0)
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

#[tokio::test]
async fn sixty_four_at_once_get_contiguous_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(registry().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let package = package(folder.path(), &format!("model {number}"));
        let registry = Arc::clone(&registry);
        tasks.spawn(async move { register(&registry, &validator(), &package, &registration("m")).await });
    }
    let mut numbers = BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        let done = done.unwrap().unwrap();
        assert!(done.created);
        numbers.insert(done.version.get());
    }
    assert_eq!(numbers, (1..=64).collect());
}

#[tokio::test]
async fn a_retry_finds_what_the_first_try_made() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry().await;
    let (a, b) = (package(folder.path(), "a"), package(folder.path(), "b"));
    let keyed = Registration { idempotency_key: Some("k".to_owned()), ..registration("m") };
    let first = register(&registry, &validator(), &a, &keyed).await.unwrap();
    assert_eq!((first.version, first.created), (version(1), true));
    let again = register(&registry, &validator(), &a, &keyed).await.unwrap();
    assert_eq!((again.version, again.created, again.rev), (version(1), false, first.rev));
    let other = register(&registry, &validator(), &b, &keyed).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other}");
    let same = register(&registry, &validator(), &a, &registration("m")).await.unwrap();
    assert_eq!((same.version, same.created), (version(1), false));
    let forced = Registration { force_new: true, ..registration("m") };
    let forced = register(&registry, &validator(), &a, &forced).await.unwrap();
    assert_eq!((forced.version, forced.created), (version(2), true));
}

#[tokio::test]
async fn a_refusal_is_written_down_and_uses_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry().await;
    let killer = package(folder.path(), "kills");
    let error = register(&registry, &validator(), &killer, &registration("m")).await.unwrap_err();
    let RegisterError::Rejected { reason, rev: Some(1) } = error else { panic!("{error:?}") };
    assert!(reason.contains("SIGFPE"));
    let good = package(folder.path(), "good");
    let made = register(&registry, &validator(), &good, &registration("m")).await.unwrap();
    assert_eq!((made.version, made.rev), (version(1), 2));
}

#[tokio::test]
async fn parents_in_other_models_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry().await;
    let parent = package(folder.path(), "parent");
    register(&registry, &validator(), &parent, &registration("base")).await.unwrap();
    let from = ModelRef { model: "base".parse().unwrap(), version: version(1) };
    let child = package(folder.path(), "child");
    let tuned = Registration { derived_from: vec![from.clone()], ..registration("tuned") };
    register(&registry, &validator(), &child, &tuned).await.unwrap();
    let state = registry.state(&from.model).await.unwrap();
    assert_eq!(state.holders(version(1)), ["lineage of tuned@1"]);
    // A registration that is refused at the last moment lets go again.
    let late = Intent { if_match: Some(99), ..tuned.intent.clone() };
    let late = Registration { intent: late, ..tuned.clone() };
    let third = package(folder.path(), "third");
    let error = register(&registry, &validator(), &third, &late).await.unwrap_err();
    assert_eq!(error.code(), Code::Stale, "{error}");
    let missing = ModelRef { version: version(9), ..from.clone() };
    let orphan = Registration { derived_from: vec![missing], ..tuned.clone() };
    let error = register(&registry, &validator(), &third, &orphan).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    let state = registry.state(&from.model).await.unwrap();
    assert_eq!(state.holders(version(1)), ["lineage of tuned@1"]);
}

#[tokio::test]
async fn what_is_given_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry().await;
    let mut package = package(folder.path(), "x");
    package.capture.tags =
        BTreeMap::from([("a".to_owned(), "source".to_owned()), ("b".to_owned(), "1".to_owned())]);
    package.capture.run = Some("run-1".to_owned());
    let mut given = registration("m");
    given.tags = BTreeMap::from([("a".to_owned(), "mine".to_owned())]);
    given.metrics = BTreeMap::from([("auc".to_owned(), 0.9)]);
    given.alias = Some("champion".to_owned());
    given.sample = Some(serde_json::json!([1, 2]));
    let error = register(&registry, &validator(), &package, &given).await.unwrap_err();
    assert!(error.to_string().contains("an alias needs a reason"), "{error}");
    given.intent.reason = "first".to_owned();
    let made = register(&registry, &validator(), &package, &given).await.unwrap();
    let state = registry.state(&given.model).await.unwrap();
    let kept = &state.versions[&made.version];
    assert_eq!(kept.tags["a"], "mine");
    assert_eq!(kept.tags["b"], "1");
    assert_eq!(kept.record.run.as_deref(), Some("run-1"));
    assert_eq!(kept.metrics["auc"], 0.9);
    assert_eq!(state.resolve("champion").unwrap(), made.version);
    let golden = kept.record.validation.golden.as_ref().unwrap();
    let bytes = registry.store().get(&blobs::blob_key(&golden.sha256)).await.unwrap().unwrap();
    assert_eq!(super::super::golden::Golden::from_json(&bytes).unwrap().inputs[0].shape().dims(), [2]);
    let wrong = Registration { tags: BTreeMap::from([("bad key".to_owned(), String::new())]), ..given };
    let error = register(&registry, &validator(), &package, &wrong).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}
