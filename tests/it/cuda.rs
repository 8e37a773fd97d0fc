//! The real CUDA provider of ONNX Runtime, on a stand-in for a device (`tests/cuda/device.c`): the whole path of a request on
//! CUDA, what becomes of memory, and what a full or lost device does to a server. Fetches the CUDA build of ONNX
//! Runtime, 255 MB; where that is not to be had, the tests are skipped, unless `WEIR_TEST_REQUIRE_TOOLS` is set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::onnx_file;
use crate::support::{Server, copy_dir, get, post, root, run, target_dir, until};

const VERSION: &str = "1.31.1";
/// The stand-in's libraries: source, and the name that the provider asks for.
const LIBRARIES: [(&str, &str); 5] = [
    ("device.c", "libcudart.so.13"),
    ("blas.c", "libcublas.so.13"),
    ("blas_lt.c", "libcublasLt.so.13"),
    ("driver.c", "libcuda.so.1"),
    ("random.c", "libcurand.so.10"),
];
/// The fields of a process's report, in their order in `device.h`.
const FIELDS: [&str; 11] = [
    "bytes_used",
    "bytes_used_max",
    "pinned_bytes",
    "copies_pinned",
    "copies_pageable",
    "copied_pinned",
    "products",
    "kernels",
    "streams",
    "bytes_max",
    "fault",
];

/// The CUDA build of ONNX Runtime; fetched once.
fn onnxruntime() -> Option<PathBuf> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = target_dir().join(format!("onnxruntime-gpu-{VERSION}"));
    if !folder.join("whole").exists() {
        let mut fetch = Command::new("python3");
        fetch.arg(root().join("tests/cuda/fetch.py")).arg(VERSION).arg(&folder);
        if !fetch.status().is_ok_and(|status| status.success()) {
            let is_required = std::env::var_os("WEIR_TEST_REQUIRE_TOOLS").is_some();
            assert!(!is_required, "the CUDA build of ONNX Runtime is not to be had");
            // pip has said why.
            return None;
        }
    }
    Some(folder.join(format!("libonnxruntime.so.{VERSION}")))
}

/// A folder of its own with the stand-in's libraries, a cache and the reports of all processes that were started with it.
struct Device {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Device {
    /// `None` where ONNX Runtime's CUDA build is not to be had.
    fn new() -> Option<Device> {
        let device = Device { folder: tempfile::tempdir().unwrap(), library: onnxruntime()? };
        std::fs::create_dir(device.path("cuda")).unwrap();
        for (source, name) in LIBRARIES {
            let mut compiler = Command::new("cc");
            compiler.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]);
            compiler.arg(format!("-Wl,--default-symver,-soname,{name}"));
            compiler
                .arg("-o")
                .arg(device.path("cuda").join(name))
                .arg(root().join("tests/cuda").join(source));
            if name != "libcudart.so.13" {
                compiler.arg("-Wl,--as-needed").arg(device.path("cuda/libcudart.so.13"));
            }
            run(compiler.arg("-lpthread"));
        }
        Some(device)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A repository of one model, which asks for CUDA.
    fn repository(&self, name: &str, content: &[u8]) -> PathBuf {
        let repository = self.path("models");
        std::fs::create_dir_all(repository.join(name).join("1")).unwrap();
        std::fs::write(repository.join(name).join("1/model.onnx"), content).unwrap();
        std::fs::write(repository.join(name).join("model.toml"), "[runtime]\nprovider = \"cuda\"\n").unwrap();
        repository
    }

    fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.display().to_string();
        vec![
            ("LD_LIBRARY_PATH".to_owned(), text(self.path("cuda"))),
            ("STAND_IN_CUDA_REPORT".to_owned(), text(self.path("report"))),
            ("XDG_CACHE_HOME".to_owned(), text(self.path("cache"))),
        ]
    }

    fn serve(&self, repository: &Path, flags: &[&str]) -> Server {
        let mut args = vec![repository.as_os_str(), "--onnxruntime".as_ref(), self.library.as_os_str()];
        args.extend(flags.iter().map(std::ffi::OsStr::new));
        Server::start_with(&args, &self.environment())
    }

    /// `weir check` of `repository`: whether all is well, and the whole text.
    fn check(&self, repository: &Path, environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("check").arg(repository).arg("--onnxruntime").arg(&self.library);
        command.envs(self.environment()).envs(environment.iter().copied());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What the device of `server` has done.
    fn report(&self, server: &Server) -> BTreeMap<&'static str, u64> {
        let bytes = std::fs::read(self.path(&format!("report.{}", server.pid()))).unwrap();
        let numbers = bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap()));
        FIELDS.into_iter().zip(numbers).collect()
    }

    /// Orders a fault, or a size, of the device of `server`.
    fn order(&self, server: &Server, field: &str, value: u64) {
        use std::os::unix::fs::FileExt;
        let path = self.path(&format!("report.{}", server.pid()));
        let position = FIELDS.iter().position(|name| *name == field).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&value.to_le_bytes(), position as u64 * 8).unwrap();
    }
}

