//! Panes persist, join, expire and merge across replicas.

use super::*;
use crate::drift::builder::BaselineBuilder;
use crate::drift::profile::Value;
use crate::model::features::FeatureKind;

const MINUTE_US: i64 = 60_000_000;
const LIMITS: PaneLimits = PaneLimits { retention_us: 8 * DAY_US, bytes_max: 64 << 20 };

fn baseline(rows: u32) -> Arc<Baseline> {
    let mut first = BaselineBuilder::new([("in.x", FeatureKind::Numeric)]);
    (0..rows).for_each(|row| first.push(0, Value::Number(f64::from(row)), 1.0));
    let mut second = first.second_pass();
    for row in 0..rows {
        second.push(0, Value::Number(f64::from(row)), 1.0);
        second.row(1.0);
    }
    Arc::new(second.finish())
}

fn current(baseline: &Baseline, rows: u32) -> Current {
    let mut current = baseline.current(Sampling::LIVE);
    (0..rows).for_each(|row| current.push(0, Value::Number(f64::from(row)), 1.0));
    current.rows = f64::from(rows);
    current
}

fn files(folder: &Path) -> Vec<String> {
    let inner = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut names: Vec<String> =
        fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn rows(panes: &Panes) -> f64 {
    panes.window(0, i64::MAX).0.rows
}

#[test]
fn a_restart_finds_what_was_closed_and_other_replicas_add_theirs() {
    let (folder, baseline) = (tempfile::tempdir().unwrap(), baseline(1_000));
    let open =
        |replica: &str| Panes::open(Some(folder.path()), replica.into(), Arc::clone(&baseline), LIMITS);
    let (mut one, mut two) = (open("one"), open("two"));
    one.add(0, 5 * MINUTE_US, current(&baseline, 10)).unwrap();
    one.add(5 * MINUTE_US, 5 * MINUTE_US, current(&baseline, 20)).unwrap();
    two.add(0, 5 * MINUTE_US, current(&baseline, 300)).unwrap();
    assert_eq!((rows(&one), rows(&open("one"))), (30.0, 330.0));
    one.refresh();
    assert_eq!(rows(&one), 330.0);
    assert_eq!(one.window(5 * MINUTE_US, i64::MAX).0.rows, 20.0);
    // The same interval again, after a restart within it.
    open("one").add(0, 5 * MINUTE_US, current(&baseline, 1)).unwrap();
    assert_eq!(rows(&open("three")), 331.0);
    // Another baseline sees none of it.
    let other = Panes::open(Some(folder.path()), "one".into(), super::tests::baseline(999), LIMITS);
    assert_eq!(rows(&other), 0.0);
}

#[test]
fn old_panes_become_hours_then_days_then_nothing() {
    let (folder, baseline) = (tempfile::tempdir().unwrap(), baseline(1_000));
    let mut panes = Panes::open(Some(folder.path()), "one".into(), Arc::clone(&baseline), LIMITS);
    for pane in 0..36 {
        panes.add(pane * 5 * MINUTE_US, 5 * MINUTE_US, current(&baseline, 10)).unwrap();
    }
    panes.tidy(3 * HOUR_US).unwrap();
    assert_eq!((panes.panes().len(), files(folder.path()).len(), rows(&panes)), (25, 25, 360.0));
    panes.tidy(DAY_US + HOURLY_US).unwrap();
    assert_eq!(files(folder.path()), [format!("0-{DAY_US}-one.json")]);
    assert_eq!(rows(&panes), 360.0);
    let again = Panes::open(Some(folder.path()), "one".into(), baseline, LIMITS);
    assert_eq!(rows(&again), 360.0);
    panes.tidy(9 * DAY_US).unwrap();
    assert_eq!((rows(&panes), files(folder.path()).len()), (0.0, 0));
}

#[test]
fn a_crash_between_joining_and_removing_counts_nothing_twice() {
    let (folder, baseline) = (tempfile::tempdir().unwrap(), baseline(1_000));
    let open = || Panes::open(Some(folder.path()), "one".into(), Arc::clone(&baseline), LIMITS);
    let mut panes = open();
    panes.add(0, HOUR_US, current(&baseline, 30)).unwrap();
    let part = Pane {
        start_us: 0,
        length_us: 5 * MINUTE_US,
        replica: "one".into(),
        current: current(&baseline, 10),
    };
    panes.write(&part).unwrap();
    assert_eq!(rows(&open()), 30.0);
}

#[test]
fn damaged_and_foreign_files_are_left_alone() {
    let (folder, baseline) = (tempfile::tempdir().unwrap(), baseline(1_000));
    let open = || Panes::open(Some(folder.path()), "one".into(), Arc::clone(&baseline), LIMITS);
    open().add(0, HOUR_US, current(&baseline, 30)).unwrap();
    let inner = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    for name in ["7-60-one.json", "readme.txt", "-1-5-x.json", ".7-60-one.json.1.tmp"] {
        fs::write(inner.join(name), b"{\"format\":\"weir-profile\"").unwrap();
    }
    let panes = open();
    assert_eq!((rows(&panes), panes.damaged()), (30.0, 1));
}

#[test]
fn the_budget_joins_early_and_drops_sketches_but_no_counts() {
    let baseline = baseline(1_000);
    let limits = PaneLimits { bytes_max: 20_000, ..LIMITS };
    let mut panes = Panes::open(None, "one".into(), Arc::clone(&baseline), limits);
    for pane in 0..13 {
        panes.add(pane * 5 * MINUTE_US, 5 * MINUTE_US, current(&baseline, 2_000)).unwrap();
    }
    panes.tidy(65 * MINUTE_US).unwrap();
    assert_eq!((panes.panes().len(), rows(&panes)), (2, 26_000.0));
    assert!(panes.bytes() <= limits.bytes_max, "{}", panes.bytes());
}
