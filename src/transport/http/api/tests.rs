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
use crate::control::feedback::FeedbackMetrics;
use crate::control::intake::Intake;
use crate::control::register::tests::FakeTrial;
use crate::control::{ControlPlane, RegistryDoor};
use crate::metrics::Registry as Metrics;
use crate::model::{ModelName, Version};
use crate::registry::package::Limits;
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
    content_type: String,
    bytes: Vec<u8>,
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
    let limits = Limits { files_max: 10, bytes_max: 10_000 };
    let intake = Intake::new(Arc::new(FakeTrial), limits, std::env::temp_dir());
    let door = RegistryDoor::new(Arc::new(registry), None).with_intake(intake);
    let control = Arc::new(ControlPlane::new(manager).with_registry(door));
    let settings = AccessSettings { is_loopback_bound: true, ..AccessSettings::default() };
    let access = Arc::new(Access::new(settings, &Metrics::new()).unwrap());
    let router = router(ApiState::new(Arc::clone(&control), access));
    (Api { router, peer: Arc::new(Peer::new(address.parse().unwrap())) }, control)
}

impl Api {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        self.stream(method, path, headers, AxumBody::from(body.into())).await
    }

    async fn stream(&self, method: Method, path: &str, headers: &[(&str, &str)], body: AxumBody) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = |name| head.headers.get(name).map(|text| text.to_str().unwrap().to_owned());
        Answer {
            bytes: bytes.to_vec(),
            content_type: text("content-type").unwrap_or_default(),
            status: head.status,
            etag: text("etag").unwrap_or_default(),
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// Asks and expects a status.
    async fn check(&self, method: Method, path: &str, body: Value, status: u16) -> Answer {
        let answer = self.ask(method.clone(), path, &[], body.to_string()).await;
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
    let first = api.ask(Method::PATCH, "/models/digits", &[("if-match", &read.etag)], change).await;
    assert_eq!(first.status, 200);
    let change = json!({"description": "e"}).to_string();
    let late = api.ask(Method::PATCH, "/models/digits", &[("if-match", &read.etag)], change).await;
    assert_eq!((late.status.as_u16(), &late.json["revision"]), (412, &json!(2)));
    let wrong = api.ask(Method::PATCH, "/models/digits", &[("if-match", "x")], "{}").await;
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
    assert_eq!(api.ask(Method::PATCH, "/models/digits", &[], large).await.status, 413);
}

#[tokio::test]
async fn others_read_and_change_nothing() {
    let api = api("192.0.2.7:5").await;
    api.check(Method::GET, "/models/digits", Value::Null, 200).await;
    api.check(Method::PATCH, "/models/digits", json!({"description": "d"}), 403).await;
    api.check(Method::POST, "/registry/refresh", Value::Null, 403).await;
    api.check(Method::POST, "/registry/gc", json!({"dry_run": true}), 403).await;
    api.check(Method::POST, "/registry/verify", json!({}), 403).await;
    api.check(Method::POST, "/registry/verify", json!({"model": "digits"}), 200).await;
    api.check(Method::POST, "/registry/keys", json!({"ed25519": "AAAA", "reason": "r"}), 403).await;
    api.check(Method::POST, "/registry/keys/accept", json!({"model": "digits", "up_to": 1}), 403).await;
    api.check(Method::DELETE, "/registry/keys/0123456789abcdef", json!({"reason": "r"}), 403).await;
    api.check(Method::GET, "/search", Value::Null, 200).await;
    api.check(Method::GET, "/models/digits/audit", Value::Null, 200).await;
    let refused = api.ask(Method::POST, "/models/digits/versions", &[ONNX], "model").await;
    assert_eq!(refused.status, 403);
    let read = api.check(Method::GET, "/models/digits", Value::Null, 200).await;
    assert_eq!(read.etag, "\"1\"");
}

#[tokio::test]
async fn what_is_registered_is_found() {
    let api = api(LOCAL).await;
    let tags = json!({"set": {"area": "qna"}});
    api.check(Method::POST, "/models/digits/versions/2/tags", tags, 200).await;
    let found = api.check(Method::GET, "/search?q=tags.area%20%3D%20qna", Value::Null, 200).await.json;
    assert_eq!((&found["versions"][0]["version"], &found["next_page_token"]), (&json!(2), &Value::Null));
    let mut token = String::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let path = format!("/search?order_by=version%20desc&limit=1{token}");
        let page = api.check(Method::GET, &path, Value::Null, 200).await.json;
        seen.push(page["versions"][0]["version"].clone());
        token = page["next_page_token"].as_str().map_or(String::new(), |t| format!("&page_token={t}"));
    }
    assert_eq!((seen, token.as_str()), (vec![json!(3), json!(2), json!(1)], ""));
    let models = api.check(Method::GET, "/search?what=models", Value::Null, 200).await.json;
    assert_eq!((&models["models"][0]["name"], &models["versions"]), (&json!("digits"), &Value::Null));
    let listed = api.check(Method::GET, "/models", Value::Null, 200).await.json;
    assert_eq!(listed, models);
    for wrong in ["?q=tags.area%20=", "?what=x", "?order_by=x", "?limit=x", "?page_token=x", "?y=1"] {
        let refused = api.check(Method::GET, &format!("/search{wrong}"), Value::Null, 400).await;
        assert_eq!(refused.json["code"], "invalid_argument", "{wrong}");
    }
}

