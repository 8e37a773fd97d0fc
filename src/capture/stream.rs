//! The rows of one version under one plan, from builders to a segment of the WAL.
//!
//! | mode | to the segment | to the disk |
//! |---|---|---|
//! | best_effort | every 250 ms, or 8,192 rows, or 4 MiB | every second |
//! | durable | every 25 ms, or the same | every 50 ms |
//! | audit | after each look at the queue | before its rows are acknowledged |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::columns::{Labels, Rows};
use super::ledger::Ledger;
use super::reason::{Dropped, Reason};
use super::sealed::SealedSegment;
use super::shared::{Lane, Shared};
use super::tap::{Answer, Current, TapState, Ticket};
use super::wal::{self, Facts, Segment};
use crate::infer::Observation;
use crate::model::monitoring::CaptureMode;

const BATCH_ROWS_MAX: usize = 8_192;
const BATCH_BYTES_MAX: usize = 4 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// How long rows may stay in builders, and a segment unsynced.
fn patience(mode: CaptureMode) -> (Duration, Duration) {
    match mode {
        CaptureMode::Off | CaptureMode::BestEffort => (Duration::from_millis(250), Duration::from_secs(1)),
        CaptureMode::Durable => (Duration::from_millis(25), Duration::from_millis(50)),
        CaptureMode::Audit => (Duration::ZERO, Duration::ZERO),
    }
}

/// A segment that is open.
#[derive(Debug)]
struct Open {
    number: u64,
    segment: Segment,
    began: Instant,
    began_us: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tap: Arc<TapState>,
    current: Arc<Current>,
    rows: Rows,
    answers: Vec<Answer>,
    open: Option<Open>,
    /// When rows must leave the builders.
    flush_at: Option<Instant>,
    /// When the segment must be on the disk.
    sync_at: Option<Instant>,
}

impl Stream {
    pub(super) fn new(tap: Arc<TapState>, current: Arc<Current>, shared: &Shared) -> Stream {
        let rows = Rows::new(Arc::clone(&current.plan), shared.hasher.clone());
        Stream { tap, current, rows, answers: Vec::new(), open: None, flush_at: None, sync_at: None }
    }

