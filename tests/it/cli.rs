//! The command line as an operator meets it: one clear line and an exit code for each mistake, and the small commands.

use std::process::{Command, Output};

use crate::support::{Server, root};

fn weir(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(args).current_dir(root()).env_remove("WEIR_CONFIG").envs(environment.iter().copied());
    command.output().expect("the binary runs")
}

/// Runs a command that must fail: exit code, one line on standard error that contains `expected`, nothing printed.
fn check(args: &[&str], code: i32, expected: &str) {
    let output = weir(args, &[]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("weir: ")).collect();
    assert!(
        lines.len() == 1 && lines[0].contains(expected),
        "{args:?}: expected one line with {expected:?}:\n{error}"
    );
    assert!(output.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn mistakes_get_one_clear_line_and_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let free = ["--grpc-port", "0", "--metrics-port", "0"];
    let serve = |args: &[&str]| -> Vec<String> {
        ["serve", "models"].iter().chain(args).chain(&free).map(|arg| (*arg).to_owned()).collect()
    };
    let check_serve = |args: &[&str], code: i32, expected: &str| {
        let args = serve(args);
        check(&args.iter().map(String::as_str).collect::<Vec<_>>(), code, expected);
    };
    check_serve(&["--http-port", &port], 1, &format!("HTTP: 127.0.0.1:{port} is in use"));
    check_serve(&["--http-port", "0", "--onnxruntime", "/none/lib.so"], 1, "/none/lib.so: No such file");
    let text = file("lib.so", "not a library");
    check_serve(&["--http-port", "0", "--onnxruntime", &text], 1, "ONNX Runtime: ");
    let bad = file("bad.toml", "[server]\nhtpp_port = 1\n");
    check_serve(&["--config", &bad], 2, "bad.toml:2: unknown key \"htpp_port\"; did you mean \"http_port\"?");
    check_serve(&["--config", "/none/weir.toml"], 2, "/none/weir.toml: No such file");
    check_serve(&["--http-port", "x"], 2, "--http-port: \"server.http_port\": expected a whole number");
    check_serve(
        &["--poll-interval", "1"],
        2,
        "--poll-interval: \"repository.poll_interval\": expected a duration",
    );
    check_serve(&["--load-model", "iris"], 2, "needs model control explicit");
    let bucket = ["--registry", "s3://bucket/x?endpoint=http://127.0.0.1:1"];
    check_serve(&bucket, 1, "cannot use the registry 's3://bucket/x': nothing is read from what follows '?'");
    check(&["serve"], 1, "nothing to serve");
    check(&["serve", "no/such/folder"], 1, "cannot serve from no/such/folder: No such file");
    check(&["infer", "iris", "-i", "x=[1]", "--url", "ftp://127.0.0.1"], 1, "expected an address such as");
    check(&["infer", "iris", "-i", "x"], 1, "expected name=@file.npy");
}

#[test]
fn mistyped_flags_are_usage_errors() {
    let output = weir(&["serve", "models", "--http-prot", "1"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--http-port"));
    let output = weir(&["serve", "models"], &[("WEIR_SERVER_HTTP_PROT", "1")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean \"WEIR_SERVER_HTTP_PORT\"?"));
}

#[test]
fn the_version_names_the_runtime() {
    let output = weir(&["--version"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with(concat!("weir ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
    assert!(text.contains("ORT Build Info"), "{text}");
}

#[test]
fn the_effective_configuration_says_where_it_came_from() {
    let output = weir(&["config", "models", "--http-port", "9000"], &[("WEIR_LIMITS_ROWS_MAX", "7")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for (line, origin) in [
        ("http_port = 9000", "# --http-port"),
        ("rows_max = 7", "# environment WEIR_LIMITS_ROWS_MAX"),
        ("grpc_port = 8001", "# default"),
        ("paths = [\"models\"]", "# PATH"),
    ] {
        let found = text.lines().any(|shown| shown.starts_with(line) && shown.ends_with(origin));
        assert!(found, "{line} {origin} in\n{text}");
    }
}

#[test]
fn a_check_answers_by_its_code() {
    let output = weir(&["check", "models", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ok"]), (Some(0), &true.into()));
    let versions = report["versions"].as_array().unwrap();
    let tiny = versions.iter().find(|version| version["model"] == "tiny").unwrap();
    assert_eq!(tiny["facts"]["operators"], "Gemm 2, Relu 1");
    let provider = tiny["facts"]["provider"].as_str().unwrap();
    assert!(provider.contains("CPUExecutionProvider: ") && provider.ends_with(" nodes"), "{provider}");
    assert_eq!(tiny["settings"]["queue.size"]["source"], "default");

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("broken/1")).unwrap();
    std::fs::write(folder.path().join("broken/1/model.onnx"), b"no model").unwrap();
    let output = weir(&["check", &folder.path().display().to_string()], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("broken version 1: cannot be served: "), "{text}");
}

/// ONNX Runtime reports to its maker unless it is told not to, or finds itself on a machine for tests, which this hides.
#[test]
fn the_runtime_reports_nothing_to_its_maker() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["check", "models/iris"]).current_dir(root()).env_clear();
    command.env("HOME", folder.path()).env("XDG_CACHE_HOME", folder.path().join("cache"));
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = |path: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(folder.path()), ["cache"]);
    assert_eq!(
        names(&folder.path().join("cache")),
        ["weir"],
        "whoever else keeps something there reports it"
    );
}

#[test]
fn a_client_asks_and_the_pasted_request_works() {
    let server = Server::start(&["models"]);
    let url = format!("http://{}", server.http);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.npy").display().to_string();
    let input = "input=[[5.1,3.5,1.4,0.2]]";
    let shown = weir(&["infer", "iris", "--url", &url, "--input", input], &[]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("label BYTES[1] [\"setosa\"]"), "{text}{}", String::from_utf8_lossy(&shown.stderr));
    let output = format!("probabilities=@{file}");
    let written = weir(&["infer", "iris", "--url", &url, "-i", input, "-o", &output], &[]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY") && bytes.len() % 64 == 12, "{}", bytes.len());
    // What was written can be an input, and the server says what is wrong with it.
    let wrong = weir(&["infer", "iris", "--url", &url, "-i", &format!("input=@{file}")], &[]);
    let error = String::from_utf8(wrong.stderr).unwrap();
    assert!(!wrong.status.success() && error.contains("the server refused: input 'input'"), "{error}");

    let (code, printed) = server.stop();
    assert_eq!(code, Some(0));
    assert!(printed.contains("MODEL") && printed.contains("tiny"), "{printed}");
    assert!(printed.contains(&format!("curl -s {url}/v2/models/")), "{printed}");
}
