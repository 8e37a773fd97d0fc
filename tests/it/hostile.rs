//! A repository that models are dropped into which crash, hang, lie or reach outside: each is refused with its reason or
//! served with care, and the server answers for the others all the while.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::onnx_file;
use crate::support::{Server, copy_dir, post, root};

fn add(repository: &Path, staging: &Path, model: &str, content: &[u8]) {
    let folder = staging.join(model);
    std::fs::create_dir_all(folder.join("1")).unwrap();
    std::fs::write(folder.join("1/model.onnx"), content).unwrap();
    // Renamed into place, so that a poll never sees half of it.
    std::fs::rename(&folder, repository.join(model)).unwrap();
}

fn index(server: &Server) -> Vec<Value> {
    let (status, body) = post(&server.http, "/v2/repository/index", "", b"").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The state and the reason of `model` once they are settled.
fn settled(server: &Server, model: &str) -> (String, String) {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        assert_healthy(server);
        if let Some(entry) = index(server).iter().find(|entry| entry["name"] == model)
            && entry["state"] != "LOADING"
        {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            return (text("state"), text("reason"));
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{model} was not settled within a minute");
}

fn infer(server: &Server, model: &str, input: &str, shape: &str, data: &str) -> (u16, String) {
    let body =
        format!(r#"{{"inputs":[{{"name":"{input}","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#);
    post(&server.http, &format!("/v2/models/{model}/infer"), "", body.as_bytes()).unwrap()
}

fn assert_healthy(server: &Server) {
    let (status, body) = infer(server, "iris", "input", "[1,4]", "[5.1,3.5,1.4,0.2]");
    assert!(status == 200 && body.contains("setosa"), "{status} {body}");
}

#[test]
fn hostile_models_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, staging) = (folder.path().join("models"), folder.path().join("staging"));
    copy_dir(&root().join("models/iris"), &repository.join("iris"));
    std::fs::write(folder.path().join("secret.bin"), [0; 64]).unwrap();
    let server = Server::start(&[
        repository.as_os_str(),
        "--poll-interval".as_ref(),
        "50ms".as_ref(),
        "--probe-timeout".as_ref(),
        "3s".as_ref(),
    ]);
    let iris = std::fs::read(root().join("models/iris/1/model.onnx")).unwrap();
    let refused: [(&str, Vec<u8>, &str); 5] = [
        ("truncated", iris[..iris.len() / 2].to_vec(), ""),
        ("empty", Vec::new(), ""),
        ("escape", onnx_file::with_external("../../../secret.bin"), "external data"),
        ("divides", onnx_file::folded_division(), "SIGFPE"),
        ("hangs", onnx_file::endless_load(), "did not end within 3s"),
    ];
    for (model, content, _) in &refused {
        add(&repository, &staging, model, content);
    }
    for (model, _, why) in &refused {
        let (state, reason) = settled(&server, model);
        assert_eq!(state, "UNAVAILABLE", "{model}: {reason}");
        assert!(!reason.is_empty() && reason.contains(why), "{model}: {reason}");
        assert!(!reason.contains(folder.path().to_str().unwrap()), "{model}: {reason}");
        let (status, body) = infer(&server, model, "x", "[1]", "[1]");
        assert_eq!(status, 503, "{model}: {body}");
    }

    // Healthy files that ONNX Runtime aborts on when a dimension is 0: served, and never given one.
    add(&repository, &staging, "lstm", &onnx_file::lstm());
    assert_eq!(settled(&server, "lstm").0, "READY");
    let (_, metadata) = crate::support::get(&server.http, "/v2/models/lstm").unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let input = metadata["inputs"][0]["name"].as_str().unwrap().to_owned();
    let mut dims: Vec<i64> = serde_json::from_value(metadata["inputs"][0]["shape"].clone()).unwrap();
    dims.iter_mut().filter(|dim| **dim < 0).for_each(|dim| *dim = 0);
    let (status, body) = infer(&server, "lstm", &input, &format!("{dims:?}"), "[]");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains(&input), "{body}");

    assert_healthy(&server);
    assert_eq!(server.stop().0, Some(0));
}
