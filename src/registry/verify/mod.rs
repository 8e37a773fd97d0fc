//! Proves a registry from its files alone: chains, signatures, keys, snapshots, anchors and, if asked, blobs and holds.
//!
//! Nothing here trusts what a running program knows, or a snapshot or a hint; so it finds what was changed behind the
//! programs' backs. Of each log it names the first revision that is wrong: what follows it proves nothing. It changes
//! nothing.
//!
//! | what was done | what shows it |
//! |---|---|
//! | a byte of a revision changed | the next one's hash; the signature; an anchor |
//! | a revision removed | the gap; at the end, an anchor or a hint in `heads/` |
//! | two logs exchanged | the model that the revisions name |
//! | history written anew, an old copy restored | an anchor; without signatures nothing else can |

mod blobs;
mod holds;
mod keys;
mod log;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::{Registry, RegistryInfo};
use super::error::{RegistryError, StoreError};
use super::history;
use super::keys::KeyRing;
use super::state::ModelState;
use super::store::Store;
use crate::model::ModelName;

/// Models that are read at a time.
const AT_A_TIME: usize = 8;

/// One line of an anchor: what a log's end was. Kept where whoever can write to the registry cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The registry.
    pub registry: Uuid,
    /// The model; the log of keys when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Its newest revision.
    pub rev: u64,
    /// SHA-256 of that revision's file.
    pub hash: String,
}

/// What is proved.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only this model.
    pub model: Option<ModelName>,
    /// What logs were before.
    pub anchors: Vec<Anchor>,
    /// Whether files of versions are looked at.
    pub blobs: Blobs,
    /// Whether versions that hold others are compared with what they hold.
    pub holds: bool,
}

/// How files of versions are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blobs {
    /// Not at all.
    #[default]
    No,
    /// Whether they are there and have the right length.
    Sizes,
    /// Every byte.
    Content,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The model; empty for the registry as a whole.
    pub model: String,
    /// The first revision that is wrong, where it is about the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// `registry`, `keys`, `log`, `signature`, `anchor`, `snapshot`, `blob` or `hold`.
    pub kind: &'static str,
    /// What.
    pub problem: String,
}

/// What was proved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Models.
    pub models: u64,
    /// Revisions that are right.
    pub revisions: u64,
    /// Revisions among them with a signature that counts.
    pub signed: u64,
    /// Snapshots that say what the log says.
    pub snapshots: u64,
    /// Records of keys.
    pub key_records: u64,
    /// Anchors that hold.
    pub anchors: u64,
    /// Files of versions that are right.
    pub blobs: u64,
    /// What is wrong, by model.
    pub findings: Vec<Finding>,
}

/// Everything about one model that was found.
struct Walk {
    state: ModelState,
    signed: u64,
    snapshots: u64,
    anchors: u64,
    findings: Vec<Finding>,
}

/// Proves what `options` says of the registry in `store`.
///
/// # Errors
/// [`RegistryError`] when the store fails or there is no registry; what is wrong in it is in the report.
pub async fn verify(store: &Store, options: &VerifyOptions) -> Result<VerifyReport, RegistryError> {
    let mut report = VerifyReport::default();
    let info = info(store).await?;
    for anchor in options.anchors.iter().filter(|anchor| anchor.registry != info.registry_id) {
        let (theirs, ours) = (anchor.registry, info.registry_id);
        let problem = format!("the anchor is of registry {theirs}, and this is {ours}");
        report.findings.push(Finding { model: String::new(), rev: None, kind: "anchor", problem });
    }
    let ring = keys::walk(store, &options.anchors, &mut report).await?;
    let (models, strangers) = models(store, options).await?;
    for name in strangers {
        let shown: String = name.escape_debug().take(200).collect();
        let problem = format!("'models/{shown}' is no model's name");
        report.findings.push(Finding { model: String::new(), rev: None, kind: "registry", problem });
    }
    let walks = futures_util::stream::iter(models)
        .map(|model| log::walk(store, &ring, model, &options.anchors))
        .buffered(AT_A_TIME);
    let mut states = BTreeMap::new();
    let mut walks = std::pin::pin!(walks);
    while let Some(walk) = walks.try_next().await? {
        report.models += 1;
        report.revisions += walk.state.rev;
        report.signed += walk.signed;
        report.snapshots += walk.snapshots;
        report.anchors += walk.anchors;
        report.findings.extend(walk.findings);
        states.insert(walk.state.model.clone(), walk.state);
    }
    if options.blobs != Blobs::No {
        blobs::walk(store, states.values(), options.blobs, &mut report).await?;
    }
    if options.holds {
        holds::walk(&states, options.model.is_some(), &mut report.findings);
    }
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

async fn info(store: &Store) -> Result<RegistryInfo, RegistryError> {
    let unusable = |reason: String| RegistryError::Unusable { location: store.shown().to_owned(), reason };
    let bytes = store.get("weir.json").await?;
    let bytes = bytes.ok_or_else(|| unusable("there is no weir.json in it".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| unusable(format!("weir.json: {error}")))
}

/// The models to prove: those that have a log, and those that must have had one. Also what is no model.
async fn models(
    store: &Store,
    options: &VerifyOptions,
) -> Result<(BTreeSet<ModelName>, Vec<String>), StoreError> {
    if let Some(model) = &options.model {
        return Ok((BTreeSet::from([model.clone()]), Vec::new()));
    }
    let mut models: BTreeSet<ModelName> =
        options.anchors.iter().filter_map(|anchor| anchor.model.clone()).collect();
    let mut strangers = Vec::new();
    for name in history::folders(store).await? {
        match name.parse() {
            Ok(model) => drop(models.insert(model)),
            Err(_) => strangers.push(name),
        }
    }
    let failed = |error| StoreError::io("heads", error);
    let hints: Vec<_> = store.raw().list(Some(&Path::from("heads"))).try_collect().await.map_err(failed)?;
    models.extend(hints.iter().filter_map(|hint| hint.location.filename()?.parse().ok()));
    Ok((models, strangers))
}

/// The ends of all logs, and of the keys' log.
///
/// # Errors
/// [`RegistryError`]; also when a log is damaged, which should not be anchored.
pub async fn anchors(registry: &Registry) -> Result<Vec<Anchor>, RegistryError> {
    let id = registry.info().registry_id;
    let mut ring = KeyRing::default();
    ring.refresh(registry.store()).await?;
    let mut anchors = Vec::new();
    if ring.number > 0 {
        anchors.push(Anchor { registry: id, model: None, rev: ring.number, hash: ring.head });
    }
    for model in history::models(registry.store()).await? {
        let state = history::whole(registry, &model).await?;
        if state.rev > 0 {
            let hash = state.head.clone();
            anchors.push(Anchor { registry: id, model: Some(model), rev: state.rev, hash });
        }
    }
    Ok(anchors)
}

/// The newest revision of every model, for a record of keys.
///
/// # Errors
/// As [`anchors`].
pub async fn heads(registry: &Registry) -> Result<BTreeMap<ModelName, u64>, RegistryError> {
    let mut heads = BTreeMap::new();
    for model in history::models(registry.store()).await? {
        let rev = history::whole(registry, &model).await?.rev;
        heads.insert(model, rev);
    }
    Ok(heads)
}

#[cfg(test)]
mod tests;
