//! A watched model's whole life with real programs: trained, registered with a baseline, served, sent traffic that is like the
//! table and traffic that is not, alerted by a real Prometheus, rolled back, and trained anew on what was captured.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Server, get, post, prometheus, python, root, run, until};

/// Tests run side by side, and expect all their rows to be counted.
const ALL_ROWS: &str = "--monitoring-busy-share=1";

/// Everything in one folder, and how to call the program on it.
struct House {
    folder: tempfile::TempDir,
    python: PathBuf,
}

/// A real Prometheus, stopped by its own process id.
struct Prometheus {
    child: Child,
    address: String,
}

impl House {
    fn open() -> House {
        House { folder: tempfile::tempdir().unwrap(), python: python("requirements-monitoring.txt") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn table(&self) -> PathBuf {
        root().join("models/penguins/penguins.csv")
    }

    /// Runs `weir ARGS` on the registry, and returns what it says.
    fn weir(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        run(command.args(args).env("WEIR_REGISTRY", self.path("registry")).current_dir(self.folder.path()))
    }

    /// Runs the script of the model's life; its last line is JSON.
    fn script(&self, args: &[&str]) -> Value {
        let script = root().join("tests/clients/monitoring.py");
        let said = run(Command::new(&self.python).arg(script).args(args).current_dir(self.folder.path()));
        let line = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))
    }

    /// Trains, registers and profiles a version from a table or a data set.
    fn version(&self, number: u64, source: &Path, more: &[&str]) -> Value {
        let out = format!("v{number}");
        // Each has a strength of its own: the same bytes would be the same version.
        let strength = (1.0 / number as f64).to_string();
        let trained = self.script(&["train", source.to_str().unwrap(), &out, &strength]);
        let mut args = vec!["register", &out, "--name", "penguins", "--reason", "trained"];
        args.extend(more);
        self.weir(&args);
        let (table, target) = (self.table(), format!("penguins@{number}"));
        let args =
            ["profile-data", table.to_str().unwrap(), "--model", &target, "--reason", "its training data"];
        self.weir(&args);
        trained
    }

    /// A server to which the store does not give a version's baseline when it first asks for it.
    fn server_before_baseline(&self, version: &str) -> Server {
        let shown: Value = serde_json::from_str(&self.weir(&["show", version, "--json"])).unwrap();
        let (first, rest) = shown["baseline"]["sha256"].as_str().unwrap().split_at(2);
        let (blob, hidden) = (self.path("registry/blobs/sha256").join(first).join(rest), self.path("hidden"));
        std::fs::rename(&blob, &hidden).unwrap();
        let (server, started) = (self.server(), Instant::now());
        until("it has asked", || started.elapsed() > Duration::from_secs(3));
        assert_eq!(drift(&server, "1"), Value::Null);
        std::fs::rename(&hidden, &blob).unwrap();
        server
    }

    fn server(&self) -> Server {
        let (registry, cache, watched) = (self.path("registry"), self.path("cache"), self.path("monitoring"));
        Server::start(&[
            Path::new("--registry"),
            &registry,
            Path::new("--registry-cache-dir"),
            &cache,
            Path::new("--monitoring-dir"),
            &watched,
            Path::new("--capture-mode=durable"),
            Path::new("--capture-rotate-interval=1s"),
            Path::new("--drift-pane=1s"),
            Path::new(ALL_ROWS),
        ])
    }

    /// Sends `rows` rows, with their labels kept in a file.
    fn traffic(&self, server: &Server, rows: usize, seed: usize, kind: &str) {
        let (table, rows, seed) = (self.table(), rows.to_string(), seed.to_string());
        let table = table.to_str().unwrap();
        let args = ["traffic", &server.http, "penguins", table, &rows, &seed, kind, "labels.jsonl"];
        let answered = self.script(&args);
        assert_eq!(answered["rows"].to_string(), rows, "{answered}");
    }