#[tokio::test]
async fn what_served_when_and_why() {
    let api = api(LOCAL).await;
    let at = "/models/digits/deployments/default";
    api.check(Method::PUT, at, json!({"version": 1, "reason": "first"}), 200).await;
    api.check(Method::PUT, at, json!({"version": 2, "reason": "better"}), 200).await;
    let told = api.check(Method::GET, "/models/digits/audit?at=now", Value::Null, 200).await.json;
    let changes = told["audit"]["changes"].as_array().unwrap();
    assert_eq!((changes.len(), &changes[0]["reason"]), (1, &json!("better")));
    assert_eq!(changes[0]["traffic"][0]["version"], 2);
    let all = api.check(Method::GET, "/models/digits/audit?deployment=default", Value::Null, 200).await.json;
    assert_eq!(all["audit"]["changes"].as_array().map(Vec::len), Some(2));
    api.check(Method::GET, "/models/digits/audit?at=soon", Value::Null, 400).await;
    api.check(Method::GET, "/models/none/audit", Value::Null, 404).await;
    let anchors = api.check(Method::GET, "/registry/anchors", Value::Null, 200).await.json;
    assert_eq!(
        (&anchors["anchors"][0]["model"], &anchors["anchors"][0]["rev"]),
        (&json!("digits"), &json!(3))
    );
    let verified = api.check(Method::POST, "/registry/verify", anchors, 200).await.json;
    assert_eq!(
        (&verified["ok"], &verified["revisions"], &verified["anchors"]),
        (&json!(true), &json!(3), &json!(1))
    );
    // The versions of this test have no files.
    let blobs = json!({"model": "digits", "blobs": "sizes"});
    let verified = api.check(Method::POST, "/registry/verify", blobs, 200).await.json;
    assert_eq!((&verified["ok"], &verified["findings"][0]["kind"]), (&json!(false), &json!("blob")));
    api.check(Method::POST, "/registry/verify", json!({"blobs": "some"}), 400).await;
    let gone =
        api.check(Method::POST, "/registry/gc", json!({"grace": "0s", "dry_run": true}), 200).await.json;
    assert_eq!((&gone["dry_run"], &gone["freed"]), (&json!(true), &json!([])));
    api.check(Method::POST, "/registry/gc", json!({"grace": "soon"}), 400).await;
}

