//! Whether a model may read a file: it must be a plain file of its own, inside the model's folder.
//!
//! ONNX Runtime follows what a model says; each of its versions let some route out of the folder through.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The file that `location` means, seen from the model's folder.
///
/// # Errors
/// Why it is refused, to be read after the location.
pub(super) fn resolve(folder: &Path, location: &str) -> Result<PathBuf, String> {
    if location.is_empty() || location.contains('\0') {
        return Err("is not a file name".to_owned());
    }
    // ONNX Runtime reads `*/…` as the address of memory of its own.
    if location.starts_with("*/") || location.contains("://") {
        return Err("is not a file in the model's folder".to_owned());
    }
    let relative = Path::new(location);
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(stays) || location.contains('\\') {
        return Err("is not a path inside the model's folder".to_owned());
    }
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let folder = folder.canonicalize().map_err(unreadable)?;
    let file = folder.join(relative).canonicalize().map_err(unreadable)?;
    if !file.starts_with(&folder) {
        return Err("leads out of the model's folder through a link".to_owned());
    }
    let metadata = file.symlink_metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    // A second name could be a file outside of the folder.
    if metadata.nlink() != 1 {
        return Err("is a hard link; copy it".to_owned());
    }
    Ok(file)
}
