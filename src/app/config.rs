//! What the settings mean: one struct for each part, checked against each other before anything is started.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::delivery::EventsConfig;
use super::monitoring::MonitoringConfig;
use super::security::{AccessConfig, TlsConfig};
use super::settings::{Origin, Settings, SettingsProblem};
use crate::access::{AccessSettings, JwtSettings, Require};
use crate::protocol::Limits;
use crate::registry::leases::is_replica_name;
use crate::registry::package::Limits as PackageLimits;
use crate::registry::state::check_deployment;
use crate::serving::{ManagerConfig, ModelControl};
use crate::transport::ClientAuth;

/// The whole program's configuration.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) server: ServerConfig,
    pub(super) tls: Option<TlsConfig>,
    pub(super) access: AccessConfig,
    pub(super) models: ManagerConfig,
    /// `None` without a registry.
    pub(super) registry: Option<RegistryConfig>,
    pub(super) runtime: RuntimeOptions,
    pub(super) events: EventsConfig,
    /// `None` when no traffic is watched.
    pub(super) monitoring: Option<MonitoringConfig>,
    pub(super) log: LogConfig,
    pub(super) limits: Limits,
}

/// Sockets and the end.
#[derive(Debug, Clone)]
pub(super) struct ServerConfig {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) metrics: SocketAddr,
    /// Threads of the async runtime.
    pub(super) threads: usize,
    pub(super) drain_delay: Duration,
    pub(super) grace_period: Duration,
    /// Whether hosts other than this one may load and unload models.
    pub(super) control_allowed_remote: bool,
}

/// ONNX Runtime and the trial of models.
#[derive(Debug, Clone)]
pub(super) struct RuntimeOptions {
    /// The library to use instead of the one inside.
    pub(super) library: Option<PathBuf>,
    pub(super) cache_dir: Option<PathBuf>,
    /// `None` for half of what there is.
    pub(super) arena_memory_max: Option<usize>,
    /// `None` when models are opened without a trial.
    pub(super) probe: Option<ProbeOptions>,
}

/// Bounds of a trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeOptions {
    pub(super) timeout: Duration,
    pub(super) memory_max: u64,
}

/// The registry that is followed.
#[derive(Debug, Clone)]
pub(super) struct RegistryConfig {
    pub(super) location: String,
    pub(super) deployment: String,
    pub(super) poll_interval: Duration,
    /// `None` for a folder that goes with the process.
    pub(super) cache_dir: Option<PathBuf>,
    pub(super) cache_bytes_max: u64,
    /// `None` for a name that nobody else has.
    pub(super) replica: Option<String>,
    /// The file of the key that signs what is changed through this server.
    pub(super) signing_key: Option<String>,
    /// What a client may send to be registered.
    pub(super) package_limits: PackageLimits,
}

/// Logs and spans.
#[derive(Debug, Clone)]
pub(super) struct LogConfig {
    pub(super) json: bool,
    pub(super) filter: String,
    /// Where spans go; `None` turns them off.
    pub(super) otlp_endpoint: Option<String>,
    pub(super) sampling: f64,
}

impl Config {
    /// The meaning of `settings`.
    pub(super) fn new(settings: &Settings) -> Result<Config, SettingsProblem> {
        let config = Config {
            server: server(settings)?,
            tls: tls(settings)?,
            access: access(settings)?,
            models: models(settings)?,
            registry: registry(settings)?,
            runtime: runtime(settings)?,
            events: EventsConfig::new(settings)?,
            monitoring: MonitoringConfig::new(settings)?,
            log: log(settings)?,
            limits: limits(settings)?,
        };
        check_agreement(&config, settings)?;
        Ok(config)
    }
}

