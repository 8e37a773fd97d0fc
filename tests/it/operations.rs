//! The real binary as an operator meets it: golden answers over REST, malformed requests, draining under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::onnx_file;
use crate::support::{Server, get, post, root, until};

fn golden(model: &str, version: &str) -> Value {
    let path = root().join("models").join(model).join(version).join("golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden file")).expect("golden files are JSON")
}

/// Compares two JSON values; numbers within `tolerance`.
fn assert_close(expected: &Value, actual: &Value, tolerance: f64, at: &str) {
    match (expected, actual) {
        (Value::Array(expected), Value::Array(actual)) => {
            assert_eq!(expected.len(), actual.len(), "{at}");
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                assert_close(expected, actual, tolerance, &format!("{at}[{index}]"));
            }
        }
        (Value::Number(expected), Value::Number(actual)) => {
            let (expected, actual) = (expected.as_f64().unwrap(), actual.as_f64().unwrap());
            assert!((expected - actual).abs() <= tolerance, "{at}: {expected} {actual}");
        }
        _ => assert_eq!(expected, actual, "{at}"),
    }
}

#[test]
fn every_model_gives_its_golden_answers() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models");
    crate::support::copy_dir(&root().join("models"), &repository);
    std::fs::remove_file(repository.join("digits/config.pbtxt")).unwrap();
    std::fs::write(repository.join("digits/model.toml"), "versions = \"all\"\n").unwrap();
    let server = Server::start(&[&repository]);
    let cases = [
        ("iris", "1"),
        ("digits", "1"),
        ("digits", "2"),
        ("penguins", "1"),
        ("codetext", "1"),
        ("tiny", "1"),
    ];
    for (model, version) in cases {
        let golden = golden(model, version);
        let tolerance = golden["tolerance"].as_f64().unwrap();
        let request = serde_json::json!({ "id": "golden", "inputs": golden["inputs"] }).to_string();
        let path = format!("/v2/models/{model}/versions/{version}/infer");
        let (status, body) = post(&server.http, &path, "", request.as_bytes()).unwrap();
        assert_eq!(status, 200, "{model} {version}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&answer["id"], &answer["model_version"]), (&"golden".into(), &version.into()));
        for (expected, actual) in
            golden["outputs"].as_array().unwrap().iter().zip(answer["outputs"].as_array().unwrap())
        {
            let at = format!("{model} {version} {}", expected["name"]);
            for key in ["name", "datatype", "shape"] {
                assert_eq!(expected[key], actual[key], "{at} {key}");
            }
            assert_close(&expected["data"], &actual["data"], tolerance, &at);
        }
    }
}

