//! What has changed between two looks, and which versions a policy wants. Pure.

use std::collections::BTreeSet;

use super::{ModelFiles, Snapshot};
use crate::model::config::VersionPolicy;
use crate::model::{ModelName, Version};

/// What happened to a model between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serving) enum Change {
    /// It is new, or any of its files is.
    Changed(ModelFiles),
    /// It is gone.
    Gone,
}

/// The models that differ between `old` and `new`. A model that could not be read has not changed.
pub(in crate::serving) fn diff(old: &Snapshot, new: &Snapshot) -> Vec<(ModelName, Change)> {
    let mut changes = Vec::new();
    for (name, files) in &new.models {
        if old.models.get(name) != Some(files) {
            changes.push((name.clone(), Change::Changed(files.clone())));
        }
    }
    for name in old.models.keys() {
        if !new.models.contains_key(name) && !new.unreadable.contains(name) {
            changes.push((name.clone(), Change::Gone));
        }
    }
    changes
}

/// Versions in the order in which they are tried, and how many of them are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serving) struct Choice {
    /// In the order of preference. For [`VersionPolicy::Latest`] the list goes on beyond `count`: an older version
    /// stands in for a newer one that does not load.
    pub(in crate::serving) order: Vec<Version>,
    /// How many are served.
    pub(in crate::serving) count: usize,
}

/// The versions that `policy` wants of those that are `there`.
pub(in crate::serving) fn choose(policy: &VersionPolicy, there: &BTreeSet<Version>) -> Choice {
    let order: Vec<Version> = match policy {
        VersionPolicy::Latest(_) | VersionPolicy::All => there.iter().rev().copied().collect(),
        VersionPolicy::Specific(numbers) => {
            let wanted: BTreeSet<Version> =
                numbers.iter().filter_map(|&number| Version::new(number)).collect();
            wanted.into_iter().rev().collect()
        }
    };
    let count = match policy {
        VersionPolicy::Latest(count) => (*count).min(order.len()),
        VersionPolicy::All | VersionPolicy::Specific(_) => order.len(),
    };
    Choice { order, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: VersionPolicy, there: &[u64], order: &[u64], count: usize) {
        let versions = |numbers: &[u64]| numbers.iter().filter_map(|&n| Version::new(n)).collect::<Vec<_>>();
        let choice = choose(&policy, &versions(there).into_iter().collect());
        assert_eq!(choice, Choice { order: versions(order), count }, "{policy:?} of {there:?}");
    }

    #[test]
    fn policies_choose_versions() {
        check(VersionPolicy::Latest(1), &[1, 2, 10], &[10, 2, 1], 1);
        check(VersionPolicy::Latest(5), &[1, 2], &[2, 1], 2);
        check(VersionPolicy::Latest(1), &[], &[], 0);
        check(VersionPolicy::All, &[3, 1], &[3, 1], 2);
        check(VersionPolicy::Specific(vec![1, 7, 1, 0]), &[1, 2], &[7, 1], 2);
    }

    #[test]
    fn only_what_changed_is_told_and_the_unreadable_stays() {
        let name = |text: &str| text.parse::<ModelName>().unwrap();
        let files = |folder: &str| ModelFiles { folder: Some(folder.into()), ..ModelFiles::default() };
        let snapshot = |models: &[(&str, &str)]| Snapshot {
            models: models.iter().map(|(model, folder)| (name(model), files(folder))).collect(),
            ..Snapshot::default()
        };
        let old = snapshot(&[("same", "a"), ("changed", "b"), ("gone", "c"), ("unreadable", "d")]);
        let mut new = snapshot(&[("same", "a"), ("changed", "B"), ("new", "e")]);
        new.unreadable.insert(name("unreadable"));
        assert_eq!(
            diff(&old, &new),
            [
                (name("changed"), Change::Changed(files("B"))),
                (name("new"), Change::Changed(files("e"))),
                (name("gone"), Change::Gone),
            ]
        );
    }
}
