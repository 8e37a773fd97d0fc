//! One look at the paths that were given: names, versions and the stamps of their files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::{ModelName, Version};

/// The file that holds a version's model.
pub(in crate::serving) const MODEL_FILE: &str = "model.onnx";

/// Most entries of a folder that are looked at; what is beyond them is not served, with a warning.
const ENTRIES_MAX: usize = 100_000;

/// A path to serve from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serving) enum Source {
    /// A folder of models.
    Repository(PathBuf),
    /// The folder of one model.
    Model(PathBuf),
    /// One model file.
    File(PathBuf),
}

/// What one look has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::serving) struct Snapshot {
    /// Models by name.
    pub(in crate::serving) models: BTreeMap<ModelName, ModelFiles>,
    /// What is there and not served, and why. The same defect gives the same text at every look.
    pub(in crate::serving) warnings: Vec<String>,
    /// Models whose folder could not be read this time: nothing is known about them.
    pub(in crate::serving) unreadable: BTreeSet<ModelName>,
}

/// A model's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::serving) struct ModelFiles {
    /// The model's folder; `None` for a model that is one file.
    pub(in crate::serving) folder: Option<PathBuf>,
    /// The files beside the version folders, configuration and labels among them.
    pub(in crate::serving) common: Stamps,
    /// The versions.
    pub(in crate::serving) versions: BTreeMap<Version, VersionFiles>,
}

/// A version's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::serving) struct VersionFiles {
    /// The version's folder; `None` for a model that is one file.
    pub(in crate::serving) folder: Option<PathBuf>,
    /// The model file, which need not be there.
    pub(in crate::serving) path: PathBuf,
    /// Every file in the version's folder: external data changes a model too.
    pub(in crate::serving) stamps: Stamps,
}

/// File names and what tells that a file has changed.
pub(in crate::serving) type Stamps = BTreeMap<String, Stamp>;

/// What tells that a file has changed: a rewrite changes its time or length, a rename its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serving) struct Stamp {
    len: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            len: metadata.len(),
            inode: metadata.ino(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }
}

impl Source {
    /// What `path` is.
    pub(in crate::serving) fn detect(path: &Path) -> io::Result<Source> {
        let metadata = fs::metadata(path)?;
        let path = path.canonicalize()?;
        if metadata.is_file() {
            return Ok(Source::File(path));
        }
        let is_version =
            |name: &str| name.parse::<Version>().is_ok() && path.join(name).join(MODEL_FILE).is_file();
        let (entries, _) = list(&path)?;
        if entries.iter().any(|name| is_version(name)) {
            return Ok(Source::Model(path));
        }
        Ok(Source::Repository(path))
    }

    /// The folder that holds the model called `name`, if this source may have it.
    fn folder_of(&self, name: &str) -> Option<PathBuf> {
        match self {
            Source::Repository(path) => Some(path.join(name)).filter(|folder| folder.is_dir()),
            Source::Model(path) => {
                Some(path.clone()).filter(|path| path.file_name().is_some_and(|f| f == name))
            }
            Source::File(_) => None,
        }
    }
}

/// Looks at every source. Of two models with one name, the one in the earlier source is served.
///
/// # Errors
/// When a repository folder cannot be read at all: better to keep what was seen before than to take an unreachable
/// disk for an empty one.
pub(in crate::serving) fn scan(sources: &[Source]) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for source in sources {
        match source {
            Source::File(path) => {
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                snapshot.add(stem, path, scan_file(path));
            }
            Source::Model(path) => {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                snapshot.add(name, path, scan_folder(path));
            }
            Source::Repository(path) => {
                let (entries, complete) = list(path)?;
                if !complete {
                    snapshot.warnings.push(format!("{}: more than {ENTRIES_MAX} entries", path.display()));
                }
                for name in entries.iter().filter(|name| !name.starts_with('.')) {
                    let folder = path.join(name);
                    if folder.is_dir() {
                        snapshot.add(name, &folder, scan_folder(&folder));
                    }
                }
            }
        }
    }
    Ok(snapshot)
}

/// Looks at one model only; `None` when no source has it.
pub(in crate::serving) fn scan_model(sources: &[Source], name: &ModelName) -> io::Result<Option<ModelFiles>> {
    for source in sources {
        if let Source::File(path) = source
            && path.file_stem().is_some_and(|stem| stem == &**name)
        {
            return scan_file(path).map(Some);
        }
        if let Some(folder) = source.folder_of(name) {
            return scan_folder(&folder).map(Some);
        }
    }
    Ok(None)
}

impl Snapshot {
    fn add(&mut self, name: &str, path: &Path, files: io::Result<ModelFiles>) {
        let name: ModelName = match name.parse() {
            Ok(name) => name,
            Err(error) => return self.warnings.push(format!("{}: {error}", path.display())),
        };
        match files {
            // A folder without versions is not a model: scripts and data lie beside models too.
            Ok(files) if files.versions.is_empty() && !files.has_config() => {}
            Ok(_) if self.models.contains_key(&*name) => self
                .warnings
                .push(format!("{}: a model called '{name}' is served from another path", path.display())),
            Ok(files) => {
                self.models.insert(name, files);
            }
            Err(error) => {
                self.warnings.push(format!("{}: {error}", path.display()));
                self.unreadable.insert(name);
            }
        }
    }
}

