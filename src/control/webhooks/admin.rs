//! Who is sent events, as people change it: the same for the command line and for the control API. Delivering is another's.

use std::sync::Arc;

use chrono::Utc;
use serde::Serialize;

use crate::control::events::end_of_logs;
use crate::registry::feed::Positions;
use crate::registry::webhook::cursor::{self, Cursor};
use crate::registry::webhook::dead::{self, DeadLetter};
use crate::registry::webhook::{self, SUBSCRIPTIONS_MAX, Subscription};
use crate::registry::{Actor, Refusal, Registry, RegistryError};

/// What to do with a webhook that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Change it; it goes on where it was.
    Replace,
}

/// A webhook and how it gets on.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// What it wants.
    pub webhook: Subscription,
    /// Events that are tried again.
    pub pending: usize,
    /// Events that were given up.
    pub dead_letters: usize,
}

/// Has events sent to a webhook. A new one begins with what comes, or with the first events of all models.
///
/// # Errors
/// [`Refusal`] for what cannot be a webhook, for one too many, and for one that is there and is to be kept.
pub async fn subscribe(
    registry: &Arc<Registry>,
    subscription: &Subscription,
    existing: Existing,
    is_from_beginning: bool,
) -> Result<u64, RegistryError> {
    subscription.check()?;
    let (store, name) = (registry.store(), &subscription.name);
    let number = webhook::last_number(store, name).await?;
    let is_there = webhook::find(store, name).await?.is_some();
    if is_there && existing == Existing::Keep {
        return Err(Refusal::Exists(format!("there is a webhook '{name}' already")).into());
    }
    if !is_there {
        if webhook::list(store).await?.len() >= SUBSCRIPTIONS_MAX {
            return Err(
                Refusal::Precondition(format!("there are {SUBSCRIPTIONS_MAX} webhooks already")).into()
            );
        }
        // Written first, so that nothing that happens from now on is missed.
        let from = if is_from_beginning { Positions::new() } else { end_of_logs(registry).await? };
        let (last, _) = cursor::read(store, name).await?;
        cursor::write(store, name, last + 1, &Cursor::at(from)).await?;
    }
    webhook::write(store, number, subscription).await
}

/// Sends no more events to a webhook.
///
/// # Errors
/// [`Refusal::NotFound`] for one that is not there.
pub async fn unsubscribe(registry: &Registry, name: &str, actor: Actor) -> Result<(), RegistryError> {
    let (number, subscription) = find(registry, name).await?;
    let removed = Subscription { removed: true, actor, time: Utc::now(), ..subscription };
    webhook::write(registry.store(), number, &removed).await.map(drop)
}

/// Every webhook, by name.
///
/// # Errors
/// When the store cannot be read.
pub async fn overview(registry: &Registry) -> Result<Vec<Overview>, RegistryError> {
    let store = registry.store();
    let mut found = Vec::new();
    for (_, webhook) in webhook::list(store).await? {
        let (_, cursor) = cursor::read(store, &webhook.name).await?;
        let dead_letters = dead::letters(store, &webhook.name).await?.len();
        found.push(Overview { webhook, pending: cursor.pending.len(), dead_letters });
    }
    Ok(found)
}

/// A webhook and the number of its newest change.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn find(registry: &Registry, name: &str) -> Result<(u64, Subscription), RegistryError> {
    let found = webhook::find(registry.store(), name).await?;
    found.ok_or_else(|| Refusal::NotFound(format!("there is no webhook '{name}'")).into())
}

/// The events that were given up, and where each of them lies.
///
/// # Errors
/// [`Refusal::NotFound`] for a webhook that is not there.
pub async fn dead_letters(
    registry: &Registry,
    name: &str,
) -> Result<Vec<(String, DeadLetter)>, RegistryError> {
    find(registry, name).await?;
    Ok(dead::letters(registry.store(), name).await?)
}

/// Has events that were given up sent again: all, or that with the id. Returns how many.
///
/// # Errors
/// [`Refusal::NotFound`] for a webhook, or an event, that is not there.
pub async fn retry(registry: &Registry, name: &str, id: Option<&str>) -> Result<usize, RegistryError> {
    let mut letters = dead_letters(registry, name).await?;
    letters.retain(|(_, letter)| id.is_none_or(|id| *id == letter.event.id));
    if let Some(id) = id.filter(|_| letters.is_empty()) {
        return Err(Refusal::NotFound(format!("there is no dead letter of event '{id}'")).into());
    }
    letters.sort_by(|(_, a), (_, b)| a.event.sequence.cmp(&b.event.sequence));
    let begun = Utc::now().timestamp_micros();
    for (order, (key, letter)) in letters.iter().enumerate() {
        dead::request(registry.store(), name, &format!("{begun:020}-{order:010}"), &letter.event).await?;
        dead::discard(registry.store(), key).await?;
    }
    Ok(letters.len())
}
