//! Files by their content: `blobs/sha256/ab/cdef…`, created once and never changed.

use bytes::Bytes;

use super::error::StoreError;
use super::record::FileRef;
use super::revision::sha256_hex;
use super::store::Store;

/// The key of a blob. `sha256` has been checked to be 64 hexadecimal digits.
pub fn blob_key(sha256: &str) -> String {
    let (first, rest) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    format!("blobs/sha256/{first}/{rest}")
}

/// Stores `bytes` as the file `path` of a version.
///
/// # Errors
/// [`StoreError`].
pub async fn put_bytes(store: &Store, path: &str, bytes: Bytes) -> Result<FileRef, StoreError> {
    let file = FileRef { path: path.to_owned(), sha256: sha256_hex(&bytes), size: bytes.len() as u64 };
    store.create(&blob_key(&file.sha256), bytes).await?;
    Ok(file)
}