#[tokio::test]
async fn lineages_in_every_form() {
    let api = api(LOCAL).await;
    for (format, content_type, begins) in [
        ("", "application/json", "{\"nodes\":["),
        ("?format=json", "application/json", "{\"nodes\":["),
        ("?format=text", "text/plain; charset=utf-8", "digits@1"),
        ("?format=dot", "text/vnd.graphviz; charset=utf-8", "digraph lineage"),
        ("?format=svg", "image/svg+xml", "<svg"),
    ] {
        let path = format!("/models/digits/versions/1/lineage{format}");
        let drawn = api.ask(Method::GET, &path, &[], "").await;
        let text = String::from_utf8(drawn.bytes).unwrap();
        assert_eq!((drawn.status.as_u16(), drawn.content_type.as_str()), (200, content_type), "{format}");
        assert!(text.starts_with(begins), "{format}: {text}");
    }
    api.check(Method::GET, "/models/digits/versions/1/lineage?format=pdf", Value::Null, 400).await;
    api.check(Method::GET, "/models/digits/versions/9/lineage", Value::Null, 404).await;
}

/// A tar stream with a model and a vocabulary in a folder.
fn package(model: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [("model.onnx", model), ("vocab/words.txt", b"a\nb\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.into_inner().unwrap()
}

const TAR: (&str, &str) = ("content-type", "application/x-tar");
const ONNX: (&str, &str) = ("content-type", "application/octet-stream");

#[tokio::test]
async fn packages_become_versions_and_come_out_again() {
    let api = api(LOCAL).await;
    let key = [TAR, ("idempotency-key", "build 7")];
    let path = "/models/words/versions?tag=area=qna&metric=auc=0.5&from=digits@2&run=r7";
    let made = api.ask(Method::POST, path, &key, package(b"model")).await;
    assert_eq!(made.status, 201, "{}", made.json);
    assert_eq!((&made.json["version"], &made.json["created"]), (&json!(1), &json!(true)));
    let again = api.ask(Method::POST, path, &key, package(b"model")).await;
    assert_eq!((again.status.as_u16(), &again.json["version"]), (200, &json!(1)));
    let other = api.ask(Method::POST, path, &key, package(b"other")).await;
    assert_eq!(other.status, 409, "{}", other.json);
    let found = api.check(Method::GET, "/search?q=tags.area:qna", Value::Null, 200).await.json;
    assert_eq!(found["versions"][0]["model"], "words", "found at once");
    let held = api.check(Method::GET, "/models/digits/versions/2", Value::Null, 200).await.json;
    assert_eq!(held["in_use_by"], json!(["lineage of words@1"]), "{held}");
    let files = api.check(Method::GET, "/models/words/versions/1/files", Value::Null, 200).await.json;
    assert_eq!(files["files"][1]["path"], "vocab/words.txt");
    for path in ["vocab/words.txt", "vocab%2Fwords.txt"] {
        let file = api.ask(Method::GET, &format!("/models/words/versions/1/files/{path}"), &[], "").await;
        assert_eq!((file.status.as_u16(), file.bytes.as_slice()), (200, &b"a\nb\n"[..]), "{path}");
        assert_eq!(file.etag, files["files"][1]["sha256"].to_string());
    }
    api.check(Method::GET, "/models/words/versions/1/files/none", Value::Null, 404).await;
    api.check(Method::GET, "/models/digits/versions/1/files/model.onnx", Value::Null, 400).await;
    let one = api.ask(Method::POST, "/models/words/versions", &[ONNX], "another").await;
    assert_eq!((one.status.as_u16(), &one.json["version"]), (201, &json!(2)));
}

/// Four bodies that never come are all that is waited for, and not for long.
#[tokio::test(start_paused = true)]
async fn few_packages_come_at_a_time_and_none_may_stall() {
    let api = api(LOCAL).await;
    let path = "/models/words/versions";
    let never = || AxumBody::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>());
    let stalled = futures_util::future::join_all(
        (0..4).map(|_| async { api.stream(Method::POST, path, &[ONNX], never()).await }),
    );
    let others = async {
        // All four have begun when they have been polled once.
        tokio::task::yield_now().await;
        let fifth = api.ask(Method::POST, path, &[ONNX], "model").await;
        tokio::time::advance(std::time::Duration::from_secs(61)).await;
        fifth
    };
    let (stalled, fifth) = tokio::join!(stalled, others);
    assert_eq!((fifth.status.as_u16(), &fifth.json["code"]), (429, &json!("resource_exhausted")));
    for answer in stalled {
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (504, &json!("deadline_exceeded")));
    }
    let next = api.ask(Method::POST, path, &[ONNX], "model").await;
    assert_eq!(next.status, 201, "there is room again: {}", next.json);
}

