//! How traffic is watched, from the settings: where captured rows and profiles lie, and the names of this process there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::config::Config;
use super::follow::replica;
use super::registry::common::store_options;
use super::settings::{Origin, Settings, SettingsProblem};
use crate::capture::{Capture, CaptureSettings};
use crate::control::monitoring::Monitoring;
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
}

impl MonitoringConfig {
    /// The meaning of the sections `monitoring`, `capture` and `drift`; `None` without a folder.
    pub(super) fn new(settings: &Settings) -> Result<Option<MonitoringConfig>, SettingsProblem> {
        let mode = settings.text("capture.mode")?;
        let mode = CaptureMode::WORDS.iter().position(|word| *word == mode);
        let mode = mode.and_then(|at| CaptureMode::ALL.get(at)).copied().unwrap_or_default();
        let Some(folder) = settings.optional_text("monitoring.dir")?.map(PathBuf::from) else {
            let asked = ["capture.mode", "capture.store"];
            let asked =
                asked.iter().find(|path| settings.get(path).is_ok_and(|s| s.origin != Origin::Default));
            return match asked {
                Some(path) if mode != CaptureMode::Off || *path == "capture.store" => {
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
            disk_bytes_max: settings.number("capture.disk_bytes_max")?,
            retention_days: Some(days).filter(|days| *days > 0),
            hmac_key_file: settings.optional_text("capture.hmac_key_file")?.map(PathBuf::from),
            ..CaptureSettings::default()
        };
        Ok(Some(MonitoringConfig { folder, store, capture }))
    }

    /// Makes the folder, and completes what only a process knows: its name, and the opened store.
    pub(super) fn prepare(&mut self, name: Option<&str>) -> anyhow::Result<Store> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot keep captured rows in {}", self.folder.display()))?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => remembered_name(&self.folder)?,
        };
        let store = Store::open(&self.store, &store_options())?;
        self.capture.replica = name;
        self.capture.store = Some(Arc::clone(store.raw()));
        Ok(store)
    }
}

/// Starts to watch what `engine` will serve.
pub(super) fn start_monitoring(
    config: &Config,
    engine: &Engine,
    metrics: &Metrics,
) -> anyhow::Result<Option<Arc<Monitoring>>> {
    let Some(mut monitoring) = config.monitoring.clone() else { return Ok(None) };
    let name = config.registry.as_ref().and_then(|registry| registry.replica.as_deref());
    monitoring.prepare(name)?;
    let capture = Capture::start(monitoring.capture, metrics)?;
    let monitoring = Monitoring::new(capture);
    engine.watch(Arc::clone(&monitoring) as Arc<dyn TapSource>);
    Ok(Some(monitoring))
}

/// Writes what waits, off the async threads.
pub(super) async fn end_monitoring(monitoring: Option<Arc<Monitoring>>) {
    let Some(monitoring) = monitoring else { return };
    let ended = tokio::task::spawn_blocking(move || monitoring.stop(END));
    if ended.await.is_err() {
        tracing::error!("what watches traffic did not end well");
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
