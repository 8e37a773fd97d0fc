//! What the delivery of events takes from outside: addresses that may be reached, secrets, and when it ends.
//!
//! A webhook in the registry names its secrets; only this process's environment and the operator's folder say what they
//! are. So who may write to the registry can neither read a secret nor choose a file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cli::environment;
use super::config::Config;
use super::settings::{Settings, SettingsProblem};
use crate::control::follow::Follower;
use crate::control::webhooks::{
    Deliverer, DeliverySettings, SecretSource, Sender, SystemLookup, WebhookMetrics,
};
use crate::metrics::Registry as Metrics;
use crate::registry::Registry;
use crate::registry::webhook::address::{AddressPolicy, Network};

/// How long a lease is good for: the longest pause after a deliverer was killed.
const TERM: Duration = Duration::from_secs(20);
/// Time between two looks at the logs.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a deliverer may take to end.
const END: Duration = Duration::from_secs(3);
/// What the names of secrets in the environment begin with.
const SECRET_PREFIX: &str = "WEIR_WEBHOOK_SECRET_";

/// How events are delivered.
#[derive(Debug, Clone)]
pub(super) struct EventsConfig {
    /// Whether a server does it.
    pub(super) deliver: bool,
    pub(super) policy: AddressPolicy,
    pub(super) secrets_dir: Option<PathBuf>,
}

impl EventsConfig {
    /// The meaning of the section `events`.
    pub(super) fn new(settings: &Settings) -> Result<EventsConfig, SettingsProblem> {
        let networks = settings.list("events.allow_networks")?.iter().map(|text| text.parse::<Network>());
        let networks = networks.collect::<Result<Vec<Network>, String>>();
        Ok(EventsConfig {
            deliver: settings.switch("events.deliver")?,
            policy: AddressPolicy {
                hosts: settings.list("events.allow_hosts")?.to_vec(),
                networks: networks.map_err(|reason| settings.problem("events.allow_networks", &reason))?,
                http: settings.switch("events.allow_http")?,
            },
            secrets_dir: settings.optional_text("events.secrets_dir")?.map(PathBuf::from),
        })
    }

    /// The secrets that this process knows.
    pub(super) fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Secrets { environment: environment(), folder: self.secrets_dir.clone() })
    }

    /// Posts events to where they may go.
    pub(super) fn sender(&self) -> anyhow::Result<Sender> {
        Ok(Sender::new(self.policy.clone(), Arc::new(SystemLookup))?)
    }
}

/// Secrets in files of a folder, or in the environment.
#[derive(Debug)]
struct Secrets {
    environment: BTreeMap<String, String>,
    folder: Option<PathBuf>,
}

impl SecretSource for Secrets {
    fn secret(&self, name: &str) -> Option<String> {
        // A name is checked when it is read from the registry: it has no slash and begins with a letter.
        let file = self.folder.as_ref().and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
        let variable = format!("{SECRET_PREFIX}{}", name.replace(['.', '-'], "_").to_uppercase());
        file.or_else(|| self.environment.get(&variable).cloned())
    }
}

/// A deliverer at work.
#[derive(Debug)]
pub(super) struct Delivery {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Delivery {
    /// Starts to deliver the events of `registry`, once that is reached.
    pub(super) fn start(
        registry: impl Future<Output = Arc<Registry>> + Send + 'static,
        config: &EventsConfig,
        name: String,
        term: Duration,
        metrics: &Metrics,
    ) -> anyhow::Result<Delivery> {
        let settings = DeliverySettings { name, term, poll_interval: POLL_INTERVAL.min(term) };
        let metrics = WebhookMetrics::register(metrics)?;
        let (sender, secrets) = (Arc::new(config.sender()?), config.secrets());
        let (stop, stopped) = watch::channel(false);
        let mut before = stopped.clone();
        let task = tokio::spawn(async move {
            let registry = tokio::select! {
                registry = registry => registry,
                _ = before.wait_for(|stop| *stop) => return,
            };
            Deliverer::new(registry, sender, secrets, settings, metrics).run(stopped).await;
        });
        Ok(Delivery { stop, task })
    }

    /// Starts it in a server that follows a registry, unless it is switched off.
    pub(super) fn start_beside(
        config: &Config,
        follower: Option<&Arc<Follower>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Delivery>> {
        let Some(follower) = follower.filter(|_| config.events.deliver).map(Arc::clone) else {
            return Ok(None);
        };
        let name = format!("weir-{}", std::process::id());
        let registry = async move { follower.reached().await };
        Delivery::start(registry, &config.events, name, TERM, metrics).map(Some)
    }

    /// Ends what was started in a server, if anything was.
    pub(super) async fn end_beside(delivery: Option<Delivery>) {
        if let Some(delivery) = delivery {
            delivery.end().await;
        }
    }

    /// Ends it; a successor need not wait for the lease's end then.
    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(END, self.task).await.is_err() {
            tracing::warn!("the delivery of events did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_the_folder_or_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ci"), "from the file").unwrap();
        let variable = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let environment = BTreeMap::from([
            variable("WEIR_WEBHOOK_SECRET_CI", "from the environment"),
            variable("WEIR_WEBHOOK_SECRET_CI_2_OLD", "old"),
        ]);
        let secrets = Secrets { environment, folder: Some(folder.path().to_owned()) };
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(secrets.secret(name).as_deref(), expected, "{name}");
        };
        check("ci", Some("from the file"));
        check("ci.2-old", Some("old"));
        check("other", None);
    }
}
