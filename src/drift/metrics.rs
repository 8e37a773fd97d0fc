//! The metric families of drift.
//!
//! States are counts; scores are shown for what is not `ok` and for features that are named in the settings, at most
//! [`SCORES_MAX`] a version, and vanish when they no longer apply.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::report::{DriftReport, DriftState};
use crate::infer::Full;
use crate::metrics::{MetricsError, Registry};
use crate::model::ModelId;

/// Most scored features of a version.
const SCORES_MAX: usize = 50;

/// The families; one of each in the process.
#[derive(Debug)]
pub(super) struct DriftMetrics {
    state: IntGaugeVec,
    score: GaugeVec,
    rows: IntCounterVec,
    dropped: Dropped,
    pane_seconds: GaugeVec,
    pane_bytes: IntGaugeVec,
    failures: IntCounterVec,
    /// The scores that are shown, by model and version.
    shown: Mutex<BTreeMap<ModelId, BTreeSet<(String, &'static str)>>>,
}

/// Counts rows that there was no room for.
#[derive(Debug, Clone)]
pub(super) struct Dropped {
    by_rows: IntCounter,
    by_bytes: IntCounter,
}

impl Dropped {
    /// So many rows, and what was full.
    pub(super) fn count(&self, full: Full, rows: usize) {
        match full {
            Full::Rows => self.by_rows.inc_by(rows as u64),
            Full::Bytes => self.by_bytes.inc_by(rows as u64),
        }
    }
}

impl DriftMetrics {
    /// Registers the families.
    pub(super) fn register(registry: &Registry) -> Result<DriftMetrics, MetricsError> {
        let version = ["model", "version"];
        let dropped = registry.counters(
            "weir_drift_dropped_rows_total",
            "Rows that were not profiled because there was no room for them, by reason",
            &["reason"],
        )?;
        Ok(DriftMetrics {
            state: registry.int_gauges(
                "weir_drift_state",
                "Features of a version in each state of drift",
                &["model", "version", "state"],
            )?,
            score: registry.gauges(
                "weir_drift_score",
                "What is compared with the thresholds of drift, for features that are not ok or always shown",
                &["model", "version", "feature", "measure"],
            )?,
            rows: registry.counters(
                "weir_drift_rows_total",
                "Rows that were profiled, or were not because their request failed, by result",
                &["model", "version", "result"],
            )?,
            dropped: Dropped {
                by_rows: dropped.with_label_values(&[Full::Rows.as_str()]),
                by_bytes: dropped.with_label_values(&[Full::Bytes.as_str()]),
            },
            pane_seconds: registry.gauges(
                "weir_drift_pane_timestamp_seconds",
                "When the last pane of a version was closed and judged, in seconds since 1970",
                &version,
            )?,
            pane_bytes: registry.int_gauges(
                "weir_drift_pane_bytes",
                "Memory of the panes of a version",
                &version,
            )?,
            failures: registry.counters(
                "weir_drift_write_failures_total",
                "Panes, states and baselines that could not be written",
                &version,
            )?,
            shown: Mutex::default(),
        })
    }

    /// Counts rows.
    pub(super) fn rows(&self, id: &ModelId, result: &str, rows: usize) {
        let version = id.version.to_string();
        self.rows.with_label_values(&[&*id.name, &version, result]).inc_by(rows as u64);
    }

    /// What counts rows that there was no room for, on the requests' path.
    pub(super) fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    /// Says that a pane was closed.
    pub(super) fn closed(&self, id: &ModelId, now_us: i64, bytes: usize) {
        let version = id.version.to_string();
        self.pane_seconds.with_label_values(&[&*id.name, &version]).set(now_us as f64 / 1e6);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.pane_bytes.with_label_values(&[&*id.name, &version]).set(bytes);
    }

    /// Counts a file that could not be written.
    pub(super) fn write_failed(&self, id: &ModelId) {
        self.failures.with_label_values(&[&*id.name, &id.version.to_string()]).inc();
    }

    /// Shows the states and the scores of a version.
    pub(super) fn show(
        &self,
        id: &ModelId,
        states: &BTreeMap<String, DriftState>,
        report: &DriftReport,
        always: &[String],
    ) {
        let version = id.version.to_string();
        for state in DriftState::ALL {
            let count = states.values().filter(|found| **found == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.state.with_label_values(&[&*id.name, &version, state.as_str()]).set(count);
        }
        let is_shown = |name: &str| {
            always.iter().any(|shown| shown == name)
                || states.get(name).is_some_and(|state| *state >= DriftState::Warn)
        };
        let mut features: Vec<_> = report.features.iter().filter(|feature| is_shown(&feature.name)).collect();
        // The worst first, so that the bound leaves out the least.
        features.sort_by_key(|feature| std::cmp::Reverse(states.get(&feature.name).copied()));
        let mut now = BTreeSet::new();
        for feature in features.into_iter().take(SCORES_MAX) {
            for measure in feature.measures.iter().filter(|measure| measure.alarm.is_some()) {
                if measure.effect.is_finite() {
                    let labels = [&*id.name, &version, &*feature.name, measure.name];
                    self.score.with_label_values(&labels).set(measure.effect);
                    now.insert((feature.name.clone(), measure.name));
                }
            }
        }
        for found in report.embeddings.iter().filter(|found| is_shown(&found.name) && found.mmd2.is_finite())
        {
            self.score.with_label_values(&[&*id.name, &version, &*found.name, "mmd2"]).set(found.mmd2);
            now.insert((found.name.clone(), "mmd2"));
        }
        let before = self.shown.lock().insert(id.clone(), now.clone()).unwrap_or_default();
        self.remove_scores(id, before.difference(&now));
    }

    /// Removes everything about a version that is no longer watched.
    pub(super) fn forget(&self, id: &ModelId) {
        let version = id.version.to_string();
        let labels = [&*id.name, &*version];
        for state in DriftState::ALL {
            self.state.remove_label_values(&[labels[0], labels[1], state.as_str()]).ok();
        }
        self.pane_seconds.remove_label_values(&labels).ok();
        self.pane_bytes.remove_label_values(&labels).ok();
        let before = self.shown.lock().remove(id).unwrap_or_default();
        self.remove_scores(id, before.iter());
    }

    fn remove_scores<'a>(&self, id: &ModelId, gone: impl Iterator<Item = &'a (String, &'static str)>) {
        let version = id.version.to_string();
        for (feature, measure) in gone {
            // An error says that it was never shown.
            self.score.remove_label_values(&[&*id.name, &version, feature, measure]).ok();
        }
    }
}
