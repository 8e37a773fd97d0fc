//! Subscriptions of webhooks: what is kept of them in the store, and the pure parts of delivering.
//!
//! ```text
//!  events/<name>/subscription-<n>.json   what is wanted, where it goes; the highest number counts
//!  events/<name>/cursor-<n>.json         how far it was delivered, and what is still being tried (outbox.rs)
//!  events/<name>/dead/<id>.json          what was given up (dead.rs)
//!  events/<name>/retry/<order>-<id>.json what somebody wants to be sent again
//! ```
//!
//! Nothing here sends anything, knows a secret, or reads a clock.

pub mod filter;
pub mod address;
pub mod schedule;
pub mod signature;
pub mod outbox;
pub mod cursor;
pub mod dead;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::filter::Filter;

use super::error::{Refusal, RegistryError, StoreError};
use super::revision::Actor;
use super::store::Store;

/// The format of the files of subscriptions.
pub const FORMAT: u32 = 1;
/// Most subscriptions of a registry.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Most keys that sign at once: the old and the new one while they change.
pub const SECRETS_MAX: usize = 2;
/// How many older numbers of an object are kept.
const KEPT: u64 = 4;

/// What one receiver wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name, by the rule of aliases.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// Which events.
    pub filter: Filter,
    /// Names of the secrets that sign, at most [`SECRETS_MAX`]. The secrets themselves are known to the server that
    /// delivers and never stored here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether the receiver must first agree (`OPTIONS` with `WebHook-Request-Origin`).
    #[serde(default)]
    pub handshake: bool,
    /// Who wrote this.
    pub actor: Actor,
    /// When.
    pub time: DateTime<Utc>,
    /// Why it is not delivered to any more, if so: the receiver answered 410.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether it was removed.
    #[serde(default)]
    pub removed: bool,
}

impl Subscription {
    /// Checks what can be checked without asking the server that will deliver.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        check_name(&self.name, "a webhook's name")?;
        self.filter.check()?;
        if self.secrets.len() > SECRETS_MAX {
            return Err(Refusal::Invalid(format!("at most {SECRETS_MAX} secrets sign at once")));
        }
        for secret in &self.secrets {
            check_name(secret, "a secret's name")?;
        }
        self.target().map(drop)
    }

    /// The URL.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when it is none that events can be posted to.
    pub fn target(&self) -> Result<Url, Refusal> {
        let invalid = |reason: &str| Err(Refusal::Invalid(format!("a webhook's URL {reason}")));
        let url = Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        let Some(url) = url.filter(|url| url.host().is_some()) else {
            return invalid("begins with https:// (or http:// where that is allowed)");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return invalid("must not carry credentials: use a secret");
        }
        Ok(url)
    }
}

fn check_name(name: &str, what: &str) -> Result<(), Refusal> {
    super::state::check_alias(name).map_err(|_| {
        Refusal::Invalid(format!(
            "{what} is 1 to 64 lower-case letters, digits, '.', '_' or '-', and starts with a letter"
        ))
    })
}

/// The folder of a subscription.
pub(super) fn folder(name: &str) -> String {
    format!("events/{name}")
}

/// The newest form of a subscription and its number; `None` when there never was one or it was removed.
///
/// # Errors
/// [`StoreError`].
pub async fn find(store: &Store, name: &str) -> Result<Option<(u64, Subscription)>, StoreError> {
    let newest = newest(store, &folder(name), "subscription").await?;
    let Some((number, bytes)) = newest else { return Ok(None) };
    let subscription: Subscription = parse(name, &bytes)?;
    Ok((!subscription.removed).then_some((number, subscription)))
}

/// Every subscription that was not removed, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn list(store: &Store) -> Result<Vec<(u64, Subscription)>, StoreError> {
    let mut found = Vec::new();
    for name in folders(store, "events").await? {
        if check_name(&name, "").is_ok() {
            found.extend(find(store, &name).await?);
        }
    }
    Ok(found)
}

