//! Whether a store keeps two writers from creating the same object, which every commit relies on.
//!
//! Some servers that speak S3's protocol ignore `If-None-Match`: there the second of two writers would silently replace
//! the first one's revision.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::commit::Backoff;
use super::error::{RegistryError, StoreError};
use super::store::Store;

/// How long it is tried when the store fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Creates a scratch object twice: the second time must fail.
///
/// # Errors
/// [`RegistryError::Unusable`] when it does not, [`RegistryError::Store`] when the store cannot be written to.
pub(super) async fn check(store: &Store) -> Result<(), RegistryError> {
    let unusable = |reason: &str| RegistryError::Unusable {
        location: store.shown().to_owned(),
        reason: format!(
            "{reason}, so two writers could overwrite each other's changes; set single_writer if there is only ever one"
        ),
    };
    let mut backoff = Backoff::new(PATIENCE);
    loop {
        let key = format!("probe/{}", Uuid::new_v4());
        let twice = create_twice(store, &key).await;
        // What stays behind is collected as garbage.
        store.remove_derived(&key).await.ok();
        let error = match twice {
            Ok((true, false)) => return Ok(()),
            Ok((true, true)) => return Err(unusable("the store creates an object that exists already")),
            // The first was answered as a conflict, though nothing was there.
            Ok((false, _)) => None,
            Err(error) if error.is_not_implemented() => {
                return Err(unusable("the store cannot create an object only if there is none"));
            }
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) => Some(error),
        };
        if !backoff.wait().await {
            return Err(match error {
                Some(error) => error.into(),
                None => unusable("the store says that an object exists which does not"),
            });
        }
    }
}

async fn create_twice(store: &Store, key: &str) -> Result<(bool, bool), StoreError> {
    let first = store.create(key, Bytes::from_static(b"first")).await?;
    let second = store.create(key, Bytes::from_static(b"second")).await?;
    Ok((first, second))
}