fn tiny() -> Vec<u8> {
    std::fs::read(root().join("models/tiny/1/model.onnx")).unwrap()
}

fn input(name: &str, datatype: &str, shape: &[usize], data: impl serde::Serialize) -> Value {
    json!({"name": name, "shape": shape, "datatype": datatype, "data": data})
}

/// Asks a model; the status and the whole answer.
fn ask_for(server: &Server, model: &str, body: &Value) -> (u16, Value) {
    let path = format!("/v2/models/{model}/infer");
    let (status, body) = post(&server.http, &path, "", body.to_string().as_bytes()).unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// Asks for rows of FP32.
fn ask(server: &Server, model: &str, shape: [usize; 2], data: &[f32]) -> (u16, Value) {
    ask_for(server, model, &json!({"inputs": [input("x", "FP32", &shape, data)]}))
}

/// The numbers of all outputs.
fn numbers(answer: &Value) -> Vec<f64> {
    let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let data = outputs.iter().flat_map(|output| output["data"].as_array().unwrap());
    data.map(|number| number.as_f64().unwrap()).collect()
}

/// Asks both servers for each of `bodies`, and the first many at a time, whose answers must be the other's: they share batches in
/// page-locked memory that is used again and again.
fn check_answers(cuda: &Server, cpu: &Server, model: &str, bodies: &[Value]) {
    let expected: Vec<Vec<f64>> = bodies.iter().map(|body| numbers(&ask_for(cpu, model, body).1)).collect();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let expected = &expected;
            scope.spawn(move || {
                for round in 0..25 {
                    let seed = (client * 7 + round * 3) % bodies.len();
                    let answer = numbers(&ask_for(cuda, model, &bodies[seed]).1);
                    assert_eq!(answer.len(), expected[seed].len());
                    for (got, wanted) in answer.iter().zip(&expected[seed]) {
                        assert!(
                            (got - wanted).abs() < 1e-4,
                            "{got} instead of {wanted} for {}",
                            bodies[seed]
                        );
                    }
                }
            });
        }
    });
}

/// `rows` rows of 16 numbers, other ones for each seed.
fn rows(rows: usize, seed: usize) -> Vec<f32> {
    (0..rows * 16).map(|index| ((index * 37 + seed * 101) % 199) as f32 / 64.0 - 1.5).collect()
}

#[test]
fn requests_are_answered_as_on_the_cpu() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    let (is_well, text) = device.check(&repository, &[]);
    assert!(is_well, "{text}");
    for line in [
        "provider   cuda, device 0; after optimization CUDAExecutionProvider: 3 of 3 nodes",
        "batching   up to 64 rows: rows were proved independent of each other",
        "instances.count = 2 ",
        "batch_tolerance = 0.02 ",
    ] {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
    let cuda = device.serve(&repository, &[]);
    let cpu = Server::start(&["models/tiny"]);
    let body = |seed: usize| {
        let count = 1 + seed % 5;
        json!({"inputs": [input("x", "FP32", &[count, 16], rows(count, seed))]})
    };
    check_answers(&cuda, &cpu, "tiny", &(0..40).map(body).collect::<Vec<_>>());
    let report = device.report(&cuda);
    assert!(report["copies_pinned"] > 0, "batches are gathered in page-locked memory: {report:?}");
    assert!(report["products"] > 0 && report["kernels"] > 0, "{report:?}");
    assert_eq!(cuda.stop().0, Some(0));
}

