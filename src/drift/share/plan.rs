//! What is to be done so that a folder and a store hold the same panes. Pure: from two lists and a time to steps.
//!
//! A pane's file belongs to whoever wrote it. Its owner sends it, and takes it out of the store when it has joined it to a
//! longer one; everybody else only fetches it, and drops it when it is gone. What a batch job wrote belongs to every server
//! beside whose folder it was put. What is too old is taken out by whoever sees it, so that servers that are no more leave
//! nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::drift::monitor::Lane;
use crate::drift::pane::{DAY_US, JOB, parse_name};
use crate::model::{ModelName, Version};

/// How long a pane that is too old may stay in the store: its owner removes it first.
const GRACE_US: i64 = DAY_US;

/// A pane's file, by its path below the folder: `model/version/lane/digest/start-length-replica.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The path.
    pub(super) path: String,
    start_us: i64,
    end_us: i64,
    replica: String,
}

impl Key {
    /// `None` for whatever else lies in a folder or a store. A path of its shape never leaves the folder.
    pub(super) fn parse(path: &str) -> Option<Key> {
        let parts: Vec<&str> = path.split('/').collect();
        let [model, version, lane, digest, file] = parts.as_slice() else { return None };
        let is_digest = digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_lane = Lane::ALL.iter().any(|known| known.as_str() == *lane);
        let is_version = version.parse::<Version>().is_ok_and(|known| known.to_string() == *version);
        let (start_us, length_us, replica) = parse_name(file)?;
        let is_replica =
            replica.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let is_pane = is_digest && is_lane && is_version && is_replica && model.parse::<ModelName>().is_ok();
        let (path, replica) = (path.to_owned(), replica.to_owned());
        is_pane.then_some(Key { path, start_us, end_us: start_us + length_us, replica })
    }

    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn is_covered_by(&self, other: &Key) -> bool {
        self.path != other.path
            && self.replica == other.replica
            && other.start_us <= self.start_us
            && self.end_us <= other.end_us
    }
}

/// Panes with their lengths in bytes.
pub(super) type Panes = BTreeMap<Key, u64>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Folder to store.
    Send(String),
    /// Store to folder.
    Fetch(String),
    /// Out of the folder.
    Drop(String),
    /// Out of the store. Only after everything was sent: what replaces it must be there first.
    Remove(String),
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) replica: &'a str,
    pub(super) now_us: i64,
    pub(super) retention_us: i64,
}