#[test]
fn malformed_requests_get_a_clear_refusal_and_lose_nothing() {
    let server = Server::start(&["models"]);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(String, u16)> = vec![
        (String::new(), 400),
        ("{".into(), 400),
        ("[]".into(), 400),
        (r#"{"inputs":[]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[1,2,3]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[1,2,3,4,5]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[1,2,3,4]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[-1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#.into(), 400),
        (
            r#"{"inputs":[{"name":"input","shape":[2147483648,2147483648],"datatype":"FP32","data":[1]}]}"#
                .into(),
            400,
        ),
        (r#"{"inputs":[{"name":"nope","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[1e999,2,3,4]}]}"#.into(), 400),
        (r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP99","data":[1,2,3,4]}]}"#.into(), 400),
        (format!(r#"{{"inputs":[{{"name":"input","shape":[1,4],"datatype":"FP32","data":{deep}}}]}}"#), 400),
        (format!(r#"{{"x":{deep},"inputs":[]}}"#), 400),
    ];
    let malformed = f64::from(u32::try_from(cases.len()).unwrap());
    for (body, expected) in cases {
        let (status, answer) = post(&server.http, "/v2/models/iris/infer", "", body.as_bytes()).unwrap();
        let shown: String = body.chars().take(120).collect();
        assert_eq!(status, expected, "{shown}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()), "{shown}: {answer}");
    }
    let (status, _) = post(&server.http, "/v2/models/nope/infer", "", b"{\"inputs\":[]}").unwrap();
    assert!(status == 404 || status == 400);
    let long = format!("x-long: {}\r\n", "x".repeat(20_000));
    assert_eq!(post(&server.http, "/v2/models/iris/infer", &long, b"{}").unwrap().0, 431);
    // Refused by the decoder, or by the model's signature: each is counted once, in one of two places.
    let outcome = r#"outcome="invalid_argument",protocol="http""#;
    let unrouted = server.metric(&format!("weir_requests_unrouted_total{{{outcome}}}"));
    let routed = server.metric(&format!(r#"weir_requests_total{{model="iris",{outcome},version="1"}}"#));
    assert_eq!(unrouted + routed, malformed, "{unrouted} {routed}");
    assert!(unrouted > 0.0 && routed > 0.0, "{unrouted} {routed}");
    for outcome in ["not_found", "too_large"] {
        let series = format!(r#"weir_requests_unrouted_total{{outcome="{outcome}",protocol="http"}}"#);
        assert_eq!(server.metric(&series), 1.0, "{outcome}");
    }
    let (status, _) = get(&server.http, "/v2/models/iris/ready").unwrap();
    assert_eq!(status, 200);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn sigterm_under_load_fails_no_accepted_request() {
    let server = Server::start(&["models"]);
    let stopping = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let body = r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
    let address = server.http.clone();
    let code = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    match post(&address, "/v2/models/iris/infer", "", body.as_bytes()) {
                        Ok((200, _)) => answered.fetch_add(1, Ordering::Relaxed),
                        // Refused, or reset before it was read: not accepted. Only while it is stopping.
                        Ok((503 | 0, _)) | Err(_) if stopping.load(Ordering::SeqCst) => return,
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
        while answered.load(Ordering::Relaxed) < 200 {
            std::thread::yield_now();
        }
        stopping.store(true, Ordering::SeqCst);
        server.stop().0
    });
    assert_eq!(code, Some(0));
}

#[test]
fn a_bad_row_fails_alone_in_a_batch_of_many() {
    const ROWS: usize = 8;
    const BAD: usize = 5;
    let repository = tempfile::tempdir().unwrap();
    let folder = repository.path().join("lookup");
    std::fs::create_dir_all(folder.join("1")).unwrap();
    std::fs::write(folder.join("1/model.onnx"), crate::onnx_file::lookup()).unwrap();
    // Nothing runs before all are there.
    let settings = format!("max_batch_size = {ROWS}\n[queue]\ndelay = \"10s\"\n[instances]\ncount = 1\n");
    std::fs::write(folder.join("model.toml"), settings).unwrap();
    let server = Server::start(&[repository.path()]);
    let ask = |row: usize| {
        let number = if row == BAD { 99 } else { row % 4 };
        let body =
            format!(r#"{{"inputs":[{{"name":"x","shape":[1,1],"datatype":"INT64","data":[{number}]}}]}}"#);
        post(&server.http, "/v2/models/lookup/infer", "", body.as_bytes()).unwrap()
    };
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ROWS).map(|row| scope.spawn(move || ask(row))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (row, (status, body)) in answers.iter().enumerate() {
        assert_eq!(*status == 200, row != BAD, "{row}: {body}");
        let answer: Value = serde_json::from_str(body).unwrap();
        if row == BAD {
            assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        } else {
            let first = 0.5 + (row % 4) as f64;
            assert_eq!(answer["outputs"][0]["data"], serde_json::json!([first, first + 0.5]), "{row}");
        }
    }
    let of_model = |name: &str| server.metric(&format!(r#"{name}{{model="lookup",version="1"}}"#));
    assert_eq!((of_model("weir_batches_total"), of_model("weir_rows_total")), (1.0, ROWS as f64));
    assert_eq!(server.stop().0, Some(0));
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A chain of products with weights of `len` MiB in pieces of 1 MiB, as real models have them.
fn heavy(len: usize) -> Vec<u8> {
    use onnx_file::{
        D::{N, S},
        FLOAT, floats, node, value,
    };
    let name = |index: usize| if index == len { "y".to_owned() } else { format!("x{index}") };
    let node = |index: usize| {
        let weights = format!("w{index}");
        node("MatMul", &[&name(index), &weights], &[&name(index + 1)], &[])
    };
    let weights = |index: usize| floats(&format!("w{index}"), &[512, 512], &vec![1e-3; 512 * 512]);
    onnx_file::model(
        &(0..len).map(node).collect::<Vec<_>>(),
        &[value("x0", FLOAT, &[S("batch"), N(512)])],
        &[value("y", FLOAT, &[S("batch"), N(512)])],
        &(0..len).map(weights).collect::<Vec<_>>(),
    )
}

#[test]
fn the_memory_of_what_is_unloaded_is_given_back() {
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("heavy/1")).unwrap();
    std::fs::write(folder.path().join("heavy/1/model.onnx"), heavy(64)).unwrap();
    let server = Server::start(&[folder.path().as_os_str(), "--model-control".as_ref(), "explicit".as_ref()]);
    let change = |verb: &str| {
        let path = format!("/v2/repository/models/heavy/{verb}");
        let (status, body) = post(&server.http, &path, "", b"{}").unwrap();
        assert_eq!(status, 200, "{body}");
    };
    let mut loaded = resident(server.pid());
    assert!(loaded > 64 * MIB);
    for _ in 0..3 {
        change("unload");
        until("what was unloaded is given back", || resident(server.pid()) + 50 * MIB < loaded);
        change("load");
        loaded = resident(server.pid());
    }
    // What loading itself has left behind is given back as well: weights twice over, and the file.
    until("only the model is left", || resident(server.pid()) < 64 * MIB + 64 * MIB);
}
