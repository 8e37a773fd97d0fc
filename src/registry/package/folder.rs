//! Local files and folders: which files are a version's, and which of them is the model.
//!
//! Hidden files (`.git`, `.cache`) are left out. A link, a device or a pipe refuses the package: what is registered is
//! what lies there, not what something points at.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::Choice;
use super::{Capture, Limits, LocalFile, Package, PackageError, Stamp, check_path, mlflow};
use crate::model::Version;
use crate::model::settings::{SETTINGS_BYTES_MAX, parse_config_pbtxt, parse_model_toml};

/// Deepest folder of a package.
const DEPTH_MAX: usize = 8;

const MODEL_FILE: &str = "model.onnx";

/// The packages at `path`: one, or for a Triton model the versions of `choice`, ascending.
///
/// # Errors
/// [`PackageError`].
pub fn read(path: &Path, shown: &str, choice: Choice, limits: Limits) -> Result<Vec<Package>, PackageError> {
    // The user may name a link; inside of what it leads to there must be none.
    let path = path.canonicalize().map_err(|error| PackageError::io(path, error))?;
    let metadata = fs::metadata(&path).map_err(|error| PackageError::io(&path, error))?;
    if metadata.is_file() {
        return one_file(&path, shown, limits).map(|package| vec![package]);
    }
    if !metadata.is_dir() {
        return Err(PackageError::invalid(format!("{shown} is neither a file nor a folder")));
    }
    if path.join(mlflow::FILE).is_file() {
        return mlflow_folder(&path, shown, limits).map(|package| vec![package]);
    }
    let versions = triton_versions(&path)?;
    if versions.is_empty() {
        return plain_folder(&path, shown, limits).map(|package| vec![package]);
    }
    let chosen: Vec<Version> = match choice {
        Choice::Newest => versions.last().copied().into_iter().collect(),
        Choice::All => versions,
        Choice::Number(number) if versions.contains(&number) => vec![number],
        Choice::Number(number) => {
            return Err(PackageError::invalid(format!("{shown} has no folder for version {number}")));
        }
    };
    chosen.into_iter().map(|version| triton_folder(&path, shown, version, limits)).collect()
}

fn one_file(path: &Path, shown: &str, limits: Limits) -> Result<Package, PackageError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let model_file = if check_path(name).is_ok() { name.to_owned() } else { MODEL_FILE.to_owned() };
    let mut walk = Walk::new(limits);
    walk.add(model_file.clone(), path.to_owned())?;
    walk.finish(shown, model_file, None, Capture::default())
}

fn plain_folder(path: &Path, shown: &str, limits: Limits) -> Result<Package, PackageError> {
    let mut walk = Walk::new(limits);
    walk.folder(path, "", 0)?;
    let model_file = match configured_file(path)? {
        Some(name) => name,
        None => only_model(&walk.files, shown)?,
    };
    walk.finish(shown, model_file, Some(path.to_owned()), Capture::default())
}

fn mlflow_folder(path: &Path, shown: &str, limits: Limits) -> Result<Package, PackageError> {
    let mut walk = Walk::new(limits);
    walk.folder(path, "", 0)?;
    let model = mlflow::read(path)?;
    walk.finish(shown, model.model_file, Some(path.to_owned()), model.capture)
}

/// Settings and labels of the model's folder, and the files of one version's folder beside them.
fn triton_folder(
    path: &Path,
    shown: &str,
    version: Version,
    limits: Limits,
) -> Result<Package, PackageError> {
    let mut walk = Walk::new(limits);
    for (name, entry) in entries(path)? {
        if name.parse::<Version>().is_err() {
            walk.entry(&entry, name, 0)?;
        }
    }
    let model_file = configured_file(path)?.unwrap_or_else(|| MODEL_FILE.to_owned());
    let folder = path.join(version.to_string());
    let inner = folder.join(&model_file);
    for (name, entry) in entries(&folder)? {
        // A model of several files is a folder that is called like the file.
        if entry == inner && fs::symlink_metadata(&entry).is_ok_and(|metadata| metadata.is_dir()) {
            walk.folder(&entry, "", 0)?;
        } else {
            walk.entry(&entry, name, 0)?;
        }
    }
    let shown = format!("{shown} version {version}");
    let model_file = match walk.files.iter().any(|file| file.path == model_file) {
        true => model_file,
        false => only_model(&walk.files, &shown)?,
    };
    walk.finish(&shown, model_file, Some(path.to_owned()), Capture::default())
}

/// The versions of a folder in Triton's layout; none when it has another.
fn triton_versions(path: &Path) -> Result<Vec<Version>, PackageError> {
    let mut versions: Vec<Version> = entries(path)?
        .into_iter()
        .filter(|(_, entry)| fs::symlink_metadata(entry).is_ok_and(|metadata| metadata.is_dir()))
        .filter_map(|(name, _)| name.parse().ok())
        .collect();
    versions.sort_unstable();
    Ok(versions)
}

