//! The gRPC door over real sockets, with tonic's client and with bytes that no client would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use weir::access::{Access, AccessSettings};
use weir::backend::fake::{FakeBackend, FakeModel};
use weir::control::ControlPlane;
use weir::metrics::Registry;
use weir::protocol::Limits;
use weir::protocol::grpc::pb;
use weir::protocol::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use weir::protocol::grpc::pb::infer_parameter::ParameterChoice;
use weir::protocol::grpc::pb::model_infer_request::InferInputTensor;
use weir::serving::{Engine, Manager, ManagerConfig, ModelControl};
use weir::transport::grpc::GrpcDoor;
use weir::transport::{InFlight, Listener, ShutdownHandle, shutdown_channel};

type Client = GrpcInferenceServiceClient<Channel>;

/// A server of one model, `double`, FP32 `[batch,2]` from `x` to `y`, in versions 1 and 3.
struct Server {
    address: SocketAddr,
    engine: Arc<Engine>,
    in_flight: InFlight,
    shutdown: ShutdownHandle,
    _models: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        Server::start_with(Limits::default(), FakeModel::elementwise(2, |x| 2.0 * x)).await
    }

    async fn start_with(limits: Limits, model: FakeModel) -> Server {
        let models = tempfile::tempdir().unwrap();
        for version in ["1", "3"] {
            let folder = models.path().join("double").join(version);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("model.onnx"), b"opened by the fake").unwrap();
        }
        std::fs::write(models.path().join("double/model.toml"), "versions = \"all\"\n").unwrap();
        let engine = Arc::new(Engine::new(&Registry::new()).unwrap());
        let backend = Arc::new(FakeBackend::new().with_model("model.onnx", model));
        let config = ManagerConfig {
            paths: vec![models.path().to_owned()],
            control: ModelControl::Explicit,
            ..ManagerConfig::default()
        };
        let manager = Manager::start(config, backend, Arc::clone(&engine)).unwrap();
        manager.settled().await;
        let in_flight = InFlight::new(limits.requests_in_flight_max, limits.bytes_in_flight_max);
        let control = Arc::new(ControlPlane::new(manager));
        let settings = AccessSettings { is_loopback_bound: true, ..AccessSettings::default() };
        let door = GrpcDoor {
            engine: Arc::clone(&engine),
            control,
            access: Arc::new(Access::new(settings, &Registry::new()).unwrap()),
            limits,
            in_flight: in_flight.clone(),
            version: "1.2.3",
        };
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.address();
        let (shutdown, signal) = shutdown_channel();
        tokio::spawn(door.serve(listener, signal));
        Server { address, engine, in_flight, shutdown, _models: models }
    }

    async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address);
        tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> Client {
        GrpcInferenceServiceClient::new(self.channel().await)
    }
}

fn request(values: [f32; 2]) -> pb::ModelInferRequest {
    pb::ModelInferRequest {
        model_name: "double".to_owned(),
        id: "7".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 2],
            ..Default::default()
        }],
        raw_input_contents: vec![bytes_of(values)],
        ..Default::default()
    }
}

fn bytes_of(values: [f32; 2]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn with_id(id: &str, values: [f32; 2]) -> pb::ModelInferRequest {
    pb::ModelInferRequest { id: id.to_owned(), ..request(values) }
}

#[tokio::test]
async fn inference_raw_and_typed_names_the_version_that_ran() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let typed = {
        let mut typed = request([0.0; 2]);
        typed.raw_input_contents.clear();
        typed.inputs[0].contents =
            Some(pb::InferTensorContents { fp32_contents: vec![1.5, -2.0], ..Default::default() });
        typed
    };
    let versioned = pb::ModelInferRequest { model_version: "1".to_owned(), ..request([1.5, -2.0]) };
    for (asked, version) in [(request([1.5, -2.0]), "3"), (typed, "3"), (versioned, "1")] {
        let mut asked = tonic::Request::new(asked);
        asked.metadata_mut().insert("x-request-id", "r-1".parse().unwrap());
        let answer = client.model_infer(asked).await.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "r-1");
        let answer = answer.into_inner();
        assert_eq!((&*answer.model_name, &*answer.model_version, &*answer.id), ("double", version, "7"));
        assert_eq!(answer.outputs[0].shape, [1, 2]);
        assert_eq!(answer.raw_output_contents, [bytes_of([3.0, -4.0])]);
    }
}

