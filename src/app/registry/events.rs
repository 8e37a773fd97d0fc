//! `weir events`: shows what happened, sends it again, and delivers it without a server.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{RegistryArgs, block, duration, pair};
use super::exit::Failure;
use crate::app::cli::{complain, say};
use crate::app::delivery::{Delivery, EventsConfig};
use crate::app::shutdown::Signals;
use crate::control::events::{EventFeed, EventQuery, EventSource, EventsError, From, Streamed};
use crate::metrics::Registry as Metrics;
use crate::model::ModelName;
use crate::registry::cloudevent::CloudEvent;
use crate::registry::webhook::{self, address::Network, dead};
use crate::registry::{Refusal, Registry};

/// Time between two looks at the logs.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What was typed after `weir events`.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum EventsCommand {
    /// Show the last events, and with --follow those that come
    Tail(TailArgs),
    /// Show events from a revision or time on, or send them to a webhook again
    Replay(ReplayArgs),
    /// Deliver events to the webhooks, as `weir serve` does
    Deliver(DeliverArgs),
}

impl EventsCommand {
    /// Runs the command.
    pub(in crate::app) fn run(self) -> ExitCode {
        match self {
            EventsCommand::Tail(args) => block(args.registry.json, tail(&args)),
            EventsCommand::Replay(args) => block(args.registry.json, replay(&args)),
            EventsCommand::Deliver(args) => block(args.registry.json, deliver(&args)),
        }
    }
}

/// Which events.
#[derive(Debug, Args)]
struct Which {
    /// Types, for example alias.changed or 'deployment.*'
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// The subject, or its beginning up to a slash: models/digits
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SUBJECT")]
    subject: String,
    /// A tag that the version or its model must have
    #[arg(long = "tag", value_parser = pair, value_name = "KEY=VALUE")]
    tags: Vec<(String, String)>,
}

impl Which {
    fn query(&self, from: From) -> EventQuery {
        EventQuery { types: self.types.clone(), subject: self.subject.clone(), tags: self.tags.clone(), from }
    }
}

/// What was typed after `weir events tail`.
#[derive(Debug, Args)]
pub(in crate::app) struct TailArgs {
    /// Go on with the events that come
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to show
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    lines: usize,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn tail(args: &TailArgs) -> Result<(), Failure> {
    let registry = Arc::new(args.registry.open().await?);
    let mut feed = open(&registry, args.which.query(From::Beginning)).await?;
    let mut last: Vec<(String, Streamed)> = Vec::new();
    while let Some(event) = next_ready(&mut feed).await? {
        last.push((time_of(&event), event));
        if last.len() > args.lines.saturating_add(4096) {
            keep_last(&mut last, args.lines);
        }
    }
    keep_last(&mut last, args.lines);
    last.iter().for_each(|(_, event)| print(event, args.registry.json));
    if !args.follow {
        return Ok(());
    }
    loop {
        match feed.next().await {
            Ok(event) => print(&event, args.registry.json),
            Err(error) => {
                complain(&error.to_string());
                tokio::time::sleep(POLL_INTERVAL * 4).await;
            }
        }
    }
}

/// There is no order between models but the clocks of those who changed them; it will do for showing.
fn keep_last(events: &mut Vec<(String, Streamed)>, count: usize) {
    events.sort_by(|(a, _), (b, _)| a.cmp(b));
    events.drain(..events.len().saturating_sub(count));
}

fn time_of(event: &Streamed) -> String {
    let event: Option<CloudEvent> = serde_json::from_str(&event.json).ok();
    event.map(|event| event.time).unwrap_or_default()
}

/// What was typed after `weir events replay`.
#[derive(Debug, Args)]
pub(in crate::app) struct ReplayArgs {
    /// A revision (of the --model), a time such as 2026-01-31T12:00:00Z, or beginning
    #[arg(long, value_name = "REV|TIME")]
    from: String,
    /// The model; needed for a revision
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// Send them to this webhook again, as far as it wants them
    #[arg(long, value_name = "NAME")]
    to_webhook: Option<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    registry: RegistryArgs,
}

async fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let mut query = args.which.query(parse_from(args)?);
    if let Some(model) = args.model.as_ref().filter(|_| query.subject.is_empty()) {
        query.subject = format!("models/{model}");
    }
    let registry = Arc::new(args.registry.open().await?);
    let store = registry.store();
    let subscription = match &args.to_webhook {
        None => None,
        Some(name) => {
            let missing = || Refusal::NotFound(format!("there is no webhook '{name}'"));
            Some(webhook::find(store, name).await?.ok_or_else(missing)?.1)
        }
    };
    let mut feed = open(&registry, query).await?;
    let begun = Utc::now().timestamp_micros();
    let mut count = 0u64;
    while let Some(event) = next_ready(&mut feed).await? {
        let Some(subscription) = &subscription else {
            print(&event, args.registry.json);
            continue;
        };
        let event: Result<CloudEvent, serde_json::Error> = serde_json::from_str(&event.json);
        let event = event.map_err(|error| Failure::failed(&error.into()))?;
        if subscription.filter.wants(&event) {
            dead::request(store, &subscription.name, &format!("{begun:020}-{count:010}"), &event).await?;
            count += 1;
        }
    }
    if let Some(subscription) = subscription {
        super::common::show(args.registry.json, &json!({ "requested": count }), || {
            format!("{count} events will be sent to '{}' again\n", subscription.name)
        });
    }
    Ok(())
}

