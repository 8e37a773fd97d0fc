//! Makes what is served agree with what is wanted: what lies in the repository, or what the repository API asked for.
//!
//! ```text
//!  poller ──┐                               loader threads (bounded)
//!  load() ──┼─► Record{target, wanted} ─► queue of names ─► reconcile one model:
//!  unload()─┘        (one per model)                        settings ─► load what is new ─► publish (one store)
//! ```
//!
//! A model of a registry has a target of its own kind: `deployed`.
//!
//! Each model has one target and one worker at a time: crossing orders about a model are carried out one after the
//! other, and only the last of those that wait. A version that does not load changes nothing that is served.

mod config;
mod failure;
mod record;
mod worker;
mod reconcile;
mod deployed;
mod deploy;
mod upload;
mod poll;

pub use self::config::{ManagerConfig, ModelControl, RepositoryError};
pub use self::deploy::NameTaken;
pub use self::deployed::{DeployedModel, DeployedStatus, DeployedVersion};
pub use self::failure::Retry;
pub use self::record::{LoadFailure, LoadRequest};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use self::record::{State, Target};
use super::Engine;
use super::Judge;
use super::catalog::{Entry, Status};
use super::examine::{Examiner, ProbeExaminer};
use super::load::Loader;
use super::repository::{ModelFiles, Snapshot, Source, scan};
use crate::backend::Backend;
use crate::backend::probe::Prober;
use crate::model::ModelName;

/// Loads, swaps and unloads. When it is dropped, its threads end after what they are doing; what is served stays.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
}

/// What the manager and its threads share.
#[derive(Debug)]
struct Shared {
    config: ManagerConfig,
    sources: Vec<Source>,
    engine: Arc<Engine>,
    loader: Loader,
    state: Mutex<State>,
    /// Wakes loader threads and the poller.
    wake: Condvar,
    /// Changes whenever a model's order has been carried out.
    finished: watch::Sender<()>,
    /// Numbers folders of uploaded files.
    uploads: AtomicU64,
}

impl Manager {
    /// Looks at the paths and starts to load what is there, on threads of its own.
    ///
    /// # Errors
    /// [`RepositoryError`] when a path cannot be read or a thread cannot be started. A model that cannot be loaded is
    /// no error here: it is in the index, with its reason.
    pub fn start(
        config: ManagerConfig,
        backend: Arc<dyn Backend>,
        engine: Arc<Engine>,
    ) -> Result<Arc<Manager>, RepositoryError> {
        Manager::start_examined(config, backend, None, engine)
    }

    /// The same, but every version is opened by `prober` in a child process first. Without that, no version is known
    /// to have independent rows, and only what is configured to be batched is.
    ///
    /// # Errors
    /// As [`Manager::start`].
    pub fn start_probed(
        config: ManagerConfig,
        backend: Arc<dyn Backend>,
        prober: Arc<Prober>,
        engine: Arc<Engine>,
    ) -> Result<Arc<Manager>, RepositoryError> {
        Manager::start_examined(config, backend, Some(Arc::new(ProbeExaminer::new(prober))), engine)
    }

    /// The first and the longest pause between two tries of what failed for a reason of the moment.
    pub fn retry_pauses(&self) -> (Duration, Duration) {
        self.shared.config.retry_pauses
    }

