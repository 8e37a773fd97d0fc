//! Values that are too large for a column: what is in the store is what was sent, and goes when its rows go.

use arrow_array::types::UInt64Type;
use arrow_array::{Array, StructArray};
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};

use super::super::privacy::hex;
use super::*;
use crate::model::monitoring::Privacy;

const MEBI: usize = 1 << 20;

/// `count` numbers that say `seed`.
fn image(seed: f32, count: usize) -> Vec<f32> {
    (0..1_000u16).cycle().take(count).map(|n| seed + f32::from(n)).collect()
}

/// The rows of `seen` in a store, and the folder that holds it.
fn written(version: &TappedVersion, seen: &[Arc<Observation>]) -> (tempfile::TempDir, Vec<RecordBatch>) {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::Durable));
    let tap = tap(&capture, version);
    for observation in seen {
        wait(tap.observe(observation));
    }
    capture.stop(LONG);
    check(&capture, data(folder.path()));
    let batches = batches(data(folder.path()));
    (folder, batches)
}

fn large<'a>(batch: &'a RecordBatch, name: &str) -> &'a StructArray {
    batch.column_by_name(name).unwrap().as_struct()
}

fn text(column: &StructArray, member: &str, at: usize) -> Option<String> {
    let texts = column.column_by_name(member).unwrap().as_string::<i32>();
    texts.is_valid(at).then(|| texts.value(at).to_owned())
}

/// What lies at the URI of a row.
fn object(folder: &tempfile::TempDir, column: &StructArray, at: usize) -> Vec<u8> {
    std::fs::read(folder.path().join("data").join(text(column, "uri", at).unwrap())).unwrap()
}

/// Every object with a large value.
fn objects(folder: &tempfile::TempDir) -> usize {
    let mut found = 0;
    let mut folders = vec![folder.path().join("data")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found += usize::from(path.display().to_string().contains(".values/")),
            }
        }
    }
    found
}

#[test]
fn tensors_that_are_always_large_lie_beside_their_file() {
    let fixed = version(vec![spec("x", DataType::Fp32, &[None, Some(MEBI)])], vec![]);
    let (one, two) = (image(0.5, MEBI), image(1.5, MEBI));
    let rows = floats("x", 2, &[one.clone(), two].concat());
    let seen = [
        observation("a", vec![rows], vec![], 2),
        observation("b", vec![floats("x", 1, &one)], vec![], 1),
        observation("c", vec![], vec![], 1),
    ];
    let (folder, batches) = written(&fixed, &seen);
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let column = large(&batch, "in.x");
    assert_eq!((column.len(), column.null_count()), (4, 1), "the last one had no such input");
    for (at, tensor) in [(0, &one), (2, &one)] {
        let data: Vec<u8> = tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(object(&folder, column, at) == data);
        assert_eq!(text(column, "sha256", at).unwrap(), hex(&Sha256::digest(&data)));
        let bytes = column.column_by_name("bytes").unwrap().as_primitive::<UInt64Type>();
        assert_eq!(bytes.value(at), 4 << 20);
    }
    assert_eq!(text(column, "uri", 0), text(column, "uri", 2), "equal values are one object");
    assert_ne!(text(column, "uri", 0), text(column, "uri", 1));
    assert_eq!(objects(&folder), 2);
}

