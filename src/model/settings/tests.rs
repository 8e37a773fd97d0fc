//! Bad configurations with the line that a user reads, and good ones with what they mean.

use std::time::Duration;

use super::*;
use crate::model::config::{GraphLevel, Provider, VersionPolicy};

fn refused_toml(text: &str, expected: &str) {
    let error = parse_model_toml(text, "model.toml").expect_err(text);
    assert_eq!(error.to_string(), format!("model.toml{expected}"), "{text}");
}

fn refused_pbtxt(text: &str, expected: &str) {
    let error = parse_config_pbtxt(text, "config.pbtxt").expect_err(text);
    assert_eq!(error.to_string(), format!("config.pbtxt{expected}"), "{text}");
}

#[test]
fn the_repository_s_own_files_are_read() {
    let digits =
        parse_config_pbtxt(include_str!("../../../models/digits/config.pbtxt"), "config.pbtxt").unwrap();
    assert_eq!((digits.name.as_deref(), digits.config.max_batch_size), (Some("digits"), Some(64)));
    assert_eq!(digits.source("max_batch_size").to_string(), "config.pbtxt:3");
    let codetext = parse_config_pbtxt(include_str!("../../../models/codetext/config.pbtxt"), "c").unwrap();
    assert_eq!(codetext.inputs.len(), 2);
    assert_eq!(codetext.config.label_files["probabilities"], "labels.txt");
}

#[test]
fn bad_model_toml_is_refused_with_its_line() {
    let check = refused_toml;
    check("max_batchsize = 8", ":1: unknown key \"max_batchsize\"; did you mean \"max_batch_size\"?");
    check("\n\n[queue]\ndelai = \"1ms\"", ":4: unknown key \"queue.delai\"; did you mean \"queue.delay\"?");
    check("[que]\nsize = 1", ":1: unknown key \"que\"; did you mean \"queue\"?");
    check("colour = 1", ":1: unknown key \"colour\"");
    check("queue = 1", ":1: \"queue\" is a section: write [queue]");
    let header = ":2: \"capture.attributes\": expected the name of a header of text, found";
    check("[capture]\nattributes = [\"a b\"]", &format!("{header} \"a b\""));
    check("[capture]\nattributes = [\"x-trace-bin\"]", &format!("{header} \"x-trace-bin\""));
    check(
        "[capture]\nattributes = [\"Authorization\"]",
        ":2: \"capture.attributes\": \"authorization\" holds credentials",
    );
    check("max_batch_size = -1", ":1: \"max_batch_size\": expected a whole number from 0 to 65536, found -1");
    check(
        "max_batch_size = 1.5",
        ":1: \"max_batch_size\": expected a whole number from 0 to 65536, found 1.5",
    );
    check(
        "max_batch_size = true",
        ":1: \"max_batch_size\": expected a whole number from 0 to 65536, found true",
    );
    check("\n[queue]\nsize = 0", ":3: \"queue.size\": expected a whole number from 1 to 1048576, found 0");
    check(
        "[queue]\ndelay = 5",
        ":2: \"queue.delay\": expected a duration in quotes, such as \"200ms\", found 5",
    );
    check("[queue]\ndelay = \"1h\"", ":2: \"queue.delay\": expected at most 10s, found 1h");
    check(
        "[queue]\ndelay = \"fast\"",
        ":2: \"queue.delay\": expected a duration such as \"200ms\" or \"1s\" (ns, us, ms, s, m, h), found \"fast\"",
    );
    check("[queue]\ndefault_priority = 2", ":2: a default priority needs priority levels");
    check("[queue]\npriorities = 2\ndefault_priority = 3", ":3: the default priority is 3, of 2 levels");
    check(
        "[instances]\ncount = 0",
        ":2: \"instances.count\": expected a whole number from 1 to 256, found 0",
    );
    check(
        "[runtime]\nprovider = \"gpu\"",
        ":2: \"runtime.provider\": expected one of cpu, cuda, found \"gpu\"",
    );
    check("[runtime]\nprovider_options = 3", ":2: \"runtime.provider_options\": expected a table, found 3");
    check(
        "[labels]\ny = \"../secret\"",
        ":2: \"labels\": expected a plain file name without folders, found \"../secret\"",
    );
    check(
        "model_file = \"/etc/passwd\"",
        ":1: \"model_file\": expected a plain file name without folders, found \"/etc/passwd\"",
    );
    check("versions = []", ":1: \"versions\": expected at least one version number");
    check(
        "versions = \"newest\"",
        ":1: \"versions\": expected \"all\", { latest = N } or a list of version numbers",
    );
    check("allow_empty = 1", ":1: \"allow_empty\": expected true or false, found 1");
    check("batch_tolerance = nan", ":1: \"batch_tolerance\": expected a number of at least 0, found nan");
    check(
        "name = \"a/b\"",
        ":1: \"name\": a model name is 1 to 128 letters, digits, '.', '_' or '-', starts with a letter or digit and has no '..'",
    );
    for (text, line) in [("a = ", 1), ("a = 1\na = 2", 2), ("[queue\n", 1)] {
        let error = parse_model_toml(text, "model.toml").unwrap_err();
        assert_eq!(error.line, line, "{error}");
    }
}

