//! Registering, pulling and exporting with the real binary: real models, hostile ones, an MLflow model, a Triton model.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::onnx_file;
use crate::support::{copy_dir, root, run};

/// A registry in a folder of its own.
struct Registry {
    folder: tempfile::TempDir,
}

impl Registry {
    fn new() -> Registry {
        Registry { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).env_remove("WEIR_CONFIG").env("WEIR_REGISTRY", self.path("registry"));
        command.current_dir(root());
        command
    }

    fn weir(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that must succeed says, as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.weir(&[args, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The exit code and the error of a command that must fail.
    fn failure(&self, args: &[&str]) -> (i32, Value) {
        let output = self.weir(&[args, &["--json"]].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().unwrap(), answer["error"].clone())
    }

    /// The operations of a revision.
    fn ops(&self, model: &str, rev: u64) -> Vec<Value> {
        let file = self.path("registry").join(format!("models/{model}/log/{rev:020}.json"));
        let revision: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        revision["ops"].as_array().unwrap().clone()
    }

    /// The record of the version that a revision made.
    fn record(&self, model: &str, rev: u64) -> Value {
        let ops = self.ops(model, rev);
        ops.iter().find(|op| op["op"] == "create_version").expect("it made a version")["record"].clone()
    }

    fn blob(&self, file: &Value) -> Vec<u8> {
        let sha256 = file["sha256"].as_str().unwrap();
        let (first, rest) = sha256.split_at(2);
        std::fs::read(self.path("registry").join("blobs/sha256").join(first).join(rest)).unwrap()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_model_is_registered_with_all_that_it_shows() {
    let registry = Registry::new();
    let digits = ["register", "models/digits", "--name", "digits"];
    let given =
        ["--version", "1", "--tag", "area=vision", "--metric", "accuracy=0.97", "--description", "first"];
    let more =
        ["--dataset", "train=https://me:secret@host.example/digits@7", "--run", "r1", "--property", "seed=3"];
    let made = registry.json(&[&digits[..], &given, &more, &["--idempotency-key", "k1"]].concat());
    assert_eq!((&made["version"], &made["created"], &made["revision"]), (&json!(1), &json!(true), &json!(1)));

    let record = registry.record("digits", 1);
    let paths: Vec<&str> =
        record["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config.pbtxt", "golden.json", "model.onnx"]);
    assert_eq!(record["model_file"], "model.onnx");
    assert_eq!(record["datasets"]["train"], "https://host.example/digits@7");
    assert_eq!(record["run"], "r1");
    assert!(record["onnx"]["parameters"].as_u64().unwrap() > 100, "{record}");
    assert!(record["onnx"]["opsets"]["ai.onnx"].as_u64().unwrap() > 8);
    assert!(!record["onnx"]["operators"].as_object().unwrap().is_empty());
    let validation = &record["validation"];
    assert!(validation["onnxruntime"].as_str().unwrap().contains("ORT Build Info"), "{validation}");
    assert!(validation["load_us"].as_u64().unwrap() > 0 && validation["memory_bytes"].as_u64().unwrap() > 0);
    assert!(validation["batching"].as_str().unwrap().contains("independent"), "{validation}");
    let golden: Value = serde_json::from_slice(&registry.blob(&validation["golden"])).unwrap();
    assert_eq!(golden["inputs"][0]["name"], record["inputs"][0]["name"]);
    assert!(!golden["outputs"][0]["data"].as_array().unwrap().is_empty());
    let ops: Vec<Value> = registry.ops("digits", 1).iter().map(|op| op["op"].clone()).collect();
    assert_eq!(ops, ["create_model", "create_version", "set_tag", "set_property", "annotate"]);

    // A retry finds it, with its key and without one.
    let again = registry.json(&[&digits[..], &["--version", "1", "--idempotency-key", "k1"]].concat());
    assert_eq!((&again["version"], &again["created"]), (&json!(1), &json!(false)));
    let again = registry.json(&[&digits[..], &["--version", "1"]].concat());
    assert_eq!((&again["version"], &again["created"]), (&json!(1), &json!(false)));
    let (code, error) =
        registry.failure(&[&digits[..], &["--version", "2", "--idempotency-key", "k1"]].concat());
    assert_eq!((code, &error["code"]), (3, &json!("already_exists")), "{error}");
    // The newest is the default, and it may point an alias at itself.
    let second = registry.json(&[&digits[..], &["--alias", "champion", "--reason", "better"]].concat());
    assert_eq!((&second["version"], &second["created"]), (&json!(2), &json!(true)));

    // Out again, by number and by alias.
    let out = registry.path("out");
    registry.json(&["pull", "digits@champion", "--output", text(&out)]);
    for path in ["config.pbtxt", "golden.json", "model.onnx"] {
        let source = if path == "config.pbtxt" { path.to_owned() } else { format!("2/{path}") };
        let expected = std::fs::read(root().join("models/digits").join(source)).unwrap();
        assert!(std::fs::read(out.join(path)).unwrap() == expected, "{path}");
    }
    let (code, error) = registry.failure(&["pull", "digits@2", "--output", text(&out)]);
    assert_eq!((code, &error["code"]), (3, &json!("already_exists")));
    let (code, error) = registry.failure(&["pull", "digits@7", "--output", text(&registry.path("none"))]);
    assert_eq!((code, &error["code"]), (3, &json!("not_found")));
    assert!(!registry.path("none").exists());
}

#[test]
fn what_is_stored_wrongly_is_not_pulled() {
    let registry = Registry::new();
    let made = registry.json(&["register", "models/iris", "--name", "iris"]);
    let record = registry.record("iris", made["revision"].as_u64().unwrap());
    let model = record["files"].as_array().unwrap().iter().find(|file| file["path"] == "model.onnx").unwrap();
    let sha256 = model["sha256"].as_str().unwrap();
    let (first, rest) = sha256.split_at(2);
    let blob = registry.path("registry").join("blobs/sha256").join(first).join(rest);
    let mut content = std::fs::read(&blob).unwrap();
    content[100] ^= 1;
    std::fs::write(&blob, content).unwrap();
    let out = registry.path("out");
    let (code, error) = registry.failure(&["pull", "iris@1", "--output", text(&out)]);
    assert_eq!(code, 1);
    assert!(error["message"].as_str().unwrap().contains("'model.onnx'"), "{error}");
    assert!(!out.exists());
    let left: Vec<_> =
        std::fs::read_dir(registry.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["registry"], "nothing half done is left");
}

#[test]
fn hostile_models_are_refused_and_written_down() {
    let registry = Registry::new();
    let iris = std::fs::read(root().join("models/iris/1/model.onnx")).unwrap();
    std::fs::write(registry.path("secret.bin"), [0; 64]).unwrap();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("truncated", iris[..iris.len() / 2].to_vec(), ""),
        ("empty", Vec::new(), "it is empty"),
        ("escape", onnx_file::with_external("../secret.bin"), "external data"),
        ("divides", onnx_file::folded_division(), "SIGFPE"),
        ("hangs", onnx_file::endless_load(), "did not end within 3s"),
        ("beside", onnx_file::with_external("w.bin"), "register the folder"),
    ];
    let folder = registry.path("models");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("w.bin"), [0; 64]).unwrap();
    for (name, content, why) in cases {
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, content).unwrap();
        let args = ["register", text(&file), "--name", name, "--json"];
        let output = registry.command(&args).env("WEIR_RUNTIME_PROBE_TIMEOUT", "3s").output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let error = &answer["error"];
        assert_eq!(output.status.code(), Some(3), "{name}: {answer}");
        assert_eq!((&error["code"], &error["revision"]), (&json!("rejected"), &json!(1)), "{name}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(why), "{name}: {answer}");
        let ops = registry.ops(name, 1);
        assert_eq!(ops[1]["op"], "reject_version", "{name}");
        assert!(ops[1]["reason"].as_str().unwrap().contains(why), "{name}");
        // The refusal has used no number.
        let good = registry.json(&["register", "models/iris/1/model.onnx", "--name", name]);
        assert_eq!((&good["version"], &good["revision"]), (&json!(1), &json!(2)), "{name}");
    }
}

#[test]
fn packages_with_links_and_pipes_are_refused() {
    let registry = Registry::new();
    let check = |name: &str, spoil: &dyn Fn(&Path), expected: &str| {
        let folder = registry.path(name);
        copy_dir(&root().join("models/iris/1"), &folder);
        spoil(&folder);
        let (code, error) = registry.failure(&["register", text(&folder), "--name", "m"]);
        assert_eq!(code, 3, "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{name}: {error}");
    };
    check(
        "link",
        &|folder| std::os::unix::fs::symlink("/etc/passwd", folder.join("labels.txt")).unwrap(),
        "is a link",
    );
    check("folder", &|folder| std::os::unix::fs::symlink("/etc", folder.join("etc")).unwrap(), "is a link");
    let two = |folder: &Path| {
        std::fs::rename(folder.join("model.onnx"), folder.join("a.onnx")).unwrap();
        std::fs::copy(folder.join("a.onnx"), folder.join("b.onnx")).unwrap();
    };
    check("two", &two, "several .onnx files (a.onnx, b.onnx)");
    check("none", &|folder| std::fs::remove_file(folder.join("model.onnx")).unwrap(), "holds no .onnx file");
    check("case", &|folder| std::fs::write(folder.join("GOLDEN.json"), "").unwrap(), "differ only in case");
    let pipe = |folder: &Path| crate::support::run(Command::new("mkfifo").arg(folder.join("pipe"))).clear();
    check("pipe", &pipe, "no regular file");
    let (code, error) = registry.failure(&["register", text(&registry.path("missing")), "--name", "m"]);
    assert_eq!(code, 1, "{error}");
    let output = registry.weir(&["register", "models/iris", "--name", "../m"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!registry.path("registry").join("models/m").exists());
}

#[test]
fn external_data_and_samples_belong_to_the_version() {
    let registry = Registry::new();
    let folder = registry.path("big");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("net.onnx"), onnx_file::with_external("w.bin")).unwrap();
    let weights: Vec<u8> = (0..64).map(|i| if i % 4 == 3 { 0x3f } else { 0 }).collect();
    std::fs::write(folder.join("w.bin"), weights).unwrap();
    std::fs::write(folder.join("README.md"), "a card").unwrap();
    std::fs::create_dir(folder.join(".git")).unwrap();
    std::fs::write(folder.join(".git/config"), "not a file of the version").unwrap();
    let made = registry.json(&["register", text(&folder), "--name", "big"]);
    let record = registry.record("big", made["revision"].as_u64().unwrap());
    let paths: Vec<&str> =
        record["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["README.md", "net.onnx", "w.bin"]);
    assert_eq!(record["model_file"], "net.onnx");
    // It is served from what is pulled and what is exported.
    for (args, what) in
        [(["pull", "big"].as_slice(), "pulled"), (&["export", "big", "--format", "triton"], "exported")]
    {
        let out = registry.path(what);
        registry.json(&[args, &["--output", text(&out)]].concat());
        let path = if what == "pulled" { out.join("net.onnx") } else { out.clone() };
        let output = registry.weir(&["check", text(&path)]);
        assert_eq!(output.status.code(), Some(0), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    }

    let sample = registry.path("sample.json");
    std::fs::write(&sample, r#"{"input": [[5.1, 3.5, 1.4, 0.2]]}"#).unwrap();
    let made =
        registry.json(&["register", "models/iris/1/model.onnx", "--name", "iris", "--sample", text(&sample)]);
    let record = registry.record("iris", made["revision"].as_u64().unwrap());
    let golden: Value = serde_json::from_slice(&registry.blob(&record["validation"]["golden"])).unwrap();
    assert_eq!(golden["inputs"][0]["data"], json!([5.1, 3.5, 1.4, 0.2]));
    assert!(golden["outputs"].to_string().contains("setosa"), "{golden}");
    std::fs::write(&sample, r#"{"x": [[5.1]]}"#).unwrap();
    let other = ["register", "models/iris/1/model.onnx", "--name", "other", "--sample", text(&sample)];
    let (code, error) = registry.failure(&other);
    assert_eq!((code, &error["code"]), (2, &json!("invalid_argument")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("no input 'x'"), "{error}");
}

#[test]
fn an_mlflow_model_keeps_what_mlflow_knew() {
    let registry = Registry::new();
    let run = registry.path("mlruns/0/5e0f");
    let folder = run.join("artifacts/model");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(run.join("tags")).unwrap();
    std::fs::write(run.join("meta.yaml"), "run_id: 5e0f\n").unwrap();
    std::fs::write(run.join("tags/mlflow.source.git.commit"), "0123456789abcdef\n").unwrap();
    std::fs::write(run.join("tags/mlflow.source.git.repoURL"), "https://u:p@host.example/r.git").unwrap();
    std::fs::copy(root().join("models/iris/1/model.onnx"), folder.join("model.onnx")).unwrap();
    std::fs::write(folder.join("requirements.txt"), "onnxruntime\n").unwrap();
    std::fs::write(
        folder.join("input_example.json"),
        r#"{"columns": [0,1,2,3], "data": [[6.3, 3.3, 6.0, 2.5]]}"#,
    )
    .unwrap();
    let text_of = "artifact_path: model\nflavors:\n  onnx:\n    code: null\n    data: model.onnx\n    onnx_version: 1.17.0\n    \
        onnx_session_options: null\n    providers:\n    - CPUExecutionProvider\n  python_function:\n    data: model.onnx\n    \
        loader_module: mlflow.onnx\nmetadata:\n  Team: Flowers\nmlflow_version: 2.20.1\nmodel_uuid: abc\nrun_id: 5e0f\n\
        saved_input_example_info:\n  artifact_path: input_example.json\n  pandas_orient: split\n  type: dataframe\nsignature:\n  \
        inputs: '[{\"type\": \"tensor\"}]'\n  outputs: '[]'\n  params: null\nutc_time_created: '2025-01-01 00:00:00'\n";
    std::fs::write(folder.join("MLmodel"), text_of).unwrap();
    let made = registry.json(&["register", text(&folder), "--name", "iris", "--tag", "owner=me"]);
    let record = registry.record("iris", 1);
    assert_eq!(record["run"], "5e0f");
    assert_eq!(record["git"]["commit"], "0123456789abcdef");
    assert_eq!(record["git"]["remote"], "https://host.example/r.git");
    assert_eq!(made["warnings"], json!([]));
    let golden: Value = serde_json::from_slice(&registry.blob(&record["validation"]["golden"])).unwrap();
    assert_eq!(golden["inputs"][0]["data"], json!([6.3, 3.3, 6.0, 2.5]));
    let ops = registry.ops("iris", 1);
    let find = |op: &str, key: &str| {
        ops.iter().find(|entry| entry["op"] == op && entry["key"] == key).map(|entry| entry["value"].clone())
    };
    assert_eq!(find("set_tag", "Team"), Some(json!("Flowers")));
    assert_eq!(find("set_tag", "owner"), Some(json!("me")));
    assert_eq!(find("set_property", "mlflow.version"), Some(json!("2.20.1")));
    assert_eq!(find("set_property", "mlflow.signature.inputs"), Some(json!("[{\"type\": \"tensor\"}]")));

    std::fs::write(folder.join("MLmodel"), "flavors: {sklearn: {}}\n").unwrap();
    let (code, error) = registry.failure(&["register", text(&folder), "--name", "other"]);
    assert_eq!(code, 3, "{error}");
    assert!(error["message"].as_str().unwrap().contains("no onnx flavor"), "{error}");
}

#[test]
fn a_triton_model_goes_in_and_out() {
    let registry = Registry::new();
    let all = registry.weir(&["register", "models/digits", "--name", "digits", "--version", "all", "--json"]);
    assert_eq!(all.status.code(), Some(0), "{}", String::from_utf8_lossy(&all.stderr));
    assert_eq!(String::from_utf8_lossy(&all.stdout).lines().count(), 2);
    registry.json(&["register", "models/codetext", "--name", "codetext"]);
    let out = registry.path("triton");
    registry.json(&["export", "codetext@1", "--format", "triton", "--output", text(&out)]);
    let same = |path: &str| {
        let (given, made) = (root().join("models").join(path), out.join(path));
        assert!(std::fs::read(given).unwrap() == std::fs::read(made).unwrap(), "{path}");
    };
    for path in ["codetext/config.pbtxt", "codetext/labels.txt", "codetext/1/model.onnx"] {
        same(path);
    }
    // A version without a configuration gets one that the server understands.
    registry.json(&["register", "models/iris/1/model.onnx", "--name", "iris"]);
    let made = registry.path("made");
    registry.json(&["export", "iris", "--format", "triton", "--output", text(&made)]);
    let config = std::fs::read_to_string(made.join("iris/config.pbtxt")).unwrap();
    assert!(config.contains("max_batch_size: 0") && config.contains("data_type: TYPE_STRING"), "{config}");
    let output = registry.weir(&["check", text(&made)]);
    assert_eq!(output.status.code(), Some(0), "{config}{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn images_are_the_same_every_time() {
    let registry = Registry::new();
    registry.json(&["register", "models/digits", "--name", "digits"]);
    let program = registry.path("program");
    std::fs::write(&program, "a program").unwrap();
    let export = |name: &str| {
        let out = registry.path(name);
        let args =
            ["export", "digits@1", "--format", "oci", "--binary", text(&program), "--output", text(&out)];
        registry.json(&args);
        let mut files = Vec::new();
        let mut folders = vec![out.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => files
                        .push((path.strip_prefix(&out).unwrap().to_owned(), std::fs::read(&path).unwrap())),
                }
            }
        }
        files.sort();
        files
    };
    let (one, two) = (export("one"), export("two"));
    assert_eq!(one.len(), 7, "index, layout, manifest, config and three layers");
    assert!(one == two);
    let index = one.iter().find(|(path, _)| path == Path::new("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index.1).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
}

/// What nobody here wrote reads the image: skopeo checks every digest while it copies.
#[test]
fn skopeo_reads_the_image() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        assert!(std::env::var_os("WEIR_TEST_REQUIRE_TOOLS").is_none(), "skopeo is not to be had");
        println!("skipped: skopeo is not to be had; Debian's package has its name");
        return;
    }
    let registry = Registry::new();
    registry.json(&["register", "models/digits/1", "--name", "digits"]);
    let (image, copy) = (registry.path("image"), registry.path("copy"));
    let program = root().join(".ci/run");
    let target = text(&image);
    registry.json(&["export", "digits@1", "--format", "oci", "--binary", text(&program), "--output", target]);
    let source = format!("oci:{target}:1");
    let shown = run(Command::new("skopeo").args(["inspect", &source]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["Os"], shown["Layers"].as_array().map(Vec::len)),
        (&json!("linux"), Some(3)),
        "{shown}"
    );
    let config = run(Command::new("skopeo").args(["inspect", "--config", &source]));
    let config: Value = serde_json::from_str(&config).unwrap();
    assert!(config["config"]["Entrypoint"].is_array(), "{config}");
    let to = format!("dir:{}", text(&copy));
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &source, &to]));
    // Somewhere in the layers that it copied lies the model, byte for byte.
    let model = std::fs::read(root().join("models/digits/1/model.onnx")).unwrap();
    let mut found = 0;
    for layer in shown["Layers"].as_array().unwrap() {
        let file = copy.join(layer.as_str().unwrap().trim_start_matches("sha256:"));
        let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().ends_with("model.onnx") {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
                assert!(content == model);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1);
    // A layer that was touched is refused by its digest.
    let layer =
        image.join("blobs/sha256").join(shown["Layers"][1].as_str().unwrap().trim_start_matches("sha256:"));
    let mut bytes = std::fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let to = format!("dir:{}", text(&registry.path("bad")));
    let refused = Command::new("skopeo").args(["--insecure-policy", "copy", &source, &to]).output().unwrap();
    assert!(!refused.status.success());
}

#[test]
fn versions_made_at_once_have_contiguous_numbers() {
    let registry = Registry::new();
    let iris = std::fs::read(root().join("models/iris/1/model.onnx")).unwrap();
    let mut children = Vec::new();
    for number in 0..6 {
        let folder = registry.path(&format!("m{number}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("model.onnx"), &iris).unwrap();
        std::fs::write(folder.join("number.txt"), number.to_string()).unwrap();
        let mut command = registry.command(&["register", text(&folder), "--name", "iris", "--json"]);
        children.push(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
    }
    let mut numbers: Vec<u64> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            answer["version"].as_u64().unwrap_or_else(|| panic!("{answer}"))
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}