impl ModelFiles {
    fn has_config(&self) -> bool {
        self.common.contains_key("model.toml") || self.common.contains_key("config.pbtxt")
    }
}

impl VersionFiles {
    /// Whether the files are not what they were when they were looked at.
    pub(in crate::serving) fn have_changed(&self) -> bool {
        let now = match &self.folder {
            Some(folder) => scan_version(folder).map(|files| files.stamps),
            None => {
                fs::metadata(&self.path).map(|file| Stamps::from([(MODEL_FILE.to_owned(), Stamp::of(&file))]))
            }
        };
        now.map_or(true, |now| now != self.stamps)
    }
}

fn scan_file(path: &Path) -> io::Result<ModelFiles> {
    let stamp = Stamp::of(&fs::metadata(path)?);
    let files = VersionFiles {
        folder: None,
        path: path.to_owned(),
        stamps: Stamps::from([(MODEL_FILE.to_owned(), stamp)]),
    };
    let first = Version::new(1).ok_or(io::ErrorKind::InvalidData)?;
    Ok(ModelFiles { folder: None, common: Stamps::new(), versions: BTreeMap::from([(first, files)]) })
}

/// Looks at one model's folder.
pub(in crate::serving) fn scan_folder(folder: &Path) -> io::Result<ModelFiles> {
    let mut files = ModelFiles { folder: Some(folder.to_owned()), ..ModelFiles::default() };
    let (entries, _) = list(folder)?;
    for name in entries {
        let path = folder.join(&name);
        // What vanishes between listing and looking was not there.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() {
            files.common.insert(name, Stamp::of(&metadata));
        } else if metadata.is_dir()
            && let Ok(version) = name.parse()
        {
            files.versions.insert(version, scan_version(&path)?);
        }
    }
    Ok(files)
}

/// Looks at one version's folder.
pub(in crate::serving) fn scan_version(folder: &Path) -> io::Result<VersionFiles> {
    let mut files = VersionFiles {
        folder: Some(folder.to_owned()),
        path: folder.join(MODEL_FILE),
        stamps: Stamps::new(),
    };
    let (entries, _) = list(folder)?;
    for name in entries {
        let Ok(metadata) = fs::metadata(folder.join(&name)) else { continue };
        if metadata.is_file() {
            files.stamps.insert(name, Stamp::of(&metadata));
        }
    }
    Ok(files)
}

/// The names in `folder` that are text, sorted, and whether these are all.
fn list(folder: &Path) -> io::Result<(Vec<String>, bool)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if names.len() == ENTRIES_MAX {
            names.sort();
            return Ok((names, false));
        }
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok((names, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn seen(snapshot: &Snapshot) -> Vec<(String, Vec<u64>)> {
        let versions = |files: &ModelFiles| files.versions.keys().map(|version| version.get()).collect();
        snapshot.models.iter().map(|(name, files)| (name.to_string(), versions(files))).collect()
    }

    #[test]
    fn models_versions_and_nothing_else_are_seen() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a/1/model.onnx",
            "a/10/model.onnx",
            "a/2/other.bin",
            "a/0/model.onnx",
            "a/01/model.onnx",
            "a/v3/model.onnx",
            "a/config.pbtxt",
            "scripts/train.py",
            "only_config/model.toml",
            ".hidden/1/model.onnx",
            "bad name/1/model.onnx",
            "README.md",
        ] {
            write(root.path(), path);
        }
        let sources = [Source::detect(root.path()).unwrap()];
        let snapshot = scan(&sources).unwrap();
        assert_eq!(seen(&snapshot), [("a".to_owned(), vec![1, 2, 10]), ("only_config".to_owned(), vec![])]);
        assert_eq!(snapshot.warnings.len(), 1, "{:?}", snapshot.warnings);
        assert!(snapshot.warnings[0].contains("bad name"));
        assert_eq!(scan(&sources).unwrap(), snapshot, "looking changes nothing");
        write(root.path(), "a/1/weights.bin");
        assert_ne!(scan(&sources).unwrap(), snapshot, "external data counts");
        assert!(snapshot.models["a"].versions[&Version::new(1).unwrap()].have_changed());
    }

    #[test]
    fn the_first_path_has_the_name() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "one/m/1/model.onnx",
            "two/m/2/model.onnx",
            "two/n/1/model.onnx",
            "file/m.onnx",
            "single/7/model.onnx",
        ] {
            write(root.path(), path);
        }
        let sources = ["one", "two", "file/m.onnx", "single"]
            .map(|path| Source::detect(&root.path().join(path)).unwrap());
        assert!(matches!(sources[3], Source::Model(_)));
        let snapshot = scan(&sources).unwrap();
        let expected = [("m".to_owned(), vec![1]), ("n".to_owned(), vec![1]), ("single".to_owned(), vec![7])];
        assert_eq!(seen(&snapshot), expected);
        assert_eq!(snapshot.warnings.len(), 2, "{:?}", snapshot.warnings);
        for (name, files) in &snapshot.models {
            assert_eq!(scan_model(&sources, name).unwrap().as_ref(), Some(files));
        }
        assert_eq!(scan_model(&sources, &"x".parse().unwrap()).unwrap(), None);
        assert!(Source::detect(&root.path().join("nowhere")).is_err());
        fs::remove_dir_all(root.path().join("one")).unwrap();
        assert!(scan(&sources).is_err(), "an unreadable repository is not an empty one");
    }
}
