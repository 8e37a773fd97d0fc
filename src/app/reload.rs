//! Files that are read again when they change: certificates, keys. No restart, no signal, no notification from a file
//! system that may have none: their contents are compared about once a second, which also sees files that are replaced
//! by renaming a folder above them. A file that cannot be used changes nothing and is complained of once.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use prometheus::IntCounterVec;
use sha2::{Digest, Sha256};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest file: ten thousand keys, or certificates with all that lead to their roots.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Takes the contents of the files, in the order of their paths.
type Apply = Box<dyn Fn(&[Vec<u8>]) -> anyhow::Result<()> + Send>;

/// Files that are used together.
pub(super) struct Watched {
    what: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// What was seen last, whether it could be used or not.
    seen: [u8; 32],
    /// What was complained of last.
    complaint: Option<String>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("what", &self.what)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Watched {
    /// Files whose contents `apply` has taken already, as `contents`.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        contents: &[Vec<u8>],
        apply: impl Fn(&[Vec<u8>]) -> anyhow::Result<()> + Send + 'static,
    ) -> Watched {
        Watched { what, paths, apply: Box::new(apply), seen: digest(contents), complaint: None }
    }

    /// Looks once; `true` when the files changed and are in use, `None` when nothing happened.
    fn look(&mut self) -> Option<bool> {
        let changed = match read_all(&self.paths) {
            Ok(contents) => {
                let digest = digest(&contents);
                if digest == self.seen {
                    // Back to what is in use, after something that could not be.
                    return None;
                }
                self.seen = digest;
                (self.apply)(&contents)
            }
            Err(error) => Err(error),
        };
        match changed {
            Ok(()) => {
                self.complaint = None;
                tracing::info!(what = self.what, "files have changed and are in use");
                Some(true)
            }
            Err(error) => {
                let complaint = format!("{error:#}");
                if self.complaint.as_ref() == Some(&complaint) {
                    return None;
                }
                tracing::warn!(
                    what = self.what,
                    error = complaint,
                    "changed files cannot be used; the old stay"
                );
                self.complaint = Some(complaint);
                Some(false)
            }
        }
    }
}

/// Looks after files until the process ends; `reloads` counts by what and outcome.
pub(super) async fn look_after(mut watched: Vec<Watched>, reloads: IntCounterVec) {
    if watched.is_empty() {
        return;
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let reloads = reloads.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for files in &mut watched {
                // After a panic the old ones stay, until the files change again.
                let looked = catch_unwind(AssertUnwindSafe(|| files.look()));
                if let Some(is_used) = looked.unwrap_or(Some(false)) {
                    reloads.with_label_values(&[files.what, if is_used { "ok" } else { "failed" }]).inc();
                }
            }
            watched
        });
        match looked.await {
            Ok(again) => watched = again,
            Err(_) => return,
        }
    }
}

/// The contents of files, in order.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    paths.iter().map(|path| read(path).with_context(|| path.display().to_string())).collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let len = std::fs::metadata(path)?.len();
    anyhow::ensure!(len <= FILE_BYTES_MAX, "the file has {len} bytes, at most {FILE_BYTES_MAX} are read");
    Ok(std::fs::read(path)?)
}

/// One digest of all; nothing secret is kept to compare with.
fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for content in contents {
        digest.update(Sha256::digest(content));
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn changes_are_taken_and_bad_ones_complained_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("a");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&taken);
        let paths = vec![path.clone()];
        let mut files = Watched::new("test", paths.clone(), &read_all(&paths).unwrap(), move |contents| {
            let text = String::from_utf8(contents[0].clone())?;
            anyhow::ensure!(text != "bad", "it is bad");
            log.lock().push(text);
            Ok(())
        });
        assert_eq!(files.look(), None);
        write("b");
        assert_eq!((files.look(), files.look()), (Some(true), None));
        write("bad");
        assert_eq!((files.look(), files.look()), (Some(false), None));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((files.look(), files.look()), (Some(false), None));
        write("c");
        assert_eq!((files.look(), files.look()), (Some(true), None));
        assert_eq!(*taken.lock(), ["b", "c"]);
    }
}
