//! The shipper: one thread that makes files of complete segments and brings them to the store.
//!
//! ```text
//! segment ─► spool/<number>.parquet ─► large values ─► store (Create) ─► manifest ─► totals ─► segment removed ─► spool removed
//! ```
//!
//! Every step may be the last before the process dies, and each is done again without effect: the file of a segment has
//! one name and always the same bytes, and a segment that the totals know is only removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_schema::ArrowError;
use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};

use super::file;
use super::ledger::{self, Found, Ledger};
use super::manifest::{FileEntry, Manifest, file_key, manifest_key};
use super::privacy::hex;
use super::reason;
use super::retention;
use super::sealed::{Next, SealedSegment};
use super::settings::CaptureError;
use super::shared::{Lane, Shared};
use super::{large, wal};
use crate::infer::yield_to_requests;

/// How long one call to the store may take.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How often old files are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// See the module.
pub(super) struct Shipper {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Shipper {
    /// Works until the end of the list, or its time, comes.
    pub(super) fn run(mut self) {
        let pauses = self.shared.settings.retry_pauses;
        let mut pause = pauses.0;
        let mut retention_at = Instant::now();
        loop {
            match self.shared.sealed.next(Duration::from_secs(1)) {
                Next::End => return,
                Next::Idle => {
                    if Instant::now() >= retention_at {
                        retention_at = Instant::now() + RETENTION_EVERY;
                        self.delete_old();
                    }
                }
                Next::Ship(segment) => match self.ship(&segment) {
                    Ok(()) => {
                        self.shared.sealed.done();
                        pause = pauses.0;
                    }
                    Err(error) => {
                        self.shared.metrics.upload_failures.inc();
                        tracing::warn!(segment = segment.number, %error, "a captured file cannot be stored yet");
                        self.shared.failed(&error);
                        if !self.shared.sealed.pause(pause) {
                            return;
                        }
                        pause = (pause * 2).min(pauses.1);
                    }
                },
            }
        }
    }

    fn delete_old(&self) {
        let Some(days) = self.shared.settings.retention_days else { return };
        let deleted = self.runtime.block_on(retention::delete_older(&*self.store, days, chrono::Utc::now()));
        match deleted {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, days, "deleted captured files that are older"),
            Err(error) => {
                tracing::warn!(%error, "captured files that are too old cannot be deleted");
                self.shared.failed(&error);
            }
        }
    }

    /// This folder's name among the writers.
    fn writer(&self) -> String {
        format!("{}-{}", self.shared.settings.replica, self.ledger.id())
    }

    fn ship(&mut self, segment: &SealedSegment) -> Result<(), CaptureError> {
        let scan = wal::scan(&segment.path).map_err(CaptureError::io(segment.path.display()))?;
        let found = Found { number: segment.number, path: segment.path.clone(), scan };
        let size = found.scan.good + found.scan.torn;
        let spool = spool_path(&self.shared.settings.folder, segment.number);
        let name = format!("{}-{:08}", self.writer(), segment.number);
        if let Some(origin) = &found.scan.origin {
            let mut entry = FileEntry {
                path: None,
                version: origin.version,
                rows: found.scan.rows,
                bytes: 0,
                sha256: String::new(),
                first_us: found.scan.first_us,
                last_us: found.scan.last_us,
                dropped: reason::by_word(&found.scan.dropped),
                deleted: 0,
            };
            if found.scan.rows == 0 {
                (entry.first_us, entry.last_us) = (origin.began_us, origin.began_us);
            } else {
                let key = file_key(origin, &name);
                let values = large::folder(&key);
                let bytes = self.spooled(&found, &spool, (&name, &values), segment.lane)?;
                (entry.bytes, entry.sha256) = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
                self.runtime.block_on(self.upload_values(&found.path, &key, &values))?;
                entry.path = Some(self.runtime.block_on(self.upload(&key, &name, bytes))?);
                self.shared.metrics.uploads.inc();
            }
            let key = manifest_key(origin, &self.writer());
            let empty = Manifest::new(origin, &self.shared.settings.replica);
            self.runtime.block_on(self.list(&key, empty, name, entry))?;
        }
        self.ledger.finish(&found)?;
        self.shared
            .wal_bytes
            .fetch_sub(size.min(self.shared.wal_bytes.load(Ordering::Relaxed)), Ordering::Relaxed);
        let spooled = std::fs::metadata(&spool).map_or(0, |metadata| metadata.len());
        ledger::remove(&spool)?;
        self.shared.spool_bytes.fetch_sub(spooled, Ordering::Relaxed);
        Ok(())
    }

    /// The file of a segment, made now if it was not made before.
    fn spooled(
        &self,
        found: &Found,
        spool: &Path,
        (name, values): (&str, &str),
        lane: Lane,
    ) -> Result<Bytes, CaptureError> {
        if !spool.exists() {
            let convert = || file::convert(&found.path, spool, name, values);
            let shared = &self.shared;
            let hurries = lane == Lane::Promised || shared.disk_bytes() > shared.settings.disk_bytes_max / 2;
            let converted = if hurries { convert() } else { yielding(convert) };
            if let Err(error) = converted {
                // A disk that is full of segments has no room for the file that would free it.
                tracing::warn!(segment = found.number, %error, "a captured file is made in memory");
                let bytes = file::convert_in_memory(&found.path, name, values);
                return bytes.map_err(|e| CaptureError::damaged(found.path.display(), e));
            }
            let size = std::fs::metadata(spool).map_or(0, |metadata| metadata.len());
            self.shared.spool_bytes.fetch_add(size, Ordering::Relaxed);
        }
        let bytes = std::fs::read(spool).map_err(CaptureError::io(spool.display()))?;
        Ok(bytes.into())
    }