#[tokio::test]
async fn failures_have_the_right_status() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut check = async |change: &dyn Fn(&mut pb::ModelInferRequest), code: Code, text: &str| {
        let mut asked = request([1.0, 2.0]);
        change(&mut asked);
        let status = client.model_infer(asked).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?} does not say {text:?}");
    };
    check(&|r| r.model_name = "other".into(), Code::NotFound, "'other'").await;
    check(&|r| r.model_version = "9".into(), Code::NotFound, "version '9'").await;
    check(&|r| r.inputs[0].name = "z".into(), Code::InvalidArgument, "'z'").await;
    check(&|r| r.inputs[0].datatype = "FP64".into(), Code::InvalidArgument, "'x'").await;
    check(&|r| r.inputs[0].shape = vec![1, 3], Code::InvalidArgument, "12 bytes, got 8").await;
    check(&|r| r.inputs.clear(), Code::InvalidArgument, "raw_input_contents").await;
    let sequence = |r: &mut pb::ModelInferRequest| {
        let parameter = pb::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(5)) };
        r.parameters.insert("sequence_id".into(), parameter);
    };
    check(&sequence, Code::Unimplemented, "sequence_id").await;
    let shared = client.system_shared_memory_status(pb::SystemSharedMemoryStatusRequest::default()).await;
    assert_eq!(shared.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(server.in_flight.count(), 0);
}

