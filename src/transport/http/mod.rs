//! The REST door: the Open Inference Protocol v2 with Triton's extensions, and the metrics listener.
//!
//! Inference is matched and answered without a router, middleware or a boxed future; everything else is answered by
//! plain functions of the two doors, `Engine` and `ControlPlane`.

mod api;
mod body;
mod compression;
mod describe;
mod infer;
mod metrics;
mod reply;
mod repository;
mod route;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use serde_json::json;
use tower::ServiceExt;

pub use self::api::document as openapi_document;
pub use self::api::events::EventsDoor;
pub use self::infer::TIMEOUT_HEADER;
pub use self::metrics::MetricsDoor;

use self::reply::{Reply, ReplyBody};
use self::route::{NoRoute, Route, Target};
use super::inflight::InFlight;
use super::listener::{Listener, Versions};
use super::shutdown::ShutdownSignal;
use crate::access::{Access, Identity, Peer, Role};
use crate::control::ControlPlane;
use crate::error::Code;
use crate::infer::Protocol;
use crate::protocol::Limits;
use crate::protocol::status::Failure;
use crate::serving::{Engine, EngineError};

/// The server's name in its metadata.
pub const SERVER_NAME: &str = "weir";
/// The protocol extensions that work here. Clients (perf_analyzer) read this list, so it must not promise more.
pub const EXTENSIONS: [&str; 7] = [
    "classification",
    "model_repository",
    "model_configuration",
    "schedule_policy",
    "binary_tensor_data",
    "parameters",
    "statistics",
];

/// The client's name for a request, echoed.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is being answered.
type Answering = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct HttpDoor {
    /// The data plane.
    pub engine: Arc<Engine>,
    /// The control plane.
    pub control: Arc<ControlPlane>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Events, where the server follows a registry.
    pub events: Option<EventsDoor>,
    /// What a client may send.
    pub limits: Limits,
    /// Room for requests, shared by all doors.
    pub in_flight: InFlight,
    /// The server's version in its metadata.
    pub version: &'static str,
}

impl HttpDoor {
    /// Serves REST on `listener` until `shutdown` ends.
    pub async fn serve(self, listener: Listener, shutdown: ShutdownSignal) {
        let limits = self.limits.clone();
        let api = self.api();
        let door = Arc::new(self);
        let service_for = move |peer: Arc<Peer>| {
            let (door, api) = (Arc::clone(&door), api.clone());
            hyper::service::service_fn(move |request: Request<Incoming>| {
                let (door, peer) = (Arc::clone(&door), Arc::clone(&peer));
                if api::is_for(request.uri().path()) {
                    let api = api.clone();
                    return Box::pin(async move { Ok(door.answer_api(api, request, peer).await) })
                        as Answering;
                }
                // Boxed, since it is moved by those who call, and the head is lent, since each that it is given to keeps it.
                let (head, body) = request.into_parts();
                Box::pin(async move { Ok(door.answer(&head, body, &peer).await) })
            })
        };
        listener.serve(service_for, Versions::Both, &limits, shutdown).await;
    }

    /// The router of the registry's API.
    fn api(&self) -> axum::Router {
        api::router(api::ApiState::new(Arc::clone(&self.control), Arc::clone(&self.access)))
    }

    /// Answers one request to the registry's API.
    async fn answer_api<B>(&self, api: axum::Router, mut request: Request<B>, peer: Arc<Peer>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(refusal) = self.refuse_headers(request.headers()) {
            return refusal;
        }
        let id = request.headers().get(REQUEST_ID).cloned();
        request.extensions_mut().insert(peer);
        let mut reply = match api.oneshot(request.map(axum::body::Body::new)).await {
            Ok(response) => response.map(ReplyBody::from),
            Err(never) => match never {},
        };
        if let Some(id) = id {
            reply.headers_mut().insert(REQUEST_ID, id);
        }
        reply
    }

