//! Events from the real binary to a real receiver: killed deliverers, signatures, dead letters, replays, filters.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::model::ModelName;
use weir::registry::{Actor, Intent, Op, Registry, Store, StoreOptions};

use crate::support::run;

const SECRET_A: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_B: &str = "a plain secret of more than 24 bytes";

/// A request as it came.
#[derive(Debug, Clone)]
struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    fn id(&self) -> String {
        self.event()["id"].as_str().expect("an id").to_owned()
    }
}

/// An HTTP server on 127.0.0.1 that keeps what comes and answers by a rule: request, how often its id came before.
struct Receiver {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    fn start(rule: impl Fn(&Request, usize) -> u16 + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, rule) = (Arc::new(Mutex::new(Vec::<Request>::new())), Arc::new(rule));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, rule) = (Arc::clone(&kept), Arc::clone(&rule));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read_request(&mut reader) {
                        let status = {
                            let mut seen = seen.lock().unwrap();
                            let id = request.headers["webhook-id"].clone();
                            let before = seen.iter().filter(|r| r.headers["webhook-id"] == id).count();
                            let status = rule(&request, before);
                            seen.push(request);
                            status
                        };
                        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Receiver { port, seen }
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.seen().iter().map(Request::id).collect()
    }

    /// Waits until `done` says so of what came.
    fn wait(&self, what: &str, done: impl Fn(&[Request]) -> bool) {
        let end = Instant::now() + Duration::from_secs(90);
        while !done(&self.seen()) {
            assert!(Instant::now() < end, "{what}: only {:?}", self.ids());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn read_request(reader: &mut BufReader<std::net::TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { headers, body })
}

/// A registry in a folder, changed by this process.
struct Writer {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    registry: Registry,
}

impl Writer {
    fn new() -> Writer {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let location = folder.path().to_str().expect("a plain path");
        let store = Store::open(location, &StoreOptions::default()).expect("a store");
        let registry = runtime.block_on(Registry::open(store)).expect("a registry");
        Writer { folder, runtime, registry }
    }

    fn commit(&self, model: &str, op: Op) {
        let intent = Intent {
            actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
            reason: "test".to_owned(),
            request_id: String::new(),
            if_match: None,
        };
        let model: ModelName = model.parse().unwrap();
        let commit = self.registry.commit(&model, &intent, |_| Ok(vec![op.clone()]));
        self.runtime.block_on(commit).expect("the commit");
    }

    fn create(&self, model: &str) {
        self.commit(model, Op::CreateModel { description: String::new() });
    }

    fn tag(&self, model: &str, key: &str, value: u32) {
        self.commit(model, Op::SetTag { version: None, key: key.to_owned(), value: value.to_string() });
    }

    fn weir(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).arg("--registry").arg(self.folder.path());
        command.env("WEIR_WEBHOOK_SECRET_A", SECRET_A).env("WEIR_WEBHOOK_SECRET_B", SECRET_B);
        command
    }

    fn deliver(&self) -> Deliverer {
        let args = ["events", "deliver", "--allow-network", "127.0.0.0/8", "--allow-http", "--lease", "1s"];
        Deliverer(self.command(&args).stdout(Stdio::null()).spawn().expect("the binary starts"))
    }
}