/// The model file that the folder's settings name.
fn configured_file(folder: &Path) -> Result<Option<String>, PackageError> {
    for name in ["model.toml", "config.pbtxt"] {
        let file = folder.join(name);
        let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
        if metadata.len() > SETTINGS_BYTES_MAX as u64 {
            return Err(PackageError::invalid(format!("{name} is longer than {SETTINGS_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(&file).map_err(|error| PackageError::io(&file, error))?;
        let parsed = match name {
            "model.toml" => parse_model_toml(&text, name),
            _ => parse_config_pbtxt(&text, name),
        };
        let parsed = parsed.map_err(|error| PackageError::Invalid(error.to_string()))?;
        return Ok(parsed.model_file);
    }
    Ok(None)
}

/// `model.onnx`, or the only ONNX file that lies in no folder.
fn only_model(files: &[LocalFile], shown: &str) -> Result<String, PackageError> {
    if files.iter().any(|file| file.path == MODEL_FILE) {
        return Ok(MODEL_FILE.to_owned());
    }
    let is_model = |path: &&str| path.ends_with(".onnx") && !path.contains('/');
    let models: Vec<&str> = files.iter().map(|file| file.path.as_str()).filter(is_model).collect();
    match models.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(PackageError::invalid(format!("{shown} holds no .onnx file"))),
        _ => Err(PackageError::invalid(format!(
            "{shown} holds several .onnx files ({}): name one in model.toml, or register it alone",
            models.iter().take(5).copied().collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The entries of `folder` by name, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, PackageError> {
    let failed = |error: std::io::Error| PackageError::io(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| {
            PackageError::invalid(format!(
                "the file name {} is not UTF-8",
                name.to_string_lossy().escape_debug()
            ))
        })?;
        if !name.starts_with('.') && name != "__pycache__" {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Collects files within the limits.
struct Walk {
    limits: Limits,
    files: Vec<LocalFile>,
    bytes: u64,
}

impl Walk {
    fn new(limits: Limits) -> Walk {
        Walk { limits, files: Vec::new(), bytes: 0 }
    }

    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), PackageError> {
        for (name, entry) in entries(folder)? {
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            self.entry(&entry, path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Path, path: String, depth: usize) -> Result<(), PackageError> {
        let metadata = fs::symlink_metadata(entry).map_err(|error| PackageError::io(entry, error))?;
        if metadata.is_file() {
            return self.add(path, entry.to_owned());
        }
        let shown = path.escape_debug();
        if metadata.is_symlink() {
            return Err(PackageError::invalid(format!("'{shown}' is a link: put the file itself there")));
        }
        if !metadata.is_dir() {
            return Err(PackageError::invalid(format!("'{shown}' is no regular file")));
        }
        if depth >= DEPTH_MAX {
            return Err(PackageError::invalid(format!("'{shown}' lies deeper than {DEPTH_MAX} folders")));
        }
        self.folder(entry, &path, depth + 1)
    }

    fn add(&mut self, path: String, local: PathBuf) -> Result<(), PackageError> {
        check_path(&path).map_err(PackageError::Invalid)?;
        let stamp = Stamp::of(&local).map_err(|error| PackageError::io(&local, error))?;
        self.bytes = self.bytes.saturating_add(stamp.len);
        if self.files.len() >= self.limits.files_max {
            return Err(PackageError::invalid(format!(
                "there are more than {} files",
                self.limits.files_max
            )));
        }
        if self.bytes > self.limits.bytes_max {
            return Err(PackageError::invalid(format!(
                "the files are longer than {} bytes together",
                self.limits.bytes_max
            )));
        }
        self.files.push(LocalFile { path, local, stamp });
        Ok(())
    }

    fn finish(
        mut self,
        shown: &str,
        model_file: String,
        settings_folder: Option<PathBuf>,
        capture: Capture,
    ) -> Result<Package, PackageError> {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some([twin, _]) = self.files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(PackageError::invalid(format!(
                "{shown} has two files that would be '{}'",
                twin.path
            )));
        }
        if !self.files.iter().any(|file| file.path == model_file) {
            let name = model_file.escape_debug();
            return Err(PackageError::invalid(format!("{shown} has no '{name}', which its settings name")));
        }
        if model_file.contains('/') {
            let name = model_file.escape_debug();
            return Err(PackageError::invalid(format!("'{name}' lies in a folder: register that folder")));
        }
        Ok(Package {
            source: shown.to_owned(),
            files: self.files,
            model_file,
            settings_folder,
            capture,
            staging: None,
        })
    }
}
