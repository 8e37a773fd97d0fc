//! Everything the server knows of, served or not: the repository index, and with it what "ready" means.
//!
//! The manager writes it when a version changes its state; index requests and requests that miss the table read it.
//! No request that finds its version comes here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{IndexEntry, ServableState};
use crate::model::{ModelId, ModelName, Version};

/// What is known of every model and version.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    models: Mutex<BTreeMap<ModelName, Entry>>,
    /// Every required model is served. Kept here so that a readiness check is one load.
    ready: AtomicBool,
    /// What is to be served is not known yet.
    held: AtomicBool,
}

/// What is known of one model.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Whether the server is ready only while the model is served.
    pub(super) required: bool,
    /// Its versions.
    pub(super) versions: BTreeMap<Version, Status>,
    /// Why it has no versions, when it has none.
    pub(super) reason: String,
}

/// What is known of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// Where it is in its life.
    pub(super) state: ServableState,
    /// Why it is not available, or why a newer load of it is not.
    pub(super) reason: String,
    /// Which load of the version this is about.
    pub(super) serial: u64,
}

impl Status {
    /// A version that has ended, or never began.
    pub(super) fn ended(reason: impl Into<String>) -> Status {
        Status { state: ServableState::End, reason: reason.into(), serial: 0 }
    }
}

impl Catalog {
    /// Replaces what is known of `model`; `None` forgets it.
    pub(super) fn set(&self, model: &ModelName, entry: Option<Entry>) {
        let mut models = self.models.lock();
        match entry {
            Some(entry) => models.insert(model.clone(), entry),
            None => models.remove(&**model),
        };
    }

    /// A load of a version that is not served has come to `state`. States only move forward within one load; a load
    /// with a new serial number starts anew. While an older load of the version is served, that is its state.
    pub(super) fn advance(&self, id: &ModelId, serial: u64, state: ServableState) {
        let mut models = self.models.lock();
        let versions = &mut models.entry(id.name.clone()).or_default().versions;
        let status = versions.entry(id.version).or_insert_with(|| Status::ended(""));
        if status.state == ServableState::Available {
            return;
        }
        debug_assert!(status.serial < serial || (status.serial == serial && status.state <= state));
        *status = Status { state, reason: String::new(), serial };
    }

    /// A version was dropped by its last request.
    pub(super) fn ended(&self, id: &ModelId, serial: u64) {
        let mut models = self.models.lock();
        let status = models.get_mut(&*id.name).and_then(|entry| entry.versions.get_mut(&id.version));
        if let Some(status) = status.filter(|status| status.serial == serial)
            && status.state == ServableState::Draining
        {
            status.state = ServableState::End;
        }
    }

    /// What is known of `model`.
    pub(super) fn get(&self, model: &str) -> Option<Entry> {
        self.models.lock().get(model).cloned()
    }

    /// The index: every known version, by name and number.
    pub(super) fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        let models = self.models.lock();
        let mut index = Vec::new();
        for (name, entry) in &*models {
            if entry.versions.is_empty() && !ready_only {
                index.push(IndexEntry {
                    name: name.clone(),
                    version: None,
                    state: ServableState::End,
                    reason: entry.reason.clone(),
                });
            }
            for (&version, status) in &entry.versions {
                if !ready_only || status.state == ServableState::Available {
                    index.push(IndexEntry {
                        name: name.clone(),
                        version: Some(version),
                        state: status.state,
                        reason: status.reason.clone(),
                    });
                }
            }
        }
        index
    }

    /// Decides readiness anew: every required model has an available version. Called by the manager after its first
    /// scan and after every change, so before the first scan nothing is ready.
    pub(super) fn decide_ready(&self) {
        let ready = self.models.lock().values().filter(|entry| entry.required).all(Entry::is_served);
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether every required model is served.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.held.load(Ordering::Acquire)
    }

    /// Nothing is ready for as long as it is held.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }
}

impl Entry {
    /// Whether any version is available.
    pub(super) fn is_served(&self) -> bool {
        self.versions.values().any(|status| status.state == ServableState::Available)
    }

    /// In one line, why no version is available.
    pub(super) fn unavailable_reason(&self) -> String {
        let newest = self.versions.iter().next_back();
        match newest {
            Some((version, status)) if status.reason.is_empty() => {
                format!("version {version} is {}", status.state.as_index_state())
            }
            Some((version, status)) => format!("version {version}: {}", status.reason),
            None => self.reason.clone(),
        }
    }
}
