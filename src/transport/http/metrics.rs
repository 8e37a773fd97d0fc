//! The metrics listener: `GET /metrics` in the Prometheus text format, and nothing else.
//!
//! Scrapes that come at once share one rendering, so that many scrapers cost as much as one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Mutex;

use super::super::listener::{Listener, Versions};
use super::super::shutdown::ShutdownSignal;
use super::reply::{self, Reply, ReplyBody};
use crate::access::{Access, Peer, Role};
use crate::metrics::Registry;
use crate::protocol::Limits;
use crate::protocol::status::Failure;

/// How long a rendering is good for. Far below any scrape interval.
const SHARED_FOR: Duration = Duration::from_millis(100);
/// The Prometheus text format.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves the metric registry.
#[derive(Debug)]
pub struct MetricsDoor {
    registry: Registry,
    rendered: Mutex<Option<(Instant, Bytes)>>,
    /// Asked before a scrape, when scrapers must show credentials.
    access: Option<Arc<Access>>,
}

impl MetricsDoor {
    /// A door to `registry`.
    pub fn new(registry: Registry) -> MetricsDoor {
        MetricsDoor { registry, rendered: Mutex::new(None), access: None }
    }

    /// The same, for readers of the whole server only.
    pub fn for_readers(self, access: Arc<Access>) -> MetricsDoor {
        MetricsDoor { access: Some(access), ..self }
    }

    /// Serves on `listener` until `shutdown` ends.
    pub async fn serve(self, listener: Listener, limits: &Limits, shutdown: ShutdownSignal) {
        let door = Arc::new(self);
        let service_for = move |peer: Arc<Peer>| {
            let door = Arc::clone(&door);
            hyper::service::service_fn(move |request: Request<Incoming>| {
                let (door, peer) = (Arc::clone(&door), Arc::clone(&peer));
                async move {
                    Ok::<_, Infallible>(match door.admit(request.headers(), &peer) {
                        Ok(()) => door.answer(request.method(), request.uri().path()).await,
                        Err(failure) => reply::failure(&failure),
                    })
                }
            })
        };
        listener.serve(service_for, Versions::Both, limits, shutdown).await;
    }

    fn admit(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Failure> {
        let Some(access) = &self.access else { return Ok(()) };
        let who = access.authenticate(headers, peer).map_err(Failure::of)?;
        who.require(Role::Reader, None).map_err(Failure::of)
    }

    async fn answer(self: &Arc<Self>, method: &Method, path: &str) -> Reply {
        match (path, method) {
            ("/metrics", &Method::GET | &Method::HEAD) => self.exposition().await,
            ("/metrics", _) => reply::method_not_allowed("GET"),
            _ => reply::error_text(StatusCode::NOT_FOUND, "there is only /metrics at this address"),
        }
    }

    async fn exposition(self: &Arc<Self>) -> Reply {
        // Held while rendering on purpose: those who wait get what is rendered.
        let mut rendered = self.rendered.lock().await;
        let text = match &*rendered {
            Some((at, text)) if at.elapsed() < SHARED_FOR => text.clone(),
            _ => {
                let registry = self.registry.clone();
                // Hundreds of models make a long text; not on an async thread.
                let text = match tokio::task::spawn_blocking(move || registry.expose()).await {
                    Ok(Ok(text)) => Bytes::from(text),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "metrics cannot be rendered");
                        return reply::failure(&Failure::defect());
                    }
                    Err(_) => return reply::failure(&Failure::defect()),
                };
                *rendered = Some((Instant::now(), text.clone()));
                text
            }
        };
        let mut reply = Response::new(ReplyBody::from(text));
        reply.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
        reply
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn metrics_are_text() {
        let registry = Registry::new();
        registry.counters("weir_test_total", "A test.", &[]).unwrap().with_label_values::<&str>(&[]).inc();
        let door = Arc::new(MetricsDoor::new(registry));
        let reply = door.answer(&Method::GET, "/metrics").await;
        assert_eq!(reply.headers()[CONTENT_TYPE], TEXT_FORMAT);
        let text = reply.into_body().collect().await.unwrap().to_bytes();
        assert!(text.windows(17).any(|window| window == b"weir_test_total 1"), "{text:?}");
        assert_eq!(door.answer(&Method::POST, "/metrics").await.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(door.answer(&Method::GET, "/").await.status(), StatusCode::NOT_FOUND);
    }
}
