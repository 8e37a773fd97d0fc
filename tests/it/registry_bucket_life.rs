//! A registry in a bucket from first to last, with the real binary: packages registered from the bucket, a server that
//! follows it, rollback, collection, and files that come out again. On moto's S3 and on Azurite.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use serde_json::Value;
use weir::registry::Store;

use crate::registry_buckets::{Options, azurite, moto, open};
use crate::registry_serve::Golden;
use crate::support::{Server, root};

/// A bucket, and the program that knows how to reach it.
struct Bucket {
    folder: tempfile::TempDir,
    /// `s3://…` without a slash at its end.
    url: &'static str,
    environment: Vec<(String, String)>,
    runtime: tokio::runtime::Runtime,
    store: Store,
}

impl Bucket {
    fn new(url: &'static str, options: &Options) -> Bucket {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
        let store = open(&format!("{url}/packages"), options);
        let mut environment: Vec<(String, String)> =
            options.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.clone())).collect();
        environment.push(("WEIR_REGISTRY".to_owned(), format!("{url}/house/of/models")));
        Bucket { folder: tempfile::tempdir().unwrap(), url, environment, runtime, store }
    }

    /// Puts files into the bucket, as a training job would.
    fn put(&self, key: &str, content: Vec<u8>) {
        let created = self.runtime.block_on(self.store.create(key, Bytes::from(content)));
        assert!(created.unwrap(), "{key}");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).env_remove("WEIR_CONFIG").envs(self.environment.iter().cloned());
        command
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.command(&[args, &["--json"]].concat()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Registers the package in `folder` of the bucket.
    fn register(&self, folder: &str) -> u64 {
        let url = format!("{}/packages/{folder}/", self.url);
        self.json(&["register", &url, "--name", "digits"])["version"].as_u64().unwrap()
    }

    /// The hashes of a version's files.
    fn hashes(&self, target: &str) -> BTreeSet<String> {
        let shown = self.json(&["show", target]);
        let files = shown["record"]["files"].as_array().unwrap();
        files.iter().map(|file| file["sha256"].as_str().unwrap().to_owned()).collect()
    }

    fn server(&self) -> Server {
        let cache = self.folder.path().join("cache");
        let arguments =
            ["--registry-cache-dir", cache.to_str().unwrap(), "--registry-poll-interval", "200ms"];
        Server::start_with(&arguments, &self.environment)
    }
}

fn model(version: &str) -> Vec<u8> {
    std::fs::read(root().join("models/digits").join(version).join("model.onnx")).unwrap()
}

fn life(url: &'static str, options: &Options) {
    let bucket = Bucket::new(url, options);
    bucket.put("one/model.onnx", model("1"));
    bucket.put("two/model.onnx", model("2"));
    bucket.put("three/model.onnx", model("1"));
    bucket.put("three/notes/card.md", b"of no use any more".to_vec());
    assert_eq!(["one", "two", "three"].map(|folder| bucket.register(folder)), [1, 2, 3]);

    bucket.json(&["deploy", "digits@1", "--reason", "first"]);
    let (server, golden) = (bucket.server(), Golden::read());
    golden.until(&server.http, "", "1");
    bucket.json(&["deploy", "digits@2", "--reason", "better", "--wait"]);
    golden.until(&server.http, "", "2");
    bucket.json(&["rollback", "digits", "--reason", "worse", "--wait"]);
    golden.until(&server.http, "", "1");

    let only_third: BTreeSet<String> =
        bucket.hashes("digits@3").difference(&bucket.hashes("digits@1")).cloned().collect();
    assert_eq!(only_third.len(), 1);
    bucket.json(&["delete", "digits@3", "--reason", "nobody used it"]);
    let collected = bucket.json(&["gc", "--grace", "0s"]);
    let freed: BTreeSet<String> = collected["freed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["sha256"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(freed, only_third, "{collected}");
    let checked = bucket.json(&["fsck"]);
    assert_eq!(checked["findings"], serde_json::json!([]), "{checked}");
    bucket.json(&["audit", "verify"]);
    assert_eq!(golden.ask(&server.http, "", "after").as_deref(), Ok("1"));

    let (pulled, exported) = (bucket.folder.path().join("pulled"), bucket.folder.path().join("exported"));
    bucket.json(&["pull", "digits@2", "--output", pulled.to_str().unwrap()]);
    assert!(std::fs::read(pulled.join("model.onnx")).unwrap() == model("2"));
    bucket.json(&["export", "digits@1", "--format", "triton", "--output", exported.to_str().unwrap()]);
    assert!(std::fs::read(exported.join(Path::new("digits/1/model.onnx"))).unwrap() == model("1"));
    server.stop();
}

#[test]
fn a_registry_lives_in_a_bucket_of_s3() {
    let Some((_running, options)) = moto(&[]) else { return };
    life("s3://registry", &options);
}

#[test]
fn a_registry_lives_in_a_container_of_azure() {
    let Some((_running, options)) = azurite() else { return };
    life("az://registry", &options);
}
