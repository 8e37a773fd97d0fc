//! Which call a request is.

use std::convert::Infallible;
use std::error::Error;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use super::reply::{self, Body};
use super::rpc::Calls;
use super::{health, infer, stream};
use crate::access::{Access, Identity, Peer, Role};
use crate::control::ControlPlane;
use crate::infer::Protocol;
use crate::protocol::Limits;
use crate::protocol::grpc::FILE_DESCRIPTOR_SET;
use crate::protocol::grpc::pb::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::protocol::status::Failure;
use crate::serving::Engine;
use crate::transport::{InFlight, Listener, ShutdownSignal, Versions};

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const SERVER_LIVE: &str = "/inference.GRPCInferenceService/ServerLive";
const SERVER_READY: &str = "/inference.GRPCInferenceService/ServerReady";
const LOAD: &str = "/inference.GRPCInferenceService/RepositoryModelLoad";
const UNLOAD: &str = "/inference.GRPCInferenceService/RepositoryModelUnload";
/// Probes have no credentials.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Echoed, so that the logs of both sides can be joined.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the calls need.
#[derive(Debug, Clone)]
pub struct GrpcDoor {
    /// The data plane.
    pub engine: Arc<Engine>,
    /// The control plane.
    pub control: Arc<ControlPlane>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What a client may send.
    pub limits: Limits,
    /// Room for requests, shared by all doors.
    pub in_flight: InFlight,
    /// The server's version in its metadata.
    pub version: &'static str,
}

impl GrpcDoor {
    /// Serves gRPC on `listener` until `shutdown` ends.
    pub async fn serve(self, listener: Listener, shutdown: ShutdownSignal) {
        let limits = self.limits.clone();
        let shared = Arc::new(Shared::new(self, shutdown.clone()));
        let service_for = move |peer| Service { shared: Arc::clone(&shared), peer };
        listener.serve(service_for, Versions::Http2, &limits, shutdown).await;
    }
}

/// The calls without their sockets. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Service {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

/// What every call needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) access: Arc<Access>,
    pub(super) limits: Arc<Limits>,
    pub(super) in_flight: InFlight,
    /// Ends streams that clients would hold open for ever.
    pub(super) shutdown: ShutdownSignal,
    others: Routes,
}

impl Shared {
    /// Counts a unary request that never reached the engine.
    pub(super) fn note_refusal(&self, failure: &Failure) {
        self.engine.refused(Protocol::Grpc, failure.code);
    }

    fn new(door: GrpcDoor, shutdown: ShutdownSignal) -> Shared {
        let GrpcDoor { engine, control, access, limits, in_flight, version } = door;
        let calls = Calls { engine: Arc::clone(&engine), control, version };
        let calls = GrpcInferenceServiceServer::new(calls)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limits.body_bytes_max)
            .max_encoding_message_size(usize::MAX);
        let mut others = Routes::new(calls).add_service(health::server(Arc::clone(&engine)));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // The descriptors are part of the program and a test asks for them, so these do not fail.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => others = others.add_service(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no server reflection"),
        }
        let limits = Arc::new(limits);
        Shared { engine, access, limits, in_flight, shutdown, others: others.prepare() }
    }

    /// Who asks, where the call `path` needs to know: `None` where anyone may do what it does.
    fn identify<B>(&self, call: &Request<B>, peer: &Peer) -> Result<Option<Identity>, Failure> {
        let path = call.uri().path();
        let needed = match path {
            LOAD | UNLOAD => true,
            SERVER_LIVE | SERVER_READY => false,
            path => self.access.asks_all() && !path.starts_with(HEALTH),
        };
        if !needed {
            return Ok(None);
        }
        let who = self.access.authenticate(call.headers(), peer).map_err(Failure::of)?;
        if self.access.asks_all() {
            who.require(Role::Reader, None).map_err(Failure::of)?;
        }
        Ok(Some(who))
    }
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut call: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let (who, path) = match (shared.identify(&call, &self.peer), call.uri().path()) {
            (Ok(who), path) => (who, path),
            (Err(failure), path) => {
                match path {
                    MODEL_INFER => shared.engine.refused(Protocol::Grpc, failure.code),
                    MODEL_STREAM_INFER => shared.engine.refused(Protocol::GrpcStream, failure.code),
                    _ => {}
                }
                let refused = reply::failed_response(&failure);
                let id = call.headers().get(REQUEST_ID).cloned();
                return Box::pin(future::ready(Ok(with_id(refused, id))));
            }
        };
        match path {
            // What lasts while the model runs is kept small: the call stays where it is, and is lent.
            MODEL_INFER => Box::pin(async move {
                let answered = infer::unary(&shared, who.as_ref(), &mut call).await;
                Ok(with_id(answered, call.headers().get(REQUEST_ID).cloned()))
            }),
            MODEL_STREAM_INFER => {
                let id = call.headers().get(REQUEST_ID).cloned();
                let answers = stream::bidirectional(&shared, who, call);
                Box::pin(future::ready(Ok(with_id(answers, id))))
            }
            _ => {
                let id = call.headers().get(REQUEST_ID).cloned();
                Box::pin(async move { Ok(with_id(other(&shared, who, call).await, id)) })
            }
        }
    }
}

/// The response with the request's id, if it has one.
fn with_id(mut response: Response<Body>, id: Option<HeaderValue>) -> Response<Body> {
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A call that tonic serves.
async fn other<B>(shared: &Shared, who: Option<Identity>, mut call: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Some(who) = who {
        call.extensions_mut().insert(who);
    }
    match tower::Service::call(&mut shared.others.clone(), call).await {
        Ok(response) => response.map(Body::Tonic),
        Err(never) => match never {},
    }
}
