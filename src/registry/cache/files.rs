//! The cache's files: hashing, linking, evicting. Blocks; runs on threads that may be held up.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Id, used};
use crate::registry::blobs::place;
use crate::registry::record::FileRef;
use crate::registry::revision::hex;

/// Makes a folder and those above it, for this user only.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether `path` has the content of `file`. What is there and is another file is removed.
pub(super) fn is_right(path: &Path, file: &FileRef) -> io::Result<bool> {
    let mut input = match File::open(path) {
        Ok(input) => input,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_right = input.metadata()?.len() == file.size && hash(&mut input)? == file.sha256;
    if !is_right {
        fs::remove_file(path)?;
    }
    Ok(is_right)
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

fn is_linked(blobs: &Path, files: &[FileRef], folder: &Path) -> bool {
    files.iter().all(|file| {
        let paths = place(folder, file).ok().map(|path| (path, blobs.join(&file.sha256)));
        let inodes =
            paths.and_then(|(path, blob)| Some((fs::metadata(path).ok()?, fs::metadata(blob).ok()?)));
        inodes.is_some_and(|(file, blob)| (file.dev(), file.ino()) == (blob.dev(), blob.ino()))
    })
}

fn link_all(blobs: &Path, files: &[FileRef], folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    for file in files {
        let path = place(folder, file).map_err(io::Error::other)?;
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        let blob = blobs.join(&file.sha256);
        // A file system without hard links, or one more than it can count, takes a copy.
        if fs::hard_link(&blob, &path).is_err() {
            fs::copy(&blob, &path)?;
        }
    }
    Ok(())
}

/// Removes the longest unused versions until the blobs have at most `bytes_max` bytes. Returns the bytes that were freed
/// and the versions that are gone.
pub(super) fn evict(root: &Path, bytes_max: u64, in_use: &BTreeSet<Id>) -> io::Result<(u64, Vec<Id>)> {
    let blobs = root.join("blobs");
    let mut bytes = total(&blobs)?;
    let (mut freed, mut gone) = (0, Vec::new());
    if bytes <= bytes_max {
        return Ok((freed, gone));
    }
    let mut versions = versions(&root.join("models"))?;
    versions.retain(|(id, _)| !in_use.contains(id));
    versions.sort_by_key(|(_, folder)| used(folder));
    for (id, folder) in versions {
        if bytes <= bytes_max {
            break;
        }
        fs::remove_dir_all(&folder)?;
        gone.push(id);
        let now = remove_unlinked(&blobs)?;
        bytes = bytes.saturating_sub(now);
        freed += now;
    }
    Ok((freed, gone))
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

fn versions(models: &Path) -> io::Result<Vec<(Id, PathBuf)>> {
    let mut found = Vec::new();
    for model in fs::read_dir(models)? {
        let model = model?;
        let Some(name) = model.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        for version in fs::read_dir(model.path())? {
            let version = version?;
            if let Some(number) = version.file_name().to_str().and_then(|number| number.parse().ok()) {
                found.push(((crate::model::ModelName::clone(&name), number), version.path()));
            }
        }
    }
    Ok(found)
}
