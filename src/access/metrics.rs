//! What access counts.

use prometheus::IntCounterVec;

use crate::metrics::{MetricsError, Registry};

/// Handles to the families.
#[derive(Debug)]
pub(super) struct AccessMetrics {
    failures: IntCounterVec,
}

impl AccessMetrics {
    pub(super) fn new(registry: &Registry) -> Result<AccessMetrics, MetricsError> {
        let failures = registry.counters(
            "weir_auth_failures_total",
            "Requests whose credentials were refused.",
            &["reason"],
        )?;
        Ok(AccessMetrics { failures })
    }

    /// Counts a refusal. Not on the path of requests that are let in.
    pub(super) fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}
