//! The metric families of webhooks, and the handles of one.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{MetricsError, Registry};

/// The families; one of each in the process. Their label is bounded by the number of subscriptions.
#[derive(Debug, Clone)]
pub struct WebhookMetrics {
    delivered: IntCounterVec,
    backlog: IntGaugeVec,
    dead: IntCounterVec,
}

impl WebhookMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn register(registry: &Registry) -> Result<WebhookMetrics, MetricsError> {
        Ok(WebhookMetrics {
            delivered: registry.counters(
                "weir_events_delivered_total",
                "Attempts to deliver an event to a webhook, by how they ended",
                &["webhook", "result"],
            )?,
            backlog: registry.int_gauges(
                "weir_events_backlog",
                "Events that were read for a webhook and are not delivered yet",
                &["webhook"],
            )?,
            dead: registry.counters(
                "weir_events_dead_letters_total",
                "Events that were given up for a webhook",
                &["webhook"],
            )?,
        })
    }

    /// The handles of the webhook `name`.
    pub(super) fn of(&self, name: &str) -> Handles {
        Handles {
            delivered: self.delivered.with_label_values(&[name, "delivered"]),
            failed: self.delivered.with_label_values(&[name, "failed"]),
            backlog: self.backlog.with_label_values(&[name]),
            dead: self.dead.with_label_values(&[name]),
        }
    }
}

/// The handles of one webhook.
#[derive(Debug, Clone)]
pub(super) struct Handles {
    pub(super) delivered: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) backlog: IntGauge,
    pub(super) dead: IntCounter,
}