    /// What it loads for.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    pub(in crate::serving) fn start_examined(
        config: ManagerConfig,
        backend: Arc<dyn Backend>,
        examiner: Option<Arc<dyn Examiner>>,
        engine: Arc<Engine>,
    ) -> Result<Arc<Manager>, RepositoryError> {
        let sources = config.sources()?;
        let snapshot = scan(&sources).map_err(RepositoryError::Scan)?;
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = if config.cores == 0 { machine } else { config.cores };
        let loader = Loader {
            backend,
            examiner,
            cores,
            versions: AtomicUsize::new(0),
            catalog: Arc::clone(&engine.catalog),
            families: engine.metrics.clone(),
            events: engine.events.clone(),
            taps: Arc::clone(&engine.taps),
            judge: OnceLock::new(),
            serial: AtomicU64::new(0),
        };
        let threads = if config.load_threads == 0 { machine } else { config.load_threads };
        let shared = Arc::new(Shared {
            sources,
            engine,
            loader,
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            finished: watch::Sender::new(()),
            uploads: AtomicU64::new(0),
            config,
        });
        let manager = Manager { shared: Arc::clone(&shared) };
        shared.begin(&snapshot);
        for index in 0..threads {
            worker::spawn(&shared, index).map_err(RepositoryError::Thread)?;
        }
        if shared.config.control == ModelControl::Poll {
            poll::spawn(&shared, snapshot).map_err(RepositoryError::Thread)?;
        }
        Ok(Arc::new(manager))
    }

    /// Has `judge` look at versions that come with golden outputs, before they take traffic. Only the first call counts.
    pub fn judge_by(&self, judge: Arc<dyn Judge>) {
        self.shared.loader.judge.get_or_init(|| judge);
    }

    /// The mode in force.
    pub fn control(&self) -> ModelControl {
        self.shared.config.control
    }

    /// Where uploaded model files may be written; `None` when uploads are not taken.
    pub fn takes_uploads(&self) -> bool {
        self.shared.config.upload_folder.is_some()
    }

    /// Waits until everything that was ordered so far is loaded or has failed.
    pub async fn settled(&self) {
        let mut finished = self.shared.finished.subscribe();
        loop {
            finished.mark_unchanged();
            if self.shared.state.lock().is_settled() {
                return;
            }
            if finished.changed().await.is_err() {
                return;
            }
        }
    }

    /// Loads or reloads `model` and waits until it is served, or not. A caller that gives up does not stop the load.
    pub async fn load(&self, model: &ModelName, request: LoadRequest) -> Result<(), LoadFailure> {
        self.order(model, Target::Requested(Arc::new(request))).await
    }

    /// Takes every version of `model` out of service. Requests that run finish.
    pub async fn unload(&self, model: &ModelName) -> Result<(), LoadFailure> {
        self.order(model, Target::Unloaded).await
    }

    async fn order(&self, model: &ModelName, target: Target) -> Result<(), LoadFailure> {
        let (tx, rx) = oneshot::channel();
        self.shared.state.lock().order(model, target, Some(tx));
        self.shared.wake.notify_all();
        // An error means that the manager has been stopped meanwhile.
        rx.await.unwrap_or(Err(LoadFailure::Stopped))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// Orders what is to be served from the start, and notes the rest.
    fn begin(&self, snapshot: &Snapshot) {
        for warning in &snapshot.warnings {
            tracing::warn!("{warning}");
        }
        let starts = |name: &ModelName| {
            self.config.control != ModelControl::Explicit
                || self.config.startup_models.iter().any(|wanted| wanted == "*" || *wanted == **name)
        };
        let mut state = self.state.lock();
        for (name, files) in &snapshot.models {
            self.engine.catalog.set(name, Some(not_loaded(files, starts(name))));
            if starts(name) {
                state.order(name, Target::Files(files.clone()), None);
            }
        }
        drop(state);
        for name in self.config.startup_models.iter().filter(|name| *name != "*") {
            if let Ok(name) = name.parse::<ModelName>()
                && !snapshot.models.contains_key(&name)
                && self.config.control == ModelControl::Explicit
            {
                tracing::error!(model = %name, "the model is not in the repository");
                let reason = "not in the repository".to_owned();
                let entry = Entry { required: true, versions: BTreeMap::new(), reason };
                self.engine.catalog.set(&name, Some(entry));
            }
        }
        self.engine.decide_ready();
    }
}

/// What the index says of a model that nobody has loaded.
fn not_loaded(files: &ModelFiles, required: bool) -> Entry {
    let reason = if required { "" } else { "not loaded" };
    let status = |_| {
        let mut status = Status::ended(reason);
        if required {
            status.state = super::ServableState::Start;
        }
        status
    };
    Entry {
        required,
        versions: files.versions.keys().map(|&version| (version, status(version))).collect(),
        reason: "the model has no version folders".to_owned(),
    }
}
