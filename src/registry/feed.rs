//! Reads events from the logs of all models, from given positions on.
//!
//! A reader's place is a number in each log, so a reader that comes back loses nothing and nobody has to remember it.
//! Events of one model come in the order of its log; a signal comes after the revision that it is about. There is no
//! order between models.

mod begin;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::begin::hints;
use super::client::{Registry, revision_key};
use super::cloudevent::{self, CloudEvent};
use super::error::{FoldError, RegistryError};
use super::revision::{Revision, sha256_hex};
use super::signals::{self, Signal, SignalKind};
use super::state::ModelState;
use crate::model::ModelName;

/// Most states that are kept between two looks.
const STATES_MAX: usize = 256;
/// Every so many looks every model is looked at, whatever the hints say.
const SWEEP_EVERY: u32 = 30;

/// One of the two logs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// What was decided.
    Revisions,
    /// What was seen.
    Signals,
}

/// How far the two logs of a model were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The last revision.
    #[serde(rename = "r", default)]
    pub rev: u64,
    /// The last signal.
    #[serde(rename = "s", default)]
    pub signal: u64,
}

/// Positions by scope: a model's name, or [`signals::REGISTRY`]. A scope that is not there was not read.
pub type Positions = BTreeMap<String, Position>;

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A log.
    Log {
        /// The model, or the scope of a signal.
        scope: String,
        /// Which of its logs.
        log: Log,
        /// The number in it.
        number: u64,
        /// The operation of a revision.
        op: u32,
    },
    /// Somebody's request to send it again.
    Request {
        /// The request's key.
        key: String,
    },
}

/// An event and where it came from.
#[derive(Debug, Clone)]
pub struct FeedEvent {
    /// The event.
    pub event: CloudEvent,
    /// Where it came from.
    pub place: Place,
}

/// Where a reader begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// With what happens from now on.
    Now,
    /// With the first revision of every model.
    Beginning,
    /// With the first revision and signal of each model that are not older.
    Time(DateTime<Utc>),
    /// After these positions; scopes that are not among them from their beginning.
    After(Positions),
}

/// Reads the logs.
#[derive(Debug)]
pub struct Feed {
    registry: Arc<Registry>,
    /// The only model to read, if only one is wanted.
    only: Option<ModelName>,
    seen: Positions,
    /// The states at `seen`, of models that changed lately.
    states: HashMap<ModelName, ModelState>,
    /// What the hints looked like, by scope.
    hints: HashMap<String, String>,
    /// Models whose log cannot be read on, at which revision.
    broken: BTreeMap<String, u64>,
    /// Scopes in which there may be more than was read.
    dirty: BTreeSet<String>,
    /// What was read and not handed out yet: a call that fails or is dropped loses nothing.
    out: Vec<FeedEvent>,
    looks: u32,
}

