//! A package's files into blobs, each hashed while it is copied.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Package, PackageError, check_path, digest_of};
use crate::registry::error::StoreError;
use crate::registry::revision::hex;
use crate::registry::blobs::blob_key;
use crate::registry::record::FileRef;
use crate::registry::store::Store;

/// Copies every file of `package` into blobs and tells what they are called there, ascending by path.
///
/// # Errors
/// [`PackageError`]; what was copied stays, is used by nobody, and is collected later.
pub async fn upload(store: &Store, package: &Package) -> Result<(Vec<FileRef>, String), PackageError> {
    let mut files = Vec::with_capacity(package.files.len());
    for file in &package.files {
        check_path(&file.path).map_err(PackageError::Invalid)?;
        let stored = put_file(store, &file.local, &file.path).await?;
        if stored.size != file.size() {
            return Err(changed(&file.path));
        }
        files.push(stored);
    }
    if package.has_changed() {
        return Err(changed(&package.source));
    }
    let digest = digest_of(&files);
    Ok((files, digest))
}

/// Files must not change between hashing and trying them: what was tried would not be what is registered.
pub fn changed(what: &str) -> PackageError {
    PackageError::invalid(format!("{what} changed while it was registered"))
}

/// Files up to this size are sent as one object.
const WHOLE_MAX: u64 = 8 << 20;

/// Copies the file `local` into the blob of its content.
async fn put_file(store: &Store, local: &Path, path: &str) -> Result<FileRef, PackageError> {
    let owned = local.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_file(&owned)).await;
    let hashed = hashed.map_err(std::io::Error::other).and_then(|hashed| hashed);
    let (sha256, size) = hashed.map_err(|error| PackageError::io(local, error))?;
    let file = FileRef { path: path.to_owned(), sha256, size };
    let key = blob_key(&file.sha256);
    let failed = |source| StoreError::Io { key: key.clone(), source };
    if store.raw().head(&Key::from(key.as_str())).await.is_ok() {
        return Ok(file);
    }
    let io = |error: std::io::Error| PackageError::io(local, error);
    let mut input = tokio::fs::File::open(local).await.map_err(io)?;
    let mut digest = Sha256::new();
    if size <= WHOLE_MAX {
        let mut bytes = Vec::new();
        input.take(WHOLE_MAX + 1).read_to_end(&mut bytes).await.map_err(io)?;
        digest.update(&bytes);
        if hex(&digest.finalize()) != file.sha256 {
            return Err(changed(path));
        }
        store.create(&key, Bytes::from(bytes)).await?;
        return Ok(file);
    }
    let mut parts = WriteMultipart::new(store.raw().put_multipart(&Key::from(key.as_str())).await.map_err(failed)?);
    loop {
        let mut buffer = BytesMut::with_capacity(1 << 20);
        if input.read_buf(&mut buffer).await.map_err(io)? == 0 {
            break;
        }
        digest.update(&buffer);
        parts.wait_for_capacity(4).await.map_err(failed)?;
        parts.put(buffer.freeze());
    }
    if hex(&digest.finalize()) != file.sha256 {
        parts.abort().await.map_err(failed)?;
        return Err(changed(path));
    }
    parts.finish().await.map_err(failed)?;
    Ok(file)
}

fn hash_file(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut len = 0u64;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes @ [_, ..]) = buffer.get(..read) else { break };
        digest.update(bytes);
        len += bytes.len() as u64;
    }
    Ok((hex(&digest.finalize()), len))
}
