//! Two taps as one.

use std::sync::Arc;

use crate::infer::{Acknowledgement, Observation, Tap};

/// Capture and drift, which do not know each other.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) capture: Arc<dyn Tap>,
    pub(super) drift: Arc<dyn Tap>,
}

impl Tap for Both {
    fn is_active(&self) -> bool {
        self.capture.is_active() || self.drift.is_active()
    }

    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement> {
        if self.drift.is_active() {
            // Drift promises nothing that could be waited for.
            drop(self.drift.observe(observation));
        }
        if self.capture.is_active() { self.capture.observe(observation) } else { None }
    }
}
