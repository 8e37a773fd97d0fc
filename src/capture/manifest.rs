//! Where files lie in the store, and the manifests that list them: one for each model, hour and replica, so that no two
//! processes write the same one.
//!
//! ```text
//! capture/model=<m>/version=<v>/date=YYYY-MM-DD/hour=HH/<replica>-<folder>-<number>.parquet
//! capture/model=<m>/_manifests/date=YYYY-MM-DD/hour=HH/<replica>-<folder>.json
//! ```

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::wal::Origin;

/// The folder of all of it.
pub(super) const ROOT: &str = "capture";

/// One file, or only what was dropped in its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its key in the store; `None` when there was nothing but drops.
    pub path: Option<String>,
    /// Whose rows it holds.
    pub version: u64,
    /// How many.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// When the first of its rows was answered, in microseconds since 1970.
    pub first_us: i64,
    /// The last.
    pub last_us: i64,
    /// The gap: rows that were to be written in its time and are not in it, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Rows that were in it and were deleted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The files of one model, hour and replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout's version.
    pub format: u32,
    /// The model.
    pub model: String,
    /// Who wrote them.
    pub replica: String,
    /// `YYYY-MM-DDTHH` in UTC.
    pub hour: String,
    /// By the name of their segment.
    pub segments: BTreeMap<String, FileEntry>,
}

fn time(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

/// The key of the file of a segment.
pub(super) fn file_key(origin: &Origin, segment: &str) -> String {
    let folders = time(origin.began_us).format("date=%Y-%m-%d/hour=%H");
    format!("{ROOT}/model={}/version={}/{folders}/{segment}.parquet", origin.model, origin.version)
}

/// The key of the manifest that lists it.
pub(super) fn manifest_key(origin: &Origin, writer: &str) -> String {
    let folders = time(origin.began_us).format("date=%Y-%m-%d/hour=%H");
    format!("{ROOT}/model={}/_manifests/{folders}/{writer}.json", origin.model)
}

impl Manifest {
    /// One without files.
    pub(super) fn new(origin: &Origin, replica: &str) -> Manifest {
        Manifest {
            format: 1,
            model: origin.model.clone(),
            replica: replica.to_owned(),
            hour: time(origin.began_us).format("%Y-%m-%dT%H").to_string(),
            segments: BTreeMap::new(),
        }
    }
}
