//! The API over a registry in memory, and the shipped document against the handlers.

use std::sync::Arc;

use axum::body::Body as AxumBody;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{ApiState, document, router};
use crate::access::{Access, AccessSettings, Peer};
use crate::backend::fake::FakeBackend;
use crate::capture::labels::{LabelStore, LabelStoreOptions};
use crate::control::{ControlPlane, RegistryDoor};
use crate::metrics::Registry as Metrics;
use crate::model::{ModelName, Version};
use crate::registry::sample::{intent, record};
use crate::registry::{FileRef, Op, Registry, Store};
use crate::serving::{Engine, Manager, ManagerConfig, ModelControl};

struct Api {
    router: axum::Router,
    peer: Arc<Peer>,
}

struct Answer {
    status: StatusCode,
    etag: String,
    json: Value,
}

/// The API of a server with `digits` in three versions. `address` is the peer's.
async fn api(address: &str) -> Api {
    api_and_control(address).await.0
}

async fn api_and_control(address: &str) -> (Api, Arc<ControlPlane>) {
    let registry = Registry::open(Store::memory()).await.unwrap();
    let digits: ModelName = "digits".parse().unwrap();
    let file = |n: u64| FileRef { path: "model.onnx".to_owned(), sha256: format!("{n:064x}"), size: n };
    let plan = |_: &crate::registry::ModelState| {
        let mut ops = vec![Op::CreateModel { description: "digits".to_owned() }];
        for n in 1..=3 {
            let record = Box::new(record(vec![file(n)]));
            ops.push(Op::CreateVersion { version: Version::new(n).unwrap(), record });
        }
        Ok(ops)
    };
    registry.commit(&digits, &intent(), plan).await.unwrap();
    let engine = Arc::new(Engine::new(&Metrics::new()).unwrap());
    let config = ManagerConfig { control: ModelControl::None, ..ManagerConfig::default() };
    let manager = Manager::start(config, Arc::new(FakeBackend::default()), engine).unwrap();
    let door = RegistryDoor::new(Arc::new(registry), None);
    let control = Arc::new(ControlPlane::new(manager).with_registry(door));
    let settings = AccessSettings { is_loopback_bound: true, ..AccessSettings::default() };
    let access = Arc::new(Access::new(settings, &Metrics::new()).unwrap());
    let router = router(ApiState { control: Arc::clone(&control), access });
    (Api { router, peer: Arc::new(Peer::new(address.parse().unwrap())) }, control)
}

