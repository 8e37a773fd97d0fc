//! Puts the parts together, serves, and takes them apart again. The order matters:
//!
//! ```text
//! paths exist -> ports bound -> ONNX Runtime opened -> models load (health answers, not ready) -> ready, table printed
//! SIGTERM -> not ready -> drain delay -> ports closed, in flight finish -> grace period -> cut -> exit 0
//! a device is lost -> not live, not ready -> the same -> exit 1
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::IntCounterVec;
use tokio::task::JoinSet;

use super::cli::say;
use super::config::{Config, ProbeOptions, RuntimeOptions, ServerConfig};
use super::delivery::Delivery;
use super::follow::{announce, attach_registry, check_registry, make_intake, start_follower};
use super::housekeeping::{give_arena_back, give_heap_back};
use super::log::{Logs, report_panics};
use super::monitoring::Watch;
use super::reload::look_after;
use super::security::{TlsConfig, start_access, start_tls};
use super::shutdown::{Signals, raise_open_files};
use super::startup;
use crate::access::Access;
use crate::backend::Backend;
use crate::backend::onnx::{LibrarySource, OnnxBackend, Runtime, RuntimeLog, RuntimeSettings};
use crate::backend::probe::{ProbeLimits, Prober, ProberSettings};
use crate::control::ControlPlane;
use crate::control::announce::announcements;
use crate::control::follow::Follower;
use crate::metrics::{Registry, register_process};
use crate::serving::{Engine, Manager};
use crate::transport::grpc::GrpcDoor;
use crate::transport::http::{EventsDoor, HttpDoor, MetricsDoor};
use crate::transport::{InFlight, Listener, ShutdownHandle, Tls, shutdown_channel};

/// How long tasks may take to end after the last connection was cut.
const RUNTIME_END: Duration = Duration::from_secs(2);

/// How long the last answers may take to leave when every request is answered.
const SILENCE: Duration = Duration::from_secs(5);

/// The version, and the build of ONNX Runtime in `library` or in this binary.
pub(super) fn version(library: Option<PathBuf>) -> anyhow::Result<String> {
    let options = RuntimeOptions { library, cache_dir: None, arena_memory_max: None, probe: None };
    let runtime = start_runtime(&options)?;
    Ok(format!("weir {}\nONNX Runtime {}\n", env!("CARGO_PKG_VERSION"), runtime.build_info()))
}

