//! Blobs into local files and memory. Every byte is hashed on its way; what does not give the key never gets a name.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{BlobError, blob_key, path};
use crate::registry::error::StoreError;
use crate::registry::record::FileRef;
use crate::registry::revision::{hex, sha256_hex};
use crate::registry::store::Store;

/// Pieces between the network and the disk.
const BACKLOG: usize = 8;

/// Copies the content of `file` to `dest`, which appears whole and right or not at all. Makes the folders above it.
///
/// # Errors
/// [`BlobError`]. `dest` is as it was.
pub async fn fetch_to(store: &Store, file: &FileRef, dest: &FilePath) -> Result<(), BlobError> {
    copy(store, file, Some(dest.to_owned())).await
}

/// Reads the content of `file` and compares its length and hash.
///
/// # Errors
/// [`BlobError::Missing`] and [`BlobError::Damaged`] are what it looks for.
pub async fn check(store: &Store, file: &FileRef) -> Result<(), BlobError> {
    copy(store, file, None).await
}

/// Compares only the length of the blob of `file`.
///
/// # Errors
/// As [`check`].
pub async fn check_size(store: &Store, file: &FileRef) -> Result<(), BlobError> {
    match super::size_of(store, file).await? {
        None => Err(BlobError::missing(file)),
        Some(size) if size == file.size => Ok(()),
        Some(size) => Err(BlobError::damaged(file, format!("it has {size} bytes instead of {}", file.size))),
    }
}

/// The content of a file of at most `len_max` bytes.
///
/// # Errors
/// [`BlobError`]; [`BlobError::Refused`] for a longer one.
pub async fn read_small(store: &Store, file: &FileRef, len_max: u64) -> Result<Bytes, BlobError> {
    path::check_sha256(&file.sha256)?;
    if file.size > len_max {
        let (name, size) = (&file.path, file.size);
        return Err(BlobError::Refused(format!("'{name}' has {size} bytes, and at most {len_max} are read")));
    }
    if super::size_of(store, file).await?.is_some_and(|size| size != file.size) {
        return Err(BlobError::damaged(file, "its length is another"));
    }
    let bytes = store.get(&blob_key(&file.sha256)).await?.ok_or_else(|| BlobError::missing(file))?;
    let is_right = sha256_hex(&bytes) == file.sha256;
    is_right.then_some(bytes).ok_or_else(|| BlobError::damaged(file, "its hash is another"))
}

/// The blob of `file`, whose length is right.
pub(super) async fn open(store: &Store, file: &FileRef) -> Result<GetResultPayload, BlobError> {
    path::check_sha256(&file.sha256)?;
    let key = blob_key(&file.sha256);
    let found = match store.raw().get(&Path::from(key.as_str())).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Err(BlobError::missing(file)),
        Err(error) => return Err(StoreError::io(&key, error).into()),
    };
    if found.meta.size != file.size {
        let reason = format!("it has {} bytes instead of {}", found.meta.size, file.size);
        return Err(BlobError::damaged(file, reason));
    }
    Ok(found.payload)
}

async fn copy(store: &Store, file: &FileRef, dest: Option<PathBuf>) -> Result<(), BlobError> {
    let payload = open(store, file).await?;
    let key = blob_key(&file.sha256);
    let (file, for_error) = (file.clone(), file.path.clone());
    let mut stream = match payload {
        // Read where it is: a stream of it would go from thread to thread every 8 KiB.
        GetResultPayload::File(input, _) => {
            let work = move || copy_file(input, Copying::new(file, dest)?);
            return joined(tokio::task::spawn_blocking(work).await, &for_error);
        }
        GetResultPayload::Stream(stream) => stream,
    };
    let (tx, rx) = mpsc::channel(BACKLOG);
    let writing = tokio::task::spawn_blocking(move || copy_pieces(rx, Copying::new(file, dest)?));
    let mut read = Ok(());
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                // The writer has given up; it says why.
                if tx.send(piece).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                read = Err(StoreError::io(&key, error).into());
                break;
            }
        }
    }
    drop(tx);
    let written = joined(writing.await, &for_error);
    read.and(written)
}

fn joined(done: Result<Result<(), BlobError>, tokio::task::JoinError>, path: &str) -> Result<(), BlobError> {
    done.unwrap_or_else(|error| Err(BlobError::local(path, error.into())))
}

fn copy_file(mut input: File, mut copying: Copying) -> Result<(), BlobError> {
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return copying.finish(),
            Ok(read) => copying.write(buffer.get(..read).unwrap_or_default())?,
            Err(error) => {
                let error = object_store::Error::Generic { store: "local", source: error.into() };
                return Err(StoreError::io(&blob_key(&copying.file.sha256), error).into());
            }
        }
    }
}

fn copy_pieces(mut rx: mpsc::Receiver<Bytes>, mut copying: Copying) -> Result<(), BlobError> {
    while let Some(piece) = rx.blocking_recv() {
        copying.write(&piece)?;
    }
    copying.finish()
}

/// A copy on its way: hashed, and written beside its destination when it has one.
pub(super) struct Copying {
    pub(super) file: FileRef,
    hasher: Sha256,
    len: u64,
    output: Option<Output>,
}

struct Output {
    file: File,
    /// Removed on drop unless it was renamed.
    temporary: PathBuf,
    dest: PathBuf,
}

impl Drop for Output {
    fn drop(&mut self) {
        // Not there any more after the rename.
        drop(std::fs::remove_file(&self.temporary));
    }
}

impl Copying {
    pub(super) fn new(file: FileRef, dest: Option<PathBuf>) -> Result<Copying, BlobError> {
        let output =
            dest.map(Output::new).transpose().map_err(|error| BlobError::local(&file.path, error))?;
        Ok(Copying { file, hasher: Sha256::new(), len: 0, output })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(piece);
        self.len += piece.len() as u64;
        if self.len > self.file.size {
            return Err(BlobError::damaged(&self.file, "it is longer than it should be"));
        }
        let written = self.output.as_mut().map_or(Ok(()), |output| output.file.write_all(piece));
        written.map_err(|error| BlobError::local(&self.file.path, error))
    }

    pub(super) fn finish(mut self) -> Result<(), BlobError> {
        if self.len != self.file.size {
            let reason = format!("it ends after {} bytes of {}", self.len, self.file.size);
            return Err(BlobError::damaged(&self.file, reason));
        }
        if hex(&std::mem::take(&mut self.hasher).finalize()) != self.file.sha256 {
            return Err(BlobError::damaged(&self.file, "its hash is another"));
        }
        let named = self.output.take().map_or(Ok(()), Output::finish);
        named.map_err(|error| BlobError::local(&self.file.path, error))
    }
}

impl Output {
    fn new(dest: PathBuf) -> std::io::Result<Output> {
        let folder = dest.parent().map(FilePath::to_owned).unwrap_or_default();
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(&folder)?;
        }
        let temporary = folder.join(format!(".weir-{}.part", Uuid::new_v4().simple()));
        let file = File::create_new(&temporary)?;
        Ok(Output { file, temporary, dest })
    }

    fn finish(self) -> std::io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.dest)
    }
}
