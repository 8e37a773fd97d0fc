//! What the manager knows of each model: what is wanted, what is served, who waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::Servable;
use super::super::repository::{ModelFiles, VersionFiles};
use super::super::settings::Settings;
use super::deployed::Deployed;
use super::failure::{Failure, Retry};
use super::upload::UploadFolder;
use crate::model::{ModelConfig, ModelName, Version};

/// A load by request.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// A model configuration as JSON, instead of the repository's.
    pub config_json: Option<String>,
    /// Files instead of the repository's, by version and file name.
    pub files: BTreeMap<(Version, String), Bytes>,
}

/// Why a model's order was not carried out. What was served before is served still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFailure {
    /// The repository has no such model.
    #[error("the model is not in the repository")]
    Unknown,
    /// The files of the request cannot be used.
    #[error("{0}")]
    Upload(String),
    /// A version or its settings cannot be used.
    #[error("{0}")]
    Failed(String),
    /// The manager has been stopped.
    #[error("the server is shutting down")]
    Stopped,
}

/// What is to become of a model.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// Serve these files, as a look at the repository has found them.
    Files(ModelFiles),
    /// Serve what the repository has now, as a client asked; versions that failed before are tried again.
    Requested(Arc<LoadRequest>),
    /// Serve nothing of it.
    Unloaded,
    /// It is gone from the repository: serve nothing and forget it.
    Gone,
}

/// Everything that decides whether a version must be loaded anew.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VersionKey {
    pub(super) files: VersionFiles,
    pub(super) settings: (ModelConfig, BTreeMap<String, Vec<String>>),
}

impl VersionKey {
    /// The key of a version with these files under these settings. Files beside the versions count by what the
    /// settings made of them.
    pub(super) fn new(files: &VersionFiles, settings: &Settings) -> Arc<VersionKey> {
        Arc::new(VersionKey { files: files.clone(), settings: settings.of_a_version() })
    }
}

/// A version that is served.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) servable: Arc<Servable>,
    pub(super) key: Arc<VersionKey>,
}

/// One model.
#[derive(Debug)]
struct Record {
    target: Target,
    /// Counts orders; the last writer wins.
    wanted: u64,
    /// The last order that was carried out.
    done: u64,
    /// A loader thread has it, or it is in the queue.
    busy: bool,
    /// Who waits, and for which order.
    waiters: Vec<(u64, oneshot::Sender<Result<(), LoadFailure>>)>,
    current: Current,
    retry: Option<Retry>,
}

/// What a model has come to. The loader thread that has the model works on a copy and puts it back.
#[derive(Debug, Clone, Default)]
pub(super) struct Current {
    pub(super) served: BTreeMap<Version, Loaded>,
    pub(super) failed: BTreeMap<Version, Failure<Arc<VersionKey>>>,
    /// Files of the load request that is served.
    pub(super) upload: Option<Arc<UploadFolder>>,
}

/// All models, and which of them wait for a loader thread.
#[derive(Debug, Default)]
pub(super) struct State {
    records: BTreeMap<ModelName, Record>,
    /// Models that are served from a registry. Never those of `records`.
    pub(super) deployed: BTreeMap<ModelName, Deployed>,
    /// Each model at most once, so the queue is bounded by the models.
    queue: VecDeque<Queued>,
    pub(super) stopped: bool,
}

/// A model that waits for a loader thread.
#[derive(Debug)]
enum Queued {
    /// Of a plain repository.
    Plain(ModelName),
    /// Of a registry.
    Deployed(ModelName),
}

/// What a loader thread is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Carry out an order.
    Order(Box<Assignment>),
    /// Load what the model's newest target misses.
    Deployed(ModelName),
}

/// An order for a loader thread.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) model: ModelName,
    pub(super) target: Target,
    pub(super) current: Current,
    wanted: u64,
}

