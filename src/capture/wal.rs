//! Segments of the write-ahead log: what is in one when the process dies is not lost.
//!
//! A segment belongs to one version under one plan. It is a run of records, each with a header that says how long it is
//! and a CRC-32 over all of it:
//!
//! | record | payload |
//! |---|---|
//! | first | the segment's origin, as JSON |
//! | second | the schema, as an Arrow IPC message |
//! | every other | a record batch, as Arrow IPC messages; empty when it only says what was dropped |
//!
//! A record also says how many rows it holds, when the first and the last of them was answered, and how many rows were
//! dropped for which reason since the record before. So a segment is its own ledger: what was written and dropped is
//! what its whole records say. A record that was not finished is cut off when the segment is read ([`scan`]).

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::reason::{self, Dropped, REASONS};
use crate::model::ModelId;

const MAGIC: [u8; 4] = *b"WCR1";
/// Magic, CRC, payload's length, rows, first and last time, counts of what was dropped.
const HEADER_LEN: usize = 4 + 4 + 4 + 4 + 8 + 8 + 8 * REASONS;
/// What the name of a segment ends with.
pub(super) const EXTENSION: &str = "wal";

/// Where the rows of a segment come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The version.
    pub(super) model: String,
    pub(super) version: u64,
    /// When the segment was begun, in microseconds since 1970: decides the folders of its file.
    pub(super) began_us: i64,
}

/// The facts of one record beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) rows: u32,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) dropped: Dropped,
}

/// A segment that is being written.
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    encoder: StreamWriter<Vec<u8>>,
    /// Where the last whole record ends.
    len: u64,
    rows: u64,
    /// Where the disk is known to hold everything.
    synced: u64,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Segment {
    /// Begins a segment for rows of `schema`.
    pub(super) fn create(path: PathBuf, origin: &Origin, schema: &Schema) -> io::Result<Segment> {
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        // Whatever fails from here on, no file without a whole beginning stays.
        Segment::begin(path.clone(), file, origin, schema).inspect_err(|_| drop(std::fs::remove_file(&path)))
    }

    fn begin(path: PathBuf, file: File, origin: &Origin, schema: &Schema) -> io::Result<Segment> {
        let encoder = StreamWriter::try_new(Vec::new(), schema).map_err(io::Error::other)?;
        let mut segment = Segment { path, file, encoder, len: 0, rows: 0, synced: 0 };
        segment.put(&Facts::default(), &serde_json::to_vec(origin)?)?;
        let schema = std::mem::take(segment.encoder.get_mut());
        segment.put(&Facts::default(), &schema)?;
        // A power cut must not take the name of what was synced.
        segment.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
        Ok(segment)
    }

    /// Appends `batch`, or only what was dropped. When it fails, nothing of it is in the segment.
    pub(super) fn append(&mut self, batch: Option<&RecordBatch>, facts: &Facts) -> io::Result<()> {
        if let Some(batch) = batch {
            self.encoder.write(batch).map_err(io::Error::other)?;
        }
        let payload = std::mem::take(self.encoder.get_mut());
        self.put(facts, &payload)
    }

    fn put(&mut self, facts: &Facts, payload: &[u8]) -> io::Result<()> {
        let header = header(facts, payload)?;
        let written = self.file.write_all(&header).and_then(|()| self.file.write_all(payload));
        if let Err(error) = written {
            // What a failed write left behind must not stand before the next record. If it cannot be cut off now, it is
            // cut off when the segment is read.
            self.file.set_len(self.len).and_then(|()| self.file.seek(SeekFrom::Start(self.len)))?;
            return Err(error);
        }
        self.len += (header.len() + payload.len()) as u64;
        self.rows += u64::from(facts.rows);
        Ok(())
    }

    /// Returns when everything appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.len {
            self.file.sync_data()?;
            self.synced = self.len;
        }
        Ok(())
    }

    /// Cuts off what was appended after `len` and `rows`: the disk may not have it.
    pub(super) fn cut(&mut self, len: u64, rows: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        (self.len, self.rows) = (len, rows);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

fn header(facts: &Facts, payload: &[u8]) -> io::Result<[u8; HEADER_LEN]> {
    let len = u32::try_from(payload.len()).map_err(|_| io::Error::other("a record of more than 4 GiB"))?;
    let mut header = [0; HEADER_LEN];
    let mut rest = &mut header[..];
    // Fills exactly the header: a slice takes what fits and fails otherwise.
    rest.write_all(&MAGIC)?;
    rest.write_all(&[0; 4])?;
    rest.write_all(&len.to_le_bytes())?;
    rest.write_all(&facts.rows.to_le_bytes())?;
    rest.write_all(&facts.first_us.to_le_bytes())?;
    rest.write_all(&facts.last_us.to_le_bytes())?;
    for rows in facts.dropped {
        rest.write_all(&rows.to_le_bytes())?;
    }
    let crc = checksum(&header, payload);
    if let Some(place) = header.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(header)
}

fn checksum(header: &[u8; HEADER_LEN], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header.get(8..).unwrap_or_default());
    crc.update(payload);
    crc.finalize()
}