/// Writes a form of `subscription` after `number`, the one that the caller has seen (0 for none).
///
/// # Errors
/// [`Refusal::Stale`] when there is a newer one, else [`RegistryError`].
pub async fn write(store: &Store, number: u64, subscription: &Subscription) -> Result<u64, RegistryError> {
    subscription.check()?;
    let next = number + 1;
    let key = numbered_key(&folder(&subscription.name), "subscription", next);
    let bytes = serde_json::to_vec_pretty(subscription).map_err(|e| Refusal::Invalid(e.to_string()))?;
    if !store.create(&key, Bytes::from(bytes)).await? {
        return Err(Refusal::Exists(format!("webhook '{}' was changed by another", subscription.name)).into());
    }
    tidy(store, &folder(&subscription.name), "subscription", next).await;
    Ok(next)
}

/// The number of the newest form, removed or not; 0 when there never was one.
///
/// # Errors
/// [`StoreError`].
pub async fn last_number(store: &Store, name: &str) -> Result<u64, StoreError> {
    Ok(newest(store, &folder(name), "subscription").await?.map_or(0, |(number, _)| number))
}

pub(super) fn numbered_key(folder: &str, what: &str, number: u64) -> String {
    format!("{folder}/{what}-{number:020}.json")
}

/// The newest of numbered objects `<folder>/<what>-<n>.json`.
pub(super) async fn newest(
    store: &Store,
    folder: &str,
    what: &str,
) -> Result<Option<(u64, Bytes)>, StoreError> {
    let mut numbers = numbers(store, folder, what).await?;
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        // Another may have removed it after the listing; then there is a newer one, or an older one will do.
        if let Some(bytes) = store.get(&numbered_key(folder, what, number)).await? {
            return Ok(Some((number, bytes)));
        }
    }
    Ok(None)
}

async fn numbers(store: &Store, folder: &str, what: &str) -> Result<Vec<u64>, StoreError> {
    let number_of = |name: String| {
        let digits = name.strip_prefix(what)?.strip_prefix('-')?.strip_suffix(".json")?;
        digits.parse::<u64>().ok()
    };
    Ok(files(store, folder).await?.into_iter().filter_map(number_of).collect())
}

/// Removes objects that are much older than `newest`. That it cannot is no harm.
pub(super) async fn tidy(store: &Store, folder: &str, what: &str, newest: u64) {
    let Ok(numbers) = numbers(store, folder, what).await else { return };
    for number in numbers.into_iter().filter(|number| number + KEPT < newest) {
        remove(store, &numbered_key(folder, what, number)).await.ok();
    }
}

/// The names of the objects directly in `folder`.
pub(super) async fn files(store: &Store, folder: &str) -> Result<Vec<String>, StoreError> {
    let listed = store.raw().list_with_delimiter(Some(&Path::from(folder))).await;
    let listed = listed.map_err(|error| StoreError::io(folder, error))?;
    let name = |object: object_store::ObjectMeta| object.location.filename().map(str::to_owned);
    let mut names: Vec<String> = listed.objects.into_iter().filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}

/// The names of the folders directly in `folder`.
pub(super) async fn folders(store: &Store, folder: &str) -> Result<Vec<String>, StoreError> {
    let listed = store.raw().list_with_delimiter(Some(&Path::from(folder))).await;
    let listed = listed.map_err(|error| StoreError::io(folder, error))?;
    let name = |path: Path| path.filename().map(str::to_owned);
    let mut names: Vec<String> = listed.common_prefixes.into_iter().filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Removes one object; one that is gone already is no error.
pub(super) async fn remove(store: &Store, key: &str) -> Result<(), StoreError> {
    match store.raw().delete(&Path::from(key)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(StoreError::io(key, error)),
    }
}

fn parse<T: for<'a> Deserialize<'a>>(name: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Location {
        location: format!("webhook {name}"),
        reason: error.to_string(),
    })
}

/// The first `limit` objects below `folder`, by key.
pub(super) async fn head_of(store: &Store, folder: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let path = Path::from(folder);
    let mut stream = store.raw().list(Some(&path));
    let mut keys = std::collections::BTreeSet::new();
    while let Some(object) = stream.try_next().await.map_err(|error| StoreError::io(folder, error))? {
        keys.insert(object.location.to_string());
        if keys.len() > limit {
            keys.pop_last();
        }
    }
    Ok(keys.into_iter().collect())
}

#[cfg(test)]
mod tests;