    /// Waits until `count` features of the version are in `state`, and none is unknown, while traffic of `kind` comes;
    /// returns the report.
    fn until_drift(&self, server: &Server, version: &str, kind: &str, (count, state): (u64, &str)) -> Value {
        let mut report = Value::Null;
        let mut seed = 1000 * usize::from(kind == "shifted");
        until(&format!("version {version} is {state}"), || {
            seed += 1;
            self.traffic(server, 4000, seed, kind);
            report = drift(server, version);
            report["counts"][state].as_u64() >= Some(count) && report["counts"]["insufficient"] == 0
        });
        report
    }
}

fn drift(server: &Server, version: &str) -> Value {
    let path = format!("/api/v1/models/penguins/drift?version={version}&window=deploy");
    let (status, body) = get(&server.http, &path).unwrap();
    if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
}

/// Names of the features in a state.
fn features(report: &Value, state: &str) -> Vec<String> {
    let features = report["features"].as_array().unwrap().iter();
    features.filter(|f| f["state"] == state).map(|f| f["name"].as_str().unwrap().to_owned()).collect()
}

impl Prometheus {
    /// Scrapes `server` every second by the shipped rules.
    fn start(program: &Path, house: &House, server: &Server) -> Prometheus {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let rules = root().join("monitoring/weir.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n  \
             - job_name: weir\n    static_configs: [{{ targets: [{:?}] }}]\n",
            server.metrics
        );
        std::fs::write(house.path("prometheus.yml"), config).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", house.path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", house.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Prometheus { child, address };
        until("Prometheus answers", || {
            get(&prometheus.address, "/-/ready").is_ok_and(|(status, _)| status == 200)
        });
        prometheus
    }

