//! Takes labels: checked by the caller, on the local disk before they are acknowledged, in the object store after that.
//!
//! ```text
//! append: known already? ──► frame in the current segment, fsync ──► acknowledged
//! flush:  current segment closed, a new one made ──► each closed one: Parquet by model and day (Create) ──► deleted
//! ```
//!
//! A flush that is cut short anywhere is done again from the segment, with the same names and the same bytes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::error::LabelError;
use super::files::{self, Received};
use super::label::Label;
use super::log::{self, Batch, Segment};
use super::table::{day, hex};
use crate::model::ModelName;

/// Labels whose repetition is noticed at once; older ones are merged away by whoever reads.
const RECENT_MAX: usize = 1 << 18;
/// Callers that wait for the disk at a time.
const CALLERS_MAX: usize = 64;

/// How labels are kept.
#[derive(Debug, Clone)]
pub struct LabelStoreOptions {
    /// The name of this server in names of files: letters, digits and `-`, another one for each that shares the store.
    pub replica: String,
    /// Where the log lies. Only one process may use it.
    pub folder: PathBuf,
    /// Most bytes of labels that wait for the store.
    pub log_bytes_max: u64,
    /// A segment of the log is closed when it has so many bytes.
    pub segment_bytes_max: u64,
    /// How often labels go to the store.
    pub interval: Duration,
}

impl Default for LabelStoreOptions {
    fn default() -> Self {
        LabelStoreOptions {
            replica: "local".to_owned(),
            folder: PathBuf::from("labels-log"),
            log_bytes_max: 256 << 20,
            segment_bytes_max: 8 << 20,
            interval: Duration::from_secs(60),
        }
    }
}

/// What became of labels that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// New ones; they are on the disk.
    pub accepted: usize,
    /// Those that are known already.
    pub duplicates: usize,
}

/// Keeps labels.
#[derive(Debug)]
pub struct LabelStore {
    store: Arc<dyn ObjectStore>,
    options: LabelStoreOptions,
    inner: Arc<Mutex<Inner>>,
    callers: Semaphore,
    /// One flush at a time.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    current: Segment,
    /// Closed segments that the store does not have, with their bytes.
    closed: BTreeMap<u64, u64>,
    recent: Recent,
    last_received_us: i64,
}