/// Convolutions are why a model's batches are filled up to powers of two, with a session for each. This one's runs on the
/// CPU, because the stand-in has none; the rest of the model is the device's.
#[test]
fn batches_of_a_convolutional_model_are_filled_up() {
    use onnx_file::{
        D::{N, S},
        FLOAT, INT32, floats, node, tensor, value,
    };
    const UINT8: i64 = 2;
    let Some(device) = Device::new() else { return };
    let weights: Vec<f32> = rows(3, 9);
    let conv = onnx_file::model(
        &[
            node("MatMul", &["x", "w"], &["t"], &[]),
            node("Relu", &["t"], &["y"], &[]),
            node("ConvInteger", &["i", "k"], &["z"], &[]),
        ],
        &[value("x", FLOAT, &[S("batch"), N(16)]), value("i", UINT8, &[S("batch"), N(1), N(4), N(4)])],
        &[value("y", FLOAT, &[S("batch"), N(3)]), value("z", INT32, &[S("batch"), N(1), N(3), N(3)])],
        &[floats("w", &[16, 3], &weights), tensor("k", UINT8, &[1, 1, 2, 2], &[1, 2, 3, 4])],
    );
    let repository = device.repository("conv", &conv);
    let on_cpu = device.path("cpu");
    copy_dir(&repository, &on_cpu);
    std::fs::remove_file(on_cpu.join("conv/model.toml")).unwrap();
    let (_, text) = device.check(&repository, &[]);
    let expected = "CUDAExecutionProvider: 2 of 3 nodes, CPUExecutionProvider: 1 of 3 nodes";
    assert!(text.contains(expected), "{text}");
    let (cuda, cpu) = (device.serve(&repository, &[]), Server::start(&[&on_cpu]));
    // For 1, 2, 4, ... 64 rows, and one more for the second worker.
    let report = device.report(&cuda);
    assert!(report["streams"] >= 8, "each session has a stream: {report:?}");
    let body = |seed: usize| {
        let count = 1 + seed % 5;
        let image: Vec<usize> = (0..count * 16).map(|index| (index * 31 + seed * 7) % 256).collect();
        let x = input("x", "FP32", &[count, 16], rows(count, seed));
        json!({"inputs": [x, input("i", "UINT8", &[count, 1, 4, 4], image)]})
    };
    check_answers(&cuda, &cpu, "conv", &(0..40).map(body).collect::<Vec<_>>());
    assert!(device.report(&cuda)["copies_pinned"] > 0);
}

#[test]
fn what_is_unloaded_leaves_the_device() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    let server = device.serve(&repository, &["--model-control", "explicit"]);
    let change = |verb: &str| {
        let (status, body) =
            post(&server.http, &format!("/v2/repository/models/tiny/{verb}"), "", b"{}").unwrap();
        assert_eq!(status, 200, "{body}");
    };
    change("unload");
    until("the device is empty", || device.report(&server)["bytes_used"] == 0);
    for _ in 0..5 {
        change("load");
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let server = &server;
                scope.spawn(move || assert_eq!(ask(server, "tiny", [3, 16], &rows(3, seed)).0, 200));
            }
        });
        assert!(device.report(&server)["bytes_used"] > 0);
        change("unload");
        until("the device is empty", || {
            let report = device.report(&server);
            (report["bytes_used"], report["pinned_bytes"], report["streams"]) == (0, 0, 0)
        });
    }
}

#[test]
fn a_full_device_refuses_what_is_too_large_and_nothing_else() {
    use onnx_file::{D::S, FLOAT, node, value};
    let Some(device) = Device::new() else { return };
    let dims = [S("batch"), S("width")];
    let wide = onnx_file::model(
        &[node("Relu", &["x"], &["y"], &[])],
        &[value("x", FLOAT, &dims)],
        &[value("y", FLOAT, &dims)],
        &[],
    );
    let server = device.serve(&device.repository("wide", &wide), &[]);
    assert_eq!(
        ask(&server, "wide", [1, 3], &[-1.0, 0.0, 2.5]).1["outputs"][0]["data"],
        json!([0.0, 0.0, 2.5])
    );
    device.order(&server, "bytes_max", 9_000_000);
    let large = vec![1.0; 2_000_000];
    for _ in 0..2 {
        let (status, answer) = ask(&server, "wide", [1, large.len()], &large);
        let error = answer["error"].as_str().unwrap();
        assert_eq!((status, error), (503, "the device has no memory left for this"));
        assert_eq!(ask(&server, "wide", [1, 1], &[4.0]).1["outputs"][0]["data"], json!([4.0]));
    }
    let (status, _) = get(&server.http, "/v2/health/ready").unwrap();
    assert_eq!(status, 200, "it is no reason to stop");
    device.order(&server, "bytes_max", 0);
    assert_eq!(ask(&server, "wide", [1, large.len()], &large).0, 200);
}

