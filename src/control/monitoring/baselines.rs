//! Where baselines come from: a file beside the model, or the registry's newest word on a version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Monitoring;
use crate::drift::baseline::Baseline;
use crate::drift::monitor::Monitor;
use crate::model::{ModelId, ModelName, Version};
use crate::registry::{FileRef, ModelState, Registry, Seen, blobs};

/// A baseline beside `model.onnx`.
pub const BASELINE_FILE: &str = "baseline.json";

/// Longest baseline that is read, in bytes.
pub const BASELINE_BYTES_MAX: u64 = 64 << 20;

/// Time between two looks at the registry. A baseline is no hurry.
const POLL: Duration = Duration::from_secs(2);

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
    let mut seen = Seen::default();
    let mut taken: BTreeMap<(ModelName, Version), String> = BTreeMap::new();
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        // A store that is away is the follower's to tell.
        let Ok(changed) = registry.changed(&mut seen).await else { continue };
        for view in changed {
            monitoring.revisions.lock().insert(view.state.model.clone(), view.state.rev);
            take(&monitoring, &registry, &view.state, &mut taken).await;
        }
    }
}

/// Takes the baselines of a model that are not the ones that were taken.
async fn take(
    monitoring: &Monitoring,
    registry: &Registry,
    state: &ModelState,
    taken: &mut BTreeMap<(ModelName, Version), String>,
) {
    let Ok(monitor) = monitoring.monitor() else { return };
    for (version, found) in &state.versions {
        let key = (state.model.clone(), *version);
        let id = ModelId { name: state.model.clone(), version: *version };
        let Some(file) = &found.baseline else {
            if taken.remove(&key).is_some() {
                monitor.forget(&id);
            }
            continue;
        };
        if taken.get(&key) == Some(&file.sha256) {
            continue;
        }
        match fetch(registry, file).await {
            Ok(baseline) => {
                monitor.set_baseline(&id, baseline);
                tracing::info!(model = %state.model, %version, "compared with the registry's baseline");
            }
            Err(error) => {
                tracing::error!(model = %state.model, %version, error, "the registry's baseline cannot be used");
            }
        }
        // What cannot be used is not tried again before it changes.
        taken.insert(key, file.sha256.clone());
    }
}

async fn fetch(registry: &Registry, file: &FileRef) -> Result<Baseline, String> {
    let bytes = blobs::read_small(registry.store(), file, BASELINE_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| error.to_string())?;
    Baseline::from_bytes(&bytes).map_err(|error| error.to_string())
}
