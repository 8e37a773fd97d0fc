//! What a policy takes away is nowhere: not in files, not in the WAL.

use super::*;

fn secretive() -> TappedVersion {
    let mut version = version(
        vec![spec("s", DataType::Bytes, &[None, Some(1)]), spec("card", DataType::Bytes, &[None, Some(1)])],
        vec![spec("p", DataType::Fp32, &[None, Some(2)])],
    );
    let privacy = &mut version.config.monitoring.capture.privacy;
    privacy.insert("in.card".to_owned(), "mask:[0-9]+".parse().unwrap());
    privacy.insert("out.p".to_owned(), "round:1".parse().unwrap());
    version
}

fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes.extend(all_bytes(&path)),
            false => bytes.extend(std::fs::read(path).unwrap()),
        }
    }
    bytes
}

#[test]
fn text_is_hashed_before_it_touches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::Audit));
    let tap = tap(&capture, &secretive());
    let inputs = vec![texts("s", &[1, 1], &[b"Jane Doe"]), texts("card", &[1, 1], &[b"no. 4111"])];
    let seen = Arc::new(Observation {
        key: Name::from("customer-7"),
        ..Observation::clone(&observation("r", inputs, vec![floats("p", 1, &[0.123_456, 0.87])], 1))
    });
    assert!(wait(tap.observe(&seen)));
    let contains =
        |text: &str| all_bytes(folder.path()).windows(text.len()).any(|part| part == text.as_bytes());
    for secret in ["Jane", "4111", "customer-7"] {
        assert!(!contains(secret), "{secret} in the WAL");
    }
    assert!(contains("no. *"));
    capture.stop(LONG);
    let batch = batches(data(folder.path())).pop().unwrap();
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(text("in.card"), "no. *");
    let hashed = super::super::key_hash(&folder.path().join("hmac.key"), "Jane Doe").unwrap();
    assert_eq!(text("in.s"), hashed);
    let p = batch.column_by_name("out.p").unwrap().as_fixed_size_list().value(0);
    assert_eq!(p.as_primitive::<arrow_array::types::Float32Type>().values(), &[0.1, 0.9]);
}

#[test]
fn a_live_change_leaves_the_version_s_privacy_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::Off));
    let tap = tap(&capture, &secretive());
    let live = CaptureConfig {
        mode: Some(CaptureMode::Audit),
        privacy: [("in.card".to_owned(), "keep".parse().unwrap())].into(),
        ..CaptureConfig::default()
    };
    capture.configure(&"m".parse().unwrap(), Some(live)).unwrap();
    let inputs = vec![texts("s", &[1, 1], &[b"Jane Doe"]), texts("card", &[1, 1], &[b"no. 4111"])];
    assert!(wait(tap.observe(&observation("r", inputs, vec![floats("p", 1, &[0.1, 0.9])], 1))));
    capture.stop(LONG);
    let batch = batches(data(folder.path())).pop().unwrap();
    assert_eq!(batch.column_by_name("in.card").unwrap().as_string::<i32>().value(0), "no. *");
}

#[test]
fn headers_are_hashed_kept_or_dropped_as_their_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut version = small();
    let config = &mut version.config.monitoring.capture;
    config.attributes = ["x-a", "x-b", "x-c"].map(std::sync::Arc::from).to_vec();
    config.privacy.insert("attr.x-b".to_owned(), "keep".parse().unwrap());
    config.privacy.insert("attr.x-c".to_owned(), "drop".parse().unwrap());
    let capture = start(settings(folder.path(), CaptureMode::Audit));
    let tap = tap(&capture, &version);
    let sent = ["x-a", "x-b", "x-c", "x-d"].map(|name| (name.into(), Name::from("north")));
    let two = observation(
        "r",
        vec![floats("x", 2, &[1.0, 2.0, 3.0, 4.0])],
        vec![floats("p", 2, &[0.1, 0.9, 0.2, 0.8])],
        2,
    );
    assert!(wait(
        tap.observe(&Arc::new(Observation { attributes: Some(sent.into()), ..Observation::clone(&two) }))
    ));
    assert!(wait(tap.observe(&two)));
    capture.stop(LONG);
    let all = batches(data(folder.path()));
    let batch = arrow_select::concat::concat_batches(&all[0].schema(), &all).unwrap();
    let values = |name: &str| -> Vec<Option<String>> {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.iter().map(|value| value.map(str::to_owned)).collect()
    };
    let hashed = super::super::key_hash(&folder.path().join("hmac.key"), "north").unwrap();
    let both = |value: &str| vec![Some(value.to_owned()), Some(value.to_owned()), None, None];
    assert_eq!(values("attr.x-a"), both(&hashed));
    assert_eq!(values("attr.x-b"), both("north"));
    assert_eq!(values("attr.x-c"), [const { None }; 4]);
    assert!(batch.column_by_name("attr.x-d").is_none());
    assert_eq!(batch.column_by_name("alias_rev").unwrap().null_count(), 4);
}

#[test]
fn rows_of_a_key_are_deleted_and_the_manifest_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::BestEffort));
    let tap = tap(&capture, &small());
    for n in 0..10 {
        let key = Name::from(if n % 3 == 0 { "gone" } else { "stays" });
        tap.observe(&Arc::new(Observation { key, ..Observation::clone(&row(&n.to_string())) }));
    }
    capture.stop(LONG);
    let hash = super::super::key_hash(&folder.path().join("hmac.key"), "gone").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = data(folder.path());
        let all = Filter::default();
        let delete = || super::super::delete_key(&store, &all, &hash);
        let deleted = delete().await.unwrap();
        assert_eq!((deleted.rows, deleted.files), (4, 1));
        assert_eq!(delete().await.unwrap(), super::super::Deleted::default());
        let reader = Reader::new(Arc::clone(&store));
        let keys = reader.manifests("m").await.unwrap();
        let manifest = reader.manifest(&keys[0]).await.unwrap().unwrap();
        let entry = manifest.segments.values().next().unwrap();
        assert_eq!((entry.rows, entry.deleted), (6, 4));
        let path = entry.path.clone().unwrap();
        let bytes = std::fs::read(folder.path().join("data").join(path)).unwrap();
        use sha2::Digest;
        assert_eq!(super::super::privacy::hex(&sha2::Sha256::digest(&bytes)), entry.sha256);
    });
    assert_eq!(ids(data(folder.path())).keys().collect::<Vec<_>>(), ["1", "2", "4", "5", "7", "8"]);
}

#[test]
fn old_days_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::BestEffort));
    let tap = tap(&capture, &small());
    let day = Duration::from_secs(86_400);
    for days in 0..4 {
        let finished = Some(SystemTime::UNIX_EPOCH + day * (20_000 + days) + Duration::from_secs(60));
        tap.observe(&Arc::new(Observation { finished, ..Observation::clone(&row(&days.to_string())) }));
        // A segment a day: what waits leaves the builders before the next day's row comes.
        while capture.status().models["m"].written <= u64::from(days) {
            std::thread::yield_now();
        }
    }
    capture.stop(LONG);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let now = chrono::DateTime::from_timestamp(86_400 * 20_003 + 3_600, 0).unwrap();
    let deleted = runtime.block_on(super::super::retention::delete_older(&*data(folder.path()), 1, now));
    // Two files and their manifests.
    assert_eq!(deleted.unwrap(), 4);
    assert_eq!(ids(data(folder.path())).keys().collect::<Vec<_>>(), ["2", "3"]);
}
