//! What goes wrong around capture: stores that fail or are slow, disks that are full or broken, queues that overflow,
//! segments that are torn. The counts hold every time, and files hold what they say.

use object_store::throttle::{ThrottleConfig, ThrottledStore};

use super::faulty_store::FaultyStore;
use super::*;

fn quick(folder: &Path, mode: CaptureMode) -> CaptureSettings {
    let retry_pauses = (Duration::from_millis(1), Duration::from_millis(4));
    CaptureSettings { rotate_rows: 10, retry_pauses, ..settings(folder, mode) }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

#[test]
fn a_failing_store_gets_every_row_once() {
    for seed in 1..4 {
        let folder = tempfile::tempdir().unwrap();
        let faulty = FaultyStore::new(data(folder.path()), seed * 7_919, 40);
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let capture =
            start(CaptureSettings { store: Some(store), ..quick(folder.path(), CaptureMode::Audit) });
        let tap = tap(&capture, &small());
        for n in 0..60 {
            assert!(wait(tap.observe(&row(&n.to_string()))));
        }
        capture.stop(LONG);
        assert!(!faulty.counts().is_empty());
        assert_eq!(capture.status().waiting_segments, 0, "{:?}", capture.status());
        let status = check(&capture, data(folder.path()));
        assert_eq!((status.written, dropped(&status)), (60, 0), "seed {seed}");
        let found = ids(data(folder.path()));
        assert!(found.len() == 60 && found.values().all(|times| *times == 1), "seed {seed}: {found:?}");
        check_manifests(folder.path(), &status);
    }
}

#[test]
fn a_slow_store_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let config = ThrottleConfig { wait_put_per_call: Duration::from_millis(40), ..ThrottleConfig::default() };
    let slow = ThrottledStore::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap(), config);
    let folder = tempfile::tempdir().unwrap();
    let slow: Arc<dyn ObjectStore> = Arc::new(slow);
    let capture =
        start(CaptureSettings { store: Some(Arc::clone(&slow)), ..quick(folder.path(), CaptureMode::Audit) });
    let tap = tap(&capture, &small());
    for n in 0..100 {
        assert!(wait(tap.observe(&row(&n.to_string()))));
    }
    // Acknowledged, and not all of it in the store yet: answers do not wait for it.
    assert!(capture.status().waiting_segments > 0);
    capture.stop(LONG);
    check(&capture, slow);
}

#[test]
fn an_unreachable_store_fills_the_quota_and_what_was_written_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the store wants a folder: every call fails.
    let in_the_way = folder.path().join("data/capture");
    let settings = CaptureSettings {
        store: Some(data(folder.path())),
        disk_bytes_max: 60_000,
        ..quick(folder.path(), CaptureMode::BestEffort)
    };
    std::fs::write(&in_the_way, b"").unwrap();
    let capture = start(settings.clone());
    let first = tap(&capture, &small());
    let mut n = 0;
    while capture.status().models["m"].dropped.is_empty() {
        first.observe(&row(&n.to_string()));
        n += 1;
        std::thread::yield_now();
    }
    let audited = CaptureConfig { mode: Some(CaptureMode::Audit), ..CaptureConfig::default() };
    capture.configure(&"m".parse().unwrap(), Some(audited)).unwrap();
    // What still fits is acknowledged; after that no answer leaves that is not recorded.
    let mut acknowledged = 0;
    while wait(first.observe(&row(&format!("audit-{acknowledged}")))) {
        acknowledged += 1;
    }
    capture.stop(Duration::from_secs(2));
    let status = check(&capture, data(folder.path()));
    assert!(status.dropped.contains_key("disk_quota"), "{status:?}");
    assert!(capture.status().waiting_segments > 0);
    let written = status.written;
    drop(capture);

    std::fs::remove_file(&in_the_way).unwrap();
    let capture = start(CaptureSettings { store: None, ..settings });
    let tap = tap(&capture, &small());
    while capture.status().waiting_segments > 0 {
        std::thread::yield_now();
    }
    assert!(tap.observe(&row("later")).is_none());
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    assert_eq!(status.written, written + 1);
    let found = ids(data(folder.path()));
    assert!((0..acknowledged).all(|n| found.contains_key(&format!("audit-{n}"))));
    assert!(found.contains_key("later") && !found.contains_key(&format!("audit-{acknowledged}")));
    check_manifests(folder.path(), &status);
}

#[test]
fn a_disk_that_refuses_is_counted_and_capture_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(quick(folder.path(), CaptureMode::Audit));
    let tap = tap(&capture, &small());
    let wal = folder.path().join("wal");
    std::fs::rename(&wal, folder.path().join("gone")).unwrap();
    assert!(!wait(tap.observe(&row("a"))));
    assert!(capture.status().last_error.is_some());
    std::fs::rename(folder.path().join("gone"), &wal).unwrap();
    assert!(wait(tap.observe(&row("b"))));
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    assert_eq!((status.accepted, status.written), (2, 1));
    assert_eq!(status.dropped, BTreeMap::from([("disk_error".to_owned(), 1)]));
    assert_eq!(ids(data(folder.path())).keys().collect::<Vec<_>>(), ["b"]);
    check_manifests(folder.path(), &status);
}

