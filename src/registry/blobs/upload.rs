//! Bytes and local files into blobs.
//!
//! A short file is read once and created. A long one is read twice: the first time for its key, the second time to send
//! it in parts; these are hashed as they leave, and the upload is completed, which makes the object appear, only when
//! they give the key. So the first reading is not trusted, and a file that is written to meanwhile is refused.

use std::fs::File;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{BlobError, blob_key, check_path, replace_damaged, size_of};
use crate::registry::error::StoreError;
use crate::registry::record::FileRef;
use crate::registry::revision::{hex, sha256_hex};
use crate::registry::store::Store;

/// A file up to this length is sent whole.
const WHOLE_MAX: u64 = 8 * 1024 * 1024;
/// Length of a part, but for very long files.
const PART_LEN: u64 = 16 * 1024 * 1024;
/// Stores take 10,000 parts.
const PARTS_MAX: u64 = 9_000;
/// Parts on their way at a time.
const IN_FLIGHT: usize = 3;
/// Parts that are read ahead.
const READ_AHEAD: usize = 1;

/// Stores `bytes` as the file `path` of a version.
///
/// # Errors
/// [`BlobError`].
pub async fn put_bytes(store: &Store, path: &str, bytes: Bytes) -> Result<FileRef, BlobError> {
    check_path(path)?;
    let file = FileRef { path: path.to_owned(), sha256: sha256_hex(&bytes), size: bytes.len() as u64 };
    put_whole(store, &file, bytes).await?;
    Ok(file)
}

/// Stores the local file `local` as the file `path` of a version.
///
/// # Errors
/// [`BlobError`]. Nothing is stored then.
pub async fn put_file(store: &Store, local: &FilePath, path: &str) -> Result<FileRef, BlobError> {
    check_path(path)?;
    let (sha256, size) = blocking(path, local, |local| hash_file(&local)).await?;
    let file = FileRef { path: path.to_owned(), sha256, size };
    put_content(store, local, &file).await?;
    Ok(file)
}

/// Stores the local file `local`, whose content must be that of `file`, unless the store has it.
///
/// # Errors
/// [`BlobError::Changed`] when the content is another; nothing is stored then.
pub async fn put_content(store: &Store, local: &FilePath, file: &FileRef) -> Result<(), BlobError> {
    if size_of(store, file).await? == Some(file.size) {
        return Ok(());
    }
    if file.size > WHOLE_MAX {
        return put_parts(store, local, file).await;
    }
    let bytes = blocking(&file.path, local, read_whole).await?;
    if sha256_hex(&bytes) != file.sha256 {
        return Err(BlobError::Changed { path: file.path.clone() });
    }
    put_whole(store, file, bytes).await
}

async fn put_whole(store: &Store, file: &FileRef, bytes: Bytes) -> Result<(), BlobError> {
    if store.create(&blob_key(&file.sha256), bytes.clone()).await? {
        return Ok(());
    }
    match size_of(store, file).await? {
        Some(size) if size == file.size => Ok(()),
        _ => replace_damaged(store, file, bytes).await,
    }
}

async fn put_parts(store: &Store, local: &FilePath, file: &FileRef) -> Result<(), BlobError> {
    let key = blob_key(&file.sha256);
    let failed = |error| BlobError::from(StoreError::io(&key, error));
    let mut upload = store.raw().put_multipart(&Path::from(key.as_str())).await.map_err(failed)?;
    match send_parts(upload.as_mut(), local, file, &key).await {
        Ok(()) => upload.complete().await.map(drop).map_err(failed),
        Err(error) => {
            // What it has left does not count, and a bucket's lifecycle rule removes it.
            drop(upload.abort().await);
            Err(error)
        }
    }
}

/// Sends every part, and fails unless their content is that of `file`.
async fn send_parts(
    upload: &mut dyn MultipartUpload,
    local: &FilePath,
    file: &FileRef,
    key: &str,
) -> Result<(), BlobError> {
    let part_len = part_len(file.size);
    let (tx, mut rx) = mpsc::channel(READ_AHEAD);
    let reading = tokio::spawn({
        let (path, local) = (file.path.clone(), local.to_owned());
        async move { blocking(&path, &local, move |local| read_parts(&local, part_len, &tx)).await }
    });
    let mut sending = JoinSet::new();
    while let Some(part) = rx.recv().await {
        if sending.len() >= IN_FLIGHT {
            sent(sending.join_next().await, key)?;
        }
        sending.spawn(upload.put_part(PutPayload::from(part)));
    }
    while let Some(part) = sending.join_next().await {
        sent(Some(part), key)?;
    }
    let (sha256, size) = reading.await.map_err(|error| BlobError::local(&file.path, error.into()))??;
    let changed = || BlobError::Changed { path: file.path.clone() };
    (sha256 == file.sha256 && size == file.size).then_some(()).ok_or_else(changed)
}

type Sent = Option<Result<object_store::Result<()>, tokio::task::JoinError>>;

fn sent(part: Sent, key: &str) -> Result<(), BlobError> {
    match part {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(StoreError::io(key, error).into()),
        Some(Err(error)) => Err(StoreError::io(key, object_store::Error::JoinError { source: error }).into()),
    }
}

fn part_len(size: u64) -> u64 {
    let needed = size.div_ceil(PARTS_MAX);
    PART_LEN.max(needed.next_multiple_of(1024 * 1024))
}

/// Reads a file part by part into `tx`, and returns its hash and length. Ends early when nobody listens.
fn read_parts(local: &FilePath, part_len: u64, tx: &mpsc::Sender<Bytes>) -> std::io::Result<(String, u64)> {
    let mut input = File::open(local)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        let mut part = Vec::new();
        let read = (&mut input).take(part_len).read_to_end(&mut part)?;
        if read == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        hasher.update(&part);
        size += read as u64;
        if tx.blocking_send(Bytes::from(part)).is_err() {
            return Err(std::io::Error::other("the upload has ended"));
        }
    }
}

fn hash_file(local: &FilePath) -> std::io::Result<(String, u64)> {
    // A pipe or a device has no content that could be read twice.
    if !std::fs::metadata(local)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut input = File::open(local)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
}

/// Reads a file that is known to be short; one that has grown is read only so far that its hash is another.
fn read_whole(local: PathBuf) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(local)?.take(WHOLE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

/// Runs `work` on the file `local`, known as `path`, where blocking harms nobody.
async fn blocking<T: Send + 'static>(
    path: &str,
    local: &FilePath,
    work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let local = local.to_owned();
    let done = tokio::task::spawn_blocking(move || work(local)).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| BlobError::local(path, error))
}
