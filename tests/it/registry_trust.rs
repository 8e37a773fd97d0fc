//! Trust in a registry, by the real binary: what served when, tampering, damaged files, signatures, collection, lineage.
//! Registries are made through the library, so that no model has to be loaded.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weir::model::{ModelName, Version};
use weir::registry::record::{ModelRef, OnnxRecord, ValidationRecord};
use weir::registry::{
    Actor, DeploymentSpec, Intent, ModelState, Op, Registry, StickyKey, Store, StoreOptions, VersionRecord,
    blobs,
};

use crate::support::{Server, copy_dir, get, post, until};

/// A registry in a folder, with its model `digits`, and `fused`, which is made from it.
struct Fixture {
    folder: tempfile::TempDir,
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn store(root: &Path) -> Store {
    let options = StoreOptions { fsync: false, ..StoreOptions::default() };
    Store::open(root.to_str().unwrap(), &options).unwrap()
}

async fn commit(registry: &Registry, model: &str, sub: &str, reason: &str, ops: Vec<Op>) -> u64 {
    let intent = Intent {
        actor: Actor { sub: sub.to_owned(), method: "cli".to_owned() },
        reason: reason.to_owned(),
        request_id: String::new(),
        if_match: None,
    };
    let plan = |_: &ModelState| Ok(ops.clone());
    registry.commit(&name(model), &intent, plan).await.unwrap().rev
}

async fn record(registry: &Registry, content: &str, from: Vec<ModelRef>) -> Box<VersionRecord> {
    let bytes = bytes::Bytes::from(content.to_owned());
    let file = blobs::put_bytes(registry.store(), "model.onnx", bytes).await.unwrap();
    Box::new(VersionRecord {
        digest: file.sha256.clone(),
        files: vec![file],
        model_file: "model.onnx".to_owned(),
        source: "models/digits".to_owned(),
        idempotency_key: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        onnx: OnnxRecord::default(),
        validation: ValidationRecord { onnxruntime: "1.24.0".to_owned(), ..ValidationRecord::default() },
        git: None,
        datasets: BTreeMap::from([("train".to_owned(), "s3://lake/digits@7".to_owned())]),
        run: Some("run-42".to_owned()),
        derived_from: from,
    })
}

fn deploy(weights: &[(u64, u32)]) -> Op {
    let spec = DeploymentSpec {
        traffic: weights.iter().map(|(number, weight)| (version(*number), *weight)).collect(),
        sticky: StickyKey::default(),
        settings: BTreeMap::new(),
        rollback_window_s: 600,
    };
    Op::Deploy { deployment: "default".to_owned(), spec, rollback_to: None }
}

impl Fixture {
    /// Six revisions of `digits`, one of `fused`.
    fn new() -> Fixture {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
        fixture.block(async |registry| {
            let metrics = BTreeMap::from([("accuracy".to_owned(), 0.97)]);
            let create = Op::CreateModel { description: "reads digits".to_owned() };
            let first =
                Op::CreateVersion { version: version(1), record: record(registry, "one", vec![]).await };
            commit(registry, "digits", "ada@desk", "the first", vec![create, first]).await;
            commit(registry, "digits", "ada@desk", "go live", vec![deploy(&[(1, 1)])]).await;
            let annotate = Op::Annotate { version: Some(version(2)), metrics, description: None };
            let second =
                Op::CreateVersion { version: version(2), record: record(registry, "two", vec![]).await };
            commit(registry, "digits", "bob@desk", "better data", vec![second, annotate]).await;
            commit(registry, "digits", "bob@desk", "try it", vec![deploy(&[(1, 9), (2, 1)])]).await;
            commit(registry, "digits", "cleo@desk", "it is better", vec![deploy(&[(2, 1)])]).await;
            let alias = Op::SetAlias { alias: "champion".to_owned(), version: version(2) };
            commit(registry, "digits", "cleo@desk", "by agreement", vec![alias]).await;
            let create = Op::CreateModel { description: String::new() };
            let from = vec![ModelRef { model: name("digits"), version: version(2) }];
            let fused =
                Op::CreateVersion { version: version(1), record: record(registry, "fused", from).await };
            commit(registry, "fused", "ada@desk", "fuse", vec![create, fused]).await;
        });
        fixture
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("registry")
    }

    /// A file beside the registry.
    fn beside(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn block(&self, work: impl AsyncFnOnce(&Registry)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let registry = Registry::open(store(&self.root())).await.unwrap();
            work(&registry).await;
        });
    }

