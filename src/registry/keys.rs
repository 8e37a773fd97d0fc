//! Whose signatures count: `keys/<n>.json`, a small log of its own.
//!
//! Like a model's log it is only ever created, numbered without gaps, and chained by hashes; so it needs nothing of a
//! store that logs do not need. After the first record each must be signed by a key that counted before it: who can write
//! to the bucket but has no key cannot add one. The first is trusted as it is found; `weir audit anchor` keeps its hash.
//!
//! Each record says which revisions there were of every model when it was written (`heads`), so that "after a key was
//! registered" is a number and not a time:
//!
//! ```text
//!  add      from the first one on, revisions after `heads` must be signed; the key's signatures count
//!  revoke   the key's signatures count up to `heads` only
//!  accept   revisions up to `heads` of the models named are taken as they are, signed or not
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::{FoldError, Refusal, RegistryError, StoreError};
use super::ops::check;
use super::replay::revision_key;
use super::revision::{Actor, FORMAT, Intent, NO_PREVIOUS, Revision, Signature, sha256_hex};
use super::sign::{Signer, check_public, is_signed};
use super::store::Store;
use crate::model::ModelName;

/// Age at which keys are read again.
const KEYS_AGE_MAX: Duration = Duration::from_secs(1);

/// One record of `keys/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Its number, from 1.
    pub number: u64,
    /// SHA-256 of the record before.
    pub prev: String,
    /// The author's clock.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// What.
    pub change: KeyChange,
    /// The newest revision of each model; of those that it is about for `accept`.
    pub heads: BTreeMap<ModelName, u64>,
    /// The signature of a key that counts already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<Signature>,
}

/// What a record does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyChange {
    /// Signatures of a key count from now on.
    Add {
        /// Its id.
        key: String,
        /// The public key, 32 bytes in base64.
        ed25519: String,
    },
    /// Signatures of a key count no more.
    Revoke {
        /// Its id.
        key: String,
    },
    /// Revisions are taken as they are.
    Accept {},
}

/// A key that counts or counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The public key, in base64.
    pub ed25519: String,
    /// When it was added.
    pub added: DateTime<Utc>,
    /// By whom.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// Up to which revisions it counts; `None` while it counts.
    pub revoked: Option<BTreeMap<ModelName, u64>>,
}

/// All keys: the fold of `keys/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    /// The newest record; 0 before the first.
    pub number: u64,
    /// SHA-256 of its file.
    pub head: String,
    /// Keys by id.
    pub keys: BTreeMap<String, Key>,
    /// The revisions of each model that need no signature; `None` while none needs one.
    exempt: Option<BTreeMap<ModelName, u64>>,
}

impl Default for KeyRing {
    fn default() -> Self {
        KeyRing { number: 0, head: NO_PREVIOUS.to_owned(), keys: BTreeMap::new(), exempt: None }
    }
}

/// The key of a record.
pub fn record_key(number: u64) -> String {
    format!("keys/{number:020}.json")
}

impl KeyRing {
    /// Reads what was added since; nothing when that is nothing, at the cost of one read.
    ///
    /// # Errors
    /// [`RegistryError::Unusable`] when a record does not follow; those before it are applied.
    pub async fn refresh(&mut self, store: &Store) -> Result<(), RegistryError> {
        while let Some(bytes) = store.get(&record_key(self.number + 1)).await? {
            let number = self.number + 1;
            self.apply(&bytes).map_err(|reason| RegistryError::Unusable {
                location: store.shown().to_owned(),
                reason: format!("record {number} of its keys: {reason}"),
            })?;
        }
        Ok(())
    }

    /// Adds the record in `bytes`. On an error nothing is changed.
    pub(super) fn apply(&mut self, bytes: &[u8]) -> Result<(), String> {
        let record: KeyRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.format > FORMAT {
            return Err(format!("it has format {}, which this program does not know", record.format));
        }
        if record.number != self.number + 1 || record.prev != self.head {
            return Err("it does not follow the one before".to_owned());
        }
        if self.number > 0 {
            let sig = record.sig.as_ref().ok_or("it is not signed")?;
            let key = self.active(&sig.key).ok_or("it is signed by a key that does not count")?;
            if !is_signed(bytes, sig, &key.ed25519) {
                return Err("its signature is wrong".to_owned());
            }
        }
        self.apply_change(&record)?;
        self.number = record.number;
        self.head = sha256_hex(bytes);
        Ok(())
    }

