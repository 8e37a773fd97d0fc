//! Connections as clients make them: how they end, what is bounded, and that a client that leaves is noticed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::contained::Defect;
use super::guard::{Guarded, Patience};
use super::{
    ClientAuth, ListenError, Listener, ShutdownHandle, Tls, TlsMaterial, TlsMetrics, TlsPart, Versions,
    shutdown_channel,
};
use crate::metrics::Registry;
use crate::protocol::Limits;

/// What the service of a test reports.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked,
    Dropped,
}

/// Reports when it is dropped before `answered` is set.
struct Handler {
    events: mpsc::Sender<Event>,
    answered: bool,
}

impl Handler {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if !self.answered {
            self.events.try_send(Event::Dropped).unwrap();
        }
    }
}

impl Defect for Full<Bytes> {
    fn response() -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_static(b"defect")));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}

/// A listener whose service answers `/wait` when `go` is notified, panics at `/panic` when it is called and at
/// `/panic-later` while it is awaited, and answers everything else at once.
struct Server {
    address: SocketAddr,
    shutdown: ShutdownHandle,
    events: mpsc::Receiver<Event>,
    go: Arc<Notify>,
    done: JoinHandle<()>,
}

async fn start(versions: Versions, limits: Limits) -> Server {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address();
    let (shutdown, signal) = shutdown_channel();
    let (tx, events) = mpsc::channel(16);
    let go = Arc::new(Notify::new());
    let notify = Arc::clone(&go);
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Handler { events: tx.clone(), answered: false };
        let go = Arc::clone(&notify);
        assert_ne!(request.uri().path(), "/panic");
        async move {
            assert_ne!(request.uri().path(), "/panic-later");
            if request.uri().path() == "/wait" {
                handler.events.try_send(Event::Asked).unwrap();
                go.notified().await;
            }
            handler.answered();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        }
    });
    let done =
        tokio::spawn(
            async move { listener.serve(move |_| service.clone(), versions, &limits, signal).await },
        );
    Server { address, shutdown, events, go, done }
}

async fn send(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    socket
}

