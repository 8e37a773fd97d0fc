//! The metric families of following a registry. Models are labels only while the registry has them served here.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use crate::metrics::{MetricsError, Registry};

/// Most models that have series of their own.
const MODELS_MAX: usize = 2_000;

/// The families.
#[derive(Debug, Clone)]
pub(super) struct FollowMetrics {
    staleness: GaugeVec,
    looks: IntCounterVec,
    revision: IntGaugeVec,
    not_served: IntGaugeVec,
    faults: IntGaugeVec,
}

impl FollowMetrics {
    pub(super) fn register(registry: &Registry) -> Result<FollowMetrics, MetricsError> {
        Ok(FollowMetrics {
            staleness: registry.gauges(
                "weir_registry_staleness_seconds",
                "Time since the registry was last seen whole",
                &[],
            )?,
            looks: registry.counters(
                "weir_registry_looks_total",
                "Looks at the registry, by outcome",
                &["outcome"],
            )?,
            revision: registry.int_gauges(
                "weir_registry_revision",
                "The revision of the model that is followed",
                &["model"],
            )?,
            not_served: registry.int_gauges(
                "weir_registry_not_served",
                "Whether the model's newest deployment could not be served",
                &["model"],
            )?,
            faults: registry.int_gauges(
                "weir_registry_damaged_models",
                "Models whose log cannot be verified any further, so that their last verified state is served",
                &[],
            )?,
        })
    }

    pub(super) fn looked(&self, is_ok: bool) {
        self.looks.with_label_values(&[if is_ok { "ok" } else { "failed" }]).inc();
    }

    pub(super) fn stale(&self, age: Duration) {
        self.staleness.with_label_values::<&str>(&[]).set(age.as_secs_f64());
    }

    pub(super) fn damaged(&self, models: usize) {
        self.faults.with_label_values::<&str>(&[]).set(i64::try_from(models).unwrap_or(i64::MAX));
    }

    /// Shows a model, the `index`-th of those that are followed.
    pub(super) fn model(&self, index: usize, model: &str, rev: u64, is_served: bool) {
        if index < MODELS_MAX {
            self.revision.with_label_values(&[model]).set(i64::try_from(rev).unwrap_or(i64::MAX));
            self.not_served.with_label_values(&[model]).set(i64::from(!is_served));
        }
    }

    pub(super) fn forget(&self, model: &str) {
        // An error only says that the series was never made.
        self.revision.remove_label_values(&[model]).ok();
        self.not_served.remove_label_values(&[model]).ok();
    }
}
