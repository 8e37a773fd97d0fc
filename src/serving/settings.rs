//! A model's settings from the files beside it: found, read with a bound, and handed to the parsers of
//! `model::settings`. Decides nothing about a model that has to be seen for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::repository::ModelFiles;
use crate::model::config::VersionPolicy;
use crate::model::settings::{
    ParsedModelConfig, SETTINGS_BYTES_MAX, SettingsError, parse_config_json, parse_config_pbtxt,
    parse_model_toml,
};
use crate::model::{ModelConfig, ModelName};

/// Longest label file, in bytes.
const LABELS_BYTES_MAX: usize = 16 << 20;

/// Names of configuration files, in the order in which they are looked for.
const CONFIG_FILES: [&str; 2] = ["model.toml", "config.pbtxt"];

/// What the files beside a model say.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Settings {
    /// The parsed text, or defaults.
    pub(super) parsed: ParsedModelConfig,
    /// How errors name the text.
    pub(super) origin: String,
    /// Class names by output.
    pub(super) labels: BTreeMap<String, Vec<String>>,
}

impl Settings {
    /// The effective settings but for the version policy, which changes no version that is served already.
    pub(super) fn of_a_version(&self) -> (ModelConfig, BTreeMap<String, Vec<String>>) {
        let mut config = self.parsed.config.clone();
        config.version_policy = VersionPolicy::All;
        (config, self.labels.clone())
    }
}

/// Reads the settings of `model`. `config_json`, from a load request, stands instead of a configuration file.
pub(super) fn read_settings(
    model: &ModelName,
    files: &ModelFiles,
    config_json: Option<&str>,
) -> Result<Settings, SettingsError> {
    let settings = match config_json {
        Some(text) => {
            let origin = "the load request's config";
            Settings {
                parsed: parse_config_json(text, origin)?,
                origin: origin.to_owned(),
                ..Settings::default()
            }
        }
        None => read_config_file(files)?,
    };
    if let Some(name) = settings.parsed.name.as_deref().filter(|name| !name.is_empty() && *name != &**model) {
        return Err(refuse(
            &settings.origin,
            format!("name is '{name}', but the model's folder is called '{model}'"),
        ));
    }
    read_labels(settings, files)
}

/// The same for a model that is called by others than its files: any name in them will do.
pub(super) fn read_any_settings(files: &ModelFiles) -> Result<Settings, SettingsError> {
    read_labels(read_config_file(files)?, files)
}

fn refuse(file: &str, reason: String) -> SettingsError {
    SettingsError { file: file.to_owned(), line: 0, reason }
}

/// Adds the class names that the settings name files for.
fn read_labels(mut settings: Settings, files: &ModelFiles) -> Result<Settings, SettingsError> {
    for (output, file) in &settings.parsed.config.label_files {
        let folder =
            files.folder.as_deref().ok_or_else(|| refuse(file, "the model has no folder".to_owned()))?;
        let text = read_text(&folder.join(file), LABELS_BYTES_MAX)
            .map_err(|error| refuse(file, error.to_string()))?;
        settings.labels.insert(output.clone(), text.lines().map(|line| line.trim_end().to_owned()).collect());
    }
    Ok(settings)
}

fn read_config_file(files: &ModelFiles) -> Result<Settings, SettingsError> {
    let found: Vec<&str> = CONFIG_FILES.into_iter().filter(|name| files.common.contains_key(*name)).collect();
    let (Some(&name), Some(folder)) = (found.first(), files.folder.as_deref()) else {
        return Ok(Settings::default());
    };
    let text = read_text(&folder.join(name), SETTINGS_BYTES_MAX).map_err(|error| SettingsError {
        file: name.to_owned(),
        line: 0,
        reason: error.to_string(),
    })?;
    let mut parsed = match name {
        "model.toml" => parse_model_toml(&text, name)?,
        _ => parse_config_pbtxt(&text, name)?,
    };
    for other in found.iter().skip(1) {
        parsed.warnings.push(format!("{other} is ignored, because {name} is there too"));
    }
    Ok(Settings { parsed, origin: name.to_owned(), labels: BTreeMap::new() })
}

/// The text of a file of at most `max` bytes.
fn read_text(path: &Path, max: usize) -> io::Result<String> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if read > max {
        return Err(io::Error::other(format!("the file is longer than {max} bytes")));
    }
    Ok(text)
}
