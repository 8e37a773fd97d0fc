//! The registry's log on servers that nobody here wrote: moto, which speaks S3's protocol, and Azurite, which speaks
//! Azure Blob's. Both are installed under the target folder and run on free ports of 127.0.0.1 while a test does.
//!
//! Where pip or npm cannot install them the tests are skipped, unless `WEIR_TEST_REQUIRE_TOOLS` is set.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use weir::registry::{Op, Registry, RegistryError, Seen, Store, StoreOptions};

use crate::registry_writers::{contend, intent, log, model};
use crate::support::{python, root, run, target_dir};

const MOTO: &str = "requirements-moto.txt";
const AZURITE: &str = "azurite@3.35.0";
const ACCOUNT: &str = "weir";

/// One commit is five requests or more and moto answers one at a time, so there are fewer commits than on a disk.
const WRITERS: u64 = 64;
const COMMITS: u64 = 2;

/// A server that ends with the test.
pub(crate) struct Running {
    child: Child,
    url: String,
}

/// How a bucket is reached, by the names of `object_store`.
pub(crate) type Options = Vec<(&'static str, String)>;

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What installs a tool; `None` when it cannot be had here, which `WEIR_TEST_REQUIRE_TOOLS` forbids.
fn installed(tool: &str, install: impl FnOnce() -> PathBuf + std::panic::UnwindSafe) -> Option<PathBuf> {
    // One at a time: two tests would install into the same folder.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::panic::catch_unwind(install).ok();
    if path.is_none() {
        assert!(std::env::var_os("WEIR_TEST_REQUIRE_TOOLS").is_none(), "{tool} cannot be installed");
        println!("skipped: {tool} cannot be installed");
    }
    path
}

/// Starts `command`, and reads lines until one has a URL of 127.0.0.1.
fn start(command: &mut Command) -> Running {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
    loop {
        let mut line = String::new();
        let read = lines.read_line(&mut line).expect("text");
        assert!(read > 0, "the server ended before it said where it listens");
        let Some((_, address)) = line.split_once("http://") else { continue };
        let address: String =
            address.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
        // Whatever it prints later must not fill the pipe.
        std::thread::spawn(move || {
            lines.read_to_end(&mut Vec::new()).ok();
        });
        return Running { child, url: format!("http://{address}") };
    }
}

/// A bucket of moto's.
pub(crate) fn moto(arguments: &[&str]) -> Option<(Running, Options)> {
    let python = installed("moto", || python(MOTO))?;
    let running = start(Command::new(python).arg(root().join("tests/clients/moto_s3.py")).args(arguments));
    let options = vec![
        ("aws_endpoint", running.url.clone()),
        ("aws_allow_http", "true".to_owned()),
        ("aws_region", "us-east-1".to_owned()),
        ("aws_access_key_id", "nobody".to_owned()),
        ("aws_secret_access_key", "nothing".to_owned()),
    ];
    Some((running, options))
}

/// A container of Azurite's.
pub(crate) fn azurite() -> Option<(Running, Options)> {
    let folder = target_dir().join("azurite");
    let script = installed("Azurite", || {
        let script = folder.join("node_modules/azurite/dist/src/blob/main.js");
        if !script.exists() {
            std::fs::create_dir_all(&folder).expect("a folder");
            let npm = ["install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", ".", AZURITE];
            run(Command::new("npm").args(npm).current_dir(&folder));
        }
        script
    })?;
    let key = BASE64.encode("of a test");
    let running = start(
        Command::new("node")
            .arg(script)
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"])
            .args(["--skipApiVersionCheck", "--disableTelemetry"])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}")),
    );
    create_container(&running.url, "registry");
    let endpoint = format!("{}/{ACCOUNT}", running.url);
    let options = vec![
        ("azure_storage_account_name", ACCOUNT.to_owned()),
        ("azure_storage_account_key", key),
        ("azure_storage_endpoint", endpoint),
        ("azure_allow_http", "true".to_owned()),
    ];
    Some((running, options))
}

/// One signed request by hand, because `object_store` makes no containers.
fn create_container(url: &str, name: &str) {
    let (date, version) = (chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"), "2021-08-06");
    let text = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"of a test");
    let signature = BASE64.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref());
    let address = url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).expect("Azurite listens");
    write!(
        stream,
        "PUT /{ACCOUNT}/{name}?restype=container HTTP/1.1\r\nhost: {address}\r\nx-ms-date: {date}\r\n\
         x-ms-version: {version}\r\nauthorization: SharedKey {ACCOUNT}:{signature}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    )
    .expect("Azurite reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("Azurite answers");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

pub(crate) fn open(location: &str, options: &Options) -> Store {
    // The program does so when it starts; only the first of several tests can.
    rustls::crypto::ring::default_provider().install_default().ok();
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Store::open(location, &StoreOptions { options, ..StoreOptions::default() }).expect("a bucket")
}

async fn contend_in(store: &Store) {
    assert_eq!(contend(store, store, WRITERS, COMMITS).await, 0);
    let reader = Registry::open(store.clone()).await.expect("opens");
    let told = reader.changed(&mut Seen::default()).await.expect("a listing");
    assert_eq!(told.len(), 1);
    assert_eq!(told.first().map(|view| view.state.rev), Some(WRITERS * COMMITS + 1));
    assert_eq!(reader.models().await.expect("a listing"), [model()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_on_s3() {
    let Some((_running, options)) = moto(&[]) else { return };
    contend_in(&open("s3://registry/some/folder", &options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_on_azure() {
    let Some((_running, options)) = azurite() else { return };
    contend_in(&open("az://registry/some/folder", &options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_that_ignores_if_none_match_is_refused() {
    let Some((_running, options)) = moto(&["--ignore-if-none-match"]) else { return };
    let store = open("s3://registry/some/folder", &options);
    let registry = Registry::open(store.clone()).await.expect("opens");
    let ops = vec![Op::CreateModel { description: String::new() }];
    let refused =
        registry.commit(&model(), &intent("a"), |_| Ok(ops.clone())).await.expect_err("two writers");
    assert!(matches!(refused, RegistryError::Unusable { .. }), "{refused}");
    assert!(refused.to_string().contains("creates an object that exists already"), "{refused}");
    assert_eq!(log(&store).await, []);
}
