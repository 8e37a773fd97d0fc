//! What *is* served: the table of names and versions, and the one way in.
//!
//! [`Engine::infer`] routes a request by the serving table (one `ArcSwap`), validates it against the version's
//! signature, and hands it to the version's scheduler. Loading, verifying and swapping versions happen on their own
//! threads ([`Manager`]) and end in one pointer store. This module never looks at a wire format.

mod engine;
mod table;
mod split;
mod servable;
mod validate;
mod respond;
mod tapping;
mod classify;
mod gate;
mod metrics;
mod statistics;
mod state;
mod catalog;
mod repository;
mod settings;
mod examine;
mod validator;
mod plan;
mod replay;
mod load;
mod manager;
mod error;
#[cfg(test)]
mod tests;

pub use self::engine::Engine;
pub use self::error::EngineError;
pub use self::manager::{
    DeployedModel, DeployedStatus, DeployedVersion, LoadFailure, LoadRequest, Manager, ManagerConfig,
    ModelControl, NameTaken, RepositoryError, Retry,
};
pub use self::replay::{GoldenFile, Judge, RunOnce};
pub use self::servable::Servable;
pub use self::state::{IndexEntry, ServableState};
pub use self::table::{Routing, SplitKey, SplitKeys};
pub use crate::backend::probe::element_difference;

pub use self::statistics::{BatchStatistics, DurationCount, ModelStatistics};
pub use self::validator::{Candidate, Trial, TrialError, Validate, Validator};