/// `weir events deliver`, killed with SIGKILL by its process id.
struct Deliverer(Child);

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Whether Python's hmac finds the same signatures; it shares no code with this program.
fn check_signatures(folder: &Path, request: &Request) {
    let script = r#"
import base64, hashlib, hmac, json, sys
given = json.load(open(sys.argv[1]))
body = open(sys.argv[2], "rb").read()
signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
signatures = given["webhook-signature"].split(" ")
keys = [base64.b64decode(sys.argv[3].removeprefix("whsec_")), sys.argv[4].encode()]
expected = ["v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
assert signatures == expected, (signatures, expected)
assert given["content-type"].startswith("application/cloudevents+json"), given
print("ok")
"#;
    let (headers, body) = (folder.join("headers.json"), folder.join("body"));
    std::fs::write(&headers, serde_json::to_vec(&request.headers).unwrap()).unwrap();
    std::fs::write(&body, &request.body).unwrap();
    let mut python = Command::new("python3");
    let printed = run(python.args(["-c", script]).args([&headers, &body]).args([SECRET_A, SECRET_B]));
    assert_eq!(printed.trim(), "ok");
}

#[test]
fn killed_deliverers_lose_no_event() {
    let writer = Writer::new();
    let receiver = Receiver::start(|_, _| 204);
    let models = ["a", "b", "c"];
    for model in models {
        writer.create(model);
    }
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    writer.weir(&[
        "webhook",
        "add",
        "ci",
        "--url",
        &url,
        "--secret",
        "a",
        "--secret",
        "b",
        "--from-beginning",
        "--reason",
        "test",
    ]);
    let (rounds, changes) = (4, 15);
    for round in 0..rounds {
        let before = receiver.seen().len();
        let deliverer = writer.deliver();
        for change in 0..changes {
            for model in models {
                writer.tag(model, "k", round * changes + change);
            }
        }
        receiver.wait("something is delivered in each round", |seen| seen.len() > before);
        // In the middle: SIGKILL, without a word.
        drop(deliverer);
    }
    let _last = writer.deliver();
    let mut expected = BTreeSet::new();
    for model in models {
        expected.extend((1..=rounds * changes + 1).map(|rev| format!("{model}/{rev}/0")));
    }
    receiver.wait("every event comes", |seen| {
        let ids: BTreeSet<String> = seen.iter().map(Request::id).collect();
        ids.is_superset(&expected)
    });
    let seen = receiver.seen();
    assert_eq!(receiver.ids(), expected, "and no other");
    let mut newest: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for request in &seen {
        let event = request.event();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let (last, known) = newest.entry(text("subject")).or_default();
        if known.insert(text("id")) {
            assert!(text("sequence") > *last, "{} came after {last}", text("sequence"));
            *last = text("sequence");
        }
    }
    check_signatures(writer.folder.path(), seen.last().unwrap());
}

#[test]
fn dead_letters_and_replays_are_delivered_on_request() {
    let writer = Writer::new();
    let receiver = Receiver::start(|_, before| if before == 0 { 400 } else { 200 });
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    writer.create("old");
    writer.weir(&["webhook", "add", "ci", "--url", &url, "--types", "model.*", "--subject", "models/m"]);
    writer.create("m");
    writer.create("m2");
    let _deliverer = writer.deliver();
    receiver.wait("the first attempt", |seen| !seen.is_empty());
    let letters = || -> Value {
        serde_json::from_str(&writer.weir(&["webhook", "dead", "ls", "ci", "--json"])).expect("JSON")
    };
    let end = Instant::now() + Duration::from_secs(30);
    while letters().as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < end, "no dead letter");
    }
    assert_eq!(letters()[0]["event"]["id"], "m/1/0");
    writer.weir(&["webhook", "dead", "retry", "ci"]);
    receiver.wait("the letter comes again", |seen| seen.len() == 2);
    assert_eq!(letters(), Value::Array(Vec::new()));
    writer.weir(&["events", "replay", "--model", "m", "--from", "1", "--to-webhook", "ci"]);
    receiver.wait("the replay comes", |seen| seen.len() == 3);
    assert_eq!(receiver.ids(), BTreeSet::from(["m/1/0".to_owned()]), "old, m2 and tags are not wanted");
    let listed: Value = serde_json::from_str(&writer.weir(&["webhook", "ls", "--json"])).unwrap();
    assert_eq!(listed[0]["webhook"]["name"], "ci");
    writer.weir(&["webhook", "rm", "ci"]);
    assert_eq!(writer.weir(&["webhook", "ls", "--json"]).trim(), "[]");
}