    /// Creates an object for each large value of the segment, unless the file at `key` is there: then it has them, or their
    /// rows were deleted since.
    async fn upload_values(&self, segment: &Path, key: &str, folder: &str) -> Result<(), CaptureError> {
        let damaged = |error: ArrowError| CaptureError::damaged(segment.display(), error);
        let (schema, batches) = wal::batches(segment).map_err(damaged)?;
        if !large::may_hold(&schema) {
            return Ok(());
        }
        match timed(key, self.store.head(&Key::from(key))).await? {
            Err(StoreError::NotFound { .. }) => {}
            head => return head.map(drop).map_err(CaptureError::store(key)),
        }
        let mut stored = BTreeSet::new();
        for batch in batches {
            for (hash, value) in large::values(&batch.map_err(damaged)?) {
                if !stored.insert(hash.clone()) {
                    continue;
                }
                let name = large::uri(folder, &hash);
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let path = Key::from(name.as_str());
                let put = self.store.put_opts(&path, PutPayload::from(value), options);
                match timed(&name, put).await? {
                    // By its name it is the same.
                    Ok(_) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
                    Err(error) => return Err(CaptureError::store(name)(error)),
                }
            }
        }
        Ok(())
    }

    /// Creates the file at `key`. Returns where it lies, which is elsewhere when another file has the name.
    async fn upload(&self, key: &str, segment: &str, bytes: Bytes) -> Result<String, CaptureError> {
        if self.create(key, segment, &bytes).await? {
            return Ok(key.to_owned());
        }
        // Only when a folder was copied and used twice. Losing rows would be worse than a longer name.
        let hash: String = hex(&Sha256::digest(&bytes)).chars().take(8).collect();
        let other = format!("{}-{hash}.parquet", key.trim_end_matches(".parquet"));
        tracing::warn!(key, other, "another file has the name of a captured file");
        match self.create(&other, segment, &bytes).await? {
            true => Ok(other),
            false => Err(CaptureError::damaged(other, "another file has this name, too")),
        }
    }

    /// Whether the object at `key` is this segment's file afterwards.
    async fn create(&self, key: &str, segment: &str, bytes: &Bytes) -> Result<bool, CaptureError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = Key::from(key);
        let put = self.store.put_opts(&path, PutPayload::from(bytes.clone()), options);
        match timed(key, put).await? {
            Ok(_) => return Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
            Err(error) => return Err(CaptureError::store(key)(error)),
        }
        let there = timed(key, async { self.store.get(&path).await?.bytes().await }).await?;
        let there = there.map_err(CaptureError::store(key))?;
        if there == *bytes {
            return Ok(true);
        }
        // Rows may have been deleted from it since.
        let opened = file::open(there).map_err(|error| CaptureError::damaged(key, error))?;
        Ok(opened.segment() == Some(segment) && opened.value(file::DELETED_KEY).is_some())
    }

    /// Has the manifest at `key` list a segment.
    async fn list(
        &self,
        key: &str,
        empty: Manifest,
        name: String,
        entry: FileEntry,
    ) -> Result<(), CaptureError> {
        let path = Key::from(key);
        let read = timed(key, async { self.store.get(&path).await?.bytes().await }).await?;
        let mut manifest = match read {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| CaptureError::damaged(key, error))?,
            Err(StoreError::NotFound { .. }) => empty,
            Err(error) => return Err(CaptureError::store(key)(error)),
        };
        if manifest.segments.get(&name).is_some_and(|known| known.deleted > 0 || *known == entry) {
            return Ok(());
        }
        manifest.segments.insert(name, entry);
        let bytes =
            serde_json::to_vec_pretty(&manifest).map_err(|error| CaptureError::damaged(key, error))?;
        let put = timed(key, self.store.put(&path, PutPayload::from(bytes))).await?;
        put.map(drop).map_err(CaptureError::store(key))
    }
}

/// Does `work` on a thread of its own, which makes way for requests: a thread cannot take that back.
fn yielding<T: Send>(work: impl Fn() -> Result<T, ParquetError> + Send + Sync) -> Result<T, ParquetError> {
    let failed = |reason: &str| ParquetError::General(reason.to_owned());
    std::thread::scope(|scope| {
        let yields = || {
            yield_to_requests();
            work()
        };
        match std::thread::Builder::new().name("weir-convert".to_owned()).spawn_scoped(scope, yields) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(failed("a segment cannot be converted"))),
            Err(_) => work(),
        }
    })
}

async fn timed<T>(key: &str, call: impl Future<Output = T>) -> Result<T, CaptureError> {
    tokio::time::timeout(CALL_MAX, call).await.map_err(|_| CaptureError::Io {
        what: key.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::TimedOut),
    })
}

/// Where the file of a segment waits.
pub(super) fn spool_path(folder: &Path, number: u64) -> PathBuf {
    folder.join("spool").join(format!("{number:012}.parquet"))
}
