//! Small captures whose numbers were worked out by hand, or with scikit-learn where it says so.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow_array::{TimestampMicrosecondArray, UInt32Array, UInt64Array};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::capture::labels::{Label, LabelStore, LabelStoreOptions, LabelValue};

const HOUR: i64 = 3_600_000_000;
/// 2026-01-01.
const BEGIN: i64 = 1_767_225_600_000_000;

/// Writes rows `<version>-<n>`, answered an hour apart from the start of `day`, with `outputs`.
async fn capture(store: &Arc<dyn ObjectStore>, version: u64, day: i64, outputs: Vec<(&str, ArrayRef)>) {
    let len = outputs[0].1.len();
    let ids: Vec<String> = (0..len).map(|n| format!("{version}-{day}-{n}")).collect();
    let times = (0..len).map(|n| BEGIN + day * 24 * HOUR + n as i64 * HOUR / 100);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("request_id", Arc::new(StringArray::from_iter_values(ids))),
        ("row", Arc::new(UInt32Array::from(vec![0; len]))),
        ("ts_us", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))),
        ("model_version", Arc::new(UInt64Array::from(vec![version; len]))),
        ("route", Arc::new(StringArray::from(vec!["default"; len]))),
        ("status", Arc::new(StringArray::from(vec!["ok"; len]))),
        ("sample_weight", Arc::new(Float64Array::from(vec![1.0; len]))),
        ("key_hash", Arc::new(StringArray::from(vec![None::<&str>; len]))),
        ("in.x", Arc::new(Float32Array::from(vec![0.0; len]))),
    ];
    columns.extend(outputs);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let date = chrono::DateTime::from_timestamp_micros(BEGIN + day * 24 * HOUR).unwrap().date_naive();
    let key = format!("capture/model=m/version={version}/date={date}/hour=00/r-1.parquet");
    store.put(&Path::from(key), writer.into_inner().unwrap().into()).await.unwrap();
}

async fn label(store: &Arc<dyn ObjectStore>, labels: Vec<(String, LabelValue)>) {
    let folder = tempfile::tempdir().unwrap();
    let options = LabelStoreOptions { folder: folder.path().to_owned(), ..LabelStoreOptions::default() };
    let opened = LabelStore::open(Arc::clone(store), options).unwrap();
    let of = |(request_id, value)| Label { request_id, row: 0, value, time_us: None, source: String::new() };
    opened.append(&"m".parse().unwrap(), labels.into_iter().map(of).collect()).await.unwrap();
    opened.flush().await.unwrap();
}

fn numbers(version: u64, day: i64, values: &[f64]) -> Vec<(String, LabelValue)> {
    let of = |(n, value): (usize, &f64)| (format!("{version}-{day}-{n}"), LabelValue::Number(*value));
    values.iter().enumerate().map(of).collect()
}

fn scores(rows: &[[f32; 2]]) -> ArrayRef {
    let rows = rows.iter().map(|row| Some(row.map(Some)));
    Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, 2))
}

fn asked() -> Asked {
    Asked::new("m".parse().unwrap(), BEGIN, BEGIN + 10 * 24 * HOUR)
}

async fn report(store: &Arc<dyn ObjectStore>) -> PerformanceReport {
    performance(store, &asked()).await.unwrap()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

#[track_caller]
fn close(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?}, expected {expected}");
}

#[tokio::test]
async fn two_classes_by_version_and_day() {
    let store = memory();
    let rows = [[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]];
    let outputs = |rows: &[[f32; 2]]| -> Vec<(&'static str, ArrayRef)> {
        let classes: Int64Array = rows.iter().map(|row| i64::from(row[1] >= 0.5)).collect();
        vec![("out.label", Arc::new(classes)), ("out.probabilities", scores(rows))]
    };
    capture(&store, 1, 0, outputs(&rows)).await;
    capture(&store, 1, 1, outputs(&rows[..2])).await;
    capture(&store, 2, 1, outputs(&rows[..1])).await;
    label(&store, numbers(1, 0, &[0.0, 0.0, 1.0, 1.0])).await;
    label(&store, numbers(1, 1, &[1.0])).await;
    let report = report(&store).await;
    assert_eq!((report.task, report.prediction.as_deref()), (Task::Binary, Some("out.label")));
    assert_eq!(
        (report.scores.as_deref(), report.positive.as_deref()),
        (Some("out.probabilities"), Some("1"))
    );
    assert_eq!(report.notes, Vec::<String>::new());
    let days: Vec<_> =
        report.days.iter().map(|d| (d.version, d.date.clone().unwrap(), d.rows, d.labelled)).collect();
    let day = |n: u32| format!("2026-01-0{n}");
    assert_eq!(days, [(1, day(1), 4, 4), (1, day(2), 2, 1), (2, day(2), 1, 0)]);
    let first = &report.days[0];
    // scikit-learn: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), log_loss and accuracy_score of the same.
    close(first.accuracy, 0.75);
    close(first.auc, 0.75);
    assert!((first.log_loss.unwrap() - 0.472_287_95).abs() < 1e-6, "{first:?}");
    // statsmodels proportion_confint(3, 4, method="wilson").
    let [low, high] = first.accuracy_interval.unwrap();
    assert!((low - 0.300_642).abs() < 1e-5 && (high - 0.954_413).abs() < 1e-5, "{low} {high}");
    assert!(first.delay_s_median.unwrap() > 0.0);
    close(report.days[1].accuracy, 0.0);
    assert_eq!((report.days[1].coverage, report.days[2].accuracy), (0.5, None));
    close(report.versions[0].accuracy, 0.6);
    // A correction counts at once.
    label(&store, numbers(1, 1, &[0.0])).await;
    close(self::report(&store).await.days[1].accuracy, 1.0);
}

