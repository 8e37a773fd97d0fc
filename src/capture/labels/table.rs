//! The labels of a model, merged: for each row of each request the one that counts.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::LabelError;
use super::files::{self, Received};
use super::label::Label;
use crate::model::ModelName;

/// Most labels that are held at a time: about 200 bytes each.
pub const LABELS_MAX: usize = 5_000_000;
/// Largest file of labels that is read.
const FILE_LEN_MAX: u64 = 256 << 20;

/// A file that something was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Its key in the store.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its rows.
    pub rows: u64,
}

/// The label that counts for each row, and which files they come from.
#[derive(Debug, Default)]
pub struct LabelTable {
    by_request: HashMap<Box<str>, Vec<Received>>,
    len: usize,
    /// The files, by path.
    pub sources: Vec<SourceFile>,
}

impl LabelTable {
    /// The label of a row, with when it was received in microseconds since 1970.
    pub fn get(&self, request_id: &str, row: u32) -> Option<(&Label, i64)> {
        let rows = self.by_request.get(request_id)?;
        rows.iter().find(|one| one.label.row == row).map(|one| (&one.label, one.received_us))
    }

    /// Rows that have one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a label that arrived after all those of its file, and after those of equal time.
    fn add(&mut self, new: Received, max: usize) -> Result<(), LabelError> {
        let rank = |one: &Received| (one.label.time_us, one.received_us);
        let rows = self.by_request.entry(new.label.request_id.as_str().into()).or_default();
        match rows.iter_mut().find(|one| one.label.row == new.label.row) {
            Some(old) if rank(old) > rank(&new) => {}
            Some(old) => *old = new,
            None if self.len == max => return Err(LabelError::TooMany { max }),
            None => {
                rows.push(new);
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Reads the labels of `model` that were received on `since` or later (with a day to spare for clocks that differ).
///
/// # Errors
/// [`LabelError`]; a damaged file is an error, since a correction may be in it.
pub async fn read(
    store: &Arc<dyn ObjectStore>,
    model: &ModelName,
    since: Option<NaiveDate>,
    max: usize,
) -> Result<LabelTable, LabelError> {
    let folder = Path::from(format!("labels/model={model}"));
    let failed = |key: &str, source| LabelError::Store { key: key.to_owned(), source };
    let listed: Vec<_> =
        store.list(Some(&folder)).try_collect().await.map_err(|error| failed(folder.as_ref(), error))?;
    let since = since.and_then(|since| since.checked_sub_days(Days::new(1)));
    let mut keys = BTreeMap::new();
    for object in listed {
        let date = date_of(object.location.as_ref());
        if object.location.as_ref().ends_with(".parquet")
            && date.is_none_or(|date| since.is_none_or(|since| date >= since))
        {
            keys.insert(object.location.to_string(), object);
        }
    }
    let mut table = LabelTable::default();
    for (key, object) in keys {
        if object.size > FILE_LEN_MAX {
            return Err(LabelError::damaged(&key, format!("{} bytes", object.size)));
        }
        let got = store.get(&object.location).await.map_err(|error| failed(&key, error))?;
        let bytes = got.bytes().await.map_err(|error| failed(&key, error))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let labels = files::decode(&key, bytes)?;
        table.sources.push(SourceFile { path: key, sha256, rows: labels.len() as u64 });
        for label in labels {
            table.add(label, max)?;
        }
    }
    Ok(table)
}

/// The day that a key of the dataset lies in.
fn date_of(key: &str) -> Option<NaiveDate> {
    key.split('/').find_map(|part| part.strip_prefix("date=")?.parse().ok())
}

/// The day of a time in microseconds.
pub(super) fn day(time_us: i64) -> NaiveDate {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default().date_naive()
}

pub(in crate::capture) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
