//! Packages in a bucket: downloaded to a folder of their own, which goes with the last package that uses it.
//!
//! A key is only a name that somebody chose: what would not be a plain path on a disk refuses the download.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use url::Url;
use uuid::Uuid;

use super::{Limits, PackageError, check_path};
use crate::registry::error::StoreError;
use crate::registry::store::{Store, StoreOptions, shown};

/// No download or upload takes as long.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// A new folder below `parent`, for this user only.
    ///
    /// # Errors
    /// [`PackageError::Io`].
    pub fn new(parent: &Path) -> Result<Staging, PackageError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = parent.join(format!("weir-{}", Uuid::now_v7()));
        let failed = |error: std::io::Error| PackageError::io(parent, error);
        std::fs::create_dir_all(parent).map_err(failed)?;
        sweep(parent, SystemTime::now());
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Staging { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes folders that processes which were killed left behind. Their names tell when they were made.
fn sweep(parent: &Path, now: SystemTime) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id =
            name.to_str().and_then(|name| name.strip_prefix("weir-")).and_then(|id| Uuid::try_parse(id).ok());
        let Some(made) = id.and_then(|id| id.get_timestamp()) else { continue };
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(made.to_unix().0);
        if now.duration_since(made).is_ok_and(|age| age > LEFT_BEHIND) {
            // Another user's stays.
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => {
                    tracing::info!(folder = %entry.path().display(), "removed what a killed process left")
                }
                Err(error) => tracing::debug!(folder = %entry.path().display(), %error, "not removed"),
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "a staging folder was left behind");
        }
    }
}

/// What was downloaded.
pub(super) struct Fetched {
    /// The file or folder.
    pub(super) path: PathBuf,
    /// What keeps it.
    pub(super) staging: Arc<Staging>,
}

/// Downloads the object at `url`, or everything below it.
pub(super) async fn fetch(
    url: &Url,
    options: &StoreOptions,
    staging: &Path,
    limits: Limits,
) -> Result<Fetched, PackageError> {
    let (parent, name) = split(url)?;
    let store = Store::open(parent.as_str(), options)?;
    let staging = Arc::new(Staging::new(staging)?);
    let path = staging.path().join(&name);
    let objects = list(&store, &name, limits).await?;
    if objects.is_empty() {
        return Err(PackageError::invalid(format!("there is nothing at {}", shown(url))));
    }
    for object in objects {
        let relative = object.location.as_ref();
        check_path(relative).map_err(PackageError::Invalid)?;
        download(&store, &object, &staging.path().join(relative)).await?;
    }
    Ok(Fetched { path, staging })
}

/// The URL of the folder that holds it, and its name there.
fn split(url: &Url) -> Result<(Url, String), PackageError> {
    let path = url.path().trim_end_matches('/');
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || check_path(name).is_err() {
        return Err(PackageError::invalid(format!("{} names no file or folder in the bucket", shown(url))));
    }
    let mut parent = url.clone();
    parent.set_path(&format!("{folder}/"));
    Ok((parent, name.to_owned()))
}

/// The object called `name`, or else all below it, within the limits.
async fn list(store: &Store, name: &str, limits: Limits) -> Result<Vec<ObjectMeta>, PackageError> {
    let failed = |source| StoreError::Io { key: name.to_owned(), source };
    match store.raw().head(&Key::from(name)).await {
        Ok(object) => return Ok(vec![object]),
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(failed(error).into()),
    }
    let mut objects = Vec::new();
    let mut bytes = 0u64;
    let prefix = Key::from(name);
    let mut listing = store.raw().list(Some(&prefix));
    while let Some(object) = listing.try_next().await.map_err(failed)? {
        bytes = bytes.saturating_add(object.size);
        // Some tools mark folders by empty objects that end with a slash.
        if object.size == 0 && object.location.as_ref().ends_with('/') {
            continue;
        }
        if objects.len() >= limits.files_max || bytes > limits.bytes_max {
            return Err(PackageError::invalid(format!(
                "it holds more than {} files or {} bytes",
                limits.files_max, limits.bytes_max
            )));
        }
        objects.push(object);
    }
    Ok(objects)
}

async fn download(store: &Store, object: &ObjectMeta, target: &Path) -> Result<(), PackageError> {
    let key = object.location.to_string();
    let failed = |source| StoreError::Io { key: key.clone(), source };
    let io = |error: std::io::Error| PackageError::io(target, error);
    if let Some(folder) = target.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(io)?;
    }
    let mut file = tokio::fs::File::create_new(target).await.map_err(io)?;
    let mut stream = store.raw().get(&object.location).await.map_err(failed)?.into_stream();
    let mut len = 0u64;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(failed)?;
        len += chunk.len() as u64;
        if len > object.size {
            break;
        }
        file.write_all(&chunk).await.map_err(io)?;
    }
    file.flush().await.map_err(io)?;
    if len != object.size {
        return Err(PackageError::invalid(format!("'{key}' changed while it was downloaded")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_is_refused_as_in_the_url_of_a_registry() {
        let url = Url::parse("s3://bucket/models/m.onnx?endpoint=http://127.0.0.1:1").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fetched = fetch(&url, &StoreOptions::default(), folder.path(), Limits::default()).await;
        let Err(PackageError::Store(error)) = fetched else { panic!("it is fetched") };
        let text = error.to_string();
        assert!(text.contains("'s3://bucket/models/'") && !text.contains("127.0.0.1"), "{text}");
    }

    #[test]
    fn what_killed_processes_left_is_removed_after_a_day() {
        let parent = tempfile::tempdir().unwrap();
        let seconds = |age: u64| 1_790_000_000 - age;
        let made = |age| {
            let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds(age), 0);
            let path = parent.path().join(format!("weir-{}", Uuid::new_v7(time)));
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("model.onnx"), b"part").unwrap();
            path
        };
        let (old, young) = (made(90_000), made(80_000));
        let others = ["weir-notes", "weir-67e55044-10b1-426f-9247-bb680e5fe0c8", "other"];
        others.iter().for_each(|name| std::fs::create_dir(parent.path().join(name)).unwrap());
        sweep(parent.path(), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds(0)));
        assert!(!old.exists() && young.exists());
        assert!(others.iter().all(|name| parent.path().join(name).exists()));
    }
}
