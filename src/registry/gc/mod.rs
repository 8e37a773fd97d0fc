//! Garbage collection: deletes blobs that no log names, once they are older than a grace period.
//!
//! Live is what a version has that is not deleted or was deleted less than the grace ago, what a proposal names, and what
//! a replica has loaded, however long ago the version was deleted. A log that cannot be read to its end stops the
//! collection before it deletes anything. How it gets along with registrations is told in `blobs/intent.rs`. Old revisions
//! and snapshots are never collected.

mod mark;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::Instant;
use uuid::Uuid;

use super::blobs::{BLOBS, INTENTS, Intent, SWEEP_MAX, blob_key, sha256_of_key};
use super::client::Registry;
use super::error::{RegistryError, StoreError};

pub(super) use self::mark::files_of;

/// How long a blob stays that nobody needs, unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A file that is being written is older than this only when its writer is gone.
const STAGING_AGE_MIN: Duration = Duration::from_secs(10 * 60);

/// Blobs in one intent.
const BATCH: usize = 1_000;

/// What to collect.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Blobs younger than this stay, and so do files of versions that were deleted more recently.
    pub grace: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What was collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs that something names.
    pub live: u64,
    /// Blobs that nothing names, and which are too young to go.
    pub young: u64,
    /// Blobs that are gone now, or would be: hash and size, ascending.
    pub freed: Vec<(String, u64)>,
    /// Blobs that were about to go when something named them after all.
    pub rescued: u64,
    /// Intents of collections that died, which were removed.
    pub stale_intents: u64,
    /// Parts of files that killed writers left in a directory, which were removed.
    pub staging: u64,
}

impl GcReport {
    /// Bytes that are free now, or would be.
    pub fn freed_bytes(&self) -> u64 {
        self.freed.iter().map(|(_, size)| size).sum()
    }
}

/// A blob that may go.
#[derive(Debug, Clone)]
struct Candidate {
    sha256: String,
    size: u64,
    modified: DateTime<Utc>,
}

/// Deletes what nobody needs. `now` is the time by which ages are told.
///
/// # Errors
/// [`RegistryError`]; what was deleted until then needed to go.
pub async fn collect(
    registry: &Registry,
    options: &GcOptions,
    now: DateTime<Utc>,
) -> Result<GcReport, RegistryError> {
    let before = before(now, options.grace);
    let live = mark::live(registry, before).await?;
    let mut report = GcReport::default();
    let mut candidates = Vec::new();
    for blob in list(registry).await? {
        if live.contains(&blob.sha256) {
            report.live += 1;
        } else if blob.modified > before {
            report.young += 1;
        } else {
            candidates.push(blob);
        }
    }
    candidates.sort_by(|one, other| one.sha256.cmp(&other.sha256));
    if options.dry_run {
        report.freed = candidates.into_iter().map(|blob| (blob.sha256, blob.size)).collect();
        return Ok(report);
    }
    report.stale_intents = remove_stale_intents(registry).await?;
    report.staging = registry.store().sweep(options.grace.max(STAGING_AGE_MIN)).await?;
    for batch in candidates.chunks(BATCH) {
        let mut rest = batch;
        while !rest.is_empty() {
            let sweep = Sweep::announce(registry, rest, SWEEP_MAX).await?;
            let live = mark::live(registry, before).await;
            let swept = match live {
                Ok(live) => sweep.delete(registry, rest, &live, &mut report).await,
                Err(error) => Err(error),
            };
            sweep.withdraw(registry).await?;
            rest = rest.get(swept?..).unwrap_or_default();
        }
    }
    Ok(report)
}

fn before(now: DateTime<Utc>, grace: Duration) -> DateTime<Utc> {
    let grace = chrono::TimeDelta::from_std(grace).unwrap_or(chrono::TimeDelta::MAX);
    now.checked_sub_signed(grace).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Every blob in the store.
async fn list(registry: &Registry) -> Result<Vec<Candidate>, StoreError> {
    let listed = registry.store().raw().list(Some(&Path::from(BLOBS)));
    let found = listed.try_filter_map(async |meta| {
        let sha256 = sha256_of_key(meta.location.as_ref());
        Ok(sha256.map(|sha256| Candidate { sha256, size: meta.size, modified: meta.last_modified }))
    });
    found.try_collect().await.map_err(|error| StoreError::io(BLOBS, error))
}

/// One turn of deleting: from its intent to the end of the time that it promised.
struct Sweep {
    key: String,
    until: Instant,
}

impl Sweep {
    async fn announce(
        registry: &Registry,
        blobs: &[Candidate],
        sweep: Duration,
    ) -> Result<Sweep, StoreError> {
        // From before the intent can be seen, so that nobody who sees it counts less.
        let until = Instant::now() + sweep;
        let names: BTreeSet<String> = blobs.iter().map(|blob| blob.sha256.clone()).collect();
        let sweep_ms = u64::try_from(sweep.as_millis()).unwrap_or(u64::MAX);
        let key = format!("{INTENTS}/{}.json", Uuid::now_v7());
        let encoded = serde_json::to_vec(&Intent { sweep_ms, blobs: names });
        let bytes = encoded.map_err(|error| {
            let source = object_store::Error::Generic { store: "gc", source: error.into() };
            StoreError::io(&key, source)
        })?;
        registry.store().create(&key, Bytes::from(bytes)).await?;
        Ok(Sweep { key, until })
    }

    /// Deletes what is not `live`, which was marked after the announcement. Returns how many of `blobs` are done with,
    /// which is fewer than all when the time is over.
    async fn delete(
        &self,
        registry: &Registry,
        blobs: &[Candidate],
        live: &BTreeSet<String>,
        report: &mut GcReport,
    ) -> Result<usize, RegistryError> {
        for (done, blob) in blobs.iter().enumerate() {
            if live.contains(&blob.sha256) {
                report.rescued += 1;
                continue;
            }
            let key = blob_key(&blob.sha256);
            let path = Path::from(key.as_str());
            // Uploaded anew since it was listed: it is young again.
            let age = match registry.store().raw().head(&path).await {
                Ok(meta) if meta.last_modified > blob.modified => {
                    report.rescued += 1;
                    continue;
                }
                Ok(_) => Ok(()),
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => Err(StoreError::io(&key, error)),
            };
            age?;
            if Instant::now() >= self.until {
                return Ok(done);
            }
            match registry.store().raw().delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                    report.freed.push((blob.sha256.clone(), blob.size));
                }
                Err(error) => return Err(StoreError::io(&key, error).into()),
            }
        }
        Ok(blobs.len())
    }

    async fn withdraw(self, registry: &Registry) -> Result<(), StoreError> {
        remove(registry, &self.key).await
    }
}

async fn remove(registry: &Registry, key: &str) -> Result<(), StoreError> {
    match registry.store().raw().delete(&Path::from(key)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(StoreError::io(key, error)),
    }
}

/// Removes intents that have been there for so long, by the store's own clock, that whoever wrote them has stopped.
async fn remove_stale_intents(registry: &Registry) -> Result<u64, StoreError> {
    let listed = registry.store().raw().list(Some(&Path::from(INTENTS)));
    let found: Vec<_> = listed.try_collect().await.map_err(|error| StoreError::io(INTENTS, error))?;
    let mut removed = 0;
    // A day is far beyond any promise and any difference of clocks. Until then they only make registrations of their
    // blobs wait for a minute.
    let before = before(Utc::now(), Duration::from_secs(24 * 60 * 60));
    for meta in found.into_iter().filter(|meta| meta.last_modified < before) {
        remove(registry, meta.location.as_ref()).await?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