impl State {
    /// Sets what is to become of `model`. An order that waits is replaced; one that runs is finished first.
    pub(super) fn order(
        &mut self,
        model: &ModelName,
        target: Target,
        waiter: Option<oneshot::Sender<Result<(), LoadFailure>>>,
    ) {
        if self.deployed.contains_key(model) {
            let reason = "a model of this name is served from the registry";
            tracing::error!(model = %model, reason, "the model of the plain repository is not served");
            if let Some(waiter) = waiter {
                waiter.send(Err(LoadFailure::Failed(reason.to_owned()))).ok();
            }
            return;
        }
        let record = self.records.entry(model.clone()).or_insert_with(|| Record {
            target: Target::Unloaded,
            wanted: 0,
            done: 0,
            busy: false,
            waiters: Vec::new(),
            current: Current::default(),
            retry: None,
        });
        record.target = target;
        record.wanted += 1;
        record.waiters.extend(waiter.map(|waiter| (record.wanted, waiter)));
        if !record.busy {
            record.busy = true;
            self.queue.push_back(Queued::Plain(model.clone()));
        }
    }

    /// Orders anew what is due to be tried again. Returns when the next is.
    pub(super) fn retry(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (model, record) in self.records.iter_mut().filter(|(_, record)| !record.busy) {
            match record.retry {
                Some(retry) if retry.at() <= now => {
                    record.wanted += 1;
                    record.busy = true;
                    self.queue.push_back(Queued::Plain(model.clone()));
                }
                Some(retry) => next = Some(next.map_or(retry.at(), |next| next.min(retry.at()))),
                None => {}
            }
        }
        next
    }

    /// Puts a model of the registry, which is not there yet, into the queue.
    pub(super) fn enqueue_deployed(&mut self, model: &ModelName) {
        self.queue.push_back(Queued::Deployed(model.clone()));
    }

    /// Whether a plain repository's model of this name is being served, or was ordered to be.
    pub(super) fn has_record(&self, model: &ModelName) -> bool {
        self.records.contains_key(model)
    }

    /// The next thing to do.
    pub(super) fn next(&mut self) -> Option<Work> {
        let model = match self.queue.pop_front()? {
            Queued::Deployed(model) => return Some(Work::Deployed(model)),
            Queued::Plain(model) => model,
        };
        let record = self.records.get(&model)?;
        Some(Work::Order(Box::new(Assignment {
            target: record.target.clone(),
            current: record.current.clone(),
            wanted: record.wanted,
            model,
        })))
    }

    /// Takes back what a loader thread was given, and tells those who wait. What failed for a reason of the moment is tried
    /// again after `pauses`, the first and the longest, unless a client asked for it: who asked decides.
    pub(super) fn finish(
        &mut self,
        done: Assignment,
        outcome: &Result<(), LoadFailure>,
        pauses: (Duration, Duration),
    ) {
        let Some(record) = self.records.get_mut(&done.model) else { return };
        debug_assert!(record.busy && record.done < done.wanted);
        record.current = done.current;
        record.done = done.wanted;
        let is_to_retry = matches!(record.target, Target::Files(_))
            && record.current.failed.values().any(|failure| failure.is_of_the_moment);
        record.retry = is_to_retry.then(|| Retry::after(record.retry, pauses, Instant::now()));
        let (told, waiting) =
            std::mem::take(&mut record.waiters).into_iter().partition(|(order, _)| *order <= done.wanted);
        record.waiters = waiting;
        for (_, waiter) in told {
            // A caller that has gone needs no answer.
            waiter.send(outcome.clone()).ok();
        }
        record.busy = record.done < record.wanted;
        if record.busy {
            self.queue.push_back(Queued::Plain(done.model));
        } else if record.current.served.is_empty() && record.current.failed.is_empty() {
            // Nothing to remember, so that asking for names does not fill the memory.
            self.records.remove(&done.model);
        }
    }

    /// Whether every order is carried out.
    pub(super) fn is_settled(&self) -> bool {
        let is_busy = self.records.values().any(|record| record.busy);
        self.stopped || (!is_busy && self.deployed.values().all(|deployed| !deployed.busy))
    }

    /// Versions that share the machine: those served, and one for each model that still waits.
    pub(super) fn versions(&self) -> usize {
        let plain: usize = self.records.values().map(|record| record.current.served.len().max(1)).sum();
        plain + self.deployed.values().map(|deployed| deployed.pool.len().max(1)).sum::<usize>()
    }
}
