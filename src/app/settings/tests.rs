//! Sources and their order, and bad configurations with the line that the operator reads.

use super::*;
use crate::app::config::Config;

fn given(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Given {
    Given {
        file: None,
        environment: environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
        flags: flags
            .iter()
            .map(|(path, text)| {
                (KEYS.iter().find(|key| key.path == *path).unwrap(), vec![(*text).to_owned()])
            })
            .collect(),
    }
}

fn from_toml(text: &str) -> Result<Config, SettingsProblem> {
    let mut settings = Settings::collect(&Given::default())?;
    settings.add_toml(text, "weir.toml")?;
    Config::new(&settings)
}

#[test]
fn later_sources_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "[server]\nhttp_port = 1\ngrpc_port = 2\nmetrics_port = 3\n").unwrap();
    let path = file.display().to_string();
    let sources = given(
        &[
            ("WEIR_CONFIG", &path),
            ("WEIR_SERVER_GRPC_PORT", "20"),
            ("WEIR_SERVER_METRICS_PORT", "30"),
            ("HOME", "x"),
        ],
        &[("server.metrics_port", "300")],
    );
    let settings = Settings::collect(&sources).unwrap();
    let check = |path: &str, value: u64, origin: &str| {
        let setting = settings.get(path).unwrap();
        assert_eq!(
            (&setting.value, setting.origin.to_string()),
            (&Typed::Number(value), origin.to_owned()),
            "{path}"
        );
    };
    check("server.http_port", 1, &format!("{path}:2"));
    check("server.grpc_port", 20, "environment WEIR_SERVER_GRPC_PORT");
    check("server.metrics_port", 300, "--metrics-port");
    check("server.threads", 0, "default");
    let missing = Given { file: Some(folder.path().join("none.toml")), ..Given::default() };
    assert!(Settings::collect(&missing).unwrap_err().to_string().contains("none.toml: No such file"));
}

#[test]
fn defaults_mean_what_the_parts_have_as_defaults() {
    let config = from_toml("").unwrap();
    assert_eq!(config.limits, crate::protocol::Limits::default());
    assert_eq!(config.server.http.to_string(), "127.0.0.1:8000");
    assert_eq!(config.models.poll_interval, std::time::Duration::from_secs(1));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let sources = given(&[("WEIR_REPOSITORY_PATHS", "a:b \"c\"")], &[("limits.body_bytes_max", "3MiB")]);
    let printed = Settings::collect(&sources).unwrap().to_toml();
    let mut again = Settings::collect(&Given::default()).unwrap();
    again.add_toml(&printed, "printed").unwrap();
    for key in KEYS {
        let first = Settings::collect(&sources).unwrap().get(key.path).unwrap().value.clone();
        assert_eq!(again.get(key.path).unwrap().value, first, "{}", key.path);
    }
}

#[test]
fn keys_flags_and_variables_are_distinct() {
    let mut flags: Vec<String> = KEYS.iter().map(Key::flag).collect();
    flags.sort();
    flags.dedup();
    assert_eq!(flags.len(), KEYS.len(), "two keys share a flag");
}

fn refused(text: &str, expected: &str) {
    let problem = from_toml(text).expect_err(text).to_string();
    assert_eq!(problem, format!("weir.toml:{expected}"), "{text}");
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let check = refused;
    check("[serve]\n", "1: unknown section \"serve\"; did you mean \"server\"?");
    check("colour = 1", "1: unknown section \"colour\"");
    check("server = 1", "1: \"server\" is a section: write [server]");
    check(
        "[server]\n\nhtpp_port = 1",
        "3: unknown key \"htpp_port\"; did you mean \"http_port\"? in [server]",
    );
    check(
        "[server]\nhttp_port = 65536",
        "2: \"server.http_port\": expected a whole number from 0 to 65535, found 65536",
    );
    check(
        "[server]\nhttp_port = -1",
        "2: \"server.http_port\": expected a whole number from 0 to 65535, found -1",
    );
    check(
        "[server]\nhttp_port = \"80\"",
        "2: \"server.http_port\": expected a whole number from 0 to 65535, without quotes",
    );
    check(
        "[server]\nhttp_port = 1\ngrpc_port = 1",
        "3: \"server.grpc_port\": port 1 is already \"server.http_port\"",
    );
    check("[server]\naddress = \"home\"", "2: \"server.address\": expected an IP address, found \"home\"");
    check("[server]\naddress = 1", "2: \"server.address\": expected a text in quotes, found 1");
    check(
        "[server]\ngrace_period = 30",
        "2: \"server.grace_period\": expected a duration in quotes, such as \"200ms\", found 30",
    );
    check("[server]\ngrace_period = \"2h\"", "2: \"server.grace_period\": expected at most 1h, found 2h");
    check(
        "[server]\ndrain_delay = \"soon\"",
        "2: \"server.drain_delay\": expected a duration such as \"200ms\" or \"1s\" (ns, us, ms, s, m, h), found \"soon\"",
    );
    check(
        "[server]\nallow_remote_control = \"yes\"",
        "2: \"server.allow_remote_control\": expected true or false, found \"yes\"",
    );
    check(
        "[repository]\nmodel_control = \"push\"",
        "2: \"repository.model_control\": expected one of poll, explicit, none, found \"push\"",
    );
    check(
        "[repository]\npoll_interval = \"1ms\"",
        "2: \"repository.poll_interval\": expected at least 10ms, found 1ms",
    );
    check(
        "[repository]\nload_model = [\"a\"]",
        "2: \"repository.load_model\": names models, which needs model control explicit, not poll",
    );
}

