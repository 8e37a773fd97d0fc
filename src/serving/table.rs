//! What is served now: names, versions and the default version. Immutable once published; the engine holds it in one
//! `ArcSwap`, and every change is a new table and one store.

use std::collections::HashMap;
use std::sync::Arc;

use super::Servable;
use crate::model::{ModelName, Version};

/// Names to their served versions.
#[derive(Debug, Default, Clone)]
pub(super) struct ServingTable {
    models: HashMap<ModelName, Arc<ServedModel>>,
}

/// The served versions of one model; never empty.
#[derive(Debug)]
pub(super) struct ServedModel {
    /// Ascending by version; the last is the default.
    versions: Vec<Arc<Servable>>,
}

/// Why the table has no answer. Says nothing about versions that are loading or failed: the catalog knows those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// No version of the model is served.
    Model,
    /// Others are, but not this one.
    Version,
}

impl ServingTable {
    /// The version that a request goes to. An empty `version` is the default: the highest number. Allocates nothing.
    pub(super) fn route(&self, model: &str, version: &str) -> Result<&Arc<Servable>, Miss> {
        let served = self.models.get(model).ok_or(Miss::Model)?;
        if version.is_empty() {
            return served.versions.last().ok_or(Miss::Model);
        }
        let number: Version = version.parse().map_err(|_| Miss::Version)?;
        served.versions.iter().find(|servable| servable.id.version == number).ok_or(Miss::Version)
    }

    /// The served versions of `model`, ascending; empty when none is.
    pub(super) fn versions(&self, model: &str) -> &[Arc<Servable>] {
        self.models.get(model).map_or(&[], |served| &served.versions)
    }

    /// Everything that is served, by name and version.
    pub(super) fn all(&self) -> Vec<Arc<Servable>> {
        let mut all: Vec<_> =
            self.models.values().flat_map(|served| served.versions.iter().cloned()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// A table that serves exactly `versions` of `model`; an empty list takes the model away.
    pub(super) fn with_model(&self, model: &ModelName, mut versions: Vec<Arc<Servable>>) -> ServingTable {
        versions.sort_by_key(|servable| servable.id.version);
        debug_assert!(versions.windows(2).all(|pair| pair[0].id.version < pair[1].id.version));
        let mut models = self.models.clone();
        if versions.is_empty() {
            models.remove(&**model);
        } else {
            models.insert(model.clone(), Arc::new(ServedModel { versions }));
        }
        ServingTable { models }
    }
}
