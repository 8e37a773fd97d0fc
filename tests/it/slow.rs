//! The real binary with a model that never ends: who gives up is answered or forgotten, frees the place, and is counted,
//! over both transports.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use prost::Message;
use weir::protocol::grpc::pb;
use weir::protocol::grpc::pb::model_infer_request::InferInputTensor;

use crate::onnx_file;
use crate::support::{Server, post, until};

const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1]}]}"#;
const PATH: &str = "/v2/models/endless/infer";

/// A server of `endless` with one worker. Probing would refuse it.
fn start() -> (Server, tempfile::TempDir) {
    let repository = tempfile::tempdir().unwrap();
    let folder = repository.path().join("endless");
    std::fs::create_dir_all(folder.join("1")).unwrap();
    std::fs::write(folder.join("1/model.onnx"), onnx_file::endless()).unwrap();
    let settings = "[instances]\ncount = 1\n[warmup]\nruns = 0\n";
    std::fs::write(folder.join("model.toml"), settings).unwrap();
    let server = Server::start(&[repository.path().as_os_str(), "--probe=false".as_ref()]);
    (server, repository)
}

/// What the server has counted of `endless`.
fn counted(server: &Server, protocol: &str, outcome: &str) -> f64 {
    server.metric(&format!(
        r#"weir_requests_total{{model="endless",outcome="{outcome}",protocol="{protocol}",version="1"}}"#
    ))
}

fn of_model(server: &Server, name: &str) -> f64 {
    server.metric(&format!(r#"{name}{{model="endless",version="1"}}"#))
}

/// Sends a request over HTTP and does not wait for its answer.
fn ask_http(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(&server.http).unwrap();
    write!(socket, "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())
        .unwrap();
    socket
}

/// Calls ModelInfer over a connection of its own; the call's code, as the answer has it.
async fn ask_grpc(address: &str, timeout: Option<&str>) -> String {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (executor, io) = (hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(socket));
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let message = pb::ModelInferRequest {
        model_name: "endless".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1],
            ..Default::default()
        }],
        raw_input_contents: vec![Bytes::from_static(&[0, 0, 128, 63])],
        ..Default::default()
    }
    .encode_to_vec();
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    let mut call = Request::post("http://weir/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = timeout {
        call = call.header("grpc-timeout", timeout);
    }
    let call = call.body(Full::new(Bytes::from([&[0][..], &len, &message].concat()))).unwrap();
    let (head, body) = client.send_request(call).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status")).unwrap();
    status.to_str().unwrap().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_deadline_stops_the_run_and_is_counted() {
    let (server, _repository) = start();
    let (status, body) = post(&server.http, PATH, "weir-timeout: 200ms\r\n", BODY.as_bytes()).unwrap();
    assert_eq!(status, 504, "{body}");
    assert_eq!(counted(&server, "http", "deadline_exceeded"), 1.0);
    let code = runtime().block_on(ask_grpc(&server.grpc, Some("200m")));
    assert_eq!(code, "4");
    assert_eq!(counted(&server, "grpc", "deadline_exceeded"), 1.0);
    assert_eq!(of_model(&server, "weir_requests_expired_total"), 2.0);
    until("nothing is in flight", || of_model(&server, "weir_inflight_requests") == 0.0);
    // The worker is free again: what comes now is taken from the queue, though it never ends.
    let last = ask_http(&server);
    until("the request runs", || {
        of_model(&server, "weir_inflight_requests") == 1.0 && of_model(&server, "weir_queue_length") == 0.0
    });
    drop(last);
    until("it is cancelled", || of_model(&server, "weir_requests_cancelled_total") == 1.0);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_client_that_goes_frees_its_place_and_is_counted() {
    let (server, _repository) = start();
    let in_flight = |requests: f64| {
        until("requests are in flight", || of_model(&server, "weir_inflight_requests") == requests);
    };
    let runtime = runtime();
    let address = server.grpc.clone();
    let running = ask_http(&server);
    in_flight(1.0);
    // Both of these wait behind the first one.
    let queued = ask_http(&server);
    in_flight(2.0);
    let queued_grpc = runtime.spawn(async move { ask_grpc(&address, None).await });
    in_flight(3.0);
    until("two wait", || of_model(&server, "weir_queue_length") == 2.0);
    drop(queued);
    queued_grpc.abort();
    until("nobody waits", || of_model(&server, "weir_queue_length") == 0.0);
    in_flight(1.0);
    drop(running);
    in_flight(0.0);
    // A call that runs, over gRPC.
    let address = server.grpc.clone();
    let running = runtime.spawn(async move { ask_grpc(&address, None).await });
    in_flight(1.0);
    until("it runs", || of_model(&server, "weir_queue_length") == 0.0);
    running.abort();
    in_flight(0.0);
    until("all are counted", || of_model(&server, "weir_requests_cancelled_total") == 4.0);
    assert_eq!((counted(&server, "http", "cancelled"), counted(&server, "grpc", "cancelled")), (2.0, 2.0));
    runtime.shutdown_timeout(Duration::from_secs(1));
    assert_eq!(server.stop().0, Some(0));
}
