//! The commands on a registry as an operator meets them: what they print, in which form, and how they exit.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use weir::model::{ModelName, Version};
use weir::registry::{Actor, FileRef, Intent, Op, Registry, Store, StoreOptions, blobs};

use crate::support::root;

/// A registry of one model, `m`, with three versions of which the third is made from the second.
async fn fill(folder: &Path) {
    let store = Store::open(&folder.display().to_string(), &StoreOptions::default()).unwrap();
    let registry = Registry::open(store).await.unwrap();
    let model: ModelName = "m".parse().unwrap();
    let bytes = bytes::Bytes::from_static(b"a model");
    let file = blobs::put_bytes(registry.store(), "model.onnx", bytes).await.unwrap();
    let actor = Actor { sub: "ada@desk".to_owned(), method: "cli".to_owned() };
    let intent = Intent { actor, reason: "a test".to_owned(), request_id: String::new(), if_match: None };
    let plan = |_: &_| {
        let mut ops = vec![Op::CreateModel { description: "for tests".to_owned() }];
        ops.extend([1, 2, 3].map(|version| create(version, &file)));
        Ok(ops)
    };
    registry.commit(&model, &intent, plan).await.unwrap();
}

fn create(version: u64, file: &FileRef) -> Op {
    let parents = if version == 3 { json!([{ "model": "m", "version": 2 }]) } else { json!([]) };
    let record = json!({
        "files": [file], "model_file": file.path, "digest": file.sha256, "source": "model.onnx",
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 4] }],
        "outputs": [{ "name": "y", "datatype": "FP32", "shape": [-1, 1] }],
        "onnx": { "ir_version": 9, "opsets": { "": 17 }, "producer": "test", "operators": { "Gemm": 1 }, "parameters": 4 },
        "validation": { "onnxruntime": "1", "load_us": 1, "memory_bytes": 1, "batching": "yes" },
        "datasets": { "train": format!("s3://data/train@{version}") },
        "derived_from": parents,
    });
    Op::CreateVersion {
        version: Version::new(version).unwrap(),
        record: serde_json::from_value(record).unwrap(),
    }
}

