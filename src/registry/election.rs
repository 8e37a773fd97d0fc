//! Which process does what only one must do. `events/_lease/lease-<n>.json`, created once each, the highest number
//! counts.
//!
//! Clocks of different machines are never compared: a lease has run out for an observer when it has watched the same
//! number for the whole term on its own clock. Its holder renews it well before. Two may still believe that they hold
//! it for a moment (a process that was stopped for a while), so what is done under it must bear to be done twice.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::StoreError;
use super::store::Store;
use super::webhook::{newest, numbered_key, tidy};

const FOLDER: &str = "events/_lease";
const WHAT: &str = "lease";

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    /// The process that holds it.
    holder: Uuid,
    /// What it is called, for people.
    name: String,
    /// Whether it was given back.
    released: bool,
}

/// A candidate for the lease.
#[derive(Debug)]
pub struct Election {
    store: Store,
    me: Uuid,
    name: String,
    /// How long a lease is good for without being renewed.
    term: Duration,
    /// The newest number seen, and since when.
    seen: Option<(u64, Instant)>,
    /// The number of this candidate's own lease.
    held: Option<u64>,
}

impl Election {
    /// A candidate. `name` is for people.
    pub fn new(store: Store, name: String, term: Duration) -> Election {
        Election { store, me: Uuid::new_v4(), name, term, seen: None, held: None }
    }

    /// How often to [`try_hold`](Self::try_hold).
    pub fn interval(&self) -> Duration {
        self.term / 4
    }

    /// Takes or renews the lease. False when another holds it.
    ///
    /// # Errors
    /// [`StoreError`]; whether it is held is not known then.
    pub async fn try_hold(&mut self) -> Result<bool, StoreError> {
        let now = Instant::now();
        let newest = newest(&self.store, FOLDER, WHAT).await?;
        let (number, lease) = match newest {
            None => (0, None),
            Some((number, bytes)) => (number, serde_json::from_slice::<Lease>(&bytes).ok()),
        };
        let is_mine = lease.as_ref().is_some_and(|lease| lease.holder == self.me && !lease.released);
        let is_free = number == 0 || lease.is_none_or(|lease| lease.released);
        let since = match self.seen {
            Some((seen, since)) if seen == number => since,
            _ => now,
        };
        self.seen = Some((number, since));
        if !is_mine && !is_free && now.duration_since(since) < self.term {
            self.held = None;
            return Ok(false);
        }
        let next = number + 1;
        let is_held = self.create(next, false).await?;
        self.held = is_held.then_some(next);
        self.seen = Some((next, now));
        Ok(is_held)
    }

    /// Gives the lease back, so that another need not wait for its end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release(&mut self) -> Result<(), StoreError> {
        if let Some(held) = self.held.take() {
            self.create(held + 1, true).await?;
        }
        Ok(())
    }

    async fn create(&self, number: u64, released: bool) -> Result<bool, StoreError> {
        let lease = Lease { holder: self.me, name: self.name.clone(), released };
        let text = serde_json::to_vec(&lease).map_err(|error| StoreError::Location {
            location: FOLDER.to_owned(),
            reason: error.to_string(),
        })?;
        let key = numbered_key(FOLDER, WHAT, number);
        if self.store.create(&key, Bytes::from(text)).await? {
            tidy(&self.store, FOLDER, WHAT, number).await;
            return Ok(true);
        }
        // It may be this candidate's own, from a try whose answer was lost.
        let there = self.store.get(&key).await?;
        let there = there.and_then(|bytes| serde_json::from_slice::<Lease>(&bytes).ok());
        Ok(there.is_some_and(|there| there.holder == self.me))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(store: &Store) -> Election {
        Election::new(store.clone(), "test".to_owned(), Duration::from_secs(20))
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_it_until_it_stops_renewing() {
        let store = Store::memory();
        let (mut a, mut b) = (candidate(&store), candidate(&store));
        assert!(a.try_hold().await.unwrap());
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(5)).await;
            assert!(a.try_hold().await.unwrap());
            assert!(!b.try_hold().await.unwrap());
        }
        // a ends without a word.
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!b.try_hold().await.unwrap());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(b.try_hold().await.unwrap());
        assert!(!a.try_hold().await.unwrap(), "a must see that it lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_given_back_is_free_at_once() {
        let store = Store::memory();
        let (mut a, mut b) = (candidate(&store), candidate(&store));
        assert!(a.try_hold().await.unwrap() && !b.try_hold().await.unwrap());
        a.release().await.unwrap();
        assert!(b.try_hold().await.unwrap() && !a.try_hold().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_come_at_once_one_holds_it() {
        let store = Store::memory();
        let mut candidates: Vec<Election> = (0..8).map(|_| candidate(&store)).collect();
        for _ in 0..10 {
            let tries = candidates.iter_mut().map(|candidate| candidate.try_hold());
            let held = futures_util::future::join_all(tries).await;
            assert_eq!(held.iter().filter(|held| *held.as_ref().unwrap()).count(), 1, "{held:?}");
        }
    }
}