    /// Whether it holds nothing that would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.rows.len() == 0
    }

    pub(super) fn began_us(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.began_us)
    }

    /// Takes an observation in. Returns how many of its values were too large.
    pub(super) fn append(&mut self, ticket: Ticket, observation: &Observation, now: Instant) -> u64 {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = match &ticket.made_id {
            Some(id) => &*id.hyphenated().encode_lower(&mut text),
            None => observation.id.as_str(),
        };
        let finished = observation.finished.unwrap_or_else(SystemTime::now);
        let ts_us = finished.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let labels = Labels { id, ts_us: i64::try_from(ts_us).unwrap_or(i64::MAX), weight: ticket.weight };
        let oversize = self.rows.append(observation, labels);
        self.answers.extend(ticket.answer);
        self.flush_at.get_or_insert(now + patience(self.current.rules.mode).0);
        oversize
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS_MAX || self.rows.bytes() >= BATCH_BYTES_MAX
    }

    /// Drops the rows that are not written, and counts them.
    pub(super) fn give_up(self) {
        self.tap.drop_rows(Reason::Encoding, self.rows.len() as u64);
    }

    /// Does what is due at `now`.
    pub(super) fn tend(&mut self, shared: &Shared, now: Instant) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush(shared, now);
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync(shared);
        }
        let settings = &shared.settings;
        let is_due = self.open.as_ref().is_some_and(|open| {
            open.segment.rows() >= settings.rotate_rows
                || open.segment.len() >= settings.rotate_bytes
                || now.duration_since(open.began) >= settings.rotate_every
        });
        if is_due {
            self.seal(shared);
        }
    }

    /// Writes the rows in builders, and what was dropped, to the segment.
    pub(super) fn flush(&mut self, shared: &Shared, now: Instant) {
        self.flush_at = None;
        let answers = std::mem::take(&mut self.answers);
        let rows = self.rows.len() as u64;
        let (first_us, last_us) = self.rows.span_us();
        let bytes = self.rows.bytes() as u64;
        let untold = self.tap.untold.take();
        if rows == 0 && untold == Dropped::default() {
            return;
        }
        let batch = if rows == 0 { Ok(None) } else { self.rows.finish().map(Some) };
        let result = match batch {
            Err(error) => {
                shared.failed(&error);
                Err(Reason::Encoding)
            }
            Ok(_) if shared.disk_bytes() + bytes > shared.settings.disk_bytes_max => Err(Reason::DiskQuota),
            Ok(batch) => {
                let facts = Facts {
                    rows: u32::try_from(rows).unwrap_or(u32::MAX),
                    first_us,
                    last_us,
                    dropped: untold,
                };
                let is_audit = !answers.is_empty();
                self.write(shared, now, batch.as_ref(), &facts, is_audit).map_err(|error| {
                    tracing::warn!(model = %self.tap.version.id.name, %error, "captured rows cannot be written");
                    shared.failed(&error);
                    Reason::DiskError
                })
            }
        };
        match result {
            Ok(()) => self.tap.counts.write(rows),
            Err(reason) => {
                // Not told yet: the next record will.
                for (reason, rows) in Reason::ALL.iter().zip(untold) {
                    self.tap.untold.add(*reason, rows);
                }
                if rows > 0 {
                    self.tap.drop_rows(reason, rows);
                }
            }
        }
        for answer in answers {
            // A caller that has gone wants to know nothing.
            answer.send(result.is_ok()).ok();
        }
    }

    fn write(
        &mut self,
        shared: &Shared,
        now: Instant,
        batch: Option<&arrow_array::RecordBatch>,
        facts: &Facts,
        is_audit: bool,
    ) -> std::io::Result<()> {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let first_us = match facts.rows {
            0 => i64::try_from(now_us).unwrap_or(i64::MAX),
            _ => facts.first_us,
        };
        if self.open.as_ref().is_some_and(|open| first_us / HOUR_US > open.began_us / HOUR_US) {
            self.seal(shared);
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let number = shared.next_number();
                let path = Ledger::segment(&shared.settings.folder, number);
                let origin = wal::origin(&self.tap.version.id, first_us);
                let segment = Segment::create(path, &origin, &self.current.plan.schema)?;
                shared.wal_bytes.fetch_add(segment.len(), Ordering::Relaxed);
                none.insert(Open { number, segment, began: now, began_us: first_us })
            }
        };
        let (len, rows) = (open.segment.len(), open.segment.rows());
        let written = open.segment.append(batch, facts);
        let written = written.and_then(|()| if is_audit { open.segment.sync() } else { Ok(()) });
        if let Err(error) = written {
            // Nobody is told that these rows are written, so they must not be found later either. What cannot be cut off
            // is not whole, or is counted twice at worst: as dropped by this process and as written by the next.
            open.segment.cut(len, rows).ok();
            self.seal(shared);
            return Err(error);
        }
        shared.wal_bytes.fetch_add(open.segment.len() - len, Ordering::Relaxed);
        self.sync_at.get_or_insert(now + patience(self.current.rules.mode).1);
        Ok(())
    }

    fn sync(&mut self, shared: &Shared) {
        self.sync_at = None;
        let Some(open) = &mut self.open else { return };
        if let Err(error) = open.segment.sync() {
            tracing::warn!(segment = %open.segment.path().display(), %error, "captured rows may not be on the disk");
            shared.failed(&error);
        }
    }

    /// Hands the segment to the shipper.
    pub(super) fn seal(&mut self, shared: &Shared) {
        self.sync(shared);
        if let Some(open) = self.open.take() {
            let path = open.segment.path().to_owned();
            shared.sealed.push(SealedSegment {
                number: open.number,
                path,
                began_us: open.began_us,
                lane: Lane::of(self.current.rules.mode),
            });
        }
    }
}
