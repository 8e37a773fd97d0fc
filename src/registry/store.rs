//! The object store under a registry: opened by URL, addressed by keys below the registry's root.
//!
//! Everything else in this module goes through here, so that a test can put a faulty store in its place. Keys are only
//! ever created or, for hints, overwritten: nothing here updates an object in place.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use super::error::StoreError;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Credentials and settings of the bucket, by the names that `object_store` gives them (`aws_endpoint`, …).
    pub options: Vec<(String, String)>,
    /// Whether a local write is on the disk before it is acknowledged.
    pub fsync: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { options: Vec::new(), fsync: true }
    }
}

/// An opened store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    /// For messages: the URL or path, without credentials.
    shown: Arc<str>,
}

impl Store {
    /// Opens `location`: a directory (created when it is missing), or an `s3://`, `az://`, `gs://` or `file://` URL.
    ///
    /// # Errors
    /// [`StoreError`] when the location cannot be understood or, for a directory, not be opened.
    pub fn open(location: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        let unusable = |reason: String| StoreError::Location { location: location.to_owned(), reason };
        let url = Url::parse(location).ok().filter(|url| url.scheme().len() > 1);
        let folder = match &url {
            None => Some(FilePath::new(location).to_owned()),
            Some(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Some(_) => None,
        };
        if let Some(folder) = folder {
            std::fs::create_dir_all(&folder).map_err(|error| unusable(error.to_string()))?;
            let local =
                LocalFileSystem::new_with_prefix(&folder).map_err(|error| unusable(error.to_string()))?;
            let shown = folder.display().to_string();
            return Ok(Store { inner: Arc::new(local.with_fsync(options.fsync)), shown: shown.into() });
        }
        let url = url.ok_or_else(|| unusable("it is neither a directory nor a URL".to_owned()))?;
        let (bucket, prefix) = object_store::parse_url_opts(&url, options.options.iter().cloned())
            .map_err(|error| unusable(error.to_string()))?;
        let mut shown = url.clone();
        // Neither can fail for the schemes that `parse_url_opts` takes; what is shown is only shown.
        shown.set_password(None).ok();
        shown.set_query(None);
        Ok(Store { inner: Arc::new(PrefixStore::new(bucket, prefix)), shown: shown.as_str().into() })
    }

    /// A store in memory, for tests.
    pub fn memory() -> Store {
        Store::over(Arc::new(InMemory::new()), "memory")
    }

    /// A store over `inner`.
    pub fn over(inner: Arc<dyn ObjectStore>, shown: &str) -> Store {
        Store { inner, shown: shown.into() }
    }

    /// The location, without credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The store below, for streams and listings.
    pub fn raw(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    /// The object at `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let read = async { self.inner.get(&Path::from(key)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::io(key, error)),
        }
    }

    /// Creates `key`. False when there is an object already, which may be this caller's own.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the object may have been created all the same.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner.put_opts(&Path::from(key), PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(StoreError::io(key, error)),
        }
    }

    /// Writes `key`, whatever was there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn overwrite(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.inner.put(&Path::from(key), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| StoreError::io(key, error))
    }
}
