//! The object store under a registry: opened by URL, addressed by keys below the registry's root.
//!
//! Everything else in this module goes through here, so that a test can put a faulty store in its place. Keys are only
//! ever created or, for hints, overwritten: nothing here updates an object in place.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions, PutPayload, RetryConfig,
};
use url::Url;

use super::error::StoreError;

/// Largest object that is read or written in one piece. Files of versions are streamed and have no such bound.
pub const OBJECT_LEN_MAX: u64 = 64 << 20;

/// How often a bucket's client tries again by itself, and for how long: the registry has its own patience above it.
const BUCKET_RETRIES_MAX: usize = 4;
const BUCKET_RETRY_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The same store without fsync, for what can be derived again: hints and snapshots.
    derived: Arc<dyn ObjectStore>,
    /// The directory below, when it is one.
    folder: Option<Arc<FilePath>>,
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
        if let Some(url) = url.as_ref().filter(|url| url.query().is_some() || url.fragment().is_some()) {
            return Err(with_more_than_a_path(url));
        }
        let folder = match &url {
            None => Some(FilePath::new(location).to_owned()),
            Some(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Some(_) => None,
        };
        if let Some(folder) = folder {
            std::fs::create_dir_all(&folder).map_err(|error| unusable(error.to_string()))?;
            let local =
                LocalFileSystem::new_with_prefix(&folder).map_err(|error| unusable(error.to_string()))?;
            return Ok(Store {
                derived: Arc::new(local.clone()),
                inner: Arc::new(local.with_fsync(options.fsync)),
                shown: folder.display().to_string().into(),
                folder: Some(folder.into()),
            });
        }
        let url = url.ok_or_else(|| unusable("it is neither a directory nor a URL".to_owned()))?;
        let bucket = open_bucket(&url, &options.options).map_err(|error| unusable(error.to_string()))?;
        Ok(Store::over(bucket, &shown(&url)))
    }

    /// Refuses a URL of a bucket that no store can be opened with. Asks nobody, and says nothing of a directory, which may
    /// come later.
    ///
    /// # Errors
    /// [`StoreError::Location`].
    pub fn check(location: &str, options: &StoreOptions) -> Result<(), StoreError> {
        match Url::parse(location) {
            Ok(url) if url.scheme().len() > 1 && url.scheme() != "file" => {
                Store::open(location, options).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A store in memory, for tests.
    pub fn memory() -> Store {
        Store::over(Arc::new(InMemory::new()), "memory")
    }

    /// A store over `inner`.
    pub fn over(inner: Arc<dyn ObjectStore>, shown: &str) -> Store {
        Store { derived: Arc::clone(&inner), inner, folder: None, shown: shown.into() }
    }

    /// The location, without credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The directory below, when it is one.
    pub(super) fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    /// The store below, for streams and listings.
    pub fn raw(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    /// The object at `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`]; it has more than [`OBJECT_LEN_MAX`] bytes, for example.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let found = match self.inner.get(&Path::from(key)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(StoreError::io(key, error)),
        };
        if found.meta.size > OBJECT_LEN_MAX {
            return Err(StoreError::TooLarge { key: key.to_owned(), size: found.meta.size });
        }
        found.bytes().await.map(Some).map_err(|error| StoreError::io(key, error))
    }

    /// Creates `key`. False when there is an object already, which may be this caller's own.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the object may have been created all the same.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, StoreError> {
        self.check_folder().await?;
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
        self.check_folder().await?;
        let put = self.inner.put(&Path::from(key), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| StoreError::io(key, error))
    }

    /// Writes what can be derived again, whatever was there: on a directory it may not be on the disk yet.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) async fn overwrite_derived(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.check_folder().await?;
        let put = self.derived.put(&Path::from(key), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| StoreError::io(key, error))
    }

    /// Fails when the directory below has been moved away: a write would make it anew, and its owner could not put it back.
    /// Looked at before each write, since whoever looked before a longer piece of work may have looked too early.
    async fn check_folder(&self) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match tokio::fs::metadata(folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(StoreError::Location {
                location: self.shown.to_string(),
                reason: "it is not there any more".to_owned(),
            }),
            // Of anything else the write itself says more.
            _ => Ok(()),
        }
    }

    /// Removes what can be derived again. That it is gone already is no error.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) async fn remove_derived(&self, key: &str) -> Result<(), StoreError> {
        match self.derived.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::io(key, error)),
        }
    }

    /// What lies in `folder`, in no order.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let listed: Result<Vec<_>, _> = self.inner.list(Some(&Path::from(folder))).try_collect().await;
        listed.map_err(|error| StoreError::io(folder, error))
    }

    /// The names of the folders in `folder`, in no order.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listed = self.inner.list_with_delimiter(Some(&Path::from(folder))).await;
        let listed = listed.map_err(|error| StoreError::io(folder, error))?;
        let names = listed.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned));
        Ok(names.collect())
    }
}

/// Refuses a URL with a query, which may be a credential and is not shown. Without this it would go unread, and a registry be
/// looked for at another endpoint than the one that it names.
fn with_more_than_a_path(url: &Url) -> StoreError {
    let reason = "nothing is read from what follows '?' or '#' in a URL: endpoints and credentials are read from the variables \
                  AWS_…, AZURE_… and GOOGLE_…, and in a path '?' is written %3F and '#' %23";
    StoreError::Location { location: shown(url), reason: reason.to_owned() }
}

/// The URL without credentials and query.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // Can only fail for URLs without a host, which have no credentials.
    shown.set_username("").ok();
    shown.set_password(None).ok();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// A bucket and the folder in it that `url` names.
fn open_bucket(url: &Url, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let (scheme, folder) = ObjectStoreScheme::parse(url).map_err(object_store::Error::from)?;
    let retry = RetryConfig {
        max_retries: BUCKET_RETRIES_MAX,
        retry_timeout: BUCKET_RETRY_TIMEOUT,
        ..RetryConfig::default()
    };
    // Options that another kind of store knows are left out, so that one set of them can serve several locations.
    macro_rules! build {
        ($builder:ty) => {{
            let mut builder = <$builder>::new().with_url(url.as_str()).with_retry(retry);
            for (name, value) in options {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(PrefixStore::new(builder.build()?, folder)) as Arc<dyn ObjectStore>
        }};
    }
    Ok(match scheme {
        ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder),
        ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder),
        ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder),
        _ => {
            return Err(object_store::Error::NotSupported {
                source: format!("'{}' is not s3, az, gs or file", url.scheme()).into(),
            });
        }
    })
}
