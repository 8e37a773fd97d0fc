//! What a batch job saw, as a pane beside those of servers: it merges with theirs in every window that it lies in.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::lane::version_folder;
use super::transition::Lane;
use crate::drift::baseline::{Baseline, Current};
use crate::drift::pane::{JOB, Pane, PaneLimits, Panes};
use crate::model::ModelId;

/// The rows of a job.
#[derive(Debug)]
pub struct Batch {
    /// Names the job among those that add at the same time.
    pub job: String,
    /// When the pane begins, in microseconds since 1970.
    pub start_us: i64,
    /// Its length.
    pub length_us: i64,
    /// Counted against the same baseline.
    pub current: Current,
}

/// Writes the pane of `batch` where servers that keep their profiles in `folder` (`drift` in `monitoring.dir`) will find it
/// when they close their next pane. `baseline` is fitted to the version, as theirs is. False when the job has added this
/// pane before: nothing is counted twice.
///
/// # Errors
/// When the file cannot be written.
pub fn add_batch(folder: &Path, id: &ModelId, baseline: Arc<Baseline>, batch: Batch) -> io::Result<bool> {
    let Batch { job, start_us, length_us, current } = batch;
    let folder = version_folder(folder, id).join(Lane::Main.as_str());
    let replica: Arc<str> = format!("{JOB}{job}").into();
    let limits = PaneLimits { retention_us: i64::MAX / 4, bytes_max: usize::MAX };
    let mut panes = Panes::open(Some(&folder), Arc::clone(&replica), baseline, limits);
    let is_there = |pane: &Pane| pane.replica == replica && pane.start_us == start_us;
    if panes.panes().iter().any(is_there) {
        return Ok(false);
    }
    panes.add(start_us, length_us, current)?;
    Ok(true)
}
