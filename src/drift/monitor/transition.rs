//! What changed, for events.

use crate::drift::report::{DriftState, FeatureReport};
use crate::model::ModelId;

/// Which requests a profile is of. A canary's requests are chosen for it, so they are looked at apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Champion, default and named.
    Main,
    /// Canary.
    Canary,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 2] = [Lane::Main, Lane::Canary];

    /// The word in paths, events and queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Main => "main",
            Lane::Canary => "canary",
        }
    }
}

/// A feature's state, or a version's, has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Model and version.
    pub id: ModelId,
    /// Of which requests.
    pub lane: Lane,
    /// The feature; `None` for the version as a whole, whose state is that of its worst feature.
    pub feature: Option<String>,
    /// The state before.
    pub from: DriftState,
    /// The state now.
    pub to: DriftState,
    /// Why; for a whole version, which features are to blame.
    pub reason: String,
    /// When, in microseconds since 1970.
    pub time_us: i64,
    /// The feature's report over the window that speaks loudest, without its bins.
    pub report: Option<FeatureReport>,
}

impl Transition {
    /// Whether it is worth an event: a feature that is merely better known now is not.
    pub(super) fn is_news(&self) -> bool {
        let is_bad = |state| state >= DriftState::Warn;
        self.from != self.to && (self.feature.is_none() || is_bad(self.from) || is_bad(self.to))
    }
}