    fn apply_change(&mut self, record: &KeyRecord) -> Result<(), String> {
        match &record.change {
            KeyChange::Add { key, ed25519 } => {
                let id = check_public(ed25519).map_err(|error| error.to_string())?;
                if id != *key || self.keys.contains_key(key) {
                    return Err("the key's id is wrong or taken".to_owned());
                }
                let entry = Key {
                    ed25519: ed25519.clone(),
                    added: record.time,
                    by: record.actor.clone(),
                    reason: record.reason.clone(),
                    revoked: None,
                };
                self.keys.insert(key.clone(), entry);
                self.exempt.get_or_insert_with(|| record.heads.clone());
            }
            KeyChange::Revoke { key } => {
                let active = self.keys.values().filter(|key| key.revoked.is_none()).count();
                let entry = self.keys.get_mut(key).filter(|key| key.revoked.is_none());
                let entry = entry.ok_or("the key does not count")?;
                if active == 1 {
                    return Err("it is the last key, and nobody could add another".to_owned());
                }
                entry.revoked = Some(record.heads.clone());
            }
            KeyChange::Accept {} => {
                let exempt = self.exempt.as_mut().ok_or("no signatures are needed")?;
                for (model, head) in &record.heads {
                    let rev = exempt.entry(model.clone()).or_default();
                    *rev = (*rev).max(*head);
                }
            }
        }
        Ok(())
    }

    fn active(&self, id: &str) -> Option<&Key> {
        self.keys.get(id).filter(|key| key.revoked.is_none())
    }

    /// The keys as JSON, as commands and the control API show them.
    pub fn shown(&self) -> Vec<Value> {
        let key = |(id, key): (&String, &Key)| {
            json!({
                "key": id, "ed25519": key.ed25519, "added": key.added, "by": key.by.sub, "reason": key.reason,
                "revoked": key.revoked.is_some(),
            })
        };
        self.keys.iter().map(key).collect()
    }

    /// Whether new revisions must be signed.
    pub fn is_required(&self) -> bool {
        self.exempt.is_some()
    }