    /// The answer to headers that are too large.
    fn refuse_headers(&self, headers: &HeaderMap) -> Option<Reply> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let max = self.limits.header_bytes_max;
        (bytes > max).then(|| {
            let message = format!("the headers are larger than {max} bytes");
            reply::error_text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &message)
        })
    }

    /// Answers one request.
    async fn answer<B>(&self, head: &Parts, body: B, peer: &Peer) -> Reply
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(refusal) = self.refuse_headers(&head.headers) {
            if let Ok(Route::Infer(_)) = route::route(&head.method, head.uri.path()) {
                self.engine.refused(Protocol::Http, Code::TooLarge);
            }
            return refusal;
        }
        let mut reply = match route::route(&head.method, head.uri.path()) {
            Ok(Route::Infer(target)) => match self.admit_reader(&head.headers, peer, Some(&target.model)) {
                Ok(_) => self
                    .infer(&target, &head.headers, body)
                    .await
                    .unwrap_or_else(|error| reply::failure(&error)),
                Err(error) => {
                    self.engine.refused(Protocol::Http, error.code);
                    reply::failure(&error)
                }
            },
            Ok(Route::Events) => {
                let query = head.uri.query().unwrap_or_default();
                Box::pin(self.event_stream(&head.method, &head.headers, query, peer)).await
            }
            // Boxed, so that the future of an inference is not as large as that of a model load.
            Ok(route) => Box::pin(self.answer_other(route, &head.headers, peer, body)).await,
            Err(error) => no_route(&error),
        };
        if let Some(id) = head.headers.get(REQUEST_ID) {
            reply.headers_mut().insert(REQUEST_ID, id.clone());
        }
        reply
    }

    /// Who asks, where even readers must say so; fails unless they may read `model`. `None` where anyone may.
    fn admit_reader(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        model: Option<&str>,
    ) -> Result<Option<Identity>, Failure> {
        if !self.access.asks_all() {
            return Ok(None);
        }
        let who = self.access.authenticate(headers, peer).map_err(Failure::of)?;
        who.require(Role::Reader, model).map_err(Failure::of)?;
        Ok(Some(who))
    }

    async fn answer_other<B>(&self, route: Route<'_>, headers: &HeaderMap, peer: &Peer, body: B) -> Reply
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let admitted = match &route {
            Route::Live | Route::Ready | Route::Load(_) | Route::Unload(_) => Ok(None),
            route => self.admit_reader(headers, peer, route.model()),
        };
        let reader = match admitted {
            Ok(reader) => reader,
            Err(error) => return reply::failure(&error),
        };
        let may_read = |name: &str| reader.as_ref().is_none_or(|who| who.allows(Role::Reader, Some(name)));
        let answer = match route {
            Route::ServerMetadata => Ok(self.server_metadata()),
            Route::Live => Ok(health("live", self.engine.is_live())),
            Route::Ready => Ok(health("ready", self.engine.is_ready())),
            Route::ModelList => Ok(self.model_list(may_read)),
            Route::AllStatistics => self.statistics("", "", may_read),
            Route::Metadata(target) => self.metadata(&target),
            Route::ModelReady(target) => self.model_ready(&target),
            Route::Config(target) => self.config(&target),
            Route::Statistics(target) => self.statistics(&target.model, &target.version, may_read),
            Route::TraceSetting => return or_failure(self.trace_setting(headers, body).await),
            Route::Logging => return or_failure(self.logging(headers, body).await),
            Route::Index => return or_failure(self.index(headers, body, may_read).await),
            Route::Load(model) => return or_failure(self.load(&model, headers, peer, body).await),
            Route::Unload(model) => return or_failure(self.unload(&model, headers, peer, body).await),
            Route::Infer(target) => return or_failure(self.infer(&target, headers, body).await),
            // Answered before: it needs the query.
            Route::Events => Ok(no_route(&NoRoute::Unknown)),
        };
        or_failure(answer)
    }

    fn server_metadata(&self) -> Reply {
        let value = json!({ "name": SERVER_NAME, "version": self.version, "extensions": EXTENSIONS });
        reply::json(StatusCode::OK, &value)
    }

    /// KServe's `GET /v2/models`: the names of what is ready.
    fn model_list(&self, may_read: impl Fn(&str) -> bool) -> Reply {
        let mut names: Vec<String> =
            self.engine.index(true).into_iter().map(|entry| entry.name.to_string()).collect();
        names.dedup();
        names.retain(|name| may_read(name));
        reply::json(StatusCode::OK, &json!({ "models": names }))
    }

    fn metadata(&self, target: &Target<'_>) -> Result<Reply, Failure> {
        let servable = self.engine.find(&target.model, &target.version).map_err(Failure::of)?;
        let versions: Vec<String> =
            self.engine.versions(&target.model).iter().map(ToString::to_string).collect();
        let model = describe::description(&servable);
        Ok(reply::json(StatusCode::OK, &describe::metadata(&model, &versions)))
    }

    fn config(&self, target: &Target<'_>) -> Result<Reply, Failure> {
        let servable = self.engine.find(&target.model, &target.version).map_err(Failure::of)?;
        Ok(reply::json(StatusCode::OK, &describe::config(&describe::description(&servable))))
    }

    fn model_ready(&self, target: &Target<'_>) -> Result<Reply, Failure> {
        let ready = match self.engine.find(&target.model, &target.version) {
            Ok(_) => true,
            Err(EngineError::NotReady { .. }) => false,
            Err(error) => return Err(Failure::of(error)),
        };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Ok(reply::json(status, &json!({ "name": target.model, "ready": ready })))
    }

    fn statistics(
        &self,
        model: &str,
        version: &str,
        may_read: impl Fn(&str) -> bool,
    ) -> Result<Reply, Failure> {
        let mut statistics = self.engine.statistics(model, version).map_err(Failure::of)?;
        statistics.retain(|entry| may_read(&entry.name));
        Ok(reply::json(StatusCode::OK, &describe::statistics(&statistics)))
    }
}

/// KServe's client reads the body, Triton's the status.
fn health(what: &'static str, good: bool) -> Reply {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &json!({ what: good }))
}

fn or_failure(answer: Result<Reply, Failure>) -> Reply {
    answer.unwrap_or_else(|error| reply::failure(&error))
}

fn no_route(error: &NoRoute) -> Reply {
    match error {
        NoRoute::Unknown => reply::error_text(StatusCode::NOT_FOUND, "there is nothing at this address"),
        NoRoute::Method(allow) => reply::method_not_allowed(allow),
        NoRoute::Encoding => reply::error_text(
            StatusCode::BAD_REQUEST,
            "a name in the address is not UTF-8 when percent-decoded",
        ),
    }
}