#[test]
fn bad_values_of_other_sections_are_refused_with_their_line() {
    let check = refused;
    check("[repository]\npaths = [1]", "2: \"repository.paths\": expected a text in quotes, found 1");
    check(
        "[log]\nlevel = \"loud\"",
        "2: \"log.level\": expected a level or a filter (unknown level \"loud\")",
    );
    check("[log]\nformat = \"xml\"", "2: \"log.format\": expected one of text, json, found \"xml\"");
    check(
        "[otlp]\nendpoint = \"collector:4317\"",
        "2: \"otlp.endpoint\": expected an address such as http://127.0.0.1:4317 (TLS is not offered)",
    );
    check("[otlp]\nsampling = 2.0", "2: \"otlp.sampling\": expected a number from 0 to 1, found 2");
    check(
        "[limits]\nbody_bytes_max = \"1\"",
        "2: \"limits.body_bytes_max\": expected 1KiB to 1TiB, found 1B",
    );
    check(
        "[limits]\nbody_bytes_max = \"big\"",
        "2: \"limits.body_bytes_max\": expected a size such as \"64MiB\" (B, KiB, MiB, GiB, TiB, KB, MB, GB), found \"big\"",
    );
    check(
        "[limits]\nbody_bytes_max = \"1KiB\"\nheader_bytes_max = \"2KiB\"",
        "3: \"limits.header_bytes_max\": is more than \"limits.body_bytes_max\"",
    );
    check(
        "[limits]\njson_depth_max = 1000",
        "2: \"limits.json_depth_max\": expected a whole number from 3 to 128, found 1000",
    );
}

#[test]
fn bad_toml_is_refused_with_its_line() {
    for (text, line) in
        [("[server", 1), ("[server]\nhttp_port = ", 2), ("[server]\n[server]", 2), ("[log]\nlevel = 'a\n", 2)]
    {
        let problem = from_toml(text).expect_err(text).to_string();
        assert!(problem.starts_with(&format!("weir.toml:{line}: ")), "{text}: {problem}");
        assert!(!problem.contains('\n'), "one line: {problem}");
    }
}

#[test]
fn bad_variables_and_flags_are_refused_by_name() {
    let check = |sources: Given, expected: &str| {
        let problem = Settings::collect(&sources).and_then(|settings| Config::new(&settings).map(drop));
        assert_eq!(problem.unwrap_err().to_string(), expected);
    };
    check(
        given(&[("WEIR_SERVER_HTTPPORT", "1")], &[]),
        "environment: unknown variable \"WEIR_SERVER_HTTPPORT\"; did you mean \"WEIR_SERVER_HTTP_PORT\"?",
    );
    check(
        given(&[("WEIR_LIMITS_ROWS_MAX", "many")], &[]),
        "environment WEIR_LIMITS_ROWS_MAX: \"limits.rows_max\": expected a whole number from 1 to 2147483648, found many",
    );
    check(
        given(&[], &[("server.http_port", "http")]),
        "--http-port: \"server.http_port\": expected a whole number from 0 to 65535, found http",
    );
    // Variables of the build and of other programs are not settings.
    assert!(Settings::collect(&given(&[("WEIR_ONNXRUNTIME", "x"), ("WEIRD_SERVER_X", "y")], &[])).is_ok());
}
