//! The states of a version; they only move forward.
//!
//! ```text
//! Start -> Loading -> Verifying -> Available -> Draining -> End
//!             \____________\________________________________^   (failed, with a reason)
//! ```

use crate::model::{ModelName, Version};

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServableState {
    /// Seen in the repository.
    Start,
    /// Being opened.
    Loading,
    /// Being probed and warmed.
    Verifying,
    /// Answers requests.
    Available,
    /// Finishes what it was given; takes nothing new.
    Draining,
    /// Gone, or failed.
    End,
}

impl ServableState {
    /// The state in the words of Triton's repository index.
    pub fn as_index_state(self) -> &'static str {
        match self {
            ServableState::Start | ServableState::Loading | ServableState::Verifying => "LOADING",
            ServableState::Available => "READY",
            ServableState::Draining => "UNLOADING",
            ServableState::End => "UNAVAILABLE",
        }
    }
}

/// A line of the repository index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model.
    pub name: ModelName,
    /// The version; `None` for a model that has none.
    pub version: Option<Version>,
    /// Its state.
    pub state: ServableState,
    /// Why it is not available; empty when it is.
    pub reason: String,
}
