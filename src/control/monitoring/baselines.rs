//! Where baselines come from: a file beside the model, or the registry's newest word on a version.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::Monitoring;
use crate::drift::baseline::Baseline;
use crate::drift::monitor::Monitor;
use crate::model::{ModelId, ModelName, Version};
use crate::registry::{ModelState, Registry, Seen, blobs};

/// A baseline beside `model.onnx`.
pub const BASELINE_FILE: &str = "baseline.json";

/// Longest baseline that is read, in bytes.
pub const BASELINE_BYTES_MAX: u64 = 64 << 20;

/// Time between two looks at the registry. A baseline is no hurry.
const POLL: Duration = Duration::from_secs(2);

/// Longest time between two tries to read a baseline.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Whether `bytes` are a baseline.
///
/// # Errors
/// Why they are not, for whoever sent them.
pub async fn check_baseline(bytes: bytes::Bytes) -> Result<(), String> {
    // Reading megabytes of sketches takes milliseconds.
    let read = tokio::task::spawn_blocking(move || Baseline::from_bytes(&bytes).map(drop));
    read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Takes the baseline in the version's folder, if there is one. What cannot be used is logged: the version is served all
/// the same.
pub(super) fn from_folder(monitor: &Monitor, id: &ModelId, folder: &Path) {
    let path = folder.join(BASELINE_FILE);
    let Ok(meta) = std::fs::metadata(&path) else { return };
    let taken = match meta.len() {
        0..=BASELINE_BYTES_MAX => std::fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| {
            let baseline = Baseline::from_bytes(&bytes).map_err(|error| error.to_string())?;
            monitor.set_baseline(id, baseline);
            Ok(())
        }),
        bytes => Err(format!("it has {bytes} bytes, more than {BASELINE_BYTES_MAX}")),
    };
    match taken {
        Ok(()) => {
            tracing::info!(model = %id.name, version = %id.version, "compared with the baseline in its folder")
        }
        Err(error) => {
            tracing::error!(model = %id.name, version = %id.version, error, "the baseline in its folder cannot be used");
        }
    }
}

/// Follows the registry's baselines and revisions until the process ends.
pub async fn follow(monitoring: Arc<Monitoring>, registry: Arc<Registry>) {
    let mut baselines = Baselines::new(monitoring, registry);
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        // What a panic was about is asked for again with everything else.
        if AssertUnwindSafe(baselines.look()).catch_unwind().await.is_err() {
            baselines = Baselines::new(baselines.monitoring, baselines.registry);
        }
    }
}

/// What is known of the registry's baselines.
struct Baselines {
    monitoring: Arc<Monitoring>,
    registry: Arc<Registry>,
    seen: Seen,
    /// SHA-256 of what each version is compared with, or of what cannot be used.
    taken: BTreeMap<(ModelName, Version), String>,
    /// Models whose baselines are to be taken.
    due: BTreeMap<ModelName, Due>,
}

/// A model with a baseline that is not taken yet.
struct Due {
    state: Arc<ModelState>,
    at: Instant,
    /// The next pause, should the store not give it.
    pause: Duration,
}

impl Baselines {
    fn new(monitoring: Arc<Monitoring>, registry: Arc<Registry>) -> Baselines {
        let (seen, taken, due) = (Seen::default(), BTreeMap::new(), BTreeMap::new());
        Baselines { monitoring, registry, seen, taken, due }
    }

    async fn look(&mut self) {
        let now = Instant::now();
        // A store that is away is the follower's to tell.
        for view in self.registry.changed(&mut self.seen).await.unwrap_or_default() {
            let (model, state) = (view.state.model.clone(), view.state);
            self.monitoring.revisions.lock().insert(model.clone(), state.rev);
            self.due.insert(model, Due { state, at: now, pause: POLL });
        }
        let models: Vec<ModelName> =
            self.due.iter().filter(|(_, due)| due.at <= now).map(|(model, _)| model.clone()).collect();
        for model in models {
            let Some(mut due) = self.due.remove(&model) else { continue };
            if !self.take(&due.state).await {
                due.at = now + due.pause;
                due.pause = (due.pause * 2).min(PAUSE_MAX);
                self.due.insert(model, due);
            }
        }
    }

    /// Takes the baselines of a model that are not the ones that were taken. False when the store did not give one.
    async fn take(&mut self, state: &ModelState) -> bool {
        let Ok(monitor) = self.monitoring.monitor() else { return true };
        let mut is_whole = true;
        for (version, found) in &state.versions {
            let key = (state.model.clone(), *version);
            let id = ModelId { name: state.model.clone(), version: *version };
            let Some(file) = &found.baseline else {
                if self.taken.remove(&key).is_some() {
                    monitor.forget(&id);
                }
                continue;
            };
            if self.taken.get(&key) == Some(&file.sha256) {
                continue;
            }
            let bytes = match blobs::read_small(self.registry.store(), file, BASELINE_BYTES_MAX).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!(model = %state.model, %version, %error, "the registry's baseline cannot be read; it is asked for again");
                    is_whole = false;
                    continue;
                }
            };
            match Baseline::from_bytes(&bytes) {
                Ok(baseline) => {
                    monitor.set_baseline(&id, baseline);
                    tracing::info!(model = %state.model, %version, "compared with the registry's baseline");
                }
                Err(error) => {
                    tracing::error!(model = %state.model, %version, %error, "the registry's baseline cannot be used");
                }
            }
            // What cannot be used is not tried again before it changes.
            self.taken.insert(key, file.sha256.clone());
        }
        is_whole
    }
}
