//! Which call a request is.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use super::reply::Body;
use super::rpc::Calls;
use super::{health, infer, stream};
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
/// Echoed, so that the logs of both sides can be joined.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the calls need.
#[derive(Debug, Clone)]
pub struct GrpcDoor {
    /// The data plane.
    pub engine: Arc<Engine>,
    /// The control plane.
    pub control: Arc<ControlPlane>,
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
        listener.serve(Service::new(self, shutdown.clone()), Versions::Http2, &limits, shutdown).await;
    }
}

/// The calls without their sockets. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Service {
    shared: Arc<Shared>,
}

/// What every call needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
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
}

impl Service {
    fn new(door: GrpcDoor, shutdown: ShutdownSignal) -> Service {
        let GrpcDoor { engine, control, limits, in_flight, version } = door;
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
        Service { shared: Arc::new(Shared { engine, limits, in_flight, shutdown, others: others.prepare() }) }
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

    fn call(&self, call: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(answer(&shared, call).await) })
    }
}

async fn answer<B>(shared: &Arc<Shared>, call: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let request_id = call.headers().get(REQUEST_ID).cloned();
    let mut response = match call.uri().path() {
        MODEL_INFER => infer::unary(shared, call).await,
        MODEL_STREAM_INFER => stream::bidirectional(shared, call),
        _ => other(shared, call).await,
    };
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A call that tonic serves. Boxed, because its future is large and the others should not carry its size.
fn other<B>(shared: &Shared, call: Request<B>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let mut others = shared.others.clone();
    Box::pin(async move {
        match tower::Service::call(&mut others, call).await {
            Ok(response) => response.map(Body::Tonic),
            Err(never) => match never {},
        }
    })
}
