//! The last state of every followed model, and which registry was at a location: what a start without the store needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::client::RegistryInfo;
use super::super::revision::sha256_hex;
use super::super::state::ModelState;
use super::{Cache, files};
use crate::model::ModelName;

/// Notes which registry is at `location`.
///
/// # Errors
/// When the file cannot be written.
pub fn save_info(root: &Path, location: &str, info: &RegistryInfo) -> io::Result<()> {
    files::make_folder(root)?;
    write(&info_path(root, location), info)
}

/// The registry that was at `location` when it was last seen.
pub fn load_info(root: &Path, location: &str) -> Option<RegistryInfo> {
    read(&info_path(root, location))
}

/// Locations may hold credentials, so only their hash is a name.
fn info_path(root: &Path, location: &str) -> PathBuf {
    root.join(format!("at-{}.json", sha256_hex(location.as_bytes())))
}

impl Cache {
    /// Keeps `state` for a start without the store.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_state(&self, state: &ModelState) -> io::Result<()> {
        write(&self.state_path(&state.model), state)
    }

    /// Forgets the state of `model`.
    pub fn forget_state(&self, model: &ModelName) {
        // That it is not there is what is wanted.
        fs::remove_file(self.state_path(model)).ok();
    }

    /// Every state that was kept. What cannot be read is left out.
    pub fn load_states(&self) -> Vec<ModelState> {
        let Ok(entries) = fs::read_dir(self.states()) else { return Vec::new() };
        let states = entries.flatten().filter_map(|entry| read::<ModelState>(&entry.path()));
        let mut states: Vec<ModelState> = states.collect();
        states.sort_by(|a, b| a.model.cmp(&b.model));
        states
    }

    /// Those who follow another deployment want other models.
    fn states(&self) -> PathBuf {
        self.root.join("states").join(&self.deployment)
    }

    fn state_path(&self, model: &ModelName) -> PathBuf {
        self.states().join(format!("{model}.json"))
    }
}

/// Writes the file at once, so that a reader never sees half of it.
fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", uuid::Uuid::now_v7()));
    let written = fs::write(&temporary, serde_json::to_vec(value).map_err(io::Error::other)?)
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    path.extension().filter(|extension| *extension == "json")?;
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
