//! Captured files and the columns that all of them have.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{
    Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use sha2::{Digest, Sha256};

use super::error::DatasetError;
use super::query::Query;
use crate::capture::labels::{SourceFile, hex};

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;
/// Largest captured file that is read.
const FILE_LEN_MAX: u64 = 4 << 30;
/// A file that was begun in one hour may hold rows of the hours beside it.
const SLACK_US: i64 = 2 * 3_600_000_000;

/// A captured file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its key.
    pub key: String,
    /// The version whose rows it holds.
    pub version: u64,
    /// The hour that it was begun in, in microseconds since 1970.
    pub hour_us: i64,
}

/// The files that may hold rows of `query`, in the order in which they are read: by hour, version and name.
///
/// # Errors
/// [`DatasetError::Store`].
pub async fn files(store: &Arc<dyn ObjectStore>, query: &Query) -> Result<Vec<Source>, DatasetError> {
    let folder = format!("capture/model={}", query.model);
    let listed: Result<Vec<_>, _> = store.list(Some(&Path::from(folder.as_str()))).try_collect().await;
    let listed = listed.map_err(|error| DatasetError::store(&folder, error))?;
    let mut found = Vec::new();
    for object in listed {
        let key = object.location.as_ref();
        let Some(source) = parse(key) else { continue };
        let is_of_version = query.versions.is_empty() || query.versions.contains(&source.version);
        let is_in_time = source.hour_us + SLACK_US > query.from_us
            && source.hour_us.saturating_sub(SLACK_US) < query.to_us;
        if is_of_version && is_in_time {
            if object.size > FILE_LEN_MAX {
                return Err(DatasetError::damaged(key, format!("{} bytes", object.size)));
            }
            found.push(source);
        }
    }
    found.sort_by(|one, other| {
        (one.hour_us, one.version, &one.key).cmp(&(other.hour_us, other.version, &other.key))
    });
    Ok(found)
}

/// `capture/model=m/version=1/date=2026-11-27/hour=16/name.parquet`
fn parse(key: &str) -> Option<Source> {
    let of = |name: &str| key.split('/').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let version = of("version")?.parse().ok()?;
    let date: NaiveDate = of("date")?.parse().ok()?;
    let hour_us = date.and_hms_opt(of("hour")?.parse().ok()?, 0, 0)?.and_utc().timestamp_micros();
    key.ends_with(".parquet").then(|| Source { key: key.to_owned(), version, hour_us })
}

/// The bytes of a captured file, and their hash.
///
/// # Errors
/// [`DatasetError::Store`].
pub async fn fetch(store: &Arc<dyn ObjectStore>, key: &str) -> Result<(Bytes, String), DatasetError> {
    let read = async { store.get(&Path::from(key)).await?.bytes().await };
    let bytes = read.await.map_err(|error| DatasetError::store(key, error))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok((bytes, sha256))
}

/// The rows of a captured file, a batch at a time.
///
/// # Errors
/// [`DatasetError::Damaged`].
pub fn open(key: &str, bytes: Bytes) -> Result<ParquetRecordBatchReader, DatasetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|reader| reader.with_batch_size(BATCH_ROWS).build());
    reader.map_err(|error| DatasetError::damaged(key, error))
}

/// The columns that every captured file has.
#[derive(Debug)]
pub struct CapturedRows<'a> {
    ids: &'a StringArray,
    rows: &'a UInt32Array,
    times: &'a TimestampMicrosecondArray,
    versions: &'a UInt64Array,
    routes: &'a StringArray,
    statuses: &'a StringArray,
    weights: &'a Float64Array,
    keys: &'a StringArray,
}

impl<'a> CapturedRows<'a> {
    /// The columns of `batch`, which comes from `key`.
    ///
    /// # Errors
    /// [`DatasetError::Damaged`] when one is missing or of another type.
    pub fn new(key: &str, batch: &'a RecordBatch) -> Result<CapturedRows<'a>, DatasetError> {
        let missing =
            |name: &str| DatasetError::damaged(key, format!("column {name} is missing or of another type"));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name));
        let text = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| missing(name));
        Ok(CapturedRows {
            ids: text("request_id")?,
            rows: column("row")?.as_primitive_opt::<UInt32Type>().ok_or_else(|| missing("row"))?,
            times: column("ts_us")?
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| missing("ts_us"))?,
            versions: column("model_version")?
                .as_primitive_opt::<UInt64Type>()
                .ok_or_else(|| missing("model_version"))?,
            routes: text("route")?,
            statuses: text("status")?,
            weights: column("sample_weight")?
                .as_primitive_opt::<Float64Type>()
                .ok_or_else(|| missing("sample_weight"))?,
            keys: text("key_hash")?,
        })
    }

    /// The client's name of the request; may be empty.
    pub fn request_id(&self, at: usize) -> &'a str {
        self.ids.value(at)
    }

    /// The row of the request.
    pub fn row(&self, at: usize) -> u32 {
        self.rows.value(at)
    }

    /// When it was answered, in microseconds since 1970.
    pub fn ts_us(&self, at: usize) -> i64 {
        self.times.value(at)
    }

    /// The version that answered.
    pub fn version(&self, at: usize) -> u64 {
        self.versions.value(at)
    }

    /// Whether the caller got this answer: it did not fail and was not made beside another one.
    pub fn is_answer(&self, at: usize) -> bool {
        self.statuses.value(at) == "ok" && self.routes.value(at) != "shadow"
    }

    /// For how many rows it stands.
    pub fn weight(&self, at: usize) -> f64 {
        let weight = self.weights.value(at);
        if weight.is_finite() && weight >= 0.0 { weight } else { 1.0 }
    }

    /// What its rows have in common with others: the hash of its key, else its request id.
    pub(super) fn group(&self, at: usize) -> &'a str {
        match self.keys.is_null(at) || self.keys.value(at).is_empty() {
            true => self.ids.value(at),
            false => self.keys.value(at),
        }
    }
}

/// The day of a time in microseconds.
pub(super) fn day(time_us: i64) -> NaiveDate {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default().date_naive()
}

/// What a manifest says of a file.
pub(super) fn described(source: &Source, sha256: &str, rows: u64) -> SourceFile {
    SourceFile { path: source.key.clone(), sha256: sha256.to_owned(), rows }
}
