//! From what a replica's leases say to the signals that its changes are worth. Pure: time is given.
//!
//! ```text
//!  nothing ──► ready ──► degraded ──► recovered
//!     └──────► failed ─────────────► ready (a newer revision) or recovered (the same one)
//! ```
//!
//! A new deployment that cannot be served has *failed*, whether an older one goes on or not; one that was served and is
//! not any more is *degraded*, and so is one instead of which an earlier one is served since a start. Loading is no news.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::{ModelName, Version};
use crate::registry::signals::{Signal, SignalKind};
use crate::registry::{Health, LoadedState, ModelLease};

/// What was last told of each model.
#[derive(Debug, Default)]
pub(super) struct HealthHistory {
    told: BTreeMap<ModelName, Told>,
    /// Models of which an earlier deployment is served since a start, and its revision.
    pub(super) instead: BTreeMap<ModelName, u64>,
}

#[derive(Debug, Default)]
struct Told {
    /// The newest revision that was said to be served.
    ready: Option<u64>,
    /// The revision and error that were said to be in the way.
    trouble: Option<(u64, String)>,
}

impl HealthHistory {
    /// The signals that `models` are worth, given what was told before.
    pub(super) fn news(
        &mut self,
        models: &BTreeMap<ModelName, ModelLease>,
        replica: &str,
        deployment: &str,
        now: DateTime<Utc>,
    ) -> Vec<(ModelName, Signal)> {
        let mut news = Vec::new();
        for (model, lease) in models {
            let told = self.told.entry(model.clone()).or_default();
            let Some((kind, reason)) = told.next(lease, self.instead.get(model).copied()) else { continue };
            news.push((
                model.clone(),
                Signal {
                    kind,
                    rev: lease.rev,
                    deployment: Some(deployment.to_owned()),
                    version: main_version(lease),
                    replica: Some(replica.to_owned()),
                    time: now,
                    reason,
                    detail: serde_json::Map::new(),
                },
            ));
        }
        self.told.retain(|model, _| models.contains_key(model));
        news
    }
}

impl Told {
    fn next(&mut self, lease: &ModelLease, instead: Option<u64>) -> Option<(SignalKind, String)> {
        let serves = lease.loaded.values().any(|state| *state == LoadedState::Serving);
        match lease.health {
            Health::Loading => None,
            // Undeployed: nothing is asked for, and nothing is served.
            Health::Ok if !serves => {
                *self = Told::default();
                None
            }
            Health::Ok => {
                let trouble = self.trouble.take();
                let is_new = self.ready.replace(lease.rev) != Some(lease.rev);
                let is_same = trouble.as_ref().is_some_and(|(rev, _)| *rev == lease.rev);
                match (is_same, is_new) {
                    (true, _) => {
                        Some((SignalKind::DeploymentRecovered, "what is deployed is served again".to_owned()))
                    }
                    (false, true) => {
                        Some((SignalKind::DeploymentReady, "what is deployed is served".to_owned()))
                    }
                    (false, false) => None,
                }
            }
            Health::Degraded | Health::Failed => {
                let error = lease.error.clone().unwrap_or_else(|| lease.reason.clone());
                let trouble = (lease.rev, error.clone());
                if self.trouble.as_ref() == Some(&trouble) {
                    return None;
                }
                self.trouble = Some(trouble);
                let was_served = self.ready == Some(lease.rev);
                Some(match instead {
                    Some(rev) => {
                        let reason = format!("the deployment of revision {rev} is served instead: {error}");
                        (SignalKind::DeploymentDegraded, reason)
                    }
                    None if was_served => (SignalKind::DeploymentDegraded, error),
                    None => (SignalKind::DeploymentFailed, error),
                })
            }
        }
    }
}

/// A replica could not read the registry for a while.
pub(super) fn stale(replica: &str, away: Duration, now: DateTime<Utc>) -> Signal {
    Signal {
        kind: SignalKind::RegistryStale,
        rev: 0,
        deployment: None,
        version: None,
        replica: Some(replica.to_owned()),
        time: now,
        reason: format!("the registry could not be read for {} s", away.as_secs()),
        detail: serde_json::Map::new(),
    }
}

/// The highest version that answers requests.
fn main_version(lease: &ModelLease) -> Option<Version> {
    lease.loaded.iter().rev().find(|(_, state)| **state == LoadedState::Serving).map(|(version, _)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(rev: u64, health: Health, serving: Option<u64>, error: &str) -> ModelLease {
        let loaded = serving.and_then(Version::new).map(|version| (version, LoadedState::Serving));
        ModelLease {
            rev,
            seen: rev,
            loaded: loaded.into_iter().collect(),
            health,
            error: (!error.is_empty()).then(|| error.to_owned()),
            reason: String::new(),
        }
    }

    /// What a series of leases is worth.
    fn check(leases: &[ModelLease], expected: &[&str]) {
        let mut history = HealthHistory::default();
        let model: ModelName = "iris".parse().unwrap();
        let mut news = Vec::new();
        for lease in leases {
            let models = BTreeMap::from([(model.clone(), lease.clone())]);
            let now = DateTime::from_timestamp_millis(0).unwrap();
            news.extend(
                history.news(&models, "a", "default", now).into_iter().map(|(_, signal)| signal.kind.name()),
            );
        }
        assert_eq!(news, expected);
    }

    #[test]
    fn only_changes_are_news() {
        use Health::{Degraded, Failed, Loading, Ok};
        let ready = lease(3, Ok, Some(1), "");
        check(&[lease(0, Loading, None, ""), ready.clone(), ready.clone()], &["deployment.ready"]);
        // A newer deployment that works, and one that does not.
        check(&[ready.clone(), lease(5, Ok, Some(2), "")], &["deployment.ready", "deployment.ready"]);
        let failed = lease(5, Degraded, Some(1), "broken");
        check(&[ready.clone(), failed.clone(), failed.clone()], &["deployment.ready", "deployment.failed"]);
        check(
            &[ready.clone(), failed.clone(), lease(5, Ok, Some(2), "")],
            &["deployment.ready", "deployment.failed", "deployment.recovered"],
        );
        check(&[failed, lease(7, Ok, Some(1), "")], &["deployment.failed", "deployment.ready"]);
        check(
            &[ready.clone(), lease(3, Failed, None, "gone"), ready.clone()],
            &["deployment.ready", "deployment.degraded", "deployment.recovered"],
        );
        let mut history = HealthHistory::default();
        let models = BTreeMap::from([("iris".parse().unwrap(), lease(5, Degraded, Some(1), "broken"))]);
        history.instead.insert("iris".parse().unwrap(), 3);
        let news = history.news(&models, "a", "default", Utc::now());
        let (kind, reason) = (news[0].1.kind.name(), news[0].1.reason.as_str());
        assert_eq!(kind, "deployment.degraded");
        assert_eq!(reason, "the deployment of revision 3 is served instead: broken");
        // Undeployed and deployed again.
        check(&[ready.clone(), lease(4, Ok, None, ""), ready], &["deployment.ready", "deployment.ready"]);
    }
}
