//! From what a user names, a path or a URL, to packages.

use std::path::{Path, PathBuf};

use url::Url;

use super::{Limits, Package, PackageError, folder, remote};
use crate::model::Version;
use crate::registry::store::{self, StoreOptions};

/// Which versions of a Triton model are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The highest number.
    #[default]
    Newest,
    /// This one.
    Number(Version),
    /// Each, ascending.
    All,
}

/// The packages at `location`: a path, or an `s3://`, `az://`, `gs://` or `file://` URL. What is remote is downloaded to
/// a folder below `staging`, which lives as long as the packages.
///
/// # Errors
/// [`PackageError`].
pub async fn open(
    location: &str,
    choice: Choice,
    options: &StoreOptions,
    staging: &Path,
    limits: Limits,
) -> Result<Vec<Package>, PackageError> {
    let url = Url::parse(location).ok().filter(|url| url.scheme().len() > 1);
    let (path, shown, download) = match url {
        Some(url) if url.scheme() == "file" => {
            let path =
                url.to_file_path().map_err(|()| PackageError::invalid("the file:// URL names no path"))?;
            let shown = path.display().to_string();
            (path, shown, None)
        }
        Some(url) => {
            let fetched = remote::fetch(&url, options, staging, limits).await?;
            (fetched.path.clone(), store::shown(&url), Some(fetched.staging))
        }
        None => (PathBuf::from(location), location.to_owned(), None),
    };
    let read = tokio::task::spawn_blocking(move || folder::read(&path, &shown, choice, limits));
    let read = read.await.map_err(|error| PackageError::invalid(format!("reading it failed: {error}")))?;
    let mut packages = read?;
    for package in &mut packages {
        package.staging.clone_from(&download);
    }
    Ok(packages)
}
