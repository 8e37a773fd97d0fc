//! Requests and answers of the REST door, with a model that gives back what it takes.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::HttpDoor;
use super::compression::{self, Coding};
use crate::access::{Access, AccessSettings, Peer};
use crate::backend::{
    Artifact, Backend, BackendError, Input, InputData, Instance, Interrupt, Model, OpenOptions, Output,
};
use crate::control::ControlPlane;
use crate::metrics::Registry;
use crate::model::{Dim, Signature, TensorSpec};
use crate::protocol::Limits;
use crate::serving::{Engine, Manager, ManagerConfig, ModelControl};
use crate::tensor::DataType;
use crate::transport::InFlight;

/// Opens anything as a model whose output `y` is its input `x`, FP32 rows of 2.
#[derive(Debug)]
struct Mirror(Signature);

impl Mirror {
    fn new() -> Mirror {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            dtype: DataType::Fp32,
            shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(2)]),
            optional: false,
        };
        Mirror(Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] })
    }
}

impl Backend for Mirror {
    fn open(&self, _: &Artifact, _: &OpenOptions) -> Result<Arc<dyn Model>, BackendError> {
        Ok(Arc::new(Mirror::new()))
    }
}

impl Model for Mirror {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        Ok(Box::new(Running))
    }
}

struct Running;

impl Instance for Running {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        let input = inputs[0].unwrap();
        let InputData::Fixed(data) = input.data else { return Err(BackendError::Interrupted) };
        Ok(vec![Output {
            dtype: input.dtype,
            shape: input.shape.clone(),
            data: Bytes::copy_from_slice(data),
        }])
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Deaf)
    }
}

struct Deaf;

impl Interrupt for Deaf {
    fn interrupt(&self, _run: u64) {}
}

/// A door to a server that serves `mirror` in version 3.
async fn door(limits: Limits) -> HttpDoor {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("mirror/3")).unwrap();
    std::fs::write(folder.path().join("mirror/3/model.onnx"), b"anything").unwrap();
    let engine = Arc::new(Engine::new(&Registry::new()).unwrap());
    let paths = vec![folder.path().to_owned()];
    let config = ManagerConfig { paths, control: ModelControl::None, ..ManagerConfig::default() };
    let manager = Manager::start(config, Arc::new(Mirror::new()), Arc::clone(&engine)).unwrap();
    manager.settled().await;
    let control = Arc::new(ControlPlane::new(manager));
    let settings = AccessSettings { is_loopback_bound: true, ..AccessSettings::default() };
    let access = Arc::new(Access::new(settings, &Registry::new()).unwrap());
    let in_flight = InFlight::new(8, 1 << 30);
    HttpDoor { engine, control, access, events: None, limits, in_flight, version: "1.2.3" }
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

async fn ask(door: &HttpDoor, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let (head, body) = request.into_parts();
    let peer = Peer::new("127.0.0.1:1".parse().unwrap());
    let (head, body) = door.answer(&head, body, &peer).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

const INFER: &str = "/v2/models/mirror/infer";

#[tokio::test]
async fn descriptions() {
    let door = door(Limits::default()).await;
    let check = async |method: Method, path: &str, status: u16, expected: Value| {
        let answer = ask(&door, method, path, &[], b"").await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, expected), "{path}");
    };
    check(Method::GET, "/v2/health/live", 200, json!({"live": true})).await;
    check(Method::GET, "/v2/models", 200, json!({"models": ["mirror"]})).await;
    check(Method::GET, "/v2/models/mirror/ready", 200, json!({"name": "mirror", "ready": true})).await;
    let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 2]});
    let metadata = json!({
        "name": "mirror", "versions": ["3"], "platform": "onnxruntime_onnx",
        "inputs": [tensor("x")], "outputs": [tensor("y")],
    });
    check(Method::GET, "/v2/models/mirror/versions/3", 200, metadata).await;
    let index = json!([{"name": "mirror", "version": "3", "state": "READY", "reason": ""}]);
    check(Method::POST, "/v2/repository/index", 200, index).await;
    let config = ask(&door, Method::GET, "/v2/models/mirror/config", &[], b"").await.json();
    assert_eq!(
        (&config["backend"], &config["input"][0]["data_type"]),
        (&json!("onnxruntime"), &json!("TYPE_FP32"))
    );
    let rank = if config["max_batch_size"] == 0 { 2 } else { 1 };
    assert_eq!(config["input"][0]["dims"].as_array().unwrap().len(), rank);
    let statistics = ask(&door, Method::GET, "/v2/models/mirror/stats", &[], b"").await.json();
    assert_eq!(statistics["model_stats"][0]["version"], "3");
    let server = ask(&door, Method::GET, "/v2", &[], b"").await.json();
    assert_eq!((&server["name"], &server["version"]), (&json!("weir"), &json!("1.2.3")));
}

