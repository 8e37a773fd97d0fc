//! Fetching, verifying, sharing, evicting.

use bytes::Bytes;

use super::super::sample;
use super::*;
use crate::registry::state::ModelState;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

async fn register(store: &Store, files: &[(&str, &str)]) -> VersionRecord {
    let mut refs = Vec::new();
    for (path, content) in files {
        refs.push(blobs::put_bytes(store, path, Bytes::from((*content).to_owned())).await.unwrap());
    }
    sample::record(refs)
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap()
}

#[tokio::test]
async fn versions_are_fetched_once_verified_and_survive_the_store() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let record = register(&store, &[("model.onnx", "one"), ("data/weights.bin", "shared")]).await;
    let other = register(&store, &[("model.onnx", "two"), ("data/weights.bin", "shared")]).await;
    let id = Uuid::now_v7();
    let cache = Cache::open(folder.path(), id, "default", 1 << 20).unwrap();
    assert_eq!(cache.ready(&model, version(1)), None);
    let first = cache.ensure(Some(&store), &model, version(1), &record).await.unwrap();
    assert_eq!(
        (read(&first, "model.onnx"), read(&first, "data/weights.bin")),
        ("one".into(), "shared".into())
    );
    let second = cache.ensure(Some(&store), &model, version(2), &other).await.unwrap();
    assert_eq!(read(&second, "model.onnx"), "two");
    assert_eq!(std::fs::read_dir(cache.root.join("blobs")).unwrap().count(), 3, "one content, one blob");
    // Another process, without the store.
    let cache = Cache::open(folder.path(), id, "default", 1 << 20).unwrap();
    assert_eq!(cache.ensure(None, &model, version(1), &record).await.unwrap(), first);
    assert_eq!(cache.ready(&model, version(1)), Some(first.clone()));
    // And one that finds a damaged copy.
    std::fs::write(cache.root.join("blobs").join(&record.files[0].sha256), "One").unwrap();
    let cache = Cache::open(folder.path(), id, "default", 1 << 20).unwrap();
    let error = cache.ensure(None, &model, version(1), &record).await.unwrap_err();
    assert!(matches!(error, BlobError::Missing { .. }), "{error}");
    let again = cache.ensure(Some(&store), &model, version(1), &record).await.unwrap();
    assert_eq!(read(&again, "model.onnx"), "one");
}

#[tokio::test]
async fn golden_outputs_lie_beside_their_version_and_go_with_it() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let mut record = register(&store, &[("model.onnx", "one")]).await;
    let golden = blobs::put_bytes(&store, "weir-golden.json", Bytes::from_static(b"{}")).await.unwrap();
    record.validation.golden = Some(golden);
    let cache = Cache::open(folder.path(), Uuid::now_v7(), "default", 0).unwrap();
    let made = cache.ensure(Some(&store), &model, version(1), &record).await.unwrap();
    let golden = golden_beside(&made);
    assert_eq!(std::fs::read_to_string(&golden).unwrap(), "{}");
    assert_eq!(std::fs::read_dir(&made).unwrap().count(), 1, "it is no file of the version");
    std::fs::write(&golden, "tampered").unwrap();
    let id = cache_id(&cache);
    drop(cache);
    let cache = Cache::open(folder.path(), id, "default", 0).unwrap();
    cache.ensure(Some(&store), &model, version(1), &record).await.unwrap();
    assert_eq!(std::fs::read_to_string(&golden).unwrap(), "{}");
    record.validation.golden.as_mut().unwrap().sha256 = "../../x".to_owned();
    let error = cache.ensure(Some(&store), &model, version(2), &record).await.unwrap_err();
    assert!(matches!(error, BlobError::Refused(_)), "{error}");
    assert!(cache.evict(BTreeSet::new()).await.unwrap() > 0);
    assert!(!golden.exists() && !made.exists());
}

