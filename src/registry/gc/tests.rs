//! Collection against registrations, deletions and replicas, in the orders that could hurt.

use std::sync::Arc;

use super::super::blobs::{self, Content};
use super::super::op::Op;
use super::super::record::FileRef;
use super::super::sample;
use super::super::store::{Store, StoreOptions};
use super::*;
use crate::model::{ModelName, Version};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn registry() -> Registry {
    Registry::open(Store::memory()).await.unwrap()
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

async fn put(registry: &Registry, content: &str) -> FileRef {
    blobs::put_bytes(registry.store(), "m.onnx", Bytes::from(content.to_owned())).await.unwrap()
}

/// Registers a version that has `file`, without touching it after the commit.
async fn commit_version(registry: &Registry, model: &str, file: &FileRef) -> Version {
    let file = file.clone();
    let plan = |state: &super::super::ModelState| {
        let version = state.next_version().unwrap();
        let record = Box::new(sample::record(vec![file.clone()]));
        let mut ops = vec![Op::CreateVersion { version, record }];
        if state.created.is_none() {
            ops.insert(0, Op::CreateModel { description: String::new() });
        }
        Ok(ops)
    };
    let commit = registry.commit(&name(model), &sample::intent(), plan).await.unwrap();
    *commit.state.versions.keys().next_back().unwrap()
}

async fn delete_version(registry: &Registry, model: &str, version: Version) {
    let plan = |_: &super::super::ModelState| Ok(vec![Op::Tombstone { version: Some(version) }]);
    registry.commit(&name(model), &sample::intent(), plan).await.unwrap();
}

fn options(grace: Duration) -> GcOptions {
    GcOptions { grace, dry_run: false }
}

async fn is_there(registry: &Registry, file: &FileRef) -> bool {
    blobs::exists(registry.store(), file).await.unwrap()
}

#[tokio::test]
async fn what_nobody_names_goes_after_the_grace() {
    let registry = registry().await;
    let (used, unused) = (put(&registry, "used").await, put(&registry, "unused").await);
    commit_version(&registry, "m", &used).await;
    let soon = collect(&registry, &options(GRACE), Utc::now()).await.unwrap();
    assert_eq!(soon, GcReport { live: 1, young: 1, ..GcReport::default() });
    let later = Utc::now() + 8 * DAY;
    let dry = GcOptions { grace: GRACE, dry_run: true };
    let would = collect(&registry, &dry, later).await.unwrap();
    assert_eq!(would.freed, [(unused.sha256.clone(), 6)]);
    assert!(is_there(&registry, &unused).await, "a dry run deletes nothing");
    let did = collect(&registry, &options(GRACE), later).await.unwrap();
    assert_eq!(did, would);
    assert_eq!(did.freed_bytes(), 6);
    assert!(!is_there(&registry, &unused).await && is_there(&registry, &used).await);
    let intents: Vec<_> =
        registry.store().raw().list(Some(&Path::from(INTENTS))).try_collect().await.unwrap();
    assert!(intents.is_empty(), "the intent is taken back: {intents:?}");
}

#[tokio::test]
async fn a_deleted_version_keeps_its_files_for_the_grace() {
    let registry = registry().await;
    let file = put(&registry, "v1").await;
    let one = commit_version(&registry, "m", &file).await;
    delete_version(&registry, "m", one).await;
    collect(&registry, &options(GRACE), Utc::now() + 6 * DAY).await.unwrap();
    assert!(is_there(&registry, &file).await);
    let report = collect(&registry, &options(GRACE), Utc::now() + 8 * DAY).await.unwrap();
    assert_eq!(report.freed.len(), 1);
}

#[tokio::test]
async fn what_a_slow_replica_has_loaded_stays() {
    let registry = registry().await;
    let file = put(&registry, "v1").await;
    let one = commit_version(&registry, "m", &file).await;
    delete_version(&registry, "m", one).await;
    let deleted = registry.state(&name("m")).await.unwrap().versions[&one].deleted.clone().unwrap().time;
    let lease = r#"{"replica": "r", "models": {"m": {"rev": 1, "loaded": {"1": "kept"}}}}"#;
    let just_after = deleted + chrono::TimeDelta::milliseconds(1);
    loop {
        registry.store().overwrite("leases/r.json", Bytes::from(lease)).await.unwrap();
        let meta = registry.store().raw().head(&Path::from("leases/r.json")).await.unwrap();
        if meta.last_modified >= just_after {
            break;
        }
    }
    let now = just_after + DAY;
    let report = collect(&registry, &options(DAY), now).await.unwrap();
    assert_eq!((report.live, report.freed.len()), (1, 0), "the replica holds version {one}");
    registry.store().overwrite("leases/r.json", Bytes::from("{")).await.unwrap();
    let error = collect(&registry, &options(DAY), now).await.unwrap_err();
    assert!(error.to_string().contains("is no lease"), "{error}");
    registry.store().raw().delete(&Path::from("leases/r.json")).await.unwrap();
    let report = collect(&registry, &options(DAY), now).await.unwrap();
    assert_eq!(report.freed.len(), 1, "the replica is gone");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_stops_the_collection() {
    let registry = registry().await;
    let unused = put(&registry, "unused").await;
    let key = super::super::client::revision_key("broken", 1);
    registry.store().create(&key, Bytes::from_static(b"{}")).await.unwrap();
    collect(&registry, &options(Duration::ZERO), Utc::now() + DAY).await.unwrap_err();
    assert!(is_there(&registry, &unused).await);
}

async fn candidates(registry: &Registry) -> Vec<Candidate> {
    list(registry).await.unwrap()
}

#[tokio::test]
async fn a_commit_before_the_mark_rescues_its_blobs() {
    let registry = registry().await;
    let file = put(&registry, "old").await;
    let found = candidates(&registry).await;
    let sweep = Sweep::announce(&registry, &found, SWEEP_MAX).await.unwrap();
    commit_version(&registry, "m", &file).await;
    let live = mark::live(&registry, Utc::now()).await.unwrap();
    let mut report = GcReport::default();
    assert_eq!(sweep.delete(&registry, &found, &live, &mut report).await.unwrap(), 1);
    sweep.withdraw(&registry).await.unwrap();
    assert_eq!((report.rescued, report.freed.len()), (1, 0));
    assert!(is_there(&registry, &file).await);
}

#[tokio::test(start_paused = true)]
async fn a_commit_after_the_mark_uploads_its_blobs_again() {
    let registry = Arc::new(registry().await);
    let file = put(&registry, "old").await;
    let found = candidates(&registry).await;
    let sweep = Sweep::announce(&registry, &found, SWEEP_MAX).await.unwrap();
    let live = mark::live(&registry, Utc::now()).await.unwrap();
    commit_version(&registry, "m", &file).await;
    let touching = tokio::spawn({
        let (registry, file) = (Arc::clone(&registry), file.clone());
        let content = Content::Bytes(Bytes::from_static(b"old"));
        async move { blobs::touch(registry.store(), &[(file, content)]).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!touching.is_finished(), "the registration waits for the collection");
    let mut report = GcReport::default();
    sweep.delete(&registry, &found, &live, &mut report).await.unwrap();
    assert_eq!(report.freed.len(), 1);
    sweep.withdraw(&registry).await.unwrap();
    touching.await.unwrap().unwrap();
    assert!(is_there(&registry, &file).await);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_stops_when_its_time_is_over() {
    let registry = registry().await;
    put(&registry, "one").await;
    let found = candidates(&registry).await;
    let sweep = Sweep::announce(&registry, &found, Duration::from_secs(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut report = GcReport::default();
    let done = sweep.delete(&registry, &found, &BTreeSet::new(), &mut report).await.unwrap();
    assert_eq!((done, report.freed.len()), (0, 0));
}

#[tokio::test]
async fn a_blob_that_was_uploaded_anew_is_young_again() {
    let registry = registry().await;
    let file = put(&registry, "old").await;
    let mut found = candidates(&registry).await;
    found[0].modified -= chrono::TimeDelta::seconds(1);
    let sweep = Sweep::announce(&registry, &found, SWEEP_MAX).await.unwrap();
    let mut report = GcReport::default();
    sweep.delete(&registry, &found, &BTreeSet::new(), &mut report).await.unwrap();
    assert_eq!(report.rescued, 1);
    assert!(is_there(&registry, &file).await);
}

/// Registrations and deletions of the same few files while collections without a grace go on: whoever was told that its
/// version is registered finds its files, until it deletes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_race_with_collections() {
    let registry = Arc::new(registry().await);
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let collecting = tokio::spawn({
        let (registry, over) = (Arc::clone(&registry), Arc::clone(&over));
        async move {
            let mut freed = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let report = collect(&registry, &options(Duration::ZERO), Utc::now()).await.unwrap();
                freed += report.freed.len();
                tokio::task::yield_now().await;
            }
            freed
        }
    });
    let registering = (0..6_u64).map(|writer| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            for round in 0..8_u64 {
                let content = format!("content {} {}", writer / 2, round % 3);
                let file = put(&registry, &content).await;
                let model = format!("m{writer}");
                let number = commit_version(&registry, &model, &file).await;
                let files = [(file.clone(), Content::Bytes(Bytes::from(content)))];
                blobs::touch(registry.store(), &files).await.unwrap();
                for _ in 0..20 {
                    blobs::check(registry.store(), &file).await.unwrap();
                    tokio::task::yield_now().await;
                }
                if round < 7 {
                    delete_version(&registry, &model, number).await;
                }
            }
        })
    });
    for task in registering.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(collecting.await.unwrap() > 0, "the collections had something to delete");
    for model in super::super::history::models(registry.store()).await.unwrap() {
        for (number, state) in &registry.state(&model).await.unwrap().versions {
            if state.deleted.is_none() {
                blobs::check(registry.store(), &state.record.files[0]).await.unwrap();
            }
            assert!(*number <= version(8));
        }
    }
}

#[tokio::test]
async fn what_was_never_finished_goes_when_its_writer_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap();
    let registry = Registry::open(store).await.unwrap();
    let blobs = folder.path().join("blobs/sha256/ab");
    std::fs::create_dir_all(&blobs).unwrap();
    let (old, young) = (blobs.join("cdef#1"), blobs.join("cdef#2"));
    for (path, age) in [(&old, 11), (&young, 9)] {
        std::fs::write(path, b"half of it").unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(age * 60);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    let options = GcOptions { grace: Duration::ZERO, dry_run: true };
    assert_eq!(collect(&registry, &options, Utc::now()).await.unwrap().staging, 0);
    assert!(old.exists());
    let options = GcOptions { dry_run: false, ..options };
    assert_eq!(collect(&registry, &options, Utc::now()).await.unwrap().staging, 1);
    assert_eq!((old.exists(), young.exists()), (false, true));
}
