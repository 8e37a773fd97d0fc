//! What every command on a registry shares: where the registry is, who acts and why, and how the result is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::exit::{Failure, finish};
use crate::app::cli::say;
use crate::app::settings::{Given, Settings};
use crate::model::ModelName;
use crate::registry::{Actor, Intent, Registry, Store, StoreOptions};

/// The process's environment.
pub(in crate::app) type Environment = BTreeMap<String, String>;

/// Where the registry is, and the form of the answer.
#[derive(Debug, Args)]
pub(in crate::app) struct RegistryArgs {
    /// The registry: a directory, or an s3://, az:// or gs:// URL. WEIR_REGISTRY names it too, and registry.url in the
    /// configuration
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<String>,
    /// The configuration file; WEIR_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer as JSON
    #[arg(long)]
    pub(in crate::app) json: bool,
}

/// Who changes something, why, and on what condition.
#[derive(Debug, Args)]
pub(in crate::app) struct ChangeArgs {
    #[command(flatten)]
    pub(in crate::app) registry: RegistryArgs,
    /// Why; it stands in the log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Who, instead of user@host
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// A name of the request, for the log
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Only if the model is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
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
    /// The version, which must be named.
    pub(in crate::app) fn version(&self) -> Result<&str, Failure> {
        let missing = || Failure::Usage(format!("name the version, as in {}@3 or {0}@champion", self.model));
        Some(self.version.as_str()).filter(|version| !version.is_empty()).ok_or_else(missing)
    }

    /// The model, which must be named alone.
    pub(in crate::app) fn model_only(&self) -> Result<&ModelName, Failure> {
        match self.version.is_empty() {
            true => Ok(&self.model),
            false => Err(Failure::Usage(format!("name the model alone: {}", self.model))),
        }
    }
}

impl RegistryArgs {
    /// Opens the registry, which must be there.
    pub(in crate::app) async fn open(&self, environment: &Environment) -> Result<Registry, Failure> {
        let location = self.location(environment)?;
        if is_missing_folder(&location) {
            return Err(
                anyhow::anyhow!("there is no registry at '{location}'; weir register makes one").into()
            );
        }
        open(&location, environment).await
    }

    /// Opens the registry, and makes it when it is not there.
    pub(in crate::app) async fn open_or_make(&self, environment: &Environment) -> Result<Registry, Failure> {
        open(&self.location(environment)?, environment).await
    }

    /// Where the registry is.
    pub(in crate::app) fn location(&self, environment: &Environment) -> Result<String, Failure> {
        let from_environment = || environment.get("WEIR_REGISTRY").cloned();
        let typed = self.registry.clone().or_else(from_environment).filter(|location| !location.is_empty());
        if let Some(location) = typed {
            return Ok(location);
        }
        let given = Given { file: self.config.clone(), environment: environment.clone(), ..Given::default() };
        let settings = Settings::collect(&given).map_err(|problem| Failure::Usage(problem.to_string()))?;
        let configured = settings.optional_text("registry.url").map_err(|e| Failure::Usage(e.to_string()))?;
        let missing =
            "name the registry: --registry DIR|URL, WEIR_REGISTRY, or registry.url in the configuration";
        configured.map(str::to_owned).ok_or_else(|| Failure::Usage(missing.to_owned()))
    }
}

fn is_missing_folder(location: &str) -> bool {
    !location.contains("://") && !Path::new(location).is_dir()
}

async fn open(location: &str, environment: &Environment) -> Result<Registry, Failure> {
    // Fails when one is installed already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let store = Store::open(location, &store_options(environment))?;
    Ok(Registry::open(store).await?)
}

/// How stores are opened: with the credentials and endpoints of the environment, by their usual names.
pub(in crate::app) fn store_options(environment: &Environment) -> StoreOptions {
    let is_store =
        |name: &&String| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix));
    let names = environment.keys().filter(is_store);
    let options = names.map(|name| (name.to_ascii_lowercase(), environment[name].clone())).collect();
    StoreOptions { options, ..StoreOptions::default() }
}

impl ChangeArgs {
    /// Who wants what, for the log.
    pub(in crate::app) fn intent(&self, environment: &Environment) -> Intent {
        let sub = self.actor.clone().unwrap_or_else(|| user_at_host(environment));
        Intent {
            actor: Actor { sub, method: "cli".to_owned() },
            reason: self.reason.clone(),
            request_id: self.request_id.clone(),
            if_match: self.if_match,
        }
    }
}

fn user_at_host(environment: &Environment) -> String {
    let given = |name: &str| environment.get(name).filter(|text| !text.is_empty()).cloned();
    let user = given("USER").or_else(|| given("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    format!("{user}@{}", host.or_else(|| given("HOSTNAME")).unwrap_or_else(|| "localhost".to_owned()))
}

/// Runs a command to its end.
pub(in crate::app) fn block<F>(json: bool, command: F) -> ExitCode
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failure::Other(error.into())),
    };
    finish(result, json)
}

/// Shows an answer: as JSON, or as lines for people.
pub(in crate::app) fn show(json: bool, value: &Value, text: impl FnOnce() -> String) {
    match json {
        true => say(&format!("{value}\n")),
        false => say(&text()),
    }
}

/// Reads `key=value`.
pub(in crate::app) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
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

    #[test]
    fn only_credentials_of_stores_are_passed_on() {
        let names = ["AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_BUCKET", "PATH", "XAWS_REGION"];
        let environment = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let passed: Vec<String> =
            store_options(&environment).options.into_iter().map(|(name, _)| name).collect();
        assert_eq!(passed, ["aws_region", "azure_storage_account_name", "google_bucket"]);
    }
}
