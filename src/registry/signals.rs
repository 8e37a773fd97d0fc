//! Signals logs: what replicas and checks saw, beside the log of what people decided.
//!
//! `signals/<scope>/log/<n>.json`, where the scope is a model's name or [`REGISTRY`], numbered from 1 without gaps, each created once. There is no chain and no fold: a
//! signal changes no state. The same thing seen twice has the same [`Signal::id`], so writing it again harms nobody.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::StoreError;
use super::store::Store;
use crate::model::Version;

/// The scope of signals that are about no model. No model has this name.
pub const REGISTRY: &str = "_registry";

/// The folder of hints: an object for each scope, written after a signal. Advisory.
pub const HINTS: &str = "signal-heads";

/// Longest reason, in characters; what is longer is cut.
const REASON_CHARS_MAX: usize = 2048;

/// How often an append looks for a free number before it gives up.
const TRIES_MAX: u64 = 256;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignalKind {
    /// A replica serves what the deployment asks for.
    DeploymentReady,
    /// A replica cannot serve it.
    DeploymentFailed,
    /// A replica served it and does so no more, or not as it should.
    DeploymentDegraded,
    /// It does again.
    DeploymentRecovered,
    /// A model's log or files are not what they were.
    RegistryIntegrityFailed,
    /// A replica could not read the registry for a while.
    RegistryStale,
    /// A version's traffic no longer looks like its baseline.
    DriftDetected,
    /// It does again.
    DriftResolved,
    /// Values are missing, out of range, unknown or of the wrong type more often than in the baseline.
    QualityViolated,
    /// They are so no more.
    QualityResolved,
    /// A data set was built of a model's captured rows.
    DatasetBuilt,
}

impl SignalKind {
    /// The type of its event, without the prefix.
    pub fn name(self) -> &'static str {
        match self {
            SignalKind::DeploymentReady => "deployment.ready",
            SignalKind::DeploymentFailed => "deployment.failed",
            SignalKind::DeploymentDegraded => "deployment.degraded",
            SignalKind::DeploymentRecovered => "deployment.recovered",
            SignalKind::RegistryIntegrityFailed => "registry.integrity.failed",
            SignalKind::RegistryStale => "registry.stale",
            SignalKind::DriftDetected => "drift.detected",
            SignalKind::DriftResolved => "drift.resolved",
            SignalKind::QualityViolated => "quality.violated",
            SignalKind::QualityResolved => "quality.resolved",
            SignalKind::DatasetBuilt => "dataset.built",
        }
    }
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// What was seen.
    pub kind: SignalKind,
    /// The model's revision that it is about: the newest one that the writer had applied; 0 for no model.
    pub rev: u64,
    /// The deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Who saw it; none where every replica sees the same (a broken log), so that all of them write the same signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// When the transition was seen; part of the id where there is a replica.
    pub time: DateTime<Utc>,
    /// Why, for people.
    pub reason: String,
    /// More about it, for programs; small.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}

impl Signal {
    /// The id of its event.
    pub fn id(&self, scope: &str) -> String {
        let version = self.version.map_or("-".to_owned(), |version| version.to_string());
        let common = format!("{scope}/{}/{}/{version}", self.rev, self.kind.name());
        match &self.replica {
            Some(replica) => format!("{common}/{replica}/{}", self.time.timestamp_millis()),
            None => common,
        }
    }
}

/// The key of a signal.
pub fn signal_key(scope: &str, number: u64) -> String {
    format!("signals/{scope}/log/{number:020}.json")
}

/// Writes `signal` as the next one of `scope` and returns its number. One that is there already is not written again
/// when it is met while looking for the end.
///
/// # Errors
/// [`StoreError`]; the signal may have been written all the same.
pub async fn append(store: &Store, scope: &str, signal: &Signal) -> Result<u64, StoreError> {
    let mut signal = signal.clone();
    signal.reason = signal.reason.chars().take(REASON_CHARS_MAX).collect();
    let bytes = serde_json::to_vec(&signal).map_err(|error| unusable(scope, 0, error.to_string()))?;
    let bytes = Bytes::from(bytes);
    let last = last(store, scope).await?;
    if last > 0 && read(store, scope, last).await?.is_some_and(|there| there.id(scope) == signal.id(scope)) {
        return Ok(last);
    }
    for number in last + 1..=last + TRIES_MAX {
        let is_new = store.create(&signal_key(scope, number), bytes.clone()).await?;
        if !is_new
            && read(store, scope, number).await?.is_none_or(|there| there.id(scope) != signal.id(scope))
        {
            continue;
        }
        // Only a hint: readers find the signal without it, a little later.
        store.overwrite(&format!("{HINTS}/{scope}"), Bytes::from(number.to_string())).await.ok();
        return Ok(number);
    }
    Err(unusable(scope, last, format!("{TRIES_MAX} others were faster")))
}

