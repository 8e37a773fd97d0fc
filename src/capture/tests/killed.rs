//! Processes that are killed while they capture. The children are this test binary again, told by a variable what to do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Names the folder that a child writes to, and its mode.
const FOLDER: &str = "WEIR_TEST_CAPTURE_FOLDER";
const MODE: &str = "WEIR_TEST_CAPTURE_MODE";
const ROUND: &str = "WEIR_TEST_CAPTURE_ROUND";

/// No test by itself: what a child does. It writes until it is killed, and says what was acknowledged.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mode = match std::env::var(MODE).as_deref() {
        Ok("audit") => CaptureMode::Audit,
        _ => CaptureMode::BestEffort,
    };
    let round = std::env::var(ROUND).unwrap();
    // Files are made all the time, so that every step of the way is where the process may die.
    let small_files = CaptureSettings { rotate_rows: 7, ..settings(Path::new(&folder), mode) };
    let capture = start(small_files);
    let tap = tap(&capture, &super::small());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for number in 0.. {
        let id = format!("{round}-{number}");
        if let Some(acknowledged) = tap.observe(&row(&id)) {
            runtime.block_on(acknowledged).unwrap();
        } else if number % 64 == 0 {
            std::thread::yield_now();
        }
        println!("\nacknowledged {id}");
    }
}

/// Starts a child, and kills it after it has said so many acknowledgements. Returns them.
fn kill_after(folder: &Path, mode: &str, round: usize, acknowledgements: usize) -> Vec<String> {
    let name = module_path!().split_once("::").map(|(_, path)| format!("{path}::child")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .env(MODE, mode)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while said.len() < acknowledgements {
        let line = lines.next().expect("the child works until it is killed").unwrap();
        said.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died, it had been told.
    said.extend(lines.map_while(Result::ok).filter_map(|line| {
        let id = line.strip_prefix("acknowledged ")?;
        // The last line may be cut.
        id.contains('-').then(|| id.to_owned())
    }));
    said
}

#[test]
fn no_acknowledged_row_of_audit_is_lost_and_none_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for round in 0..6 {
        let mut told = kill_after(folder.path(), "audit", round, 10 + 13 * round);
        // The very last may be cut in the middle of its number.
        told.pop();
        said.extend(told);
    }
    let capture = start(settings(folder.path(), CaptureMode::Audit));
    capture.stop(LONG);
    assert_eq!(capture.status().waiting_segments, 0);
    let status = check(&capture, data(folder.path()));
    let found = ids(data(folder.path()));
    for id in &said {
        assert!(found.contains_key(id), "{id} was acknowledged and is lost");
    }
    assert!(found.values().all(|times| *times == 1), "a row is there twice");
    assert!(status.written >= said.len() as u64);
    assert_eq!(dropped(&status), 0);
    check_manifests(folder.path(), &status);
}

#[test]
fn the_counts_hold_when_best_effort_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        kill_after(folder.path(), "best_effort", round, 500 * (round + 1));
    }
    let capture =
        start(CaptureSettings { rotate_rows: 5, ..settings(folder.path(), CaptureMode::BestEffort) });
    let tap = tap(&capture, &small());
    (0..10).for_each(|n| drop(tap.observe(&row(&format!("after-{n}")))));
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    let found = ids(data(folder.path()));
    assert!(found.values().all(|times| *times == 1), "a row is there twice");
    assert!((0..10).all(|n| found.contains_key(&format!("after-{n}"))));
    check_manifests(folder.path(), &status);
}
