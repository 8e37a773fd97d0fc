//! Model files that came with a load request: written to a private folder for as long as they are served.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::model::Version;

/// A folder in the layout of a model's; removed when it is dropped.
#[derive(Debug)]
pub(super) struct UploadFolder {
    path: PathBuf,
}

impl UploadFolder {
    /// Writes `files` to a new folder called `name` in `root`. Names of files have been checked by whoever took them.
    pub(super) fn write(
        root: &Path,
        name: &str,
        files: &BTreeMap<(Version, String), Bytes>,
    ) -> io::Result<UploadFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let path = root.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        // Owned from here on, so that a failure below leaves nothing behind.
        let folder = UploadFolder { path };
        for ((version, file), data) in files {
            let version = folder.path.join(version.to_string());
            DirBuilder::new().recursive(true).mode(0o700).create(&version)?;
            let mut out =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(version.join(file))?;
            out.write_all(data)?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UploadFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an upload folder could not be removed");
        }
    }
}
