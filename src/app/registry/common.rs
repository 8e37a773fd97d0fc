//! What every command on a registry shares: where the registry is, who acts and why, and how the result is shown.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::exit::{Failure, finish};
use crate::app::cli::{environment, say};
use crate::app::settings::{Given, KEYS, Settings};
use crate::model::{ModelName, Version};
use crate::registry::sign::Signer;
use crate::registry::{Actor, Intent, ModelState, Registry, RegistryOptions, Store, StoreOptions, ops};

/// Most bytes of a key file.
const KEY_LEN_MAX: u64 = 64 << 10;

/// Where the registry is.
#[derive(Debug, Args)]
pub(in crate::app) struct Place {
    /// The registry: a directory, or an s3://, az:// or gs:// URL; WEIR_REGISTRY and the configuration name it too
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<String>,
    /// The configuration file; WEIR_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Who changes it, why, and on what condition.
#[derive(Debug, Args)]
pub(in crate::app) struct Change {
    /// Why: kept in the log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(in crate::app) reason: String,
    /// Who, instead of user@host
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// A name of the request, for the log
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Refuse the change when the model is at another revision
    #[arg(long, value_name = "REV")]
    if_match: Option<u64>,
}

/// Where the registry is, and the form of the answer.
#[derive(Debug, Args)]
pub(in crate::app) struct RegistryArgs {
    #[command(flatten)]
    pub(in crate::app) place: Place,
    /// Answer as JSON
    #[arg(long)]
    pub(in crate::app) json: bool,
}

/// What every change takes.
#[derive(Debug, Args)]
pub(in crate::app) struct ChangeArgs {
    #[command(flatten)]
    pub(in crate::app) registry: RegistryArgs,
    #[command(flatten)]
    change: Change,
}

/// A model, with a version where one is meant: `name`, `name@3`, `name@champion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Target {
    /// The model.
    pub(in crate::app) model: ModelName,
    /// A number or an alias; empty for none.
    pub(in crate::app) version: String,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (model, version) = text.split_once('@').unwrap_or((text, ""));
        if text.ends_with('@') {
            return Err("expected a version or alias after '@'".to_owned());
        }
        let model = model.parse().map_err(|error: crate::model::IdError| error.to_string())?;
        Ok(Target { model, version: version.to_owned() })
    }
}

impl Target {
    /// The version that is meant, without one the newest, and its model's state.
    pub(in crate::app) async fn find(
        &self,
        registry: &Registry,
    ) -> Result<(Version, Arc<ModelState>), Failure> {
        let state = registry.state(&self.model).await?;
        ops::check::exists(&state)?;
        Ok((state.resolve(&self.version)?, state))
    }

    /// The version, which must be named.
    pub(in crate::app) fn version(&self) -> Result<&str, Failure> {
        let missing = || Failure::usage(format!("name the version, as in {}@3 or {0}@champion", self.model));
        Some(self.version.as_str()).filter(|version| !version.is_empty()).ok_or_else(missing)
    }

    /// The model, which must be named alone.
    pub(in crate::app) fn model_only(&self) -> Result<&ModelName, Failure> {
        match self.version.is_empty() {
            true => Ok(&self.model),
            false => Err(Failure::usage(format!("name the model alone: {}", self.model))),
        }
    }
}

impl Place {
    /// The settings of the program, with what was typed.
    pub(in crate::app) fn settings(&self) -> Result<Settings, Failure> {
        let key = KEYS.iter().find(|key| key.path == "registry.url");
        let flags = key.zip(self.registry.clone()).map(|(key, url)| (key, vec![url])).into_iter().collect();
        let given = Given { file: self.config.clone(), environment: environment(), flags };
        Settings::collect(&given).map_err(|problem| Failure::usage(problem.to_string()))
    }

    /// Whether there is one.
    pub(in crate::app) fn is_named(&self) -> Result<bool, Failure> {
        let settings = self.settings()?;
        Ok(settings.optional_text("registry.url").ok().flatten().is_some())
    }

    /// Where the registry is.
    pub(in crate::app) fn location(&self) -> Result<String, Failure> {
        let settings = self.settings()?;
        let location = settings.optional_text("registry.url").ok().flatten();
        let missing = || Failure::usage("which registry? Name it by --registry DIR|URL or WEIR_REGISTRY");
        location.map(str::to_owned).ok_or_else(missing)
    }

    /// Opens the registry, and makes it when it is not there.
    pub(in crate::app) async fn open(&self) -> Result<Registry, Failure> {
        let store = Store::open(&self.location()?, &store_options())?;
        let options = RegistryOptions { signer: self.signer()?, ..RegistryOptions::default() };
        Ok(Registry::open_with(store, options).await?)
    }

