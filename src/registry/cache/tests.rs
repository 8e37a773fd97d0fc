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
    let cache = Cache::open(folder.path(), id, 1 << 20).unwrap();
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
    let cache = Cache::open(folder.path(), id, 1 << 20).unwrap();
    assert_eq!(cache.ensure(None, &model, version(1), &record).await.unwrap(), first);
    assert_eq!(cache.ready(&model, version(1)), Some(first.clone()));
    // And one that finds a damaged copy.
    std::fs::write(cache.root.join("blobs").join(&record.files[0].sha256), "One").unwrap();
    let cache = Cache::open(folder.path(), id, 1 << 20).unwrap();
    let error = cache.ensure(None, &model, version(1), &record).await.unwrap_err();
    assert!(matches!(error, BlobError::Missing { .. }), "{error}");
    let again = cache.ensure(Some(&store), &model, version(1), &record).await.unwrap();
    assert_eq!(read(&again, "model.onnx"), "one");
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let cache = Cache::open(folder.path(), Uuid::now_v7(), 0).unwrap();
    let mut record = register(&store, &[("model.onnx", "one")]).await;
    record.files[0].path = "../../out.onnx".to_owned();
    let error = cache.ensure(Some(&store), &"m".parse().unwrap(), version(1), &record).await.unwrap_err();
    assert!(matches!(error, BlobError::Refused(_)), "{error}");
}

#[tokio::test]
async fn only_what_is_not_in_use_is_evicted() {
    let (store, folder) = (Store::memory(), tempfile::tempdir().unwrap());
    let model: ModelName = "m".parse().unwrap();
    let cache = Cache::open(folder.path(), Uuid::now_v7(), 8).unwrap();
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
    let cache = Cache::open(folder.path(), Uuid::now_v7(), 0).unwrap();
    let state = ModelState::new("m".parse().unwrap());
    cache.save_state(&state).unwrap();
    std::fs::write(cache.root.join("states/x.json"), "{").unwrap();
    assert_eq!(cache.load_states(), std::slice::from_ref(&state));
    cache.forget_state(&state.model);
    cache.forget_state(&state.model);
    assert!(cache.load_states().is_empty());
}
