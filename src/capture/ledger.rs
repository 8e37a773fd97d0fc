//! The folder of capture on the disk: its lock, its identity, and the totals of the segments that are done.
//!
//! A segment is done when its file and its manifest are in the store. Then the totals take over what it says was written
//! and dropped, in one rename, and name it as done; only after that is it removed. So at any moment, and whatever died,
//! every row counts exactly once: in the totals, or in a segment that they do not name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reason;
use super::settings::CaptureError;
use super::wal::{self, Scan};

/// A file that only takes room.
const RESERVE: &str = "reserve";
/// More than totals of many models.
const RESERVE_BYTES: usize = 256 << 10;

/// What was decided about a model's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) written: u64,
    pub(super) dropped: BTreeMap<String, u64>,
}

impl Totals {
    pub(super) fn add(&mut self, scan: &Scan) {
        self.written += scan.rows;
        for (word, rows) in reason::by_word(&scan.dropped) {
            *self.dropped.entry(word).or_default() += rows;
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Content {
    /// Tells the files of this folder from those of another that has the same replica's name.
    id: String,
    models: BTreeMap<String, Totals>,
    /// Segments that the totals hold and that may not be removed yet.
    done: BTreeSet<u64>,
    /// The largest number that a segment ever had.
    last: u64,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
    content: Content,
    /// Held as long as the process uses the folder.
    _lock: File,
}

/// A segment that was found at the start.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) scan: Scan,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// To be made files of, in order.
    pub(super) segments: Vec<Found>,
    /// How many segments were torn.
    pub(super) torn: u64,
}

impl Ledger {
    /// Takes the folder, and reads what lies in it.
    ///
    /// # Errors
    /// [`CaptureError::InUse`] when another process has it.
    pub(super) fn open(folder: &Path) -> Result<(Ledger, Recovered), CaptureError> {
        for part in ["wal", "spool"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(CaptureError::io(path.display()))?;
        }
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(CaptureError::io(path.display()))?;
        lock.try_lock().map_err(|_| CaptureError::InUse(folder.display().to_string()))?;
        let path = folder.join("totals.json");
        let content = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| CaptureError::damaged(path.display(), e))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(CaptureError::io(path.display())(error)),
        };
        let mut ledger = Ledger { folder: folder.to_owned(), content, _lock: lock };
        if ledger.content.id.is_empty() {
            let id = uuid::Uuid::new_v4().simple().to_string();
            ledger.content.id = id.chars().take(8).collect();
        }
        let recovered = ledger.recover()?;
        ledger.save()?;
        ledger.reserve();
        Ok((ledger, recovered))
    }

    fn recover(&mut self) -> Result<Recovered, CaptureError> {
        let mut recovered = Recovered::default();
        let folder = self.folder.join("wal");
        for entry in std::fs::read_dir(&folder).map_err(CaptureError::io(folder.display()))? {
            let path = entry.map_err(CaptureError::io(folder.display()))?.path();
            let is_segment = path.extension().is_some_and(|extension| extension == wal::EXTENSION);
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(number) = number.filter(|_| is_segment) else { continue };
            self.content.last = self.content.last.max(number);
            if self.content.done.contains(&number) {
                remove(&path)?;
                continue;
            }
            let scan = wal::scan(&path).map_err(CaptureError::io(path.display()))?;
            if scan.torn > 0 {
                recovered.torn += 1;
                tracing::warn!(segment = %path.display(), bytes = scan.torn, "cut off what was not finished");
                let file = File::options().write(true).open(&path);
                let cut = file.and_then(|file| file.set_len(scan.good).and_then(|()| file.sync_all()));
                cut.map_err(CaptureError::io(path.display()))?;
            }
            if scan.origin.is_some() {
                recovered.segments.push(Found { number, path, scan });
            } else {
                remove(&path)?;
            }
        }
        recovered.segments.sort_by_key(|found| found.number);
        self.content.done.clear();
        Ok(recovered)
    }

    /// Tells the files of this folder from those of others.
    pub(super) fn id(&self) -> &str {
        &self.content.id
    }

    /// The totals of segments that are done.
    pub(super) fn totals(&self) -> &BTreeMap<String, Totals> {
        &self.content.models
    }

    /// The largest number that a segment has had.
    pub(super) fn last(&self) -> u64 {
        self.content.last
    }

    /// The path of a segment.
    pub(super) fn segment(folder: &Path, number: u64) -> PathBuf {
        folder.join("wal").join(format!("{number:012}.{}", wal::EXTENSION))
    }

    /// Takes over what a segment says, and removes it.
    pub(super) fn finish(&mut self, found: &Found) -> Result<(), CaptureError> {
        if !self.content.done.contains(&found.number) {
            let before = self.content.clone();
            let model = found.scan.origin.as_ref().map(|origin| origin.model.clone()).unwrap_or_default();
            self.content.models.entry(model).or_default().add(&found.scan);
            self.content.done.insert(found.number);
            self.content.last = self.content.last.max(found.number);
            self.save().inspect_err(|_| self.content = before)?;
        }
        remove(&found.path)?;
        self.content.done.remove(&found.number);
        self.reserve();
        Ok(())
    }

    /// Keeps a little of the disk, so that totals can be written when segments have filled it: only then can these go.
    /// Its bytes are no zeros, which some file systems would not keep.
    fn reserve(&self) {
        let path = self.folder.join(RESERVE);
        if !path.exists() && std::fs::write(&path, vec![b' '; RESERVE_BYTES]).is_err() {
            // The next segment that is removed makes room for it.
            remove(&path).ok();
        }
    }

    fn save(&self) -> Result<(), CaptureError> {
        let path = self.folder.join("totals.json");
        let next = self.folder.join("totals.json.next");
        let bytes =
            serde_json::to_vec(&self.content).map_err(|e| CaptureError::damaged(path.display(), e))?;
        // Whoever frees blocks of a full disk has a race for them to lose; the reserve's are written over.
        let reserved = self.folder.join(RESERVE);
        self.write(&next, true, &bytes, &path)
            .or_else(|error| self.write(&reserved, false, &bytes, &path).map_err(|_| error))
            .map_err(CaptureError::io(path.display()))
    }

    /// Writes `bytes` to the file at `next`, and gives it the name `path`.
    fn write(&self, next: &Path, create: bool, bytes: &[u8], path: &Path) -> std::io::Result<()> {
        let mut file = File::options().write(true).create(create).truncate(create).open(next)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        std::fs::rename(next, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Removes a file for good: it does not come back after a power cut. That it is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<(), CaptureError> {
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.and_then(|()| path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()))
        }
    };
    removed.map_err(CaptureError::io(path.display()))
}
