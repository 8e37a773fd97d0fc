//! [`Registry`]: opens a registry and reads the states of its models.
//!
//! A state is read once and then only continued. What a log says up to its first unusable revision stays in use; see
//! [`View`]. Writing is in `commit`, finding what changed in `heads`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::error::{FoldError, LogFault, RegistryError, StoreError};
use super::keys::KeySource;
use super::replay::replay;
pub use super::replay::revision_key;
use super::revision::FORMAT;
use super::sign::Signer;
use super::state::ModelState;
use super::store::Store;
use super::{heads, probe, snapshot, sweep};
use crate::model::ModelName;

/// Most states that are kept in memory; beyond it some are read again when they are needed.
const STATES_MAX: usize = 20_000;

/// How often `weir.json` is read that cannot be parsed.
const INFO_READS_MAX: u32 = 3;

/// `weir.json`: what the registry is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistryInfo {
    /// The newest format that it holds.
    pub format: u32,
    /// Names the registry in events.
    pub registry_id: Uuid,
    /// Always `sha256`.
    pub hash: String,
}

/// How a registry is used.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Promises that no other process writes. Only then is a store used that cannot create an object only if there is
    /// none.
    pub single_writer: bool,
    /// How long a commit tries when others are faster or the store fails.
    pub patience: Duration,
    /// Signs what is written.
    pub signer: Option<Arc<Signer>>,
    /// Is told what goes wrong.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        let patience = Duration::from_secs(30);
        RegistryOptions { single_writer: false, patience, signer: None, observer: None }
    }
}

/// Is told what goes wrong in a registry, for metrics and events. Must not block.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// A model's log cannot be followed any further: it is read-only from now on.
    fn fault(&self, fault: &LogFault);
    /// A model that was read-only is whole again.
    fn healed(&self, model: &ModelName) {
        tracing::trace!(%model, "healed");
    }
    /// A commit was overtaken by another writer's.
    fn conflict(&self, model: &ModelName) {
        tracing::trace!(%model, "conflict");
    }
}

/// A registry.
#[derive(Debug)]
pub struct Registry {
    store: Store,
    info: RegistryInfo,
    options: RegistryOptions,
    /// The newest state seen of each model.
    views: Mutex<HashMap<ModelName, View>>,
    /// Set when the store has shown that it keeps what was created.
    writable: OnceCell<()>,
    /// Whose signatures count.
    keys: KeySource,
}

/// What is known of a model.
#[derive(Debug, Clone)]
pub struct View {
    /// The state after the last revision that could be verified.
    pub state: Arc<ModelState>,
    /// Why the log cannot be followed any further. Then the model cannot be changed.
    pub fault: Option<Arc<LogFault>>,
}

/// A change that was made.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision's number; the current one when there was nothing to change.
    pub rev: u64,
    /// The state after it.
    pub state: Arc<ModelState>,
}