    /// Versions for which `WeirDrift` fires.
    fn alerts(&self) -> Vec<String> {
        let Ok((200, body)) = get(&self.address, "/api/v1/alerts") else { return Vec::new() };
        // The answer may come in chunks; the JSON begins and ends with braces.
        let (from, to) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(0, |at| at + 1));
        let answer: Value = serde_json::from_str(body.get(from..to).unwrap_or_default()).unwrap_or_default();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let is_drift =
            |alert: &&Value| alert["labels"]["alertname"] == "WeirDrift" && alert["state"] == "firing";
        alerts
            .iter()
            .filter(is_drift)
            .map(|alert| alert["labels"]["version"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn drift_is_seen_alerted_rolled_back_and_trained_away() {
    let Some(program) = prometheus() else { return };
    let house = House::open();
    house.version(1, &house.table(), &[]);
    house.version(2, &house.table(), &[]);
    house.weir(&["deploy", "penguins@1", "--reason", "first", "--rollback-window", "1s"]);
    let server = house.server_before_baseline("penguins@1");
    let prometheus = Prometheus::start(&program, &house, &server);

    // Traffic like the table: every feature is ok, and nothing is alerted.
    let report = house.until_drift(&server, "1", "clean", (6, "ok"));
    assert_eq!((&report["state"], features(&report, "ok").len()), (&"ok".into(), 6), "the inputs: {report}");
    assert_eq!(server.metric("weir_drift_state{model=\"penguins\",state=\"drift\",version=\"1\"}"), 0.0);

    // The next version's pipeline sends another unit, holes and a word that nobody knows.
    house.weir(&["deploy", "penguins@2", "--reason", "second", "--rollback-window", "1s", "--wait"]);
    let report = house.until_drift(&server, "2", "shifted", (3, "drift"));
    let drifted = features(&report, "drift");
    for feature in ["in.body_mass_g", "in.bill_depth_mm", "in.island"] {
        assert!(drifted.iter().any(|found| found == feature), "{feature} is not among {drifted:?}");
    }
    assert!(!drifted.iter().any(|found| found == "in.bill_length_mm" || found == "in.sex"), "{drifted:?}");
    assert!(server.metric("weir_drift_state{model=\"penguins\",state=\"drift\",version=\"2\"}") >= 3.0);
    until("Prometheus alerts", || prometheus.alerts().iter().any(|version| version == "2"));
    assert!(!prometheus.alerts().iter().any(|version| version == "1"));
    let mut events = String::new();
    until("the event is written", || {
        events = house.weir(&["events", "tail", "--lines", "100", "--json"]);
        events.contains("io.weir.drift.detected")
    });
    assert!(events.contains("in.body_mass_g"), "{events}");
    let shown = house.weir(&["drift", "show", "penguins", "--url", &format!("http://{}", server.http)]);
    assert!(shown.contains("in.body_mass_g") && shown.contains("drift"), "{shown}");

    // Rolled back: the version that is served has no drift, and the alert clears.
    house.weir(&["rollback", "penguins", "--reason", "drift", "--wait"]);
    house.until_drift(&server, "1", "clean", (6, "ok"));
    until("the alert clears", || prometheus.alerts().is_empty());

    // Labels of all of it come in, late. Those of unknown requests harm nobody.
    let labels = std::fs::read(house.path("labels.jsonl")).unwrap();
    for part in labels.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>().chunks(5000) {
        let (status, answer) =
            post(&server.http, "/api/v1/models/penguins/feedback", "", &part.concat()).unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    drop(prometheus);
    assert_eq!(server.stop().0, Some(0));

    // What was captured becomes the next training set, and the registry knows where the next version comes from.
    let store = house.path("monitoring/store");
    let store = store.to_str().unwrap();
    let built = house.weir(&[
        "dataset",
        "build",
        "--capture",
        store,
        "--model",
        "penguins",
        "--labels",
        "required",
        "--out",
        "ds",
    ]);
    assert!(built.contains("sha256"), "{built}");
    let listed = house.weir(&["dataset", "ls", "penguins"]);
    let reference = built.rsplit_once("--dataset train=").unwrap().1.trim();
    assert!(listed.trim_end().ends_with(reference), "{listed} does not name {reference}");
    let events = house.weir(&["events", "tail", "--types", "dataset.built", "--json"]);
    assert!(events.contains("io.weir.dataset.built") && events.contains(reference), "{events}");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(house.path("ds/dataset.json")).unwrap()).unwrap();
    assert!(manifest.to_string().contains("penguins"), "{manifest}");
    let dataset = format!("train={reference}");
    let trained = house.version(3, &house.path("ds"), &["--dataset", &dataset]);
    assert!(trained["rows"].as_u64().unwrap() > 300, "{trained}");
    assert!(trained["accuracy"].as_f64().unwrap() > 0.9, "{trained}");
    let lineage = house.weir(&["lineage", "penguins@3"]);
    assert!(lineage.contains("/ds@sha256:"), "{lineage}");
    let good = house.weir(&["performance", "--capture", store, "--model", "penguins"]);
    assert!(good.contains("0.9") || good.contains("1.0"), "{good}");
}

/// Rows of four numbers between -1 and 1, of which the last two follow the first two, or their opposite.
fn cloud(rows: usize, seed: u64, sign: f64) -> Vec<[f64; 4]> {
    let mut state = seed;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..rows).map(|_| [number(), number()]).map(|[a, b]| [a, b, sign * a, sign * b]).collect()
}

/// A folder of models with `iris`, whose input is watched as an embedding against a baseline beside it.
fn watched_iris(folder: &Path) -> PathBuf {
    let path = |name: &str| folder.join(name);
    let model = path("models/iris/1");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::copy(root().join("models/iris/1/model.onnx"), model.join("model.onnx")).unwrap();
    std::fs::write(path("models/iris/model.toml"), "[drift]\nembeddings = [\"input\"]\n").unwrap();
    let line = |row: &[f64; 4]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    let mut table: Vec<String> = cloud(2_000, 1, 1.0).iter().map(|row| format!("{},0", line(row))).collect();
    table.insert(0, "input[0],input[1],input[2],input[3],other".to_owned());
    std::fs::write(path("train.csv"), table.join("\n")).unwrap();
    let (train, baseline) = (path("train.csv"), model.join("baseline.json"));
    let mut profile = Command::new(env!("CARGO_BIN_EXE_weir"));
    run(profile.args(["profile-data", "--embedding", "input", "--out"]).arg(&baseline).arg(&train));
    path("models")
}

/// Sends 60 rows to `iris`, and returns its report.
fn sixty_rows(server: &Server, seed: u64, sign: f64, window: &str) -> Value {
    let rows = cloud(60, seed, sign);
    let input = json!({ "name": "input", "datatype": "FP32", "shape": [rows.len(), 4], "data": rows });
    let body = json!({ "inputs": [input] }).to_string();
    let (status, answer) = post(&server.http, "/v2/models/iris/infer", "", body.as_bytes()).unwrap();
    assert_eq!(status, 200, "{answer}");
    let path = format!("/api/v1/models/iris/drift?window={window}");
    let (status, body) = get(&server.http, &path).unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn an_embedding_is_tapped_and_its_drift_told_while_each_number_is_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let (models, watched) = (watched_iris(folder.path()), folder.path().join("monitoring"));
    let server = Server::start(&[
        models.as_path(),
        Path::new("--monitoring-dir"),
        watched.as_path(),
        Path::new("--drift-pane=1s"),
        Path::new(ALL_ROWS),
    ]);
    let mut seed = 100;
    let mut until_it_is = |state: &str, sign: f64| {
        let mut report = Value::Null;
        until(&format!("the embedding is {state}"), || {
            seed += 1;
            report = sixty_rows(&server, seed, sign, "pane");
            report["embeddings"][0]["state"] == state
        });
        report
    };
    let calm = until_it_is("ok", 1.0);
    let embedding = &calm["embeddings"][0];
    assert_eq!((&embedding["name"], &embedding["width"]), (&json!("input"), &json!(4)), "{calm}");
    let loud = until_it_is("drift", -1.0);
    assert_eq!(loud["state"], "drift", "{loud}");
    let score = "weir_drift_score{feature=\"input\",measure=\"mmd2\",model=\"iris\",version=\"1\"}";
    assert!(server.metric(score) > 0.01);
    assert_eq!(server.stop().0, Some(0));
}

/// Two servers that have nothing in common but a store: what one has seen counts in the other's windows.
#[test]
fn servers_on_two_hosts_merge_their_panes_through_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (models, store) = (watched_iris(folder.path()), folder.path().join("store"));
    let start = |name: &str| {
        let watched = folder.path().join(name);
        Server::start(&[
            models.as_path(),
            Path::new("--monitoring-dir"),
            &watched,
            Path::new("--drift-store"),
            &store,
            Path::new("--drift-pane=1s"),
            Path::new(ALL_ROWS),
        ])
    };
    let (one, two) = (start("one"), start("two"));
    for seed in 0..10 {
        sixty_rows(&one, seed, 1.0, "deploy");
    }
    for seed in 20..24 {
        sixty_rows(&two, seed, 1.0, "deploy");
    }
    let rows = |server: &Server| {
        let (_, body) = get(&server.http, "/api/v1/models/iris/drift?window=deploy").unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["current_rows"].as_f64()
    };
    // Rows that came before the baseline, or while the machine had no time for profiles, are in nobody's panes.
    let own = |server: &Server| {
        server.metric("weir_drift_rows_total{model=\"iris\",result=\"profiled\",version=\"1\"}")
    };
    until("both have counted the rows of both", || {
        let (first, second) = (own(&one), own(&two));
        first > 0.0 && second > 0.0 && rows(&one) == Some(first + second) && rows(&two) == rows(&one)
    });
    assert_eq!(one.stop().0, Some(0));
    let shared = |server: &Server| server.metric("weir_drift_shared_panes_total{result=\"fetched\"}");
    // A pane may be read before its step is counted.
    until("what was fetched is counted", || shared(&two) >= 1.0);
    assert_eq!(two.stop().0, Some(0));
}