#[tokio::test]
async fn inference_in_every_form() {
    let door = door(Limits::default()).await;
    let body = br#"{"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[0.1,2]}]}"#;
    let answer = ask(&door, Method::POST, INFER, &[("x-request-id", "r")], body).await;
    assert_eq!(
        &answer.body[..],
        br#"{"id":"7","model_name":"mirror","model_version":"3","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[0.1,2.0]}]}"#
    );
    assert_eq!(
        (&answer.headers["x-request-id"], &answer.headers["content-type"]),
        (&"r".parse().unwrap(), &"application/json".parse().unwrap())
    );

    let json = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}"#;
    let tensor = [1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat();
    let body = [json.as_bytes(), &tensor].concat();
    let length = json.len().to_string();
    let headers = [("inference-header-content-length", &*length)];
    let answer = ask(&door, Method::POST, "/v2/models/mirror/versions/3/infer", &headers, &body).await;
    let json_len: usize =
        answer.headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(&answer.body[json_len..], tensor);
    assert_eq!(answer.headers["content-type"], "application/octet-stream");

    let headers = [("inference-header-content-length", "0")];
    let answer = ask(&door, Method::POST, INFER, &headers, &tensor).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert!(answer.body.ends_with(&tensor));
}

#[tokio::test]
async fn compressed_both_ways() {
    let door = door(Limits::default()).await;
    let rows = 2000;
    let data = vec![json!([1.25, 2.5]); rows];
    let body =
        json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data}]}).to_string();
    let plain = ask(&door, Method::POST, INFER, &[], body.as_bytes()).await;
    assert_eq!(plain.status, StatusCode::OK, "{:?}", plain.body);
    for (name, coding) in [("gzip", Coding::Gzip), ("deflate", Coding::Deflate)] {
        let request = compression::compress(coding, super::reply::json_text(StatusCode::OK, body.clone()));
        let compressed = request.into_body().collect().await.unwrap().to_bytes();
        assert!(compressed.len() < body.len() / 4);
        let headers = [("content-encoding", name), ("accept-encoding", name)];
        let answer = ask(&door, Method::POST, INFER, &headers, &compressed).await;
        assert_eq!(
            (answer.status, &answer.headers["content-encoding"]),
            (StatusCode::OK, &name.parse().unwrap())
        );
        let bounds = compression::Bounds::new(&Limits::default(), answer.body.len());
        assert_eq!(
            compression::decompress(coding, &answer.body, bounds, &InFlight::new(1, usize::MAX)).unwrap(),
            plain.body
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_json() {
    let door = door(Limits { body_bytes_max: 1000, ..Limits::default() }).await;
    let check = async |method: Method,
                       path: &str,
                       headers: &[(&str, &str)],
                       body: &[u8],
                       status: u16,
                       expected: &str| {
        let answer = ask(&door, method, path, headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, json!({"error": expected})), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
    };
    let good = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    let post = async |path: &str, headers: &[(&str, &str)], body: &[u8], status: u16, expected: &str| {
        check(Method::POST, path, headers, body, status, expected).await;
    };
    check(Method::GET, "/v3", &[], b"", 404, "there is nothing at this address").await;
    check(Method::GET, INFER, &[], b"", 405, "this address takes POST only").await;
    post("/v2/models/none/infer", &[], good, 404, "model 'none' is not found").await;
    post(INFER, &[], b"{}", 400, "the request has no 'inputs'").await;
    post(INFER, &[], &[b' '; 1001], 413, "the body is larger than 1000 bytes").await;
    let timeout = "the header Weir-Timeout must be a whole number and us, ms or s, for example 250ms";
    post(INFER, &[("weir-timeout", "5")], good, 400, timeout).await;
    let coding = "Content-Encoding 'br' is not supported; gzip and deflate are";
    post(INFER, &[("content-encoding", "br")], good, 400, coding).await;
    let length = "the header Inference-Header-Content-Length says 9999, the body has 70 bytes";
    post(INFER, &[("inference-header-content-length", "9999")], good, 400, length).await;
    let headers = [("inference-header-content-length", "0")];
    let raw = ask(&door, Method::POST, INFER, &headers, b"abc").await;
    assert_eq!(raw.status, StatusCode::BAD_REQUEST);
    assert!(raw.json()["error"].as_str().unwrap().starts_with("tensor 'x': shape"), "{:?}", raw.body);
    post("/v2/repository/index", &[], b"[]", 400, "the body must be a JSON object").await;
    let large = "h".repeat(20_000);
    let answer = ask(&door, Method::GET, "/v2", &[("x", &large)], b"").await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let mut door = door(Limits::default()).await;
    door.in_flight = InFlight::new(0, 0);
    let answer = ask(&door, Method::POST, INFER, &[], b"{}").await;
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
}
