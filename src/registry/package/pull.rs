//! A version's files out of the registry: verified while they are copied, and in place all at once or not at all.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;

use super::{PackageError, digest_of};
use crate::registry::blobs;
use crate::registry::error::Refusal;
use crate::registry::record::VersionRecord;
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
        let parent =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
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
    check_record(record)?;
    let building = Building::start(target)?;
    for file in &record.files {
        blobs::fetch_to(store, file, &blobs::place(building.path(), file)?).await?;
    }
    building.finish()
}

/// The content of the file at `path` of a version, of at most `len_max` bytes.
///
/// # Errors
/// [`Refusal::NotFound`], or what is wrong with the store or the file.
pub async fn read(
    store: &Store,
    record: &VersionRecord,
    path: &str,
    len_max: u64,
) -> Result<Bytes, PackageError> {
    let shown = || path.chars().take(64).flat_map(char::escape_debug).collect::<String>();
    let missing = || Refusal::NotFound(format!("the version has no file '{}'", shown()));
    let file = record.files.iter().find(|file| file.path == path).ok_or_else(missing)?;
    Ok(blobs::read_small(store, file, len_max).await?)
}

/// Checks the list of files anew, because whoever can write to the store can write a log: every path may be written
/// below a folder, and the digest is theirs.
///
/// # Errors
/// [`PackageError`].
pub fn check_record(record: &VersionRecord) -> Result<(), PackageError> {
    blobs::check_files(&record.files)?;
    if digest_of(&record.files) != record.digest || !record.files.iter().any(|f| f.path == record.model_file)
    {
        return Err(PackageError::invalid("the version's list of files is damaged"));
    }
    Ok(())
}
