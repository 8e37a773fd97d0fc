//! The registry over a store in memory: commits, reads, what changed, and logs that cannot be followed.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;

use super::snapshot::{SNAPSHOT_EVERY, parse_snapshot, snapshot_bytes, snapshot_key};
use super::*;
use crate::model::ModelName;

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn intent() -> Intent {
    let actor = Actor { sub: "ann@host".to_owned(), method: "cli".to_owned() };
    Intent { actor, reason: "a test".to_owned(), request_id: String::new(), if_match: None }
}

fn create() -> Vec<Op> {
    vec![Op::CreateModel { description: "of a test".to_owned() }]
}

fn tag(key: &str, value: &str) -> Vec<Op> {
    vec![Op::SetTag { version: None, key: key.to_owned(), value: value.to_owned() }]
}

/// Brings `model` to revision `revs`.
async fn fill(registry: &Registry, model: &ModelName, revs: u64) {
    for rev in 1..=revs {
        let ops = if rev == 1 { create() } else { tag("n", &rev.to_string()) };
        let commit = registry.commit(model, &intent(), |_| Ok(ops.clone())).await.unwrap();
        assert_eq!(commit.rev, rev);
        assert_eq!(commit.state.rev, rev);
    }
}

async fn remove(store: &Store, key: &str) {
    store.raw().delete(&Path::from(key)).await.unwrap();
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn fault(&self, fault: &LogFault) {
        self.0.lock().push(format!("fault {}", fault.rev));
    }
    fn healed(&self, model: &ModelName) {
        self.0.lock().push(format!("healed {model}"));
    }
}

#[tokio::test]
async fn a_reader_starts_at_a_snapshot_and_ends_where_a_full_replay_does() {
    let (store, model) = (Store::memory(), name("m"));
    let writer = Registry::open(store.clone()).await.unwrap();
    fill(&writer, &model, 47).await;
    let kept = store.list("models/m/snap").await.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let from_snapshot = Registry::open(store.clone()).await.unwrap().state(&model).await.unwrap();
    for meta in kept {
        remove(&store, meta.location.as_ref()).await;
    }
    remove(&store, "heads/m").await;
    let replayed = Registry::open(store.clone()).await.unwrap().state(&model).await.unwrap();
    assert_eq!(from_snapshot, replayed);
    assert_eq!(writer.state(&model).await.unwrap(), replayed);
    assert_eq!(replayed.rev, 47);
}

#[tokio::test]
async fn a_bad_snapshot_is_ignored() {
    let (store, model) = (Store::memory(), name("m"));
    let writer = Registry::open(store.clone()).await.unwrap();
    fill(&writer, &model, 2 * SNAPSHOT_EVERY + 3).await;
    let right = writer.state(&model).await.unwrap();
    let key = snapshot_key("m", 2 * SNAPSHOT_EVERY);
    let bytes = store.get(&key).await.unwrap().unwrap();
    let mut state = parse_snapshot(&bytes).unwrap();
    assert_eq!(snapshot_bytes(&state).unwrap(), bytes);
    state.head = super::revision::sha256_hex(b"another log");
    let of_another_log = snapshot_bytes(&state).unwrap();
    let cut: String = String::from_utf8_lossy(&bytes).chars().take(90).collect();
    let changed = String::from_utf8_lossy(&bytes).replace("of a test", "of a jest");
    for bad in [of_another_log, cut.into_bytes(), changed.into_bytes(), Vec::new()] {
        store.overwrite(&key, Bytes::from(bad)).await.unwrap();
        let read = Registry::open(store.clone()).await.unwrap().view(&model).await.unwrap();
        assert_eq!(read.state, right);
        assert_eq!(read.fault, None);
    }
}

