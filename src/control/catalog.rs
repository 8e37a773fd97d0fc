//! Search through this server: an index of every model in memory, which follows the registry.
//!
//! Whoever searches brings it up to date first, at most once in a while: one listing of the registry, and a read of each
//! model that changed. What was changed through this server is found at once. The index holds nothing that the logs do
//! not, so it is made anew at every start.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::registry::search::{Index, Page, Search};
use crate::registry::{ModelState, Refusal, Registry, RegistryError, Seen};

/// How old the index may be when it answers.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The index and what it knows.
#[derive(Debug)]
pub(super) struct Catalog {
    registry: Arc<Registry>,
    index: Mutex<Index>,
    /// One at a time brings the index up to date; whoever comes meanwhile waits for that.
    following: tokio::sync::Mutex<Following>,
}

#[derive(Debug, Default)]
struct Following {
    seen: Seen,
    /// When the registry was last looked at.
    looked: Option<Instant>,
}

impl Catalog {
    pub(super) fn new(registry: Arc<Registry>) -> Catalog {
        Catalog { registry, index: Mutex::default(), following: tokio::sync::Mutex::default() }
    }

    /// Puts in what was changed through this server, unless it knows of more.
    pub(super) fn adopt(&self, state: &Arc<ModelState>) {
        let mut index = self.index.lock();
        if index.state(&state.model).is_none_or(|known| known.rev < state.rev) {
            index.update(state);
        }
    }

    async fn follow(&self) -> Result<(), RegistryError> {
        let mut following = self.following.lock().await;
        if following.looked.is_some_and(|looked| looked.elapsed() < AGE_MAX) {
            return Ok(());
        }
        let looked = Instant::now();
        for view in self.registry.changed(&mut following.seen).await? {
            self.adopt(&view.state);
        }
        following.looked = Some(looked);
        Ok(())
    }

    /// A page, and the states of the models on it.
    pub(super) async fn search(
        &self,
        search: &Search<'_>,
        now: DateTime<Utc>,
    ) -> Result<(Page, Vec<Arc<ModelState>>), RegistryError> {
        self.follow().await?;
        let index = self.index.lock();
        let page: Result<Page, Refusal> = index.page(search, now);
        let page = page?;
        let states = page.found.iter().filter_map(|key| index.state(&key.model).cloned()).collect();
        Ok((page, states))
    }
}