/// Serves until a signal ends it.
pub(super) fn serve(config: Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.models.paths.is_empty() || config.registry.is_some(),
        "nothing to serve: name a model repository, an .onnx file (weir serve PATH) or a registry (--registry)"
    );
    for path in &config.models.paths {
        std::fs::metadata(path).with_context(|| format!("cannot serve from {}", path.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.threads)
        .thread_name("weir-async")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(serve_until_signal(config));
    // Nothing is left to wait for; a stuck task must not keep the process.
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

/// The bound ports.
struct Listeners {
    http: Listener,
    grpc: Listener,
    metrics: Listener,
}

impl Listeners {
    async fn bind(config: &ServerConfig) -> anyhow::Result<Listeners> {
        let http = Listener::bind(config.http).await.context("HTTP")?;
        let grpc = Listener::bind(config.grpc).await.context("gRPC")?;
        let metrics = Listener::bind(config.metrics).await.context("metrics")?;
        Ok(Listeners { http, grpc, metrics })
    }

    /// Requests for inference have spans; scrapes of metrics do not.
    fn traced(self) -> Listeners {
        Listeners { http: self.http.traced(), grpc: self.grpc.traced(), ..self }
    }

    fn secured(self, tls: &Arc<Tls>, config: &TlsConfig) -> Listeners {
        let on_metrics = |listener: Listener| match config.on_metrics {
            true => listener.secured(Arc::clone(tls)),
            false => listener,
        };
        Listeners {
            http: self.http.secured(Arc::clone(tls)),
            grpc: self.grpc.secured(Arc::clone(tls)),
            metrics: on_metrics(self.metrics),
        }
    }

    fn addresses(&self, tls: Option<&TlsConfig>) -> startup::Addresses {
        startup::Addresses {
            is_tls: tls.is_some(),
            is_tls_on_metrics: tls.is_some_and(|tls| tls.on_metrics),
            http: self.http.address(),
            grpc: self.grpc.address(),
            metrics: self.metrics.address(),
        }
    }
}

async fn serve_until_signal(config: Config) -> anyhow::Result<()> {
    let logs = Logs::start(&config.log)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    raise_open_files();
    check_registry(&config)?;
    let mut listeners = Listeners::bind(&config.server).await?;
    if logs.traces() {
        listeners = listeners.traced();
    }
    let metrics = Registry::new();
    register_process(&metrics)?;
    report_panics(&metrics)?;
    let (access, mut files) = start_access(&config.access, &metrics)?;
    if let Some(tls) = &config.tls {
        let (on_ports, watched) = start_tls(tls, &metrics)?;
        files.push(watched);
        listeners = listeners.secured(&on_ports, tls);
    }
    let addresses = listeners.addresses(config.tls.as_ref());
    let runtime = start_runtime(&config.runtime)?;
    tokio::spawn(give_arena_back(Arc::clone(&runtime)));
    tokio::spawn(look_after(files, register_reloads(&metrics)?));
    let engine = Arc::new(Engine::new(&metrics)?);
    tokio::spawn(give_heap_back(engine.events().subscribe()));
    let (announcer, announcements) = announcements();
    let watch = Watch::start(&config, &engine, &metrics, announcer.clone())?;
    let intake = make_intake(&config, &runtime);
    let manager = start_manager(&config, runtime, Arc::clone(&engine)).await?;
    let follower = start_follower(&config, &addresses, &manager, &engine, &metrics, announcer)?;
    let control = Arc::new(open_control(&config.server, &access, &manager));
    if let Some(watch) = &watch {
        watch.attach(&control);
    }
    if let Some(follower) = &follower {
        tokio::spawn(attach_registry(Arc::clone(&control), Arc::clone(follower), intake));
        tokio::spawn(announce(announcements, Arc::clone(follower)));
        if let Some(watch) = &watch {
            tokio::spawn(Watch::follow(Arc::clone(&watch.monitoring), Arc::clone(follower)));
        }
    }
    let delivery = Delivery::start_beside(&config, follower.as_ref(), &metrics)?;
    let doors = Doors { engine: &engine, control: &control, access: &access, metrics };
    let (handle, mut servers) = start_doors(&config, listeners, doors);
    say(&addresses.to_string());
    tokio::select! {
        () = all_loaded(&manager, follower.as_deref()) => say(&startup::summary(&engine, &manager, &addresses)),
        signal = signals.next() => {
            tracing::info!(signal, "stopping before every model is loaded");
            end(&config.server, &engine, follower.as_deref(), handle, servers, signals).await;
            Watch::end(watch).await;
            return Ok(());
        }
    }
    let result = until_signal(&mut signals, &engine, &mut servers).await;
    let end = end(&config.server, &engine, follower.as_deref(), handle, servers, signals);
    tokio::join!(end, Delivery::end_beside(delivery));
    Watch::end(watch).await;
    result
}

/// Waits for a signal; fails when the server cannot go on, so that whoever started this process starts it anew.
async fn until_signal(
    signals: &mut Signals,
    engine: &Engine,
    servers: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let broken = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            return Ok(());
        }
        () = engine.device_lost() => "a device was lost",
        _ = servers.join_next() => "a port is not served any more",
    };
    tracing::error!("{broken}: draining, so that whoever started this process starts it anew");
    anyhow::bail!("{broken}; the log says how")
}

/// Waits until everything that is to be served at the start is loaded, or has failed.
async fn all_loaded(manager: &Manager, follower: Option<&Follower>) {
    if let Some(follower) = follower {
        follower.caught_up().await;
    }
    manager.settled().await;
}

/// Counts the files that were read again.
fn register_reloads(metrics: &Registry) -> anyhow::Result<IntCounterVec> {
    let help = "Files of certificates and keys that changed and were read again.";
    Ok(metrics.counters("weir_file_reloads_total", help, &["files", "outcome"])?)
}

/// Anyone may load and unload models where the operator says so and there are no credentials to ask for.
fn open_control(config: &ServerConfig, access: &Access, manager: &Arc<Manager>) -> ControlPlane {
    match config.control_allowed_remote && !access.takes_credentials() {
        true => ControlPlane::open(Arc::clone(manager)),
        false => ControlPlane::new(Arc::clone(manager)),
    }
}

/// What the doors lead to.
struct Doors<'a> {
    engine: &'a Arc<Engine>,
    control: &'a Arc<ControlPlane>,
    access: &'a Arc<Access>,
    metrics: Registry,
}

/// Starts to load what the configuration names.
pub(super) async fn start_manager(
    config: &Config,
    runtime: Arc<Runtime>,
    engine: Arc<Engine>,
) -> anyhow::Result<Arc<Manager>> {
    let prober = start_prober(config, &runtime).map(Arc::new);
    let backend: Arc<dyn Backend> = Arc::new(OnnxBackend::new(runtime));
    let models = config.models.clone();
    // Reads folders: not on an async thread.
    let started = tokio::task::spawn_blocking(move || match prober {
        Some(prober) => Manager::start_probed(models, backend, prober, engine),
        None => Manager::start(models, backend, engine),
    });
    Ok(started.await??)
}