#[tokio::test]
async fn a_server_describes_itself_and_its_models() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert!(client.server_live(pb::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(pb::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let metadata = client.server_metadata(pb::ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!((&*metadata.name, &*metadata.version), ("weir", "1.2.3"));
    assert!(metadata.extensions.contains(&"binary_tensor_data".to_owned()));
    let named = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    for ((name, version), ready) in
        [(named("double", ""), true), (named("double", "2"), false), (named("other", ""), false)]
    {
        let asked = pb::ModelReadyRequest { name, version };
        assert_eq!(client.model_ready(asked).await.unwrap().into_inner().ready, ready);
    }
    let (name, version) = named("double", "");
    let asked = pb::ModelMetadataRequest { name: name.clone(), version: version.clone() };
    let model = client.model_metadata(asked).await.unwrap().into_inner();
    assert_eq!((model.versions, &*model.platform), (vec!["1".into(), "3".into()], "onnxruntime_onnx"));
    assert_eq!((&*model.inputs[0].datatype, &*model.inputs[0].shape), ("FP32", &[-1, 2][..]));

    client.model_infer(request([1.0, 2.0])).await.unwrap();
    let asked = pb::ModelConfigRequest { name: name.clone(), version: version.clone() };
    let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
    let dims: &[i64] = if config.max_batch_size > 0 { &[2] } else { &[-1, 2] };
    assert_eq!((&*config.input[0].dims, config.input[0].data_type()), (dims, pb::DataType::TypeFp32));
    let asked = pb::ModelStatisticsRequest { name, version: "3".to_owned() };
    let statistics = client.model_statistics(asked).await.unwrap().into_inner().model_stats;
    assert_eq!((statistics.len(), statistics[0].inference_count), (1, 1));
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_by_either_field() {
    let server = Server::start().await;
    let mut client = server.client().await;
    // KServe's clients write the model's name where Triton's write the repository's.
    let kserve = pb::RepositoryModelUnloadRequest { repository_name: "double".into(), ..Default::default() };
    let answer = client.repository_model_unload(kserve).await.unwrap().into_inner();
    assert_eq!((&*answer.model_name, answer.is_unloaded), ("double", true));
    let status = client.model_infer(request([1.0, 2.0])).await.unwrap_err();
    assert!(matches!(status.code(), Code::NotFound | Code::Unavailable), "{status:?}");
    let triton = pb::RepositoryModelLoadRequest { model_name: "double".into(), ..Default::default() };
    assert!(client.repository_model_load(triton).await.unwrap().into_inner().is_loaded);
    client.model_infer(request([1.0, 2.0])).await.unwrap();
    let index = client.repository_index(pb::RepositoryIndexRequest::default()).await.unwrap().into_inner();
    let states: Vec<&str> = index.models.iter().map(|model| &*model.state).collect();
    assert_eq!(states, ["READY", "READY"]);
    let nothing = pb::RepositoryModelLoadRequest::default();
    assert_eq!(client.repository_model_load(nothing).await.unwrap_err().code(), Code::InvalidArgument);
    let both = pb::RepositoryModelLoadRequest {
        repository_name: "here".into(),
        model_name: "double".into(),
        ..Default::default()
    };
    assert_eq!(client.repository_model_load(both).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_stream_answers_in_order_and_survives_bad_requests() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut asked: Vec<pb::ModelInferRequest> =
        (0u8..200).map(|n| with_id(&n.to_string(), [f32::from(n), 0.0])).collect();
    asked[70].model_name = "other".to_owned();
    asked[71].raw_input_contents.clear();
    let mut answers =
        client.model_stream_infer(futures_util::stream::iter(asked)).await.unwrap().into_inner();
    for n in 0u8..200 {
        let answer = answers.message().await.unwrap().unwrap();
        let inner = answer.infer_response.unwrap();
        assert_eq!(inner.id, n.to_string());
        assert_eq!(answer.error_message.is_empty(), n != 70 && n != 71, "{}", answer.error_message);
        assert!(inner.parameters.contains_key("triton_final_response"));
        if answer.error_message.is_empty() {
            assert_eq!(inner.raw_output_contents, [bytes_of([f32::from(n) * 2.0, 0.0])]);
        }
    }
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_ends_with_the_status_when_the_client_asks_for_it() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let bad = pb::ModelInferRequest { model_name: "other".to_owned(), ..request([0.0; 2]) };
    let all = vec![request([1.0, 1.0]), bad, request([1.0, 1.0])];
    let mut asked = tonic::Request::new(futures_util::stream::iter(all));
    asked.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
    let mut answers = client.model_stream_infer(asked).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    assert_eq!(answers.message().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_drain_ends_an_open_stream_after_its_answers() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let open = futures_util::stream::iter([request([1.0, 1.0])]).chain(futures_util::stream::pending());
    let mut answers = client.model_stream_infer(open).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    server.shutdown.drain();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn compression_goes_both_ways_and_bombs_are_refused() {
    let server = Server::start_with(
        Limits { body_bytes_max: 2 << 20, ..Limits::default() },
        FakeModel::elementwise(2, |x| 2.0 * x),
    )
    .await;
    let client = server.client().await.max_encoding_message_size(64 << 20);
    let mut client =
        client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let answer = client.model_infer(request([1.0, 2.0])).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().raw_output_contents, [bytes_of([2.0, 4.0])]);
    // tonic's client is built without deflate.
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &request([1.0, 2.0]).encode_to_vec()).unwrap();
    let deflated = encoder.finish().unwrap();
    let body = framed(1, u32::try_from(deflated.len()).unwrap(), &deflated);
    assert_eq!(call_raw(&server, &body, &[("grpc-encoding", "deflate")]).await.0, Code::Ok);
    let (code, text) = call_raw(&server, &body, &[("grpc-encoding", "br")]).await;
    assert_eq!(code, Code::Unimplemented, "{text}");
    let mut bomb = request([0.0; 2]);
    bomb.raw_input_contents = vec![Bytes::from(vec![0; 8 << 20])];
    let status = client.model_infer(bomb).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
}

/// Calls ModelInfer with `body` as it stands and returns the status code and text.
async fn call_raw(server: &Server, body: &[u8], headers: &[(&str, &str)]) -> (Code, String) {
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(socket);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let mut call = Request::post("http://weir/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let call = call.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let (head, body) = client.send_request(call).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&head.headers));
    let status = status.expect("every answer has a status");
    (status.code(), status.message().to_owned())
}

fn framed(flag: u8, len: u32, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &len.to_be_bytes(), message].concat()
}

#[tokio::test]
async fn bytes_that_are_no_call_are_refused() {
    let server = Server::start_with(
        Limits { body_bytes_max: 1 << 20, stall_timeout: Duration::from_millis(200), ..Limits::default() },
        FakeModel::elementwise(2, |x| x),
    )
    .await;
    let good = request([1.0, 2.0]).encode_to_vec();
    let len = u32::try_from(good.len()).unwrap();
    assert_eq!(call_raw(&server, &framed(0, len, &good), &[]).await.0, Code::Ok);
    for (body, code, text) in [
        (Vec::new(), Code::InvalidArgument, "no message"),
        (vec![0, 0], Code::Cancelled, "inside a message"),
        (framed(0, len + 1, &good), Code::Cancelled, "inside a message"),
        (framed(0, u32::MAX, &good), Code::ResourceExhausted, "at most 1048576"),
        (framed(1, len, &good), Code::InvalidArgument, "without grpc-encoding"),
        (framed(2, len, &good), Code::InvalidArgument, "compression flag"),
        (framed(0, 3, b"\xff\xff\xff"), Code::InvalidArgument, "not a valid ModelInferRequest"),
        ([framed(0, len, &good), framed(0, len, &good)].concat(), Code::InvalidArgument, "more than one"),
    ] {
        let (actual, message) = call_raw(&server, &body, &[]).await;
        assert_eq!(actual, code, "{message}");
        assert!(message.contains(text), "{message:?} does not say {text:?}");
    }
    assert_eq!(server.in_flight.count(), 0);
}

#[tokio::test]
async fn deadlines_and_cancellation_free_the_place() {
    let slow = FakeModel::elementwise(2, |x| x).with_latency(|_| Duration::from_millis(300));
    let server = Server::start_with(Limits::default(), slow).await;
    let mut client = server.client().await;
    let mut by_parameter = request([1.0, 2.0]);
    let timeout = pb::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(20_000)) };
    by_parameter.parameters.insert("timeout".to_owned(), timeout);
    assert_eq!(client.model_infer(by_parameter).await.unwrap_err().code(), Code::DeadlineExceeded);
    // tonic's client keeps the time itself, and may be first to say so.
    let message = request([1.0, 2.0]).encode_to_vec();
    let by_header = framed(0, u32::try_from(message.len()).unwrap(), &message);
    assert_eq!(call_raw(&server, &by_header, &[("grpc-timeout", "20m")]).await.0, Code::DeadlineExceeded);

    let mut other = server.client().await;
    let call = tokio::spawn(async move { other.model_infer(request([1.0, 2.0])).await });
    until(|| server.in_flight.count() == 1).await;
    call.abort();
    until(|| server.in_flight.count() == 0 && server.engine.in_flight() == 0).await;
}

/// Lets other tasks run until `done`.
async fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited in vain");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let limits = Limits { requests_in_flight_max: 0, ..Limits::default() };
    let server = Server::start_with(limits, FakeModel::elementwise(2, |x| x)).await;
    let status = server.client().await.model_infer(request([1.0, 2.0])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    for name in ["grpc-retry-pushback-ms", "retry-after-ms"] {
        assert_eq!(status.metadata().get(name).unwrap(), "1000");
    }
}

#[tokio::test]
async fn health_follows_readiness() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut check = async |service: &str| {
        let asked = HealthCheckRequest { service: service.to_owned() };
        health.check(asked).await.map(|answer| answer.into_inner().status())
    };
    for service in ["", "inference.GRPCInferenceService", "double"] {
        assert_eq!(check(service).await.unwrap(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);
    let mut watcher = HealthClient::new(server.channel().await);
    let mut watched = watcher.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.engine.announce_drain();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = ServerReflectionRequest { host: String::new(), message_request };
    let answers = client.server_reflection_info(futures_util::stream::iter([asked])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"inference.GRPCInferenceService".to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
}
