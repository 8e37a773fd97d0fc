//! Two taps as one.

use std::sync::Arc;

use crate::infer::{Acknowledgement, Attention, Observation, Tap};

/// Capture and drift, which do not know each other.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) capture: Arc<dyn Tap>,
    pub(super) drift: Arc<dyn Tap>,
}

impl Tap for Both {
    fn attention(&self) -> Attention {
        match self.drift.attention() {
            Attention::Open => Attention::Open,
            less => less.max(self.capture.attention()),
        }
    }

    fn skip(&self, rows: usize) {
        self.drift.skip(rows);
        self.capture.skip(rows);
    }

    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement> {
        if self.drift.attention() != Attention::None {
            // Drift promises nothing that could be waited for.
            drop(self.drift.observe(observation));
        }
        if self.capture.attention() == Attention::None { None } else { self.capture.observe(observation) }
    }
}
