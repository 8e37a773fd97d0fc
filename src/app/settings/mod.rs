//! Settings as they were written: one TOML file, `WEIR_…` variables and flags, over built-in values.
//!
//! Later sources win: flags, then environment, then file, then default. Each value remembers where it came from. What
//! the values mean together is `config`'s business.

mod kind;
mod keys;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::keys::KEYS;
pub use self::kind::Key;
pub(super) use self::kind::{Kind, Typed};

use crate::model::settings::values::unknown;
use crate::model::settings::{Entry, Node, Value, parse_toml};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File { file: String, line: usize },
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line } => write!(f, "{file}:{line}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Settings cannot be used. One line that says where and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct SettingsProblem(pub(super) String);

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Typed,
    pub(super) origin: Origin,
}

/// What came from outside the file: flags by key path, and the environment.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The configuration file; a missing one is an error.
    pub(super) file: Option<PathBuf>,
    /// The variables of the process.
    pub(super) environment: BTreeMap<String, String>,
    /// What was typed, by the path of its key.
    pub(super) flags: Vec<(&'static Key, Vec<String>)>,
}

/// Every setting by the path of its key.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Collects the settings from all sources.
    pub(super) fn collect(given: &Given) -> Result<Settings, SettingsProblem> {
        let mut settings = Settings { values: BTreeMap::new() };
        for key in KEYS {
            let value = key.read(&key.default_node());
            let value = value.map_err(|reason| SettingsProblem(format!("{}: {reason}", key.path)))?;
            settings.values.insert(key.path, Setting { value, origin: Origin::Default });
        }
        let from_environment = given.environment.get("WEIR_CONFIG").filter(|path| !path.is_empty());
        if let Some(path) = given.file.clone().or_else(|| from_environment.map(PathBuf::from)) {
            settings.add_file(&path)?;
        }
        settings.add_environment(&given.environment)?;
        for (key, values) in &given.flags {
            let origin = match key.path {
                "repository.paths" => "PATH".to_owned(),
                _ => key.flag(),
            };
            settings.add(key, &key.node_of(values), Origin::Flag(origin))?;
        }
        Ok(settings)
    }

    fn add(&mut self, key: &'static Key, node: &Node, origin: Origin) -> Result<(), SettingsProblem> {
        let value = key
            .read(node)
            .map_err(|reason| SettingsProblem(format!("{origin}: \"{}\": {reason}", key.path)))?;
        self.values.insert(key.path, Setting { value, origin });
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), SettingsProblem> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| SettingsProblem(format!("{file}: {error}")))?;
        self.add_toml(&text, &file)
    }

    /// Adds the settings of a TOML text.
    pub(super) fn add_toml(&mut self, text: &str, file: &str) -> Result<(), SettingsProblem> {
        let sections = parse_toml(text, file).map_err(|error| SettingsProblem(error.to_string()))?;
        for section in &sections {
            self.add_section(section, file)?;
        }
        Ok(())
    }

    fn add_section(&mut self, section: &Entry, file: &str) -> Result<(), SettingsProblem> {
        let defect = |line: usize, reason: String| SettingsProblem(format!("{file}:{line}: {reason}"));
        let name = section.key.as_str();
        if !KEYS.iter().any(|key| key.section() == name) {
            let sections = KEYS.iter().map(|key| key.section());
            return Err(defect(section.line, unknown("section", name, sections)));
        }
        let Value::Table(entries) = &section.node.value else {
            return Err(defect(section.line, format!("\"{name}\" is a section: write [{name}]")));
        };
        for entry in entries {
            let path = format!("{name}.{}", entry.key);
            let Some(key) = KEYS.iter().find(|key| key.path == path) else {
                let known = KEYS.iter().filter(|key| key.section() == name).map(|key| key.name());
                return Err(defect(entry.line, format!("{} in [{name}]", unknown("key", &entry.key, known))));
            };
            let origin = Origin::File { file: file.to_owned(), line: entry.line };
            self.add(key, &entry.node, origin)?;
        }
        Ok(())
    }

    /// Adds `WEIR_<SECTION>_<KEY>`. A variable that only looks like a setting is refused, as an unknown key is.
    fn add_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), SettingsProblem> {
        for (name, text) in environment {
            if let Some(key) = KEYS.iter().find(|key| key.variable() == *name) {
                let texts = key.split(text);
                self.add(key, &key.node_of(&texts), Origin::Environment(name.clone()))?;
                continue;
            }
            let in_section = |key: &&Key| {
                name.strip_prefix("WEIR_")
                    .and_then(|rest| rest.strip_prefix(key.section().to_uppercase().as_str()))
                    .is_some_and(|rest| rest.starts_with('_'))
            };
            if KEYS.iter().any(|key| in_section(&key)) {
                let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
                let reason = unknown("variable", name, variables.iter().map(String::as_str));
                return Err(SettingsProblem(format!("environment: {reason}")));
            }
        }
        Ok(())
    }

    /// Replaces a value that nobody wrote.
    pub(super) fn set_default(&mut self, path: &'static str, value: Typed, origin: Origin) {
        if let Some(setting) = self.values.get_mut(path)
            && setting.origin == Origin::Default
        {
            *setting = Setting { value, origin };
        }
    }

    /// The setting at `path`.
    pub(super) fn get(&self, path: &str) -> Result<&Setting, SettingsProblem> {
        self.values.get(path).ok_or_else(|| SettingsProblem(format!("there is no setting \"{path}\"")))
    }

    /// A problem with the setting at `path`, with where it was written.
    pub(super) fn problem(&self, path: &str, reason: &str) -> SettingsProblem {
        let origin = self.values.get(path).map_or(Origin::Default, |setting| setting.origin.clone());
        SettingsProblem(format!("{origin}: \"{path}\": {reason}"))
    }

    fn wrong_kind<T>(&self, path: &str) -> Result<T, SettingsProblem> {
        Err(self.problem(path, "has another kind than the program expects"))
    }

    pub(super) fn text(&self, path: &str) -> Result<&str, SettingsProblem> {
        match &self.get(path)?.value {
            Typed::Text(text) => Ok(text),
            _ => self.wrong_kind(path),
        }
    }

    /// A text, or `None` when it is empty.
    pub(super) fn optional_text(&self, path: &str) -> Result<Option<&str>, SettingsProblem> {
        self.text(path).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    pub(super) fn list(&self, path: &str) -> Result<&[String], SettingsProblem> {
        match &self.get(path)?.value {
            Typed::List(items) => Ok(items),
            _ => self.wrong_kind(path),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, path: &str) -> Result<T, SettingsProblem> {
        match &self.get(path)?.value {
            Typed::Number(number) | Typed::Size(number) => T::try_from(*number)
                .map_err(|_| self.problem(path, "the number is too large for this machine")),
            _ => self.wrong_kind(path),
        }
    }

    pub(super) fn real(&self, path: &str) -> Result<f64, SettingsProblem> {
        match &self.get(path)?.value {
            Typed::Real(number) => Ok(*number),
            _ => self.wrong_kind(path),
        }
    }

    pub(super) fn duration(&self, path: &str) -> Result<Duration, SettingsProblem> {
        match &self.get(path)?.value {
            Typed::Duration(duration) => Ok(*duration),
            _ => self.wrong_kind(path),
        }
    }

    pub(super) fn switch(&self, path: &str) -> Result<bool, SettingsProblem> {
        match &self.get(path)?.value {
            Typed::Switch(value) => Ok(*value),
            _ => self.wrong_kind(path),
        }
    }
}
