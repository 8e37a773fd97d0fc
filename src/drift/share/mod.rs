//! Shares panes with servers on other hosts: a folder and an object store, each holding what the other holds.
//!
//! ```text
//! monitor ──writes──► folder ◄──this──► store ◄──this──► folder ◄──reads── monitor
//!         ◄──reads──                 (a bucket)                   (another host)
//! ```
//!
//! The monitor knows of files only; it reads those of others when it closes a pane. Nothing waits for the store: what it
//! does not take now is sent later. It never looks into a pane, and takes nothing from the store that is not called like one.

mod plan;

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use prometheus::IntCounterVec;

use self::plan::{Asker, Key, Panes, Step, plan};
use super::config::DriftConfig;
use super::pane::write_whole;
use crate::metrics::{MetricsError, Registry};

/// Where panes lie in the store.
const PREFIX: &str = "drift";
/// Longest pane that is fetched.
const PANE_BYTES_MAX: u64 = 64 << 20;
/// Most panes of a side that are looked at.
const PANES_MAX: usize = 1 << 20;
/// Steps at the same time.
const AT_ONCE: usize = 8;
/// How often both sides are compared: twice a pane, within these.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(150));

/// What a step failed of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] io::Error),
    /// More panes than are looked at.
    #[error("the store has more than {PANES_MAX} panes")]
    TooMany,
    /// A path that the store does not take.
    #[error(transparent)]
    Path(#[from] object_store::path::Error),
}

/// What a comparison of both sides did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shared {
    /// Panes that went into the store.
    pub sent: usize,
    /// Panes that came from it.
    pub fetched: usize,
    /// Panes that were taken out of the folder or the store.
    pub removed: usize,
    /// What could not be done, and is tried again.
    pub failed: usize,
}

/// Keeps the folder of one server and a store alike.
#[derive(Debug)]
pub struct Share {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    replica: String,
    retention_us: i64,
    interval: Duration,
    /// Panes that have been on both sides, and still are on one.
    known: BTreeSet<String>,
    panes: IntCounterVec,
}

