//! Captured files and the columns that all of them have.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{
    Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use sha2::{Digest, Sha256};

use super::error::DatasetError;
use super::query::Query;
use crate::capture::labels::{SourceFile, hex};
use crate::capture::{CapturedFile, Filter, Reader};

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;
/// Largest captured file that is read.
const FILE_LEN_MAX: u64 = 4 << 30;

/// The files that may hold rows of `query`, in the order in which they are read: by hour and name.
///
/// # Errors
/// [`DatasetError`].
pub async fn files(store: &Arc<dyn ObjectStore>, query: &Query) -> Result<Vec<CapturedFile>, DatasetError> {
    let filter = Filter {
        model: Some(query.model.to_string()),
        version: None,
        from: DateTime::from_timestamp_micros(query.from_us),
        until: DateTime::from_timestamp_micros(query.to_us),
    };
    let mut files = Reader::new(Arc::clone(store)).files(&filter).await?;
    files.retain(|file| query.versions.is_empty() || query.versions.contains(&file.version));
    match files.iter().find(|file| file.bytes > FILE_LEN_MAX) {
        Some(file) => Err(DatasetError::damaged(&file.key, format!("{} bytes", file.bytes))),
        None => Ok(files),
    }
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
    open_some(key, bytes, |_| true)
}

/// The same with the columns only whose names are `wanted`.
///
/// # Errors
/// [`DatasetError::Damaged`].
pub fn open_some(
    key: &str,
    bytes: Bytes,
    wanted: impl Fn(&str) -> bool,
) -> Result<ParquetRecordBatchReader, DatasetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|reader| {
        let fields = reader.schema().fields().iter().enumerate();
        let roots: Vec<usize> = fields.filter(|(_, field)| wanted(field.name())).map(|(at, _)| at).collect();
        let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
        reader.with_projection(mask).with_batch_size(BATCH_ROWS).build()
    });
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
pub fn day(time_us: i64) -> NaiveDate {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default().date_naive()
}

/// What a manifest says of a file.
pub(super) fn described(source: &CapturedFile, sha256: &str, rows: u64) -> SourceFile {
    SourceFile { path: source.key.clone(), sha256: sha256.to_owned(), rows }
}
