//! Servers that follow a registry: two of them on one local store, under load, killed, and with the store away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::error::Coded;
use weir::model::{ModelName, Version};
use weir::registry::ops::{alias, deploy};
use weir::registry::signals::{self, Signal, SignalKind};
use weir::registry::{
    Actor, FileRef, Health, Intent, Lease, LoadedState, ModelState, Op, Refusal, Registry, RegistryError,
    Store, StoreOptions, blobs, leases,
};

use crate::support::{Server, get, post, root, until};

const PATIENCE: Duration = Duration::from_secs(90);

/// A registry in a folder, with `digits` 1 and 2, and a version 3 that does not load.
pub(crate) struct House {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    registry: Registry,
}

impl House {
    pub(crate) fn open() -> House {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
        let location = folder.path().join("registry");
        let options = StoreOptions { fsync: false, ..StoreOptions::default() };
        let store = Store::open(location.to_str().unwrap(), &options).unwrap();
        let registry = runtime.block_on(Registry::open(store)).unwrap();
        let house = House { folder, runtime, registry };
        for version in ["1", "2"] {
            house.register(
                std::fs::read(root().join("models/digits").join(version).join("model.onnx")).unwrap(),
            );
        }
        house.register(b"this is no model".to_vec());
        house
    }

    pub(crate) fn location(&self) -> PathBuf {
        self.folder.path().join("registry")
    }

    /// The next version, of one file.
    fn register(&self, content: Vec<u8>) {
        self.register_golden(content, None);
    }

    fn put(&self, path: &str, content: Vec<u8>) -> FileRef {
        let file = blobs::put_bytes(self.registry.store(), path, Bytes::from(content));
        self.runtime.block_on(file).unwrap()
    }

    /// The next version, of one file, that must answer `golden`.
    fn register_golden(&self, content: Vec<u8>, golden: Option<Vec<u8>>) {
        let file = self.put("model.onnx", content);
        let mut record = json!({
            "files": [file], "model_file": "model.onnx", "digest": "", "source": "", "inputs": [], "outputs": [],
            "onnx": { "ir_version": 8, "opsets": {}, "producer": "", "operators": {}, "parameters": 0 },
            "validation": { "onnxruntime": "ORT 1", "load_us": 0, "memory_bytes": 0, "batching": "" },
        });
        if let Some(golden) = golden {
            record["validation"]["golden"] = json!(self.put("weir-golden.json", golden));
        }
        self.commit(|state| {
            let record = serde_json::from_value(record.clone()).unwrap();
            let version = state.next_version().unwrap();
            let mut ops = vec![Op::CreateVersion { version, record }];
            if state.rev == 0 {
                ops.insert(0, Op::CreateModel { description: String::new() });
            }
            Ok(ops)
        });
    }

    fn commit(&self, plan: impl Fn(&ModelState) -> Result<Vec<Op>, Refusal>) -> u64 {
        self.try_commit(plan).unwrap()
    }

    fn try_commit(
        &self,
        plan: impl Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    ) -> Result<u64, RegistryError> {
        let intent = Intent {
            actor: Actor { sub: "ada@desk".to_owned(), method: "cli".to_owned() },
            reason: "a test".to_owned(),
            request_id: String::new(),
            if_match: None,
        };
        let model = digits();
        let commit = self.registry.commit(&model, &intent, plan);
        Ok(self.runtime.block_on(commit)?.rev)
    }

    fn deploy(&self, version: &str) -> u64 {
        self.commit(|state| deploy::deploy(state, "default", version, &deploy::SpecChange::default()))
    }

    fn traffic(&self, shares: &[(&str, u32)]) -> u64 {
        let shares: Vec<(String, u32)> = shares.iter().map(|(v, share)| ((*v).to_owned(), *share)).collect();
        self.commit(|state| deploy::traffic(state, "default", &shares, None))
    }

    pub(crate) fn server(&self, replica: &str) -> Server {
        self.server_with(replica, &format!("cache-{replica}"))
    }

    fn server_with(&self, replica: &str, cache: &str) -> Server {
        self.start(replica, cache, &[])
    }

    /// A server with `more` arguments.
    pub(crate) fn server_and(&self, replica: &str, more: &[&Path]) -> Server {
        self.start(replica, &format!("cache-{replica}"), more)
    }

