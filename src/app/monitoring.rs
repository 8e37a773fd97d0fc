//! How traffic is watched, from the settings: where captured rows and profiles lie, and the names of this process there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::config::Config;
use super::follow::replica;
use super::registry::common::store_options;
use super::settings::{Origin, Settings, SettingsProblem};
use crate::capture::labels::{LabelStore, LabelStoreOptions};
use crate::capture::{Capture, CaptureSettings};
use crate::control::ControlPlane;
use crate::control::announce::Announcer;
use crate::control::feedback::FeedbackMetrics;
use crate::control::follow::Follower;
use crate::control::monitoring::{self, Monitoring};
use crate::drift::config::DriftConfig;
use crate::drift::monitor::Monitor;
use crate::drift::share::Share;
use crate::infer::TapSource;
use crate::metrics::Registry as Metrics;
use crate::model::monitoring::CaptureMode;
use crate::registry::Store;
use crate::serving::Engine;

/// How long writing what waits may take at the end. What is not uploaded by then is uploaded after the next start.
const END: Duration = Duration::from_secs(10);

/// What is watched, and where it is kept.
#[derive(Debug, Clone)]
pub(super) struct MonitoringConfig {
    /// The folder of capture and drift.
    pub(super) folder: PathBuf,
    /// Where captured files and labels go.
    pub(super) store: String,
    pub(super) capture: CaptureSettings,
    /// `None` when no version is watched for drift.
    pub(super) drift: Option<DriftConfig>,
    /// Where panes are exchanged with other hosts.
    drift_store: Option<String>,
}

impl MonitoringConfig {
    /// The meaning of the sections `monitoring`, `capture` and `drift`; `None` without a folder.
    pub(super) fn new(settings: &Settings) -> Result<Option<MonitoringConfig>, SettingsProblem> {
        let mode = settings.text("capture.mode")?;
        let mode = CaptureMode::WORDS.iter().position(|word| *word == mode);
        let mode = mode.and_then(|at| CaptureMode::ALL.get(at)).copied().unwrap_or_default();
        let Some(folder) = settings.optional_text("monitoring.dir")?.map(PathBuf::from) else {
            let asked = ["capture.mode", "capture.store", "drift.store"];
            let asked =
                asked.iter().find(|path| settings.get(path).is_ok_and(|s| s.origin != Origin::Default));
            return match asked {
                Some(path) if mode != CaptureMode::Off || *path != "capture.mode" => {
                    Err(settings.problem(path, "needs \"monitoring.dir\""))
                }
                _ => Ok(None),
            };
        };
        let store = settings.optional_text("capture.store")?.map(str::to_owned);
        let store = store.unwrap_or_else(|| folder.join("store").display().to_string());
        let days: u32 = settings.number("capture.retention_days")?;
        let capture = CaptureSettings {
            folder: folder.join("capture"),
            mode,
            rate: settings.real("capture.rate")?,
            rotate_rows: settings.number("capture.rotate_rows")?,
            rotate_bytes: settings.number("capture.rotate_bytes")?,
            rotate_every: settings.duration("capture.rotate_interval")?,
            queue_rows: settings.number("capture.queue_rows")?,
            queue_bytes: settings.number("capture.queue_bytes")?,
            busy_share: settings.real("monitoring.busy_share")?,
            disk_bytes_max: settings.number("capture.disk_bytes_max")?,
            retention_days: Some(days).filter(|days| *days > 0),
            hmac_key_file: settings.optional_text("capture.hmac_key_file")?.map(PathBuf::from),
            ..CaptureSettings::default()
        };
        let drift_store = settings.optional_text("drift.store")?.map(str::to_owned);
        Ok(Some(MonitoringConfig { drift: drift(settings, &folder)?, drift_store, folder, store, capture }))
    }

    /// Makes the folder, and completes what only a process knows: its name, and the opened store.
    pub(super) fn prepare(&mut self, name: Option<&str>) -> anyhow::Result<Store> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot keep captured rows in {}", self.folder.display()))?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => remembered_name(&self.folder)?,
        };
        if let Some(drift) = &mut self.drift {
            drift.replica.clone_from(&name);
        }
        let store = Store::open(&self.store, &store_options())?;
        self.capture.replica = name;
        self.capture.store = Some(Arc::clone(store.raw()));
        Ok(store)
    }
}

fn drift(settings: &Settings, folder: &Path) -> Result<Option<DriftConfig>, SettingsProblem> {
    if !settings.switch("drift.enabled")? {
        return Ok(None);
    }
    Ok(Some(DriftConfig {
        folder: Some(folder.join("drift")),
        pane: settings.duration("drift.pane")?,
        false_alarms_per_week: settings.real("drift.false_alarms_per_week")?,
        queue_rows: settings.number("drift.queue_rows")?,
        queue_bytes: settings.number("drift.queue_bytes")?,
        busy_share: settings.real("monitoring.busy_share")?,
        ..DriftConfig::default()
    }))
}

