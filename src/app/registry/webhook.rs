//! `weir webhook`: who is sent events, and what could not be delivered.

use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::common::{ChangeArgs, RegistryArgs, block, pair, show};
use super::events::Reach;
use super::exit::Failure;
use crate::control::webhooks::admin::{self, Existing, Overview};
use crate::control::webhooks::{Post, signing_keys};
use crate::registry::cloudevent::{self, CloudEvent};
use crate::registry::webhook::schedule::Outcome;
use crate::registry::webhook::{self, Filter, Subscription, dead};

/// What was typed after `weir webhook`.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum WebhookCommand {
    /// Send events to a URL from now on
    Add(AddArgs),
    /// List the webhooks
    Ls(LsArgs),
    /// Send no more events
    Rm(RmArgs),
    /// Send a test event from here, and show what is answered
    Test(TestArgs),
    /// Events that were given up
    #[command(subcommand)]
    Dead(DeadCommand),
}

/// What was typed after `weir webhook dead`.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum DeadCommand {
    /// List them
    Ls(NameArgs),
    /// Have them sent again
    Retry(RetryArgs),
}

impl WebhookCommand {
    /// Runs the command.
    pub(in crate::app) fn run(self) -> ExitCode {
        match self {
            WebhookCommand::Add(args) => block(args.change.registry.json, add(&args)),
            WebhookCommand::Ls(args) => block(args.registry.json, ls(&args)),
            WebhookCommand::Rm(args) => block(args.change.registry.json, rm(&args)),
            WebhookCommand::Test(args) => block(args.registry.json, test(&args)),
            WebhookCommand::Dead(DeadCommand::Ls(args)) => block(args.registry.json, dead_ls(&args)),
            WebhookCommand::Dead(DeadCommand::Retry(args)) => block(args.registry.json, dead_retry(&args)),
        }
    }
}

/// What was typed after `weir webhook add`.
#[derive(Debug, Args)]
pub(in crate::app) struct AddArgs {
    /// Its name
    name: String,
    /// Where events are posted
    #[arg(long)]
    url: String,
    /// Types, for example version.failed or 'deployment.*'; all without it
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// The subject, or its beginning up to a slash: models/digits
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SUBJECT")]
    subject: String,
    /// A tag that the version or its model must have
    #[arg(long = "tag", value_parser = pair, value_name = "KEY=VALUE")]
    tags: Vec<(String, String)>,
    /// The name of a secret that signs; twice while it is changed
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// Ask the receiver first whether it wants events
    #[arg(long)]
    handshake: bool,
    /// Begin with the first events of all models, not with those to come
    #[arg(long)]
    from_beginning: bool,
    /// Change the webhook of this name; it goes on where it was
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let registry = Arc::new(args.change.registry.open().await?);
    let subscription = Subscription {
        format: webhook::FORMAT,
        name: args.name.clone(),
        url: args.url.clone(),
        filter: Filter {
            types: args.types.clone(),
            subject: args.subject.clone(),
            tags: args.tags.iter().cloned().collect(),
        },
        secrets: args.secrets.clone(),
        handshake: args.handshake,
        actor: args.change.intent().actor,
        time: Utc::now(),
        stopped: None,
        removed: false,
    };
    let existing = if args.replace { Existing::Replace } else { Existing::Keep };
    let number = admin::subscribe(&registry, &subscription, existing, args.from_beginning).await?;
    show(args.change.registry.json, &json!({ "name": args.name, "number": number }), || {
        format!("webhook '{}' is sent events\n", args.name)
    });
    Ok(())
}

/// What was typed after `weir webhook ls`.
#[derive(Debug, Args)]
pub(in crate::app) struct LsArgs {
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn ls(args: &LsArgs) -> Result<(), Failure> {
    let registry = args.registry.open().await?;
    let found = admin::overview(&registry).await?;
    show(args.registry.json, &json!(found), || {
        let line = |Overview { webhook, pending, dead_letters }: &Overview| {
            let state = webhook.stopped.as_deref().unwrap_or("active");
            let Subscription { name, url, .. } = webhook;
            format!("{name}  {url}  {state}  {pending} pending  {dead_letters} dead letters\n")
        };
        found.iter().map(line).collect()
    });
    Ok(())
}

/// What was typed after `weir webhook rm`.
#[derive(Debug, Args)]
pub(in crate::app) struct RmArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    change: ChangeArgs,
}

async fn rm(args: &RmArgs) -> Result<(), Failure> {
    let registry = args.change.registry.open().await?;
    admin::unsubscribe(&registry, &args.name, args.change.intent().actor).await?;
    show(args.change.registry.json, &json!({ "name": args.name }), || {
        format!("webhook '{}' is sent no more events\n", args.name)
    });
    Ok(())
}

/// What was typed after `weir webhook test`.
#[derive(Debug, Args)]
pub(in crate::app) struct TestArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn test(args: &TestArgs) -> Result<(), Failure> {
    let config = args.reach.config(&args.registry)?;
    let registry = args.registry.open().await?;
    let (_, subscription) = admin::find(&registry, &args.name).await?;
    let failed = |reason: String| Failure::failed(&anyhow::anyhow!(reason));
    let sender = config.sender().map_err(|error| Failure::failed(&error))?;
    let (secrets, names) = (config.secrets(), subscription.secrets.clone());
    // Reads files.
    let keys = tokio::task::spawn_blocking(move || signing_keys(secrets.as_ref(), &names)).await;
    let keys = keys.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    let event = CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("_test/{}", Uuid::now_v7()),
        source: cloudevent::source(registry.info().registry_id),
        kind: format!("{}webhook.test", cloudevent::TYPE_PREFIX),
        subject: "registry".to_owned(),
        time: cloudevent::rfc3339(Utc::now()),
        datacontenttype: "application/json".to_owned(),
        sequence: "0".to_owned(),
        data: Default::default(),
    };
    let outcome = sender.post(&subscription.target()?, &keys, &event).await;
    match outcome {
        Outcome::Answered { status: 200..=299, .. } => {
            show(args.registry.json, &json!({ "id": event.id, "outcome": outcome.describe() }), || {
                format!("{}\n", outcome.describe())
            });
            Ok(())
        }
        outcome => Err(failed(outcome.describe())),
    }
}

/// A webhook's name.
#[derive(Debug, Args)]
pub(in crate::app) struct NameArgs {
    /// The webhook
    name: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn dead_ls(args: &NameArgs) -> Result<(), Failure> {
    let registry = args.registry.open().await?;
    let letters = admin::dead_letters(&registry, &args.name).await?;
    let values: Vec<Value> = letters.iter().map(|(_, letter)| json!(letter)).collect();
    show(args.registry.json, &Value::Array(values), || {
        let line = |(_, letter): &(String, dead::DeadLetter)| {
            let time = cloudevent::rfc3339(letter.time);
            format!("{time}  {}  {}  {}\n", letter.event.id, letter.event.kind, letter.reason)
        };
        letters.iter().map(line).collect()
    });
    Ok(())
}

/// What was typed after `weir webhook dead retry`.
#[derive(Debug, Args)]
pub(in crate::app) struct RetryArgs {
    /// The webhook
    name: String,
    /// Only the event with this id; all without it
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn dead_retry(args: &RetryArgs) -> Result<(), Failure> {
    let registry = args.registry.open().await?;
    let requested = admin::retry(&registry, &args.name, args.id.as_deref()).await?;
    show(args.registry.json, &json!({ "requested": requested }), || {
        format!("{requested} events will be sent to '{}' again\n", args.name)
    });
    Ok(())
}
