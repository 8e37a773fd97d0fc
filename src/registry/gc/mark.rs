//! Which blobs are needed: by versions, by proposals, by replicas.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::path::Path;
use serde::Deserialize;

use crate::model::Version;
use crate::registry::client::Registry;
use crate::registry::error::{RegistryError, StoreError};
use crate::registry::history;
use crate::registry::op::Op;
use crate::registry::record::{FileRef, VersionRecord};
use crate::registry::state::{ModelState, Moment, VersionState};

/// The hashes of all blobs that are needed, where what was deleted at or after `before` still is.
pub(super) async fn live(
    registry: &Registry,
    before: DateTime<Utc>,
) -> Result<BTreeSet<String>, RegistryError> {
    let loaded = loaded(registry, before).await?;
    let mut live = BTreeSet::new();
    for model in history::models(registry.store()).await? {
        let state = history::whole(registry, &model).await?;
        let loaded = loaded.get(&*model);
        mark(&state, loaded, before, &mut live);
    }
    Ok(live)
}

/// Adds what `state` needs to `live`.
fn mark(
    state: &ModelState,
    loaded: Option<&BTreeSet<Version>>,
    before: DateTime<Utc>,
    live: &mut BTreeSet<String>,
) {
    let is_gone = |deleted: &Option<Moment>| deleted.as_ref().is_some_and(|moment| moment.time < before);
    for (number, version) in &state.versions {
        let is_loaded = loaded.is_some_and(|loaded| loaded.contains(number));
        if is_loaded || !(is_gone(&state.deleted) || is_gone(&version.deleted)) {
            live.extend(files_of(version).map(|file| file.sha256.clone()));
        }
    }
    for proposal in state.proposals.values() {
        files_of_ops(&proposal.ops, live);
    }
}

/// Every file that a version needs to be served, checked and compared.
pub(in crate::registry) fn files_of(version: &VersionState) -> impl Iterator<Item = &FileRef> {
    files_of_record(&version.record).chain(&version.baseline)
}

fn files_of_record(record: &VersionRecord) -> impl Iterator<Item = &FileRef> {
    record.files.iter().chain(&record.validation.golden)
}

fn files_of_ops(ops: &[Op], live: &mut BTreeSet<String>) {
    for op in ops {
        match op {
            Op::CreateVersion { record, .. } => {
                live.extend(files_of_record(record).map(|file| file.sha256.clone()));
            }
            Op::SetBaseline { profile: Some(file), .. } => {
                live.insert(file.sha256.clone());
            }
            Op::Propose { ops, .. } => files_of_ops(ops, live),
            _ => {}
        }
    }
}

/// What a collection needs of a replica's lease. Nothing else of it is read, so that a lease of a newer program counts too.
#[derive(Deserialize)]
struct Lease {
    models: BTreeMap<String, ModelLease>,
}

#[derive(Deserialize)]
struct ModelLease {
    loaded: BTreeMap<Version, serde_json::Value>,
}

/// Where leases are.
const LEASES: &str = "leases";

/// The versions that replicas hold in memory, by model. A replica that cannot renew its lease goes on serving, so a lease
/// counts until someone removes it or it is older than the grace.
async fn loaded(
    registry: &Registry,
    before: DateTime<Utc>,
) -> Result<BTreeMap<String, BTreeSet<Version>>, RegistryError> {
    let store = registry.store();
    let listed = store.raw().list(Some(&Path::from(LEASES)));
    let listed: Vec<_> = listed.try_collect().await.map_err(|error| StoreError::io(LEASES, error))?;
    let mut loaded: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for meta in listed.into_iter().filter(|meta| meta.last_modified >= before) {
        let key = meta.location.to_string();
        let Some(bytes) = store.get(&key).await? else { continue };
        let lease: Lease = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Unusable {
            location: store.shown().to_owned(),
            reason: format!("'{key}' is no lease, so nobody knows what its replica has loaded: {error}"),
        })?;
        for (model, versions) in lease.models {
            loaded.entry(model).or_default().extend(versions.loaded.into_keys());
        }
    }
    Ok(loaded)
}