/// What runs until it is told to stop, and does then what is left.
struct Job(oneshot::Sender<()>, JoinHandle<()>);

impl Job {
    /// Starts what `run` makes of the wait for its end.
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(oneshot::Receiver<()>) -> F) -> Job {
        let (stop, stopped) = oneshot::channel();
        Job(stop, tokio::spawn(run(stopped)))
    }

    /// Lets it end; whether it did in time.
    async fn end(self) -> bool {
        self.0.send(()).ok();
        tokio::time::timeout(END, self.1).await.is_ok()
    }
}

/// What watches the traffic of a server.
pub(super) struct Watch {
    pub(super) monitoring: Arc<Monitoring>,
    /// Labels of what was answered.
    labels: Arc<LabelStore>,
    feedback: FeedbackMetrics,
    /// Sends labels to the store until it is told to stop.
    sending: Job,
    /// Exchanges panes with other hosts.
    sharing: Option<Job>,
}

impl Watch {
    /// Starts to watch what `engine` will serve; `None` where nothing is to be watched.
    pub(super) fn start(
        config: &Config,
        engine: &Engine,
        metrics: &Metrics,
        announcer: Announcer,
    ) -> anyhow::Result<Option<Watch>> {
        let Some(mut watched) = config.monitoring.clone() else { return Ok(None) };
        let name = config.registry.as_ref().and_then(|registry| registry.replica.as_deref());
        let store = watched.prepare(name)?;
        let replica = watched.capture.replica.clone();
        let options = LabelStoreOptions {
            replica: replica.replace(['.', '_'], "-"),
            folder: watched.folder.join("labels"),
            ..LabelStoreOptions::default()
        };
        let labels = Arc::new(LabelStore::open(Arc::clone(store.raw()), options)?);
        let capture = Capture::start(watched.capture, metrics)?;
        let monitoring = Monitoring::new(capture, announcer, replica);
        let mut sharing = None;
        if let Some(drift) = watched.drift {
            if let Some(url) = &watched.drift_store {
                let store = Store::open(url, &store_options())?;
                let share = Share::new(Arc::clone(store.raw()), &drift, metrics)?;
                // Stopped, or the server is gone: both are the end.
                sharing = share.map(|share| Job::start(|stop| share.run(async { drop(stop.await) })));
            }
            let told = Arc::downgrade(&monitoring);
            let tell = move |transition| {
                if let Some(monitoring) = told.upgrade() {
                    monitoring.tell(&transition);
                }
            };
            monitoring.watch_drift(Monitor::start(drift, metrics, Box::new(tell))?);
        }
        engine.watch(Arc::clone(&monitoring) as Arc<dyn TapSource>);
        let sending = Job::start(|stop| Arc::clone(&labels).run(async { drop(stop.await) }));
        let feedback = FeedbackMetrics::register(metrics)?;
        Ok(Some(Watch { monitoring, labels, feedback, sending, sharing }))
    }

    /// Opens its doors.
    pub(super) fn attach(&self, control: &ControlPlane) {
        control.attach_monitoring(Arc::clone(&self.monitoring));
        control.attach_labels(Arc::clone(&self.labels), self.feedback.clone());
    }

    /// Takes baselines from the registry, as soon as it is reached.
    pub(super) async fn follow(monitoring: Arc<Monitoring>, follower: Arc<Follower>) {
        monitoring::follow(monitoring, follower.reached().await).await;
    }

    /// Writes what waits, off the async threads.
    pub(super) async fn end(watch: Option<Watch>) {
        let Some(watch) = watch else { return };
        if !watch.sending.end().await {
            tracing::warn!("labels wait for the store; they are sent after the next start");
        }
        let monitoring = watch.monitoring;
        let ended = tokio::task::spawn_blocking(move || monitoring.stop(END));
        if ended.await.is_err() {
            tracing::error!("what watches traffic did not end well");
        }
        // Last: the open panes have just been written.
        if let Some(sharing) = watch.sharing
            && !sharing.end().await
        {
            tracing::warn!("panes wait for the store; they are sent after the next start");
        }
    }
}

/// The name of whoever uses `folder`: what it writes after a restart must not be taken for another's.
fn remembered_name(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join("replica");
    if let Ok(name) = std::fs::read_to_string(&file)
        && crate::registry::leases::is_replica_name(name.trim())
    {
        return Ok(name.trim().to_owned());
    }
    let name = replica();
    std::fs::write(&file, format!("{name}\n")).with_context(|| file.display().to_string())?;
    Ok(name)
}