fn parse_from(args: &ReplayArgs) -> Result<From, Failure> {
    if args.from == "beginning" {
        return Ok(From::Beginning);
    }
    if let Ok(rev) = args.from.parse::<u64>() {
        let model = args.model.clone();
        let model =
            model.ok_or_else(|| Failure::usage("a revision is one of a model: name it by --model"))?;
        return Ok(From::Revision(model, rev));
    }
    let time = DateTime::parse_from_rfc3339(&args.from).map_err(|_| {
        Failure::usage("--from takes a revision, a time such as 2026-01-31T12:00:00Z, or beginning")
    })?;
    Ok(From::Time(time.to_utc()))
}

/// What was typed after `weir events deliver`.
#[derive(Debug, Args)]
pub(in crate::app) struct DeliverArgs {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// How long another process waits before it takes over from one that was killed
    #[arg(long, value_parser = duration, default_value = "20s", value_name = "DURATION")]
    lease: Duration,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What may be reached, beside what the configuration allows.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// A network that is not public and may be reached all the same: 10.0.0.0/8
    #[arg(long = "allow-network", value_name = "NETWORK")]
    networks: Vec<Network>,
    /// A host that may be reached, and no others: hooks.example.com or *.example.com
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Allow http without TLS
    #[arg(long)]
    allow_http: bool,
}

impl Reach {
    /// The configuration, widened.
    pub(super) fn config(&self, registry: &RegistryArgs) -> Result<EventsConfig, Failure> {
        let config = EventsConfig::new(&registry.settings()?);
        let mut config = config.map_err(|problem| Failure::usage(problem.to_string()))?;
        config.policy.networks.extend(&self.networks);
        config.policy.hosts.extend(self.hosts.iter().cloned());
        config.policy.http |= self.allow_http;
        Ok(config)
    }
}

async fn deliver(args: &DeliverArgs) -> Result<(), Failure> {
    let config = args.reach.config(&args.registry)?;
    let registry = Arc::new(args.registry.open().await?);
    let failed = |error: anyhow::Error| Failure::failed(&error);
    let mut signals = Signals::listen().map_err(|error| Failure::failed(&error.into()))?;
    let name = format!("weir-{}", std::process::id());
    let delivery = Delivery::start(std::future::ready(registry), &config, name, args.lease, &Metrics::new());
    let delivery = delivery.map_err(failed)?;
    say("delivering; stop with Ctrl-C\n");
    signals.next().await;
    delivery.end().await;
    Ok(())
}

async fn open(registry: &Arc<Registry>, query: EventQuery) -> Result<EventFeed, Failure> {
    let source = EventSource::new(Arc::clone(registry), POLL_INTERVAL, 1);
    source.open(query).await.map_err(failure)
}

async fn next_ready(feed: &mut EventFeed) -> Result<Option<Streamed>, Failure> {
    feed.next_ready().await.map_err(failure)
}

fn failure(error: EventsError) -> Failure {
    Failure::coded(&error)
}

/// Prints an event: as JSON in a line, or when, what, of what, by whom and why.
fn print(event: &Streamed, json: bool) {
    if json {
        return say(&format!("{}\n", event.json));
    }
    let value: Value = serde_json::from_str(&event.json).unwrap_or_default();
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let who = match text("/data/actor/sub") {
        who if who.is_empty() => text("/data/replica"),
        who => who,
    };
    let kind = event.kind.strip_prefix("io.weir.").unwrap_or(&event.kind);
    let line =
        format!("{}  {kind:<22}  {}  {who}  {}", text("/time"), text("/subject"), text("/data/reason"));
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    say(&format!("{}\n", plain.trim_end()));
}
