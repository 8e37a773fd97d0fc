//! The log of labels on the local disk: numbered segments of checked frames, each a batch of labels.
//!
//! A frame is on the disk, fsynced, before its labels are acknowledged. What a crash tore at the end of a segment was
//! never acknowledged and is left out. Blocking: called on threads that may wait.
//!
//! ```text
//! labels-<number>.log:  [length u32 LE][CRC-32 of the payload u32 LE][payload: JSON] …
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::LabelError;
use super::label::Label;
use crate::model::ModelName;

/// Longest payload that is written; a longer one in a file is damage.
pub(super) const PAYLOAD_LEN_MAX: usize = 64 << 20;
const HEAD_LEN: usize = 8;

/// Labels that came together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Batch {
    /// The model.
    #[serde(rename = "m")]
    pub(super) model: ModelName,
    /// When they came, in microseconds since 1970; grows from batch to batch.
    #[serde(rename = "a")]
    pub(super) received_us: i64,
    /// They.
    #[serde(rename = "l")]
    pub(super) labels: Vec<Label>,
}

/// A segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    path: PathBuf,
    file: File,
    len: u64,
    /// Something that is no frame may stand at the end: nothing more may be written behind it.
    is_torn: bool,
}

impl Segment {
    /// Makes segment `number`, which must be new.
    pub(super) fn create(folder: &Path, number: u64) -> Result<Segment, LabelError> {
        let path = path_of(folder, number);
        let opened = OpenOptions::new().create_new(true).append(true).open(&path);
        let file = opened.map_err(|error| LabelError::log(&path, error))?;
        // A file that a crash makes nameless would take its labels with it.
        let folder_synced = File::open(folder).and_then(|folder| folder.sync_all());
        folder_synced.map_err(|error| LabelError::log(folder, error))?;
        Ok(Segment { number, path, file, len: 0, is_torn: false })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Writes `batch` and returns when it is on the disk. After an error nothing of it is.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<u64, LabelError> {
        let payload = serde_json::to_vec(batch).map_err(|error| LabelError::log(&self.path, error.into()))?;
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_LEN_MAX);
        let len = len.ok_or_else(|| LabelError::log(&self.path, std::io::ErrorKind::InvalidInput.into()))?;
        let mut frame = Vec::with_capacity(HEAD_LEN + payload.len());
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        frame.extend_from_slice(&payload);
        match self.file.write_all(&frame).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += frame.len() as u64;
                Ok(frame.len() as u64)
            }
            Err(error) => {
                let cut = self.file.set_len(self.len).and_then(|()| self.file.sync_data());
                self.is_torn = cut.is_err();
                Err(LabelError::log(&self.path, error))
            }
        }
    }
}

pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("labels-{number:020}.log"))
}

/// The numbers of the segments in `folder`, ascending, with their lengths.
pub(super) fn segments(folder: &Path) -> Result<Vec<(u64, u64)>, LabelError> {
    let failed = |error| LabelError::log(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("labels-")?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, entry.metadata().map_err(failed)?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The whole batches of a segment, in order, up to where it is torn.
pub(super) fn read(folder: &Path, number: u64) -> Result<Vec<Batch>, LabelError> {
    let path = path_of(folder, number);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| LabelError::log(&path, error))?;
    let mut batches = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((batch, behind)) = frame(rest) {
        batches.push(batch);
        rest = behind;
    }
    if !rest.is_empty() {
        let bytes = rest.len();
        tracing::warn!(path = %path.display(), bytes, "the log of labels is torn; what was not acknowledged is left out");
    }
    Ok(batches)
}

/// The first frame of `bytes` and what stands behind it; `None` when there is no whole one.
fn frame(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let (payload, behind) = rest.split_at_checked(len).filter(|_| len <= PAYLOAD_LEN_MAX)?;
    let is_whole = crc32fast::hash(payload) == u32::from_le_bytes(*crc);
    is_whole.then(|| serde_json::from_slice(payload).ok()).flatten().map(|batch| (batch, behind))
}

/// Deletes a segment whose labels are in the store.
pub(super) fn remove(folder: &Path, number: u64) -> Result<(), LabelError> {
    let path = path_of(folder, number);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LabelError::log(&path, error)),
        _ => Ok(()),
    }
}
