//! Spans of the real binary as a collector gets them: the caller's trace goes on, over both transports.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use weir::protocol::grpc::pb;
use weir::protocol::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;

use crate::support::{Server, post};

/// What a collector is sent, as far as the test reads it.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Keeps the spans of an export and says that all is well.
async fn collect(
    spans: Spans,
    call: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(call.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let message = call.into_body().collect().await.unwrap().to_bytes().split_off(5);
    let export = Export::decode(message).unwrap();
    let scopes = export.resources.into_iter().flat_map(|resource| resource.scopes);
    spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// A collector on a free port.
async fn start_collector(spans: Spans) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let spans = Arc::clone(&spans);
            let service = service_fn(move |call| collect(Arc::clone(&spans), call));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(socket), service));
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_s_trace_reaches_the_collector() {
    let spans = Spans::default();
    let endpoint = start_collector(Arc::clone(&spans)).await;
    let server = tokio::task::spawn_blocking(move || {
        Server::start(&["models", "--otlp-endpoint", &endpoint, "--otlp-sampling", "0"])
    });
    let server = server.await.unwrap();

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let mut client = GrpcInferenceServiceClient::new(channel.connect().await.unwrap());
    let traced = |trace: &str| format!("00-{trace}-b7ad6b7169203331-01");
    let mut ask = async |traceparent: Option<String>| {
        let named = pb::ModelReadyRequest { name: "iris".to_owned(), version: String::new() };
        let mut call = tonic::Request::new(named);
        if let Some(traceparent) = traceparent {
            call.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        }
        assert!(client.model_ready(call).await.unwrap().into_inner().ready);
    };
    ask(Some(traced("0af7651916cd43dd8448eb211c80319c"))).await;
    // Nobody decided to trace this one, and the share of those is 0.
    ask(None).await;
    let address = server.http.clone();
    let header = format!("traceparent: {}\r\n", traced("1af7651916cd43dd8448eb211c80319c"));
    let code = tokio::task::spawn_blocking(move || {
        let body = br#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
        assert_eq!(post(&address, "/v2/models/iris/infer", &header, body).unwrap().0, 200);
        // What is not sent yet is sent at the end.
        server.stop().0
    });
    assert_eq!(code.await.unwrap(), Some(0));

    let mut found = spans.lock().unwrap().clone();
    found.sort_by(|a, b| a.trace.cmp(&b.trace));
    let expected = [(0x0a, "inference.GRPCInferenceService/ModelReady"), (0x1a, "POST")];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (span, (first, name)) in found.iter().zip(expected) {
        let mut trace = vec![first];
        trace.extend(b"\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c");
        assert_eq!((&span.trace, &*span.name), (&trace, name));
        assert_eq!(span.parent, b"\xb7\xad\x6b\x71\x69\x20\x33\x31");
    }
}
