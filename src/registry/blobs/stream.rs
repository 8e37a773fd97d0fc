//! A blob as pieces, for whoever passes them on: verified on the way, without a file of its own.
//!
//! ```text
//! store ──► hash ──► [one piece is held back] ──► channel ──► reader
//! ```
//!
//! The last piece leaves when the hash of everything is right, so a reader who knows the length never has a whole file
//! that is wrong: it ends short, with the reason.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::GetResultPayload;
use tokio::sync::mpsc;

use super::download::{Copying, open};
use super::{BlobError, blob_key};
use crate::registry::error::StoreError;
use crate::registry::record::FileRef;
use crate::registry::store::Store;

/// Pieces that wait for a slow reader.
const WAITING_MAX: usize = 2;
/// Length of a piece that is read from a local file.
const PIECE_LEN: usize = 512 * 1024;

/// Begins to read the content of `file`. An error is the last thing that comes; reading ends when nobody listens.
///
/// # Errors
/// [`BlobError`] when it is not there or has another length.
pub async fn read_pieces(
    store: &Store,
    file: &FileRef,
) -> Result<mpsc::Receiver<Result<Bytes, BlobError>>, BlobError> {
    let payload = open(store, file).await?;
    let copying = Copying::new(file.clone(), None)?;
    let (tx, rx) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let sender = Sender { copying, held: Bytes::new(), tx };
        match payload {
            GetResultPayload::File(input, _) => sender.send_file(input).await,
            GetResultPayload::Stream(stream) => sender.send_stream(stream).await,
        }
    });
    Ok(rx)
}

struct Sender {
    copying: Copying,
    /// Hashed, and not sent yet.
    held: Bytes,
    tx: mpsc::Sender<Result<Bytes, BlobError>>,
}

impl Sender {
    async fn send_stream(mut self, mut stream: impl StreamExt<Item = object_store::Result<Bytes>> + Unpin) {
        while let Some(piece) = stream.next().await {
            let taken = match piece {
                Ok(piece) => self.copying.write(&piece).map(|()| piece),
                Err(error) => Err(StoreError::io(&blob_key(&self.copying.file.sha256), error).into()),
            };
            match self.pass_on(taken).await {
                Some(next) => self = next,
                None => return,
            }
        }
        self.finish().await;
    }

    /// Reads where blocking harms nobody, and holds no thread while the reader is slow.
    async fn send_file(mut self, input: File) {
        let mut input = Some(input);
        while let Some(mut file) = input.take() {
            let mut copying = self.copying;
            let read = tokio::task::spawn_blocking(move || {
                let piece = read_piece(&mut file, &copying.file.path);
                let piece = piece.and_then(|piece| copying.write(&piece).map(|()| piece));
                (file, copying, piece)
            });
            // Only when the runtime ends.
            let Ok((file, copying, piece)) = read.await else { return };
            self = Sender { copying, held: self.held, tx: self.tx };
            let is_end = piece.as_ref().is_ok_and(Bytes::is_empty);
            if is_end {
                break;
            }
            match self.pass_on(piece).await {
                Some(next) => self = next,
                None => return,
            }
            input = Some(file);
        }
        self.finish().await;
    }

    /// Sends what was held and holds `piece`; `None` when that was the end.
    async fn pass_on(mut self, piece: Result<Bytes, BlobError>) -> Option<Sender> {
        match piece {
            Ok(piece) if piece.is_empty() => Some(self),
            Ok(piece) => {
                let before = std::mem::replace(&mut self.held, piece);
                let sent = before.is_empty() || self.tx.send(Ok(before)).await.is_ok();
                sent.then_some(self)
            }
            Err(error) => {
                self.tx.send(Err(error)).await.ok();
                None
            }
        }
    }

    async fn finish(self) {
        let Sender { copying, held, tx } = self;
        let last = copying.finish().map(|()| held);
        // The reader may have gone.
        tx.send(last).await.ok();
    }
}

/// The next piece; empty at the end.
fn read_piece(file: &mut File, path: &str) -> Result<Bytes, BlobError> {
    let mut piece = Vec::with_capacity(PIECE_LEN);
    let read = file.take(PIECE_LEN as u64).read_to_end(&mut piece);
    read.map_err(|error| BlobError::local(path, error))?;
    Ok(Bytes::from(piece))
}