    fn start(&self, replica: &str, cache: &str, more: &[&Path]) -> Server {
        let cache = self.folder.path().join(cache);
        let location = self.location();
        let common = [
            Path::new("--registry"),
            &location,
            Path::new("--registry-cache-dir"),
            &cache,
            Path::new("--registry-replica"),
            Path::new(replica),
            Path::new("--registry-poll-interval"),
            Path::new("200ms"),
        ];
        Server::start(&[&common, more].concat())
    }

    /// Every signal about the model, as kind and reason.
    fn signals(&self) -> Vec<(SignalKind, String)> {
        let store = self.registry.store();
        self.runtime.block_on(async {
            let mut found = Vec::new();
            for number in 1..=signals::last(store, &digits()).await.unwrap() {
                let signal = signals::read(store, &digits(), number).await.unwrap().unwrap();
                found.push((signal.kind, signal.reason));
            }
            found
        })
    }

    /// Waits until `count` signals are of this kind; returns their reasons.
    fn told(&self, kind: SignalKind, count: usize) -> Vec<String> {
        let mut reasons = Vec::new();
        until("a signal is written", || {
            reasons = self.signals().into_iter().filter(|told| told.0 == kind).map(|told| told.1).collect();
            reasons.len() >= count
        });
        reasons
    }

