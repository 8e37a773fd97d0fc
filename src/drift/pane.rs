//! Panes: what was seen in five minutes, an hour or a day, in memory and in files, so that windows of any length are
//! sums and a restart loses at most the pane that was open.
//!
//! ```text
//! <folder>/<model>/<version>/<route>/<digest of the baseline>/<start>-<length>-<replica>.json
//! ```
//!
//! Every replica writes files of its own and reads those of all. A file appears whole: it is written beside its name and
//! renamed. Times are values, in microseconds since 1970; panes begin at multiples of their length.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::baseline::{Baseline, BaselineEmbedding, Current};
use super::format;
use super::profile::{PointSample, Sampling, WINDOW_POINTS};

/// An hour in microseconds.
pub const HOUR_US: i64 = 3_600_000_000;
/// A day in microseconds.
pub const DAY_US: i64 = 24 * HOUR_US;
/// What names of batch jobs begin with, where servers have theirs.
pub(super) const JOB: &str = "job.";
/// Panes are joined to hours when they are this old, and hours to days when they are older than any window of hours.
const FINE_US: i64 = 2 * HOUR_US;
const HOURLY_US: i64 = 26 * HOUR_US;
/// Most files of one folder that are read.
const FILES_MAX: usize = 10_000;

/// Data of one replica in an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Pane {
    /// When it begins.
    pub start_us: i64,
    /// How long it is.
    pub length_us: i64,
    /// Who saw the data.
    pub replica: Arc<str>,
    /// The data.
    pub current: Current,
}

impl Pane {
    fn end_us(&self) -> i64 {
        self.start_us + self.length_us
    }

    fn covers(&self, other: &Pane) -> bool {
        self.replica == other.replica && self.start_us <= other.start_us && other.end_us() <= self.end_us()
    }

    fn file_name(&self) -> String {
        format!("{}-{}-{}.json", self.start_us, self.length_us, self.replica)
    }
}

/// What bounds the panes of one version and route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaneLimits {
    /// Panes that ended before are removed.
    pub retention_us: i64,
    /// Bytes in memory above which panes are joined early and sketches of old ones dropped.
    pub bytes_max: usize,
}

/// All panes of one version and route against one baseline.
#[derive(Debug)]
pub struct Panes {
    folder: Option<PathBuf>,
    replica: Arc<str>,
    baseline: Arc<Baseline>,
    limits: PaneLimits,
    panes: Vec<Pane>,
    /// Files that could not be read; they are not tried again.
    damaged: Vec<String>,
}

impl Panes {
    /// The panes under `folder`, or in memory only. Reads what is there; what cannot be read is left alone and counted.
    pub fn open(
        folder: Option<&Path>,
        replica: Arc<str>,
        baseline: Arc<Baseline>,
        limits: PaneLimits,
    ) -> Panes {
        let digest: String = baseline.digest().chars().take(16).collect();
        let folder = folder.map(|folder| folder.join(digest));
        let mut panes = Panes { folder, replica, baseline, limits, panes: Vec::new(), damaged: Vec::new() };
        panes.refresh();
        panes
    }

    /// Reads files that other replicas have written since.
    pub fn refresh(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let names = fs::read_dir(&folder).into_iter().flatten().flatten().take(FILES_MAX);
        for entry in names {
            let name = entry.file_name();
            let Some((start_us, length_us, replica)) = name.to_str().and_then(parse_name) else { continue };
            let name = name.to_string_lossy().into_owned();
            let current = Current::default();
            let mut pane = Pane { start_us, length_us, replica: replica.into(), current };
            if self.panes.iter().any(|known| known.covers(&pane)) || self.damaged.contains(&name) {
                continue;
            }
            // A file that its owner has just joined to a longer one is gone: that is no damage.
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            match format::read_current(&self.baseline, &bytes) {
                Ok(current) => {
                    pane.current = current;
                    self.panes.retain(|known| !pane.covers(known));
                    self.panes.push(pane);
                }
                Err(_) => self.damaged.push(name),
            }
        }
        self.panes.sort_by(|a, b| (a.start_us, &a.replica).cmp(&(b.start_us, &b.replica)));
    }

    /// The name of this process in files.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Files that could not be read.
    pub fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// The panes, oldest first.
    pub fn panes(&self) -> &[Pane] {
        &self.panes
    }

    /// Bytes in memory, about.
    pub fn bytes(&self) -> usize {
        self.panes.iter().map(|pane| pane.current.bytes()).sum()
    }

