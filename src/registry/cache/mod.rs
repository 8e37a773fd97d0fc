//! A replica's own copy of what it serves: verified blobs, the folders of versions made of them, and the last state of
//! every model, so that it goes on and can start again while the store is away.
//!
//! ```text
//! <root>/<registry id>/blobs/<sha256>           hashed when they are fetched, and again before a process uses them
//! <root>/<registry id>/models/<model>/<n>/…     hard links to blobs: a folder as it was registered
//! <root>/<registry id>/states/<model>.json      the last state that was followed
//! <root>/at-<hash of the location>.json         which registry was there
//! ```
//!
//! Everything in it can be deleted while no server runs. Nothing of it is ever written back to the registry.

mod states;
mod files;

pub use self::states::{load_info, save_info};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use uuid::Uuid;

use super::blobs::{self, BlobError};
use super::record::{FileRef, VersionRecord};
use super::store::Store;
use crate::model::{ModelName, Version};

/// A version of a model.
type Id = (ModelName, Version);

/// The copies of one registry.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    bytes_max: u64,
    /// Folders that were verified by this process.
    ready: Mutex<BTreeMap<Id, PathBuf>>,
    /// One version is made at a time: two that share a blob fetch it once, and nothing is evicted meanwhile.
    making: tokio::sync::Mutex<()>,
}

impl Cache {
    /// The copies of the registry `id` below `root`, of at most `bytes_max` bytes as far as what is in use allows.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: &Path, id: Uuid, bytes_max: u64) -> io::Result<Cache> {
        let root = root.join(id.to_string());
        for folder in ["blobs", "models", "states"] {
            files::make_folder(&root.join(folder))?;
        }
        let (ready, making) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Cache { root, bytes_max, ready, making })
    }

    /// The folder of a version that this process has verified. Costs a look at a map.
    pub fn ready(&self, model: &ModelName, version: Version) -> Option<PathBuf> {
        self.ready.lock().get(&(model.clone(), version)).cloned()
    }

    /// The folder of a version with every file as it was registered, from the copies that are here or, what is missing
    /// or damaged, from `store`.
    ///
    /// # Errors
    /// [`BlobError`]; [`BlobError::Missing`] when a copy is needed and there is no store.
    pub async fn ensure(
        &self,
        store: Option<&Store>,
        model: &ModelName,
        version: Version,
        record: &VersionRecord,
    ) -> Result<PathBuf, BlobError> {
        if let Some(folder) = self.ready(model, version) {
            return Ok(folder);
        }
        blobs::check_files(&record.files)?;
        let _making = self.making.lock().await;
        if let Some(folder) = self.ready(model, version) {
            return Ok(folder);
        }
        for file in &record.files {
            self.ensure_blob(store, file).await?;
        }
        let folder = self.folder(model, version);
        let (blobs, wanted, made) = (self.root.join("blobs"), record.files.clone(), folder.clone());
        let linked = tokio::task::spawn_blocking(move || files::link(&blobs, &wanted, &made)).await;
        linked.map_err(io::Error::other).flatten().map_err(|source| local(&record.model_file, source))?;
        self.ready.lock().insert((model.clone(), version), folder.clone());
        Ok(folder)
    }

    /// Frees the longest unused versions until the copies fit. Those `in_use` stay.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub async fn evict(&self, in_use: BTreeSet<Id>) -> io::Result<u64> {
        let _making = self.making.lock().await;
        let (root, bytes_max) = (self.root.clone(), self.bytes_max);
        let (freed, gone) =
            tokio::task::spawn_blocking(move || files::evict(&root, bytes_max, &in_use)).await??;
        let mut ready = self.ready.lock();
        for id in gone {
            ready.remove(&id);
        }
        Ok(freed)
    }

    fn folder(&self, model: &ModelName, version: Version) -> PathBuf {
        self.root.join("models").join(&**model).join(version.to_string())
    }

    async fn ensure_blob(&self, store: Option<&Store>, file: &FileRef) -> Result<(), BlobError> {
        let path = self.root.join("blobs").join(&file.sha256);
        let (wanted, checked) = (file.clone(), path.clone());
        let is_right = tokio::task::spawn_blocking(move || files::is_right(&checked, &wanted)).await;
        match is_right.map_err(io::Error::other).flatten() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(source) => return Err(local(&file.path, source)),
        }
        let missing = || BlobError::Missing { path: file.path.clone(), sha256: file.sha256.clone() };
        blobs::fetch_to(store.ok_or_else(missing)?, file, &path).await
    }
}

fn local(path: &str, source: io::Error) -> BlobError {
    BlobError::Local { path: path.to_owned(), source }
}

/// When something was used last.
fn used(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