impl Registry {
    /// Opens the registry in `store`, and makes one when there is none.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn open(store: Store) -> Result<Registry, RegistryError> {
        Registry::open_with(store, RegistryOptions::default()).await
    }

    /// As [`Registry::open`], with options.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn open_with(store: Store, options: RegistryOptions) -> Result<Registry, RegistryError> {
        let unusable =
            |reason: String| RegistryError::Unusable { location: store.shown().to_owned(), reason };
        let mut info = read_info(&store).await?;
        if info.is_none() {
            create_info(&store, &options).await?;
            info = read_info(&store).await?;
        }
        let info = info.ok_or_else(|| unusable("weir.json was written and is not there".to_owned()))?;
        if info.format > FORMAT {
            return Err(unusable(format!("it has format {}, and this program knows {FORMAT}", info.format)));
        }
        sweep::when_due(&store).await;
        let keys = KeySource::new(store.clone());
        let (views, writable) = (Mutex::default(), OnceCell::new());
        Ok(Registry { store, info, options, views, writable, keys })
    }

    /// What the registry is.
    pub fn info(&self) -> &RegistryInfo {
        &self.info
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What signs the revisions that this process writes.
    pub fn signer(&self) -> Option<&Signer> {
        self.options.signer.as_deref()
    }

    pub(super) fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// Whether the registry is still where it was opened: a write would make a folder anew that was moved away, and a read
    /// of it finds no news.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when it is not, or cannot be reached.
    pub async fn check_place(&self) -> Result<(), RegistryError> {
        let bytes = self.store.get("weir.json").await?;
        let found = bytes.and_then(|bytes| serde_json::from_slice::<RegistryInfo>(&bytes).ok());
        let reason = match found {
            Some(info) if info.registry_id == self.info.registry_id => return Ok(()),
            Some(info) => format!("the registry {} is in its place", info.registry_id),
            None => "it is not there any more".to_owned(),
        };
        Err(StoreError::Location { location: self.store.shown().to_owned(), reason }.into())
    }

    /// Whether this process may write: the store must not let two create the same object. Checked once, before the
    /// first commit.
    ///
    /// # Errors
    /// [`RegistryError::Unusable`] when it does, [`RegistryError::Store`] when it cannot be written to.
    pub async fn check_writable(&self) -> Result<(), RegistryError> {
        if self.options.single_writer {
            return Ok(());
        }
        self.writable.get_or_try_init(|| probe::check(&self.store)).await?;
        Ok(())
    }

    /// Whether the next revision may be written by this process: signed, when it must be, by a key that counts.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden), or [`RegistryError`] when the keys cannot be read.
    pub(super) async fn check_signer(&self) -> Result<(), RegistryError> {
        let ring = self.keys.newest().await?;
        Ok(ring.check_writer(self.signer().map(Signer::id))?)
    }

    /// The newest state of `model` that could be verified; before its first revision an empty one. Whether the log goes
    /// on and cannot be used is in [`Registry::view`].
    ///
    /// # Errors
    /// [`RegistryError::Store`]; what was known before is still known.
    pub async fn state(&self, model: &ModelName) -> Result<Arc<ModelState>, RegistryError> {
        Ok(self.view(model).await?.state)
    }

    /// The state that was read last, without asking the store; `None` when it was never read.
    pub fn known(&self, model: &ModelName) -> Option<View> {
        self.views.lock().get(model).cloned()
    }

    /// The newest state of `model` and whether its log is whole. One read when nothing changed.
    ///
    /// # Errors
    /// [`RegistryError::Store`]; what was known before is still known.
    pub async fn view(&self, model: &ModelName) -> Result<View, RegistryError> {
        // After a fault nothing is continued: what stands before it may have been repaired as well.
        let (mut state, known_rev) = match self.known(model) {
            Some(View { state, fault: None }) => (state, 0),
            _ => self.load(model).await?,
        };
        let mut fault = replay(&self.store, &self.keys, &mut state, known_rev).await?;
        if fault.as_ref().is_some_and(|fault| matches!(fault.source, FoldError::Signature(_))) {
            // By a key that was added a moment ago, perhaps.
            self.keys.newest().await?;
            fault = replay(&self.store, &self.keys, &mut state, known_rev).await?;
        }
        Ok(self.remember(View { state, fault: fault.map(Arc::new) }))
    }

    /// A state to start from, and a revision that is known to have been written.
    async fn load(&self, model: &ModelName) -> Result<(Arc<ModelState>, u64), RegistryError> {
        let head = heads::read(&self.store, model).await?;
        // Nobody signs snapshots, so where signatures count they do not.
        let snapshot = match self.keys.recent().await?.is_required() {
            true => None,
            false => snapshot::load(&self.store, model, head).await?,
        };
        let state = snapshot.unwrap_or_else(|| ModelState::new(model.clone()));
        Ok((Arc::new(state), head.unwrap_or_default()))
    }

    pub(super) fn remember_state(&self, state: &Arc<ModelState>) {
        self.remember(View { state: Arc::clone(state), fault: None });
    }

    /// Keeps `view` unless a newer one is known, and returns the one that is kept.
    fn remember(&self, view: View) -> View {
        let before = {
            let mut views = self.views.lock();
            let before = views.get(&view.state.model).cloned();
            match before {
                Some(newer) if newer.state.rev > view.state.rev => return newer,
                before => {
                    if before.is_none() && views.len() >= STATES_MAX {
                        let any = views.keys().next().cloned();
                        any.and_then(|any| views.remove(&any));
                    }
                    views.insert(view.state.model.clone(), view.clone());
                    before
                }
            }
        };
        self.tell(before.and_then(|view| view.fault).as_deref(), &view);
        view
    }

    /// Says loudly, and once, that a log cannot be followed.
    fn tell(&self, before: Option<&LogFault>, view: &View) {
        let model = &view.state.model;
        match (before, view.fault.as_deref()) {
            (before, Some(fault)) if before != Some(fault) => {
                let rev = fault.rev;
                match &fault.source {
                    FoldError::Newer(_) => {
                        tracing::warn!(%model, rev, error = %fault.source, "the model is read-only here");
                    }
                    source => {
                        let kept = view.state.rev;
                        tracing::error!(%model, rev, kept, error = %source, "the model's log is damaged: the last \
                            verified state stays in use, and changes are refused");
                    }
                }
                self.options.observer.iter().for_each(|observer| observer.fault(fault));
            }
            (Some(_), None) => {
                tracing::info!(%model, rev = view.state.rev, "the model's log is whole again");
                self.options.observer.iter().for_each(|observer| observer.healed(model));
            }
            _ => {}
        }
    }

    pub(super) fn observe_conflict(&self, model: &ModelName) {
        self.options.observer.iter().for_each(|observer| observer.conflict(model));
    }
}

/// Reads `weir.json`; once more when it cannot be parsed, because a store may have given only a part of it.
async fn read_info(store: &Store) -> Result<Option<RegistryInfo>, RegistryError> {
    let mut reason = String::new();
    for _ in 0..INFO_READS_MAX {
        let Some(bytes) = store.get("weir.json").await? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(info) => return Ok(Some(info)),
            Err(error) => reason = format!("weir.json: {error}"),
        }
    }
    Err(RegistryError::Unusable { location: store.shown().to_owned(), reason })
}

/// Writes `weir.json`. Of several at once one is first, and all read what it wrote.
async fn create_info(store: &Store, options: &RegistryOptions) -> Result<(), RegistryError> {
    let info = RegistryInfo { format: FORMAT, registry_id: Uuid::now_v7(), hash: "sha256".to_owned() };
    let unusable = |error: serde_json::Error| RegistryError::Unusable {
        location: store.shown().to_owned(),
        reason: error.to_string(),
    };
    let text = Bytes::from(serde_json::to_vec_pretty(&info).map_err(unusable)?);
    match store.create("weir.json", text.clone()).await {
        Err(error) if error.is_not_implemented() && options.single_writer => {
            store.overwrite("weir.json", text).await?;
        }
        // The write may have happened all the same.
        Err(error) if store.get("weir.json").await?.is_none() => return Err(error.into()),
        _ => {}
    }
    Ok(())
}