    /// Adds a pane of this replica and writes it. It counts even if it could not be written.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn add(&mut self, start_us: i64, length_us: i64, mut current: Current) -> io::Result<()> {
        let replica = Arc::clone(&self.replica);
        // Twice the same interval, after a restart within it: one file with both.
        if let Some(at) = self.panes.iter().position(|pane| {
            pane.start_us == start_us && pane.length_us == length_us && pane.replica == replica
        }) {
            let before = self.panes.remove(at);
            current.merge(&before.current).map_err(io::Error::other)?;
        }
        let pane = Pane { start_us, length_us, replica, current };
        let written = self.write(&pane);
        self.panes.push(pane);
        written
    }

    /// Everything seen from `from_us` until `until_us`, and when the first of it begins.
    pub fn window(&self, from_us: i64, until_us: i64) -> (Current, Option<i64>) {
        let mut whole = self.baseline.current(Sampling::LIVE);
        let mut first = None;
        for pane in self.panes.iter().filter(|pane| pane.start_us >= from_us && pane.end_us() <= until_us) {
            // Read against the same baseline, so it merges.
            if whole.merge(&pane.current).is_ok() {
                first = Some(first.map_or(pane.start_us, |first: i64| first.min(pane.start_us)));
            }
        }
        (whole, first)
    }

    /// A sample of the points that were seen from `from_us` until `until_us`, for each embedding of the baseline.
    pub fn points(&self, from_us: i64, until_us: i64) -> Vec<PointSample> {
        let embeddings = self.baseline.embeddings().iter();
        let empty = |known: &BaselineEmbedding| PointSample::new(known.sample.width(), WINDOW_POINTS, 0);
        let mut whole: Vec<PointSample> = embeddings.map(empty).collect();
        for pane in self.panes.iter().filter(|pane| pane.start_us >= from_us && pane.end_us() <= until_us) {
            // Of the same widths, so they merge.
            whole.iter_mut().zip(&pane.current.embeddings).for_each(|(mine, other)| {
                mine.merge(other).ok();
            });
        }
        whole
    }

    /// Removes what is too old, joins what is old and keeps to the budget.
    ///
    /// # Errors
    /// The first file that could not be written or removed; everything else is done all the same.
    pub fn tidy(&mut self, now_us: i64) -> io::Result<()> {
        let oldest = now_us - self.limits.retention_us;
        let (keep, old): (Vec<Pane>, Vec<Pane>) =
            std::mem::take(&mut self.panes).into_iter().partition(|pane| pane.end_us() > oldest);
        self.panes = keep;
        let mut outcome = old.iter().map(|pane| self.remove(pane)).fold(Ok(()), io::Result::and);
        outcome = outcome.and(self.join(HOUR_US, now_us - FINE_US));
        outcome = outcome.and(self.join(DAY_US, now_us - HOURLY_US));
        if self.bytes() > self.limits.bytes_max {
            outcome = outcome.and(self.join(HOUR_US, now_us));
        }
        let mut at = 0;
        while self.bytes() > self.limits.bytes_max && at < self.panes.len() {
            self.panes[at].current.thin();
            at += 1;
        }
        outcome
    }

    /// Joins the panes of this replica that lie in the same interval of `length_us` which ended by `before_us`.
    fn join(&mut self, length_us: i64, before_us: i64) -> io::Result<()> {
        let interval = |pane: &Pane| pane.start_us.div_euclid(length_us) * length_us;
        let is_due = |pane: &Pane| {
            pane.replica == self.replica
                && pane.length_us < length_us
                && interval(pane) + length_us <= before_us
        };
        let (due, mut keep): (Vec<Pane>, Vec<Pane>) =
            std::mem::take(&mut self.panes).into_iter().partition(is_due);
        let mut joined: Vec<Pane> = Vec::new();
        for pane in &due {
            let start_us = interval(pane);
            match joined.iter_mut().find(|wide| wide.start_us == start_us) {
                Some(wide) => wide.current.merge(&pane.current).map_err(io::Error::other)?,
                None => joined.push(Pane { start_us, length_us, ..pane.clone() }),
            }
        }
        let mut outcome = Ok(());
        for wide in joined {
            // The wide one first: a crash in between leaves both, and the wide one wins when they are read.
            let written = self.write(&wide);
            if written.is_ok() {
                let parts = due.iter().filter(|pane| wide.covers(pane));
                outcome = outcome.and(parts.map(|part| self.remove(part)).fold(Ok(()), io::Result::and));
            }
            outcome = outcome.and(written);
            keep.push(wide);
        }
        keep.sort_by(|a, b| (a.start_us, &a.replica).cmp(&(b.start_us, &b.replica)));
        self.panes = keep;
        outcome
    }

    fn write(&self, pane: &Pane) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let bytes = format::write_current(&self.baseline, &pane.current);
        write_whole(&folder.join(pane.file_name()), &bytes)
    }

    /// Removes the file of a pane. Old panes of replicas that are no more are removed by whoever is left.
    fn remove(&self, pane: &Pane) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match fs::remove_file(folder.join(pane.file_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes a file that is either there with all its bytes or not there.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = fs::File::create(&beside)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written
}

/// Start, length and replica by a file's name.
pub(super) fn parse_name(name: &str) -> Option<(i64, i64, &str)> {
    let (start, rest) = name.strip_suffix(".json")?.split_once('-')?;
    let (length, replica) = rest.split_once('-')?;
    let (start, length) = (start.parse::<i64>().ok()?, length.parse::<i64>().ok()?);
    let is_sane = (0..i64::MAX / 4).contains(&start) && (1..=DAY_US).contains(&length) && !replica.is_empty();
    is_sane.then_some((start, length, replica))
}

#[cfg(test)]
mod tests;
