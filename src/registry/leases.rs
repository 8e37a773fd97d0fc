//! What each replica says of itself: `leases/<replica>.json`, written again every 2 seconds and removed at its end.
//!
//! A lease is no log: it is overwritten, unsigned, and only tells what a replica has come to. `--wait` reads it to know
//! when everybody serves a change, and garbage collection to leave alone what is loaded. Nothing is decided from it that
//! a log must decide.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::store::Store;
use crate::model::{ModelName, Version};

/// Time between two refreshes.
pub const LEASE_REFRESH: Duration = Duration::from_secs(2);

/// Age at which a lease says no more that its replica lives. Clocks of replicas may differ by a few seconds.
pub const LEASE_LIFE: Duration = Duration::from_secs(10);

/// Age at which a lease that nobody removed is taken away by another replica.
pub const LEASE_LITTER: Duration = Duration::from_secs(24 * 3600);

/// Most leases that are read.
const LEASES_MAX: usize = 10_000;

const FOLDER: &str = "leases";

/// A replica: what it serves, and since when it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the replica for as long as its process lives: letters, digits, `.`, `_` and `-`.
    pub replica: String,
    /// The deployment that it follows.
    pub deployment: String,
    /// Where it answers over HTTP.
    pub url: String,
    /// When its process started.
    pub started: DateTime<Utc>,
    /// When this was written, by the replica's clock.
    pub refreshed: DateTime<Utc>,
    /// Counts refreshes.
    pub epoch: u64,
    /// Whether it is ready for requests.
    #[serde(default)]
    pub ready: bool,
    /// Every model of the registry that it serves, or ought to.
    pub models: BTreeMap<ModelName, ModelLease>,
}

/// What a replica has come to with one model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelLease {
    /// The newest revision that it has carried out, or has failed to carry out. `health` says which.
    pub rev: u64,
    /// The newest revision that it has seen; more than `rev` while it loads.
    #[serde(default)]
    pub seen: u64,
    /// Every version in its memory.
    pub loaded: BTreeMap<Version, LoadedState>,
    /// How it stands.
    pub health: Health,
    /// Why the newest deployment is not served; of the last failure until something is deployed that works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it is doing or waiting for, in a line; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
}

/// Why a version is in a replica's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadedState {
    /// It answers requests.
    Serving,
    /// It was replaced, and is kept for a rollback.
    Kept,
    /// It takes no more requests and finishes those that it has.
    Draining,
    /// Written by a newer program.
    #[serde(other)]
    Other,
}

/// How a model stands on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The newest deployment that it has seen is served.
    Ok,
    /// It is being loaded; what was served before is served meanwhile.
    #[default]
    Loading,
    /// It could not be loaded; an older one is served.
    Degraded,
    /// It could not be loaded, and nothing of the model is served.
    Failed,
}

impl Lease {
    /// Whether the replica lives, as far as anyone can tell at `now`.
    pub fn is_current(&self, now: DateTime<Utc>) -> bool {
        self.age(now) < LEASE_LIFE
    }

    /// Time since the refresh; zero when the replica's clock is ahead.
    pub fn age(&self, now: DateTime<Utc>) -> Duration {
        (now - self.refreshed).to_std().unwrap_or_default()
    }

    /// Every version that the replica holds in its memory.
    pub fn holds(&self) -> impl Iterator<Item = (&ModelName, Version)> {
        self.models.iter().flat_map(|(name, model)| model.loaded.keys().map(move |version| (name, *version)))
    }
}

impl ModelLease {
    /// Whether revision `rev` is carried out here: `Some(true)` when it is, `Some(false)` when it failed, `None` while
    /// that is open.
    pub fn outcome(&self, rev: u64) -> Option<bool> {
        match self.health {
            _ if self.rev < rev => None,
            Health::Ok => Some(true),
            Health::Degraded | Health::Failed => Some(false),
            Health::Loading => None,
        }
    }
}