    /// Whether a revision may be written with `signer`'s signature or, without one, unsigned.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn check_writer(&self, signer: Option<&str>) -> Result<(), Refusal> {
        match signer {
            _ if !self.is_required() => Ok(()),
            None => Err(Refusal::Forbidden(
                "revisions of this registry must be signed: set registry.signing_key".to_owned(),
            )),
            Some(id) if self.active(id).is_none() => {
                Err(Refusal::Forbidden(format!("signatures of key {id} do not count: see 'weir keys ls'")))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether `revision`, parsed from `file`, is signed as it must be.
    ///
    /// # Errors
    /// [`FoldError::Signature`].
    pub fn check(&self, revision: &Revision, file: &[u8]) -> Result<(), FoldError> {
        let Some(exempt) = &self.exempt else { return Ok(()) };
        let wrong = |reason: String| Err(FoldError::Signature(reason));
        if revision.rev <= exempt.get(&revision.model).copied().unwrap_or_default() {
            return Ok(());
        }
        let Some(sig) = &revision.sig else { return wrong("it is not signed, and must be".to_owned()) };
        let Some(key) = self.keys.get(&sig.key) else {
            let id: String = sig.key.escape_debug().take(64).collect();
            return wrong(format!("it is signed by key {id}, which is not registered"));
        };
        if let Some(heads) = &key.revoked
            && revision.rev > heads.get(&revision.model).copied().unwrap_or_default()
        {
            return wrong(format!("it is signed by key {}, which was revoked before", sig.key));
        }
        if !is_signed(file, sig, &key.ed25519) {
            return wrong("its signature is wrong: it was changed after it was signed".to_owned());
        }
        Ok(())
    }
}

/// The keys as a registry reads them: again when they are needed and a second old, so that a long log costs no more
/// reads than it has revisions.
#[derive(Debug)]
pub(super) struct KeySource {
    store: Store,
    read: Mutex<Option<(Instant, Arc<KeyRing>)>>,
}

impl KeySource {
    pub(super) fn new(store: Store) -> KeySource {
        KeySource { store, read: Mutex::default() }
    }

    /// The keys as they were a second ago, or later.
    pub(super) async fn recent(&self) -> Result<Arc<KeyRing>, RegistryError> {
        let known = self.read.lock().clone();
        match known {
            Some((read, ring)) if read.elapsed() < KEYS_AGE_MAX => Ok(ring),
            _ => self.newest().await,
        }
    }

    /// The keys as they are now.
    pub(super) async fn newest(&self) -> Result<Arc<KeyRing>, RegistryError> {
        let now = Instant::now();
        let known = self.read.lock().clone();
        let mut ring = known.map(|(_, ring)| ring).unwrap_or_default();
        let before = ring.number;
        let read = Arc::make_mut(&mut ring).refresh(&self.store).await;
        if read.is_ok() || ring.number > before {
            *self.read.lock() = Some((now, Arc::clone(&ring)));
        }
        read.map(|()| ring)
    }
}

/// Revision `up_to` of `model`, for a record that takes it and those before it as they are.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such revision: what is written later is not taken as it is.
pub async fn accepted(
    store: &Store,
    model: &ModelName,
    up_to: u64,
) -> Result<BTreeMap<ModelName, u64>, RegistryError> {
    match store.get(&revision_key(model, up_to)).await? {
        Some(_) => Ok(BTreeMap::from([(model.clone(), up_to)])),
        None => Err(Refusal::NotFound(format!("'{model}' has no revision {up_to}")).into()),
    }
}

/// Adds a record. `heads` are the newest revisions that there are, or those of [`accepted`]. `signer` must hold a key
/// that counts, but for the first record.
///
/// # Errors
/// [`RegistryError`]; [`Refusal`] when it has no reason, would not be accepted, or another was added meanwhile.
pub async fn append(
    store: &Store,
    intent: &Intent,
    change: KeyChange,
    heads: BTreeMap<ModelName, u64>,
    signer: Option<&Signer>,
) -> Result<KeyRing, RegistryError> {
    check::intent(intent)?;
    if intent.reason.trim().is_empty() {
        return Err(Refusal::Invalid("a change of the keys needs a reason".to_owned()).into());
    }
    let mut ring = KeyRing::default();
    ring.refresh(store).await?;
    let record = KeyRecord {
        format: FORMAT,
        number: ring.number + 1,
        prev: ring.head.clone(),
        time: Utc::now().trunc_subsecs(3),
        actor: intent.actor.clone(),
        reason: intent.reason.clone(),
        change,
        heads,
        sig: None,
    };
    let bytes = serde_json::to_vec(&record).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let bytes = signer.map_or_else(|| bytes.clone(), |signer| signer.seal(&bytes));
    ring.apply(&bytes).map_err(Refusal::Precondition)?;
    let key = record_key(record.number);
    match store.create(&key, Bytes::from(bytes.clone())).await {
        Ok(true) => Ok(ring),
        // Someone else's, or this very record after an unclear answer.
        Ok(false) => written(store, &key, &bytes, None, ring).await,
        Err(error) => written(store, &key, &bytes, Some(error), ring).await,
    }
}

async fn written(
    store: &Store,
    key: &str,
    bytes: &[u8],
    error: Option<StoreError>,
    ring: KeyRing,
) -> Result<KeyRing, RegistryError> {
    match (store.get(key).await?, error) {
        (Some(found), _) if found == bytes => Ok(ring),
        (Some(_), _) | (None, None) => {
            Err(Refusal::Exists("another change of the keys was made meanwhile: try again".to_owned()).into())
        }
        (None, Some(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::Op;
    use super::super::sample;
    use super::*;
    use uuid::Uuid;

    fn signer(fill: u8) -> Signer {
        use base64::Engine;
        Signer::parse(&base64::engine::general_purpose::STANDARD.encode([fill; 32])).unwrap()
    }

    fn add(signer: &Signer) -> KeyChange {
        KeyChange::Add { key: signer.id().to_owned(), ed25519: signer.public().to_owned() }
    }

    fn heads(rev: u64) -> BTreeMap<ModelName, u64> {
        BTreeMap::from([("m".parse().unwrap(), rev)])
    }

    /// Revision `rev` of model `m` as a file.
    fn file(rev: u64, signer: Option<&Signer>) -> Vec<u8> {
        let revision = Revision {
            format: FORMAT,
            model: "m".parse().unwrap(),
            rev,
            prev: NO_PREVIOUS.to_owned(),
            commit_id: Uuid::nil(),
            time: DateTime::UNIX_EPOCH,
            actor: sample::intent().actor,
            reason: "r".to_owned(),
            request_id: String::new(),
            ops: vec![Op::CreateModel { description: String::new() }],
            sig: None,
        };
        let bytes = revision.to_bytes().unwrap();
        signer.map_or(bytes.clone(), |signer| signer.seal(&bytes))
    }

    fn check(ring: &KeyRing, file: &[u8]) -> String {
        let checked = ring.check(&Revision::parse(file).unwrap(), file);
        checked.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }

    #[tokio::test]
    async fn signatures_count_from_the_first_key_on() {
        let store = Store::memory();
        let (one, two) = (signer(1), signer(2));
        let empty = KeyRing::default();
        assert_eq!(check(&empty, &file(1, None)), "ok");
        assert_eq!(check(&empty, &file(1, Some(&two))), "ok", "nobody asks for signatures");
        empty.check_writer(None).unwrap();
        let ring = append(&store, &sample::intent(), add(&one), heads(5), None).await.unwrap();
        assert_eq!(check(&ring, &file(5, None)), "ok");
        assert!(check(&ring, &file(6, None)).contains("not signed"));
        assert_eq!(check(&ring, &file(6, Some(&one))), "ok");
        assert!(check(&ring, &file(6, Some(&two))).contains("not registered"));
        let mut changed = file(6, Some(&one));
        let at = changed.windows(6).position(|part| part == b"reason").unwrap() + 9;
        changed[at] = b's';
        assert!(check(&ring, &changed).contains("signature is wrong"));
        ring.check_writer(None).unwrap_err();
        ring.check_writer(Some(two.id())).unwrap_err();
        ring.check_writer(Some(one.id())).unwrap();
    }

    #[tokio::test]
    async fn a_revoked_key_counts_for_what_it_signed_before() {
        let store = Store::memory();
        let (one, two) = (signer(1), signer(2));
        let intent = sample::intent();
        append(&store, &intent, add(&one), heads(0), Some(&one)).await.unwrap();
        let revoke = KeyChange::Revoke { key: one.id().to_owned() };
        let last = append(&store, &intent, revoke.clone(), heads(3), Some(&one)).await.unwrap_err();
        assert!(last.to_string().contains("last key"), "{last}");
        append(&store, &intent, add(&two), heads(3), Some(&one)).await.unwrap();
        let ring = append(&store, &intent, revoke, heads(3), Some(&two)).await.unwrap();
        assert_eq!(check(&ring, &file(3, Some(&one))), "ok");
        assert!(check(&ring, &file(4, Some(&one))).contains("revoked"));
        assert_eq!(check(&ring, &file(4, Some(&two))), "ok");
        let ring = append(&store, &intent, KeyChange::Accept {}, heads(4), Some(&two)).await.unwrap();
        assert_eq!(check(&ring, &file(4, Some(&one))), "ok", "an admin took it as it is");
        let mut read = KeyRing::default();
        read.refresh(&store).await.unwrap();
        assert_eq!(read, ring);
    }

    #[tokio::test]
    async fn nobody_adds_a_key_without_having_one() {
        let store = Store::memory();
        let (one, two) = (signer(1), signer(2));
        let intent = sample::intent();
        append(&store, &intent, add(&one), heads(0), None).await.unwrap();
        for other in [None, Some(&two)] {
            append(&store, &intent, add(&two), heads(0), other).await.unwrap_err();
        }
        let ring = append(&store, &intent, add(&two), heads(0), Some(&one)).await.unwrap();
        append(&store, &intent, add(&two), heads(0), Some(&one)).await.unwrap_err();
        let record = store.get(&record_key(2)).await.unwrap().unwrap();
        for at in 0..record.len() {
            let mut bad = record.to_vec();
            bad[at] ^= 1;
            let mut before = KeyRing::default();
            before.apply(&store.get(&record_key(1)).await.unwrap().unwrap()).unwrap();
            before.apply(&bad).unwrap_err();
        }
        assert_eq!(ring.number, 2);
        store.overwrite(&record_key(2), Bytes::from_static(b"{}")).await.unwrap();
        let mut read = KeyRing::default();
        let error = read.refresh(&store).await.unwrap_err();
        assert!(error.to_string().contains("record 2 of its keys"), "{error}");
        assert_eq!(read.number, 1, "those before it count");
    }
}