#[tokio::test]
async fn changes_are_told_once_and_found_without_a_hint() {
    let store = Store::memory();
    let writer = Registry::open(store.clone()).await.unwrap();
    let reader = Registry::open(store.clone()).await.unwrap();
    let mut seen = Seen::default();
    assert!(reader.changed(&mut seen).await.unwrap().is_empty());
    for model in ["a", "b", "c"] {
        fill(&writer, &name(model), 3).await;
    }
    let told = |views: Vec<View>| -> Vec<(String, u64)> {
        views.iter().map(|view| (view.state.model.to_string(), view.state.rev)).collect()
    };
    let all = [("a".to_owned(), 3), ("b".to_owned(), 3), ("c".to_owned(), 3)];
    assert_eq!(told(reader.changed(&mut seen).await.unwrap()), all);
    assert!(reader.changed(&mut seen).await.unwrap().is_empty());
    assert_eq!(told(reader.changed(&mut Seen::default()).await.unwrap()), all, "each reader is told");

    let hint = store.get("heads/b").await.unwrap().unwrap();
    writer.commit(&name("b"), &intent(), |_| Ok(tag("k", "v"))).await.unwrap();
    assert_eq!(told(reader.changed(&mut seen).await.unwrap()), [("b".to_owned(), 4)]);
    writer.commit(&name("b"), &intent(), |_| Ok(tag("k", "w"))).await.unwrap();
    store.overwrite("heads/b", hint).await.unwrap();
    let mut later = told(reader.changed(&mut seen).await.unwrap());
    later.extend(told(reader.changed(&mut seen).await.unwrap()));
    assert_eq!(later, [("b".to_owned(), 5)], "an old hint hides nothing");
    remove(&store, "heads/b").await;
    writer.commit(&name("b"), &intent(), |_| Ok(tag("k", "x"))).await.unwrap();
    remove(&store, "heads/b").await;
    assert_eq!(told(reader.changed(&mut seen).await.unwrap()), [("b".to_owned(), 6)], "nor a lost one");
    assert_eq!(reader.models().await.unwrap(), ["a", "b", "c"].map(name));
    assert_eq!(told(reader.all().await.unwrap()).len(), 3);
}

#[tokio::test]
async fn a_damaged_log_stays_readable_and_is_not_written_to() {
    let (store, model) = (Store::memory(), name("m"));
    let writer = Registry::open(store.clone()).await.unwrap();
    fill(&writer, &model, 7).await;
    let key = client::revision_key("m", 5);
    let right = store.get(&key).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&right).into_owned();
    let newer = text.replace("set_tag", "set_mood");
    let cases =
        [(newer, 5), (text.replace("\"5\"", "\"6\""), 6), (text.replace('{', ""), 5), (String::new(), 5)];
    for (bytes, first_bad) in cases {
        let told = Arc::new(Told::default());
        let options = RegistryOptions { observer: Some(told.clone()), ..RegistryOptions::default() };
        store.overwrite(&key, Bytes::from(bytes)).await.unwrap();
        let registry = Registry::open_with(store.clone(), options).await.unwrap();
        for _ in 0..2 {
            let view = registry.view(&model).await.unwrap();
            assert_eq!(view.state.rev, first_bad - 1);
            assert_eq!(view.fault.unwrap().rev, first_bad);
        }
        assert_eq!(registry.state(&model).await.unwrap().rev, first_bad - 1);
        let refused = registry.commit(&model, &intent(), |_| Ok(tag("k", "v"))).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Log { rev, .. } if rev == first_bad), "{refused}");
        store.overwrite(&key, right.clone()).await.unwrap();
        assert_eq!(registry.view(&model).await.unwrap().state.rev, 7);
        assert_eq!(*told.0.lock(), [format!("fault {first_bad}"), "healed m".to_owned()]);
    }
}

