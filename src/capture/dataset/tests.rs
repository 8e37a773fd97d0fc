//! Small captures joined with labels, against what was worked out by hand.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_array::{TimestampMicrosecondArray, UInt32Array, UInt64Array};
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::capture::labels::{Label, LabelStore, LabelStoreOptions, LabelValue};

const DAY: i64 = 86_400_000_000;
/// 2026-01-01.
const BEGIN: i64 = 1_767_225_600_000_000;

/// A captured row.
#[derive(Clone)]
struct Row {
    id: &'static str,
    row: u32,
    ts_us: i64,
    status: &'static str,
    route: &'static str,
    weight: f64,
    x: f32,
    class: i64,
}

fn row(id: &'static str, hours: i64, x: f32) -> Row {
    let ts_us = BEGIN + hours * DAY / 24;
    Row { id, row: 0, ts_us, status: "ok", route: "default", weight: 1.0, x, class: i64::from(x > 0.0) }
}

/// Writes `rows` as capture does, of `version`, into the hour of the first.
async fn capture(store: &Arc<dyn ObjectStore>, version: u64, rows: &[Row]) {
    let texts = |of: fn(&Row) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let numbers = |value: u64| -> ArrayRef { Arc::new(UInt64Array::from(vec![value; rows.len()])) };
    let count: ArrayRef = Arc::new(UInt32Array::from(vec![1; rows.len()]));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts_us));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("request_id", texts(|row| row.id)),
        ("row", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.row)))),
        ("ts_us", Arc::new(times.with_timezone("UTC"))),
        ("model_version", numbers(version)),
        ("route", texts(|row| row.route)),
        ("protocol", texts(|_| "http")),
        ("status", texts(|row| row.status)),
        ("latency_us", numbers(5)),
        ("queue_us", numbers(1)),
        ("batch_size", count),
        ("sample_weight", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.weight)))),
        ("key_hash", Arc::new(StringArray::from(vec![None::<&str>; rows.len()]))),
        ("in.x", Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.x)))),
        ("out.class", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.class)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let time = chrono::DateTime::from_timestamp_micros(rows[0].ts_us).unwrap();
    let key = format!(
        "capture/model=m/version={version}/date={}/hour={}/r-{}.parquet",
        time.format("%Y-%m-%d"),
        time.format("%H"),
        rows[0].id
    );
    store.put(&Path::from(key), writer.into_inner().unwrap().into()).await.unwrap();
}

async fn label(store: &Arc<dyn ObjectStore>, labels: &[(&str, f64)]) {
    let folder = tempfile::tempdir().unwrap();
    let options = LabelStoreOptions { folder: folder.path().to_owned(), ..LabelStoreOptions::default() };
    let opened = LabelStore::open(Arc::clone(store), options).unwrap();
    let of = |(id, value): &(&str, f64)| Label {
        request_id: (*id).to_owned(),
        row: 0,
        value: LabelValue::Number(*value),
        time_us: Some(BEGIN),
        source: "test".to_owned(),
    };
    opened.append(&"m".parse().unwrap(), labels.iter().map(of).collect()).await.unwrap();
    opened.flush().await.unwrap();
}

