//! The commit: plans on the newest state and creates the next number.
//!
//! ```text
//!  read to the end ─► plan ─► create rev N+1 ─┬─ created ──────────────────────────► done
//!        ▲                        ▲           └─ taken, or unclear: whose is N+1? ─┬─ mine ──► done
//!        │                        └────────────────────── nobody's: the same again ┤
//!        └─────────────────────────────────────────────────────────── another's ───┘
//! ```
//!
//! A number is given up only when another's revision has been read there. So whatever the store answered, a commit is in
//! the log at most once, and one that was acknowledged is in it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{Commit, Registry};
use super::error::{FoldError, LogFault, Refusal, RegistryError, StoreError};
use super::op::Op;
use super::replay::revision_key;
use super::revision::{FORMAT, Intent, Revision, sha256_hex};
use super::state::ModelState;
use super::{heads, snapshot};
use crate::model::ModelName;

/// Longest revision, in bytes.
pub(super) const REVISION_LEN_MAX: usize = 8 << 20;

/// How often a number is read that is taken by something unreadable.
const READS_MAX: u32 = 5;

/// A revision that is ready to be written, and the state after it.
struct Prepared {
    revision: Revision,
    bytes: Bytes,
    next: ModelState,
}

/// Who has a number.
enum Holder {
    Mine,
    Another,
    Nobody,
}

impl Registry {
    /// Changes `model`: writes what `plan` wants of its newest state as the next revision. An empty plan writes
    /// nothing. `plan` may be called several times.
    ///
    /// # Errors
    /// [`RegistryError`]. Only after [`RegistryError::Store`] may the revision have been written all the same.
    pub async fn commit<P>(
        &self,
        model: &ModelName,
        intent: &Intent,
        plan: P,
    ) -> Result<Commit, RegistryError>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        self.check_place().await?;
        self.check_writable().await?;
        let (commit_id, time) = (Uuid::now_v7(), Utc::now().trunc_subsecs(3));
        let mut backoff = Backoff::new(self.options().patience);
        while let Err(error) = self.check_signer().await {
            backoff.wait_after(error).await?;
        }
        loop {
            let view = match self.view(model).await {
                Ok(view) => view,
                Err(error) => {
                    backoff.wait_after(error).await?;
                    continue;
                }
            };
            if let Some(fault) = view.fault {
                return Err(LogFault::clone(&fault).into());
            }
            let state = view.state;
            if let Some(expected) = intent.if_match.filter(|expected| *expected != state.rev) {
                return Err(Refusal::Stale { expected, current: state.rev }.into());
            }
            let ops = plan(&state)?;
            if ops.is_empty() {
                return Ok(Commit { rev: state.rev, state });
            }
            let prepared = self.prepare(&state, intent, commit_id, time, ops)?;
            if self.publish(&prepared, &mut backoff).await? {
                return Ok(self.finish(prepared).await);
            }
            self.observe_conflict(model);
            if !backoff.wait().await {
                return Err(backoff.give_up(&prepared.revision));
            }
        }
    }

    /// The revision that would follow `state`, checked to be readable and to fold.
    fn prepare(
        &self,
        state: &ModelState,
        intent: &Intent,
        commit_id: Uuid,
        time: DateTime<Utc>,
        ops: Vec<Op>,
    ) -> Result<Prepared, RegistryError> {
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
        let invalid = |error: String| Refusal::Invalid(format!("the change cannot be recorded: {error}"));
        let unsigned = revision.to_bytes().map_err(|error| invalid(error.to_string()))?;
        let signer = self.options().signer.as_ref();
        let bytes = signer.map_or_else(|| unsigned.clone(), |signer| signer.seal(&unsigned));
        if bytes.len() > REVISION_LEN_MAX {
            return Err(invalid(format!("it has {} bytes, at most {REVISION_LEN_MAX}", bytes.len())).into());
        }
        // What cannot be read back (a metric that is not a number, say) would end the log.
        let mut read = Revision::parse(&bytes).map_err(|error| invalid(error.to_string()))?;
        read.sig = None;
        if read != revision {
            return Err(invalid("it would be read back as something else".to_owned()).into());
        }
        let mut next = state.clone();
        let applied = next.apply_in_place(&revision, &sha256_hex(&bytes));
        applied.map_err(|error| Refusal::Precondition(error.to_string()))?;
        Ok(Prepared { revision, bytes: Bytes::from(bytes), next })
    }

    /// Creates the revision's file. False when another's is there.
    async fn publish(&self, prepared: &Prepared, backoff: &mut Backoff) -> Result<bool, RegistryError> {
        let revision = &prepared.revision;
        let key = revision_key(&revision.model, revision.rev);
        if revision.rev == 1 {
            self.announce(&revision.model, backoff).await?;
        }
        loop {
            let created = self.create(&key, prepared.bytes.clone()).await;
            if matches!(created, Ok(true)) {
                return Ok(true);
            }
            let error = match (self.holder(&key, prepared).await, created) {
                (Ok(Holder::Mine), _) => return Ok(true),
                (Ok(Holder::Another), _) => return Ok(false),
                (Ok(Holder::Nobody), Err(error)) if !error.is_transient() => return Err(error.into()),
                (Ok(Holder::Nobody), Ok(_)) => None,
                (Ok(Holder::Nobody), Err(error)) => Some(error.into()),
                (Err(error @ RegistryError::Log { .. }), _) => return Err(error),
                (Err(error), _) => Some(error),
            };
            tracing::debug!(
                key,
                error = error.as_ref().map(tracing::field::display),
                "the same number again"
            );
            if !backoff.wait().await {
                return Err(error.unwrap_or_else(|| backoff.give_up(revision)));
            }
        }
    }

    /// Hints at a model before its first revision, so that it is found even when its author dies right after.
    async fn announce(&self, model: &ModelName, backoff: &mut Backoff) -> Result<(), RegistryError> {
        loop {
            match heads::write(self.store(), model, 0).await {
                Ok(()) => return Ok(()),
                Err(error) => backoff.wait_after(error.into()).await?,
            }
        }
    }

    /// Creates an object, or overwrites what is not there where the store cannot and this is the only writer.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, StoreError> {
        if !self.options().single_writer {
            return self.store().create(key, bytes).await;
        }
        if self.store().get(key).await?.is_some() {
            return Ok(false);
        }
        self.store().overwrite(key, bytes).await.map(|()| true)
    }

    /// Whose revision has the number that `prepared` wants.
    async fn holder(&self, key: &str, prepared: &Prepared) -> Result<Holder, RegistryError> {
        let mut source = FoldError::Malformed(String::new());
        for _ in 0..READS_MAX {
            let Some(bytes) = self.store().get(key).await? else { return Ok(Holder::Nobody) };
            match Revision::parse(&bytes) {
                Ok(found) if found.commit_id == prepared.revision.commit_id => return Ok(Holder::Mine),
                Ok(_) | Err(FoldError::Newer(_)) => return Ok(Holder::Another),
                // A part of it, perhaps of this very commit.
                Err(error) => source = error,
            }
        }
        Err(LogFault { model: prepared.revision.model.clone(), rev: prepared.revision.rev, source }.into())
    }

    /// What follows a commit and may fail: it can all be derived again.
    async fn finish(&self, prepared: Prepared) -> Commit {
        let state = Arc::new(prepared.next);
        self.remember_state(&state);
        snapshot::write_due(self.store(), &state).await;
        if let Err(error) = heads::write(self.store(), &state.model, state.rev).await {
            tracing::debug!(model = %state.model, rev = state.rev, %error, "the hint could not be written");
        }
        Commit { rev: state.rev, state }
    }
}

