//! What *ought* to be: each model's history as a log of numbered, immutable revisions on an object store.
//!
//! ```text
//!  operation (ops/) ──► plan: ModelState -> Vec<Op>, or a Refusal ──► Registry::commit ──► models/<name>/log/<rev>.json
//!                            ▲                                            (create only; the loser of a race plans again)
//!                            └────────── ModelState = fold of the log ◄── readers start at a snapshot, replay the tail
//! ```
//!
//! Plans and the fold are functions of values. Only [`store`] and what stands on it does I/O. This module never loads a
//! model, serves a request or looks at a wire format other than its own files (`docs/registry-format.md`).

pub mod op;
pub mod revision;
pub mod record;
pub mod state;
mod apply;
pub mod store;
mod replay;
pub mod snapshot;
mod probe;
mod sweep;
pub mod client;
mod commit;
mod heads;
pub mod ops;
pub mod search;
pub mod view;
pub mod blobs;
pub mod cache;
pub mod leases;
pub mod history;
pub mod gc;
pub mod sign;
pub mod signals;
pub mod cloudevent;
pub mod feed;
pub mod election;
pub mod webhook;
pub mod keys;
pub mod verify;
pub mod audit;
pub mod lineage;
pub mod package;
pub mod error;
#[cfg(test)]
pub(crate) mod sample;

pub use self::blobs::BlobError;
pub use self::cache::Cache;
pub use self::client::{Commit, Observer, Registry, RegistryInfo, RegistryOptions, View};
pub use self::error::{FoldError, LogFault, Refusal, RegistryError, StoreError};
pub use self::heads::Seen;
pub use self::leases::{Health, Lease, LoadedState, ModelLease};
pub use self::op::Op;
pub use self::record::{DeploymentSpec, FileRef, StickyKey, VersionRecord};
pub use self::revision::{Actor, Intent, Revision};
pub use self::state::{ModelState, Moment, VersionState};
pub use self::store::{Store, StoreOptions};

#[cfg(test)]
mod tests;
