//! Removes what killed writers leave in a registry that is a directory: staging files `name#1`, `name#2`, ….
//!
//! They are never read, and only cost space and, when many, time to find a free name. Only old ones are removed, because
//! a young one may belong to a write in progress; should a wrong clock make one look old, that write fails and is tried
//! again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::StoreError;
use super::store::Store;

/// A staging file of this age belongs to nobody: longer than any upload.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// When the directory was walked last.
const STAMP: &str = "probe/swept";

impl Store {
    /// Removes staging files that are older than `age`, and says how many. Does nothing for a bucket.
    ///
    /// # Errors
    /// [`StoreError::Location`] when the directory cannot be walked.
    pub async fn sweep(&self, age: Duration) -> Result<u64, StoreError> {
        let Some(folder) = self.folder().map(Path::to_owned) else { return Ok(0) };
        let walked = tokio::task::spawn_blocking(move || walk(folder, age)).await;
        let failed = |reason: String| StoreError::Location { location: self.shown().to_owned(), reason };
        walked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

/// Sweeps when the last time is long ago. A registry that cannot be written to is left alone.
pub(super) async fn when_due(store: &Store) {
    let Some(folder) = store.folder().map(Path::to_owned) else { return };
    let due = tokio::task::spawn_blocking(move || take_turn(&folder)).await;
    if !due.is_ok_and(|due| due) {
        return;
    }
    match store.sweep(AGE).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "staging files of killed writers were removed"),
        Err(error) => tracing::warn!(%error, "staging files could not be looked for"),
    }
}

/// Whether it is this process's turn: the stamp is old and could be renewed.
fn take_turn(folder: &Path) -> bool {
    let stamp = folder.join(STAMP);
    let age = std::fs::metadata(&stamp).and_then(|meta| meta.modified()).ok().map(age);
    if age.is_some_and(|age| age < AGE) {
        return false;
    }
    let made = stamp.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.is_ok() && std::fs::write(&stamp, b"").is_ok() && age.is_some()
}

/// The time since `time`; none when a clock that went backwards puts it in the future.
fn age(time: SystemTime) -> Duration {
    time.elapsed().unwrap_or_default()
}

fn walk(root: PathBuf, age_min: Duration) -> std::io::Result<u64> {
    let mut removed = 0;
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_staging(&entry.file_name().to_string_lossy()) {
                let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|t| age(t) >= age_min);
                if old && std::fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// Whether `object_store` gives such names to files that are being written, and to no others.
fn is_staging(name: &str) -> bool {
    let digits = name.split_once('#').map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