#[test]
fn addresses_that_are_not_allowed_are_not_reached() {
    let writer = Writer::new();
    let receiver = Receiver::start(|_, _| 200);
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    writer.weir(&["webhook", "add", "ci", "--url", &url]);
    let check = |more: &[&str], expected: &str| {
        let output = writer.command(&["webhook", "test", "ci"]).args(more).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), expected.is_empty(), "{more:?}: {text}");
        assert!(text.contains(expected), "{more:?}: {text}");
    };
    check(&[], "http without TLS is not allowed here");
    check(&["--allow-http"], "the address 127.0.0.1 is not public and not allowed");
    check(&["--allow-http", "--allow-network", "10.0.0.0/8"], "not allowed");
    let network = ["--allow-http", "--allow-network", "127.0.0.1"];
    check(
        &[&network[..], &["--allow-host", "hooks.example.com"]].concat(),
        "not among those that are allowed",
    );
    assert!(receiver.seen().is_empty());
    check(&network, "");
    assert_eq!(receiver.seen()[0].event()["type"], "io.weir.webhook.test");
    for wrong in ["file:///etc/passwd", "https://user:password@example.com/", "nonsense"] {
        let output = writer.command(&["webhook", "add", "x", "--url", wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn events_are_shown() {
    let writer = Writer::new();
    for model in ["a", "b"] {
        writer.create(model);
        writer.tag(model, "area", 1);
    }
    let ids = |args: &[&str]| -> Vec<String> {
        let printed = writer.weir(args);
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        printed.lines().map(id).collect()
    };
    assert_eq!(ids(&["events", "tail", "--json"]).len(), 4);
    assert_eq!(ids(&["events", "tail", "--json", "-n", "1"]), ["b/2/0"]);
    assert_eq!(
        ids(&["events", "tail", "--json", "--types", "model.tagged", "--subject", "models/a"]),
        ["a/2/0"]
    );
    assert_eq!(ids(&["events", "replay", "--json", "--model", "b", "--from", "2"]), ["b/2/0"]);
    assert_eq!(ids(&["events", "replay", "--json", "--from", "2100-01-01T00:00:00Z"]), Vec::<String>::new());
    assert_eq!(
        ids(&["events", "replay", "--json", "--from", "beginning", "--tag", "area=1"]),
        ["a/2/0", "b/2/0"]
    );
    let text = writer.weir(&["events", "tail"]);
    assert!(text.contains("model.tagged") && text.contains("models/a") && text.contains("ada"), "{text}");
}

/// Reads a stream until `count` events came: their ids, and the position of the last.
fn stream(address: &str, query: &str, last_id: &str, count: usize) -> (Vec<String>, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("the server takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let head =
        format!("GET /api/v1/events{query} HTTP/1.1\r\nhost: {address}\r\nlast-event-id: {last_id}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the request is sent");
    let (mut ids, mut position) = (Vec::new(), String::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(id) = line.strip_prefix("id: ") {
            position = id.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data).expect("JSON");
            ids.push(event["id"].as_str().expect("an id").to_owned());
        }
        if ids.len() == count {
            return (ids, position);
        }
    }
    panic!("the stream ended after {ids:?}");
}

#[test]
fn a_server_streams_and_delivers_events() {
    let writer = Writer::new();
    writer.create("a");
    writer.tag("a", "k", 1);
    let receiver = Receiver::start(|_, _| 204);
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    writer.weir(&["webhook", "add", "ci", "--url", &url, "--from-beginning"]);
    let folder = writer.folder.path().to_str().unwrap();
    let server = crate::support::Server::start(&[
        "--registry",
        folder,
        "--events-allow-http",
        "--events-allow-networks",
        "127.0.0.0/8",
    ]);
    let (ids, position) = stream(&server.http, "?from=beginning", "", 2);
    assert_eq!(ids, ["a/1/0", "a/2/0"]);
    writer.tag("a", "k", 2);
    writer.create("b");
    let (mut ids, _) = stream(&server.http, "", &position, 2);
    ids.sort();
    assert_eq!(ids, ["a/3/0", "b/1/0"]);
    receiver.wait("the server delivers", |seen| seen.len() >= 4);
    let (status, body) = crate::support::get(&server.metrics, "/metrics").expect("metrics");
    assert!(
        status == 200 && body.contains("weir_events_delivered_total{result=\"delivered\",webhook=\"ci\"}"),
        "{body}"
    );
    let (code, _) = server.stop();
    assert_eq!(code, Some(0));
}
