//! Capture: what models were sent and what they answered, as typed rows in Parquet files.
//!
//! ```text
//! request ─► tap ─► queue ─► writer ─► WAL segment ─► shipper ─► Parquet ─► store
//!            sampler         privacy   (CRC, fsync)              capture/model=/version=/date=/hour=/
//!            (counts)        columns                             manifest: files, hashes, gaps
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `settings` | what capture is told; its errors |
//! | `sampler` (pure) | which requests are written, and with which weight |
//! | `schema`, `values`, `columns`, `privacy` (pure) | from observations to Arrow record batches |
//! | `tap` | on the request's path: sampler, counts, queue |
//! | `writer`, `stream` | one thread: from the queue to segments |
//! | `wal`, `ledger` | what a segment is; what is true of the folder whatever died |
//! | `sealed`, `ship`, `file`, `manifest` | one thread: from segments to the store |
//! | `reader`, `json`, `export`, `retention` | reading, exporting and deleting what is there |
//! | `labels`, `dataset` | what turned out to be true, and both joined for the next training |
//!
//! What is always true: **accepted = written + dropped + waiting**, in rows. *Accepted* is what the sampler wants written;
//! *written* is in a segment of the WAL, whole; *dropped* was given up for a reason that is counted; *waiting* is in the
//! queue or in builders, and is 0 after [`Capture::stop`]. The folder remembers what was written and dropped; what only
//! waited when a process was killed is not accepted any more in the eyes of the next, which begins with accepted =
//! written + dropped. What was acknowledged never only waits.
//!
//! This module decides nothing about drift, reads no model and knows no protocol's bytes.

mod settings;
mod sampler;
mod privacy;
mod schema;
mod values;
mod columns;
mod reason;
mod shared;
mod tap;
mod stream;
mod writer;
mod wal;
mod ledger;
mod sealed;
mod file;
mod manifest;
mod ship;
mod reader;
mod json;
mod large;
mod export;
mod retention;
mod metrics;
mod service;
pub mod labels;
pub mod dataset;
#[cfg(test)]
mod tests;

pub use self::export::{ExportForm, lines};
pub use self::json::row as json_row;
pub use self::manifest::{FileEntry, Manifest};
pub use self::reader::{CapturedFile, Filter, Reader};
pub use self::retention::{Deleted, delete_key};
pub use self::service::{Capture, CaptureStatus, ModelStatus, key_hash};
pub use self::settings::{CaptureError, CaptureSettings};
pub use self::shared::OutlierHook;
