//! One look at the registry: is it there, is it the same, which models have new revisions.
//!
//! A directory that was moved away looks like a registry without news: so `weir.json` must be there at every look, and
//! nothing is made where a registry was before.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::FollowConfig;
use crate::model::ModelName;
use crate::registry::cache::{load_info, save_info};
use crate::registry::signals::{Signal, SignalKind};
use crate::registry::{
    FoldError, ModelState, Registry, RegistryError, RegistryInfo, RegistryOptions, Seen, Store, View,
};

/// How long a look may take. Far more than a store needs that can be used.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// What was found of a model.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) model: ModelName,
    /// The newest state that could be verified.
    pub(super) state: Arc<ModelState>,
    /// Why the log cannot be followed any further.
    pub(super) fault: Option<Fault>,
}

/// Where a log cannot be followed any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The first revision that cannot be used.
    pub(super) rev: u64,
    /// Why.
    pub(super) text: String,
    /// It is not damaged: a newer program wrote it.
    pub(super) is_newer: bool,
}

impl Fault {
    /// What everybody should know; nothing where nothing is damaged. Every replica sees the same, so it names none, and is
    /// the same signal that a reader of the events writes.
    pub(super) fn signal(&self) -> Option<Signal> {
        (!self.is_newer).then(|| Signal {
            kind: SignalKind::RegistryIntegrityFailed,
            rev: self.rev,
            deployment: None,
            version: None,
            replica: None,
            time: Utc::now(),
            reason: self.text.clone(),
            detail: serde_json::Map::new(),
        })
    }

    /// Why what was found cannot follow what is known, if it cannot: a log only grows.
    pub(super) fn went_back(known: &ModelState, found: &ModelState) -> Option<Fault> {
        let is_other = found.rev == known.rev && found.head != known.head;
        (found.rev < known.rev || is_other).then(|| Fault {
            rev: if is_other { found.rev } else { found.rev + 1 },
            text: format!("it is at revision {}, and was seen at {} before", found.rev, known.rev),
            is_newer: false,
        })
    }
}

/// The registry as it is looked at.
#[derive(Debug)]
pub(super) struct Looker {
    config: Arc<FollowConfig>,
    registry: Option<Arc<Registry>>,
    /// What was told of each model.
    seen: Seen,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error("the registry does not answer within {} s", LOOK_MAX.as_secs())]
    Late,
    #[error("there is no registry at its place")]
    Gone,
    #[error("another registry is at its place: {found} instead of {expected}")]
    Other { found: String, expected: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Looker {
    pub(super) fn new(config: Arc<FollowConfig>) -> Looker {
        Looker { config, registry: None, seen: Seen::default() }
    }

    /// The registry, once it was reached.
    pub(super) fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// The models that have changed since the last look.
    pub(super) async fn look(&mut self) -> Result<Vec<Found>, LookError> {
        tokio::time::timeout(LOOK_MAX, self.look_at_all()).await.map_err(|_| LookError::Late)?
    }

    async fn look_at_all(&mut self) -> Result<Vec<Found>, LookError> {
        let registry = self.reach().await?;
        let changed = registry.changed(&mut self.seen).await?;
        Ok(changed.into_iter().map(Found::from).collect())
    }

    /// The registry, opened if it was not yet, and found to be the one that it was.
    async fn reach(&mut self) -> Result<Arc<Registry>, LookError> {
        if let Some(registry) = &self.registry {
            registry.check_place().await?;
            return Ok(Arc::clone(registry));
        }
        let config = Arc::clone(&self.config);
        let known = load_info(&config.cache_folder, &config.location);
        if known.is_some() && is_missing_folder(&config.location) {
            return Err(LookError::Gone);
        }
        let store = Store::open(&config.location, &config.store).map_err(RegistryError::from)?;
        if known.is_some() && store.get("weir.json").await.map_err(RegistryError::from)?.is_none() {
            return Err(LookError::Gone);
        }
        let options = RegistryOptions { signer: config.signer.clone(), ..RegistryOptions::default() };
        let registry = Registry::open_with(store, options).await?;
        if let Some(known) = known {
            same(registry.info(), &known)?;
        }
        if let Err(error) = save_info(&config.cache_folder, &config.location, registry.info()) {
            tracing::warn!(%error, "the registry's copies cannot be written: a start without it will not work");
        }
        Ok(Arc::clone(self.registry.insert(Arc::new(registry))))
    }
}

/// Whether `location` is a folder that is not there: opening it would make it.
fn is_missing_folder(location: &str) -> bool {
    !location.contains("://") && !std::path::Path::new(location).join("weir.json").exists()
}

fn same(found: &RegistryInfo, expected: &RegistryInfo) -> Result<(), LookError> {
    if found.registry_id == expected.registry_id {
        return Ok(());
    }
    let (found, expected) = (found.registry_id.to_string(), expected.registry_id.to_string());
    Err(LookError::Other { found, expected })
}

impl From<View> for Found {
    fn from(view: View) -> Found {
        let fault = view.fault.map(|fault| Fault {
            rev: fault.rev,
            text: fault.to_string(),
            is_newer: matches!(fault.source, FoldError::Newer(_)),
        });
        Found { model: view.state.model.clone(), state: view.state, fault }
    }
}
