//! A replica's own copy of what it serves: verified blobs, the folders of versions made of them, and the last state of
//! every model, so that it goes on and can start again while the store is away.
//!
//! ```text
//! <root>/<registry id>/blobs/<sha256>           hashed when they are fetched, and again before a process uses them
//! <root>/<registry id>/models/<model>/<n>/…     hard links to blobs: a folder as it was registered
//! <root>/<registry id>/models/<model>/<n>.golden.json    what the version must answer, if anything is known
//! <root>/<registry id>/models/<model>/<n>.lock  held by every process that uses the version
//! <root>/<registry id>/lock                     held by the process that makes or removes copies
//! <root>/<registry id>/states/<deployment>/<model>.json  the last state that was followed
//! <root>/at-<hash of the location>.json         which registry was there
//! ```
//!
//! Processes of one host may share it: what one has fetched the other finds, and nobody removes what another uses.
//! Everything in it can be deleted while no server runs. Nothing of it is ever written back to the registry.

mod states;
mod files;
mod locks;

pub use self::states::{load_info, save_info};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use uuid::Uuid;

use self::locks::Lock;
use super::blobs::{self, BlobError};
use super::record::{FileRef, VersionRecord};
use super::state::check_deployment;
use super::store::Store;
use crate::model::{ModelName, Version};

/// The lock of the whole folder.
const LOCK: &str = "lock";

/// A version of a model.
type Id = (ModelName, Version);

/// The copies of one registry.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// Whose states are kept here.
    deployment: String,
    bytes_max: u64,
    /// Folders that were verified by this process.
    ready: Mutex<BTreeMap<Id, Ready>>,
    /// One version is made at a time: two that share a blob fetch it once, and nothing is evicted meanwhile. Processes
    /// that share the folder take turns by its lock, too.
    making: tokio::sync::Mutex<()>,
}

/// A version that was verified by this process, and may be in use.
#[derive(Debug)]
struct Ready {
    folder: PathBuf,
    /// Keeps other processes from removing it.
    _used: Lock,
}

/// Where the golden outputs of the version are whose files are in `folder`.
pub fn golden_beside(folder: &Path) -> PathBuf {
    folder.with_extension("golden.json")
}

impl Cache {
    /// The copies of the registry `id` below `root`, of at most `bytes_max` bytes as far as what is in use allows, with
    /// the states of those who follow `deployment`.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: &Path, id: Uuid, deployment: &str, bytes_max: u64) -> io::Result<Cache> {
        check_deployment(deployment).map_err(io::Error::other)?;
        let root = root.join(id.to_string());
        for folder in ["blobs", "models", &format!("states/{deployment}")] {
            files::make_folder(&root.join(folder))?;
        }
        if !locks::are_known(&root.join(LOCK))? {
            tracing::warn!(folder = %root.display(), "the file system has no locks: no two servers may share this folder");
        }
        let (ready, making) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Cache { root, deployment: deployment.to_owned(), bytes_max, ready, making })
    }

    /// The folder of a version that this process has verified. Costs a look at a map.
    pub fn ready(&self, model: &ModelName, version: Version) -> Option<PathBuf> {
        self.ready.lock().get(&(model.clone(), version)).map(|ready| ready.folder.clone())
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
        let golden = record.validation.golden.as_ref();
        blobs::check_files(golden.map_or(&[], std::slice::from_ref))?;
        let _making = self.making.lock().await;
        if let Some(folder) = self.ready(model, version) {
            return Ok(folder);
        }
        let failed = |source| local(&record.model_file, source);
        let _turn = self.turn().await.map_err(failed)?;
        for file in record.files.iter().chain(golden) {
            self.ensure_blob(store, file).await?;
        }
        let folder = self.folder(model, version);
        let made = folder.clone();
        let (blobs, wanted, golden) = (self.root.join("blobs"), record.files.clone(), golden.cloned());
        let used = tokio::task::spawn_blocking(move || {
            files::link(&blobs, &wanted, &made)?;
            golden.map_or(Ok(()), |golden| files::link_one(&blobs, &golden, &golden_beside(&made)))?;
            locks::together(&lock_beside(&made))
        });
        let used = used.await.map_err(io::Error::other).flatten().map_err(failed)?;
        let ready = Ready { folder: folder.clone(), _used: used };
        self.ready.lock().insert((model.clone(), version), ready);
        Ok(folder)
    }

    /// Frees the longest unused versions until the copies fit. Those `in_use` stay, and those that another process uses.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub async fn evict(&self, in_use: BTreeSet<Id>) -> io::Result<u64> {
        let _making = self.making.lock().await;
        let _turn = self.turn().await?;
        // Their locks are this process's own, and would be in its way.
        let mut idle: BTreeMap<Id, Ready> =
            self.ready.lock().extract_if(.., |id, _| !in_use.contains(id)).collect();
        let (root, bytes_max) = (self.root.clone(), self.bytes_max);
        let (idle, freed) = tokio::task::spawn_blocking(move || {
            let freed = files::evict(&root, bytes_max, &in_use, |id| drop(idle.remove(id)));
            (idle, freed)
        })
        .await?;
        self.ready.lock().extend(idle);
        freed
    }

    /// Waits until no other process makes or removes copies here.
    async fn turn(&self) -> io::Result<Lock> {
        let path = self.root.join(LOCK);
        tokio::task::spawn_blocking(move || locks::alone(&path)).await?
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

/// The lock of the version whose files are in `folder`.
fn lock_beside(folder: &Path) -> PathBuf {
    folder.with_extension("lock")
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