impl LabelStore {
    /// Opens the log in its folder (made when it is missing), with what a crash has left there. Blocking.
    ///
    /// # Errors
    /// [`LabelError::Log`].
    pub fn open(store: Arc<dyn ObjectStore>, options: LabelStoreOptions) -> Result<LabelStore, LabelError> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder).map_err(|error| LabelError::log(folder, error))?;
        let mut closed = BTreeMap::new();
        let (mut recent, mut last_received_us) = (Recent::default(), 0);
        let segments = log::segments(folder)?;
        // Numbers start at the time, so that a folder that was lost does not bring back old names of files.
        let now = u64::try_from(chrono::Utc::now().timestamp_micros()).unwrap_or_default();
        let next = segments.last().map_or(now, |(last, _)| now.max(last + 1));
        for (number, bytes) in segments {
            for batch in log::read(folder, number)? {
                last_received_us = last_received_us.max(batch.received_us);
                batch.labels.iter().for_each(|label| recent.insert(&batch.model, label));
            }
            closed.insert(number, bytes);
        }
        let current = Segment::create(folder, next)?;
        let inner = Arc::new(Mutex::new(Inner { current, closed, recent, last_received_us }));
        Ok(LabelStore {
            store,
            options,
            inner,
            callers: Semaphore::new(CALLERS_MAX),
            flushing: tokio::sync::Mutex::new(()),
        })
    }

    /// The object store below, where captured rows lie as well.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Takes labels of `model` that were [checked](Label::check). When it returns they are on the disk.
    ///
    /// # Errors
    /// [`LabelError`]; none of them was taken.
    pub async fn append(&self, model: &ModelName, labels: Vec<Label>) -> Result<Appended, LabelError> {
        let Ok(_permit) = self.callers.try_acquire() else { return Err(LabelError::Busy) };
        let (inner, model, options) = (Arc::clone(&self.inner), model.clone(), self.options.clone());
        on_thread(move || inner.lock().append(&options, model, labels)).await
    }

    /// Sends what waits to the store. Returns how many files were written.
    ///
    /// # Errors
    /// [`LabelError`]; what was not written waits.
    pub async fn flush(&self) -> Result<usize, LabelError> {
        let _one = self.flushing.lock().await;
        let (inner, options) = (Arc::clone(&self.inner), self.options.clone());
        let closed = on_thread(move || inner.lock().close_all(&options)).await?;
        let mut written = 0;
        for number in closed {
            let (folder, replica) = (self.options.folder.clone(), self.options.replica.clone());
            let files = on_thread(move || segment_files(&folder, &replica, number)).await?;
            for (key, bytes) in files {
                self.put(key, bytes).await?;
                written += 1;
            }
            let folder = self.options.folder.clone();
            on_thread(move || log::remove(&folder, number)).await?;
            self.inner.lock().closed.remove(&number);
        }
        Ok(written)
    }

    /// Flushes every [interval](LabelStoreOptions::interval) until `stop`, and once more then.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let is_last = tokio::time::timeout(self.options.interval, stop.as_mut()).await.is_ok();
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "labels wait for the store");
            }
            if is_last {
                return;
            }
        }
    }

    /// Bytes of labels that wait for the store.
    pub fn waiting_bytes(&self) -> u64 {
        self.inner.lock().waiting()
    }

    /// Creates an object. One that is there already with the same bytes is from an earlier try.
    async fn put(&self, key: String, bytes: Bytes) -> Result<(), LabelError> {
        let failed = |source| LabelError::Store { key: key.clone(), source };
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = Path::from(key.as_str());
        match self.store.put_opts(&path, PutPayload::from(bytes.clone()), create()).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        let there = self.store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        if there == bytes {
            return Ok(());
        }
        // Another server uses this name of a replica: its labels stay, and so do these.
        let digest = hex(&Sha256::digest(&bytes));
        let other =
            key.replace(".parquet", &format!("-{}.parquet", digest.chars().take(16).collect::<String>()));
        tracing::warn!(key, other, "a file of labels is there already with other labels");
        match self.store.put_opts(&Path::from(other.as_str()), PutPayload::from(bytes), create()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Runs what waits for the disk where waiting is allowed.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabelError> + Send + 'static,
) -> Result<T, LabelError> {
    let lost = |error: tokio::task::JoinError| {
        LabelError::log(std::path::Path::new(""), std::io::Error::other(error))
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

impl Inner {
    fn waiting(&self) -> u64 {
        self.current.len() + self.closed.values().sum::<u64>()
    }

    fn append(
        &mut self,
        options: &LabelStoreOptions,
        model: ModelName,
        labels: Vec<Label>,
    ) -> Result<Appended, LabelError> {
        let sent = labels.len();
        let mut within = HashSet::new();
        let is_new = |label: &Label| {
            let hash = hash(&model, label);
            !self.recent.set.contains(&hash) && within.insert(hash)
        };
        let labels: Vec<Label> = labels.into_iter().filter(is_new).collect();
        let appended = Appended { accepted: labels.len(), duplicates: sent - labels.len() };
        if labels.is_empty() {
            return Ok(appended);
        }
        let waiting = self.waiting();
        if waiting >= options.log_bytes_max {
            return Err(LabelError::Full { bytes: waiting });
        }
        if self.current.is_torn() || self.current.len() >= options.segment_bytes_max {
            self.close(options)?;
        }
        // Later batches are later, whatever the clock does.
        let received_us = chrono::Utc::now().timestamp_micros().max(self.last_received_us + 1);
        let batch = Batch { model, received_us, labels };
        self.current.append(&batch)?;
        self.last_received_us = received_us;
        batch.labels.iter().for_each(|label| self.recent.insert(&batch.model, label));
        Ok(appended)
    }

    /// Closes the current segment and makes the next one.
    fn close(&mut self, options: &LabelStoreOptions) -> Result<(), LabelError> {
        let next = Segment::create(&options.folder, self.current.number + 1)?;
        let closed = std::mem::replace(&mut self.current, next);
        self.closed.insert(closed.number, closed.len());
        Ok(())
    }

    /// Closes what has labels. Returns all segments that the store does not have.
    fn close_all(&mut self, options: &LabelStoreOptions) -> Result<Vec<u64>, LabelError> {
        if self.current.len() > 0 {
            self.close(options)?;
        }
        Ok(self.closed.keys().copied().collect())
    }
}

/// The Parquet files that a closed segment makes.
fn segment_files(
    folder: &std::path::Path,
    replica: &str,
    number: u64,
) -> Result<Vec<(String, Bytes)>, LabelError> {
    let mut by_place: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    for batch in log::read(folder, number)? {
        let place = format!("labels/model={}/date={}", batch.model, day(batch.received_us));
        let received_us = batch.received_us;
        let labels = batch.labels.into_iter().map(|label| Received { label, received_us });
        by_place.entry(place).or_default().extend(labels);
    }
    let file = |(place, labels): (String, Vec<Received>)| {
        let key = format!("{place}/{replica}-{number}.parquet");
        let bytes = files::encode(&labels).map_err(|error| LabelError::damaged(&key, error))?;
        Ok((key, bytes))
    };
    by_place.into_iter().map(file).collect()
}

/// The newest labels by their hash, oldest out first.
#[derive(Debug, Default)]
struct Recent {
    set: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Recent {
    fn insert(&mut self, model: &ModelName, label: &Label) {
        let hash = hash(model, label);
        if !self.set.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// Of all that a client sends of a label.
fn hash(model: &ModelName, label: &Label) -> u128 {
    let mut hasher = Sha256::new();
    let time = label.time_us.map_or_else(String::new, |time| time.to_string());
    let row = label.row.to_string();
    for part in [&**model, &label.request_id, &row, &label.value.to_json(), &time, &label.source] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest.iter().take(16).fold(0, |all, byte| (all << 8) | u128::from(*byte))
}