/// Waits between tries: longer each time, longer where tries take long, and never as long as others wait.
#[derive(Debug)]
pub(super) struct Backoff {
    end: Instant,
    tries: u32,
    /// When the present try began.
    begun: Instant,
}

impl Backoff {
    /// The first wait is at most this long, a later one 128 times as long.
    const FIRST: Duration = Duration::from_millis(2);
    /// With many writers of one log the store is kept busy by those who lose, so they wait for a multiple of what
    /// their try took.
    const TRY_MULTIPLE_MAX: u32 = 8;
    /// Longest wait.
    const MAX: Duration = Duration::from_secs(5);

    pub(super) fn new(patience: Duration) -> Backoff {
        let now = Instant::now();
        Backoff { end: now + patience, tries: 0, begun: now }
    }

    /// Waits; false when there is no patience left.
    pub(super) async fn wait(&mut self) -> bool {
        let now = Instant::now();
        self.tries += 1;
        if now >= self.end {
            return false;
        }
        let factor = 2_u32.saturating_pow(self.tries);
        let by_try = (now - self.begun) * factor.min(Self::TRY_MULTIPLE_MAX);
        let longest = by_try.max(Self::FIRST * factor.min(128)).min(Self::MAX);
        // The random bits of a UUID are as good as any for spreading waits.
        let share = u32::try_from(Uuid::new_v4().as_u128() & 0xffff).unwrap_or_default();
        tokio::time::sleep(longest / 0xffff * share).await;
        self.begun = Instant::now();
        true
    }

    /// Waits after `error` when nothing was written and the same may succeed a moment later; otherwise gives it back.
    async fn wait_after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        let is_transient = matches!(&error, RegistryError::Store(error) if error.is_transient());
        if is_transient && self.wait().await { Ok(()) } else { Err(error) }
    }

    fn give_up(&self, revision: &Revision) -> RegistryError {
        RegistryError::Contended { model: revision.model.to_string(), rev: revision.rev, tries: self.tries }
    }
}
