//! The control API on a real server: a package goes in over HTTP, is tried, deployed, asked, found, and comes out again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::registry_serve::{Golden, House};
use crate::support::{Server, get, post, root};

fn json_of(answer: std::io::Result<(u16, String)>, status: u16) -> Value {
    let (found, body) = answer.unwrap();
    assert_eq!(found, status, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"))
}

fn sent(server: &Server, path: &str, headers: &str, body: &[u8], status: u16) -> Value {
    json_of(post(&server.http, &format!("/api/v1{path}"), headers, body), status)
}

fn read(server: &Server, path: &str) -> Value {
    json_of(get(&server.http, &format!("/api/v1{path}")), 200)
}

/// A tar stream of `models/digits/<version>` with a note.
fn package(version: &str, note: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let model = root().join("models/digits").join(version).join("model.onnx");
    tar.append_path_with_name(model, "./model.onnx").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(note.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "./notes/card.md", note.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_package_goes_in_and_comes_out_over_http() {
    let (house, golden) = (House::open(), Golden::read());
    let server = house.server("a");
    let tar = "content-type: application/x-tar\r\nidempotency-key: build-1\r\n";
    let path =
        "/models/digits/versions?tag=area=vision&dataset=train=sklearn:digits@1&git_commit=abc&from=digits@1";
    let made = sent(&server, path, tar, &package("2", "a card"), 201);
    let again = sent(&server, path, tar, &package("2", "a card"), 200);
    assert_eq!((&made["version"], &again["version"]), (&json!(4), &json!(4)), "{made} {again}");
    let version = read(&server, "/models/digits/versions/4");
    assert_eq!(version["record"]["inputs"][0]["datatype"], "FP32", "it was tried: {version}");
    assert!(version["record"]["validation"]["golden"].is_object(), "{version}");

    // What does not load is refused by its child process, and the server goes on.
    let one = "content-type: application/octet-stream\r\n";
    let refused = sent(&server, "/models/digits/versions", one, b"this is no model", 400);
    assert_eq!(refused["code"], "rejected", "{refused}");

    let deploy = json!({ "version": 4, "reason": "over http" }).to_string();
    let (status, body) = put(&server, "/models/digits/deployments/default", &deploy);
    assert_eq!(status, 200, "{body}");
    golden_of_four(&server, &golden);
    let found = read(&server, "/search?q=tags.area%20=%20vision");
    assert_eq!(found["versions"][0]["version"], 4, "{found}");
    let told = read(&server, "/models/digits/audit?at=now");
    assert_eq!(told["audit"]["changes"][0]["reason"], "over http", "{told}");
    let (_, drawn) = get(&server.http, "/api/v1/models/digits/versions/4/lineage?format=svg").unwrap();
    assert!(drawn.starts_with("<svg"), "{drawn}");
    let anchors = read(&server, "/registry/anchors");
    let verified = sent(&server, "/registry/verify", "", anchors.to_string().as_bytes(), 200);
    assert_eq!(verified["ok"], true, "{verified}");

    let (status, note) = get(&server.http, "/api/v1/models/digits/versions/4/files/notes/card.md").unwrap();
    assert_eq!((status, note.as_str()), (200, "a card"));
    // The same length, and another content: what is sent ends before its last bytes.
    let files = read(&server, "/models/digits/versions/4/files");
    let sha256 = files["files"][1]["sha256"].as_str().unwrap().to_owned();
    let (first, rest) = sha256.split_at(2);
    std::fs::write(house.location().join("blobs/sha256").join(first).join(rest), "a carD").unwrap();
    let (_, note) = get(&server.http, "/api/v1/models/digits/versions/4/files/notes/card.md").unwrap();
    assert_eq!(note, "");
    let body = json!({ "model": "digits", "blobs": "content" }).to_string();
    let verified = sent(&server, "/registry/verify", "", body.as_bytes(), 200);
    assert_eq!((&verified["ok"], &verified["findings"][0]["kind"]), (&json!(false), &json!("blob")));
    server.stop();
}

/// Waits until version 4 answers, and compares it with the golden answers of the model that it is a copy of.
fn golden_of_four(server: &Server, golden: &Golden) {
    crate::support::until("version 4 answers", || {
        let answer = golden.ask(&server.http, "", "x");
        // It has no golden answers by its own number.
        answer.is_err_and(|error| error.contains("no golden answers of version '4'"))
    });
}

pub(crate) fn put(server: &Server, path: &str, body: &str) -> (u16, String) {
    send(server, "PUT", path, body)
}

fn send(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(&server.http).unwrap();
    let (address, len) = (&server.http, body.len());
    write!(
        stream,
        "{method} /api/v1{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap_or_default().parse().unwrap(), answer)
}

#[test]
fn a_baseline_is_registered_read_and_removed_over_http() {
    let (house, _golden) = (House::open(), Golden::read());
    let server = house.server("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.json");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args([std::ffi::OsStr::new("profile-data"), root().join("models/penguins/penguins.csv").as_os_str()])
        .args([std::ffi::OsStr::new("--out"), file.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let profile = std::fs::read_to_string(&file).unwrap();
    let path = "/models/digits/versions/1/baseline";
    assert_eq!(get(&server.http, &format!("/api/v1{path}")).unwrap().0, 404);
    for (body, status) in [("{}", 400), ("no json", 400)] {
        let (found, answer) = put(&server, path, body);
        assert!(found == status && answer.contains("the baseline: "), "{answer}");
    }
    let (status, answer) = put(&server, &format!("{path}?reason=data%20of%20the%20run"), &profile);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(get(&server.http, &format!("/api/v1{path}")).unwrap(), (200, profile.clone()));
    let model = read(&server, "/models/digits/revisions");
    let last = &model["revisions"].as_array().unwrap().last().unwrap()["ops"][0];
    assert!(last.to_string().contains("set_baseline"), "{model}");
    let (status, answer) = put(&server, "/models/digits/versions/77/baseline", &profile);
    assert_eq!(status, 404, "{answer}");
    let (status, _) = send(&server, "DELETE", path, "{\"reason\": \"another run\"}");
    assert_eq!((status, get(&server.http, &format!("/api/v1{path}")).unwrap().0), (200, 404));
    server.stop();
}

#[test]
fn webhooks_are_set_listed_and_removed_over_http() {
    let (house, _golden) = (House::open(), Golden::read());
    let server = house.server("a");
    let hook =
        json!({ "url": "https://hooks.example/weir", "filter": { "types": ["deployment.*"] } }).to_string();
    let (status, answer) = send(&server, "PUT", "/webhooks/pager", &hook);
    assert!(status == 200 && answer.contains(r#""number":1"#), "{answer}");
    let (status, answer) = send(&server, "PUT", "/webhooks/pager", &hook.replace("deployment", "version"));
    assert!(status == 200 && answer.contains(r#""number":2"#), "{answer}");
    let found = read(&server, "/webhooks");
    assert_eq!(found[0]["webhook"]["filter"]["types"], json!(["version.*"]), "{found}");
    assert_eq!((&found[0]["pending"], &found[0]["dead_letters"]), (&json!(0), &json!(0)));
    for (body, said) in [
        (json!({ "url": "ftp://hooks.example/" }), "https://"),
        (json!({ "url": "https://a:b@hooks.example/" }), "URL"),
        (json!({ "url": "https://hooks.example/", "secret": "s" }), "unknown field"),
    ] {
        let (status, answer) = send(&server, "PUT", "/webhooks/other", &body.to_string());
        assert!(status == 400 && answer.contains(said), "{answer}");
    }
    assert_eq!(read(&server, "/webhooks/pager/dead"), json!([]));
    let (status, answer) = send(&server, "POST", "/webhooks/pager/dead/retry", "{}");
    assert!(status == 202 && answer.contains(r#""requested":0"#), "{answer}");
    assert_eq!(send(&server, "DELETE", "/webhooks/pager", "").0, 204);
    assert_eq!(send(&server, "DELETE", "/webhooks/pager", "").0, 404);
    assert_eq!(read(&server, "/webhooks"), json!([]));
    assert_eq!(read(&server, "/registry/keys"), json!({ "records": 0, "required": false, "keys": [] }));
    server.stop();
}

/// The headers and the body of an answer of any bytes.
fn bytes_of(server: &Server, path: &str) -> (String, Vec<u8>) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(&server.http).unwrap();
    let address = &server.http;
    write!(stream, "GET /api/v1{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

/// Files by their paths below `folder`.
fn tree(folder: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let content = std::fs::read(&path).unwrap();
                    files.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
                }
            }
        }
    }
    files
}

#[test]
fn a_version_comes_out_as_the_command_line_writes_it() {
    let house = House::open();
    let server = house.server("a");
    let tar = "content-type: application/x-tar\r\n";
    let made = sent(&server, "/models/digits/versions", tar, &package("2", "a card"), 201);
    let (head, files) = bytes_of(&server, "/models/digits/versions/4/package");
    assert!(head.contains(&format!("content-length: {}\r\n", files.len())), "{head}");
    assert!(head.contains(&format!("etag: {}\r\n", json!(made["digest"]))), "{head}");
    assert!(head.contains("filename=\"digits-4.tar\""), "{head}");
    // It is what a registration takes, here or elsewhere.
    let copy = sent(&server, "/models/copy/versions", tar, &files, 201);
    assert_eq!((&copy["version"], &copy["digest"]), (&json!(1), &made["digest"]), "{copy}");

    let folder = tempfile::tempdir().unwrap();
    let weir = |args: &[&str], output: &std::path::Path| {
        let registry = house.location();
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(args)
            .args([
                OsStr::new("--output"),
                output.as_os_str(),
                OsStr::new("--registry"),
                registry.as_os_str(),
            ])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    for (form, args) in [
        ("files", &["pull", "digits@4"][..]),
        ("triton", &["export", "digits@4", "--format", "triton"]),
        ("oci", &["export", "digits@4", "--format", "oci"]),
    ] {
        let (_, stream) = bytes_of(&server, &format!("/models/digits/versions/4/package?format={form}"));
        let (here, there) = (folder.path().join(form), folder.path().join(format!("{form}-cli")));
        tar::Archive::new(&*stream).unpack(&here).unwrap();
        weir(args, &there);
        let (here, there) = (tree(&here), tree(&there));
        assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "{form}");
        assert!(here == there, "{form}");
    }
    let refused = json_of(get(&server.http, "/api/v1/models/digits/versions/4/package?format=zip"), 400);
    assert!(refused["error"].as_str().unwrap().contains("triton"), "{refused}");
    assert_eq!(get(&server.http, "/api/v1/models/digits/versions/9/package").unwrap().0, 404);
    server.stop();
}