/// The registry that the copies are of.
fn cache_id(cache: &Cache) -> Uuid {
    cache.root.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_processes_share_copies_and_remove_nothing_that_the_other_uses() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let record = register(&store, &[("model.onnx", "one")]).await;
    let id = Uuid::now_v7();
    let first = Cache::open(folder.path(), id, "default", 0).unwrap();
    let second = Cache::open(folder.path(), id, "staging", 0).unwrap();
    let (made, found) = tokio::join!(
        first.ensure(Some(&store), &model, version(1), &record),
        second.ensure(Some(&store), &model, version(1), &record),
    );
    let (made, found) = (made.unwrap(), found.unwrap());
    assert_eq!((read(&made, "model.onnx"), &made), ("one".to_owned(), &found));
    // The first uses it no more; the second still does.
    assert_eq!(first.evict(BTreeSet::new()).await.unwrap(), 0);
    assert_eq!((first.ready(&model, version(1)), read(&made, "model.onnx")), (None, "one".to_owned()));
    // It can use it again, without the store.
    first.ensure(None, &model, version(1), &record).await.unwrap();
    drop(second);
    std::fs::create_dir(made.with_file_name(".half")).unwrap();
    assert_eq!(first.evict([(model.clone(), version(1))].into()).await.unwrap(), 0, "it is in use");
    assert!(!made.with_file_name(".half").exists(), "a crash left it");
    assert_eq!(first.evict(BTreeSet::new()).await.unwrap(), 3);
    assert_eq!(std::fs::read_dir(made.parent().unwrap()).unwrap().count(), 0, "its lock is gone, too");
}

/// Caches in one folder, each with room for nothing, that fetch and remove the same versions all the time. What one has
/// is there for as long as it says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_used_is_there_while_others_remove() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let mut records = Vec::new();
    for number in 0..3 {
        records.push(register(&store, &[("model.onnx", &number.to_string()), ("w.bin", "shared")]).await);
    }
    let (id, records) = (Uuid::now_v7(), std::sync::Arc::new(records));
    let mut processes = tokio::task::JoinSet::new();
    for process in 0..4_usize {
        let cache = Cache::open(folder.path(), id, "default", 0).unwrap();
        let (store, records, model) = (store.clone(), std::sync::Arc::clone(&records), model.clone());
        processes.spawn(async move {
            for round in 0..25 {
                let at = (process + round) % records.len();
                let number = version(at as u64 + 1);
                let made = cache.ensure(Some(&store), &model, number, &records[at]).await.unwrap();
                cache.evict([(model.clone(), number)].into()).await.unwrap();
                assert_eq!(read(&made, "model.onnx"), at.to_string());
                assert_eq!(read(&made, "w.bin"), "shared");
            }
        });
    }
    processes.join_all().await;
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let cache = Cache::open(folder.path(), Uuid::now_v7(), "default", 0).unwrap();
    let mut record = register(&store, &[("model.onnx", "one")]).await;
    record.files[0].path = "../../out.onnx".to_owned();
    let error = cache.ensure(Some(&store), &"m".parse().unwrap(), version(1), &record).await.unwrap_err();
    assert!(matches!(error, BlobError::Refused(_)), "{error}");
}

#[tokio::test]
async fn only_what_is_not_in_use_is_evicted() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let cache = Cache::open(folder.path(), Uuid::now_v7(), "default", 8).unwrap();
    for (number, content) in [(1, "first"), (2, "second"), (3, "third")] {
        let record = register(&store, &[("model.onnx", content)]).await;
        let made = cache.ensure(Some(&store), &model, version(number), &record).await.unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
        std::fs::File::open(made).unwrap().set_modified(time).unwrap();
    }
    let freed = cache.evict([(model.clone(), version(1))].into()).await.unwrap();
    assert_eq!(freed, 11, "the other two: one alone would not have been enough");
    assert!(cache.ready(&model, version(1)).is_some() && cache.ready(&model, version(2)).is_none());
    let freed = cache.evict(BTreeSet::new()).await.unwrap();
    assert_eq!(freed, 0, "it fits");
}

#[test]
fn states_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), Uuid::now_v7(), "default", 0).unwrap();
    let state = ModelState::new("m".parse().unwrap());
    cache.save_state(&state).unwrap();
    std::fs::write(cache.root.join("states/default/x.json"), "{").unwrap();
    assert_eq!(cache.load_states(), std::slice::from_ref(&state));
    cache.forget_state(&state.model);
    cache.forget_state(&state.model);
    assert!(cache.load_states().is_empty());
    cache.save_state(&state).unwrap();
    let other = Cache::open(folder.path(), cache_id(&cache), "staging", 0).unwrap();
    other.forget_state(&state.model);
    assert_eq!((cache.load_states().len(), other.load_states().len()), (1, 0));
    Cache::open(folder.path(), cache_id(&cache), "../x", 0).unwrap_err();
}
