//! The metric registry: families by grammar, shared buckets, text exposition.
//!
//! Families live with their owners (`scheduler::metrics`, `serving::metrics`, …), which register them here once and
//! hand out resolved handles; a request looks up no label and formats no string. Names are
//! `weir_<subject>_<unit>[_total]` in base units.

mod process;

pub use self::process::register_process;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, TextEncoder,
    core::Collector,
};

/// Bucket bounds for durations in seconds: 10 us to 10 s, three a decade.
pub const DURATION_BUCKETS: [f64; 19] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Bucket bounds for batch sizes in rows.
pub const ROWS_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Holds every family of the process.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
}

/// A family could not be registered or shown: a defect of this program, found at start-up.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Registers a family of counters.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Registers a family of whole-number gauges.
    pub fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Registers a family of gauges.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, MetricsError> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Registers a family of histograms.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }

    /// Registers any collector and returns a handle to it.
    pub fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricsError> {
        self.inner.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Everything in the Prometheus text format 0.0.4.
    pub fn expose(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.inner.gather(), &mut text)?;
        Ok(text)
    }
}