impl Api {
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(AxumBody::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let etag = head.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        Answer {
            status: head.status,
            etag: etag.unwrap_or_default(),
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// Asks and expects a status.
    async fn check(&self, method: Method, path: &str, body: Value, status: u16) -> Answer {
        let answer = self.ask(method.clone(), path, &[], &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {body}: {}", answer.json);
        answer
    }
}

const LOCAL: &str = "127.0.0.1:5";

#[tokio::test]
async fn a_deployment_from_first_to_last() {
    let api = api(LOCAL).await;
    let at = "/models/digits/deployments/default";
    let made = api.check(Method::PUT, at, json!({"version": 1, "reason": "first"}), 200).await;
    assert_eq!((made.etag.as_str(), &made.json["revision"]), ("\"2\"", &json!(2)));
    assert_eq!(made.json["changed"], true);
    let again = api.check(Method::PUT, at, json!({"version": 1, "reason": "first"}), 200).await;
    assert_eq!((again.etag.as_str(), &again.json["changed"]), ("\"2\"", &json!(false)));
    let split = json!({"weights": {"1": 90, "2": 10}, "sticky": "header:X-User", "reason": "try"});
    api.check(Method::PUT, &format!("{at}/traffic"), split, 200).await;
    let shown = api.check(Method::GET, at, Value::Null, 200).await;
    assert_eq!(shown.json["spec"]["traffic"], json!({"1": 90, "2": 10}));
    assert_eq!(shown.json["spec"]["sticky"], json!({"header": "x-user"}));
    api.check(Method::POST, &format!("{at}/rollback"), json!({"reason": "worse"}), 200).await;
    let shown = api.check(Method::GET, at, Value::Null, 200).await;
    assert_eq!(shown.json["spec"]["traffic"], json!({"1": 100}), "{}", shown.json);
    api.check(
        Method::POST,
        "/models/digits/deployments/stage/clone",
        json!({"from": "default", "reason": "s"}),
        200,
    )
    .await;
    let diff = api.check(Method::GET, &format!("{at}/diff?against=default@3"), Value::Null, 200).await;
    assert!(diff.json["differences"].as_array().is_some_and(|found| !found.is_empty()), "{}", diff.json);
    api.check(Method::DELETE, at, json!({"reason": "over"}), 200).await;
    api.check(Method::GET, at, Value::Null, 404).await;
}

#[tokio::test]
async fn what_is_said_about_versions() {
    let api = api(LOCAL).await;
    api.check(Method::PUT, "/models/digits/aliases/champion", json!({"version": "2", "reason": "best"}), 200)
        .await;
    let tags = json!({"set": {"area": "qna"}});
    api.check(Method::POST, "/models/digits/versions/champion/tags", tags, 200).await;
    let about = json!({"metrics": {"auc": 0.9}, "properties": {"seed": "7"}, "description": "a net"});
    api.check(Method::PATCH, "/models/digits/versions/2", about, 200).await;
    let other = json!({"properties": {"seed": "8"}});
    api.check(Method::PATCH, "/models/digits/versions/2", other, 409).await;
    let shown = api.check(Method::GET, "/models/digits/versions/champion", Value::Null, 200).await.json;
    assert_eq!((&shown["version"], &shown["tags"]["area"]), (&json!(2), &json!("qna")));
    assert_eq!(shown["in_use_by"], json!(["alias 'champion'"]));
    let log = api.check(Method::GET, "/models/digits/revisions?from=2&limit=2", Value::Null, 200).await.json;
    assert_eq!(log["revisions"].as_array().map(Vec::len), Some(2));
    assert_eq!(log["next"], json!(4));
}

#[tokio::test]
async fn what_is_in_use_stays_and_says_by_whom() {
    let api = api(LOCAL).await;
    api.check(Method::PUT, "/models/digits/aliases/champion", json!({"version": 2, "reason": "best"}), 200)
        .await;
    let refused =
        api.check(Method::DELETE, "/models/digits/versions/2", json!({"reason": "old"}), 409).await.json;
    assert_eq!((&refused["code"], &refused["holders"]), (&json!("conflict"), &json!(["alias 'champion'"])));
    api.check(Method::DELETE, "/models/digits/versions/3", json!({"reason": "old"}), 200).await;
    api.check(Method::GET, "/models/digits/versions/3", Value::Null, 404).await;
    api.check(Method::POST, "/models/digits/versions/3/undelete", json!({}), 200).await;
    api.check(Method::GET, "/models/digits/versions/3", Value::Null, 200).await;
}

#[tokio::test]
async fn callers_who_read_first() {
    let api = api(LOCAL).await;
    let read = api.check(Method::GET, "/models/digits", Value::Null, 200).await;
    let change = json!({"description": "d"}).to_string();
    let first = api.ask(Method::PATCH, "/models/digits", &[("if-match", &read.etag)], &change).await;
    assert_eq!(first.status, 200);
    let change = json!({"description": "e"}).to_string();
    let late = api.ask(Method::PATCH, "/models/digits", &[("if-match", &read.etag)], &change).await;
    assert_eq!((late.status.as_u16(), &late.json["revision"]), (412, &json!(2)));
    let wrong = api.ask(Method::PATCH, "/models/digits", &[("if-match", "x")], &change).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn malformed_requests() {
    let api = api(LOCAL).await;
    let at = "/models/digits/deployments/default";
    api.check(Method::PUT, at, json!({"version": 1}), 400).await;
    api.check(Method::PUT, at, json!({"version": 1, "reason": "r", "extra": 1}), 400).await;
    api.check(Method::PUT, at, json!({"version": 9, "reason": "r"}), 404).await;
    api.check(Method::PUT, at, json!({"reason": "r"}), 400).await;
    api.check(Method::PUT, "/models/digits/deployments/A", json!({"version": 1, "reason": "r"}), 400).await;
    api.check(Method::GET, "/models/..%2fdigits", Value::Null, 404).await;
    api.check(Method::GET, "/models/none", Value::Null, 404).await;
    api.check(Method::POST, "/models/digits", Value::Null, 405).await;
    api.check(Method::GET, "/nothing", Value::Null, 404).await;
    let large = format!("{{\"description\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(api.ask(Method::PATCH, "/models/digits", &[], &large).await.status, 413);
}

#[tokio::test]
async fn others_read_and_change_nothing() {
    let api = api("192.0.2.7:5").await;
    api.check(Method::GET, "/models/digits", Value::Null, 200).await;
    api.check(Method::PATCH, "/models/digits", json!({"description": "d"}), 403).await;
    api.check(Method::POST, "/registry/refresh", Value::Null, 403).await;
    let read = api.check(Method::GET, "/models/digits", Value::Null, 200).await;
    assert_eq!(read.etag, "\"1\"");
}

/// The API with a store of labels in `folder`.
async fn api_with_labels(address: &str, folder: &std::path::Path) -> (Api, Arc<LabelStore>) {
    let (api, control) = api_and_control(address).await;
    let options = LabelStoreOptions { folder: folder.to_owned(), ..LabelStoreOptions::default() };
    let labels = LabelStore::open(Arc::new(object_store::memory::InMemory::new()), options).unwrap();
    let labels = Arc::new(labels);
    control.attach_labels(Arc::clone(&labels));
    (api, labels)
}

#[tokio::test]
async fn labels_are_taken_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (api, labels) = api_with_labels(LOCAL, folder.path()).await;
    let at = "/models/digits/feedback";
    let one = json!({"request_id": "a", "label": 7, "label_time": "2026-01-02T03:04:05Z", "source": "desk"});
    let answer = api.check(Method::POST, at, one.clone(), 200).await.json;
    assert_eq!(answer, json!({"accepted": 1, "duplicates": 0, "rejected_count": 0, "rejected": []}));
    let batch = json!([one, {"request_id": "b", "row": 3, "label": "x"}, {"request_id": "", "label": 1}, 5]);
    let answer = api.check(Method::POST, at, batch, 200).await.json;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(1)));
    assert_eq!((&answer["rejected"][0]["index"], &answer["rejected"][1]["index"]), (&json!(2), &json!(3)));
    let lines = "{\"request_id\": \"c\", \"label\": true}\n{\"request_id\": \"d\", \"label\": [1, 2]}\n";
    assert_eq!(api.ask(Method::POST, at, &[], lines).await.json["accepted"], 2);
    labels.flush().await.unwrap();
    let digits = "digits".parse().unwrap();
    let table = crate::capture::labels::read(labels.store(), &digits, None, 100).await.unwrap();
    assert_eq!(table.len(), 4);
    assert_eq!(table.get("a", 0).unwrap().0.time_us, Some(1_767_323_045_000_000));
}

#[tokio::test]
async fn bodies_that_are_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (api, labels) = api_with_labels(LOCAL, folder.path()).await;
    let at = "/models/digits/feedback";
    let long = format!("{{\"request_id\": \"a\", \"label\": \"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(api.ask(Method::POST, at, &[], &long).await.status, 413);
    let many = format!("[{}1]", "1,".repeat(20_000));
    let deep = "[".repeat(100_000);
    let ahead = "{\"request_id\": \"a\", \"label\": 1, \"label_time\": \"9999-01-01T00:00:00Z\"}";
    for body in [
        "",
        " ",
        "[]",
        "{",
        "[{\"request_id\": \"a\", \"label\": 1},",
        "{\"request_id\": \"a\", \"label\": 1}\n{",
        "{\"request_id\": \"a\", \"label\": 1, \"extra\": 1}",
        "{\"request_id\": \"a\", \"label\": null}",
        "{\"request_id\": \"a\"}",
        "{\"request_id\": \"a\", \"row\": -1, \"label\": 1}",
        "{\"request_id\": \"a\", \"row\": 4294967296, \"label\": 1}",
        "{\"request_id\": \"a\\u0000\", \"label\": 1}",
        "{\"request_id\": \"a\", \"label\": 1, \"label_time\": \"yesterday\"}",
        "{\"request_id\": \"a\", \"label\": 1e999}",
        "null",
        ahead,
        many.as_str(),
        deep.as_str(),
    ] {
        let answer = api.ask(Method::POST, at, &[], body).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(
            (answer.status.as_u16(), &answer.json["code"]),
            (400, &json!("invalid_argument")),
            "{shown}"
        );
        assert!(answer.json["error"].as_str().is_some_and(|text| text.len() < 300), "{}", answer.json);
    }
    let label = json!({"request_id": "a", "label": 1});
    api.check(Method::POST, "/models/..%2fdigits/feedback", label.clone(), 404).await;
    assert_eq!(labels.waiting_bytes(), 0);
    // Without capture, and for those who may only read.
    self::api(LOCAL).await.check(Method::POST, at, label.clone(), 409).await;
    let (stranger, _) = api_with_labels("192.0.2.7:5", folder.path()).await;
    stranger.check(Method::POST, at, label, 403).await;
}

#[test]
fn the_shipped_document_is_the_code_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let made = document();
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        shipped == made,
        "docs/openapi.json is not what the code describes: run with WEIR_BLESS=1 and look at it"
    );
}