    /// What signs revisions, if anything does.
    pub(in crate::app) fn signer(&self) -> Result<Option<Arc<Signer>>, Failure> {
        let settings = self.settings()?;
        let file = settings.optional_text("registry.signing_key").ok().flatten();
        Ok(file.filter(|file| !file.is_empty()).map(read_signer).transpose()?)
    }
}

/// Reads the key file that `registry.signing_key` names.
pub(in crate::app) fn read_signer(file: &str) -> anyhow::Result<Arc<Signer>> {
    let context = || format!("registry.signing_key '{file}'");
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|opened| opened.take(KEY_LEN_MAX).read_to_string(&mut text));
    read.with_context(context)?;
    Ok(Arc::new(Signer::parse(&text).with_context(context)?))
}

impl RegistryArgs {
    /// The settings of the program, with what was typed.
    pub(in crate::app) fn settings(&self) -> Result<Settings, Failure> {
        self.place.settings()
    }

    /// Opens the registry, and makes it when it is not there.
    pub(in crate::app) async fn open_or_make(&self) -> Result<Registry, Failure> {
        self.place.open().await
    }

    /// Opens only its store, for what must work on a registry that is damaged.
    pub(in crate::app) fn open_store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.existing()?, &store_options())?)
    }

    /// What signs revisions, if anything does.
    pub(in crate::app) fn signer(&self) -> Result<Option<Arc<Signer>>, Failure> {
        self.place.signer()
    }

    /// Opens the registry, which must be there.
    pub(in crate::app) async fn open(&self) -> Result<Registry, Failure> {
        self.existing()?;
        self.place.open().await
    }

    /// Where the registry is that must be there.
    fn existing(&self) -> Result<String, Failure> {
        let location = self.place.location()?;
        if !location.contains("://") && !Path::new(&location).join("weir.json").is_file() {
            let reason = anyhow::anyhow!("there is no registry at '{location}'; weir register makes one");
            return Err(Failure::failed(&reason));
        }
        Ok(location)
    }
}

impl Change {
    /// What goes into the log.
    pub(in crate::app) fn intent(&self) -> Intent {
        let sub = self.actor.clone().unwrap_or_else(user_at_host);
        Intent {
            actor: Actor { sub, method: "cli".to_owned() },
            reason: self.reason.clone(),
            request_id: self.request_id.clone(),
            if_match: self.if_match,
        }
    }
}

impl ChangeArgs {
    /// What goes into the log.
    pub(in crate::app) fn intent(&self) -> Intent {
        self.change.intent()
    }
}

/// How buckets are opened: by the variables that their own tools use.
pub(in crate::app) fn store_options() -> StoreOptions {
    let is_store = |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix));
    let given = environment().into_iter().filter(|(name, _)| is_store(name));
    let options = given.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    StoreOptions { options, ..StoreOptions::default() }
}

/// Where packages are kept that are downloaded or sent, for as long as they are needed.
pub(in crate::app) fn staging_folder() -> PathBuf {
    let environment = environment();
    let folder = environment.get("TMPDIR").filter(|folder| folder.starts_with('/'));
    folder.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

pub(in crate::app) fn user_at_host() -> String {
    let environment = environment();
    let given = |name: &str| environment.get(name).filter(|text| !text.is_empty()).cloned();
    let user = given("USER").or_else(|| given("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    format!("{user}@{}", host.or_else(|| given("HOSTNAME")).unwrap_or_else(|| "localhost".to_owned()))
}

/// Runs a command's work.
pub(in crate::app) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.context("cannot start threads").map_err(|error| Failure::failed(&error))?;
    threads.block_on(work)
}

/// Runs a command to its end.
pub(in crate::app) fn block(json: bool, command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    finish(block_on(command), json)
}

/// Shows an answer: as JSON, or as lines for people.
pub(in crate::app) fn show(json: bool, value: &Value, text: impl FnOnce() -> String) {
    match json {
        true => say(&format!("{value}\n")),
        false => say(&text()),
    }
}

/// `key=value`, as it is typed.
pub(in crate::app) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}

/// Reads a duration, such as `10m`.
pub(in crate::app) fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::model::settings::values::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_or_refused() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = text.parse::<Target>().ok();
            let found = found.as_ref().map(|target| (&*target.model, target.version.as_str()));
            assert_eq!(found, expected, "{text:?}");
        };
        check("digits", Some(("digits", "")));
        check("digits@3", Some(("digits", "3")));
        check("digits@champion", Some(("digits", "champion")));
        for wrong in ["", "@3", "digits@", "a/b@1", "..", "\u{1b}@1"] {
            check(wrong, None);
        }
    }
}