/// Who tries unknown models in a child process of this program, unless that is switched off.
fn start_prober(config: &Config, runtime: &Runtime) -> Option<Prober> {
    let options = config.runtime.probe?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let children_max = if config.models.load_threads == 0 { cores } else { config.models.load_threads };
    let cache = config.runtime.cache_dir.as_ref().map(|folder| folder.join("verdicts"));
    Some(make_prober(options, runtime, children_max, cache))
}

/// A prober whose children are this program.
pub(super) fn make_prober(
    options: ProbeOptions,
    runtime: &Runtime,
    children_max: usize,
    cache: Option<PathBuf>,
) -> Prober {
    Prober::new(ProberSettings {
        program: PathBuf::from("/proc/self/exe"),
        arguments: vec!["probe".to_owned()],
        library: runtime.library_path().to_owned(),
        build_info: runtime.build_info().to_owned(),
        limits: ProbeLimits { memory_bytes: options.memory_max, cpu: options.timeout, wall: options.timeout },
        children_max,
        cache,
    })
}

fn start_doors(config: &Config, listeners: Listeners, doors: Doors<'_>) -> (ShutdownHandle, JoinSet<()>) {
    let Doors { engine, control, access, metrics } = doors;
    let (handle, signal) = shutdown_channel();
    let in_flight = InFlight::new(config.limits.requests_in_flight_max, config.limits.bytes_in_flight_max);
    let mut servers = JoinSet::new();
    let http = HttpDoor {
        engine: Arc::clone(engine),
        control: Arc::clone(control),
        access: Arc::clone(access),
        events: Some(EventsDoor { shutdown: signal.clone() }),
        limits: config.limits.clone(),
        in_flight: in_flight.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let grpc = GrpcDoor {
        engine: Arc::clone(engine),
        control: Arc::clone(control),
        access: Arc::clone(access),
        limits: config.limits.clone(),
        in_flight,
        version: env!("CARGO_PKG_VERSION"),
    };
    servers.spawn(http.serve(listeners.http, signal.clone()));
    servers.spawn(grpc.serve(listeners.grpc, signal.clone()));
    let limits = config.limits.clone();
    let mut metrics = MetricsDoor::new(metrics);
    if access.asks_all() && !config.access.open_metrics {
        metrics = metrics.for_readers(Arc::clone(access));
    }
    servers.spawn(async move { metrics.serve(listeners.metrics, &limits, signal).await });
    (handle, servers)
}

/// Drains and ends. A second signal, or the end of the grace period, cuts what is left.
async fn end(
    config: &ServerConfig,
    engine: &Engine,
    follower: Option<&Follower>,
    handle: ShutdownHandle,
    mut servers: JoinSet<()>,
    mut signals: Signals,
) {
    engine.announce_drain();
    if let Some(follower) = follower {
        // What is loaded is served to the end; nothing new is loaded.
        follower.stop().await;
    }
    let reason = tokio::select! {
        () = tokio::time::sleep(config.drain_delay) => None,
        _ = signals.next() => Some("a second signal"),
    };
    engine.begin_drain();
    handle.drain();
    let reason = match reason {
        Some(reason) => Some(reason),
        None => tokio::select! {
            () = all_ended(&mut servers) => None,
            () = only_silence(engine) => Some("they have nothing in flight"),
            () = tokio::time::sleep(config.grace_period) => Some("the grace period is over"),
            _ = signals.next() => Some("a second signal"),
        },
    };
    if let Some(reason) = reason {
        tracing::info!(reason, "cutting the connections that are left");
        handle.end();
        if tokio::time::timeout(RUNTIME_END, all_ended(&mut servers)).await.is_err() {
            tracing::warn!("some connections did not end");
        }
    }
    tracing::info!("stopped");
}

async fn all_ended(servers: &mut JoinSet<()>) {
    while servers.join_next().await.is_some() {}
}

/// Waits until every request is answered and the answers have had time to leave. A client that holds a stream open
/// would keep the process for the whole grace period otherwise.
async fn only_silence(engine: &Engine) {
    engine.idle().await;
    tokio::time::sleep(SILENCE).await;
}

/// Opens ONNX Runtime.
pub(super) fn start_runtime(options: &RuntimeOptions) -> anyhow::Result<Arc<Runtime>> {
    let library = options.library.as_deref();
    let settings = RuntimeSettings {
        library: library.map_or(LibrarySource::Bundled, |path: &Path| LibrarySource::Path(path.to_owned())),
        arena_bytes_max: options.arena_memory_max,
        log: RuntimeLog::Tracing,
    };
    Ok(Runtime::start(&settings)?)
}