#[tokio::test]
async fn packages_that_are_not_taken() {
    let api = api(LOCAL).await;
    let path = "/models/words/versions";
    let check = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>, status: u16, code: &str| {
        let answer = api.ask(Method::POST, path, headers, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (status, &json!(code)), "{}", answer.json);
    };
    check(path, &[ONNX], b"kills it".to_vec(), 400, "rejected").await;
    check(path, &[ONNX], vec![1; 10_001], 413, "too_large").await;
    check(path, &[], b"model".to_vec(), 400, "invalid_argument").await;
    check(path, &[TAR], vec![1; 700], 400, "invalid_argument").await;
    check(path, &[ONNX, ("idempotency-key", "")], b"model".to_vec(), 400, "invalid_argument").await;
    check(&format!("{path}?from=none@1"), &[ONNX], b"model".to_vec(), 404, "not_found").await;
    check(&format!("{path}?alias=best"), &[ONNX], b"model".to_vec(), 400, "invalid_argument").await;
    let at_nine = [ONNX, ("if-match", "\"9\"")];
    check("/models/digits/versions", &at_nine, b"model".to_vec(), 412, "stale").await;
    let log = api.check(Method::GET, "/models/words/revisions", Value::Null, 200).await.json;
    assert_eq!(log["revisions"].as_array().map(Vec::len), Some(1), "the refusal is written down: {log}");
}

/// The API with a store of labels in `folder`.
async fn api_with_labels(address: &str, folder: &std::path::Path) -> (Api, Arc<LabelStore>, Metrics) {
    let (api, control) = api_and_control(address).await;
    let options = LabelStoreOptions { folder: folder.to_owned(), ..LabelStoreOptions::default() };
    let labels = LabelStore::open(Arc::new(object_store::memory::InMemory::new()), options).unwrap();
    let labels = Arc::new(labels);
    let metrics = Metrics::new();
    control.attach_labels(Arc::clone(&labels), FeedbackMetrics::register(&metrics).unwrap());
    (api, labels, metrics)
}

#[tokio::test]
async fn labels_are_taken_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (api, labels, metrics) = api_with_labels(LOCAL, folder.path()).await;
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
    let shown = String::from_utf8(metrics.expose().unwrap()).unwrap();
    for (result, count) in [("accepted", 4), ("duplicate", 1), ("rejected", 2)] {
        assert!(
            shown.contains(&format!("weir_feedback_labels_total{{result=\"{result}\"}} {count}\n")),
            "{shown}"
        );
    }
    assert_eq!(table.get("a", 0).unwrap().0.time_us, Some(1_767_323_045_000_000));
}

#[tokio::test]
async fn bodies_that_are_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (api, labels, _) = api_with_labels(LOCAL, folder.path()).await;
    let at = "/models/digits/feedback";
    let long = format!("{{\"request_id\": \"a\", \"label\": \"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(api.ask(Method::POST, at, &[], long.as_str()).await.status, 413);
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
    let (stranger, _, _) = api_with_labels("192.0.2.7:5", folder.path()).await;
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