    /// Runs `weir ARGS… --registry … --json`: exit code and answer.
    fn weir(&self, args: &[&str]) -> (i32, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let done = command.args(args).arg("--registry").arg(self.location()).arg("--json").output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        (done.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
    }

    /// Waits until the leases of `replicas` say that `rev` was carried out, or was not; returns them.
    fn carried_out(&self, replicas: &[&str], rev: u64, ok: bool) -> Vec<Lease> {
        let end = Instant::now() + PATIENCE;
        loop {
            let all = self.runtime.block_on(leases::read_all(self.registry.store())).unwrap();
            let of_ours = all.into_iter().filter(|lease| replicas.contains(&lease.replica.as_str()));
            let found: Vec<Lease> = of_ours
                .filter(|lease| lease.models.get(&digits()).and_then(|model| model.outcome(rev)) == Some(ok))
                .collect();
            if found.len() == replicas.len() {
                return found;
            }
            assert!(Instant::now() < end, "revision {rev} of {replicas:?}: {found:#?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn digits() -> ModelName {
    "digits".parse().unwrap()
}

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// The golden inputs, which both versions take, and the outputs of each version.
pub(crate) struct Golden {
    inputs: Value,
    outputs: BTreeMap<String, Value>,
    tolerance: f64,
}

impl Golden {
    pub(crate) fn read() -> Golden {
        let of = |version: &str| -> Value {
            let path = root().join("models/digits").join(version).join("golden.json");
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let (first, second) = (of("1"), of("2"));
        assert_eq!(first["inputs"], second["inputs"], "one request for both versions");
        assert_ne!(first["outputs"], second["outputs"], "answers tell the versions apart");
        Golden {
            inputs: first["inputs"].clone(),
            tolerance: first["tolerance"].as_f64().unwrap(),
            outputs: [("1", first), ("2", second)].map(|(v, g)| (v.to_owned(), g["outputs"].clone())).into(),
        }
    }

    /// Asks `address` and checks that the answer is the one of the version that it names; returns that.
    pub(crate) fn ask(&self, address: &str, version: &str, id: &str) -> Result<String, String> {
        let path = match version {
            "" => "/v2/models/digits/infer".to_owned(),
            version => format!("/v2/models/digits/versions/{version}/infer"),
        };
        let body = json!({ "id": id, "inputs": self.inputs }).to_string();
        let (status, body) = post(address, &path, "", body.as_bytes()).map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("{status}: {body}"));
        }
        let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let named = answer["model_version"].as_str().unwrap_or_default().to_owned();
        let expected =
            self.outputs.get(&named).ok_or_else(|| format!("no golden answers of version '{named}'"))?;
        for (expected, actual) in
            expected.as_array().into_iter().flatten().zip(answer["outputs"].as_array().into_iter().flatten())
        {
            if !close(&expected["data"], &actual["data"], self.tolerance) {
                return Err(format!(
                    "version {named} answered {} instead of {}",
                    actual["data"], expected["data"]
                ));
            }
        }
        Ok(named)
    }

    /// Asks until the answer comes from `expected`.
    pub(crate) fn until(&self, address: &str, version: &str, expected: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(address, version, "until");
            if answer.as_deref() == Ok(expected) {
                return;
            }
            assert!(Instant::now() < end, "'{version}' on {address} should be {expected}: {answer:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn close(expected: &Value, actual: &Value, tolerance: f64) -> bool {
    match (expected, actual) {
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| close(expected, actual, tolerance))
        }
        (Value::Number(expected), Value::Number(actual)) => {
            let difference = expected.as_f64().zip(actual.as_f64()).map(|(a, b)| (a - b).abs());
            difference.is_some_and(|difference| difference <= tolerance)
        }
        _ => expected == actual,
    }
}

/// Clients that ask one server without a break. A request that fails, or whose answer is not its version's, is kept.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(golden: &Arc<Golden>, address: &str) -> Load {
        let (golden, address) = (Arc::clone(golden), address.to_owned());
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) && failures.len() < 5 {
                let id = format!("load-{}", counted.fetch_add(1, Ordering::SeqCst));
                failures.extend(golden.ask(&address, "", &id).err());
            }
            failures
        });
        Load { stop, answered, thread }
    }

    /// Waits for some more answers, so that what happened before was met by requests.
    fn goes_on(&self) {
        let (before, end) = (self.answered.load(Ordering::SeqCst), Instant::now() + PATIENCE);
        while self.answered.load(Ordering::SeqCst) < before + 5 && !self.thread.is_finished() {
            assert!(Instant::now() < end, "the load does not go on");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.thread.join().unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

/// A value of a metric without labels.
fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = get(&server.metrics, "/metrics").unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

#[test]
fn two_servers_serve_what_one_registry_deploys() {
    let (house, golden) = (House::open(), Arc::new(Golden::read()));
    let first = house.deploy("1");
    // Of one host, with one folder for their copies.
    let (a, b) = (house.server_with("a", "cache"), house.server_with("b", "cache"));
    house.carried_out(&["a", "b"], first, true);
    let (on_a, on_b) = (Load::start(&golden, &a.http), Load::start(&golden, &b.http));

    // A split: close to its shares, and the same for the same key everywhere.
    let rev = house.traffic(&[("1", 90), ("2", 10)]);
    house.carried_out(&["a", "b"], rev, true);
    let chosen = |server: &Server| -> Vec<String> {
        (0..400).map(|user| golden.ask(&server.http, "", &format!("user-{user}")).unwrap()).collect()
    };
    let (of_a, of_b) = (chosen(&a), chosen(&b));
    assert_eq!(of_a, of_b);
    let second = of_a.iter().filter(|version| *version == "2").count();
    // Five standard deviations of 400 draws with a share of 0.1.
    assert!((10..=70).contains(&second), "{second}");

    // An alias.
    let rev = house.commit(|state| alias::set(state, "champion", "2"));
    house.carried_out(&["a", "b"], rev, true);
    for server in [&a, &b] {
        assert_eq!(golden.ask(&server.http, "champion", "x").unwrap(), "2");
        let (status, body) = get(&server.http, "/v2/models/digits/versions/champion").unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(golden.ask(&server.http, "nobody", "x").unwrap_err().split(':').next(), Some("404"));
    }

    // A version that does not load leaves what was served, and says so.
    let rev = house.deploy("3");
    for lease in house.carried_out(&["a", "b"], rev, false) {
        let model = &lease.models[&digits()];
        assert_eq!(model.health, Health::Degraded, "{model:?}");
        assert!(model.error.as_deref().is_some_and(|error| error.contains("version 3")), "{model:?}");
        assert_eq!(model.loaded.get(&v(1)), Some(&LoadedState::Serving));
    }
    assert_eq!(metric(&a, "weir_registry_not_served{model=\"digits\"}"), 1.0);
    assert_eq!(chosen(&a), of_a, "the split is served on");

    // Promotion, and its rollback: the other version is still loaded.
    let rev = house.deploy("2");
    house.carried_out(&["a", "b"], rev, true);
    assert_eq!(chosen(&a).into_iter().collect::<BTreeSet<_>>(), ["2".to_owned()].into());
    on_a.goes_on();
    // One is killed in the middle of it. Its clients have left before: nobody can answer for a killed process.
    on_b.end();
    drop(b);
    let rev = house.deploy("1");
    let lease = house.carried_out(&["a"], rev, true).remove(0);
    assert_eq!(lease.models[&digits()].loaded.len(), 2, "the replaced one is kept: {lease:?}");
    golden.until(&a.http, "", "1");
    let b = house.server_with("b", "cache");
    house.carried_out(&["b"], rev, true);
    assert_eq!(golden.ask(&b.http, "", "x").unwrap(), "1");
    on_a.goes_on();
    on_a.end();

    let rev = house.commit(|state| deploy::undeploy(state, "default"));
    for server in [&a, &b] {
        let end = Instant::now() + PATIENCE;
        while golden.ask(&server.http, "", "x").is_ok() {
            assert!(Instant::now() < end, "revision {rev} is not seen");
        }
    }
    assert_eq!(a.stop().0, Some(0));
    let left = house.runtime.block_on(leases::read_all(house.registry.store())).unwrap();
    assert!(left.iter().all(|lease| lease.replica != "a"), "a stopped server leaves no lease");
}

#[test]
fn a_store_that_is_away_changes_nothing_that_is_served() {
    let (house, golden) = (House::open(), Arc::new(Golden::read()));
    let rev = house.traffic_of_both();
    let a = house.server("a");
    house.carried_out(&["a"], rev, true);
    let load = Load::start(&golden, &a.http);
    let away = house.folder.path().join("away");
    std::fs::rename(house.location(), &away).unwrap();
    let end = Instant::now() + PATIENCE;
    while metric(&a, "weir_registry_staleness_seconds") < 1.0 {
        assert!(Instant::now() < end, "the staleness does not rise");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let refused =
        house.try_commit(|state| deploy::deploy(state, "default", "2", &deploy::SpecChange::default()));
    assert_eq!(refused.unwrap_err().code(), weir::error::Code::Unavailable);
    load.goes_on();
    // One starts while the store is away, from what its last run has left.
    load.end();
    drop(a);
    let a = house.server("a");
    let load = Load::start(&golden, &a.http);
    load.goes_on();
    assert!(metric(&a, "weir_registry_looks_total{outcome=\"failed\"}") >= 1.0);
    assert!(!house.location().exists(), "nobody makes a new registry where one was");
    std::fs::rename(&away, house.location()).unwrap();
    let rev = house.deploy("2");
    house.carried_out(&["a"], rev, true);
    golden.until(&a.http, "", "2");
    load.goes_on();
    load.end();
    assert!(metric(&a, "weir_registry_staleness_seconds") < 60.0);
}

impl House {
    fn traffic_of_both(&self) -> u64 {
        self.deploy("1");
        self.traffic(&[("1", 1), ("2", 1)])
    }
}

#[test]
fn a_plain_model_keeps_its_name() {
    let (house, golden) = (House::open(), Golden::read());
    house.deploy("2");
    let repository = house.folder.path().join("models");
    crate::support::copy_dir(&root().join("models/digits/1"), &repository.join("digits/1"));
    let location = house.location();
    let cache = house.folder.path().join("cache");
    let server = Server::start(&[
        &repository,
        Path::new("--registry"),
        &location,
        Path::new("--registry-cache-dir"),
        &cache,
        Path::new("--registry-replica"),
        Path::new("a"),
    ]);
    let rev = house.runtime.block_on(house.registry.state(&digits())).unwrap().rev;
    let lease = house.carried_out(&["a"], rev, false).remove(0);
    let error = lease.models[&digits()].error.clone().unwrap_or_default();
    assert!(error.contains("plain repository"), "{error}");
    assert_eq!(golden.ask(&server.http, "", "x").unwrap(), "1");
}

#[test]
fn what_becomes_of_a_deployment_is_an_event() {
    let house = House::open();
    house.deploy("1");
    let server = house.server("a");
    let kind =
        |number| house.runtime.block_on(signals::read(house.registry.store(), "digits", number)).unwrap();
    // What is served is told a moment after the server is ready; a deployment that comes before would be the first news.
    until("the first deployment is told", || kind(1).is_some());
    house.deploy("3");
    // Signals are written in the order of what was seen, so the failure is in the log before the next deployment.
    until("the failure is told", || kind(2).is_some());
    let rev = house.deploy("2");
    until("the next deployment is told", || kind(3).is_some());
    let told: Vec<Signal> = (1..=3).filter_map(kind).collect();
    let kinds: Vec<&str> = told.iter().map(|signal| signal.kind.name()).collect();
    assert_eq!(kinds, ["deployment.ready", "deployment.failed", "deployment.ready"], "{told:?}");
    assert!(told[1].reason.contains("version 3"), "{told:?}");
    assert_eq!((told[2].rev, told[2].version, told[2].replica.as_deref()), (rev, Some(v(2)), Some("a")));
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_version_that_answers_otherwise_than_at_its_registration_is_not_switched_to() {
    let (house, golden) = (House::open(), Golden::read());
    let model = std::fs::read(root().join("models/digits/2/model.onnx")).unwrap();
    let told = |outputs: &str| json!({ "tolerance": 1e-3, "inputs": golden.inputs, "outputs": golden.outputs[outputs] });
    // Versions 4 and 5 are the model of version 2; only the fifth came with what that answers.
    house.register_golden(model.clone(), Some(told("1").to_string().into()));
    house.register_golden(model, Some(told("2").to_string().into()));
    let rev = house.deploy("1");
    let a = house.server("a");
    house.carried_out(&["a"], rev, true);
    let rev = house.deploy("4");
    let lease = house.carried_out(&["a"], rev, false).remove(0);
    let model = &lease.models[&digits()];
    assert_eq!((model.health, model.loaded.get(&v(1))), (Health::Degraded, Some(&LoadedState::Serving)));
    let error = model.error.clone().unwrap_or_default();
    for expected in ["version 4", "registered, by ORT 1", "output '", "golden_check"] {
        assert!(error.contains(expected), "{expected} in {error}");
    }
    assert_eq!(golden.ask(&a.http, "", "x").unwrap(), "1");
    let reasons = house.told(SignalKind::DeploymentFailed, 1);
    assert!(reasons[0].contains("golden"), "{reasons:?}");
    let rev = house.deploy("5");
    house.carried_out(&["a"], rev, true);
    // The operator may know better.
    let change = deploy::SpecChange {
        settings: [("golden_check".to_owned(), Some(Value::from(false)))].into(),
        ..deploy::SpecChange::default()
    };
    let rev = house.commit(|state| deploy::deploy(state, "default", "4", &change));
    house.carried_out(&["a"], rev, true);
}

#[test]
fn a_damaged_log_is_told_once_and_served_on() {
    let (house, golden) = (House::open(), Golden::read());
    let rev = house.deploy("1");
    let (a, b) = (house.server("a"), house.server("b"));
    house.carried_out(&["a", "b"], rev, true);
    let next = house.location().join(format!("models/digits/log/{:020}.json", rev + 1));
    std::fs::write(&next, "{}").unwrap();
    for server in [&a, &b] {
        until("the damage is seen", || metric(server, "weir_registry_damaged_models") == 1.0);
    }
    let reasons = house.told(SignalKind::RegistryIntegrityFailed, 1);
    assert!(reasons[0].contains(&format!("revision {}", rev + 1)), "{reasons:?}");
    // One that starts sees it, too.
    drop(b);
    let b = house.server("b");
    until("the damage is seen", || metric(&b, "weir_registry_damaged_models") == 1.0);
    // It has told what it had to when it tells of a deployment that was made after the damage was mended.
    std::fs::remove_file(&next).unwrap();
    let rev = house.deploy("2");
    house.carried_out(&["a", "b"], rev, true);
    // Each served version 1 at its start, b twice.
    house.told(SignalKind::DeploymentReady, 5);
    assert_eq!(house.told(SignalKind::RegistryIntegrityFailed, 1).len(), 1, "{:?}", house.signals());
    for server in [&a, &b] {
        assert_eq!(metric(server, "weir_registry_damaged_models"), 0.0);
        assert!(metric(server, "weir_registry_staleness_seconds") < 30.0, "it could be reached all the time");
    }
    assert_eq!(golden.ask(&a.http, "", "x").unwrap(), "2");
}

#[test]
fn a_start_with_a_deployment_that_does_not_load_serves_the_one_before() {
    let (house, golden) = (House::open(), Golden::read());
    let before = house.deploy("1");
    let rev = house.deploy("3");
    let a = house.server("a");
    assert_eq!(golden.ask(&a.http, "", "x").unwrap(), "1", "it is ready, so it serves");
    let lease = house.carried_out(&["a"], rev, false).remove(0);
    let model = &lease.models[&digits()];
    assert_eq!(
        (model.health, model.reason.as_str()),
        (Health::Degraded, format!("the deployment of revision {before} is served").as_str())
    );
    assert!(model.error.as_deref().is_some_and(|error| error.contains("version 3")), "{model:?}");
    let reasons = house.told(SignalKind::DeploymentDegraded, 1);
    assert!(reasons[0].contains(&format!("revision {before} is served instead")), "{reasons:?}");
    assert_eq!(metric(&a, "weir_registry_not_served{model=\"digits\"}"), 1.0);
    let rev = house.deploy("2");
    house.carried_out(&["a"], rev, true);
    assert_eq!(golden.ask(&a.http, "", "x").unwrap(), "2");
    house.told(SignalKind::DeploymentReady, 1);
    assert_eq!(house.told(SignalKind::DeploymentDegraded, 1).len(), 1);
    assert_eq!(metric(&a, "weir_registry_not_served{model=\"digits\"}"), 0.0);
}

#[test]
fn what_lacks_a_library_for_the_moment_is_tried_again() {
    let (house, golden) = (House::open(), Golden::read());
    let rev = house.deploy("1");
    let a = house.server("a");
    house.carried_out(&["a"], rev, true);
    let change = deploy::SpecChange {
        settings: [("runtime.provider".to_owned(), Some(Value::from("cuda")))].into(),
        ..deploy::SpecChange::default()
    };
    let rev = house.commit(|state| deploy::deploy(state, "default", "2", &change));
    house.carried_out(&["a"], rev, false);
    let tries = || metric(&a, "weir_model_loads_total{model=\"digits\",outcome=\"failed\"}");
    assert_eq!(tries(), 1.0);
    until("it is tried again", || tries() > 1.0);
    assert_eq!(golden.ask(&a.http, "", "x").unwrap(), "1");
    assert_eq!(house.told(SignalKind::DeploymentFailed, 1).len(), 1, "it is told once");
    assert_eq!(a.stop().0, Some(0));
}

#[test]
fn waiting_ends_when_every_replica_serves_it_or_one_cannot() {
    let house = House::open();
    let rev = house.deploy("1");
    let (a, b) = (house.server("a"), house.server("b"));
    house.carried_out(&["a", "b"], rev, true);
    let deploy = |version: &str| {
        let version = format!("digits@{version}");
        house.weir(&["deploy", &version, "--reason", "a test", "--wait", "--timeout", "80s"])
    };
    let (code, answer) = deploy("2");
    assert_eq!(code, 0, "{answer}");
    let golden = Golden::read();
    for server in [&a, &b] {
        assert_eq!(golden.ask(&server.http, "", "x").unwrap(), "2", "{answer}");
    }
    let states = |answer: &Value| -> BTreeMap<String, (String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = answer["replicas"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| (text(&one["replica"]), (text(&one["state"]), text(&one["reason"])))).collect()
    };
    let all = states(&answer);
    assert_eq!(all.len(), 2, "{answer}");
    assert!(all.values().all(|(state, _)| state == "served"), "{answer}");
    // Only b cannot have version 1: a file is in the way of its copies. To a, which had it before, nothing happens.
    drop(b);
    let blocked = house.folder.path().join("blocked");
    let b = house.server_with("b", "blocked");
    house.carried_out(&["b"], house.runtime.block_on(house.registry.state(&digits())).unwrap().rev, true);
    let id = house.registry.info().registry_id.to_string();
    let models = blocked.join(id).join("models/digits");
    std::fs::rename(&models, models.with_file_name("away")).unwrap();
    std::fs::write(&models, "in the way").unwrap();
    let (code, answer) = deploy("1");
    assert_eq!(code, 4, "{answer}");
    let all = states(&answer);
    let (state, reason) = &all["b"];
    assert_eq!(state, "failed", "{answer}");
    assert!(reason.contains("version 1"), "{answer}");
    assert_ne!(all["a"].0, "failed", "{answer}");
    assert_eq!(golden.ask(&b.http, "", "x").unwrap(), "2", "it serves on");
}
