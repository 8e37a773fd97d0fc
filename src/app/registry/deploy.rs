//! `weir deploy`, `traffic`, `rollback` and `undeploy`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::common::{ChangeArgs, Target, block, duration, pair};
use super::wait::WaitArgs;
use crate::registry::ops::deploy::{self, SpecChange};
use crate::registry::ops::settings::parse_value;

/// Whose traffic.
#[derive(Debug, Args)]
struct Which {
    /// The deployment
    #[arg(long, value_name = "NAME", default_value = "default")]
    deployment: String,
}

/// `weir deploy`.
#[derive(Debug, Args)]
pub(in crate::app) struct DeployArgs {
    /// The version: NAME@3 or NAME@ALIAS
    target: Target,
    /// A setting over the version's model.toml, for example max_batch_size=16
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Remove a setting of the deployment
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    /// What decides a request's version in a split: request_id or header:NAME
    #[arg(long, value_name = "KEY")]
    sticky: Option<String>,
    /// How long a version that is replaced stays loaded for a rollback
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rollback_window: Option<Duration>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl DeployArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let version = self.target.version()?;
            let sticky = self.sticky.as_deref().map(deploy::parse_sticky).transpose()?;
            let set = self.set.iter().map(|(key, text)| (key.clone(), Some(parse_value(text))));
            let unset = self.unset.iter().map(|key| (key.clone(), None));
            let change = SpecChange {
                settings: set.chain(unset).collect(),
                sticky,
                rollback_window_s: self.rollback_window.map(|window| window.as_secs()),
            };
            let name = self.which.deployment.as_str();
            let plan = |state: &_| deploy::deploy(state, name, version, &change);
            self.change.make_and_wait(&self.target.model, &self.wait, Some(name), plan).await
        })
    }
}

/// `weir traffic`.
#[derive(Debug, Args)]
pub(in crate::app) struct TrafficArgs {
    /// The model
    target: Target,
    /// Shares by version or alias: 1=90 2=10, or champion=90% challenger=10%
    #[arg(value_name = "VERSION=WEIGHT", required = true)]
    shares: Vec<String>,
    /// What decides a request's version: request_id or header:NAME
    #[arg(long, value_name = "KEY")]
    sticky: Option<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl TrafficArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let shares = deploy::parse_shares(&self.shares)?;
            let sticky = self.sticky.as_deref().map(deploy::parse_sticky).transpose()?;
            let name = self.which.deployment.as_str();
            let plan = |state: &_| deploy::traffic(state, name, &shares, sticky.as_ref());
            self.change.make_and_wait(model, &self.wait, Some(name), plan).await
        })
    }
}

/// `weir rollback`.
#[derive(Debug, Args)]
pub(in crate::app) struct RollbackArgs {
    /// The model
    target: Target,
    /// Serve what was served at this revision of the model, instead of what was served before
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl RollbackArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let name = self.which.deployment.as_str();
            let plan = |state: &_| deploy::rollback(state, name, self.to);
            self.change.make_and_wait(model, &self.wait, Some(name), plan).await
        })
    }
}

/// `weir undeploy`.
#[derive(Debug, Args)]
pub(in crate::app) struct UndeployArgs {
    /// The model
    target: Target,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl UndeployArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let name = self.which.deployment.as_str();
            let plan = |state: &_| deploy::undeploy(state, name);
            self.change.make_and_wait(model, &self.wait, Some(name), plan).await
        })
    }
}