fn query() -> Query {
    Query::new("m".parse().unwrap(), BEGIN, BEGIN + 10 * DAY)
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// The ids, labels and weights of a split.
async fn rows_of(out: &Arc<dyn ObjectStore>, split: &str) -> Vec<(String, Option<f64>, f64)> {
    let mut files: Vec<_> = out.list(Some(&Path::from(split))).try_collect().await.unwrap();
    files.sort_by(|one, other| one.location.cmp(&other.location));
    let mut rows = Vec::new();
    for file in files {
        let (bytes, _) = fetch(out, file.location.as_ref()).await.unwrap();
        for batch in open("", bytes).unwrap().map(Result::unwrap) {
            let column = |name: &str| Arc::clone(batch.column_by_name(name).unwrap());
            let (ids, labels, weights) = (column("request_id"), column("label"), column("weight"));
            for at in 0..batch.num_rows() {
                let label = labels.as_primitive_opt::<Float64Type>();
                let label = label.filter(|label| !label.is_null(at)).map(|label| label.value(at));
                let weight = weights.as_primitive::<Float64Type>().value(at);
                rows.push((ids.as_string::<i32>().value(at).to_owned(), label, weight));
            }
        }
    }
    rows
}

fn shown(rows: &[(String, Option<f64>, f64)]) -> Vec<(&str, Option<f64>, f64)> {
    rows.iter().map(|(id, label, weight)| (id.as_str(), *label, *weight)).collect()
}

/// Two days: what is left out and why is in the ids.
async fn sample() -> Arc<dyn ObjectStore> {
    let store = memory();
    let first = [
        row("a", 1, 0.5),
        Row { status: "internal", ..row("failed", 1, 0.1) },
        Row { route: "shadow", ..row("shadow", 1, 0.2) },
        row("a", 2, 0.5), // sent again
        Row { weight: 4.0, ..row("same", 2, 0.5) },
        row("unlabelled", 3, 0.9),
        row("early", -1, 0.3),
    ];
    capture(&store, 1, &first).await;
    capture(&store, 2, &[row("b", 25, -1.0), row("c", 26, -0.0), row("d", 27, 0.0), row("e", 28, 2.0)]).await;
    label(&store, &[("a", 1.0), ("same", 1.0), ("b", 0.0), ("c", 0.0), ("d", 0.0), ("e", 1.0)]).await;
    label(&store, &[("failed", 1.0), ("shadow", 1.0), ("early", 1.0), ("nobody", 1.0)]).await;
    store
}

#[tokio::test]
async fn rows_are_joined_filtered_and_weighed() {
    let (store, out) = (sample().await, memory());
    let manifest = build(&store, &out, &query()).await.unwrap();
    let rows = rows_of(&out, "train").await;
    let expected =
        [("a", Some(1.0), 5.0), ("b", Some(0.0), 1.0), ("c", Some(0.0), 2.0), ("e", Some(1.0), 1.0)];
    assert_eq!(shown(&rows), expected);
    let counts = Counts { rows: 10, failed: 2, repeated: 1, labelled: 6, duplicates: 2, kept: 4 };
    assert_eq!(manifest.counts, counts);
    let days: Vec<_> = manifest.days.iter().map(|day| (day.date.as_str(), day.rows, day.labelled)).collect();
    assert_eq!(days, [("2026-01-01", 3, 2), ("2026-01-02", 4, 4)]);
    assert_eq!((manifest.label, manifest.captured.len(), manifest.labels.len()), (Some("number"), 2, 2));
    let written = out.get(&"dataset.json".into()).await.unwrap().bytes().await.unwrap();
    assert_eq!(written, manifest.to_json());
    let again = build(&store, &out, &query()).await;
    assert!(matches!(again, Err(DatasetError::Exists(_))), "{again:?}");
}

#[tokio::test]
async fn rows_without_a_label_versions_and_duplicates_are_a_choice() {
    let (store, out) = (sample().await, memory());
    let wanted = Query { labels: LabelNeed::Any, versions: vec![1], keep_duplicates: true, ..query() };
    build(&store, &out, &wanted).await.unwrap();
    let rows = rows_of(&out, "train").await;
    assert_eq!(shown(&rows), [("a", Some(1.0), 1.0), ("same", Some(1.0), 4.0), ("unlabelled", None, 1.0)]);
    let out = memory();
    let manifest = build(&store, &out, &Query { versions: vec![9], ..query() }).await.unwrap();
    assert_eq!((manifest.counts.rows, manifest.files.len(), manifest.label), (0, 0, None));
    let backwards = build(&store, &memory(), &Query { to_us: 0, ..query() }).await;
    assert!(matches!(backwards, Err(DatasetError::Invalid(_))));
    let many = build(&store, &memory(), &Query { rows_max: 3, ..query() }).await;
    assert!(matches!(many, Err(DatasetError::TooMany { max: 3 })));
}

#[tokio::test]
async fn splits_are_by_time_or_by_key_and_lose_nothing() {
    let store = sample().await;
    let ids = async |split: &str| {
        let out = memory();
        let query = Query { split: split.parse().unwrap(), keep_duplicates: true, ..query() };
        build(&store, &out, &query).await.unwrap();
        let of =
            async |part: &str| rows_of(&out, part).await.into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
        (of("train").await, of("test").await)
    };
    let (train, test) = ids("time:0.5").await;
    assert_eq!(
        (train, test),
        (vec!["a".into(), "same".into(), "b".into()], vec!["c".into(), "d".into(), "e".into()])
    );
    let (train, test) = ids("hash:0.5").await;
    // Python: int.from_bytes(sha256(id).digest()[:4], "big") / 2**32 < 0.5.
    assert_eq!(
        (train, test),
        (["same", "b", "c", "d", "e"].map(str::to_owned).to_vec(), vec!["a".to_owned()])
    );
}

#[tokio::test]
async fn the_same_sources_make_the_same_bytes() {
    let store = sample().await;
    let query = Query { split: Split::Hash(0.7), ..query() };
    let mut made = Vec::new();
    for _ in 0..2 {
        let out = memory();
        let manifest = build(&store, &out, &query).await.unwrap();
        let mut files = Vec::new();
        for file in out.list(None).try_collect::<Vec<_>>().await.unwrap() {
            files.push((file.location.to_string(), fetch(&out, file.location.as_ref()).await.unwrap().1));
        }
        files.sort();
        made.push((manifest.digest(), files));
    }
    assert_eq!(made[0], made[1]);
    // A correction makes another one.
    label(&store, &[("a", 0.0)]).await;
    let corrected = build(&store, &memory(), &query).await.unwrap();
    assert_ne!(corrected.digest(), made[0].0);
}

#[tokio::test]
async fn columns_that_some_versions_lack_are_null_and_other_types_are_refused() {
    let store = sample().await;
    let columns = |x: ArrayRef| {
        vec![
            ("request_id", Arc::new(StringArray::from(vec!["new"])) as ArrayRef),
            ("row", Arc::new(UInt32Array::from(vec![0]))),
            ("ts_us", Arc::new(TimestampMicrosecondArray::from(vec![BEGIN + DAY]))),
            ("model_version", Arc::new(UInt64Array::from(vec![3]))),
            ("route", Arc::new(StringArray::from(vec!["default"]))),
            ("status", Arc::new(StringArray::from(vec!["ok"]))),
            ("sample_weight", Arc::new(Float64Array::from(vec![1.0]))),
            ("key_hash", Arc::new(StringArray::from(vec!["k"]))),
            ("in.y", x),
        ]
    };
    let put = async |columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let key = "capture/model=m/version=3/date=2026-01-02/hour=00/r-1.parquet";
        store.put(&key.into(), writer.into_inner().unwrap().into()).await.unwrap();
    };
    put(columns(Arc::new(Float32Array::from(vec![7.0])))).await;
    let out = memory();
    build(&store, &out, &Query { labels: LabelNeed::Any, ..query() }).await.unwrap();
    let (bytes, _) = fetch(&out, "train/part-00000.parquet").await.unwrap();
    let batch = open("", bytes).unwrap().next().unwrap().unwrap();
    let y = batch.column_by_name("in.y").unwrap().as_primitive::<Float32Type>();
    assert_eq!((y.len() - y.null_count(), y.iter().flatten().next()), (1, Some(7.0)));
    let mut other = columns(Arc::new(StringArray::from(vec!["text"])));
    other.last_mut().unwrap().0 = "in.x";
    put(other).await;
    let refused = build(&store, &memory(), &query()).await;
    assert!(matches!(&refused, Err(DatasetError::Invalid(reason)) if reason.contains("in.x")), "{refused:?}");
    store
        .put(&"capture/model=m/version=3/date=2026-01-02/hour=00/r-1.parquet".into(), "x".into())
        .await
        .unwrap();
    assert!(matches!(build(&store, &memory(), &query()).await, Err(DatasetError::Damaged { .. })));
}
