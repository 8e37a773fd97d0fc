//! Capture as the rest of the program sees it: started once, asked for taps, configured live, stopped at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;

use super::ledger::{Ledger, Recovered, Totals};
use super::metrics::CaptureMetrics;
use super::privacy::Hasher;
use super::reason;
use super::sealed::{Sealed, SealedSegment};
use super::settings::{CaptureError, CaptureSettings};
use super::shared::{Lane, OutlierHook, Shared, Waiting};
use super::ship::{Shipper, spool_path};
use super::tap::{CaptureTap, TapState};
use super::writer::{self, Writer};
use crate::infer::{Tap, TapSource, TappedVersion};
use crate::metrics::Registry;
use crate::model::ModelName;
use crate::model::monitoring::{CaptureConfig, CaptureMode};

/// Captures. Dropped without [`Capture::stop`], its threads go on until the process ends.
#[derive(Debug)]
pub struct Capture {
    pub(super) shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writers: Vec<(JoinHandle<()>, mpsc::Receiver<()>)>,
    shipper: (JoinHandle<()>, mpsc::Receiver<()>),
}

/// How capture is.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptureStatus {
    /// By model.
    pub models: BTreeMap<String, ModelStatus>,
    /// Observations that wait for a writer.
    pub queue: usize,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Bytes of the log and of files that wait.
    pub disk_bytes: u64,
    /// Segments that wait for the store.
    pub waiting_segments: usize,
    /// Age of the oldest row that is not in the store.
    pub lag: Duration,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// How the capture of one model is. Rows are since its folder was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelStatus {
    /// The promise, of each version that is served.
    pub modes: BTreeMap<u64, CaptureMode>,
    /// Rows that were to be written.
    pub accepted: u64,
    /// Rows that were.
    pub written: u64,
    /// Rows that were not, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Capture {
    /// Takes the folder, recovers what an earlier process left in it, and begins.
    ///
    /// # Errors
    /// [`CaptureError`]: the folder is in use or cannot be used, the key cannot be read, a setting cannot be used.
    pub fn start(settings: CaptureSettings, registry: &Registry) -> Result<Arc<Capture>, CaptureError> {
        check(&settings)?;
        std::fs::create_dir_all(&settings.folder).map_err(CaptureError::io(settings.folder.display()))?;
        let (ledger, recovered) = Ledger::open(&settings.folder)?;
        let metrics = CaptureMetrics::register(registry)?;
        metrics.torn.inc_by(recovered.torn);
        let key = settings.hmac_key_file.clone().unwrap_or_else(|| settings.folder.join("hmac.key"));
        let hasher = Hasher::open(&key)?;
        let store = match &settings.store {
            Some(store) => Arc::clone(store),
            None => local(&settings.folder.join("data"))?,
        };
        let shared = Arc::new(Shared {
            lanes: Lane::ALL.map(|_| Waiting::new(&settings)),
            numbers: AtomicU64::new(ledger.last()),
            models: Mutex::new(counts(&metrics, &ledger, &recovered)),
            hasher,
            metrics,
            sealed: Sealed::default(),
            wal_bytes: AtomicU64::new(recovered.segments.iter().map(|found| found.scan.good).sum()),
            spool_bytes: AtomicU64::new(spooled(&settings.folder, &recovered)?),
            taps: Mutex::default(),
            configs: Mutex::default(),
            hook: OnceLock::new(),
            last_error: Mutex::default(),
            stopping: AtomicBool::new(false),
            #[cfg(test)]
            is_broken: AtomicBool::new(false),
            settings,
        });
        for found in recovered.segments {
            let began_us = found.scan.origin.map_or(0, |origin| origin.began_us);
            // Whose rows they were is not known any more, and nothing waits for them.
            let (number, path, lane) = (found.number, found.path, Lane::Spare);
            shared.sealed.push(SealedSegment { number, path, began_us, lane });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(CaptureError::io("a runtime"))?;
        let shipper = Shipper { shared: Arc::clone(&shared), ledger, store, runtime };
        let mut writers = Vec::new();
        for lane in Lane::ALL {
            let writer = Writer::new(Arc::clone(&shared), lane);
            let thread = spawn("weir-capture", move || writer.run())?;
            shared.lane(lane).writer.get_or_init(|| thread.0.thread().clone());
            writers.push(thread);
        }
        let shipper = spawn("weir-ship", move || shipper.run())?;
        Ok(Arc::new(Capture { shared, threads: Mutex::new(Some(Threads { writers, shipper })) }))
    }

    /// The tap of a version that is loaded; `None` when its configuration cannot be used, which is logged.
    pub fn tap(&self, version: &TappedVersion) -> Option<Arc<dyn Tap>> {
        let current = self.shared.current(version);
        let current = current.inspect_err(|error| {
            tracing::error!(model = %version.id.name, version = %version.id.version, %error, "nothing is captured");
            self.shared.failed(error);
        });
        let counts = self.shared.counts(&version.id.name);
        let state = Arc::new(TapState::new(version.clone(), counts, current.ok()?));
        self.shared.taps.lock().push(Arc::clone(&state));
        self.shared.wake();
        Some(Arc::new(CaptureTap { state, shared: Arc::clone(&self.shared) }))
    }

    /// Captures `model` as `config` says from now on, whatever its versions say; `None` for what they say.
    ///
    /// # Errors
    /// [`CaptureError::Invalid`]; nothing has changed then.
    pub fn configure(&self, model: &ModelName, config: Option<CaptureConfig>) -> Result<(), CaptureError> {
        if config.as_ref().and_then(|config| config.rate).is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(CaptureError::Invalid("a rate is 0 to 1".to_owned()));
        }
        let taps: Vec<Arc<TapState>> = self.shared.taps.lock().clone();
        let set = |config: Option<CaptureConfig>| match config {
            Some(config) => self.shared.configs.lock().insert(model.to_string(), config),
            None => self.shared.configs.lock().remove(&**model),
        };
        let before = set(config);
        let concerned: Vec<_> = taps.iter().filter(|tap| tap.version.id.name == *model).collect();
        let made: Result<Vec<_>, _> = concerned.iter().map(|tap| self.shared.current(&tap.version)).collect();
        match made {
            Ok(made) => {
                for (tap, current) in concerned.into_iter().zip(made) {
                    tap.set(current);
                }
                self.shared.wake();
                Ok(())
            }
            Err(error) => {
                set(before);
                Err(error)
            }
        }
    }

    /// What a model is captured as because of [`Capture::configure`].
    pub fn configured(&self, model: &ModelName) -> Option<CaptureConfig> {
        self.shared.configs.lock().get(&**model).cloned()
    }

    /// Has `hook` say which requests lie outside of what their model was trained on. Only the first call counts.
    pub fn keep_outliers(&self, hook: OutlierHook) {
        self.shared.hook.get_or_init(|| hook);
    }

    /// How capture is now.
    pub fn status(&self) -> CaptureStatus {
        let shared = &self.shared;
        shared.taps.lock().iter().for_each(|tap| tap.settle());
        let mut models: BTreeMap<String, ModelStatus> = BTreeMap::new();
        for (model, counts) in &*shared.models.lock() {
            let (accepted, written, dropped) = counts.read();
            let dropped = reason::by_word(&dropped);
            models.insert(model.clone(), ModelStatus { modes: BTreeMap::new(), accepted, written, dropped });
        }
        for tap in &*shared.taps.lock() {
            let status = models.entry(tap.version.id.name.to_string()).or_default();
            status.modes.insert(tap.version.id.version.get(), tap.current.load().rules.mode);
        }
        CaptureStatus {
            models,
            queue: shared.lanes.iter().map(|lane| lane.queue.len()).sum(),
            wal_bytes: shared.wal_bytes.load(std::sync::atomic::Ordering::Relaxed),
            disk_bytes: shared.disk_bytes(),
            waiting_segments: shared.sealed.waiting().0,
            lag: writer::lag(shared),
            last_error: shared.last_error.lock().clone(),
        }
    }

    /// Takes no more, writes what waits, and uploads what it can within `bound`. What is left is uploaded by the next
    /// process that uses the folder. Blocks; the second call does nothing.
    pub fn stop(&self, bound: Duration) {
        let Some(threads) = self.threads.lock().take() else { return };
        let ends = Instant::now() + bound;
        self.shared.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        self.shared.wake();
        threads.writers.into_iter().for_each(|writer| join(writer, ends));
        writer::abandon(&self.shared);
        // Its last try ends a little before, so that the folder is free when this returns.
        self.shared.sealed.end(ends - bound / 4);
        join(threads.shipper, ends);
    }
}