/// The whole records of a segment, one after the other.
#[derive(Debug)]
struct Records<R> {
    reader: R,
    /// Bytes of the file that were not read yet.
    left: u64,
    /// Where the last whole record ended.
    good: u64,
}

impl<R: Read> Records<R> {
    /// The next whole record; `None` at the end, or where the file is torn.
    fn next(&mut self) -> io::Result<Option<(Facts, Vec<u8>)>> {
        if self.left < HEADER_LEN as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_LEN];
        self.reader.read_exact(&mut header)?;
        self.left -= HEADER_LEN as u64;
        let mut rest = &header[..];
        let mut four = || take::<4>(&mut rest);
        let (magic, crc, len, rows) = (four(), four(), four(), four());
        let len = u64::from(u32::from_le_bytes(len));
        if magic != MAGIC || len > self.left {
            self.left = 0;
            return Ok(None);
        }
        let mut facts = Facts {
            rows: u32::from_le_bytes(rows),
            first_us: i64::from_le_bytes(take(&mut rest)),
            last_us: i64::from_le_bytes(take(&mut rest)),
            dropped: Dropped::default(),
        };
        for rows in &mut facts.dropped {
            *rows = u64::from_le_bytes(take(&mut rest));
        }
        let mut payload = Vec::new();
        (&mut self.reader).take(len).read_to_end(&mut payload)?;
        if payload.len() as u64 != len || checksum(&header, &payload) != u32::from_le_bytes(crc) {
            self.left = 0;
            return Ok(None);
        }
        self.left -= len;
        self.good += HEADER_LEN as u64 + len;
        Ok(Some((facts, payload)))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk::<N>() {
        Some((first, rest)) => {
            *bytes = rest;
            *first
        }
        None => [0; N],
    }
}

fn records(path: &Path) -> io::Result<(Records<BufReader<File>>, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((Records { reader: BufReader::with_capacity(1 << 16, file), left: len, good: 0 }, len))
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// `None` when not even that was finished: the segment holds nothing.
    pub(super) origin: Option<Origin>,
    pub(super) rows: u64,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) dropped: Dropped,
    /// Where its last whole record ends.
    pub(super) good: u64,
    /// Bytes after that.
    pub(super) torn: u64,
}

/// Reads a segment up to where it is torn.
pub(super) fn scan(path: &Path) -> io::Result<Scan> {
    let (mut records, len) = records(path)?;
    let mut scan = Scan {
        origin: None,
        rows: 0,
        first_us: i64::MAX,
        last_us: i64::MIN,
        dropped: Dropped::default(),
        good: 0,
        torn: 0,
    };
    let origin = records.next()?.and_then(|(_, payload)| serde_json::from_slice(&payload).ok());
    if records.next()?.is_some() {
        scan.origin = origin;
        while let Some((facts, _)) = records.next()? {
            scan.rows += u64::from(facts.rows);
            if facts.rows > 0 {
                scan.first_us = scan.first_us.min(facts.first_us);
                scan.last_us = scan.last_us.max(facts.last_us);
            }
            reason::add(&mut scan.dropped, &facts.dropped);
        }
        scan.good = records.good;
    }
    scan.torn = len - scan.good;
    Ok(scan)
}

/// The payloads of a segment's records after the first, as one stream.
struct Payloads {
    records: Records<BufReader<File>>,
    payload: Vec<u8>,
    at: usize,
}

impl Read for Payloads {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.payload.len() {
            match self.records.next()? {
                Some((_, payload)) => (self.payload, self.at) = (payload, 0),
                None => return Ok(0),
            }
        }
        let mut rest = self.payload.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// The schema of a segment and its batches, one at a time.
pub(super) fn batches(
    path: &Path,
) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<>), ArrowError> {
    let (mut records, _) = records(path)?;
    records.next()?;
    let reader = StreamReader::try_new(Payloads { records, payload: Vec::new(), at: 0 }, None)?;
    Ok((reader.schema(), reader))
}

/// The origin of the rows of a version.
pub(super) fn origin(id: &ModelId, began_us: i64) -> Origin {
    Origin { model: id.name.to_string(), version: id.version.get(), began_us }
}
