//! The table of the program's settings. `docs/configuration.md` repeats it, and a test compares the two.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::settings::values::{parse_size, shorten};
use crate::model::settings::{Node, Value};

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Kind {
    /// Any text.
    Text,
    /// An IP address.
    Address,
    /// Texts; in the environment separated by this character.
    List(char),
    /// A whole number.
    Number(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// Bytes, from and to.
    Size(u64, u64),
    /// A duration, in milliseconds from and to.
    Duration(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// A value of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) enum Typed {
    Text(String),
    List(Vec<String>),
    Number(u64),
    Real(f64),
    Size(u64),
    Duration(Duration),
    Switch(bool),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and key, with a dot between them.
    pub path: &'static str,
    pub(in crate::app) kind: Kind,
    /// The built-in value, as a flag would have it; the items of a list are separated by commas.
    pub default: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { path, kind, default, help }
}

const PORT: Kind = Kind::Number(0, 65_535);
const HOUR_MS: u64 = 3_600_000;
const TIB: u64 = 1 << 40;

/// Every setting, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key("server.address", Kind::Address, "127.0.0.1", "The address that every port is bound to"),
    key("server.http_port", PORT, "8000", "The port of REST; 0 picks a free one"),
    key("server.grpc_port", PORT, "8001", "The port of gRPC; 0 picks a free one"),
    key("server.metrics_port", PORT, "8002", "The port of metrics; 0 picks a free one"),
    key("server.threads", Kind::Number(0, 1024), "0", "Threads that serve connections; 0 for one a core"),
    key(
        "server.drain_delay",
        Kind::Duration(0, HOUR_MS),
        "0s",
        "How long to go on serving as not ready after SIGTERM",
    ),
    key(
        "server.grace_period",
        Kind::Duration(0, HOUR_MS),
        "30s",
        "How long requests in flight may take after SIGTERM",
    ),
    key(
        "server.allow_remote_control",
        Kind::Switch,
        "false",
        "Whether other hosts may load and unload models (explicit mode)",
    ),
    key(
        "tls.cert",
        Kind::Text,
        "",
        "The server's certificate and its chain (PEM); turns TLS on for every port",
    ),
    key("tls.key", Kind::Text, "", "The certificate's private key (PEM)"),
    key("tls.client_ca", Kind::Text, "", "The roots of client certificates (PEM); turns mutual TLS on"),
    key(
        "tls.client_auth",
        Kind::Choice(&["required", "optional"]),
        "required",
        "Whether clients must show a certificate, with a client CA",
    ),
    key("tls.on_metrics", Kind::Switch, "true", "Whether the metrics port speaks TLS too"),
    key("tls.handshake_timeout", Kind::Duration(1, HOUR_MS), "10s", "Time for a TLS handshake"),
    key("auth.keys_file", Kind::Text, "", "API keys and the roles of client certificates (TOML)"),
    key(
        "auth.require",
        Kind::Choice(&["mutations", "all"]),
        "mutations",
        "Which requests need credentials: those that change something, or all but health",
    ),
    key(
        "auth.open_metrics",
        Kind::Switch,
        "true",
        "Whether metrics need no credentials where all requests do",
    ),
    key("auth.jwt_issuer", Kind::Text, "", "The issuer (iss) whose tokens are taken"),
    key("auth.jwt_audience", Kind::Text, "", "The audience (aud) that tokens must be for"),
    key("auth.jwt_key_file", Kind::Text, "", "The issuer's public keys (PEM or a JSON Web Key Set)"),
    key("auth.jwt_roles_claim", Kind::Text, "weir_roles", "The claim with roles: a name or a JSON pointer"),
    key("auth.jwt_models_claim", Kind::Text, "weir_models", "The claim with model name patterns"),
    key("auth.jwt_hs256", Kind::Switch, "false", "Whether the key set's shared keys are taken (HS256)"),
    key("repository.paths", Kind::List(':'), "", "Repositories, model folders or .onnx files to serve"),
    key(
        "repository.model_control",
        Kind::Choice(&["poll", "explicit", "none"]),
        "poll",
        "How the set of served models changes",
    ),
    key(
        "repository.poll_interval",
        Kind::Duration(10, 24 * HOUR_MS),
        "1s",
        "Time between two looks at the repository",
    ),
    key(
        "repository.load_model",
        Kind::List(','),
        "*",
        "A model to load at the start in explicit mode; * for all",
    ),
    key(
        "repository.load_threads",
        Kind::Number(0, 1024),
        "0",
        "Versions that load at the same time; 0 for automatic",
    ),
    key("registry.url", Kind::Text, "", "The registry: a directory, or an s3://, az:// or gs:// URL"),
    key(
        "registry.deployment",
        Kind::Text,
        "default",
        "The deployment of every model that this server serves",
    ),
    key(
        "registry.poll_interval",
        Kind::Duration(100, HOUR_MS),
        "1s",
        "Time between two looks at the registry",
    ),
    key(
        "registry.cache_dir",
        Kind::Text,
        "",
        "Where copies of served versions are kept; empty for registry in runtime.cache_dir",
    ),
    key(
        "registry.cache_bytes_max",
        Kind::Size(1 << 20, TIB * 1024),
        "64GiB",
        "Bytes of such copies; those in use are never removed",
    ),
    key(
        "registry.replica",
        Kind::Text,
        "",
        "This server's name in the registry's leases; empty for the host's with a number",
    ),
    key(
        "registry.package_files_max",
        Kind::Number(1, 10_000),
        "10000",
        "Files of a version that is registered",
    ),
    key(
        "registry.package_bytes_max",
        Kind::Size(1024, 16 * TIB),
        "64GiB",
        "Bytes of all files of a version that is registered",
    ),
    key("registry.signing_key", Kind::Text, "", "A file with the Ed25519 key that signs revisions"),
    key("runtime.onnxruntime", Kind::Text, "", "The ONNX Runtime library to use instead of the one inside"),
    key(
        "runtime.cache_dir",
        Kind::Text,
        "",
        "Where verdicts on models and uploaded files are kept; empty for nowhere",
    ),
    key(
        "runtime.arena_memory_max",
        Kind::Size(0, TIB * 1024),
        "0B",
        "Memory for all tensors of the runtime; 0 for half of what there is",
    ),
    key("runtime.cores", Kind::Number(0, 4096), "0", "Cores that models may use; 0 for those of the machine"),
    key("runtime.probe", Kind::Switch, "true", "Whether an unknown model is first tried in a child process"),
    key("runtime.probe_timeout", Kind::Duration(100, HOUR_MS), "60s", "How long such a trial may take"),
    key("runtime.probe_memory_max", Kind::Size(64 << 20, TIB * 1024), "8GiB", "Memory such a trial may use"),
    key("events.deliver", Kind::Switch, "true", "Whether this server may deliver events to webhooks"),
    key(
        "events.allow_hosts",
        Kind::List(','),
        "",
        "Hosts that webhooks may name, such as *.example.com; empty for all",
    ),
    key(
        "events.allow_networks",
        Kind::List(','),
        "",
        "Networks that are not public and that webhooks may reach, such as 10.0.0.0/8",
    ),
    key("events.allow_http", Kind::Switch, "false", "Whether webhooks may be reached without TLS"),
    key("events.secrets_dir", Kind::Text, "", "The folder with the secrets of webhooks, a file for each"),
    key("log.format", Kind::Choice(&["text", "json"]), "text", "How log lines are written"),
    key(
        "log.level",
        Kind::Text,
        "info",
        "error, warn, info, debug or trace, or a filter such as info,weir::serving=debug",
    ),
    key(
        "otlp.endpoint",
        Kind::Text,
        "",
        "Where spans are sent (OTLP over gRPC), for example http://127.0.0.1:4317",
    ),
    key("otlp.sampling", Kind::Share, "1.0", "The share of new traces that is sent"),
    key(
        "limits.body_bytes_max",
        Kind::Size(1024, TIB),
        "256MiB",
        "Bytes of a request, as received and decompressed",
    ),
    key(
        "limits.decompression_ratio_max",
        Kind::Number(1, 100_000),
        "100",
        "Decompressed bytes per received byte",
    ),
    key("limits.json_depth_max", Kind::Number(3, 128), "32", "Nesting of JSON"),
    key("limits.tensors_max", Kind::Number(1, 65_536), "256", "Tensors in a request"),
    key("limits.rows_max", Kind::Number(1, 1 << 31), "1048576", "Rows of a tensor"),
    key("limits.parameters_max", Kind::Number(0, 65_536), "64", "Parameters of a request or tensor"),
    key("limits.header_bytes_max", Kind::Size(1024, 16 << 20), "16KiB", "Bytes of a request's headers"),
    key("limits.streams_max", Kind::Number(1, 1 << 20), "256", "Concurrent streams of an HTTP/2 connection"),
    key("limits.connections_max", Kind::Number(1, 1 << 20), "4096", "Open connections of a port"),
    key(
        "limits.connection_age_max",
        Kind::Duration(0, 24 * HOUR_MS),
        "0s",
        "Age at which a connection is asked to end; 0 for never",
    ),
    key(
        "limits.requests_in_flight_max",
        Kind::Number(1, 1 << 24),
        "16384",
        "Requests in flight in the process",
    ),
    key(
        "limits.bytes_in_flight_max",
        Kind::Size(1024, TIB),
        "2GiB",
        "Bytes of long and of decompressed bodies in the process",
    ),
    key("limits.header_timeout", Kind::Duration(1, HOUR_MS), "10s", "Time to send a request's headers"),
    key(
        "limits.stall_timeout",
        Kind::Duration(1, HOUR_MS),
        "30s",
        "Time without progress of a body or answer",
    ),
    key("limits.deadline_max", Kind::Duration(1, 24 * HOUR_MS), "1h", "The longest deadline of a request"),
];

impl Key {
    /// The section.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key in its section.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The flag, for example `--http-port`. Some sections keep their name: `--log-level`, `--tls-cert`; the registry itself
    /// is `--registry`.
    pub fn flag(&self) -> String {
        let name = match self.section() {
            _ if self.path == "registry.url" => "registry",
            "log" | "otlp" | "tls" | "auth" | "registry" | "events" => self.path,
            _ => self.name(),
        };
        format!("--{}", name.replace(['.', '_'], "-"))
    }

    /// The environment variable, for example `WEIR_SERVER_HTTP_PORT`; the registry itself is `WEIR_REGISTRY`.
    pub fn variable(&self) -> String {
        match self.path {
            "registry.url" => "WEIR_REGISTRY".to_owned(),
            path => format!("WEIR_{}", path.replace('.', "_").to_uppercase()),
        }
    }

    /// The items of a text from the environment.
    pub(super) fn split(&self, text: &str) -> Vec<String> {
        match self.kind {
            Kind::List(separator) => {
                text.split(separator).map(str::to_owned).filter(|item| !item.is_empty()).collect()
            }
            _ => vec![text.to_owned()],
        }
    }

    /// The built-in value as a node.
    pub(super) fn default_node(&self) -> Node {
        match (self.kind, self.default) {
            (Kind::List(_), "") => self.node_of(&[]),
            (_, default) => self.node_of(&[default.to_owned()]),
        }
    }

    /// What was typed as a node of the right form, so that one reader serves files, variables and flags.
    pub(super) fn node_of(&self, texts: &[String]) -> Node {
        let text = texts.last().cloned().unwrap_or_default();
        let value = match self.kind {
            Kind::List(_) => Value::List(
                texts.iter().map(|text| Node { line: 0, value: Value::Text(text.clone()) }).collect(),
            ),
            Kind::Number(..) | Kind::Share => Value::Number(text),
            Kind::Switch => match text.as_str() {
                "true" | "1" => Value::Bool(true),
                "false" | "0" => Value::Bool(false),
                _ => Value::Word(text),
            },
            _ => Value::Text(text),
        };
        Node { line: 0, value }
    }

    /// Reads a value; an error says what was expected.
    pub(super) fn read(&self, node: &Node) -> Result<Typed, String> {
        match self.kind {
            Kind::Text => node.text().map(|text| Typed::Text(text.to_owned())),
            Kind::Address => match node.text()?.parse::<IpAddr>() {
                Ok(address) => Ok(Typed::Text(address.to_string())),
                Err(_) => Err(format!("expected an IP address, found \"{}\"", shorten(node.text()?))),
            },
            Kind::List(_) => {
                let items: Result<Vec<String>, String> =
                    node.items().iter().map(|item| item.text().map(str::to_owned)).collect();
                items.map(Typed::List)
            }
            Kind::Number(min, max) => match node.value {
                Value::Text(_) => Err(format!("expected a whole number from {min} to {max}, without quotes")),
                _ => node.whole(min, max).map(Typed::Number),
            },
            Kind::Share => match node.real()? {
                share if share <= 1.0 => Ok(Typed::Real(share)),
                share => Err(format!("expected a number from 0 to 1, found {share}")),
            },
            Kind::Size(min, max) => read_size(node, min, max).map(Typed::Size),
            Kind::Duration(min_ms, max_ms) => {
                let duration = node.duration(Duration::from_millis(max_ms))?;
                let min = Duration::from_millis(min_ms);
                if duration < min {
                    return Err(format!("expected at least {}ms, found {}", min_ms, shorten(node.text()?)));
                }
                Ok(Typed::Duration(duration))
            }
            Kind::Switch => node.truth().map(Typed::Switch),
            Kind::Choice(words) => node.one_of(words).map(|at| Typed::Text(words[at].to_owned())),
        }
    }
}

fn read_size(node: &Node, min: u64, max: u64) -> Result<u64, String> {
    use crate::model::settings::values::show_size;
    let bytes = match &node.value {
        Value::Number(text) => parse_size(text)?,
        _ => parse_size(node.text()?)?,
    };
    match (min..=max).contains(&bytes) {
        true => Ok(bytes),
        false => {
            Err(format!("expected {} to {}, found {}", show_size(min), show_size(max), show_size(bytes)))
        }
    }
}
