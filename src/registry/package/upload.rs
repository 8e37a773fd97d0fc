//! A package's files into blobs, each hashed while it is copied.

use super::{Package, PackageError, digest_of};
use crate::registry::blobs::{self, BlobError};
use crate::registry::record::FileRef;
use crate::registry::store::Store;

/// Copies every file of `package` into blobs and tells what they are called there, ascending by path, and their digest.
///
/// # Errors
/// [`PackageError`]; what was copied stays, is used by nobody, and is collected later.
pub async fn upload(store: &Store, package: &Package) -> Result<(Vec<FileRef>, String), PackageError> {
    let mut files = Vec::with_capacity(package.files.len());
    for file in &package.files {
        let stored = blobs::put_file(store, &file.local, &file.path).await?;
        if stored.size != file.size() {
            return Err(changed(&file.path));
        }
        files.push(stored);
    }
    blobs::check_files(&files)?;
    if package.has_changed() {
        return Err(changed(&package.source));
    }
    let digest = digest_of(&files);
    Ok((files, digest))
}

/// Files must not change between hashing and trying them: what was tried would not be what is registered.
pub fn changed(what: &str) -> PackageError {
    BlobError::Changed { path: what.to_owned() }.into()
}
