//! Timelines of short logs.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::record::{DeploymentSpec, FileRef, StickyKey};
use super::super::revision::{FORMAT, NO_PREVIOUS, Revision, sha256_hex};
use super::super::sample;
use super::*;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn time(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

fn weights(shares: &[(u64, u32)]) -> BTreeMap<Version, u32> {
    shares.iter().map(|(number, weight)| (version(*number), *weight)).collect()
}

fn deploy(shares: &[(u64, u32)], rollback_to: Option<u64>) -> Op {
    let spec = DeploymentSpec {
        traffic: weights(shares),
        sticky: StickyKey::default(),
        settings: BTreeMap::new(),
        rollback_window_s: 600,
    };
    Op::Deploy { deployment: "default".to_owned(), spec, rollback_to }
}

fn create(number: u64) -> Op {
    let file = FileRef { path: "m.onnx".to_owned(), sha256: sha256_hex(&[0]), size: 1 };
    Op::CreateVersion { version: version(number), record: Box::new(sample::record(vec![file])) }
}

/// A log of these revisions: minute, author, operations.
fn log(revisions: Vec<(i64, &str, Vec<Op>)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (minute, sub, ops) in revisions {
        let revision = Revision {
            format: FORMAT,
            model: "m".parse().unwrap(),
            rev: entries.len() as u64 + 1,
            prev: entries.last().map_or(NO_PREVIOUS.to_owned(), |entry| entry.hash.clone()),
            commit_id: Uuid::nil(),
            time: time(minute),
            actor: Actor { sub: sub.to_owned(), method: "cli".to_owned() },
            reason: format!("minute {minute}"),
            request_id: String::new(),
            ops,
            sig: None,
        };
        let hash = sha256_hex(&revision.to_bytes().unwrap());
        entries.push(Entry { revision, hash });
    }
    entries
}

fn start() -> Vec<Op> {
    vec![Op::CreateModel { description: String::new() }, create(1)]
}

fn tell(entries: &[Entry]) -> Timeline {
    timeline(&"m".parse().unwrap(), entries).unwrap()
}

/// What served at a minute: revision and shares in percent.
fn at(timeline: &Timeline, minute: i64) -> Vec<(u64, String)> {
    let shares = |change: &&Change| {
        let text: Vec<String> =
            change.traffic.iter().map(|share| format!("{}:{:.0}", share.version, share.percent)).collect();
        (change.rev, text.join(" "))
    };
    timeline.at(time(minute)).iter().map(shares).collect()
}

#[test]
fn what_served_is_told_for_every_time() {
    let split = Op::SetTraffic {
        deployment: "default".to_owned(),
        traffic: weights(&[(1, 9), (2, 1)]),
        sticky: None,
    };
    let metrics = BTreeMap::from([("auc".to_owned(), 0.9)]);
    let annotate = Op::Annotate { version: Some(version(2)), metrics, description: None };
    let log = log(vec![
        (0, "ada", start()),
        (1, "ada", vec![deploy(&[(1, 1)], None)]),
        (2, "bob", vec![create(2)]),
        (3, "bob", vec![split]),
        (4, "bob", vec![annotate]),
        (5, "cleo", vec![deploy(&[(2, 1)], None)]),
        (6, "dan", vec![deploy(&[(1, 1)], Some(2))]),
        (7, "dan", vec![Op::Undeploy { deployment: "default".to_owned() }]),
    ]);
    let timeline = tell(&log);
    for (minute, expected) in [
        (0, vec![]),
        (1, vec![(2, "1:100")]),
        (2, vec![(2, "1:100")]),
        (3, vec![(4, "1:90 2:10")]),
        (4, vec![(4, "1:90 2:10")]),
        (5, vec![(6, "2:100")]),
        (6, vec![(7, "1:100")]),
        (7, vec![(8, "")]),
        (1000, vec![(8, "")]),
    ] {
        let expected: Vec<(u64, String)> = expected.into_iter().map(|(r, t)| (r, t.to_owned())).collect();
        assert_eq!(at(&timeline, minute), expected, "minute {minute}");
    }
    let what: Vec<&str> = timeline.changes.iter().map(|change| change.what).collect();
    assert_eq!(what, ["deploy", "traffic", "deploy", "rollback", "undeploy"]);
    assert!(timeline.changes[1].evidence[1].metrics.is_empty(), "not known when the split was made");
    assert_eq!(timeline.changes[2].evidence[0].metrics["auc"], 0.9);
    assert_eq!(timeline.changes[2].actor.sub, "cleo");
    assert_eq!(timeline.changes[2].until, Some((7, time(6))));
    assert!(timeline.clock_went_back.is_empty());
}

#[test]
fn a_clock_that_goes_back_changes_no_order() {
    let log = log(vec![
        (0, "ada", start()),
        (10, "ada", vec![create(2), deploy(&[(1, 1)], None)]),
        (4, "bob", vec![deploy(&[(2, 1)], None)]),
        (12, "bob", vec![deploy(&[(1, 1)], None)]),
    ]);
    let timeline = tell(&log);
    assert_eq!(timeline.clock_went_back, [ClockStep { rev: 3, back_ms: 6 * 60_000 }]);
    assert_eq!(at(&timeline, 5), [], "revision 3 came after revision 2, whatever its clock said");
    assert_eq!(at(&timeline, 10), [(3, "2:100".to_owned())]);
    assert_eq!(at(&timeline, 12), [(4, "1:100".to_owned())]);
    assert_eq!(timeline.changes[1].time, time(4), "as recorded");
}

#[test]
fn approvals_and_aliases_are_evidence() {
    let proposal = Uuid::from_u128(7);
    let alias = |number| Op::SetAlias { alias: "champion".to_owned(), version: version(number) };
    let log = log(vec![
        (0, "ada", start()),
        (1, "ada", vec![Op::Propose { proposal, ops: vec![alias(1)] }]),
        (2, "bob", vec![Op::Approve { proposal }, alias(1)]),
        (3, "bob", vec![Op::UnsetAlias { alias: "champion".to_owned() }]),
    ]);
    let timeline = tell(&log);
    let approval = timeline.changes[0].approval.clone().unwrap();
    assert_eq!((approval.proposed.actor.sub.as_str(), approval.approved_by.sub.as_str()), ("ada", "bob"));
    assert_eq!(at(&timeline, 1), []);
    assert_eq!(at(&timeline, 2), [(3, "1:100".to_owned())]);
    assert_eq!(at(&timeline, 3), [(4, String::new())]);
    let broken = [log[0].clone(), log[2].clone()];
    super::timeline(&"m".parse().unwrap(), &broken).unwrap_err();
}

#[test]
fn times_are_read() {
    let now = time(1_000_000);
    let check = |text: &str, expected: Option<DateTime<Utc>>| {
        assert_eq!(parse_time(text, now).ok(), expected, "{text}");
    };
    check("now", Some(now));
    check("-0s", Some(now));
    check("-90s", Some(now - TimeDelta::seconds(90)));
    check("-2h", Some(now - TimeDelta::hours(2)));
    check("-7d", Some(now - TimeDelta::days(7)));
    check("-2w", Some(now - TimeDelta::weeks(2)));
    check("1970-01-01T00:01:00Z", Some(time(1)));
    check("1970-01-01T02:01:00+02:00", Some(time(1)));
    for bad in
        ["", "-", "-h", "2h", "-2", "-2x", "--2h", "-2é", "-9223372036854775807w", "yesterday", "2026-01-01"]
    {
        check(bad, None);
    }
}