#[tokio::test]
async fn a_single_float_is_a_score_or_a_number_by_its_labels() {
    let store = memory();
    let values: ArrayRef = Arc::new(Float32Array::from(vec![0.25, 0.75]));
    capture(&store, 1, 0, vec![("out.y", values)]).await;
    label(&store, numbers(1, 0, &[0.0, 0.0])).await;
    let binary = report(&store).await;
    assert_eq!(binary.task, Task::Binary);
    close(binary.versions[0].accuracy, 0.5);
    label(&store, numbers(1, 0, &[3.25, 4.75])).await;
    let regression = report(&store).await;
    assert_eq!((regression.task, regression.prediction.as_deref()), (Task::Regression, Some("out.y")));
    let version = &regression.versions[0];
    close(version.mae, 3.5);
    close(version.rmse, (0.5_f64 * (9.0 + 16.0)).sqrt());
    assert_eq!((version.accuracy, version.auc), (None, None));
}

#[tokio::test]
async fn several_classes_by_name_and_hashes_that_no_label_equals() {
    let store = memory();
    let names = |names: [&str; 3]| -> ArrayRef { Arc::new(StringArray::from(names.to_vec())) };
    capture(&store, 1, 0, vec![("out.species", names(["Adelie", "Gentoo", "Adelie"]))]).await;
    let text = |n: usize, name: &str| (format!("1-0-{n}"), LabelValue::Text(name.to_owned()));
    label(&store, vec![text(0, "Adelie"), text(1, "Chinstrap"), text(2, "Adelie")]).await;
    let report = performance(&store, &asked()).await.unwrap();
    assert_eq!((report.task, report.notes.len()), (Task::Multiclass, 0));
    close(report.versions[0].accuracy, 2.0 / 3.0);
    let hash = "0123456789abcdef0123456789abcdef";
    capture(&store, 1, 0, vec![("out.species", names([hash; 3]))]).await;
    let report = performance(&store, &asked()).await.unwrap();
    assert!(report.notes.iter().any(|note| note.contains("privacy")), "{:?}", report.notes);
}

#[tokio::test]
async fn outputs_are_named_or_there_are_none() {
    let store = memory();
    let floats = |values: [f32; 2]| -> ArrayRef { Arc::new(Float32Array::from(values.to_vec())) };
    capture(&store, 1, 0, vec![("out.a", floats([1.0, 1.0])), ("out.b", floats([5.0, 7.0]))]).await;
    label(&store, numbers(1, 0, &[5.0, 8.0])).await;
    let named = Asked { prediction: Some("b".to_owned()), ..asked() };
    close(performance(&store, &named).await.unwrap().versions[0].mae, 0.5);
    let unknown = Asked { prediction: Some("c".to_owned()), ..asked() };
    let refused = performance(&store, &unknown).await;
    assert!(matches!(&refused, Err(DatasetError::Invalid(text)) if text.contains("out.a")), "{refused:?}");
    let empty = report(&memory()).await;
    assert_eq!((empty.task, empty.versions.len()), (Task::Unknown, 0));
}

#[tokio::test]
async fn accuracy_is_estimated_where_labels_are_missing() {
    let store = memory();
    // Scores of 0.9 are right nine times of ten: calibrated, so that the estimate is what will turn out.
    let day = |confident: usize| -> Vec<[f32; 2]> {
        (0..200).map(|n| if n < confident { [0.1, 0.9] } else { [0.6, 0.4] }).collect()
    };
    let outputs = |rows: &[[f32; 2]]| vec![("out.p", scores(rows))];
    capture(&store, 1, 0, outputs(&day(100))).await;
    capture(&store, 1, 1, outputs(&day(20))).await;
    let truth = |n: usize| if n < 100 { !n.is_multiple_of(10) } else { n % 10 < 4 };
    let truths: Vec<f64> = (0..200).map(|n| f64::from(u8::from(truth(n)))).collect();
    label(&store, numbers(1, 0, &truths)).await;
    let report = report(&store).await;
    close(report.days[0].accuracy, 0.75);
    close(report.days[0].estimated_accuracy, 0.75);
    assert_eq!(report.days[1].accuracy, None);
    // 20 rows at 0.9 and 180 at 0.6.
    close(report.days[1].estimated_accuracy, 0.63);
}

#[test]
fn times_are_read_or_refused() {
    let now = DateTime::from_timestamp_micros(BEGIN).unwrap();
    let check = |text: &str, expected: Option<i64>| assert_eq!(time(text, now).ok(), expected, "{text}");
    check("2026-01-01", Some(BEGIN));
    check("2026-01-01T01:00:00+01:00", Some(BEGIN));
    check("-30d", Some(BEGIN - 30 * 24 * HOUR));
    check("-90m", Some(BEGIN - 90 * HOUR / 60));
    for wrong in ["", "-", "30d", "yesterday", "-1fortnight", "2026-13-01"] {
        check(wrong, None);
    }
}