impl Feed {
    /// A reader that begins at `start`; of all models, or only of one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn open(
        registry: Arc<Registry>,
        start: Start,
        only: Option<ModelName>,
    ) -> Result<Feed, RegistryError> {
        let mut feed = Feed {
            registry,
            only,
            seen: Positions::new(),
            states: HashMap::new(),
            hints: HashMap::new(),
            broken: BTreeMap::new(),
            dirty: BTreeSet::new(),
            out: Vec::new(),
            looks: 0,
        };
        match start {
            Start::Beginning => {}
            Start::After(positions) => feed.seen = positions,
            Start::Now | Start::Time(_) => {
                for scope in feed.scopes().await? {
                    let mut position = feed.end_of(&scope).await?;
                    if let Start::Time(time) = start {
                        position = feed.before(&scope, position, time).await?;
                    }
                    feed.seen.insert(scope, position);
                }
            }
        }
        Ok(feed)
    }

    /// How far it has read.
    pub fn positions(&self) -> &Positions {
        &self.seen
    }

    /// Events that came since, about `limit` of them. An empty answer means that there are no more for now.
    ///
    /// # Errors
    /// [`RegistryError`]; what was not handed out comes at the next call.
    pub async fn poll(&mut self, limit: usize) -> Result<Vec<FeedEvent>, RegistryError> {
        let read = self.read(limit).await;
        // What was read before something failed is handed out; the failure is met again at the next call.
        match read {
            Err(error) if self.out.is_empty() => Err(error),
            _ => Ok(std::mem::take(&mut self.out)),
        }
    }

    async fn read(&mut self, limit: usize) -> Result<(), RegistryError> {
        // What is left of the look before comes first; when that was nothing, what is new is not left for later.
        self.read_dirty(limit).await?;
        if self.out.is_empty() {
            self.look().await?;
            self.read_dirty(limit).await?;
        }
        Ok(())
    }

    async fn read_dirty(&mut self, limit: usize) -> Result<(), RegistryError> {
        while self.out.len() < limit
            && let Some(scope) = self.dirty.first().cloned()
        {
            if self.read_scope(&scope, limit).await? {
                self.dirty.remove(&scope);
            }
        }
        Ok(())
    }

    /// Finds out which scopes may have changed.
    async fn look(&mut self) -> Result<(), RegistryError> {
        let is_sweep = self.looks.is_multiple_of(SWEEP_EVERY);
        self.looks = self.looks.wrapping_add(1);
        if let Some(only) = &self.only {
            self.dirty.insert(only.to_string());
            return Ok(());
        }
        let heads = hints(&self.registry, "heads").await?;
        // A store whose writers leave no hints is looked at in full each time.
        if is_sweep || heads.is_empty() {
            self.dirty.extend(self.scopes().await?);
            self.broken.clear();
        }
        let signals = hints(&self.registry, signals::HINTS).await?;
        for (folder, found) in [("heads", heads), (signals::HINTS, signals)] {
            for (scope, mark) in found {
                let known = self.hints.insert(format!("{folder}/{scope}"), mark.clone());
                if known.as_ref() != Some(&mark) {
                    self.dirty.insert(scope);
                }
            }
        }
        Ok(())
    }

    /// Every scope that there is.
    async fn scopes(&self) -> Result<Vec<String>, RegistryError> {
        if let Some(only) = &self.only {
            return Ok(vec![only.to_string()]);
        }
        let mut scopes = super::webhook::folders(self.registry.store(), "models").await?;
        scopes.retain(|scope| scope.parse::<ModelName>().is_ok());
        scopes.push(signals::REGISTRY.to_owned());
        Ok(scopes)
    }

    /// Reads on in one scope. True when there is no more.
    async fn read_scope(&mut self, scope: &str, limit: usize) -> Result<bool, RegistryError> {
        let begin = self.seen.get(scope).copied().unwrap_or_default();
        // Signals are read first and handed out last: the revision that a signal is about was there before it.
        let mut seen_signals = Vec::new();
        while seen_signals.len() < limit {
            let number = begin.signal + seen_signals.len() as u64 + 1;
            match signals::read(self.registry.store(), scope, number).await? {
                Some(signal) => seen_signals.push((number, signal)),
                None => break,
            }
        }
        let is_all = seen_signals.len() < limit;
        let is_read = match scope.parse::<ModelName>() {
            Ok(model) => self.read_revisions(&model, begin.rev, limit).await?,
            Err(_) => true,
        };
        // Signals wait while there are revisions to read, unless those cannot be read.
        if !is_read {
            return Ok(false);
        }
        for (number, signal) in seen_signals {
            self.hand_out_signal(scope, number, &signal);
        }
        Ok(is_all)
    }

    fn hand_out_signal(&mut self, scope: &str, number: u64, signal: &Signal) {
        let state = scope.parse::<ModelName>().ok().and_then(|model| self.states.get(&model));
        let id = self.registry.info().registry_id;
        let event = cloudevent::of_signal(id, scope, state, number, signal);
        let place = Place::Log { scope: scope.to_owned(), log: Log::Signals, number, op: 0 };
        self.out.push(FeedEvent { event, place });
        self.seen.entry(scope.to_owned()).or_default().signal = number;
    }

    /// Reads on in a model's log. True when there is no more, or no more that can be read.
    async fn read_revisions(
        &mut self,
        model: &ModelName,
        from: u64,
        limit: usize,
    ) -> Result<bool, RegistryError> {
        if self.broken.contains_key(&**model) {
            return Ok(true);
        }
        let mut state = match self.state_at(model, from).await {
            Err(RegistryError::Log { rev, source, .. }) => {
                self.report_broken(model, rev, &source).await;
                return Ok(true);
            }
            state => state?,
        };
        let mut is_end = false;
        let enough = self.out.len().saturating_add(limit);
        while self.out.len() < enough {
            let rev = state.rev + 1;
            let Some(bytes) = self.registry.store().get(&revision_key(model, rev)).await? else {
                is_end = true;
                break;
            };
            let id = self.registry.info().registry_id;
            let hash = sha256_hex(&bytes);
            let derived = Revision::parse(&bytes)
                .and_then(|revision| cloudevent::of_revision(id, &mut state, &revision, &hash));
            match derived {
                Ok(derived) => {
                    let place = |op: usize| Place::Log {
                        scope: model.to_string(),
                        log: Log::Revisions,
                        number: rev,
                        op: u32::try_from(op).unwrap_or(u32::MAX),
                    };
                    let numbered = derived.into_iter().enumerate();
                    self.out.extend(numbered.map(|(op, event)| FeedEvent { event, place: place(op) }));
                    self.seen.entry(model.to_string()).or_default().rev = rev;
                }
                Err(error) => {
                    self.report_broken(model, rev, &error).await;
                    is_end = true;
                    break;
                }
            }
        }
        self.keep(model, state);
        Ok(is_end)
    }

    /// Says once that a log cannot be read on. Serving and the other models are not harmed.
    async fn report_broken(&mut self, model: &ModelName, rev: u64, error: &FoldError) {
        self.broken.insert(model.to_string(), rev);
        tracing::warn!(%model, rev, %error, "events end here until the log can be read");
        if matches!(error, FoldError::Newer(_)) {
            return;
        }
        let signal = Signal {
            kind: SignalKind::RegistryIntegrityFailed,
            detail: serde_json::Map::new(),
            rev,
            deployment: None,
            version: None,
            replica: None,
            time: Utc::now(),
            reason: format!("revision {rev}: {error}"),
        };
        if let Err(error) = signals::append_once(self.registry.store(), model, &signal).await {
            tracing::warn!(%model, %error, "the signal could not be written");
        }
    }

    fn keep(&mut self, model: &ModelName, state: ModelState) {
        if self.states.len() >= STATES_MAX && !self.states.contains_key(model) {
            self.states.clear();
        }
        self.states.insert(model.clone(), state);
    }

    /// The state of `model` after revision `rev`.
    async fn state_at(&self, model: &ModelName, rev: u64) -> Result<ModelState, RegistryError> {
        if let Some(state) = self.states.get(model).filter(|state| state.rev == rev) {
            return Ok(state.clone());
        }
        let mut state = ModelState::new(model.clone());
        while state.rev < rev {
            let next = state.rev + 1;
            let log = |source: FoldError| RegistryError::Log { model: model.to_string(), rev: next, source };
            let bytes = self.registry.store().get(&revision_key(model, next)).await?;
            let bytes = bytes.ok_or_else(|| log(FoldError::Malformed("it is missing".to_owned())))?;
            let revision = Revision::parse(&bytes).map_err(log)?;
            state.apply(&revision, &sha256_hex(&bytes)).map_err(log)?;
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