/// The same for a signal that each replica would write: nothing is written when one of the last 64 is the same.
///
/// # Errors
/// [`StoreError`].
pub async fn append_once(store: &Store, scope: &str, signal: &Signal) -> Result<(), StoreError> {
    let end = last(store, scope).await?;
    for number in (end.saturating_sub(63).max(1)..=end).rev() {
        if read(store, scope, number).await?.is_some_and(|there| there.id(scope) == signal.id(scope)) {
            return Ok(());
        }
    }
    append(store, scope, signal).await.map(drop)
}

/// The signal `number` of `scope`; `None` when there is none yet.
///
/// # Errors
/// [`StoreError`].
pub async fn read(store: &Store, scope: &str, number: u64) -> Result<Option<Signal>, StoreError> {
    match store.get(&signal_key(scope, number)).await? {
        None => Ok(None),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| unusable(scope, number, error.to_string())),
    }
}

/// The number of the newest signal of `scope`; 0 when there is none. Takes about 2 log2(n) reads.
///
/// # Errors
/// [`StoreError`].
pub async fn last(store: &Store, scope: &str) -> Result<u64, StoreError> {
    let (mut known, mut step) = (0u64, 1u64);
    // Numbers have no gaps: first find a number that is not there, then the border.
    while store.get(&signal_key(scope, known.saturating_add(step))).await?.is_some() {
        known = known.saturating_add(step);
        step = step.saturating_mul(2);
    }
    let mut missing = known.saturating_add(step);
    while missing - known > 1 {
        let middle = known + (missing - known) / 2;
        match store.get(&signal_key(scope, middle)).await? {
            Some(_) => known = middle,
            None => missing = middle,
        }
    }
    Ok(known)
}

fn unusable(scope: &str, number: u64, reason: String) -> StoreError {
    StoreError::Location { location: format!("signals of {scope}, number {number}"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(kind: SignalKind, replica: Option<&str>, at_ms: i64) -> Signal {
        Signal {
            kind,
            rev: 7,
            deployment: Some("default".to_owned()),
            version: Version::new(2),
            replica: replica.map(str::to_owned),
            time: DateTime::from_timestamp_millis(at_ms).unwrap_or_default(),
            reason: "why".to_owned(),
            detail: Map::new(),
        }
    }

    #[tokio::test]
    async fn signals_are_numbered_and_the_same_one_is_written_once() {
        let (store, model) = (Store::memory(), "iris");
        assert_eq!(last(&store, model).await.unwrap(), 0);
        let ready = signal(SignalKind::DeploymentReady, Some("a"), 1);
        for number in 1..=40u64 {
            let signal = signal(SignalKind::DeploymentReady, Some("a"), i64::try_from(number).unwrap());
            assert_eq!(append(&store, model, &signal).await.unwrap(), number);
            assert_eq!(append(&store, model, &signal).await.unwrap(), number);
            assert_eq!(last(&store, model).await.unwrap(), number);
        }
        assert_eq!(read(&store, model, 1).await.unwrap(), Some(ready));
        assert_eq!(read(&store, model, 41).await.unwrap(), None);
    }

    #[tokio::test]
    async fn many_writers_leave_no_gap_and_lose_nothing() {
        let (store, model) = (Store::memory(), "iris");
        let mut writers = tokio::task::JoinSet::new();
        for replica in 0..16 {
            let store = store.clone();
            writers.spawn(async move {
                for at in 0..8 {
                    let kind = SignalKind::DeploymentDegraded;
                    append(&store, model, &signal(kind, Some(&replica.to_string()), at)).await.unwrap();
                }
            });
        }
        writers.join_all().await;
        assert_eq!(last(&store, model).await.unwrap(), 128);
        let mut ids = std::collections::BTreeSet::new();
        for number in 1..=128 {
            ids.insert(read(&store, model, number).await.unwrap().unwrap().id(model));
        }
        assert_eq!(ids.len(), 128);
    }

    #[test]
    fn ids_say_the_same_of_the_same() {
        let model = "iris";
        let broken = signal(SignalKind::RegistryIntegrityFailed, None, 5);
        assert_eq!(broken.id(model), "iris/7/registry.integrity.failed/2");
        let later = signal(SignalKind::RegistryIntegrityFailed, None, 9);
        assert_eq!(broken.id(model), later.id(model));
        let ready = signal(SignalKind::DeploymentReady, Some("host-1"), 5);
        assert_eq!(ready.id(model), "iris/7/deployment.ready/2/host-1/5");
    }
}