#[test]
fn a_queue_that_overflows_drops_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(CaptureSettings {
        queue_rows: 8,
        rotate_rows: 1_000,
        ..quick(folder.path(), CaptureMode::BestEffort)
    });
    let tap = tap(&capture, &small());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let tap = Arc::clone(&tap);
            std::thread::spawn(move || {
                for n in 0..5_000 {
                    // As a server does, which makes no observation that there is no room for; and as one that was too late.
                    match tap.attention() {
                        Attention::Full if n % 2 == 0 => tap.skip(1),
                        _ => drop(tap.observe(&row(&format!("{thread}-{n}")))),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let so_far = capture.status().models["m"].clone();
    assert_eq!(so_far.accepted, 20_000, "what was skipped is counted");
    // The last row that it sees is one that it skips, of a version that goes.
    tap.skip(1);
    drop(tap);
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    assert_eq!(status.accepted, 20_001);
    assert!(status.dropped.contains_key("queue_rows") && status.written > 0, "{status:?}");
    check_manifests(folder.path(), &status);
}

#[test]
fn durable_waits_for_room_and_drops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(CaptureSettings {
        queue_rows: 4,
        rotate_rows: 1_000,
        ..quick(folder.path(), CaptureMode::Durable)
    });
    let tap = tap(&capture, &small());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waited = runtime.block_on(async {
        let mut waited = 0;
        for n in 0..500 {
            if let Some(acknowledged) = tap.observe(&row(&n.to_string())) {
                waited += 1;
                acknowledged.await.unwrap();
            }
        }
        // One whose caller goes away is dropped, and counted.
        let gone: Vec<_> = (500..520).filter_map(|n| tap.observe(&row(&n.to_string()))).collect();
        assert!(!gone.is_empty());
        waited
    });
    assert!(waited > 0);
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    assert_eq!(status.accepted, 520);
    assert_eq!(status.dropped.keys().collect::<Vec<_>>(), ["abandoned"]);
    check_manifests(folder.path(), &status);
}

/// What happens on a disk that segments fill to its last block: the files that would free it are made in memory.
#[test]
fn files_that_the_disk_has_no_room_for_are_stored_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    let shared: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(store.path()).unwrap());
    let settings =
        CaptureSettings { store: Some(Arc::clone(&shared)), ..quick(folder.path(), CaptureMode::Audit) };
    let capture = start(settings);
    std::fs::remove_dir(folder.path().join("spool")).unwrap();
    let tap = tap(&capture, &small());
    (0..40).for_each(|n| assert!(wait(tap.observe(&row(&n.to_string())))));
    capture.stop(LONG);
    let status = check(&capture, Arc::clone(&shared));
    assert_eq!((status.written, dropped(&status)), (40, 0));
    let found = ids(shared);
    assert!(found.len() == 40 && found.values().all(|times| *times == 1), "{found:?}");
}

#[test]
fn a_torn_segment_is_cut_and_the_rest_of_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let copied = tempfile::tempdir().unwrap();
    let capture = start(CaptureSettings { rotate_rows: 1_000, ..quick(folder.path(), CaptureMode::Audit) });
    let tap = tap(&capture, &small());
    (0..20).for_each(|n| assert!(wait(tap.observe(&row(&n.to_string())))));
    // As the disk is after a kill -9 in the middle of a write.
    copy(folder.path(), copied.path());
    capture.stop(LONG);
    let segment = std::fs::read_dir(copied.path().join("wal")).unwrap().next().unwrap().unwrap().path();
    let len = std::fs::metadata(&segment).unwrap().len();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(len - 3).unwrap();

    let registry = Registry::new();
    let capture = Capture::start(quick(copied.path(), CaptureMode::Audit), &registry).unwrap();
    capture.stop(LONG);
    let shown = String::from_utf8(registry.expose().unwrap()).unwrap();
    assert!(shown.contains("weir_capture_torn_segments_total 1\n"), "{shown}");
    let status = check(&capture, data(copied.path()));
    assert_eq!((status.accepted, status.written), (19, 19));
    assert_eq!(ids(data(copied.path())).len(), 19);
}

/// The folder of a process that died after its file was stored and before it knew, in every order that may be.
#[test]
fn a_file_that_is_there_already_is_not_stored_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    let shared: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(store.path()).unwrap());
    let capture = start(CaptureSettings {
        store: Some(Arc::clone(&shared)),
        rotate_rows: 1_000,
        ..quick(folder.path(), CaptureMode::Audit)
    });
    let tap = tap(&capture, &small());
    (0..10).for_each(|n| assert!(wait(tap.observe(&row(&n.to_string())))));
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    capture.stop(LONG);
    assert_eq!(ids(Arc::clone(&shared)).len(), 10);
    let settings =
        CaptureSettings { store: Some(Arc::clone(&shared)), ..quick(copied.path(), CaptureMode::Audit) };
    let again = start(settings.clone());
    again.stop(LONG);
    assert!(ids(Arc::clone(&shared)).values().all(|times| *times == 1));
    check(&again, Arc::clone(&shared));
    drop(again);
    // And one that died after its totals were written: the segment is there and known.
    let segment = super::super::ledger::Ledger::segment(folder.path(), 1);
    std::fs::write(copied.path().join("wal").join(segment.file_name().unwrap()), b"").unwrap();
    let again = start(settings);
    again.stop(LONG);
    check(&again, shared);
}

#[test]
fn metrics_say_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let capture = Capture::start(quick(folder.path(), CaptureMode::BestEffort), &registry).unwrap();
    tap(&capture, &small()).observe(&row("a"));
    capture.stop(LONG);
    let shown = String::from_utf8(registry.expose().unwrap()).unwrap();
    for line in [
        "weir_capture_rows_total{model=\"m\",result=\"accepted\"} 1",
        "weir_capture_rows_total{model=\"m\",result=\"written\"} 1",
        "weir_capture_rows_total{model=\"m\",result=\"dropped\"} 0",
        "weir_capture_upload_failures_total 0",
        "weir_capture_uploads_total 1",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}