#[test]
fn a_version_without_room_leaves_the_old_one_serving() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    let server = device.serve(&repository, &["--model-control", "explicit"]);
    let served = || ask(&server, "tiny", [1, 16], &rows(1, 0)).1["model_version"].clone();
    let load = || post(&server.http, "/v2/repository/models/tiny/load", "", b"{}").unwrap();
    assert_eq!(served(), "1");
    std::fs::create_dir(repository.join("tiny/2")).unwrap();
    // The same model with a note (`doc_string`), so that it is another file.
    let other = [tiny(), vec![0x32, 1, b'2']].concat();
    std::fs::write(repository.join("tiny/2/model.onnx"), other).unwrap();
    device.order(&server, "bytes_max", device.report(&server)["bytes_used"]);
    let (status, body) = load();
    assert!(status == 400 && body.contains("version 2: the device has no memory left for this"), "{body}");
    assert_eq!(served(), "1");
    device.order(&server, "bytes_max", 0);
    assert_eq!((load().0, served()), (200, "2".into()));
}

#[test]
fn a_lost_device_ends_the_server_after_it_has_drained() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    copy_dir(&root().join("models/iris"), &repository.join("iris"));
    let mut server = device.serve(&repository, &["--drain-delay", "3s"]);
    let on_cpu = || {
        let body =
            br#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
        post(&server.http, "/v2/models/iris/infer", "", body).unwrap().0
    };
    assert_eq!((ask(&server, "tiny", [1, 16], &rows(1, 0)).0, on_cpu()), (200, 200));
    device.order(&server, "fault", 700);
    let (status, answer) = ask(&server, "tiny", [1, 16], &rows(1, 0));
    assert_eq!(
        (status, &answer["error"]),
        (503, &json!("the device is lost until this server is started anew"))
    );
    assert_eq!(get(&server.http, "/v2/health/live").unwrap().0, 503);
    assert_eq!(get(&server.http, "/v2/health/ready").unwrap().0, 503);
    assert_eq!(on_cpu(), 200, "while it drains");
    assert_eq!(server.wait(), Some(1));
}

#[test]
fn settings_that_the_provider_refuses_are_named() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    for (settings, expected) in [
        ("[instances]\ndevice = 1", "Invalid device ID: 1, must be between 0 (inclusive) and 1 (exclusive)."),
        ("[runtime.provider_options]\ngpu_mem_limi = \"1\"", "Unknown provider option: \"gpu_mem_limi\"."),
        ("[runtime.provider_options]\nenable_cuda_graph = \"1\"", "needs inputs at fixed addresses"),
        (
            "[runtime.provider_options]\ngpu_mem_limit = \"33554432\"\nuse_tf32 = \"0\"",
            "tiny version 1: can be served",
        ),
    ] {
        let text = format!("[runtime]\nprovider = \"cuda\"\n{settings}\n");
        std::fs::write(repository.join("tiny/model.toml"), text).unwrap();
        let (_, text) = device.check(&repository, &[]);
        assert!(text.contains(expected), "{settings}: {text}");
    }
}

#[test]
fn what_the_device_did_is_not_held_against_the_model() {
    let Some(device) = Device::new() else { return };
    let repository = device.repository("tiny", &tiny());
    let (is_well, text) = device.check(&repository, &[("LD_LIBRARY_PATH", "")]);
    let expected = "execution provider cuda: the shared library libcublasLt.so.13 is missing";
    assert!(!is_well && text.contains(expected), "{text}");
    let (is_well, text) = device.check(&repository, &[("STAND_IN_CUDA_FAULT", "700")]);
    assert!(!is_well && text.contains("it lost the device (") && text.contains("CUDA failure 700"), "{text}");
    let (is_well, text) = device.check(&repository, &[]);
    assert!(is_well, "the verdicts before were of the moment:\n{text}");
}
