//! Names of files that a version may have: such that every one can be written below a folder, on any file system, and
//! no two fall on the same file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::BlobError;
use crate::registry::record::FileRef;

/// Longest path, in bytes: what most file systems allow for one name.
const PATH_LEN_MAX: usize = 255;
/// Most parts of a path.
const PARTS_MAX: usize = 16;
/// Most files of a version.
const FILES_MAX: usize = 10_000;

/// Checks the path of a file: relative, `/` between its parts, no part empty, `.` or `..`, no `\`, `:` or control
/// character, no part ending in a space or dot, at most 255 bytes and 16 parts.
///
/// # Errors
/// [`BlobError::Refused`].
pub fn check_path(path: &str) -> Result<(), BlobError> {
    let problem = if path.is_empty() || path.len() > PATH_LEN_MAX {
        Some("is not 1 to 255 bytes long")
    } else if path.starts_with('/') {
        Some("is absolute")
    } else if path.contains(['\\', ':']) || path.chars().any(char::is_control) {
        Some("has a '\\', a ':' or a control character")
    } else if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        Some("has a part that is empty, '.' or '..'")
    } else if path.split('/').any(|part| part.ends_with(['.', ' '])) {
        Some("has a part that ends in a dot or a space")
    } else if path.split('/').count() > PARTS_MAX {
        Some("has more than 16 parts")
    } else {
        None
    };
    problem.map_or(Ok(()), |problem| Err(BlobError::Refused(format!("the path '{}' {problem}", shown(path)))))
}

/// Checks all files of a version: each path by [`check_path`], each hash, and that no two paths are the same on a file
/// system without upper and lower case, or one the folder of another.
///
/// # Errors
/// [`BlobError::Refused`].
pub fn check_files(files: &[FileRef]) -> Result<(), BlobError> {
    if files.len() > FILES_MAX {
        return Err(BlobError::Refused(format!("a version has at most {FILES_MAX} files")));
    }
    let mut folded = BTreeMap::new();
    for file in files {
        check_path(&file.path)?;
        check_sha256(&file.sha256)?;
        if let Some(other) = folded.insert(file.path.to_lowercase(), &file.path) {
            let (one, two) = (shown(other), shown(&file.path));
            return Err(BlobError::Refused(format!("the paths '{one}' and '{two}' differ only in case")));
        }
    }
    for path in folded.keys() {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(folder) = folders.into_iter().find_map(|folder| folded.get(folder)) {
            let folder = shown(folder);
            return Err(BlobError::Refused(format!("'{folder}' is a file and a folder at once")));
        }
    }
    Ok(())
}

/// Where `file` belongs below `folder`.
///
/// # Errors
/// [`BlobError::Refused`] when its path would lead out of it.
pub fn place(folder: &Path, file: &FileRef) -> Result<PathBuf, BlobError> {
    check_path(&file.path)?;
    Ok(folder.join(&file.path))
}

pub(super) fn check_sha256(text: &str) -> Result<(), BlobError> {
    let refuse = || BlobError::Refused(format!("'{}' is not a SHA-256", shown(text)));
    is_sha256(text).then_some(()).ok_or_else(refuse)
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