/// A registry in a folder of its own, and the program pointed at it.
struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fill(folder.path()));
        Rig { folder }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(root()).env_remove("WEIR_CONFIG").env("USER", "ada");
        command.env("WEIR_REGISTRY", self.folder.path());
        command.output().expect("the binary runs")
    }

    /// Runs a command that must succeed; what it printed, with what changes from run to run blotted out.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
        assert!(error.is_empty(), "{args:?}: {error}");
        blot(&String::from_utf8(output.stdout).unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs a command that must be refused: exit code, and part of its one line.
    fn refused(&self, args: &[&str], code: i32, expected: &str) {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: expected {expected:?}:\n{error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// Times become `TIME`, and `ada@host` becomes `ada`.
fn blot(text: &str) -> String {
    let mut blotted = String::new();
    for line in text.lines() {
        let mut words = Vec::new();
        let mut rest = line.split(' ').peekable();
        while let Some(word) = rest.next() {
            let is_date = word.len() == 10 && word.matches('-').count() == 2 && word.starts_with("20");
            if is_date && rest.peek().is_some_and(|next| next.contains(':') && next.contains('Z')) {
                let time = rest.next().unwrap_or_default();
                words.push(format!("TIME{}", time.split_once('Z').map_or("", |(_, after)| after)));
            } else if let Some(after) = word.strip_prefix("ada@").filter(|_| !word.starts_with("ada@desk")) {
                let after: String = after.chars().skip_while(|c| !matches!(c, ':' | ')')).collect();
                words.push(format!("ada{after}"));
            } else {
                words.push(word.to_owned());
            }
        }
        blotted.push_str(&words.join(" "));
        blotted.push('\n');
    }
    blotted
}

#[test]
fn a_deployment_is_made_split_and_rolled_back() {
    let rig = Rig::new();
    let deploy =
        ["deploy", "m@1", "--reason", "first", "--set", "max_batch_size=16", "--rollback-window", "5m"];
    assert_eq!(rig.ok(&deploy), "m revision 2: deployment default serves version 1 100%\n");
    assert_eq!(rig.ok(&deploy), "m revision 2: unchanged\n");
    assert_eq!(
        rig.ok(&["traffic", "m", "1=90%", "2=10%", "--sticky", "header:X-User", "--reason", "try 2"]),
        "m revision 3: deployment default serves version 1 90%, version 2 10%\n"
    );
    assert_eq!(
        rig.ok(&["alias", "m", "champion=2", "old=1", "--reason", "better"]),
        "m revision 4: alias champion -> version 2\nm revision 4: alias old -> version 1\n"
    );
    assert_eq!(
        rig.ok(&["deploy", "m@champion", "--reason", "promote"]),
        "m revision 5: deployment default serves version 2 100%\n"
    );
    assert_eq!(
        rig.ok(&["deployment", "diff", "m", "default@2", "default"]),
        "traffic.1: 100 -> -\ntraffic.2: - -> 100\nsticky: \"request_id\" -> \"header:x-user\"\n"
    );
    assert_eq!(
        rig.ok(&["rollback", "m", "--to", "2", "--reason", "errors"]),
        "m revision 6: deployment default rolled back to revision 2: serves version 1 100%\n"
    );
    assert_eq!(
        rig.ok(&["deployment", "clone", "m", "default", "staging", "--reason", "try"]),
        "m revision 7: deployment staging serves version 1 100%\n"
    );
    assert_eq!(
        rig.ok(&["deployment", "show", "m"]),
        "deployment default serves version 1 100%  (revision 6, TIME, ada: errors)\n  sticky: request_id\n  \
         rollback window: 5m\n  max_batch_size = 16\n  \
         before: version 2 100%  (revision 5, TIME, ada: promote)\n  \
         before: version 1 90%, version 2 10%  (revision 3, TIME, ada: try 2)\n  \
         before: version 1 100%  (revision 2, TIME, ada: first)\n"
    );
    assert_eq!(
        rig.ok(&["models"]),
        "m  3 versions, newest 3, champion -> 2, old -> 1; default serves version 1 100%; staging serves version 1 100%\n"
    );
    assert_eq!(
        rig.ok(&["undeploy", "m", "--deployment", "staging", "--reason", "done"]),
        "m revision 8: ended deployment staging\n"
    );
    let log = rig.ok(&["log", "m", "-n", "2"]);
    assert_eq!(
        log,
        "revision 8  TIME  ada  \"done\"\n    ended deployment staging\nrevision 7  TIME  ada  \"try\"\n    \
         deployment staging serves version 1 100%\n"
    );
}

#[test]
fn a_refusal_says_why_and_by_its_code() {
    let rig = Rig::new();
    rig.ok(&["deploy", "m@1", "--reason", "first"]);
    rig.refused(&["deploy", "m@9", "--reason", "x"], 3, "model 'm' has no version 9");
    rig.refused(&["deploy", "other@1", "--reason", "x"], 3, "there is no model 'other'");
    rig.refused(&["deploy", "m@2"], 2, "a reason is needed");
    rig.refused(&["deploy", "m", "--reason", "x"], 2, "name the version, as in m@3");
    rig.refused(&["deploy", "../m@1", "--reason", "x"], 2, "a model name is 1 to 128");
    rig.refused(&["deploy", "m@2", "--reason", "x", "--if-match", "1"], 3, "the model is at revision 2");
    rig.refused(
        &["deploy", "m@2", "--reason", "x", "--set", "max_batch_sise=1"],
        2,
        "did you mean \"max_batch_size\"?",
    );
    rig.refused(&["traffic", "m", "1=90%", "2=20%", "--reason", "x"], 2, "sum to 110");
    rig.refused(&["tag", "m@1", "a b=c"], 2, "a key is 1 to 128 letters");
    rig.refused(&["alias", "m", "3=1", "--reason", "x"], 2, "starts with a letter");
    rig.refused(&["search", "name ="], 2, "column 7: expected a value, found the end");
    rig.refused(&["delete", "m@1", "--reason", "x"], 3, "in use: deployment 'default'");
    rig.refused(&["delete", "m@2", "--reason", "x"], 3, "in use: lineage of m@3");
    rig.refused(&["models", "--registry", "/none/registry"], 1, "there is no registry at '/none/registry'");
    assert!(!Path::new("/none/registry").exists());

    let holders = rig.json(&["delete", "m@1", "--reason", "x"]);
    assert_eq!(holders["error"]["code"], "conflict");
    assert_eq!(holders["error"]["holders"], json!(["deployment 'default'"]));
    let stale = rig.json(&["undeploy", "m", "--reason", "x", "--if-match", "7"]);
    assert_eq!((&stale["error"]["code"], &stale["error"]["revision"]), (&json!("stale"), &json!(2)));
}

#[test]
fn json_has_a_stable_shape() {
    let rig = Rig::new();
    let made = rig.json(&["deploy", "m@1", "--reason", "first", "--request-id", "r-7", "--actor", "ci"]);
    assert_eq!(
        made,
        json!({
            "model": "m", "revision": 2, "changed": true, "proposal": null,
            "summary": ["deployment default serves version 1 100%"],
            "operations": [{
                "op": "deploy", "deployment": "default",
                "spec": { "traffic": { "1": 100 }, "sticky": "request_id", "rollback_window_s": 600 },
            }],
        })
    );
    let log = rig.json(&["log", "m", "-n", "1"]);
    let revision = &log["revisions"][0];
    assert_eq!(revision["actor"], json!({ "sub": "ci", "method": "cli" }));
    assert_eq!((&revision["request_id"], &revision["reason"]), (&json!("r-7"), &json!("first")));
    let same = rig.json(&["deploy", "m@1", "--reason", "first"]);
    assert_eq!(
        (&same["changed"], &same["operations"], &same["revision"]),
        (&json!(false), &json!([]), &json!(2))
    );
    let shown = rig.json(&["show", "m@1"]);
    assert_eq!(
        (&shown["model"], &shown["version"], &shown["deployments"]),
        (&json!("m"), &json!(1), &json!(["default"]))
    );
    assert_eq!(shown["record"]["onnx"]["operators"], json!({ "Gemm": 1 }));
    let models = rig.json(&["models"]);
    assert_eq!(models["models"][0]["deployments"], json!({ "default": { "1": 100 } }));
    let show = rig.json(&["show", "m"]);
    assert_eq!((&show["name"], &show["versions"], &show["approvals"]), (&json!("m"), &json!(3), &json!(0)));
}

#[test]
fn tags_are_found_by_search() {
    let rig = Rig::new();
    rig.ok(&["tag", "m@2", "area=qna", "stage=try it"]);
    rig.ok(&["describe", "m@2", "--metric", "auc=0.93", "--description", "better", "--property", "paper=12"]);
    rig.refused(&["describe", "m@2", "--property", "paper=13"], 3, "is written once");
    rig.ok(&["alias", "m", "champion=2", "--reason", "best"]);
    let query = "tags.area = 'qna' AND metric.auc >= 0.9 AND alias = champion AND created > -7d";
    assert_eq!(
        rig.ok(&["search", query]),
        "m@2  (revision 1, TIME, ada@desk: a test)  area=qna  stage=try it  auc=0.93\n"
    );
    for query in ["tags.area:qna", "tags.area : qna", "tags.area=qna", "dataset.train ~ '*@2'", "version:2"] {
        let found = rig.json(&["search", query]);
        assert_eq!(found["versions"].as_array().unwrap().len(), 1, "{query}");
    }
    let first = rig.json(&["search", "operator = Gemm", "--limit", "2"]);
    let token = first["next_page_token"].as_str().unwrap();
    let second = rig.json(&["search", "operator = Gemm", "--limit", "2", "--page-token", token]);
    let numbers = |page: &Value| -> Vec<u64> {
        page["versions"].as_array().unwrap().iter().map(|it| it["version"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers(&first), numbers(&second)), (vec![1, 2], vec![3]));
    assert_eq!(second["next_page_token"], Value::Null);
    rig.refused(&["search", "version > 1", "--page-token", token], 2, "not from this search");
    assert!(rig.ok(&["search", "version >= 2", "--models"]).starts_with("m  3 versions"));
}

#[test]
fn a_second_person_approves() {
    let rig = Rig::new();
    rig.ok(&["policy", "m", "--approvals", "1"]);
    let proposed = rig.json(&["deploy", "m@1", "--reason", "first"]);
    let id = proposed["proposal"].as_str().unwrap();
    assert!(rig.ok(&["approve", "m"]).contains(id));
    rig.refused(&["approve", "m", id, "--reason", "me"], 3, "another person approves");
    let approved = rig.json(&["approve", "m", id, "--reason", "right", "--actor", "bob"]);
    assert_eq!(approved["summary"][1], "deployment default serves version 1 100%");
    assert_eq!(rig.ok(&["policy", "m"]), "approvals: 1\n");
}

#[test]
fn a_deletion_is_taken_back_while_its_files_are_there() {
    let rig = Rig::new();
    assert_eq!(rig.ok(&["delete", "m@1", "--reason", "old"]), "m revision 2: deleted version 1\n");
    assert_eq!(rig.ok(&["delete", "m@1", "--reason", "old"]), "m revision 2: unchanged\n");
    rig.refused(&["deploy", "m@1", "--reason", "x"], 3, "has no version");
    assert_eq!(rig.ok(&["search", "version = 1 AND deleted = true"]).lines().count(), 1);
    assert_eq!(rig.ok(&["search", "version = 1"]), "");
    assert_eq!(rig.ok(&["undelete", "m@1", "--reason", "needed"]), "m revision 3: undeleted version 1\n");
    assert_eq!(rig.ok(&["delete", "m", "--reason", "gone"]), "m revision 4: deleted the model\n");
    assert_eq!(rig.ok(&["models"]), "");
    rig.refused(&["show", "m"], 3, "model 'm' is deleted");
    let blobs = rig.folder.path().join("blobs");
    std::fs::remove_dir_all(blobs).unwrap();
    rig.refused(&["undelete", "m", "--reason", "x"], 3, "was collected after the deletion");
}

#[test]
fn waiting_without_a_replica_ends_with_its_own_code() {
    let rig = Rig::new();
    let output = rig.run(&["deploy", "m@1", "--reason", "first", "--wait", "--timeout", "10ms", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["served"], &answer["replicas"], &answer["changed"]),
        (&json!(false), &json!([]), &json!(true))
    );
}
