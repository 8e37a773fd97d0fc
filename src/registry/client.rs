//! [`Registry`]: reads states and commits revisions.
//!
//! A commit plans on the newest state, and creates the next number. When the number is taken it looks at who took it:
//! itself (an earlier, unclear try) is success, another means to plan again, nobody means to try the same number again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{FoldError, Refusal, RegistryError};
use super::op::Op;
use super::revision::{FORMAT, Intent, Revision, sha256_hex};
use super::state::ModelState;
use super::store::Store;
use crate::model::ModelName;

/// How often a commit plans anew when others are faster.
const TRIES_MAX: u32 = 64;

/// `weir.json`: what the registry is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistryInfo {
    /// The newest format that it holds.
    pub format: u32,
    /// Names the registry in events.
    pub registry_id: Uuid,
    /// Always `sha256`.
    pub hash: String,
    /// Keys whose signatures count: Ed25519 public keys in base64, by id.
    #[serde(default)]
    pub keys: std::collections::BTreeMap<String, String>,
}

/// A registry.
#[derive(Debug)]
pub struct Registry {
    store: Store,
    info: RegistryInfo,
    /// The newest state seen of each model.
    states: Mutex<HashMap<ModelName, Arc<ModelState>>>,
}

/// A change that was made.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision's number; the current one when there was nothing to change.
    pub rev: u64,
    /// The state after it.
    pub state: Arc<ModelState>,
}

/// The key of a revision.
pub fn revision_key(model: &str, rev: u64) -> String {
    format!("models/{model}/log/{rev:020}.json")
}

impl Registry {
    /// Opens the registry in `store`, and makes one when there is none.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn open(store: Store) -> Result<Registry, RegistryError> {
        let unusable =
            |reason: String| RegistryError::Unusable { location: store.shown().to_owned(), reason };
        let bytes = match store.get("weir.json").await? {
            Some(bytes) => bytes,
            None => {
                let info = RegistryInfo {
                    format: FORMAT,
                    registry_id: Uuid::now_v7(),
                    hash: "sha256".to_owned(),
                    keys: Default::default(),
                };
                let text = serde_json::to_vec_pretty(&info).map_err(|error| unusable(error.to_string()))?;
                store.create("weir.json", Bytes::from(text)).await?;
                let written = store.get("weir.json").await?;
                written.ok_or_else(|| unusable("weir.json was written and is not there".to_owned()))?
            }
        };
        let info: RegistryInfo =
            serde_json::from_slice(&bytes).map_err(|error| unusable(format!("weir.json: {error}")))?;
        if info.format > FORMAT {
            return Err(unusable(format!("it has format {}, and this program knows {FORMAT}", info.format)));
        }
        Ok(Registry { store, info, states: Mutex::default() })
    }

    /// What the registry is.
    pub fn info(&self) -> &RegistryInfo {
        &self.info
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The newest state of `model`; before its first revision an empty one.
    ///
    /// # Errors
    /// [`RegistryError`]; what was known before is still known.
    pub async fn state(&self, model: &ModelName) -> Result<Arc<ModelState>, RegistryError> {
        let known = self.states.lock().get(model).cloned();
        let mut state = known.unwrap_or_else(|| Arc::new(ModelState::new(model.clone())));
        while let Some(bytes) = self.store.get(&revision_key(model, state.rev + 1)).await? {
            let next = Arc::make_mut(&mut state);
            let rev = next.rev + 1;
            let log = |source: FoldError| RegistryError::Log { model: model.to_string(), rev, source };
            let revision = Revision::parse(&bytes).map_err(log)?;
            next.apply(&revision, &sha256_hex(&bytes)).map_err(log)?;
        }
        let mut states = self.states.lock();
        match states.get(model) {
            Some(newer) if newer.rev > state.rev => state = Arc::clone(newer),
            _ => {
                states.insert(model.clone(), Arc::clone(&state));
            }
        }
        Ok(state)
    }

    /// Changes `model`: writes what `plan` wants of its newest state as the next revision. An empty plan writes
    /// nothing. `plan` may be called several times.
    ///
    /// # Errors
    /// [`RegistryError`]. After [`RegistryError::Store`] the revision may have been written all the same.
    pub async fn commit<P>(
        &self,
        model: &ModelName,
        intent: &Intent,
        plan: P,
    ) -> Result<Commit, RegistryError>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        let commit_id = Uuid::now_v7();
        let time = Utc::now().trunc_subsecs(3);
        for _ in 0..TRIES_MAX {
            let state = self.state(model).await?;
            if let Some(expected) = intent.if_match.filter(|expected| *expected != state.rev) {
                return Err(Refusal::Stale { expected, current: state.rev }.into());
            }
            let ops = plan(&state)?;
            if ops.is_empty() {
                return Ok(Commit { rev: state.rev, state });
            }
            let revision = self.next_revision(&state, intent, commit_id, time, ops)?;
            if self.publish(&revision).await? {
                return Ok(Commit { rev: revision.rev, state: self.state(model).await? });
            }
        }
        Err(RegistryError::Contended { model: model.to_string(), tries: TRIES_MAX })
    }

    /// The revision that would follow `state`, checked to fold.
    fn next_revision(
        &self,
        state: &ModelState,
        intent: &Intent,
        commit_id: Uuid,
        time: DateTime<Utc>,
        ops: Vec<Op>,
    ) -> Result<Revision, RegistryError> {
        if intent.reason.trim().is_empty() && ops.iter().any(Op::needs_reason) {
            return Err(Refusal::Invalid("a reason is needed".to_owned()).into());
        }
        let revision = Revision {
            format: FORMAT,
            model: state.model.clone(),
            rev: state.rev + 1,
            prev: state.head.clone(),
            commit_id,
            time,
            actor: intent.actor.clone(),
            reason: intent.reason.clone(),
            request_id: intent.request_id.clone(),
            ops,
            sig: None,
        };
        let tried = state.clone().apply(&revision, "");
        tried.map_err(|error| Refusal::Precondition(error.to_string()))?;
        Ok(revision)
    }

    /// Creates the revision's file. False when another was first.
    async fn publish(&self, revision: &Revision) -> Result<bool, RegistryError> {
        let key = revision_key(&revision.model, revision.rev);
        let bytes = revision.to_bytes().map_err(|error| Refusal::Invalid(error.to_string()))?;
        if self.store.create(&key, Bytes::from(bytes)).await? {
            return Ok(true);
        }
        let winner = self.store.get(&key).await?;
        let is_mine = |bytes: Bytes| Revision::parse(&bytes).is_ok_and(|r| r.commit_id == revision.commit_id);
        Ok(winner.is_some_and(is_mine))
    }
}
