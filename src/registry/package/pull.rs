//! A version's files out of the registry: verified while they are copied, and in place all at once or not at all.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{PackageError, check_path};
use crate::registry::blobs::blob_key;
use crate::registry::error::{Refusal, StoreError};
use crate::registry::record::{FileRef, VersionRecord};
use crate::registry::revision::hex;
use crate::registry::store::Store;

/// A folder that is built under another name and renamed when it is whole; removed when it never is.
#[derive(Debug)]
pub struct Building {
    target: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Building {
    /// Starts to build `target`, which must not exist or be an empty folder.
    ///
    /// # Errors
    /// [`Refusal::Exists`] when there is something, [`PackageError::Io`].
    pub fn start(target: &Path) -> Result<Building, PackageError> {
        let occupied = match std::fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => std::fs::symlink_metadata(target).is_ok(),
        };
        if occupied {
            return Err(Refusal::Exists(format!("{} exists already", target.display())).into());
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = parent.join(format!(".weir-{}.partial", Uuid::now_v7()));
        std::fs::create_dir_all(&path).map_err(|error| PackageError::io(&path, error))?;
        Ok(Building { target: target.to_owned(), path, done: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the folder in its place.
    ///
    /// # Errors
    /// [`PackageError::Io`], also when somebody else put something there meanwhile.
    pub fn finish(mut self) -> Result<(), PackageError> {
        std::fs::rename(&self.path, &self.target).map_err(|error| PackageError::io(&self.target, error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !self.done {
            // Nothing depends on it; what cannot be removed is only litter.
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Writes every file of `record` to the folder `target`.
///
/// # Errors
/// [`PackageError`]; then there is nothing at `target`.
pub async fn pull(store: &Store, record: &VersionRecord, target: &Path) -> Result<(), PackageError> {
    let building = Building::start(target)?;
    for file in &record.files {
        copy_file(store, file, &building.path().join(checked(file)?)).await?;
    }
    building.finish()
}

/// The file's path, checked anew: whoever can write to the store can write a log.
///
/// # Errors
/// [`PackageError::Damaged`].
pub fn checked(file: &FileRef) -> Result<&str, PackageError> {
    check_path(&file.path).map(|()| file.path.as_str()).map_err(|reason| PackageError::Damaged {
        path: "the version's list of files".to_owned(),
        reason,
    })
}

/// Copies one file to `target`, which must not exist, and verifies its length and hash.
///
/// # Errors
/// [`PackageError`]; then `target` may hold a part.
pub async fn copy_file(store: &Store, file: &FileRef, target: &Path) -> Result<(), PackageError> {
    let damaged = |reason: &str| PackageError::Damaged { path: file.path.clone(), reason: reason.to_owned() };
    let io = |error: std::io::Error| PackageError::io(target, error);
    if let Some(folder) = target.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(io)?;
    }
    let key = blob_key(&file.sha256);
    let failed = |source| StoreError::Io { key: file.path.clone(), source };
    let found = match store.raw().get(&Key::from(key)).await {
        Err(object_store::Error::NotFound { .. }) => return Err(damaged("it is missing in the registry")),
        found => found.map_err(failed)?,
    };
    let mut out = tokio::fs::File::create_new(target).await.map_err(io)?;
    let mut stream = found.into_stream();
    let (mut digest, mut len) = (Sha256::new(), 0u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(failed)?;
        len += chunk.len() as u64;
        if len > file.size {
            return Err(damaged("it is longer than what was registered"));
        }
        digest.update(&chunk);
        out.write_all(&chunk).await.map_err(io)?;
    }
    out.flush().await.map_err(io)?;
    if len != file.size || hex(&digest.finalize()) != file.sha256 {
        return Err(damaged("its content is not what was registered"));
    }
    Ok(())
}