/// The steps, in the order in which they are to be taken. `known` has the panes that have been on both sides.
pub(super) fn plan(local: &Panes, remote: &Panes, known: &BTreeSet<String>, asker: Asker<'_>) -> Vec<Step> {
    let Asker { replica, now_us, retention_us } = asker;
    let mut by_folder: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    let all: BTreeSet<&Key> = local.keys().chain(remote.keys()).collect();
    for key in &all {
        by_folder.entry(key.folder()).or_default().push(key);
    }
    let is_covered = |key: &Key| {
        by_folder.get(key.folder()).is_some_and(|of| of.iter().any(|other| key.is_covered_by(other)))
    };
    let (mut sent, mut fetched, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for key in all {
        let (is_mine, is_job) = (key.replica == replica, key.replica.starts_with(JOB));
        let is_known = known.contains(&key.path);
        let is_old = key.end_us <= now_us - retention_us;
        let path = || key.path.clone();
        match (local.get(key), remote.get(key)) {
            (Some(_), None) if is_old => {}
            (Some(_), None) if is_mine || (is_job && !is_known) => sent.push(Step::Send(path())),
            // Its owner has joined it, or it was too old.
            (Some(_), None) if is_known => gone.push(Step::Drop(path())),
            (Some(_), None) => {}
            // Written anew, after a restart within the pane.
            (Some(here), Some(there)) if is_mine && here != there => sent.push(Step::Send(path())),
            (Some(_), Some(_)) => {}
            (None, Some(_)) if key.end_us <= now_us - retention_us - GRACE_US => {
                gone.push(Step::Remove(path()))
            }
            (None, Some(_)) if is_mine && (is_known || is_covered(key)) => gone.push(Step::Remove(path())),
            (None, Some(_)) if is_old || is_covered(key) => {}
            (None, Some(_)) => fetched.push(Step::Fetch(path())),
            (None, None) => {}
        }
    }
    sent.into_iter().chain(fetched).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const NOW_US: i64 = 1_000 * HOUR_US;

    fn panes(files: &[&str]) -> Panes {
        files.iter().map(|file| (Key::parse(&path(file)).unwrap(), 10)).collect()
    }

    fn path(file: &str) -> String {
        format!("taxi/3/main/0123456789abcdef/{file}.json")
    }

    fn file(hours: i64, length: i64, replica: &str) -> String {
        format!("{}-{}-{replica}", hours * HOUR_US, length * HOUR_US)
    }

    fn check(local: &[&str], remote: &[&str], known: &[&str], expected: &[Step]) {
        let known = known.iter().map(|file| path(file)).collect();
        let asker = Asker { replica: "a", now_us: NOW_US, retention_us: 100 * HOUR_US };
        assert_eq!(plan(&panes(local), &panes(remote), &known, asker), expected);
    }

    #[test]
    fn everybody_sends_his_own_and_fetches_the_others() {
        let (a, b, job) = (file(990, 1, "a"), file(990, 1, "b"), file(990, 1, "job.n"));
        check(
            &[&a, &job],
            &[&b],
            &[],
            &[Step::Send(path(&a)), Step::Send(path(&job)), Step::Fetch(path(&b))],
        );
        check(&[&a, &b], &[&a, &b], &[&a, &b], &[]);
        // After a restart nothing is known: what was another's is left alone, what was one's own comes back.
        check(&[&b], &[&a], &[], &[Step::Fetch(path(&a))]);
    }

    #[test]
    fn what_its_owner_joined_is_replaced_everywhere() {
        let (first, second, wide) = (file(990, 1, "a"), file(991, 1, "a"), file(990, 2, "a"));
        check(
            &[&wide],
            &[&first, &second],
            &[&first, &second],
            &[Step::Send(path(&wide)), Step::Remove(path(&first)), Step::Remove(path(&second))],
        );
        // The same after a crash in between, when it is no longer known that they were sent.
        check(&[&wide], &[&first, &wide], &[], &[Step::Remove(path(&first))]);
        let (first, wide) = (file(990, 1, "b"), file(990, 2, "b"));
        check(&[&first], &[&wide], &[&first], &[Step::Fetch(path(&wide)), Step::Drop(path(&first))]);
        check(&[&wide], &[&first, &wide], &[], &[]);
    }

    #[test]
    fn what_is_too_old_is_not_sent_again_and_goes_in_the_end() {
        let (old, gone) = (file(890, 1, "b"), file(800, 1, "b"));
        check(&[], &[&old, &gone], &[], &[Step::Remove(path(&gone))]);
        let mine = file(890, 1, "a");
        check(&[&mine], &[], &[], &[]);
    }

    #[test]
    fn only_paths_of_panes_are_keys() {
        let digest = "0123456789abcdef";
        for path in [
            "taxi/3/main/0123456789abcdef/x.json".to_owned(),
            format!("../3/main/{digest}/0-1-b.json"),
            format!("taxi/../main/{digest}/0-1-b.json"),
            format!("taxi/03/main/{digest}/0-1-b.json"),
            format!("taxi/3/other/{digest}/0-1-b.json"),
            "taxi/3/main/../0-1-b.json".to_owned(),
            format!("taxi/3/main/{digest}/0-1-b\\c.json"),
            format!("taxi/3/main/{digest}/0-1-.json"),
            format!("taxi/3/main/{digest}/deeper/0-1-b.json"),
            "taxi/3/learned.json".to_owned(),
        ] {
            assert_eq!(Key::parse(&path), None, "{path}");
        }
        assert!(Key::parse(&format!("taxi/3/canary/{digest}/0-1-b.json")).is_some());
    }
}
