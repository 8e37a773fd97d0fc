//! The cache's files: hashing, linking, evicting. Blocks; runs on threads that may be held up.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Id, golden_beside, lock_beside, locks, used};
use crate::registry::blobs::place;
use crate::registry::record::FileRef;
use crate::registry::revision::hex;

/// Makes a folder and those above it, for this user only.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether `path` has the content of `file`. What is there and is another file is removed.
pub(super) fn is_right(path: &Path, file: &FileRef) -> io::Result<bool> {
    match has_content(path, file) {
        Ok(true) => Ok(true),
        Ok(false) => fs::remove_file(path).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_content(path: &Path, file: &FileRef) -> io::Result<bool> {
    let mut input = File::open(path)?;
    Ok(input.metadata()?.len() == file.size && hash(&mut input)? == file.sha256)
}

fn hash(input: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Makes `folder` of links to `blobs`, unless it is that already. It appears whole or not at all.
pub(super) fn link(blobs: &Path, files: &[FileRef], folder: &Path) -> io::Result<()> {
    if is_linked(blobs, files, folder) {
        // The time of its last use, for eviction.
        return File::open(folder)?.set_modified(std::time::SystemTime::now());
    }
    let parent = folder.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_folder(parent)?;
    let temporary = parent.join(format!(".{}", Uuid::now_v7()));
    let made = link_all(blobs, files, &temporary).and_then(|()| {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&temporary, folder)
    });
    if made.is_err() {
        fs::remove_dir_all(&temporary).ok();
    }
    made
}

/// Makes `path` a link to the blob of `file`, unless it is that already.
pub(super) fn link_one(blobs: &Path, file: &FileRef, path: &Path) -> io::Result<()> {
    let blob = blobs.join(&file.sha256);
    if is_copy(&blob, file, path) {
        return Ok(());
    }
    let temporary = path.with_file_name(format!(".{}", Uuid::now_v7()));
    let made = link_or_copy(&blob, &temporary).and_then(|()| fs::rename(&temporary, path));
    if made.is_err() {
        fs::remove_file(&temporary).ok();
    }
    made
}

fn is_linked(blobs: &Path, files: &[FileRef], folder: &Path) -> bool {
    files
        .iter()
        .all(|file| place(folder, file).is_ok_and(|path| is_copy(&blobs.join(&file.sha256), file, &path)))
}

/// Whether `path` has the content of the blob: as a link to it, or, where there are no links, as a copy.
fn is_copy(blob: &Path, file: &FileRef, path: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    match (inode(blob), inode(path)) {
        (_, None) => false,
        (of_blob, of_path) if of_blob == of_path => true,
        _ => has_content(path, file).unwrap_or(false),
    }
}

fn link_all(blobs: &Path, files: &[FileRef], folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    for file in files {
        let path = place(folder, file).map_err(io::Error::other)?;
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        link_or_copy(&blobs.join(&file.sha256), &path)?;
    }
    Ok(())
}

/// A file system without hard links, or one more than it can count, takes a copy.
fn link_or_copy(blob: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
}

/// Removes the longest unused versions until the blobs have at most `bytes_max` bytes, but none that is `in_use` or that
/// another process uses, and what a crash has left behind. `let_go` drops this process's own lock of a version. Returns
/// the bytes that were freed. Nobody else may make or remove copies meanwhile.
pub(super) fn evict(
    root: &Path,
    bytes_max: u64,
    in_use: &BTreeSet<Id>,
    mut let_go: impl FnMut(&Id),
) -> io::Result<u64> {
    let blobs = root.join("blobs");
    let mut versions = versions(&root.join("models"))?;
    let (mut bytes, mut freed) = (total(&blobs)?, 0);
    versions.retain(|(id, _)| !in_use.contains(id));
    versions.sort_by_key(|(_, folder)| used(folder));
    for (id, folder) in versions {
        if bytes <= bytes_max {
            break;
        }
        let_go(&id);
        let lock = lock_beside(&folder);
        let Some(_alone) = locks::try_alone(&lock)? else { continue };
        fs::remove_dir_all(&folder)?;
        for beside in [golden_beside(&folder), lock] {
            match fs::remove_file(beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let now = remove_unlinked(&blobs)?;
        bytes = bytes.saturating_sub(now);
        freed += now;
    }
    Ok(freed)
}

fn total(blobs: &Path) -> io::Result<u64> {
    fs::read_dir(blobs)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Removes blobs that no version's folder links to.
fn remove_unlinked(blobs: &Path) -> io::Result<u64> {
    let mut freed = 0;
    for entry in fs::read_dir(blobs)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.nlink() <= 1 {
            fs::remove_file(entry.path())?;
            freed += metadata.len();
        }
    }
    Ok(freed)
}

/// Every version that has a folder. Removes folders that were not finished.
fn versions(models: &Path) -> io::Result<Vec<(Id, PathBuf)>> {
    let mut found = Vec::new();
    for model in fs::read_dir(models)? {
        let model = model?;
        let Some(name) = model.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if !model.file_type()?.is_dir() {
            continue;
        }
        for version in fs::read_dir(model.path())? {
            let version = version?;
            let file_name = version.file_name();
            if file_name.as_encoded_bytes().starts_with(b".") {
                let is_folder = version.file_type()?.is_dir();
                let path = version.path();
                if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
                continue;
            }
            if let Some(number) = file_name.to_str().and_then(|number| number.parse().ok()) {
                found.push(((crate::model::ModelName::clone(&name), number), version.path()));
            }
        }
    }
    Ok(found)
}