/// Whether `replica` can name a lease: 1 to 128 letters, digits, `.`, `_` or `-`, beginning with a letter or digit.
pub fn is_replica_name(replica: &str) -> bool {
    let mut bytes = replica.bytes();
    replica.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn key(replica: &str) -> String {
    format!("{FOLDER}/{replica}.json")
}

/// Writes `lease` over the replica's last one.
///
/// # Errors
/// [`StoreError`].
pub async fn write(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    let location = |reason: String| StoreError::Location { location: key(&lease.replica), reason };
    if !is_replica_name(&lease.replica) {
        return Err(location("it is no name of a replica".to_owned()));
    }
    let text = serde_json::to_vec_pretty(lease).map_err(|error| location(error.to_string()))?;
    store.overwrite(&key(&lease.replica), Bytes::from(text)).await
}

/// Removes the lease of `replica`, which need not be there.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(store: &Store, replica: &str) -> Result<(), StoreError> {
    let key = key(replica);
    match store.raw().delete(&Path::from(key.as_str())).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(StoreError::io(&key, error)),
    }
}

/// Every lease, current or not, by replica. What cannot be read as a lease is left out: it may be being written, or be
/// of a newer program.
///
/// # Errors
/// [`StoreError`].
pub async fn read_all(store: &Store) -> Result<Vec<Lease>, StoreError> {
    let failed = |error| StoreError::io(FOLDER, error);
    let mut listed = store.raw().list(Some(&Path::from(FOLDER)));
    let mut leases = Vec::new();
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        if leases.len() == LEASES_MAX {
            break;
        }
        let Some(bytes) = store.get(object.location.as_ref()).await? else { continue };
        if let Ok(lease) = serde_json::from_slice::<Lease>(&bytes) {
            leases.push(lease);
        }
    }
    leases.sort_by(|a, b| a.replica.cmp(&b.replica));
    Ok(leases)
}

/// Every lease that is current at `now`.
///
/// # Errors
/// [`StoreError`].
pub async fn read_current(store: &Store, now: DateTime<Utc>) -> Result<Vec<Lease>, StoreError> {
    let mut leases = read_all(store).await?;
    leases.retain(|lease| lease.is_current(now));
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(replica: &str, refreshed: DateTime<Utc>) -> Lease {
        let model = ModelLease {
            rev: 7,
            seen: 8,
            loaded: BTreeMap::from([(Version::new(3).unwrap(), LoadedState::Serving)]),
            health: Health::Ok,
            error: None,
            reason: String::new(),
        };
        Lease {
            replica: replica.to_owned(),
            deployment: "default".to_owned(),
            url: "http://127.0.0.1:8000".to_owned(),
            started: refreshed,
            refreshed,
            epoch: 1,
            ready: true,
            models: BTreeMap::from([("digits".parse().unwrap(), model)]),
        }
    }

    #[tokio::test]
    async fn leases_come_go_and_expire() {
        let store = Store::memory();
        let now = Utc::now();
        let old = now - chrono::Duration::seconds(11);
        write(&store, &lease("b", now)).await.unwrap();
        write(&store, &lease("a", old)).await.unwrap();
        store.overwrite("leases/c.json", Bytes::from("{")).await.unwrap();
        let names = |leases: Vec<Lease>| leases.into_iter().map(|lease| lease.replica).collect::<Vec<_>>();
        assert_eq!(names(read_all(&store).await.unwrap()), ["a", "b"]);
        assert_eq!(names(read_current(&store, now).await.unwrap()), ["b"]);
        let read = read_current(&store, now).await.unwrap().remove(0);
        assert_eq!(read, lease("b", now));
        assert_eq!(read.holds().count(), 1);
        remove(&store, "b").await.unwrap();
        remove(&store, "b").await.unwrap();
        assert!(read_current(&store, now).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_replica_cannot_write_elsewhere() {
        for name in ["", "../weir", "a/b", "-a", ".a", "a b"] {
            assert!(write(&Store::memory(), &lease(name, Utc::now())).await.is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_revision_is_carried_out_or_not_or_open() {
        let mut model = lease("a", Utc::now()).models.into_values().next().unwrap();
        assert_eq!((model.outcome(7), model.outcome(6), model.outcome(8)), (Some(true), Some(true), None));
        model.health = Health::Degraded;
        assert_eq!(model.outcome(7), Some(false));
        model.health = Health::Loading;
        assert_eq!(model.outcome(7), None);
    }
}
