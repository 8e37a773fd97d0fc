//! Spans to an OpenTelemetry collector over OTLP/gRPC, in batches, on a thread of the SDK. Only made when asked for.

use std::time::Duration;

use crate::transport::SPAN_TARGET;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Filtered, filter_fn};

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The exporter.
#[derive(Debug)]
pub(super) struct Spans {
    provider: SdkTracerProvider,
}

type SpanLayer<S> =
    Filtered<tracing_opentelemetry::OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>, FilterFn, S>;

impl Spans {
    /// Starts exporting to `endpoint`; the connection is made when there is something to send.
    pub(super) fn start(endpoint: &str, sampling: f64) -> anyhow::Result<Spans> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        // A caller that has decided to trace, or not to, decides for us.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sampling)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(Resource::builder().with_service_name("weir").build())
            .build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Spans { provider })
    }

    /// The layer that turns spans of [`SPAN_TARGET`] into exported ones.
    pub(super) fn layer<S>(&self) -> SpanLayer<S>
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let only_requests: FilterFn =
            filter_fn(|metadata| metadata.is_span() && metadata.target() == SPAN_TARGET);
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("weir")).with_filter(only_requests)
    }

    /// Sends what is left.
    pub(super) fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "spans were lost");
        }
    }
}