#[test]
fn rows_that_are_seldom_large_stand_in_a_column_beside() {
    let config = |version: TappedVersion| {
        let mut version = version;
        version.config.monitoring.capture.privacy.insert("in.photo".to_owned(), Privacy::Keep);
        version
    };
    let inputs =
        vec![spec("x", DataType::Fp32, &[None, None]), spec("photo", DataType::Bytes, &[None, Some(1)])];
    let (small, big) = (image(0.0, 10), image(0.0, MEBI / 2));
    let photo = vec![7_u8; 2 * MEBI];
    let seen = [
        observation("a", vec![floats("x", 1, &small), texts("photo", &[1, 1], &[b"tiny"])], vec![], 1),
        observation("b", vec![floats("x", 1, &big), texts("photo", &[1, 1], &[&photo])], vec![], 1),
    ];
    let (folder, batches) = written(&config(version(inputs, vec![])), &seen);
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    for (name, expected) in
        [("in.x", big.iter().flat_map(|v| v.to_le_bytes()).collect()), ("in.photo", photo)]
    {
        let values = batch.column_by_name(name).unwrap();
        assert!(values.is_valid(0) && values.is_null(1), "{name}");
        let column = large(&batch, &format!("{name}.large"));
        assert!(column.is_null(0) && column.is_valid(1), "{name}");
        assert!(object(&folder, column, 1) == expected, "{name}");
    }
    assert_eq!(objects(&folder), 2);

    // In other shapes where it is stands for the value, and no column is there twice.
    use super::super::{ExportForm, json_row, lines};
    assert!(!json_row(&batch, 0).contains_key("in.x.large"));
    assert_eq!(json_row(&batch, 1)["in.x.large"]["bytes"], 4 * big.len());
    let azure = lines(ExportForm::Azure, "m", &batch);
    assert_eq!(azure[0]["data"][0].as_object().unwrap().len(), 2, "{azure:?}");
    assert_eq!(azure[2]["data"][0]["photo"]["bytes"], 2 * MEBI);
    let kserve = lines(ExportForm::Kserve, "m", &batch);
    assert_eq!(kserve[2]["data"]["inputs"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_not_kept_as_it_is_has_no_object() {
    let mut hashed = version(
        vec![
            spec("x", DataType::Fp32, &[None, Some(MEBI)]),
            spec("y", DataType::Fp32, &[None, Some(MEBI)]),
            spec("z", DataType::Fp32, &[None, Some(MEBI)]),
            spec("t", DataType::Bytes, &[None]),
        ],
        vec![],
    );
    let privacy = &mut hashed.config.monitoring.capture.privacy;
    privacy.insert("in.x".to_owned(), Privacy::Hmac);
    privacy.insert("in.y".to_owned(), Privacy::Round(1));
    privacy.insert("in.z".to_owned(), Privacy::Drop);
    let tensor = |name: &str| floats(name, 1, &image(0.25, MEBI));
    let long = vec![b'a'; 2 * MEBI];
    let inputs = vec![tensor("x"), tensor("y"), tensor("z"), texts("t", &[1], &[&long])];
    let (folder, batches) = written(&hashed, &[observation("a", inputs, vec![], 1)]);
    let batch = &batches[0];
    let plain = hex(&Sha256::digest(tensor("x").data()));
    let (x, y) = (large(batch, "in.x"), large(batch, "in.y"));
    assert_eq!((text(x, "uri", 0), text(y, "uri", 0)), (None, None));
    assert_ne!(text(x, "sha256", 0).unwrap(), plain, "a keyed hash");
    assert_eq!(text(y, "sha256", 0).unwrap(), plain);
    assert_eq!(batch.column_by_name("in.z").unwrap().null_count(), 1);
    assert_eq!(batch.column_by_name("in.t").unwrap().null_count(), 1);
    assert!(batch.column_by_name("in.t.large").is_none());
    assert_eq!(objects(&folder), 0);
}

#[test]
fn large_values_go_with_the_rows_that_name_them() {
    let fixed = version(vec![spec("x", DataType::Fp32, &[None, Some(MEBI)])], vec![]);
    let of = |key: &str, seed: f32| {
        let seen = observation(key, vec![floats("x", 1, &image(seed, MEBI))], vec![], 1);
        Arc::new(Observation { key: Name::from(key), ..Observation::clone(&seen) })
    };
    // The first is named by rows of both keys.
    let seen = [of("gone", 0.5), of("stays", 0.5), of("gone", 1.5), of("stays", 2.5)];
    let (folder, _) = written(&fixed, &seen);
    assert_eq!(objects(&folder), 3);
    let hash = super::super::key_hash(&folder.path().join("hmac.key"), "gone").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = data(folder.path());
    let all = Filter::default();
    let deleted = runtime.block_on(super::super::delete_key(&store, &all, &hash)).unwrap();
    assert_eq!((deleted.rows, objects(&folder)), (2, 2));
    let left = batches(Arc::clone(&store));
    for batch in &left {
        let column = large(batch, "in.x");
        for at in 0..column.len() {
            assert_eq!(object(&folder, column, at).len(), 4 << 20);
        }
    }
    let later = chrono::Utc::now() + chrono::TimeDelta::days(3);
    runtime.block_on(super::super::retention::delete_older(&*store, 1, later)).unwrap();
    assert_eq!(objects(&folder), 0);
    let listed = runtime.block_on(store.get(&object_store::path::Path::from("capture")));
    assert!(listed.is_err());
}

#[test]
fn a_store_that_fails_gets_every_value_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = version(vec![spec("x", DataType::Fp32, &[None, Some(MEBI)])], vec![]);
    // A file is where the folders of files should be.
    let data_folder = folder.path().join("data");
    std::fs::create_dir_all(&data_folder).unwrap();
    std::fs::write(data_folder.join("capture"), "in the way").unwrap();
    let capture = start(settings(folder.path(), CaptureMode::Audit));
    let tap_ = tap(&capture, &fixed);
    assert!(wait(tap_.observe(&observation("a", vec![floats("x", 1, &image(0.5, MEBI))], vec![], 1))));
    capture.stop(Duration::from_secs(2));
    drop((tap_, capture));
    std::fs::remove_file(data_folder.join("capture")).unwrap();
    // The next process finds the segment, with the value in it.
    let again = start(settings(folder.path(), CaptureMode::Audit));
    again.stop(LONG);
    let batches = batches(data(folder.path()));
    let column = large(&batches[0], "in.x");
    assert_eq!(object(&folder, column, 0).len(), 4 << 20);
}
