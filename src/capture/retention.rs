//! Deleting from the store: files that are too old, and the rows of one key.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use parquet::file::metadata::KeyValue;
use sha2::{Digest, Sha256};

use super::file::{self, DELETED_KEY};
use super::large;
use super::manifest::ROOT;
use super::privacy::hex;
use super::reader::{CapturedFile, Filter, Reader};
use super::settings::CaptureError;

/// Deletes files and manifests of days that ended more than `days` before `now`. Returns how many.
pub(super) async fn delete_older(
    store: &dyn ObjectStore,
    days: u32,
    now: DateTime<Utc>,
) -> Result<u64, CaptureError> {
    let first = (now - TimeDelta::days(i64::from(days))).date_naive();
    let listed: Result<Vec<_>, _> = store.list(Some(&Key::from(ROOT))).try_collect().await;
    let mut deleted = 0;
    for object in listed.map_err(CaptureError::store("a listing"))? {
        if date_of(&object.location).is_some_and(|date| date < first) {
            match store.delete(&object.location).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => deleted += 1,
                Err(error) => return Err(CaptureError::store(object.location)(error)),
            }
        }
    }
    Ok(deleted)
}

fn date_of(key: &Key) -> Option<NaiveDate> {
    let part = key.parts().find_map(|part| part.as_ref().strip_prefix("date=").map(str::to_owned))?;
    part.parse().ok()
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Rows that are gone.
    pub rows: u64,
    /// Files that were written anew without them.
    pub files: u64,
}

/// Deletes the rows of `key_hash`, and the large values that no other row of their file names, from the files that `filter`
/// lets through. Each file is replaced in one step by one without them; its manifest follows, and says so.
///
/// # Errors
/// [`CaptureError`]; what was deleted before stays deleted, and deleting again goes on.
pub async fn delete_key(
    store: &Arc<dyn ObjectStore>,
    filter: &Filter,
    key_hash: &str,
) -> Result<Deleted, CaptureError> {
    let reader = Reader::new(Arc::clone(store));
    let mut deleted = Deleted::default();
    for found in reader.files(filter).await? {
        let path = Key::from(found.key.as_str());
        let opened = file::open(reader.bytes(&found.key).await?)
            .map_err(|error| CaptureError::damaged(&found.key, error))?;
        let damaged = |error: String| CaptureError::damaged(&found.key, error);
        let (schema, mut metadata) = (Arc::clone(&opened.schema), opened.metadata.clone());
        let segment = opened.segment().unwrap_or_default().to_owned();
        let before: u64 = opened.value(DELETED_KEY).and_then(|rows| rows.parse().ok()).unwrap_or(0);
        let (mut kept, mut gone, mut left) = (Vec::new(), 0, 0);
        let (mut named, mut still_named) = (BTreeSet::new(), BTreeSet::new());
        for batch in opened.batches {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            let parts = without(&batch, key_hash);
            named.extend(large::uris(&batch));
            still_named.extend(parts.iter().flat_map(large::uris));
            let rows: usize = parts.iter().map(RecordBatch::num_rows).sum();
            gone += (batch.num_rows() - rows) as u64;
            left += rows as u64;
            kept.extend(parts);
        }
        if gone > 0 {
            // Before the rows, so that whoever tries again still finds what they name.
            for uri in named.difference(&still_named) {
                match store.delete(&Key::from(uri.as_str())).await {
                    Ok(()) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(CaptureError::store(uri)(error)),
                }
            }
            metadata.retain(|pair| pair.key != DELETED_KEY);
            metadata.push(KeyValue::new(DELETED_KEY.to_owned(), (before + gone).to_string()));
            let bytes =
                file::rewrite(&metadata, &schema, &kept).map_err(|error| damaged(error.to_string()))?;
            store.put(&path, PutPayload::from(bytes)).await.map_err(CaptureError::store(&found.key))?;
            deleted.rows += gone;
            deleted.files += 1;
        }
        if before + gone > 0 {
            tell(store, &reader, &found, (&segment, left, before + gone)).await?;
        }
    }
    Ok(deleted)
}

/// Has the manifest of a file say what is in it now: `told` is its segment, its rows, and those that were deleted.
async fn tell(
    store: &Arc<dyn ObjectStore>,
    reader: &Reader,
    found: &CapturedFile,
    told: (&str, u64, u64),
) -> Result<(), CaptureError> {
    let (segment, rows, deleted) = told;
    let bytes = reader.bytes(&found.key).await?;
    for key in reader.manifests(&found.model).await? {
        let Some(mut manifest) = reader.manifest(&key).await? else { continue };
        let entry = manifest.segments.get_mut(segment);
        let Some(entry) = entry.filter(|entry| entry.path.as_deref() == Some(&found.key)) else { continue };
        let before = entry.clone();
        (entry.bytes, entry.sha256) = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
        (entry.rows, entry.deleted) = (rows, deleted);
        if *entry != before {
            let json = serde_json::to_vec_pretty(&manifest).map_err(|e| CaptureError::damaged(&key, e))?;
            let put = store.put(&Key::from(key.as_str()), PutPayload::from(json)).await;
            put.map_err(CaptureError::store(&key))?;
        }
    }
    Ok(())
}

/// The rows of `batch` that are not of `key_hash`, in runs.
fn without(batch: &RecordBatch, key_hash: &str) -> Vec<RecordBatch> {
    let keys: Option<&StringArray> = batch.column_by_name("key_hash").and_then(|keys| keys.as_string_opt());
    match keys {
        None => vec![batch.clone()],
        Some(keys) => {
            let keep: Vec<bool> = keys.iter().map(|key| key != Some(key_hash)).collect();
            runs(&keep).into_iter().map(|(at, len)| batch.slice(at, len)).collect()
        }
    }
}

/// Where the runs of what is kept begin, and how long they are.
pub(super) fn runs(keep: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        match runs.last_mut() {
            Some((begin, len)) if *begin + *len == at => *len += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}