    /// Runs `weir ARGS… --registry …`: exit code, standard output, standard error.
    fn weir(&self, args: &[&str]) -> (i32, String, String) {
        self.weir_with(args, &[])
    }

    fn weir_with(&self, args: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(args)
            .args(["--registry", self.root().to_str().unwrap()])
            .envs(environment.iter().copied());
        let done = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.weir(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    fn revision(&self, model: &str, rev: u64) -> PathBuf {
        self.root().join(format!("models/{model}/log/{rev:020}.json"))
    }

    /// Exit code 1, and `expected` among the findings.
    fn is_bad(&self, args: &[&str], expected: &str) {
        let (code, out, err) = self.weir(args);
        assert_eq!(code, 1, "{args:?}: {out}{err}");
        assert!(out.contains(expected), "{expected:?} in {out}");
    }

    fn anchor(&self) -> String {
        let (code, out, err) = self.weir(&["audit", "anchor"]);
        assert_eq!(code, 0, "{err}");
        let file = self.beside("anchors.jsonl");
        std::fs::write(&file, out).unwrap();
        file
    }
}

fn flip(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_audit_says_what_served_who_and_why() {
    let fixture = Fixture::new();
    let told = fixture.json(&["audit", "digits"]);
    let changes = told["audit"]["changes"].as_array().unwrap();
    let what: Vec<&str> = changes.iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["deploy", "deploy", "deploy", "alias"]);
    for change in changes {
        let time = change["counts_from"].as_str().unwrap();
        let then = fixture.json(&["audit", "digits", "--at", time]);
        let then = then["audit"]["changes"].as_array().unwrap();
        assert!(then.iter().all(|then| then["counts_from"].as_str().unwrap() <= time), "{then:?}");
        assert!(!then.is_empty());
    }
    let (code, out, _) = fixture.weir(&["audit", "digits", "--at", "now", "--deployment", "default"]);
    assert_eq!(code, 0);
    for expected in [
        "deployment default: version 2 100 %",
        "deploy by cleo@desk (cli)  \"it is better\"",
        "registered",
        "by bob@desk",
        "metrics accuracy 0.97",
        "run run-42",
        "data train s3://lake/digits@7",
        "validated with ONNX Runtime 1.24.0",
    ] {
        assert!(out.contains(expected), "{expected:?} in\n{out}");
    }
    assert!(!out.contains("champion"));
    let (_, out, _) = fixture.weir(&["audit", "digits", "--at", "-52w"]);
    assert!(out.contains("nothing was deployed then"), "{out}");
    assert_eq!(fixture.weir(&["audit", "digits", "--at", "yesterday"]).0, 2);
    assert_eq!(fixture.weir(&["audit", "nobody"]).0, 3);
}

#[test]
fn tampering_is_found_and_named() {
    let whole = Fixture::new();
    let anchor = whole.anchor();
    let verify = ["audit", "verify", "--anchor", &anchor];
    let report = whole.json(&verify);
    assert_eq!((&report["revisions"], &report["anchors"]), (&Value::from(7), &Value::from(2)));
    let backup = whole.folder.path().join("backup");
    copy_dir(&whole.root(), &backup);
    let restore = || {
        std::fs::remove_dir_all(whole.root()).unwrap();
        copy_dir(&backup, &whole.root());
    };

    flip(&whole.revision("digits", 3), "bob@desk", "bob@disk");
    whole.is_bad(&verify, "model 'digits': revision 3: it was changed");
    whole.is_bad(&["audit", "verify", "digits"], "revision 3: it was changed");
    assert_eq!(whole.weir(&["audit", "verify", "fused"]).0, 0, "the other model is whole");
    restore();
    std::fs::remove_file(whole.revision("digits", 4)).unwrap();
    whole.is_bad(&verify, "model 'digits': revision 4: it is missing");
    restore();
    let (digits, fused) = (whole.root().join("models/digits"), whole.root().join("models/fused"));
    let aside = whole.root().join("models/aside");
    std::fs::rename(&digits, &aside).unwrap();
    std::fs::rename(&fused, &digits).unwrap();
    std::fs::rename(&aside, &fused).unwrap();
    whole.is_bad(&verify, "model 'digits': revision 1: it belongs to model 'fused'");
    whole.is_bad(&verify, "model 'fused': revision 1: it belongs to model 'digits'");
    restore();
    std::fs::remove_file(whole.revision("digits", 6)).unwrap();
    whole.is_bad(
        &verify,
        "model 'digits': revision 6: the log ends at revision 5, and revision 6 was anchored",
    );
    restore();
    whole.block(async |registry| {
        let tag = Op::SetTag { version: None, key: "k".to_owned(), value: "v".to_owned() };
        commit(registry, "digits", "ada@desk", "", vec![tag]).await;
    });
    assert_eq!(whole.weir(&verify).0, 0, "an old anchor holds for a log that went on");
    let newer = whole.anchor();
    restore();
    assert_eq!(whole.weir(&["audit", "verify"]).0, 0, "an old copy is whole in itself");
    whole.is_bad(&["audit", "verify", "--anchor", &newer], "revision 7: the log ends at revision 6");
    let other = Fixture::new();
    other.is_bad(&["audit", "verify", "--anchor", &anchor], "the anchor is of registry");
}

#[test]
fn a_tampered_log_is_served_up_to_its_last_verified_revision() {
    let fixture = Fixture::new();
    flip(&fixture.revision("digits", 5), "it is better", "it is bitter");
    fixture.block(async |registry| {
        let view = registry.view(&name("digits")).await.unwrap();
        // Revision 5 itself reads well; 6 shows that it was changed.
        assert_eq!(view.state.rev, 5);
        assert_eq!(view.fault.unwrap().rev, 6);
    });
    let (code, _, err) = fixture.weir(&["audit", "digits"]);
    assert!(code == 0 || err.contains("revision"), "{err}");
}

#[test]
fn damaged_files_and_dangling_holds_are_found() {
    let fixture = Fixture::new();
    let (code, out, err) = fixture.weir(&["fsck"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("3 files are right; 0 problems"), "{out}");
    let sha256 = fixture.json(&["audit", "digits", "--at", "now", "--deployment", "default"]);
    let sha256 = sha256["audit"]["changes"][0]["evidence"][0]["digest"].as_str().unwrap().to_owned();
    let (first, rest) = sha256.split_at(2);
    let blob = fixture.root().join(format!("blobs/sha256/{first}/{rest}"));
    std::fs::write(&blob, "twO").unwrap();
    assert_eq!(fixture.weir(&["fsck", "--quick"]).0, 0, "it has the right length");
    fixture.is_bad(&["fsck"], "version 2: the content of 'model.onnx'");
    fixture.is_bad(&["audit", "verify", "--blobs"], "its hash is another");
    std::fs::write(&blob, "longer").unwrap();
    fixture.is_bad(&["fsck", "--quick"], "it has 6 bytes instead of 3");
    std::fs::remove_file(&blob).unwrap();
    fixture.is_bad(&["fsck", "--quick", "digits"], "is missing in the registry");
    std::fs::write(&blob, "two").unwrap();
    fixture.block(async |registry| {
        let hold = Op::Hold { version: version(1), holder: "gone@7".to_owned() };
        commit(registry, "digits", "ada@desk", "", vec![hold]).await;
    });
    fixture.is_bad(&["fsck"], "version 1 is held by gone@7, which is not there");
}

#[test]
fn garbage_goes_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.block(async |registry| {
        blobs::put_bytes(registry.store(), "x", bytes::Bytes::from_static(b"orphan")).await.unwrap();
    });
    let soon = fixture.json(&["gc"]);
    assert_eq!((&soon["freed_bytes"], &soon["young"], &soon["live"]), (&0.into(), &1.into(), &3.into()));
    let (code, out, _) = fixture.weir(&["gc", "--grace", "0s", "--dry-run"]);
    assert_eq!(code, 0);
    assert!(out.contains("would free 6 bytes in 1 files; 3 files are in use"), "{out}");
    let did = fixture.json(&["gc", "--grace", "0s"]);
    assert_eq!(did["freed_bytes"], 6);
    assert_eq!(fixture.json(&["gc", "--grace", "0s"])["freed_bytes"], 0);
    assert_eq!(fixture.weir(&["fsck"]).0, 0);
    assert_eq!(fixture.weir(&["gc", "--grace", "soon"]).0, 2);
}

#[test]
fn signed_revisions_are_proved_and_others_refused() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.beside("key.pem"), fixture.beside("other.pem"));
    for file in [&key, &other] {
        let made = Command::new(env!("CARGO_BIN_EXE_weir")).args(["keys", "new", file]).output().unwrap();
        assert!(made.status.success());
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Command::new(env!("CARGO_BIN_EXE_weir")).args(["keys", "new", file]).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "a key is not overwritten");
    }
    let with = [("WEIR_REGISTRY_SIGNING_KEY", key.as_str())];
    let tag = ["tag", "digits", "stage=test", "--reason", "a test"];
    let (code, out, err) = fixture.weir_with(&["keys", "add", "--reason", "sign"], &with);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = fixture.weir(&tag);
    assert_eq!((code, err.contains("must be signed")), (3, true), "{err}");
    let (code, _, err) = fixture.weir_with(&tag, &[("WEIR_REGISTRY_SIGNING_KEY", &other)]);
    assert_eq!((code, err.contains("do not count")), (3, true), "{err}");
    let (code, _, err) = fixture.weir_with(&tag, &with);
    assert_eq!(code, 0, "{err}");
    let report = fixture.json(&["audit", "verify"]);
    assert_eq!((&report["signed"], &report["key_records"]), (&1.into(), &1.into()));
    flip(&fixture.revision("digits", 7), "a test", "a tset");
    fixture.is_bad(&["audit", "verify"], "revision 7: its signature is wrong");
    fixture.block(async |registry| {
        assert_eq!(registry.view(&name("digits")).await.unwrap().state.rev, 6);
    });
    let accept = ["keys", "accept", "digits", "--up-to", "7", "--reason", "an incident"];
    assert_eq!(fixture.weir(&accept).0, 3, "without the key");
    assert_eq!(fixture.weir_with(&accept, &with).0, 0);
    assert_eq!(fixture.weir(&["audit", "verify"]).0, 0, "it was taken as it is");
    let (_, out, _) = fixture.weir(&["keys", "ls"]);
    assert!(out.contains("counts"), "{out}");
}

