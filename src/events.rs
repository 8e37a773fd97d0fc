//! What has happened to models: a bounded broadcast that nobody has to listen to.
//!
//! Sending never blocks and never fails: a listener that falls behind loses the oldest events and is told how many.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::model::{ModelId, ModelName, Version};

/// Events that a slow listener may be behind before it loses some.
const BACKLOG: usize = 1024;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A version is loaded and warmed; it is not served yet.
    Loaded {
        /// Which one.
        id: ModelId,
        /// How long that took.
        took: Duration,
    },
    /// A version could not be loaded. What was served before is served still.
    LoadFailed {
        /// Which one.
        id: ModelId,
        /// Why.
        reason: String,
    },
    /// The version that requests without a version go to has changed.
    Swapped {
        /// The model.
        model: ModelName,
        /// The old default; `None` when there was none.
        from: Option<Version>,
        /// The new default; `None` when the model is served no more.
        to: Option<Version>,
    },
    /// A version takes no more requests.
    Unloaded {
        /// Which one.
        id: ModelId,
    },
    /// The last request of an unloaded version has ended, and its memory is free.
    Freed {
        /// Which one.
        id: ModelId,
    },
}

/// Hands events to whoever listens.
#[derive(Debug, Clone)]
pub struct EventBus {
    tx: broadcast::Sender<Event>,
}

impl Default for EventBus {
    fn default() -> Self {
        EventBus::new()
    }
}

impl EventBus {
    /// A bus without listeners.
    pub fn new() -> EventBus {
        EventBus { tx: broadcast::Sender::new(BACKLOG) }
    }

    /// Tells every listener.
    pub fn send(&self, event: Event) {
        // An error only says that nobody listens.
        self.tx.send(event).ok();
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.tx.subscribe()
    }
}
