//! Data sets: captured rows joined with their labels, as Parquet that the next training reads.
//!
//! ```text
//! capture/… ──► rows of a query ─┐
//!                                ├─ plan: which rows, with which weight (one pass) ──► write: train, test (a second) ──► dataset.json
//! labels/…  ──► table in memory ─┘
//! ```
//!
//! Features are those that were served, under the names of their columns, so that training cannot differ from serving.
//! The same query on the same files makes the same bytes: nothing depends on the clock, on threads or on the order of a
//! listing. Captured files are read one by one; held in memory are the labels ([`Query::labels_max`]) and about 60 bytes
//! for each row that is looked at ([`Query::rows_max`]).

mod error;
mod hash;
mod manifest;
mod plan;
mod query;
mod source;
mod write;
#[cfg(test)]
mod tests;

pub use self::error::DatasetError;
pub use self::hash::request as request_hash;
pub use self::manifest::{Counts, DatasetManifest, Day, OutputFile};
pub use self::query::{LabelNeed, Query, Split};
pub use self::source::{CapturedRows, day, fetch, files, open, open_some};

use std::sync::Arc;

use object_store::ObjectStore;

use crate::capture::labels::{self, LabelError};

/// Builds the data set of `query` from `source` into `out`, which must be empty. `dataset.json` comes last.
///
/// # Errors
/// [`DatasetError`]; what was written before has no `dataset.json`.
pub async fn build(
    source: &Arc<dyn ObjectStore>,
    out: &Arc<dyn ObjectStore>,
    query: &Query,
) -> Result<DatasetManifest, DatasetError> {
    query.check()?;
    let labels = labels(source, query).await?;
    let planned = plan::plan(source, query, &labels).await?;
    let files = write::write(source, out, query, &labels, &planned).await?;
    let manifest = DatasetManifest::new(query, &labels, planned, files);
    write::create(out, "dataset.json", manifest.to_json().into()).await?;
    Ok(manifest)
}

/// The labels that rows of `query` may have: those that came since it begins.
async fn labels(source: &Arc<dyn ObjectStore>, query: &Query) -> Result<labels::LabelTable, LabelError> {
    labels::read(source, &query.model, Some(source::day(query.from_us)), query.labels_max).await
}