#[tokio::test]
async fn a_missing_revision_is_not_taken_for_the_end() {
    let (store, model) = (Store::memory(), name("m"));
    fill(&Registry::open(store.clone()).await.unwrap(), &model, 7).await;
    for (missing, hinted) in [(4, true), (4, false), (7, true)] {
        let key = client::revision_key("m", missing);
        let (kept, hint) = (store.get(&key).await.unwrap(), store.get("heads/m").await.unwrap());
        remove(&store, &key).await;
        if !hinted {
            remove(&store, "heads/m").await;
        }
        let registry = Registry::open(store.clone()).await.unwrap();
        let view = registry.view(&model).await.unwrap();
        assert_eq!(view.state.rev, missing - 1);
        assert_eq!(view.fault.map(|fault| fault.rev), Some(missing), "hinted: {hinted}");
        let refused = registry.commit(&model, &intent(), |_| Ok(tag("k", "v"))).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Log { .. }), "{refused}");
        store.overwrite(&key, kept.unwrap()).await.unwrap();
        store.overwrite("heads/m", hint.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn conditions_and_values_are_checked_before_anything_is_written() {
    let (store, model) = (Store::memory(), name("m"));
    let registry = Registry::open(store.clone()).await.unwrap();
    fill(&registry, &model, 2).await;
    let stale = Intent { if_match: Some(1), ..intent() };
    let refused = registry.commit(&model, &stale, |_| Ok(tag("k", "v"))).await.unwrap_err();
    assert!(
        matches!(refused, RegistryError::Refused(Refusal::Stale { expected: 1, current: 2 })),
        "{refused}"
    );
    let metrics = [("loss".to_owned(), f64::NAN)].into();
    let nan = vec![Op::Annotate { version: None, metrics, description: None }];
    let refused = registry.commit(&model, &intent(), |_| Ok(nan.clone())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused(Refusal::Invalid(_))), "{refused}");
    let huge = tag("k", &"v".repeat(9 << 20));
    let refused = registry.commit(&model, &intent(), |_| Ok(huge.clone())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused(Refusal::Invalid(_))), "{refused}");
    let fresh = Intent { if_match: Some(2), ..intent() };
    assert_eq!(registry.commit(&model, &fresh, |_| Ok(Vec::new())).await.unwrap().rev, 2);
    assert_eq!(registry.commit(&model, &fresh, |_| Ok(tag("k", "v"))).await.unwrap().rev, 3);
}

#[test]
fn errors_of_the_system_are_explained() {
    use rustix::io::Errno;
    let cases = [
        (Errno::NOSPC, "is full", false),
        (Errno::DQUOT, "is full", false),
        (Errno::ROFS, "read-only", false),
        (Errno::ACCESS, "may not write", false),
        (Errno::PERM, "no hard links", false),
        (Errno::OPNOTSUPP, "no hard links", false),
        (Errno::MFILE, "too many files are open", true),
        (Errno::CONNRESET, "", true),
    ];
    for (errno, words, is_transient) in cases {
        let source = std::io::Error::from_raw_os_error(errno.raw_os_error()).into();
        let error = StoreError::io("k", object_store::Error::Generic { store: "LocalFileSystem", source });
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.is_transient(), is_transient, "{error}");
    }
}

#[test]
fn the_deepest_cause_is_told_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Sending(#[source] std::io::Error);
    let refused = || std::io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
    let told = |source| StoreError::io("k", object_store::Error::Generic { store: "S3", source }).to_string();
    let text = told(Sending(refused()).into());
    assert!(text.contains("error sending request") && text.contains("refused"), "{text}");
    assert_eq!(told(refused().into()).matches("refused").count(), 1);
}

#[test]
fn a_url_with_a_query_is_refused_and_its_query_not_shown() {
    for location in [
        "s3://bucket/registry?endpoint=http://127.0.0.1:1",
        "az://container/registry?sig=secret",
        "gs://bucket#x",
        "file:///registry?x",
    ] {
        let error = Store::open(location, &StoreOptions::default()).unwrap_err();
        let (text, location) = (error.to_string(), location.split(['?', '#']).next().unwrap());
        assert!(matches!(error, StoreError::Location { .. }) && text.contains(location), "{text}");
        assert!(!text.contains("secret") && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn nothing_is_written_where_a_directory_was() {
    let folder = tempfile::tempdir().unwrap();
    let (there, away) = (folder.path().join("registry"), folder.path().join("away"));
    let store = Store::open(there.to_str().unwrap(), &StoreOptions::default()).unwrap();
    std::fs::rename(&there, &away).unwrap();
    let gone = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Location { .. })), "{result:?}");
    };
    gone(store.create("models/m/log/1", "x".into()).await.map(drop));
    gone(store.overwrite("replicas/a", "x".into()).await);
    gone(store.overwrite_derived("heads/m", "x".into()).await);
    assert!(!there.exists());
    std::fs::rename(&away, &there).unwrap();
    assert!(store.create("models/m/log/1", "x".into()).await.unwrap());
}
