//! Drift: whether what a version is sent and what it answers still looks like its baseline.
//!
//! ```text
//! training data ──► table ──► profile ──► Baseline (registered with the version, or learned from live traffic)
//! Observation ──► Monitor (bounded queue, one thread) ──► profile of the current pane ──► panes (mergeable, on disk)
//!                                                                    │
//!              Baseline + panes of a window ──► distance/* ──► decide (effect, significance, hysteresis) ──► DriftReport
//! ```
//!
//! Everything between bytes and a [`report::DriftReport`] is pure: profiles are values that merge in any order, distances
//! are functions of two profiles, decisions are functions of distances and of the state before. Only `monitor` has a
//! thread, only `panes` touches files, and only `share` a store. The same code serves the live server and `weir drift` on two files.
//!
//! It never changes an answer, never blocks a request, and never says `ok` of what it has seen too little of.

pub mod profile;
pub mod baseline;
pub mod builder;
mod format;
pub mod distance;
pub mod report;
pub mod render;
pub mod table;
pub mod offline;
pub mod decide;
pub mod config;
pub mod pane;
mod metrics;
pub mod monitor;
pub mod share;
pub mod detect;
pub mod mmd;
pub mod embedding;
pub mod performance;
pub mod presets;

#[cfg(test)]
mod golden;

pub use self::format::FormatError;