impl Share {
    /// Shares the folder of `config`; `None` when it keeps nothing on disk.
    ///
    /// # Errors
    /// When its metrics are registered already, which is a defect of this program.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        config: &DriftConfig,
        registry: &Registry,
    ) -> Result<Option<Share>, MetricsError> {
        let help = "Panes that were exchanged with the store, by what became of them";
        let panes = registry.counters("weir_drift_shared_panes_total", help, &["result"])?;
        let Some(folder) = config.folder.clone() else { return Ok(None) };
        Ok(Some(Share {
            store,
            folder,
            replica: config.replica.clone(),
            retention_us: i64::try_from(config.retention.as_micros()).unwrap_or(i64::MAX / 4),
            interval: (config.pane / 2).clamp(INTERVAL.0, INTERVAL.1),
            known: BTreeSet::new(),
            panes,
        }))
    }

    /// Compares both sides again and again until `stop`, and once more then.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let is_last = tokio::time::timeout(self.interval, stop.as_mut()).await.is_ok();
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX / 4);
            if let Err(error) = self.sync(now_us).await {
                self.panes.with_label_values(&["failed"]).inc();
                tracing::warn!(%error, "drift: panes wait for the store");
            }
            if is_last {
                return;
            }
        }
    }

    /// Compares both sides once. `now_us` is the time since 1970.
    ///
    /// # Errors
    /// When a side cannot be listed. A step that fails is counted and logged, and tried again the next time.
    pub async fn sync(&mut self, now_us: i64) -> Result<Shared, ShareError> {
        let folder = self.folder.clone();
        let local = blocking(move || list(&folder)).await?;
        let remote = self.remote().await?;
        let asker = Asker { replica: &self.replica, now_us, retention_us: self.retention_us };
        let steps = plan(&local, &remote, &self.known, asker);
        let is_known = |key: &&Key| remote.contains_key(*key) || self.known.contains(&key.path);
        let here = local.keys().filter(is_known).map(|key| key.path.clone());
        let there = remote.keys().filter(|key| self.known.contains(&key.path)).map(|key| key.path.clone());
        self.known = here.chain(there).collect();
        let (removals, first): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step, Step::Remove(_) | Step::Drop(_)));
        let mut done = self.take(first).await;
        // What replaces them may not be there yet.
        if done.failed == 0 {
            let more = self.take(removals).await;
            done = Shared { removed: more.removed, failed: more.failed, ..done };
        }
        for (result, count) in [
            ("sent", done.sent),
            ("fetched", done.fetched),
            ("removed", done.removed),
            ("failed", done.failed),
        ] {
            self.panes.with_label_values(&[result]).inc_by(count as u64);
        }
        Ok(done)
    }

    async fn take(&mut self, steps: Vec<Step>) -> Shared {
        let results: Vec<(Step, Result<(), ShareError>)> = stream::iter(steps)
            .map(|step| {
                let (store, folder) = (Arc::clone(&self.store), self.folder.clone());
                async move {
                    let result = act(&*store, folder, &step).await;
                    (step, result)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut done = Shared::default();
        for (step, result) in results {
            match (&step, &result) {
                (_, Err(error)) => {
                    done.failed += 1;
                    tracing::warn!(?step, %error, "drift: a pane waits for the store");
                }
                (Step::Send(_), Ok(())) => done.sent += 1,
                (Step::Fetch(_), Ok(())) => done.fetched += 1,
                (Step::Drop(_) | Step::Remove(_), Ok(())) => done.removed += 1,
            }
            // It is on both sides now.
            if let (Step::Send(path) | Step::Fetch(path), Ok(())) = (step, result) {
                self.known.insert(path);
            }
        }
        done
    }

    async fn remote(&self) -> Result<Panes, ShareError> {
        let below = format!("{PREFIX}/");
        let found = self.store.list(Some(&Path::from(PREFIX))).take(PANES_MAX + 1);
        let panes = found.try_filter_map(|meta| {
            let key = meta.location.as_ref().strip_prefix(&below).and_then(Key::parse);
            let key = key.filter(|_| meta.size <= PANE_BYTES_MAX);
            std::future::ready(Ok(key.map(|key| (key, meta.size))))
        });
        let panes: Panes = panes.try_collect().await?;
        // What is not in a list that was cut would be taken for gone.
        if panes.len() > PANES_MAX { Err(ShareError::TooMany) } else { Ok(panes) }
    }
}

/// Takes one step.
async fn act(store: &dyn ObjectStore, folder: PathBuf, step: &Step) -> Result<(), ShareError> {
    let (Step::Send(path) | Step::Fetch(path) | Step::Drop(path) | Step::Remove(path)) = step;
    let (object, file) = (Path::parse(format!("{PREFIX}/{path}"))?, folder.join(path));
    match step {
        Step::Send(_) => {
            let bytes = blocking(move || fs::read(file)).await?;
            store.put(&object, PutPayload::from(bytes)).await?;
        }
        Step::Fetch(_) => {
            let found = match store.get(&object).await {
                // Its owner has joined it in the meantime.
                Err(StoreError::NotFound { .. }) => return Ok(()),
                found => found?,
            };
            if found.meta.size > PANE_BYTES_MAX {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
            }
            let bytes = found.bytes().await?;
            blocking(move || {
                fs::create_dir_all(file.parent().unwrap_or(FilePath::new("")))?;
                write_whole(&file, &bytes)
            })
            .await?;
        }
        Step::Drop(_) => blocking(move || gone(fs::remove_file(file))).await?,
        Step::Remove(_) => match store.delete(&object).await {
            Err(StoreError::NotFound { .. }) => {}
            other => other?,
        },
    }
    Ok(())
}

/// Panes in the folder, four levels below it.
fn list(folder: &FilePath) -> io::Result<Panes> {
    let mut panes = Panes::new();
    let mut folders = vec![String::new()];
    while let Some(below) = folders.pop() {
        let entries = match fs::read_dir(folder.join(&below)) {
            // Nothing has been written yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            // A file that is gone again was joined.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && path.matches('/').count() < 4 {
                folders.push(path);
            } else if let Some(key) = Key::parse(&path).filter(|_| meta.is_file() && panes.len() < PANES_MAX)
            {
                panes.insert(key, meta.len());
            }
        }
    }
    Ok(panes)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Runs what waits for the disk where waiting is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
