//! Fetches the files of wanted versions into the cache, beside the follower's task, and tells it of each.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::model::{ModelName, Version};
use crate::registry::cache::Cache;
use crate::registry::{ModelState, Store, VersionRecord};

/// Messages of fetches that may wait.
const FETCHED_MAX: usize = 256;

/// Where fetches tell, and the follower listens.
pub(super) fn fetched_channel() -> (mpsc::Sender<Fetched>, mpsc::Receiver<Fetched>) {
    mpsc::channel(FETCHED_MAX)
}

/// A fetch has come somewhere.
pub(super) struct Fetched {
    pub(super) model: ModelName,
    pub(super) fetch: u64,
    /// What could not be had; `None` while it goes on.
    pub(super) errors: Option<BTreeMap<Version, String>>,
}

/// Fetches the files of versions.
pub(super) struct Fetch {
    pub(super) model: ModelName,
    pub(super) fetch: u64,
    pub(super) versions: Vec<Version>,
    pub(super) state: Arc<ModelState>,
    pub(super) store: Option<Store>,
    pub(super) cache: Arc<Cache>,
}

impl Fetch {
    /// Fetches one version after the other, and tells of each. After a panic none could be had, so that it is tried again.
    pub(super) async fn run(self, tell: mpsc::Sender<Fetched>) {
        if AssertUnwindSafe(self.fetch_all(&tell)).catch_unwind().await.is_err() {
            let reason = "internal error".to_owned();
            self.tell(&tell, Some(self.versions.iter().map(|version| (*version, reason.clone())).collect()))
                .await;
        }
    }

    async fn fetch_all(&self, tell: &mpsc::Sender<Fetched>) {
        let mut errors = BTreeMap::new();
        for version in &self.versions {
            let record: Option<&VersionRecord> = self.state.versions.get(version).map(|state| &state.record);
            let Some(record) = record else { continue };
            match self.cache.ensure(self.store.as_ref(), &self.model, *version, record).await {
                Ok(_) => self.tell(tell, None).await,
                Err(error) => {
                    errors.insert(*version, crate::error::Coded::public_message(&error));
                }
            }
        }
        self.tell(tell, Some(errors)).await;
    }

    async fn tell(&self, tell: &mpsc::Sender<Fetched>, errors: Option<BTreeMap<Version, String>>) {
        let message = Fetched { model: self.model.clone(), fetch: self.fetch, errors };
        // The follower has ended: nobody waits for it.
        tell.send(message).await.ok();
    }
}