#[test]
fn bad_pbtxt_is_refused_with_its_line() {
    let check = refused_pbtxt;
    check("max_batchsize: 8", ":1: unknown field \"max_batchsize\"; did you mean \"max_batch_size\"?");
    check(
        "# c\nmax_batch_size: -2",
        ":2: \"max_batch_size\": expected a whole number from 0 to 65536, found -2",
    );
    check("max_batch_size 8", ":1: expected ':' or '{' after \"max_batch_size\", found \"8\"");
    check(
        "platform: \"tensorrt_plan\"",
        ":1: \"platform\": only \"onnxruntime_onnx\" is served here, found \"tensorrt_plan\"",
    );
    check("input [\n {\n name: \"x\"\n", ":4: expected '}' before the end of the file");
    check("input { data_type: TYPE_FP32 }", ":1: an input has no name");
    check(
        "input { name: \"x\" data_type: FP32 }",
        ":1: \"data_type\": expected a datatype such as TYPE_FP32, found \"FP32\"",
    );
    check("input { name: \"x\" dims: [ -2 ] }", ":1: \"dims\": expected a size, or -1 for any");
    check("name: \"a", ":1: a quoted text has no end on its line");
    check("}", ":1: expected the name of a field, found \"}\"");
    check("dynamic_batching {\n preferred: 3 }", ":2: unknown field \"preferred\"");
    check(
        "instance_group { kind: KIND_TPU }",
        ":1: \"kind\": expected one of KIND_AUTO, KIND_CPU, KIND_GPU, KIND_MODEL, found KIND_TPU",
    );
    check("optimization { graph { level: 3 } }", ":1: \"level\": expected -1, 0, 1 or 2");
    check(
        "optimization { execution_accelerators {\n gpu_execution_accelerator : [ { name : \"tensorrt\" } ] } }",
        ":2: the execution accelerator \"tensorrt\" is not offered; \"cuda\" is",
    );
    check(
        "default_model_filename: \"../x\"",
        ":1: \"default_model_filename\": expected a plain file name without folders, found \"../x\"",
    );
    check("version_policy { specific { } }", ":1: \"specific\": expected at least one version number");
    check(&"a{".repeat(40), ":1: nested deeper than 32 levels");
    check(
        "parameters { key: \"intra_op_thread_count\" value { string_value: \"many\" } }",
        ":1: \"intra_op_thread_count\": expected a whole number from 0 to 1024, found \"many\"",
    );
}

#[test]
fn model_toml_means_what_it_says() {
    let text = r#"
        name = "m"
        model_file = "net.onnx"
        versions = { latest = 2 }
        max_batch_size = 16
        batch_tolerance = 1e-3
        allow_empty = true
        [queue]
        delay = "100us"
        size = 9
        priorities = 3
        default_timeout = "2s"
        [instances]
        count = 2
        device = 1
        [runtime]
        provider = "cuda"
        intra_threads = 4
        graph_level = "basic"
        provider_options = { gpu_mem_limit = 1000, use_tf32 = "0" }
        [runtime.session]
        "session.disable_prepacking" = "1"
        [warmup]
        runs = 0
        [labels]
        y = "labels.txt"
        [capture]
        attributes = ["x-tenant", "X-Region", "x-tenant"]
        [parameters]
        owner = "me"
    "#;
    let parsed = parse_model_toml(text, "model.toml").unwrap();
    let config = &parsed.config;
    assert_eq!((parsed.name.as_deref(), parsed.model_file.as_deref()), (Some("m"), Some("net.onnx")));
    assert_eq!(config.version_policy, VersionPolicy::Latest(2));
    assert_eq!((config.max_batch_size, config.allow_empty), (Some(16), Some(true)));
    assert_eq!((config.queue.delay, config.queue.size), (Duration::from_micros(100), 9));
    assert_eq!((config.queue.priority_levels, config.queue.default_priority), (3, 2));
    assert_eq!(config.queue.default_timeout, Some(Duration::from_secs(2)));
    assert_eq!((config.instances.count, config.instances.device), (Some(2), 1));
    assert_eq!((config.runtime.provider, config.runtime.graph_level), (Provider::Cuda, GraphLevel::Basic));
    assert_eq!(config.runtime.provider_options["gpu_mem_limit"], "1000");
    assert_eq!(config.runtime.session_entries["session.disable_prepacking"], "1");
    assert_eq!((config.warmup.runs, config.parameters["owner"].as_str()), (0, "me"));
    assert_eq!(config.monitoring.capture.attributes, ["x-region".into(), "x-tenant".into()]);
    assert_eq!(parsed.source("queue.size").to_string(), "model.toml:10");
    assert_eq!(parsed.source("queue.default_priority").to_string(), "inferred: the middle of the priorities");
    assert_eq!(parsed.source("runtime.inter_threads"), &Source::Default);
}

