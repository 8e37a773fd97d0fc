//! Where a reader begins, and what tells it cheaply that there is something new.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::path::Path;

use super::super::client::{Registry, revision_key};
use super::super::error::{RegistryError, StoreError};
use super::super::revision::Revision;
use super::super::signals;
use super::{Feed, Position};
use crate::model::ModelName;

impl Feed {
    /// Where the logs of `scope` end.
    pub(super) async fn end_of(&self, scope: &str) -> Result<Position, RegistryError> {
        let store = self.registry.store();
        let signal = signals::last(store, scope).await?;
        let Ok(model) = scope.parse::<ModelName>() else { return Ok(Position { rev: 0, signal }) };
        let rev = match self.registry.state(&model).await {
            Ok(state) => state.rev,
            // What can be read of a broken log ends before the revision that cannot.
            Err(RegistryError::Log { rev, .. }) => rev.saturating_sub(1),
            Err(error) => return Err(error),
        };
        Ok(Position { rev, signal })
    }

    /// The position in `scope` before the first entries that are not older than `time`. Authors' clocks may go
    /// backwards, so everything is looked at.
    pub(super) async fn before(
        &self,
        scope: &str,
        end: Position,
        time: DateTime<Utc>,
    ) -> Result<Position, RegistryError> {
        let store = self.registry.store();
        let mut position = end;
        for number in 1..=end.signal {
            if signals::read(store, scope, number).await?.is_some_and(|signal| signal.time >= time) {
                position.signal = number - 1;
                break;
            }
        }
        for rev in 1..=end.rev {
            let Some(bytes) = store.get(&revision_key(scope, rev)).await? else { continue };
            if Revision::parse(&bytes).is_ok_and(|revision| revision.time >= time) {
                position.rev = rev - 1;
                break;
            }
        }
        Ok(position)
    }
}

/// The advisory objects in `folder`, with something that changes when they are written.
pub(super) async fn hints(registry: &Registry, folder: &str) -> Result<Vec<(String, String)>, StoreError> {
    let path = Path::from(folder);
    let mut stream = registry.store().raw().list(Some(&path));
    let mut found = Vec::new();
    while let Some(object) = stream.try_next().await.map_err(|error| StoreError::io(folder, error))? {
        let Some(scope) = object.location.filename() else { continue };
        let mark = format!("{:?} {:?} {}", object.e_tag, object.last_modified, object.size);
        found.push((scope.to_owned(), mark));
    }
    Ok(found)
}