async fn read_to_end(mut socket: TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_handler() {
    let mut server = start(Versions::Both, Limits::default()).await;
    let socket = send(server.address, "/wait").await;
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    drop(socket);
    assert_eq!(server.events.recv().await, Some(Event::Dropped));
}

#[tokio::test]
async fn an_http2_client_that_leaves_drops_its_handler() {
    let mut server = start(Versions::Http2, Limits::default()).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Empty<Bytes>>();
    let uri: http::Uri = format!("http://{}/wait", server.address).parse().unwrap();
    let request = tokio::spawn(client.get(uri));
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    request.abort();
    assert_eq!(server.events.recv().await, Some(Event::Dropped));
}

#[tokio::test]
async fn both_versions_are_served_on_one_port() {
    let server = start(Versions::Both, Limits::default()).await;
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Empty<Bytes>>();
        let uri: http::Uri = format!("http://{}/", server.address).parse().unwrap();
        let response = client.get(uri).await.unwrap();
        assert_eq!(response.version() == Version::HTTP_2, http2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_connection_goes_on() {
    let mut server = start(Versions::Both, Limits::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    for (path, status) in [("/panic", "500"), ("/panic-later", "500"), ("/", "200")] {
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(socket.read_u8().await.unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {text}");
    }
    // Beside another request of an HTTP/2 connection.
    let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut ask = |path: &str| {
        client.send_request(Request::get(format!("http://x{path}")).body(Empty::<Bytes>::new()).unwrap())
    };
    let (waiting, first, second) = (tokio::spawn(ask("/wait")), ask("/panic"), ask("/panic-later"));
    for answer in [first.await, second.await] {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "defect");
    }
    while server.events.recv().await != Some(Event::Asked) {}
    server.go.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight() {
    let mut server = start(Versions::Both, Limits::default()).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let socket = send(server.address, "/wait").await;
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    server.shutdown.drain();
    assert_eq!(read_to_end(idle).await, "");
    server.go.notify_one();
    let text = read_to_end(socket).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("done"), "{text}");
    assert!(text.contains("connection: close"), "{text}");
    server.done.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_end_cuts_what_still_waits() {
    let mut server = start(Versions::Both, Limits::default()).await;
    let _socket = send(server.address, "/wait").await;
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    server.shutdown.end();
    assert_eq!(server.events.recv().await, Some(Event::Dropped));
    server.done.await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded() {
    let mut server = start(Versions::Both, Limits { connections_max: 1, ..Limits::default() }).await;
    let first = send(server.address, "/wait").await;
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    let second = send(server.address, "/wait").await;
    // The second is asked only once the first has gone.
    drop(first);
    assert_eq!(server.events.recv().await, Some(Event::Dropped));
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_answers_and_ends() {
    let age = Duration::from_secs(10);
    let mut server = start(Versions::Http2, Limits { connection_age_max: age, ..Limits::default() }).await;
    let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let ended = tokio::spawn(connection);
    let wait = Request::get("http://x/wait").body(Empty::<Bytes>::new()).unwrap();
    let answer = tokio::spawn(client.send_request(wait));
    assert_eq!(server.events.recv().await, Some(Event::Asked));
    tokio::time::sleep(age).await;
    assert!(!ended.is_finished() && !answer.is_finished());
    server.go.notify_one();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    ended.await.unwrap().unwrap();
    let late = Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
    assert!(client.send_request(late).await.is_err());
}

#[test]
fn ages_are_spread_below_the_limit() {
    assert_eq!(super::listener::spread_age(Duration::ZERO), None);
    let ages: Vec<Duration> =
        (0..100).filter_map(|_| super::listener::spread_age(Duration::from_secs(100))).collect();
    assert_eq!(ages.len(), 100);
    assert!(ages.iter().all(|age| (90..=100).contains(&age.as_secs())), "{ages:?}");
    assert!(ages.iter().any(|age| *age != ages[0]));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let second = Listener::bind(first.address()).await.unwrap_err();
    assert!(matches!(second, ListenError::InUse { address } if address == first.address()), "{second}");
}

fn guarded(socket: DuplexStream) -> Guarded<DuplexStream> {
    let patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        stall: Duration::from_secs(30),
    };
    Guarded::new(socket, patience).0
}

/// Whole seconds until reading fails because the client is too slow. A tick is a quarter of the shortest patience.
async fn seconds_until_given_up(first: &[u8]) -> u64 {
    let (mut client, server) = tokio::io::duplex(64);
    let mut server = guarded(server);
    let started = tokio::time::Instant::now();
    client.write_all(first).await.unwrap();
    let mut bytes = Vec::new();
    let error = server.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!((error.kind(), &*bytes), (std::io::ErrorKind::TimedOut, first));
    started.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_idle_connections_are_given_up() {
    let header = seconds_until_given_up(b"GET / HT").await;
    assert!((10..=15).contains(&header), "{header}");
    let partial_preface = seconds_until_given_up(b"PRI * HTTP/2").await;
    assert!((10..=15).contains(&partial_preface), "{partial_preface}");
    let idle = seconds_until_given_up(b"").await;
    assert!((75..=80).contains(&idle), "{idle}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_is_given_up() {
    let (_client, server) = tokio::io::duplex(16);
    let mut server = guarded(server);
    let started = tokio::time::Instant::now();
    let error = server.write_all(&[0; 100]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!((30..=35).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// A CA and a certificate of it, in PEM: the CA's, the certificate, its key.
fn issue(names: &[&str]) -> [String; 3] {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate =
        CertificateParams::new(names).unwrap().signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    [ca_certificate.pem(), certificate.pem(), key.serialize_pem()]
}

#[test]
fn bad_files_are_told_apart() {
    let [ca, certificate, key] = issue(&["localhost"]);
    let [_, _, other_key] = issue(&["localhost"]);
    let check = |certificates: &str, key: &str, clients: Option<&str>, expected: Option<(TlsPart, &str)>| {
        let material = TlsMaterial {
            certificates: certificates.as_bytes(),
            key: key.as_bytes(),
            clients: clients.map(|ca| (ca.as_bytes(), ClientAuth::Required)),
        };
        let metrics = TlsMetrics::new(&Registry::new()).unwrap();
        let problem = Tls::new(material, Duration::from_secs(1), metrics).err();
        let problem = problem.as_ref().map(|problem| (problem.part, problem.reason.as_str()));
        assert_eq!(problem, expected);
    };
    check(&certificate, &key, None, None);
    check(&certificate, &key, Some(&ca), None);
    check("", &key, None, Some((TlsPart::Certificates, "it holds no certificate in PEM")));
    check(&key, &key, None, Some((TlsPart::Certificates, "it holds no certificate in PEM")));
    check(&certificate, &certificate, None, Some((TlsPart::Key, "it holds no private key in PEM")));
    check(&certificate, &other_key, None, Some((TlsPart::Key, "it is not the key of the certificate")));
    check(&certificate, &key, Some(""), Some((TlsPart::Clients, "it holds no certificate in PEM")));
}

/// A writer that takes everything and flushes nothing, as TLS does while its client reads nothing.
struct Unflushed;

impl tokio::io::AsyncWrite for Unflushed {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Pending
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_stay_in_tls_are_given_up() {
    let patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        stall: Duration::from_secs(30),
    };
    let mut socket = Guarded::new(Unflushed, patience).0;
    let started = tokio::time::Instant::now();
    socket.write_all(b"answer").await.unwrap();
    assert_eq!(socket.flush().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!((30..=35).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let mut socket = Guarded::new(Unflushed, patience).0;
    assert_eq!(socket.shutdown().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}
