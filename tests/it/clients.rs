//! Clients that nobody here wrote, against the real binary: tritonclient, KServe's, perf_analyzer, gRPC reflection,
//! promtool, and third-party models compared with ONNX Runtime in process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Server, copy_dir, get, promtool, python, root, run, target_dir};

const TRITON: &str = "requirements-triton.txt";
const THIRD_PARTY: &str = "requirements-third-party.txt";
const KSERVE: &str = "requirements-kserve.txt";

fn client(server: &Server, requirements: &str, script: &str, more: &[&str]) -> String {
    let mut command = Command::new(python(requirements));
    command.arg(root().join("tests/clients").join(script));
    command.args(["--http", &server.http, "--grpc", &server.grpc]).args(more);
    run(command.current_dir(root()))
}

#[test]
fn tritonclient_speaks_to_it() {
    let server = Server::start(&["models", "--model-control", "explicit"]);
    let printed = client(&server, TRITON, "triton_client.py", &["--models", "models"]);
    assert!(printed.matches("ok ").count() > 100, "{printed}");
}

#[test]
fn kserve_clients_speak_to_it() {
    let server = Server::start(&["models", "--model-control", "explicit"]);
    let printed = client(&server, KSERVE, "kserve_client.py", &["--models", "models"]);
    assert!(printed.matches("ok ").count() > 30, "{printed}");
}

#[test]
fn perf_analyzer_runs_against_it() {
    let folder = target_dir().join("perf_analyzer");
    let script = root().join("tests/clients/perf.py");
    let binary = folder.join("perf_analyzer");
    if !binary.exists() {
        run(Command::new(python(TRITON)).arg(&script).arg("install").arg(&folder));
    }
    let server = Server::start(&["models"]);
    let printed = run(Command::new(python(TRITON))
        .arg(&script)
        .args(["check", "--http", &server.http, "--grpc", &server.grpc, "--binary"])
        .arg(&binary));
    assert!(printed.matches("ok ").count() >= 8, "{printed}");
}

#[test]
fn reflection_and_health_are_served() {
    let server = Server::start(&["models"]);
    let printed = client(&server, TRITON, "reflection.py", &[]);
    assert!(printed.matches("ok ").count() >= 5, "{printed}");
}

#[test]
fn third_party_models_answer_as_onnx_runtime_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    let script = root().join("tests/clients/third_party.py");
    run(Command::new(python(THIRD_PARTY)).arg(&script).arg("prepare").arg(&models));
    let server = Server::start(&[&models]);
    let printed = run(Command::new(python(THIRD_PARTY))
        .arg(&script)
        .args(["check", "--http", &server.http, "--grpc", &server.grpc, "--models"])
        .arg(&models));
    assert!(printed.matches("ok ").count() > 15, "{printed}");
}

#[test]
fn promtool_finds_the_metrics_clean() {
    let Some(promtool) = promtool() else { return };
    let server = Server::start(&["models"]);
    let (_, metadata) = get(&server.http, "/v2/models/iris").expect("the server answers");
    assert!(metadata.contains("\"iris\""), "{metadata}");
    let (status, text) = get(&server.metrics, "/metrics").expect("the metrics are served");
    assert_eq!(status, 200);
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// 8 clients at full speed over gRPC and REST while the default version goes back and forth between the two of
/// `digits`, by files appearing and vanishing as a repository is polled: no request fails, and every answer is wholly
/// of the version that it names.
#[test]
fn swapping_200_times_fails_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let repository = folder.path().join("models");
    let model = repository.join("digits");
    copy_dir(&root().join("models/digits"), &model);
    let aside = folder.path().join("aside");
    hide_version_2(&model, &aside);
    let server = Server::start(&[
        repository.as_os_str(),
        "--model-control".as_ref(),
        "poll".as_ref(),
        "--poll-interval".as_ref(),
        "20ms".as_ref(),
    ]);
    let mut clients = Command::new(python(TRITON))
        .arg(root().join("tests/clients/swap.py"))
        .args(["--http", &server.http, "--grpc", &server.grpc, "--models"])
        .arg(root().join("models"))
        .args(["--until-stdin-closes", "--seconds", "600"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the clients start");
    let mut said = BufReader::new(clients.stdout.take().expect("stdout is piped")).lines();
    assert_eq!(said.next().expect("the clients print").expect("text"), "ready");
    let mut swaps = 0;
    while swaps < 200 {
        show_version_2(&model, &aside);
        await_default(&server, "2");
        hide_version_2(&model, &aside);
        await_default(&server, "1");
        swaps += 2;
    }
    drop(clients.stdin.take());
    let totals: serde_json::Value = said
        .map_while(Result::ok)
        .find_map(|line| serde_json::from_str(&line).ok())
        .expect("the clients print their totals");
    let status = clients.wait().expect("the clients end");
    assert_eq!(totals["failures"], 0, "{totals}");
    assert_eq!(totals["mismatches"], 0, "{totals}");
    assert!(totals["requests"].as_u64().is_some_and(|n| n > 200), "{totals}");
    assert!(status.success());
}

fn show_version_2(model: &Path, aside: &Path) {
    std::fs::rename(aside, model.join("2")).expect("the version appears");
}

fn hide_version_2(model: &Path, aside: &Path) {
    std::fs::rename(model.join("2"), aside).expect("the version vanishes");
}

/// Waits until requests without a version go to `version`, as the metrics say.
fn await_default(server: &Server, version: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let path = format!("/v2/models/digits/versions/{version}/ready");
    let other = if version == "2" { None } else { Some("/v2/models/digits/versions/2/ready") };
    while std::time::Instant::now() < end {
        let there = get(&server.http, &path).is_ok_and(|(status, _)| status == 200);
        let gone = other.is_none_or(|other| get(&server.http, other).is_ok_and(|(status, _)| status != 200));
        if there && gone {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("version {version} of digits was not served within 30 s");
}
