//! TLS and permission as clients and attackers meet them: the real binary, certificates made for the test, and every
//! role against every operation over both transports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use reqwest::Version;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::access::Role;
use weir::access::keys::NewKey;
use weir::protocol::grpc::pb;

use crate::support::{Server, copy_dir, get, python, root, run};

/// A certificate authority.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Ca {
    fn new() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { params, key, pem }
    }

    /// A certificate for this host, or for a client named by a URI; and its key.
    fn issue(&self, client: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params =
            CertificateParams::new(if client.is_none() { hosts.to_vec() } else { vec![] }).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a test's certificate");
        params.subject_alt_names.extend(client.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A folder with models and the files of a test.
struct House {
    folder: TempDir,
}

impl House {
    fn new() -> House {
        let house = House { folder: tempfile::tempdir().unwrap() };
        for model in ["iris", "tiny"] {
            copy_dir(&root().join("models").join(model), &house.path("models").join(model));
        }
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file as operators should: beside it, and then renamed.
    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
        self.path(name).display().to_string()
    }

    /// Arguments that serve the models, take load requests, and `more`.
    fn args(&self, more: &[&str]) -> Vec<String> {
        let models = self.path("models").display().to_string();
        let args = [&models, "--model-control", "explicit"].into_iter().chain(more.iter().copied());
        args.map(str::to_owned).collect()
    }

    fn tls(&self, ca: &Ca) -> [String; 4] {
        let (certificate, key) = ca.issue(None);
        let (certificate, key) = (self.write("cert.pem", &certificate), self.write("key.pem", &key));
        ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
    }
}

/// A key and its entry.
fn new_key(role: Role, models: &[&str], not_after: Option<&str>) -> (String, String) {
    let models = models.iter().map(|text| (*text).to_owned()).collect();
    let not_after = not_after.map(str::to_owned);
    NewKey { id: None, subject: None, role, models, not_after }.make().unwrap()
}

/// How a test's client is made.
fn client(ca: Option<&Ca>, certificate: Option<(String, String)>) -> reqwest::ClientBuilder {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = reqwest::Client::builder().no_proxy();
    if let Some(ca) = ca {
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(ca.pem.as_bytes()).unwrap()]);
    }
    if let Some((certificate, key)) = certificate {
        builder =
            builder.identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
    }
    builder
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < end, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_ready(client: &reqwest::Client, server: &Server) {
    let url = format!("https://{}/v2/health/ready", server.http);
    until("ready", async || client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)).await;
}

/// The gRPC status of a unary call without a client library.
async fn grpc(
    client: &reqwest::Client,
    base: &str,
    method: &str,
    token: &str,
    message: &impl Message,
) -> u32 {
    let mut body = BytesMut::from(&[0; 5][..]);
    message.encode(&mut body).unwrap();
    let len = u32::try_from(body.len() - 5).unwrap();
    body[1..5].copy_from_slice(&len.to_be_bytes());
    let mut request =
        client.post(format!("{base}/inference.GRPCInferenceService/{method}")).body(body.freeze());
    request = request.header("content-type", "application/grpc").header("te", "trailers");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = request.send().await.unwrap();
    // A failure has its status in its headers; a success ends with it, after its message.
    let status =
        answer.headers().get("grpc-status").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let body = answer.bytes().await.unwrap();
    assert_eq!(status == 0, body.len() >= 5, "{method}");
    status
}

