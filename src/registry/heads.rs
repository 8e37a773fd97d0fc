//! `heads/<name>`: hints that a model's log has reached a revision, so that one listing finds what has changed.
//!
//! Hints are overwritten without any order and may be late, lost or old. So they never decide anything: a change is
//! confirmed by reading the next revision, and a few models are looked at in turn although nothing hints at a change.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::client::{Registry, View};
use super::error::{RegistryError, StoreError};
use super::store::Store;
use crate::model::ModelName;

const FOLDER: &str = "heads";

/// Models that are read at once.
const READS_MAX: usize = 32;

/// Models that each [`Registry::changed`] looks at although nothing hints at a change.
const UNHINTED_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Hint {
    rev: u64,
}

/// What one reader of [`Registry::changed`] has been told.
#[derive(Debug, Default)]
pub struct Seen {
    /// The hints' tags when they were followed.
    tags: BTreeMap<ModelName, String>,
    /// What was told of each model: its revision, and the revision that cannot be used.
    told: BTreeMap<ModelName, (u64, Option<u64>)>,
    /// Up to where models were looked at in turn.
    turn: Option<ModelName>,
}

fn key(model: &str) -> String {
    format!("{FOLDER}/{model}")
}

/// A revision of `model` that was written; `None` when nothing says so.
pub(super) async fn read(store: &Store, model: &str) -> Result<Option<u64>, StoreError> {
    let bytes = store.get(&key(model)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(|hint: Hint| hint.rev))
}

/// Hints that `model` has reached `rev`.
pub(super) async fn write(store: &Store, model: &str, rev: u64) -> Result<(), StoreError> {
    store.overwrite_derived(&key(model), Bytes::from(format!("{{\"rev\":{rev}}}\n"))).await
}

/// What changes whenever the object does.
fn tag(meta: &ObjectMeta) -> String {
    let time = meta.last_modified.timestamp_micros();
    format!("{}/{}/{time}", meta.e_tag.as_deref().unwrap_or_default(), meta.size)
}

impl Registry {
    /// The names of all models that have a log, deleted ones included, in order. A name whose first change was never
    /// finished may be among them; its state is at revision 0.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub async fn models(&self) -> Result<Vec<ModelName>, RegistryError> {
        let names = self.store().list_folders("models").await?;
        let mut names: Vec<ModelName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Every model that has a revision, in the order of their names. Reads many at once.
    ///
    /// # Errors
    /// [`RegistryError::Store`], for the first that cannot be read.
    pub async fn all(&self) -> Result<Vec<View>, RegistryError> {
        let mut views = Vec::new();
        let models = self.models().await?;
        let mut reads = stream::iter(models).map(|model| self.view_owned(model)).buffered(READS_MAX);
        while let Some((_, view)) = reads.next().await {
            views.push(view?);
        }
        views.retain(|view| view.state.rev > 0 || view.fault.is_some());
        Ok(views)
    }

    /// The models that `seen` has not been told of at their present revision: the first call returns all of them. Costs
    /// one listing, and a read for each model that may have changed.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when the store cannot be listed, or nothing that may have changed can be read. What
    /// could not be read is tried again by the next call.
    pub async fn changed(&self, seen: &mut Seen) -> Result<Vec<View>, RegistryError> {
        let mut tags = BTreeMap::new();
        for meta in self.store().list(FOLDER).await? {
            if let Some(model) = meta.location.filename().and_then(|name| name.parse::<ModelName>().ok()) {
                tags.insert(model, tag(&meta));
            }
        }
        let mut due: BTreeSet<ModelName> = BTreeSet::new();
        due.extend(
            tags.iter().filter(|(model, tag)| seen.tags.get(*model) != Some(*tag)).map(|(m, _)| m.clone()),
        );
        due.extend(seen.next_in_turn());
        let mut found = Vec::new();
        let mut failed = None;
        let mut read = 0_usize;
        let mut reads = stream::iter(due).map(|model| self.view_owned(model)).buffered(READS_MAX);
        while let Some((model, view)) = reads.next().await {
            match view {
                Ok(view) => {
                    read += 1;
                    if let Some(tag) = tags.remove(&model) {
                        seen.tags.insert(model.clone(), tag);
                    }
                    if seen.tell(&model, &view) {
                        found.push(view);
                    }
                }
                Err(error) => failed = Some((model, error)),
            }
        }
        match failed {
            Some((_, error)) if read == 0 => Err(error),
            Some((model, error)) => {
                tracing::warn!(%model, %error, "the model's log cannot be read; it is tried again");
                Ok(found)
            }
            None => Ok(found),
        }
    }

    async fn view_owned(&self, model: ModelName) -> (ModelName, Result<View, RegistryError>) {
        let view = self.view(&model).await;
        (model, view)
    }
}

impl Seen {
    /// A few known models, others each time.
    fn next_in_turn(&mut self) -> Vec<ModelName> {
        use std::ops::Bound;
        let from = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.told.range((from, Bound::Unbounded)).map(|(model, _)| model.clone());
        let due: Vec<ModelName> = after.take(UNHINTED_MAX).collect();
        // At the end the turn starts over.
        self.turn = (due.len() == UNHINTED_MAX).then(|| due.last().cloned()).flatten();
        due
    }

    /// Notes what is told; false when it was told before.
    fn tell(&mut self, model: &ModelName, view: &View) -> bool {
        let now = (view.state.rev, view.fault.as_ref().map(|fault| fault.rev));
        let before = self.told.insert(model.clone(), now);
        before.unwrap_or_default() != now
    }
}
