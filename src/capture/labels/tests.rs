//! The log, the files and the merge of labels, with a store in memory and folders that crash.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::model::ModelName;

fn model() -> ModelName {
    "penguins".parse().unwrap()
}

fn label(request_id: &str, value: &str, time_us: Option<i64>) -> Label {
    let value = serde_json::from_str(value).unwrap();
    Label { request_id: request_id.to_owned(), row: 0, value, time_us, source: "vet".to_owned() }
}

fn options(folder: &std::path::Path) -> LabelStoreOptions {
    LabelStoreOptions { folder: folder.to_owned(), replica: "r1".to_owned(), ..LabelStoreOptions::default() }
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn value(store: &Arc<dyn ObjectStore>, request_id: &str, row: u32) -> Option<String> {
    let table = read(store, &model(), None, LABELS_MAX).await.unwrap();
    table.get(request_id, row).map(|(label, _)| label.value.to_json())
}

#[tokio::test]
async fn the_latest_label_counts_whatever_the_order() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    let send = async |label: Label| labels.append(&model(), vec![label]).await.unwrap();
    send(label("a", "1", Some(20))).await;
    send(label("a", "2", Some(10))).await; // late: older news
    send(label("b", "1", Some(20))).await;
    send(label("b", "2", Some(30))).await; // a correction
    send(label("c", "1", Some(20))).await;
    labels.flush().await.unwrap();
    send(label("c", "2", Some(20))).await; // of equal time: the last to arrive
    send(label("d", "1", None)).await;
    send(label("d", "2", None)).await;
    send(Label { row: 7, ..label("a", "\"x\"", Some(1)) }).await;
    labels.flush().await.unwrap();
    for (id, expected) in [("a", "1"), ("b", "2"), ("c", "2"), ("d", "2")] {
        assert_eq!(value(&store, id, 0).await.as_deref(), Some(expected), "{id}");
    }
    assert_eq!(value(&store, "a", 7).await.as_deref(), Some("\"x\""));
    assert_eq!(value(&store, "a", 1).await, None);
    let other = read(&store, &"other".parse().unwrap(), None, LABELS_MAX).await.unwrap();
    assert!(other.is_empty());
}

#[tokio::test]
async fn what_is_sent_again_changes_nothing() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    let batch = vec![label("a", "1", Some(1)), label("a", "1", Some(1)), label("b", "1", None)];
    let first = labels.append(&model(), batch.clone()).await.unwrap();
    assert_eq!(first, Appended { accepted: 2, duplicates: 1 });
    let again = labels.append(&model(), batch.clone()).await.unwrap();
    assert_eq!(again, Appended { accepted: 0, duplicates: 3 });
    // Another model's labels are others.
    let other = labels.append(&"other".parse().unwrap(), batch.clone()).await.unwrap();
    assert_eq!(other.accepted, 2);
    drop(labels);
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    assert_eq!(labels.append(&model(), batch).await.unwrap().duplicates, 3);
}

#[tokio::test]
async fn acknowledged_labels_outlive_a_crash_and_torn_ends_are_left_out() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    labels.append(&model(), vec![label("a", "1", Some(1))]).await.unwrap();
    labels.append(&model(), vec![label("b", "2", Some(1))]).await.unwrap();
    drop(labels); // without a flush, as a kill does
    let (number, _) = log::segments(folder.path()).unwrap()[0];
    let path = log::path_of(folder.path(), number);
    let whole = std::fs::read(&path).unwrap();
    // Whatever part of a third frame is there, the first two are.
    for torn in [&whole[..3], &whole[..20], &[0xff; 64][..]] {
        std::fs::write(&path, &whole).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        assert_eq!(log::read(folder.path(), number).unwrap().len(), 2);
    }
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    assert_eq!(labels.flush().await.unwrap(), 1);
    assert_eq!(value(&store, "b", 0).await.as_deref(), Some("2"));
    // The last segment stays, so that numbers only grow.
    assert_eq!(log::segments(folder.path()).unwrap().len(), 1);
    assert_eq!(labels.waiting_bytes(), 0);
    assert_eq!(labels.flush().await.unwrap(), 0);
}

#[tokio::test]
async fn a_flush_that_is_cut_short_is_done_again_without_a_trace() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    labels.append(&model(), vec![label("a", "1", Some(1))]).await.unwrap();
    let (number, _) = log::segments(folder.path()).unwrap()[0];
    let kept = std::fs::read(log::path_of(folder.path(), number)).unwrap();
    labels.flush().await.unwrap();
    drop(labels);
    // Killed after the upload, before the segment was deleted.
    std::fs::write(log::path_of(folder.path(), number), kept).unwrap();
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    labels.flush().await.unwrap();
    let files: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[tokio::test]
async fn files_of_another_server_of_the_same_name_are_kept() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let labels = LabelStore::open(Arc::clone(&store), options(folder.path())).unwrap();
    labels.append(&model(), vec![label("a", "1", Some(1))]).await.unwrap();
    let (number, _) = log::segments(folder.path()).unwrap()[0];
    let key = format!("labels/model=penguins/date={}/r1-{number}.parquet", chrono::Utc::now().date_naive());
    store.put(&key.as_str().into(), "theirs".into()).await.unwrap();
    labels.flush().await.unwrap();
    let theirs = store.get(&key.as_str().into()).await.unwrap().bytes().await.unwrap();
    assert_eq!(theirs, "theirs");
    let files: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(files.len(), 2);
    let damaged = read(&store, &model(), None, LABELS_MAX).await;
    assert!(matches!(damaged, Err(LabelError::Damaged { .. })), "{damaged:?}");
}

#[tokio::test]
async fn what_waits_and_what_is_read_is_bounded() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let options = LabelStoreOptions { log_bytes_max: 200, segment_bytes_max: 1, ..options(folder.path()) };
    let labels = LabelStore::open(Arc::clone(&store), options).unwrap();
    let mut refused = 0;
    for n in 0..10 {
        let sent = labels.append(&model(), vec![label(&n.to_string(), "1", None)]).await;
        refused += u32::from(matches!(sent, Err(LabelError::Full { .. })));
    }
    assert!((1..10).contains(&refused), "{refused}");
    labels.flush().await.unwrap();
    labels.append(&model(), vec![label("later", "1", None)]).await.unwrap();
    labels.flush().await.unwrap();
    let many = read(&store, &model(), None, 2).await;
    assert!(matches!(many, Err(LabelError::TooMany { max: 2 })), "{many:?}");
}
