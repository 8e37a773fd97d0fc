//! Uploads against garbage collection.
//!
//! A registration may find a blob that is already there, old and used by nobody, and leave it at that while a collection
//! is about to delete it. Neither can lock the other out on an object store, so they take turns like this:
//!
//! ```text
//!  collection:    1 write the intent (which blobs)   2 read every log   3 delete those that none names   4 remove the intent
//!  registration:  1 upload what is missing           2 commit           3 read the intents: wait for those that name its
//!                                                                         blobs   4 upload what is missing now
//! ```
//!
//! Stores are consistent: a read that begins after a write has ended sees it. Either the commit has ended before the
//! collection reads the log, and the collection keeps the blobs; or it has not, and then the intent was written before
//! the commit ended, and the registration finds it in step 3, or finds it removed, which is after the last delete. It
//! has the files still and uploads them again. A collection that died leaves its intent: it promises in it for how long
//! it deletes at most, so that after twice that time, by the registration's own clock, it counts for nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::upload::{put_bytes, put_content};
use super::{BlobError, exists};
use crate::registry::error::StoreError;
use crate::registry::record::FileRef;
use crate::registry::store::Store;

/// Where intents are.
pub(in crate::registry) const INTENTS: &str = "gc/intent";
/// The longest time that a collection deletes after it wrote an intent.
pub(in crate::registry) const SWEEP_MAX: Duration = Duration::from_secs(30);
/// How often intents are looked at while one is in the way.
const POLL: Duration = Duration::from_millis(100);

/// What a collection is about to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Intent {
    /// It deletes for no longer than this from before the intent was written.
    pub(in crate::registry) sweep_ms: u64,
    /// SHA-256 of the blobs.
    pub(in crate::registry) blobs: BTreeSet<String>,
}

/// Where the content of a file can be read again.
#[derive(Debug, Clone)]
pub enum Content {
    /// A local file.
    File(PathBuf),
    /// Memory.
    Bytes(Bytes),
}

/// Makes sure that the files of a revision are there, now that it is committed. Whoever commits a revision that names
/// blobs calls this *after* the commit and before it reports success, with the content still at hand.
///
/// This is what makes garbage collection safe: see the head of this file. Called before the commit it proves nothing.
///
/// # Errors
/// [`BlobError`]; calling it again is right.
pub async fn touch(store: &Store, files: &[(FileRef, Content)]) -> Result<(), BlobError> {
    let refs: Vec<FileRef> = files.iter().map(|(file, _)| file.clone()).collect();
    let missing = settle(store, &refs).await?;
    for (file, content) in files.iter().filter(|(file, _)| missing.contains(file)) {
        match content {
            Content::File(local) => put_content(store, local, file).await?,
            Content::Bytes(bytes) => {
                put_bytes(store, &file.path, bytes.clone()).await?;
            }
        }
    }
    Ok(())
}

/// Waits until no collection is about to delete one of `files`, and returns those that are missing. For a revision that
/// names old blobs without having their content (`undelete`): call it after the commit, and take the commit back when
/// something is missing.
///
/// # Errors
/// [`BlobError`].
pub async fn settle(store: &Store, files: &[FileRef]) -> Result<Vec<FileRef>, BlobError> {
    let wanted: BTreeSet<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    let mut seen: HashMap<String, Instant> = HashMap::new();
    loop {
        let now = Instant::now();
        let mut in_the_way = false;
        for (key, sweep) in intents_on(store, &wanted).await? {
            let first = *seen.entry(key).or_insert(now);
            in_the_way |= now.duration_since(first) <= sweep * 2;
        }
        if !in_the_way {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let mut missing = Vec::new();
    for file in files {
        if !exists(store, file).await? {
            missing.push(file.clone());
        }
    }
    Ok(missing)
}

/// The intents that name one of `wanted`, and for how long they count.
async fn intents_on(store: &Store, wanted: &BTreeSet<&str>) -> Result<Vec<(String, Duration)>, BlobError> {
    let listed = store.raw().list(Some(&Path::from(INTENTS)));
    let listed: Vec<_> = listed.try_collect().await.map_err(|error| StoreError::io(INTENTS, error))?;
    let mut found = Vec::new();
    for meta in listed {
        let key = meta.location.to_string();
        let Some(bytes) = store.get(&key).await? else { continue };
        // One that cannot be read may name anything.
        let (names_one, sweep) = match serde_json::from_slice::<Intent>(&bytes) {
            Ok(intent) => {
                let names_one = intent.blobs.iter().any(|blob| wanted.contains(blob.as_str()));
                (names_one, Duration::from_millis(intent.sweep_ms).min(SWEEP_MAX))
            }
            Err(_) => (true, SWEEP_MAX),
        };
        if names_one {
            found.push((key, sweep));
        }
    }
    Ok(found)
}
