//! Labels: what turned out to be true of rows that were answered earlier.
//!
//! ```text
//! feedback ──► Label (checked) ──► log on the local disk (fsync) ──► acknowledged
//!                                        │ by time and size
//!                                        └──► labels/model=<m>/date=<received>/<replica>-<number>.parquet
//! ```
//!
//! Labels are only ever added: a correction is a later label of the same row. Which one counts is decided by whoever
//! reads ([`LabelTable`]): the latest `label_time`, and of equal ones the one that arrived last. A label that was
//! acknowledged is on a disk; one that is sent again changes nothing.
//!
//! Labels are kept as they are: the privacy policy of captured features is not applied to them, since they would be worth
//! nothing as a hash. Nothing here knows what a model predicted.

mod error;
mod files;
mod label;
mod log;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use self::error::LabelError;
pub use self::label::{Label, LabelValue, limits};
pub use self::store::{Appended, LabelStore, LabelStoreOptions};
pub(super) use self::table::hex;
pub use self::table::{LABELS_MAX, LabelTable, SourceFile, read};