async fn metric(client: &reqwest::Client, url: &str, name: &str) -> f64 {
    let text = client.get(url).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

const INFER: &str =
    r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

fn infer_message(model: &str) -> pb::ModelInferRequest {
    pb::ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 4],
            ..Default::default()
        }],
        raw_input_contents: vec![
            [5.1f32, 3.5, 1.4, 0.2].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into(),
        ],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_speaks_tls() {
    let (house, ca) = (House::new(), Ca::new());
    let tls = house.tls(&ca);
    let server = Server::start_unready(&house.args(&tls.each_ref().map(String::as_str)));
    let both = client(Some(&ca), None).build().unwrap();
    until_ready(&both, &server).await;
    let url = format!("https://{}/v2/models/iris/infer", server.http);
    let old = client(Some(&ca), None).http1_only().build().unwrap();
    for (client, version) in [(&both, Version::HTTP_2), (&old, Version::HTTP_11)] {
        let answer = client.post(&url).body(INFER).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
    let base = format!("https://{}", server.grpc);
    assert_eq!(grpc(&both, &base, "ModelInfer", "", &infer_message("iris")).await, 0);
    assert!(old.get(&base).send().await.is_err(), "the gRPC port offers HTTP/2 only");
    let stranger = client(Some(&Ca::new()), None).build().unwrap();
    assert!(stranger.get(&url).send().await.is_err(), "another CA does not vouch for it");

    let (status, text) = get(&server.http, "/v2").unwrap();
    assert_eq!((status, text.as_str()), (400, "{\"error\":\"this port speaks TLS only\"}"));
    // One that writes its request in pieces, with time between them, is answered like one that writes it at once.
    let mut slow = tokio::net::TcpStream::connect(&server.http).await.unwrap();
    for piece in ["G", "ET /v2 HTTP/1.1\r\n", "host: x\r\n", "\r\n"] {
        slow.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n{\"error\":\"this port speaks TLS only\"}"), "{answer}");
    let metrics = format!("https://{}/metrics", server.metrics);
    // A handshake is counted when its connection's task goes on, which may be after the client was answered.
    let counted = async |outcome: &str| {
        let series = format!("weir_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        while metric(&both, &metrics, &series).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    let both_are = async { tokio::join!(counted("plain"), counted("failed")) };
    tokio::time::timeout(std::time::Duration::from_secs(60), both_are).await.expect("both are counted");

    let cacert = house.write("ca.pem", &ca.pem);
    let weir = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let url = format!("https://{}", server.http);
        command.args(["infer", "iris", "-i", "input=[[5.1,3.5,1.4,0.2]]", "--url", &url]).args(more);
        command.output().unwrap()
    };
    let answered = weir(&["--cacert", &cacert]);
    assert!(String::from_utf8_lossy(&answered.stdout).contains("setosa"), "{answered:?}");
    let refused = weir(&[]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "it trusts nobody unasked");

    let script = root().join("tests/clients/secure.py");
    let printed = run(Command::new(python("requirements-triton.txt")).arg(script).args([
        "--http",
        &server.http,
        "--grpc",
        &server.grpc,
        "--cacert",
        &cacert,
    ]));
    assert_eq!(printed.matches("ok ").count(), 3, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_before_and_after_the_handshake() {
    let (house, ca) = (House::new(), Ca::new());
    let tls = house.tls(&ca);
    let mut more: Vec<&str> = tls.iter().map(String::as_str).collect();
    more.extend(["--tls-handshake-timeout", "300ms", "--header-timeout", "300ms"]);
    let server = Server::start_unready(&house.args(&more));
    let https = client(Some(&ca), None).build().unwrap();
    until_ready(&https, &server).await;
    let metrics = format!("https://{}/metrics", server.metrics);
    for first in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut socket = tokio::net::TcpStream::connect(&server.http).await.unwrap();
        socket.write_all(first).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "{first:?}");
    }
    until("counted", async || {
        metric(&https, &metrics, "weir_tls_handshakes_total{outcome=\"timeout\"}").await == 3.0
    })
    .await;

    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let socket = tokio::net::TcpStream::connect(&server.http).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    stream.write_all(b"GET /v2 HT").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "an unfinished head is cut");
    assert_eq!(server.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_asked_for_and_have_roles() {
    let (house, ca, clients) = (House::new(), Ca::new(), Ca::new());
    let tls = house.tls(&ca);
    let roots = house.write("clients.pem", &clients.pem);
    let keys = house.write(
        "keys.toml",
        "[[certificate]]\nsubject = 'spiffe://prod/deploy'\nrole = 'promoter'\nmodels = ['tiny']\n",
    );
    let mut more: Vec<&str> = tls.iter().map(String::as_str).collect();
    more.extend(["--tls-client-ca", &roots, "--auth-keys-file", &keys]);
    let server = Server::start_unready(&house.args(&more));
    let of = |ca: &Ca, name: &str| ca.issue(Some(name));
    let promoter = client(Some(&ca), Some(of(&clients, "spiffe://prod/deploy"))).build().unwrap();
    let other = client(Some(&ca), Some(of(&clients, "spiffe://prod/other"))).build().unwrap();
    until_ready(&promoter, &server).await;
    let load = |model: &str| format!("https://{}/v2/repository/models/{model}/load", server.http);
    let status = async |client: &reqwest::Client, url: String| {
        client.post(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&promoter, load("tiny")).await, 200);
    assert_eq!(status(&promoter, load("iris")).await, 403);
    assert_eq!(status(&other, load("tiny")).await, 403);
    let base = format!("https://{}", server.grpc);
    let message = pb::RepositoryModelLoadRequest { model_name: "tiny".to_owned(), ..Default::default() };
    assert_eq!(grpc(&promoter, &base, "RepositoryModelLoad", "", &message).await, 0);
    assert_eq!(grpc(&other, &base, "RepositoryModelLoad", "", &message).await, 7);
    let infer = format!("https://{}/v2/models/iris/infer", server.http);
    assert_eq!(other.post(&infer).body(INFER).send().await.unwrap().status(), 200);
    let none = client(Some(&ca), None).build().unwrap();
    let forged = client(Some(&ca), Some(of(&Ca::new(), "spiffe://prod/deploy"))).build().unwrap();
    for refused in [&none, &forged] {
        assert!(refused.post(&infer).body(INFER).send().await.is_err());
    }
    drop(server);

    more.extend(["--tls-client-auth", "optional"]);
    let server = Server::start_unready(&house.args(&more));
    until_ready(&none, &server).await;
    let load = format!("https://{}/v2/repository/models/tiny/load", server.http);
    assert_eq!(status(&none, load.clone()).await, 401);
    assert_eq!(status(&promoter, load.clone()).await, 200);
    assert!(forged.post(&load).send().await.is_err(), "what is shown must be good");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_it_serves() {
    let (house, first, second) = (House::new(), Ca::new(), Ca::new());
    let tls = house.tls(&first);
    let server = Server::start_unready(&house.args(&tls.each_ref().map(String::as_str)));
    let one = || client(Some(&first), None).pool_max_idle_per_host(0).build().unwrap();
    let before = one();
    until_ready(&before, &server).await;
    let metrics = format!("https://{}/metrics", server.metrics);
    house.write("cert.pem", "no certificate");
    until("the bad file is noticed", async || {
        metric(&one(), &metrics, "weir_file_reloads_total{files=\"tls\",outcome=\"failed\"}").await >= 1.0
    })
    .await;
    let url = format!("https://{}/v2", server.http);
    assert_eq!(one().get(&url).send().await.unwrap().status(), 200, "the old one stays");
    house.tls(&second);
    let two = || client(Some(&second), None).build().unwrap();
    until("the new certificate", async || two().get(&url).send().await.is_ok()).await;
    assert!(one().get(&url).send().await.is_err());
}

/// A client for both plain ports.
struct Plain {
    http: reqwest::Client,
    grpc: reqwest::Client,
}

impl Plain {
    fn new() -> Plain {
        Plain::at(1)
    }

    /// A client at an address of its own on this host: bad credentials are counted by address.
    fn at(host: usize) -> Plain {
        let address: std::net::IpAddr = format!("127.0.1.{host}").parse().unwrap();
        let client = || client(None, None).local_address(address);
        Plain { http: client().build().unwrap(), grpc: client().http2_prior_knowledge().build().unwrap() }
    }

    async fn status(&self, url: &str, headers: &[(&str, &str)], body: &'static str) -> u16 {
        let mut request = self.http.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// HTTP and gRPC statuses of loading and unloading `tiny`, and of inference by `iris`.
    async fn all(&self, server: &Server, token: &str) -> [(u16, u32); 3] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let headers = if token.is_empty() { &headers[..0] } else { &headers[..] };
        let at = |path: &str| format!("http://{}/v2/{path}", server.http);
        let base = format!("http://{}", server.grpc);
        let load = pb::RepositoryModelLoadRequest { model_name: "tiny".to_owned(), ..Default::default() };
        let unload = pb::RepositoryModelUnloadRequest { model_name: "tiny".to_owned(), ..Default::default() };
        [
            (
                self.status(&at("repository/models/tiny/unload"), headers, "").await,
                grpc(&self.grpc, &base, "RepositoryModelUnload", token, &unload).await,
            ),
            (
                self.status(&at("repository/models/tiny/load"), headers, "").await,
                grpc(&self.grpc, &base, "RepositoryModelLoad", token, &load).await,
            ),
            (
                self.status(&at("models/iris/infer"), headers, INFER).await,
                grpc(&self.grpc, &base, "ModelInfer", token, &infer_message("iris")).await,
            ),
        ]
    }
}

const YES: (u16, u32) = (200, 0);
const WHO: (u16, u32) = (401, 16);
const NO: (u16, u32) = (403, 7);

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_its_own() {
    let house = House::new();
    let keys = [
        (new_key(Role::Reader, &[], None), [NO, NO, YES]),
        (new_key(Role::Publisher, &[], None), [NO, NO, YES]),
        (new_key(Role::Promoter, &["t*"], None), [YES, YES, NO]),
        (new_key(Role::Promoter, &["iris"], None), [NO, NO, YES]),
        (new_key(Role::Admin, &[], Some("2999-01-01T00:00:00Z")), [YES, YES, YES]),
        (new_key(Role::Admin, &[], Some("2020-01-01T00:00:00Z")), [WHO, WHO, WHO]),
    ];
    let file: String = keys.iter().map(|((_, entry), _)| entry.as_str()).collect();
    let file = house.write("keys.toml", &file);
    let plain = Plain::new();
    for require in ["mutations", "all"] {
        let server = Server::start(&house.args(&["--auth-keys-file", &file, "--auth-require", require]));
        let open = require == "mutations";
        for (index, ((key, _), expected)) in keys.iter().enumerate() {
            // Where reading is open, nobody is asked who reads.
            let [unload, load, infer] = *expected;
            let expected = [unload, load, if open { YES } else { infer }];
            assert_eq!(Plain::at(10 + index).all(&server, key).await, expected, "{require}");
        }
        let nobody = if open { YES } else { WHO };
        for token in ["", "weir_guess_0000000000000000000000000000000000000000000"] {
            assert_eq!(plain.all(&server, token).await, [WHO, WHO, nobody], "{require} {token}");
        }
        let url = format!("http://{}/v2/repository/models/tiny/load", server.http);
        let ((admin, _), _) = &keys[4];
        assert_eq!(plain.status(&url, &[("x-api-key", admin)], "").await, 200);
        assert_eq!(plain.status(&url, &[("x-api-key", admin), ("authorization", "Bearer x")], "").await, 401);
        for path in ["/v2/health/live", "/v2/health/ready"] {
            assert_eq!(get(&server.http, path).unwrap().0, 200, "{path}");
        }
        let base = format!("http://{}", server.grpc);
        assert_eq!(grpc(&plain.grpc, &base, "ServerReady", "", &pb::ServerReadyRequest {}).await, 0);
        assert_eq!(get(&server.metrics, "/metrics").unwrap().0, 200);
        let closed = if open { 200 } else { 401 };
        for path in ["/v2", "/v2/models", "/v2/models/iris", "/v2/models/stats", "/v2/models/iris/config"] {
            assert_eq!(get(&server.http, path).unwrap().0, closed, "{require} {path}");
        }
        let ((scoped, _), _) = &keys[2];
        let request = plain.http.get(format!("http://{}/v2/models", server.http)).bearer_auth(scoped);
        let listed = request.send().await.unwrap().text().await.unwrap();
        let all = r#"{"models":["iris","tiny"]}"#;
        assert_eq!(listed, if open { all } else { r#"{"models":["tiny"]}"# });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_while_it_serves() {
    let house = House::new();
    let [old, new] = [new_key(Role::Promoter, &[], None), new_key(Role::Promoter, &[], None)];
    let file = house.write("keys.toml", &format!("{}{}", old.1, new.1));
    let more = ["--auth-keys-file", &file, "--auth-require", "all", "--auth-open-metrics=false"];
    let server = Server::start(&house.args(&more));
    let plain = Plain::new();
    let url = format!("http://{}/v2/repository/models/tiny/load", server.http);
    let load = async |key: &str| plain.status(&url, &[("x-api-key", key)], "").await;
    assert_eq!((load(&old.0).await, load(&new.0).await), (200, 200), "both are good during the change");
    house.write("keys.toml", &new.1);
    until("the old key is gone", async || load(&old.0).await == 401).await;
    assert_eq!(load(&new.0).await, 200);
    house.write("keys.toml", "[[key]]\nid = 1\n");
    let metrics = async |key: &str| {
        let request = plain.http.get(format!("http://{}/metrics", server.metrics)).bearer_auth(key);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    until("the bad file is noticed", async || {
        metrics(&new.0).await.1.contains("weir_file_reloads_total{files=\"keys\",outcome=\"failed\"} 1")
    })
    .await;
    assert_eq!(load(&new.0).await, 200, "what was good stays");
    assert_eq!(metrics("x").await.0, 401);
    let text = metrics(&new.0).await.1;
    assert!(text.contains("weir_auth_failures_total{reason=\"invalid\"}"), "{text}");
    // Guessing from one address is slowed down; keys that are good pass.
    until("limited", async || load("weir_guess").await == 429).await;
    assert_eq!(load(&new.0).await, 200);
}

/// An issuer of tokens.
struct TokenIssuer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl TokenIssuer {
    fn new() -> TokenIssuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        TokenIssuer { key: key.unwrap(), random }
    }

    fn key_set(&self) -> String {
        let (_, point) = self.key.public_key().as_ref().split_first().unwrap();
        let (x, y) = point.split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)}]}).to_string()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_issuer_are_taken_and_forged_ones_are_not() {
    let (house, issuer, forger) = (House::new(), TokenIssuer::new(), TokenIssuer::new());
    let file = house.write("jwks.json", &issuer.key_set());
    let more =
        ["--auth-jwt-issuer", "https://i", "--auth-jwt-audience", "weir", "--auth-jwt-key-file", &file];
    let server = Server::start(&house.args(&more));
    let plain = Plain::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = |role: &str, aud: &str, exp: u64| json!({"iss": "https://i", "aud": aud, "sub": "ana", "exp": exp, "weir_roles": [role], "weir_models": ["tiny"]});
    let es256 = json!({"alg": "ES256"});
    let good = claims("promoter", "weir", now + 3600);
    let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(good.to_string()));
    let token = issuer.sign(&es256, &good);
    let cases = [
        (token.clone(), YES),
        (issuer.sign(&es256, &claims("publisher", "weir", now + 3600)), NO),
        (issuer.sign(&es256, &claims("promoter", "other", now + 3600)), WHO),
        (issuer.sign(&es256, &claims("promoter", "weir", now - 3600)), WHO),
        (issuer.sign(&json!({"alg": "HS256"}), &good), WHO),
        (forger.sign(&es256, &good), WHO),
        (none, WHO),
        (token.get(..token.len() - 4).unwrap().to_owned(), WHO),
        (String::new(), WHO),
    ];
    for (index, (token, expected)) in cases.iter().enumerate() {
        let [unload, load, infer] = Plain::at(10 + index).all(&server, token).await;
        assert_eq!((unload, load, infer), (*expected, *expected, YES), "{token}");
    }
    house.write("jwks.json", &forger.key_set());
    let url = format!("http://{}/v2/repository/models/tiny/load", server.http);
    let bearer = format!("Bearer {}", forger.sign(&es256, &good));
    until("the new key is used", async || plain.status(&url, &[("authorization", &bearer)], "").await == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_only_this_host_changes_anything() {
    let house = House::new();
    let plain = Plain::new();
    let status = async |server: &Server, headers: &[(&str, &str)]| {
        let port = server.http.rsplit(':').next().unwrap();
        let url = format!("http://127.0.0.1:{port}/v2/repository/models/tiny/load");
        plain.status(&url, headers, "").await
    };
    let local = Server::start(&house.args(&[]));
    assert_eq!(status(&local, &[]).await, 200);
    assert_eq!(status(&local, &[("origin", "http://localhost:3000")]).await, 200);
    // Pages of other sites in this host's browser, and proxies on this host.
    assert_eq!(status(&local, &[("origin", "https://evil.example")]).await, 403);
    assert_eq!(status(&local, &[("x-forwarded-for", "203.0.113.7")]).await, 403);
    drop(local);
    let reachable = Server::start(&house.args(&["--address", "0.0.0.0"]));
    assert_eq!(status(&reachable, &[]).await, 403);
    drop(reachable);
    let open = Server::start(&house.args(&["--address", "0.0.0.0", "--allow-remote-control"]));
    assert_eq!(status(&open, &[]).await, 200);
    drop(open);
    let file = house.write("keys.toml", &new_key(Role::Promoter, &[], None).1);
    let more = ["--address", "0.0.0.0", "--allow-remote-control", "--auth-keys-file", &file];
    assert_eq!(
        status(&Server::start(&house.args(&more)), &[]).await,
        401,
        "credentials are needed everywhere"
    );
}

fn fails(args: &[&str], code: i32, expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(args).current_dir(root()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("weir: ")).collect();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(lines.len() == 1 && lines[0].contains(expected), "{args:?}: {expected}: {error}");
}

#[test]
fn files_that_cannot_be_used_are_named_in_one_line() {
    let (house, ca) = (House::new(), Ca::new());
    let tls = house.tls(&ca);
    let (_, other) = ca.issue(None);
    let other = house.write("other.pem", &other);
    let keys = house.write("keys.toml", "[[key]]\nid = 'a'\nhash = 'x'\nrole = 'reader'\n");
    let serve = |more: &[&str], code: i32, expected: &str| {
        let ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"];
        let args: Vec<&str> = ["serve", "models"].iter().chain(&ports).chain(more).copied().collect();
        fails(&args, code, expected);
    };
    let [_, certificate, _, key] = &tls;
    serve(&["--tls-cert", certificate], 2, "--tls-cert: \"tls.cert\": needs \"tls.key\"");
    serve(&["--tls-client-ca", certificate], 2, "needs \"tls.cert\" and \"tls.key\"");
    serve(&["--tls-cert", "/none.pem", "--tls-key", key], 1, "TLS: /none.pem: No such file");
    serve(&["--tls-cert", key, "--tls-key", key], 1, "key.pem: it holds no certificate in PEM");
    serve(
        &["--tls-cert", certificate, "--tls-key", &other],
        1,
        "other.pem: it is not the key of the certificate",
    );
    serve(&["--auth-keys-file", "/none.toml"], 1, "access: /none.toml: No such file");
    serve(&["--auth-keys-file", &keys], 1, "keys.toml: key \"a\": hash: expected \"sha256:\"");
    serve(&["--auth-require", "all"], 2, "--auth-require: \"auth.require\": needs \"auth.keys_file\"");
    serve(&["--auth-jwt-issuer", "i"], 2, "tokens need issuer, audience and key file together");
    let jwt = ["--auth-jwt-issuer", "i", "--auth-jwt-audience", "a", "--auth-jwt-key-file", certificate];
    serve(&jwt, 1, "cert.pem: expected PUBLIC KEY blocks in PEM, or a JSON Web Key Set");
    fails(&["auth", "new-key", "--role", "reader", "--not-after", "soon"], 1, "not_after: expected a time");
    fails(&["infer", "iris", "-i", "x=1", "--cacert", "/none.pem"], 1, "/none.pem: No such file");
}

#[test]
fn a_new_key_is_printed_once_with_its_entry() {
    let new = ["auth", "new-key", "--role", "publisher", "--models", "fraud-*", "--subject", "ci"];
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(new).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let key = text.lines().find(|line| line.starts_with("weir_")).unwrap();
    let (_, entry) = text.split_once("[[key]]").unwrap();
    assert!(key.len() > 50 && !entry.contains(key), "{text}");
    for part in ["subject = \"ci\"", "hash = \"sha256:", "role = \"publisher\"", "models = [\"fraud-*\"]"] {
        assert!(entry.contains(part), "{text}");
    }
    // What was printed is a keys file as it is.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.toml"), format!("[[key]]{entry}")).unwrap();
    let shown = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["config", "--auth-keys-file"])
        .arg(Path::new(folder.path()).join("keys.toml"))
        .output()
        .unwrap();
    assert!(shown.status.success());
}