impl TapSource for Capture {
    fn tap(&self, version: &TappedVersion, _folder: Option<&Path>) -> Option<Arc<dyn Tap>> {
        Capture::tap(self, version)
    }
}

/// What stands in `key_hash` for a key, by the key of hashes in `file`.
///
/// # Errors
/// [`CaptureError`] when there is no such file.
pub fn key_hash(file: &Path, key: &str) -> Result<String, CaptureError> {
    if !file.exists() {
        return Err(CaptureError::Invalid(format!("{}: there is no key of hashes", file.display())));
    }
    Ok(Hasher::open(file)?.hash(key.as_bytes()))
}

/// A store in a folder, which is made when it is missing.
fn local(folder: &Path) -> Result<Arc<dyn ObjectStore>, CaptureError> {
    std::fs::create_dir_all(folder).map_err(CaptureError::io(folder.display()))?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(CaptureError::store(folder.display()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

fn check(settings: &CaptureSettings) -> Result<(), CaptureError> {
    let is_word = |text: &str| {
        !text.is_empty()
            && text.len() <= 128
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    if !is_word(&settings.replica) {
        let reason = "a replica's name is 1 to 128 letters, digits, '.', '_' or '-'";
        return Err(CaptureError::Invalid(reason.to_owned()));
    }
    if !(0.0..=1.0).contains(&settings.rate) {
        return Err(CaptureError::Invalid("a rate is 0 to 1".to_owned()));
    }
    Ok(())
}

/// What is counted of each model: what is done, and what lies in segments.
fn counts(
    metrics: &CaptureMetrics,
    ledger: &Ledger,
    recovered: &Recovered,
) -> BTreeMap<String, Arc<super::metrics::ModelCounts>> {
    let mut totals: BTreeMap<String, Totals> = ledger.totals().clone();
    for found in &recovered.segments {
        if let Some(origin) = &found.scan.origin {
            totals.entry(origin.model.clone()).or_default().add(&found.scan);
        }
    }
    totals.into_iter().map(|(model, totals)| (model.clone(), metrics.model(&model, &totals))).collect()
}

/// Bytes of files in the spool that have a segment. Others are removed: their segment is done, or they were not finished.
fn spooled(folder: &Path, recovered: &Recovered) -> Result<u64, CaptureError> {
    let known: Vec<_> = recovered.segments.iter().map(|found| spool_path(folder, found.number)).collect();
    let mut bytes = 0;
    let spool = folder.join("spool");
    for entry in std::fs::read_dir(&spool).map_err(CaptureError::io(spool.display()))? {
        let path = entry.map_err(CaptureError::io(spool.display()))?.path();
        if known.contains(&path) {
            bytes += std::fs::metadata(&path).map_err(CaptureError::io(path.display()))?.len();
        } else {
            super::ledger::remove(&path)?;
        }
    }
    Ok(bytes)
}

/// A thread, and what becomes ready when it has ended, however it did.
fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<(JoinHandle<()>, mpsc::Receiver<()>), CaptureError> {
    let (ended, ends) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ended = ended;
        work();
    });
    Ok((thread.map_err(CaptureError::io(name))?, ends))
}

fn join((thread, ended): (JoinHandle<()>, mpsc::Receiver<()>), ends: Instant) {
    let left = ends.saturating_duration_since(Instant::now());
    // Nothing is ever sent: the channel closes when the thread ends.
    if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(thread = thread.thread().name(), "did not end in time");
        return;
    }
    if thread.join().is_err() {
        tracing::error!("a thread of capture ended in a panic");
    }
}
