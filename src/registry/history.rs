//! Reads logs as they are: the names of all models, and the revisions of one.
//!
//! [`Registry::state`](super::Registry::state) gives what is; this gives how it came about, for the audit.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::client::{Registry, revision_key};
use super::error::{FoldError, LogFault, RegistryError, StoreError};
use super::revision::{NO_PREVIOUS, Revision, sha256_hex};
use super::state::ModelState;
use super::store::Store;
use crate::model::ModelName;

/// Revisions read at a time.
const AT_A_TIME: usize = 16;

/// A revision and the hash of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The revision.
    pub revision: Revision,
    /// SHA-256 of its file.
    pub hash: String,
}

/// Every model that has a log, ascending. A folder whose name is no model's is left out; [`verify`](super::verify) names
/// it.
///
/// # Errors
/// [`StoreError`].
pub async fn models(store: &Store) -> Result<Vec<ModelName>, StoreError> {
    let names = folders(store).await?;
    let mut models: Vec<ModelName> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
    models.sort();
    Ok(models)
}

/// The name of every folder below `models/`.
pub(super) async fn folders(store: &Store) -> Result<Vec<String>, StoreError> {
    let failed = |error| StoreError::io("models", error);
    let listed = store.raw().list_with_delimiter(Some(&Path::from("models"))).await.map_err(failed)?;
    let names = listed.common_prefixes.into_iter().filter_map(|prefix| prefix.filename().map(str::to_owned));
    Ok(names.collect())
}

/// The numbers of the revisions that are there, ascending.
pub(super) async fn numbers(store: &Store, model: &str) -> Result<Vec<u64>, StoreError> {
    numbers_in(store, &format!("models/{model}/log")).await
}

/// The numbers that name files in `folder`, ascending.
pub(super) async fn numbers_in(store: &Store, folder: &str) -> Result<Vec<u64>, StoreError> {
    let listed = store.raw().list(Some(&Path::from(folder)));
    let metas: Vec<_> = listed.try_collect().await.map_err(|error| StoreError::io(folder, error))?;
    let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
    let mut numbers: Vec<u64> =
        metas.iter().filter_map(|meta| meta.location.filename().and_then(number)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest state of a model whose log is whole.
///
/// # Errors
/// [`RegistryError::Log`] for one that is not.
pub(super) async fn whole(
    registry: &Registry,
    model: &ModelName,
) -> Result<std::sync::Arc<ModelState>, RegistryError> {
    let view = registry.view(model).await?;
    match view.fault {
        Some(fault) => Err(LogFault::clone(&fault).into()),
        None => Ok(view.state),
    }
}

/// The bytes of revisions `from..=to` in order; `None` for one that is missing.
pub(super) fn files<'a>(
    store: &'a Store,
    model: &'a str,
    from: u64,
    to: u64,
) -> impl futures_util::Stream<Item = Result<(u64, Option<Bytes>), StoreError>> + 'a {
    let read = move |rev| async move { Ok((rev, store.get(&revision_key(model, rev)).await?)) };
    futures_util::stream::iter(from..=to).map(read).buffered(AT_A_TIME)
}

/// The revisions of `model` in `range`, ascending; fewer where the log ends. What they lead to is not checked.
///
/// # Errors
/// [`RegistryError`].
pub async fn range(
    store: &Store,
    model: &ModelName,
    range: std::ops::Range<u64>,
) -> Result<Vec<Revision>, RegistryError> {
    let mut revisions = Vec::new();
    let mut stream = std::pin::pin!(files(store, model, range.start, range.end.saturating_sub(1)));
    while let Some((rev, bytes)) = stream.try_next().await? {
        let Some(bytes) = bytes else { break };
        let log = |source: FoldError| RegistryError::Log { model: model.to_string(), rev, source };
        revisions.push(Revision::parse(&bytes).map_err(log)?);
    }
    Ok(revisions)
}

/// Every revision of `model` up to its newest state, which they are proved to lead to.
///
/// # Errors
/// [`RegistryError::Log`] when they do not.
pub async fn read(registry: &Registry, model: &ModelName) -> Result<(ModelState, Vec<Entry>), RegistryError> {
    let state = registry.state(model).await?;
    let store = registry.store();
    let mut entries: Vec<Entry> = Vec::new();
    let mut stream = std::pin::pin!(files(store, model, 1, state.rev));
    while let Some((rev, bytes)) = stream.try_next().await? {
        let log = |source: FoldError| RegistryError::Log { model: model.to_string(), rev, source };
        let broken = |reason: &str| log(FoldError::Broken { after: rev - 1, reason: reason.to_owned() });
        let bytes = bytes.ok_or_else(|| broken("its file is missing"))?;
        let revision = Revision::parse(&bytes).map_err(log)?;
        let prev = entries.last().map_or(NO_PREVIOUS, |entry| entry.hash.as_str());
        if revision.prev != prev || revision.rev != rev || revision.model != *model {
            return Err(broken("it is not the one that follows"));
        }
        entries.push(Entry { revision, hash: sha256_hex(&bytes) });
    }
    if entries.last().is_some_and(|entry| entry.hash != state.head) {
        let source = FoldError::Broken { after: state.rev, reason: "the log has changed".to_owned() };
        return Err(RegistryError::Log { model: model.to_string(), rev: state.rev, source });
    }
    Ok(((*state).clone(), entries))
}
