//! A span for each request, with the caller's W3C trace context as its parent. Off costs a request nothing but a test;
//! who turns it on, and where spans go, is `app`'s business.

use std::error::Error;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use opentelemetry::propagation::Extractor;
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::contained::{Defect, contained};

/// The target of request spans, by which exporters and filters know them.
pub const SPAN_TARGET: &str = "weir::request";

/// Whether requests have spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tracing {
    /// They have none.
    #[default]
    Off,
    /// They have.
    On,
}

/// The same service, whose panics are answers, each call in a span of its own when `tracing` is on.
pub(super) fn traced<S, B>(
    service: S,
    tracing: Tracing,
) -> impl Service<Request<Incoming>, Response = Response<B>, Error = S::Error, Future: Send + 'static>
+ Clone
+ Send
+ Sync
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Defect + Send + 'static,
{
    service_fn(move |request: Request<Incoming>| {
        let span = (tracing == Tracing::On).then(|| span_of(&request));
        let answer = contained(&service, request);
        async move {
            match span {
                None => answer.await,
                Some(span) => {
                    let answer = answer.instrument(span.clone()).await;
                    if let Ok(response) = &answer {
                        span.record("http.response.status_code", response.status().as_u16());
                    }
                    answer
                }
            }
        }
    })
}

/// A span named after the call, never after what a client may choose at will.
fn span_of<B>(request: &Request<B>) -> Span {
    let method = request.method().as_str();
    let path = request.uri().path();
    let is_grpc = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let name = if is_grpc { path.trim_start_matches('/') } else { method };
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "request",
        otel.name = name,
        otel.kind = "server",
        http.request.method = method,
        url.path = path,
        request_id = field::Empty,
        http.response.status_code = field::Empty,
    );
    if let Some(id) = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()) {
        span.record("request_id", id);
    }
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(request.headers()))
    });
    // Refused only when the span is not recorded, and then there is nothing to join.
    let _is_recorded = span.set_parent(parent).is_ok();
    span
}

/// Headers as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_caller_s_trace_goes_on() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::post("/v2/models/m/infer")
                .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .body(())
                .unwrap();
            let context = span_of(&request).context();
            let trace = context.span().span_context().trace_id().to_string();
            assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
        });
    }
}
