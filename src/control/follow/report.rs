//! The replica's lease: written beside everything else, one write at a time, and removed at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::FollowConfig;
use crate::model::ModelName;
use crate::registry::leases::{self, LEASE_LITTER};
use crate::registry::{Lease, ModelLease, Registry, RegistryError};
use crate::serving::Engine;

/// How long a write may take.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Leases that are written between two looks for those that nobody removed.
const LITTER_EVERY: u64 = 900;

/// Writes leases.
pub(super) struct Reporter {
    config: Arc<FollowConfig>,
    engine: Arc<Engine>,
    started: DateTime<Utc>,
    epoch: u64,
    /// The last write.
    writing: Option<JoinHandle<()>>,
}

impl Reporter {
    pub(super) fn new(config: Arc<FollowConfig>, engine: Arc<Engine>) -> Reporter {
        Reporter { config, engine, started: Utc::now(), epoch: 0, writing: None }
    }

    /// Writes what has come of `models`, unless a write is under way: the next one says it then.
    pub(super) fn report(&mut self, registry: &Arc<Registry>, models: BTreeMap<ModelName, ModelLease>) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.epoch += 1;
        let lease = Lease {
            replica: self.config.replica.clone(),
            deployment: self.config.deployment.clone(),
            url: self.config.url.clone(),
            started: self.started,
            refreshed: Utc::now(),
            epoch: self.epoch,
            ready: self.engine.is_ready(),
            models,
        };
        let registry = Arc::clone(registry);
        self.writing = Some(tokio::spawn(async move {
            match tokio::time::timeout(WRITE_MAX, write(&registry, &lease)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be written"),
                Err(_) => tracing::warn!("the lease cannot be written in time"),
            }
        }));
    }

    /// Removes the lease.
    pub(super) async fn end(mut self, registry: Option<&Arc<Registry>>) {
        if let Some(writing) = self.writing.take() {
            writing.await.ok();
        }
        let Some(registry) = registry else { return };
        if let Err(error) = leases::remove(registry.store(), &self.config.replica).await {
            tracing::warn!(%error, "the lease cannot be removed; it expires by itself");
        }
    }
}

/// Writes the lease, if the registry is still there: a folder that was moved away must not be made anew.
async fn write(registry: &Registry, lease: &Lease) -> Result<(), RegistryError> {
    registry.check_place().await?;
    let store = registry.store();
    leases::write(store, lease).await?;
    if lease.epoch % LITTER_EVERY == 1 {
        let now = Utc::now();
        for old in leases::read_all(store).await?.iter().filter(|old| old.age(now) > LEASE_LITTER) {
            leases::remove(store, &old.replica).await?;
        }
    }
    Ok(())
}