#[test]
fn pbtxt_and_json_mean_the_same() {
    let pbtxt = r#"
        max_batch_size: 8  # rows
        version_policy: { specific: { versions: [3, 1] } }
        dynamic_batching {
          preferred_batch_size: [ 4, 8 ]
          max_queue_delay_microseconds: 100
          priority_levels: 2
          default_priority_level: 1
          default_queue_policy { default_timeout_microseconds: 5000 max_queue_size: 7 timeout_action: REJECT }
        }
        instance_group [ { count: 3, kind: KIND_GPU; gpus: [ 1 ] } ]
        parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
        parameters { key: "free" value: { string_value: "a" 'b\x63\144' } }
        optimization { graph { level: 1 } execution_accelerators {
          gpu_execution_accelerator : [ { name : "cuda" parameters { key: "use_tf32" value: "0" } } ] } }
        model_warmup [ { name: "w" batch_size: 1 count: 3 } ]
        response_cache < enable: true >
    "#;
    let json = r#"{"maxBatchSize": 8, "version_policy": {"specific": {"versions": ["3", 1]}},
        "dynamic_batching": {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": 100, "priority_levels": 2,
          "default_priority_level": "1", "default_queue_policy": {"default_timeout_microseconds": 5000,
          "max_queue_size": 7, "timeout_action": "REJECT"}},
        "instance_group": [{"count": 3, "kind": "KIND_GPU", "gpus": [1]}],
        "parameters": {"intra_op_thread_count": {"string_value": "2"}, "free": {"string_value": "abcd"}},
        "optimization": {"graph": {"level": 1}, "execution_accelerators": {"gpu_execution_accelerator":
          [{"name": "cuda", "parameters": {"use_tf32": "0"}}]}},
        "model_warmup": [{"name": "w", "batch_size": 1, "count": 3}], "response_cache": {"enable": true}}"#;
    let from_text = parse_config_pbtxt(pbtxt, "config.pbtxt").unwrap();
    let from_json = parse_config_json(json, "the load request").unwrap();
    assert_eq!(from_text.config, from_json.config);
    let config = &from_text.config;
    assert_eq!(config.version_policy, VersionPolicy::Specific(vec![1, 3]));
    assert_eq!((config.queue.delay, config.queue.size), (Duration::from_micros(100), 7));
    assert_eq!((config.queue.priority_levels, config.queue.default_priority), (2, 1));
    assert_eq!((config.instances.count, config.instances.device), (Some(3), 1));
    assert_eq!((config.runtime.provider, config.runtime.graph_level), (Provider::Cuda, GraphLevel::Extended));
    assert_eq!((config.runtime.intra_threads, config.warmup.runs), (Some(2), 3));
    assert_eq!(config.parameters["free"], "abcd");
    assert_eq!(from_text.source("queue.size").to_string(), "config.pbtxt:9");
    assert_eq!(from_text.warnings.len(), 3, "{:?}", from_text.warnings);
    assert_eq!(
        from_text.warnings[0],
        "config.pbtxt:5: \"preferred_batch_size\" is ignored: a free worker takes what is queued"
    );
}

#[test]
fn declared_tensors_are_compared_with_the_model_s() {
    use crate::model::{Dim, Signature, TensorSpec};
    use crate::tensor::DataType;
    let spec = |name: &str, dims: &[i64]| TensorSpec {
        name: name.into(),
        dtype: DataType::Fp32,
        shape: Some(
            dims.iter().map(|d| usize::try_from(*d).map_or(Dim::Dynamic(None), Dim::Fixed)).collect(),
        ),
        optional: false,
    };
    let signature = Signature { inputs: vec![spec("x", &[-1, 4])], outputs: vec![spec("y", &[-1, 3])] };
    let check = |text: &str, expected: Option<&str>| {
        let found = parse_config_pbtxt(text, "c").unwrap().check_signature(&signature, "c");
        assert_eq!(found.err().map(|error| error.to_string()).as_deref(), expected, "{text}");
    };
    check("max_batch_size: 4 input { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] }", None);
    check("input { name: \"x\" dims: [ -1, 4 ] }", None);
    check("max_batch_size: 0 input { name: \"x\" dims: [ -1, 4 ] }", None);
    check(
        "max_batch_size: 4\ninput { name: \"x\" dims: [ 5 ] }",
        Some("c:2: input \"x\" is declared [5]; the model has [-1, 4]"),
    );
    check("input { name: \"xx\" }", Some("c:1: the model has no input \"xx\"; did you mean \"x\"?"));
    check(
        "output { name: \"y\" data_type: TYPE_INT8 }",
        Some("c:1: output \"y\" is declared INT8; the model has FP32"),
    );
    let toml = parse_model_toml("[labels]\nz = \"l.txt\"", "m").unwrap();
    assert_eq!(
        toml.check_signature(&signature, "m").unwrap_err().to_string(),
        "m:1: the model has no output \"z\"; did you mean \"y\"?"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "[ -~\n]{0,200}", words in "([a-z_]{1,12}[:{ \\[]|[0-9\"}\\],\n<>]){0,60}") {
        for text in [&text, &words] {
            drop((parse_model_toml(text, "f"), parse_config_pbtxt(text, "f"), parse_config_json(text, "f")));
        }
    }
}
