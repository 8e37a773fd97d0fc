//! Reading captured rows back: which files there are, and the rows in them.
//!
//! Files are found by listing, so that nothing is missed that a manifest does not name yet.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};

use super::file;
use super::manifest::{Manifest, ROOT};
use super::retention::runs;
use super::settings::CaptureError;

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this model; `None` for all.
    pub model: Option<String>,
    /// Of this version; `None` for all.
    pub version: Option<u64>,
    /// Answered at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Answered before this time.
    pub until: Option<DateTime<Utc>>,
}

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedFile {
    /// Its key.
    pub key: String,
    /// Whose rows it holds.
    pub model: String,
    /// Of which version.
    pub version: u64,
    /// The hour that it was begun in.
    pub hour: DateTime<Utc>,
    /// Its size.
    pub bytes: u64,
}

/// Reads a store that capture writes to.
#[derive(Debug, Clone)]
pub struct Reader {
    store: Arc<dyn ObjectStore>,
}

impl Reader {
    /// A reader of `store`.
    pub fn new(store: Arc<dyn ObjectStore>) -> Reader {
        Reader { store }
    }

    /// The files that may hold rows of `filter`, by their keys.
    ///
    /// # Errors
    /// [`CaptureError::Store`].
    pub async fn files(&self, filter: &Filter) -> Result<Vec<CapturedFile>, CaptureError> {
        let folder = filter.model.as_ref().map_or(ROOT.to_owned(), |model| format!("{ROOT}/model={model}"));
        let listed: Result<Vec<_>, _> =
            self.store.list(Some(&Key::from(folder.as_str()))).try_collect().await;
        let listed = listed.map_err(CaptureError::store(folder))?;
        let files = listed.iter().filter_map(|object| parse(object.location.as_ref(), object.size));
        let mut files: Vec<CapturedFile> = files.filter(|file| filter.may_hold(file)).collect();
        files.sort_by(|one, other| (one.hour, &one.key).cmp(&(other.hour, &other.key)));
        Ok(files)
    }

    /// Shows the rows of `filter` to `each`, file by file, until it breaks.
    ///
    /// # Errors
    /// [`CaptureError`] of the store, of a damaged file, or of `each`.
    pub async fn read<F>(&self, filter: &Filter, mut each: F) -> Result<(), CaptureError>
    where
        F: FnMut(&CapturedFile, RecordBatch) -> Result<ControlFlow<()>, CaptureError>,
    {
        for found in self.files(filter).await? {
            let opened = file::open(self.bytes(&found.key).await?)
                .map_err(|e| CaptureError::damaged(&found.key, e))?;
            for batch in opened.batches {
                let batch = batch.map_err(|e| CaptureError::damaged(&found.key, e))?;
                for part in filter.rows(batch) {
                    if each(&found, part)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The keys of a model's manifests.
    ///
    /// # Errors
    /// [`CaptureError::Store`].
    pub async fn manifests(&self, model: &str) -> Result<Vec<String>, CaptureError> {
        let folder = format!("{ROOT}/model={model}/_manifests");
        let listed: Result<Vec<_>, _> =
            self.store.list(Some(&Key::from(folder.as_str()))).try_collect().await;
        let listed = listed.map_err(CaptureError::store(folder))?;
        let mut keys: Vec<String> = listed.into_iter().map(|object| object.location.to_string()).collect();
        keys.sort();
        Ok(keys)
    }

    /// The manifest at `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`CaptureError`]; it is no manifest, for example.
    pub async fn manifest(&self, key: &str) -> Result<Option<Manifest>, CaptureError> {
        match self.bytes(key).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| CaptureError::damaged(key, e)),
            Err(CaptureError::Store { source: StoreError::NotFound { .. }, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn bytes(&self, key: &str) -> Result<Bytes, CaptureError> {
        let path = Key::from(key);
        let read = async { self.store.get(&path).await?.bytes().await };
        read.await.map_err(CaptureError::store(key))
    }
}

/// `capture/model=m/version=1/date=2026-11-27/hour=16/name.parquet`
fn parse(key: &str, bytes: u64) -> Option<CapturedFile> {
    let mut parts = key.strip_prefix(ROOT)?.strip_prefix('/')?.split('/');
    let model = parts.next()?.strip_prefix("model=")?.to_owned();
    let version = parts.next()?.strip_prefix("version=")?.parse().ok()?;
    let date: NaiveDate = parts.next()?.strip_prefix("date=")?.parse().ok()?;
    let hour = parts.next()?.strip_prefix("hour=")?.parse().ok()?;
    let hour = date.and_time(NaiveTime::from_hms_opt(hour, 0, 0)?).and_utc();
    parts.next().filter(|name| name.ends_with(".parquet"))?;
    Some(CapturedFile { key: key.to_owned(), model, version, hour, bytes })
}

impl Filter {
    /// A file begun in one hour may hold rows that were answered in the hour before or, seldom, after.
    fn may_hold(&self, file: &CapturedFile) -> bool {
        let slack = TimeDelta::hours(2);
        self.model.as_ref().is_none_or(|model| *model == file.model)
            && self.version.is_none_or(|version| version == file.version)
            && self.from.is_none_or(|from| file.hour + slack > from)
            && self.until.is_none_or(|until| file.hour - slack < until)
    }

    fn rows(&self, batch: RecordBatch) -> Vec<RecordBatch> {
        let times =
            batch.column_by_name("ts_us").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times.filter(|_| self.from.is_some() || self.until.is_some()) else {
            return vec![batch];
        };
        let from = self.from.map_or(i64::MIN, |time| time.timestamp_micros());
        let until = self.until.map_or(i64::MAX, |time| time.timestamp_micros());
        let keep: Vec<bool> = times.values().iter().map(|us| (from..until).contains(us)).collect();
        runs(&keep).into_iter().map(|(at, len)| batch.slice(at, len)).collect()
    }
}