fn server(settings: &Settings) -> Result<ServerConfig, SettingsProblem> {
    let address: IpAddr = settings
        .text("server.address")?
        .parse()
        .map_err(|_| settings.problem("server.address", "expected an IP address"))?;
    let socket = |path| settings.number(path).map(|port| SocketAddr::new(address, port));
    let threads = match settings.number("server.threads")? {
        // Affinity and cgroup limits count: `available_parallelism` sees both.
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    Ok(ServerConfig {
        http: socket("server.http_port")?,
        grpc: socket("server.grpc_port")?,
        metrics: socket("server.metrics_port")?,
        threads,
        drain_delay: settings.duration("server.drain_delay")?,
        grace_period: settings.duration("server.grace_period")?,
        control_allowed_remote: settings.switch("server.allow_remote_control")?,
    })
}

fn path(settings: &Settings, name: &str) -> Result<Option<PathBuf>, SettingsProblem> {
    settings.optional_text(name).map(|path| path.map(PathBuf::from))
}

fn tls(settings: &Settings) -> Result<Option<TlsConfig>, SettingsProblem> {
    let client_auth = match settings.text("tls.client_auth")? {
        "optional" => ClientAuth::Optional,
        _ => ClientAuth::Required,
    };
    let clients = path(settings, "tls.client_ca")?.map(|file| (file, client_auth));
    let on_metrics = settings.switch("tls.on_metrics")?;
    let handshake_timeout = settings.duration("tls.handshake_timeout")?;
    match (path(settings, "tls.cert")?, path(settings, "tls.key")?) {
        (Some(certificates), Some(key)) => {
            Ok(Some(TlsConfig { certificates, key, clients, handshake_timeout, on_metrics }))
        }
        (Some(_), None) => Err(settings.problem("tls.cert", "needs \"tls.key\"")),
        (None, Some(_)) => Err(settings.problem("tls.key", "needs \"tls.cert\"")),
        (None, None) if clients.is_some() => {
            Err(settings.problem("tls.client_ca", "needs \"tls.cert\" and \"tls.key\""))
        }
        (None, None) => Ok(None),
    }
}

fn access(settings: &Settings) -> Result<AccessConfig, SettingsProblem> {
    let server = server(settings)?;
    let require = match settings.text("auth.require")? {
        "all" => Require::All,
        _ => Require::Mutations,
    };
    let keys_file = path(settings, "auth.keys_file")?;
    let jwt_key_file = path(settings, "auth.jwt_key_file")?;
    let issuer = settings.optional_text("auth.jwt_issuer")?;
    let audience = settings.optional_text("auth.jwt_audience")?;
    let jwt = match (issuer, audience, &jwt_key_file) {
        (Some(issuer), Some(audience), Some(_)) => Some(JwtSettings {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            roles_claim: settings.text("auth.jwt_roles_claim")?.to_owned(),
            models_claim: settings.text("auth.jwt_models_claim")?.to_owned(),
            allow_hs256: settings.switch("auth.jwt_hs256")?,
        }),
        (None, None, None) => None,
        _ => {
            let given = ["auth.jwt_issuer", "auth.jwt_audience", "auth.jwt_key_file"];
            let first =
                given.iter().find(|path| settings.optional_text(path).is_ok_and(|text| text.is_some()));
            let reason = "tokens need issuer, audience and key file together";
            return Err(settings.problem(first.unwrap_or(&"auth.jwt_issuer"), reason));
        }
    };
    if require == Require::All && keys_file.is_none() && jwt.is_none() {
        let reason = "needs \"auth.keys_file\" or the auth.jwt settings, or nobody could ask anything";
        return Err(settings.problem("auth.require", reason));
    }
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    Ok(AccessConfig {
        settings: AccessSettings {
            require,
            is_loopback_bound: is_loopback(&server.http) && is_loopback(&server.grpc),
            has_keys_file: keys_file.is_some(),
            jwt,
        },
        keys_file,
        jwt_key_file,
        open_metrics: settings.switch("auth.open_metrics")?,
    })
}

fn models(settings: &Settings) -> Result<ManagerConfig, SettingsProblem> {
    Ok(ManagerConfig {
        paths: settings.list("repository.paths")?.iter().map(PathBuf::from).collect(),
        control: match settings.text("repository.model_control")? {
            "explicit" => ModelControl::Explicit,
            "none" => ModelControl::None,
            _ => ModelControl::Poll,
        },
        poll_interval: settings.duration("repository.poll_interval")?,
        startup_models: settings.list("repository.load_model")?.to_vec(),
        load_threads: settings.number("repository.load_threads")?,
        cores: settings.number("runtime.cores")?,
        upload_folder: settings
            .optional_text("runtime.cache_dir")?
            .map(|folder| PathBuf::from(folder).join("uploads")),
        upload_bytes_max: settings.number("limits.body_bytes_max")?,
        ..ManagerConfig::default()
    })
}

pub(super) fn runtime(settings: &Settings) -> Result<RuntimeOptions, SettingsProblem> {
    let path = |name| settings.optional_text(name).map(|path| path.map(PathBuf::from));
    let arena_memory_max: usize = settings.number("runtime.arena_memory_max")?;
    let probe = probe_options(settings)?;
    Ok(RuntimeOptions {
        library: path("runtime.onnxruntime")?,
        cache_dir: path("runtime.cache_dir")?,
        arena_memory_max: Some(arena_memory_max).filter(|bytes| *bytes > 0),
        probe: settings.switch("runtime.probe")?.then_some(probe),
    })
}

fn registry(settings: &Settings) -> Result<Option<RegistryConfig>, SettingsProblem> {
    let Some(location) = settings.optional_text("registry.url")? else { return Ok(None) };
    let deployment = settings.text("registry.deployment")?;
    check_deployment(deployment)
        .map_err(|refusal| settings.problem("registry.deployment", &refusal.to_string()))?;
    let replica = settings.optional_text("registry.replica")?.map(str::to_owned);
    if replica.as_deref().is_some_and(|replica| !is_replica_name(replica)) {
        let reason = "expected letters, digits, '.', '_' or '-', beginning with a letter or digit";
        return Err(settings.problem("registry.replica", reason));
    }
    let below_cache = path(settings, "runtime.cache_dir")?.map(|folder| folder.join("registry"));
    Ok(Some(RegistryConfig {
        location: location.to_owned(),
        deployment: deployment.to_owned(),
        poll_interval: settings.duration("registry.poll_interval")?,
        cache_dir: path(settings, "registry.cache_dir")?.or(below_cache),
        cache_bytes_max: settings.number("registry.cache_bytes_max")?,
        replica,
        signing_key: settings.optional_text("registry.signing_key")?.map(str::to_owned),
        package_limits: package_limits(settings)?,
    }))
}

/// What a version that is registered may hold.
pub(super) fn package_limits(settings: &Settings) -> Result<PackageLimits, SettingsProblem> {
    let files_max = settings.number("registry.package_files_max")?;
    Ok(PackageLimits { files_max, bytes_max: settings.number("registry.package_bytes_max")? })
}

/// The bounds of a trial, also where models are served without one.
pub(super) fn probe_options(settings: &Settings) -> Result<ProbeOptions, SettingsProblem> {
    Ok(ProbeOptions {
        timeout: settings.duration("runtime.probe_timeout")?,
        memory_max: settings.number("runtime.probe_memory_max")?,
    })
}

fn log(settings: &Settings) -> Result<LogConfig, SettingsProblem> {
    Ok(LogConfig {
        json: settings.text("log.format")? == "json",
        filter: settings.text("log.level")?.to_owned(),
        otlp_endpoint: settings.optional_text("otlp.endpoint")?.map(str::to_owned),
        sampling: settings.real("otlp.sampling")?,
    })
}

fn limits(settings: &Settings) -> Result<Limits, SettingsProblem> {
    Ok(Limits {
        body_bytes_max: settings.number("limits.body_bytes_max")?,
        decompression_ratio_max: settings.number("limits.decompression_ratio_max")?,
        json_depth_max: settings.number("limits.json_depth_max")?,
        tensors_max: settings.number("limits.tensors_max")?,
        rows_max: settings.number("limits.rows_max")?,
        parameters_max: settings.number("limits.parameters_max")?,
        header_bytes_max: settings.number("limits.header_bytes_max")?,
        streams_max: settings.number("limits.streams_max")?,
        connections_max: settings.number("limits.connections_max")?,
        connection_age_max: settings.duration("limits.connection_age_max")?,
        requests_in_flight_max: settings.number("limits.requests_in_flight_max")?,
        bytes_in_flight_max: settings.number("limits.bytes_in_flight_max")?,
        header_timeout: settings.duration("limits.header_timeout")?,
        stall_timeout: settings.duration("limits.stall_timeout")?,
        deadline_max: settings.duration("limits.deadline_max")?,
    })
}

/// What no single value shows to be wrong.
fn check_agreement(config: &Config, settings: &Settings) -> Result<(), SettingsProblem> {
    let ports = [
        ("server.http_port", config.server.http.port()),
        ("server.grpc_port", config.server.grpc.port()),
        ("server.metrics_port", config.server.metrics.port()),
    ];
    for (index, (path, port)) in ports.iter().enumerate() {
        let earlier = ports.iter().take(index).find(|(_, other)| other == port && *port != 0);
        if let Some((other, _)) = earlier {
            return Err(settings.problem(path, &format!("port {port} is already \"{other}\"")));
        }
    }
    let names_models = settings.get("repository.load_model")?.origin != Origin::Default
        && config.models.startup_models != ["*"];
    if names_models && config.models.control != ModelControl::Explicit {
        let reason = format!(
            "names models, which needs model control explicit, not {}",
            config.models.control.as_str()
        );
        return Err(settings.problem("repository.load_model", &reason));
    }
    if config.limits.header_bytes_max > config.limits.body_bytes_max {
        return Err(settings.problem("limits.header_bytes_max", "is more than \"limits.body_bytes_max\""));
    }
    if config.limits.bytes_in_flight_max < config.limits.body_bytes_max {
        return Err(settings.problem("limits.bytes_in_flight_max", "is less than \"limits.body_bytes_max\""));
    }
    super::log::parse_filter(&config.log.filter).map_err(|reason| settings.problem("log.level", &reason))?;
    if let Some(endpoint) = &config.log.otlp_endpoint
        && !endpoint.starts_with("http://")
    {
        let reason = "expected an address such as http://127.0.0.1:4317 (TLS is not offered)";
        return Err(settings.problem("otlp.endpoint", reason));
    }
    Ok(())
}