#[test]
fn a_server_signs_what_is_changed_through_it() {
    let fixture = Fixture::new();
    let key = fixture.beside("key.pem");
    let made = Command::new(env!("CARGO_BIN_EXE_weir")).args(["keys", "new", &key]).output().unwrap();
    assert!(made.status.success());
    let with = [("WEIR_REGISTRY_SIGNING_KEY", key.as_str())];
    assert_eq!(fixture.weir_with(&["keys", "add", "--reason", "sign"], &with).0, 0);
    let (root, cache) = (fixture.root(), fixture.beside("cache"));
    // It follows a deployment that no model has: the versions of this registry are no models.
    let common = [
        "--registry",
        root.to_str().unwrap(),
        "--registry-deployment",
        "none",
        "--registry-cache-dir",
        &cache,
    ];
    let change = |server: &Server, to: &str| {
        let body = format!(r#"{{"set": {{"stage": "{to}"}}, "reason": "a test"}}"#);
        let path = "/api/v1/models/digits/tags";
        post(&server.http, path, "content-type: application/json\r\n", body.as_bytes()).unwrap()
    };
    let unsigned = Server::start(&common);
    until("the registry is reached", || {
        get(&unsigned.http, "/api/v1/models/digits").is_ok_and(|(status, _)| status == 200)
    });
    let (status, body) = change(&unsigned, "test");
    assert!((400..500).contains(&status) && body.contains("must be signed"), "{status} {body}");
    drop(unsigned);
    let server = Server::start(&[&common[..], &["--registry-signing-key", &key]].concat());
    until("the registry is reached", || {
        get(&server.http, "/api/v1/models/digits").is_ok_and(|(status, _)| status == 200)
    });
    let (status, body) = change(&server, "test");
    assert_eq!(status, 200, "{body}");
    let revision: Value =
        serde_json::from_slice(&std::fs::read(fixture.revision("digits", 7)).unwrap()).unwrap();
    let (_, keys, _) = fixture.weir(&["keys", "ls"]);
    assert!(keys.contains(revision["sig"]["key"].as_str().unwrap()), "{keys}");
    let report = fixture.json(&["audit", "verify"]);
    assert_eq!((&report["signed"], &report["key_records"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(change(&server, "live").0, 200);
    assert_eq!(fixture.json(&["audit", "verify"])["signed"], 2);
    flip(&fixture.revision("digits", 8), "a test", "a tset");
    fixture.is_bad(&["audit", "verify"], "revision 8: its signature is wrong");
}

#[test]
fn keys_are_changed_through_a_server_that_holds_one() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.beside("key.pem"), fixture.beside("other.pem"));
    let new = |file: &str| {
        let made = Command::new(env!("CARGO_BIN_EXE_weir")).args(["keys", "new", file]).output().unwrap();
        let said = String::from_utf8(made.stdout).unwrap();
        let words: Vec<&str> = said.split_whitespace().collect();
        (words[1].to_owned(), words[3].to_owned())
    };
    let ((id, _), (other_id, other_public)) = (new(&key), new(&other));
    let (root, cache) = (fixture.root(), fixture.beside("cache"));
    let common = ["--registry", root.to_str().unwrap(), "--registry-deployment", "none"];
    let common = [&common[..], &["--registry-cache-dir", &cache]].concat();
    let start = |more: &[&str]| {
        let server = Server::start(&[&common[..], more].concat());
        until("the registry is reached", || {
            get(&server.http, "/api/v1/registry/keys").is_ok_and(|(status, _)| status == 200)
        });
        server
    };
    let ask = |server: &Server, path: &str, body: Value| {
        let path = format!("/api/v1/registry/keys{path}");
        let (status, answer) = post(&server.http, &path, "", body.to_string().as_bytes()).unwrap();
        (status, serde_json::from_str::<Value>(&answer).unwrap())
    };
    let server = start(&["--registry-signing-key", &key]);
    let (status, answer) = ask(&server, "", json!({}));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("reason"), "{answer}");
    let (status, answer) = ask(&server, "", json!({"reason": "sign from now on"}));
    assert_eq!((status, &answer["keys"][0]["key"]), (200, &json!(id)), "{answer}");
    let (status, answer) = ask(&server, "", json!({"ed25519": "AAAA", "reason": "no key"}));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("ed25519"), "{answer}");
    let (status, answer) = ask(&server, "", json!({"ed25519": other_public, "reason": "the build server"}));
    assert_eq!((status, &answer["records"], &answer["required"]), (200, &json!(2), &json!(true)));
    let (status, answer) = ask(&server, "/accept", json!({"model": "digits", "up_to": 7, "reason": "early"}));
    assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "there is no such revision");
    let (status, _) = ask(&server, "/accept", json!({"model": "digits", "up_to": 6, "reason": "checked"}));
    assert_eq!(status, 200);
    drop(server);

    // A server without a key that counts has nothing to sign with.
    let unsigned = start(&[]);
    let (status, answer) = ask(&unsigned, "", json!({"ed25519": other_public, "reason": "again"}));
    assert!((400..500).contains(&status), "{answer}");
    drop(unsigned);
    let server = start(&["--registry-signing-key", &other]);
    let revoked = delete(&server, &format!("/api/v1/registry/keys/{id}"), "{\"reason\": \"laptop lost\"}");
    assert_eq!(revoked["keys"].as_array().unwrap().len(), 2);
    let counts = |key: &Value| key["key"] == json!(other_id) && key["revoked"] == json!(false);
    assert!(revoked["keys"].as_array().unwrap().iter().any(counts), "{revoked}");
    let (_, listed, _) = fixture.weir(&["keys", "ls"]);
    assert!(listed.contains(&format!("{id}  revoked")), "{listed}");
    assert_eq!(fixture.json(&["audit", "verify"])["key_records"], 4);
}

/// The JSON that answers a DELETE.
fn delete(server: &Server, path: &str, body: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(&server.http).unwrap();
    let (address, len) = (&server.http, body.len());
    let head = format!("DELETE {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {len}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn lineage_is_told_and_drawn() {
    let fixture = Fixture::new();
    let (code, out, err) = fixture.weir(&["lineage", "digits@champion"]);
    assert_eq!(code, 0, "{err}");
    for expected in ["digits@2", "run         run-42", "used by     fused@1", "alias       digits@champion"] {
        assert!(out.contains(expected), "{expected:?} in\n{out}");
    }
    let graph = fixture.json(&["lineage", "digits@2"]);
    assert!(graph["nodes"].as_array().unwrap().iter().any(|node| node["title"] == "fused@1"));
    let file = fixture.beside("lineage.svg");
    assert_eq!(fixture.weir(&["lineage", "digits@2", "--format", "svg", "--output", &file]).0, 0);
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("fused@1"), "{svg}");
    assert!(fixture.weir(&["lineage", "digits", "--format", "dot"]).1.starts_with("digraph"));
    assert_eq!(fixture.weir(&["lineage", "digits@9"]).0, 3);
}
