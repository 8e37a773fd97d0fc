//! When what failed for a reason of the moment, a device without room or a machine too busy, is tried again: after pauses
//! that grow, the newest deployment and then those before it, as a refresh does. A deployment that is at fault itself waits
//! for the next.

use std::time::{Duration, Instant};

use super::tracked::Tracked;
use crate::registry::Health;
use crate::serving::{DeployedStatus, Retry};

/// What is known of failures since the last try.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Counts the tries, so that the manager knows a new one.
    pub(super) tries: u64,
    /// Something failed that may load another time: the newest deployment, or one that was tried instead.
    may_pass: bool,
    retry: Option<Retry>,
    is_waiting: bool,
}

impl Again {
    /// What is wanted has changed, or somebody had all of it tried: the pauses begin anew.
    pub(super) fn reset(&mut self) {
        *self = Again { tries: self.tries, ..Again::default() };
    }
}

impl Tracked {
    /// Takes the next step, if one is due: everything again, or an earlier deployment. `pauses` are the first and the longest
    /// between two tries of everything. True when an order is due.
    pub(super) fn step(
        &mut self,
        deployment: &str,
        now: Instant,
        status: Option<&DeployedStatus>,
        pauses: (Duration, Duration),
    ) -> bool {
        // In this order, so that it is noted why a deployment failed before the search goes on to the one before.
        self.try_again(now, status, pauses) || self.reroute(deployment, status)
    }

    /// Begins another try of everything, if one is due.
    fn try_again(
        &mut self,
        now: Instant,
        status: Option<&DeployedStatus>,
        pauses: (Duration, Duration),
    ) -> bool {
        let (health, error) = self.stands(status);
        let again = &mut self.again;
        again.may_pass |= status.is_some_and(|status| status.may_pass);
        match health {
            Health::Loading => return false,
            Health::Ok => {
                again.reset();
                return false;
            }
            // The search among earlier deployments comes to its end first.
            _ if !again.may_pass || self.detours.now.is_some() => return false,
            Health::Degraded | Health::Failed => {}
        }
        if !again.is_waiting {
            again.is_waiting = true;
            again.retry = Some(Retry::after(again.retry, pauses, now));
        }
        if again.retry.is_some_and(|retry| retry.at() > now) {
            return false;
        }
        again.tries += 1;
        (again.is_waiting, again.may_pass) = (false, false);
        self.detours.reset();
        let error = error.unwrap_or_default();
        tracing::info!(model = %self.state.model, error, "what failed for a reason of the moment is tried again");
        true
    }
}
