//! What a real server writes beside a request's rows: the registry's revision that led it to its version, and the headers
//! that the deployment wants.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weir::protocol::grpc::pb;
use weir::protocol::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;

use crate::registry_serve::House;
use crate::support::{Server, get, post, run, until};

/// Sends `model` a row over HTTP, with these header lines.
fn ask(server: &Server, version: &str, headers: &str) {
    let path = match version {
        "" => "/v2/models/digits/infer".to_owned(),
        version => format!("/v2/models/digits/versions/{version}/infer"),
    };
    let row = vec![0.5; 64];
    let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": row });
    let body = json!({ "inputs": [input] }).to_string();
    let (status, answer) = post(&server.http, &path, headers, body.as_bytes()).unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// The same over gRPC, in a call and in a stream.
fn ask_grpc(server: &Server, tenant: &str) {
    let address = format!("http://{}", server.grpc);
    let message = || pb::ModelInferRequest {
        model_name: "digits".to_owned(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "image".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1, 8, 8],
            ..Default::default()
        }],
        raw_input_contents: vec![[0.5_f32; 64].iter().flat_map(|v| v.to_le_bytes()).collect()],
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let mut client = GrpcInferenceServiceClient::new(channel);
        let mut call = tonic::Request::new(message());
        call.metadata_mut().insert("x-tenant", tenant.parse().unwrap());
        client.model_infer(call).await.unwrap();
        let mut call = tonic::Request::new(futures_util::stream::iter([message()]));
        call.metadata_mut().insert("x-tenant", tenant.parse().unwrap());
        let mut answers = client.model_stream_infer(call).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
    });
}

/// Deploys a version with what is to be captured; returns the revision once it is served.
fn deploy(server: &Server, version: u64) -> u64 {
    let settings = json!({
        "capture.attributes": ["X-Tenant", "x-region"],
        "capture.privacy": { "attr.x-tenant": "keep" },
    });
    let body = json!({ "version": version, "settings": settings, "reason": "a test" }).to_string();
    let answer = crate::registry_api::put(server, "/models/digits/deployments/default", &body);
    assert_eq!(answer.0, 200, "{}", answer.1);
    let known: Value = serde_json::from_str(&get(&server.http, "/api/v1/models/digits").unwrap().1).unwrap();
    let revision = known["deployments"]["default"]["since"]["rev"].as_u64().unwrap();
    until("the version is served", || {
        get(&server.http, &format!("/v2/models/digits/versions/{version}/ready"))
            .is_ok_and(|ready| ready.0 == 200)
    });
    revision
}

#[test]
fn rows_say_which_revision_led_to_them_and_what_was_asked_to_be_kept() {
    let house = House::open();
    let folder = tempfile::tempdir().unwrap();
    let more = [
        Path::new("--monitoring-dir"),
        folder.path(),
        Path::new("--capture-mode=durable"),
        Path::new("--capture-rotate-interval=1s"),
    ];
    let server = house.server_and("a", &more);
    let first = deploy(&server, 1);
    ask(&server, "", "x-tenant: acme\r\nx-region: north\r\nx-other: secret\r\n");
    ask(&server, "", "");
    ask_grpc(&server, "globex");
    let long = format!("x-tenant: {}\r\n", "a".repeat(2000));
    ask(&server, "", &long);
    let second = deploy(&server, 2);
    assert!(second > first);
    until("the new version answers", || {
        ask(&server, "", "x-tenant: late\r\n");
        let stats = get(&server.http, "/v2/models/digits/versions/2/stats").unwrap().1;
        let stats: Value = serde_json::from_str(&stats).unwrap();
        stats["model_stats"][0]["inference_count"].as_u64() > Some(0)
    });
    server.stop();
    let store = folder.path().join("store");
    let lines = run(Command::new(env!("CARGO_BIN_EXE_weir")).args(["capture", "export"]).arg(store));
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |tenant: Value| -> Vec<&Value> { rows.iter().filter(|row| row["attr.x-tenant"] == tenant).collect() };
    let [acme] = of(json!("acme"))[..] else { panic!("{lines}") };
    assert_eq!((&acme["alias_rev"], &acme["model_version"]), (&json!(first), &json!(1)));
    let region = acme["attr.x-region"].as_str().unwrap();
    assert!(region.len() == 32 && region != "north", "text is hashed unless told otherwise: {region}");
    assert!(!lines.contains("secret"));
    let protocols: Vec<&Value> = of(json!("globex")).iter().map(|row| &row["protocol"]).collect();
    assert_eq!(protocols.len(), 2);
    for protocol in ["grpc", "grpc_stream"] {
        assert!(protocols.contains(&&json!(protocol)), "{protocols:?}");
    }
    assert_eq!(of(Value::Null).len(), 2, "one without headers, and one whose value is too long");
    let late = of(json!("late"));
    assert!(
        late.iter().any(|row| row["model_version"] == 2 && row["alias_rev"] == json!(second)),
        "{late:?}"
    );
    for row in &rows {
        let revision = if row["model_version"] == 1 { first } else { second };
        assert_eq!(row["alias_rev"], json!(revision), "{row}");
    }
}
