//! The way from a finished request into the monitor's queue: a few atomics, never a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Monitor;
use crate::drift::metrics::Dropped;
use crate::infer::{
    Acknowledgement, Attention, Full, Observation, ObservationQueue, Tap, TapSource, TappedVersion,
};
use crate::model::ModelId;

/// Makes taps for `serving`.
#[derive(Debug, Clone)]
pub struct DriftTaps(pub Arc<Monitor>);

impl TapSource for DriftTaps {
    fn tap(&self, version: &TappedVersion, _folder: Option<&std::path::Path>) -> Option<Arc<dyn Tap>> {
        self.0.tap(version)
    }
}

/// One version's way into the queue.
#[derive(Debug)]
pub(super) struct DriftTap {
    pub(super) queue: Arc<ObservationQueue<Arc<ModelId>>>,
    pub(super) dropped: Dropped,
    pub(super) id: Arc<ModelId>,
    pub(super) active: Arc<AtomicBool>,
    /// Says that the version is loaded.
    pub(super) _token: Arc<()>,
}

impl Tap for DriftTap {
    fn attention(&self) -> Attention {
        match self.active.load(Ordering::Relaxed) {
            false => Attention::None,
            true if self.queue.full().is_some() => Attention::Full,
            true => Attention::Open,
        }
    }

    fn skip(&self, rows: usize) {
        if self.active.load(Ordering::Relaxed) {
            self.dropped.count(self.queue.full().unwrap_or(Full::Rows), rows);
        }
    }

    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement> {
        if let Err(full) = self.queue.push(Arc::clone(&self.id), observation) {
            self.dropped.count(full, observation.rows);
        }
        None
    }
}
