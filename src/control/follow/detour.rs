//! What is served where the deployment does not load and nothing of the model is served: a server that starts with a
//! deployment that is broken falls back to the newest one before it that loads.
//!
//! ```text
//!  failed, nothing served ──► order the one before ──► served ──► order the newest again; what is served stays
//!           ▲                         │ does not load                when it fails again
//!           └───── the one before that ◄┘
//! ```

use super::plan::{Wanted, wanted_before};
use super::tracked::Tracked;
use crate::registry::Health;
use crate::serving::DeployedStatus;

/// An earlier deployment that is tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detour {
    pub(super) wanted: Wanted,
    /// How many deployments ago it was.
    back: usize,
}

/// Where the search for an earlier deployment stands.
#[derive(Debug, Default)]
pub(super) struct Detours {
    /// The one that is tried now.
    pub(super) now: Option<Detour>,
    /// The revision of the one that was found to load, for as long as the newest does not.
    pub(super) found: Option<u64>,
    /// None of them loads, or there is none.
    is_exhausted: bool,
}

impl Detours {
    /// Something may have changed: every one may be tried again.
    pub(super) fn reset(&mut self) {
        *self = Detours { found: self.found, ..Detours::default() };
    }
}

impl Tracked {
    /// Takes the next step, if one is due. True when another order is.
    pub(super) fn reroute(&mut self, deployment: &str, status: Option<&DeployedStatus>) -> bool {
        let (health, error) = self.stands(status);
        let next = match &self.detours.now {
            Some(detour) => {
                let rev = detour.wanted.rev;
                if status.is_some_and(|status| status.is_current && status.served == Some(rev)) {
                    tracing::warn!(model = %self.state.model, rev, "an earlier deployment is served");
                    self.detours = Detours { found: Some(rev), ..Detours::default() };
                    self.forget_files();
                    return true;
                }
                detour.back + 1
            }
            None if self.detours.is_exhausted || self.refused.is_some() => return false,
            None => 0,
        };
        if health != Health::Failed {
            return false;
        }
        let error = error.unwrap_or_default();
        let found = wanted_before(&self.state, deployment, next);
        self.detours.is_exhausted = found.is_none();
        self.detours.now = found.map(|(back, wanted)| Detour { wanted, back });
        self.forget_files();
        match &self.detours.now {
            Some(detour) => {
                let rev = detour.wanted.rev;
                tracing::error!(model = %self.state.model, error, rev, "the deployment is not served; the one before is tried");
            }
            None => {
                tracing::error!(model = %self.state.model, error, "no deployment of the model can be served");
            }
        }
        true
    }
}
