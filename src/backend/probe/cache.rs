//! Verdicts kept between starts, one small file each, named by everything that they depend on.
//!
//! A verdict that cannot be read counts as none; one that cannot be written is logged and found again next time.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::BackendError;
use super::super::onnx::precheck;
use super::exercise::ProbeSubject;
use super::protocol::WireOptions;
use super::sample::SampleRun;
use super::verdict::Verdict;

/// Changes when the experiments or the meaning of a verdict change.
const FORMAT: u32 = 3;
/// A verdict file is a few hundred bytes, with a sample run at most 3 MiB; whatever is longer is none.
const FILE_LEN_MAX: u64 = 8 << 20;

/// A folder of verdicts.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    build_info: String,
    /// Keeps apart the temporary files of threads that write the same verdict.
    writes: AtomicU64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    format: u32,
    key: String,
    verdict: Verdict,
}

impl Cache {
    pub(super) fn new(folder: PathBuf, build_info: &str) -> Cache {
        Cache { folder, build_info: build_info.to_owned(), writes: AtomicU64::new(0) }
    }

    /// The name of `subject`'s verdict: a digest of the file, the files that it refers to, how it is to be opened, and
    /// the runtime's build.
    ///
    /// # Errors
    /// [`BackendError::Artifact`] when a file is not allowed or cannot be read.
    pub(super) fn key(&self, subject: &ProbeSubject) -> Result<String, BackendError> {
        let facts = precheck::check(&subject.artifact.path)?;
        let mut digest = Sha256::new();
        hash_file(&subject.artifact.path, &mut digest)?;
        for file in &facts.external_files {
            hash_file(file, &mut digest)?;
        }
        let options = serde_json::to_vec(&WireOptions::of(&subject.options)).unwrap_or_default();
        let (rows, tolerance, zero) = (subject.rows_max, subject.tolerance, subject.try_zero);
        let rest = format!("{FORMAT} {rows} {tolerance} {zero} {} ", self.build_info);
        digest.update(rest.as_bytes());
        digest.update(&options);
        if subject.sample != SampleRun::None {
            digest.update(serde_json::to_vec(&subject.sample).unwrap_or_default());
        }
        let mut key = String::new();
        for byte in digest.finalize() {
            // Writing to a string cannot fail.
            write!(key, "{byte:02x}").ok();
        }
        Ok(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<Verdict> {
        let file = File::open(self.path(key)).ok()?;
        let entry: Entry = serde_json::from_reader(file.take(FILE_LEN_MAX)).ok()?;
        (entry.format == FORMAT && entry.key == key).then_some(entry.verdict)
    }

    pub(super) fn put(&self, key: &str, verdict: &Verdict) {
        let entry = Entry { format: FORMAT, key: key.to_owned(), verdict: verdict.clone() };
        if let Err(error) = self.write(key, &entry) {
            tracing::warn!(folder = %self.folder.display(), %error, "a probe's verdict was not kept");
        }
    }

    /// Writes under a temporary name first, so that no reader sees half a file.
    fn write(&self, key: &str, entry: &Entry) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{key}.{}.{number}", std::process::id()));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        std::fs::rename(&temporary, self.path(key))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}

fn hash_file(path: &Path, digest: &mut Sha256) -> Result<(), BackendError> {
    let failed = |error: std::io::Error| BackendError::Artifact(format!("it cannot be read: {error}"));
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0u64;
    loop {
        let len = file.read(&mut buffer).map_err(failed)?;
        let Some(read @ [_, ..]) = buffer.get(..len) else { break };
        digest.update(read);
        total += len as u64;
    }
    // Keeps one file's end and the next one's beginning apart.
    digest.update(total.to_le_bytes());
    Ok(())
}
