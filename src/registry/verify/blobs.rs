//! Files of versions against the blobs that the store has.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::{Blobs, Finding, VerifyReport};
use crate::registry::blobs::{self, BlobError};
use crate::registry::error::RegistryError;
use crate::registry::gc;
use crate::registry::record::FileRef;
use crate::registry::state::ModelState;
use crate::registry::store::Store;

/// Blobs that are read at a time.
const AT_A_TIME: usize = 4;

/// Files of deleted versions are left out: they may be collected.
pub(super) async fn walk(
    store: &Store,
    states: impl Iterator<Item = &ModelState>,
    how: Blobs,
    report: &mut VerifyReport,
) -> Result<(), RegistryError> {
    let mut wanted: BTreeMap<&FileRef, Vec<(String, u64)>> = BTreeMap::new();
    let states: Vec<&ModelState> = states.filter(|state| state.deleted.is_none()).collect();
    for state in &states {
        for (number, version) in state.versions.iter().filter(|(_, version)| version.deleted.is_none()) {
            for file in gc::files_of(version) {
                let users = wanted.entry(file).or_default();
                users.push((state.model.to_string(), number.get()));
            }
        }
    }
    let mut checks = Vec::with_capacity(wanted.len());
    for (file, users) in wanted {
        checks.push(async move { (check(store, file, how).await, users) });
    }
    let mut checks = futures_util::stream::iter(checks).buffered(AT_A_TIME);
    while let Some((checked, users)) = checks.next().await {
        match checked {
            Ok(()) => report.blobs += 1,
            Err(BlobError::Store(error)) => return Err(error.into()),
            Err(error) => report.findings.extend(users.into_iter().map(|(model, number)| Finding {
                model,
                rev: None,
                kind: "blob",
                problem: format!("version {number}: {error}"),
            })),
        }
    }
    Ok(())
}

async fn check(store: &Store, file: &FileRef, how: Blobs) -> Result<(), BlobError> {
    match how {
        Blobs::No => Ok(()),
        Blobs::Sizes => blobs::check_size(store, file).await,
        Blobs::Content => blobs::check(store, file).await,
    }
}
