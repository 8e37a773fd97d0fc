//! `weir deployment ls|show|clone|diff`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::common::{ChangeArgs, RegistryArgs, Target, block, show};
use super::wait::WaitArgs;
use crate::registry::ops::diff::{self, Difference};
use crate::registry::ops::{check, deploy};
use crate::registry::view;

/// `weir deployment`.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum DeploymentCommand {
    /// List the deployments of a model
    Ls(ListArgs),
    /// Show what a deployment serves, how, and what it served before
    Show(ShowArgs),
    /// Make one deployment serve what another serves, settings included
    Clone(CloneArgs),
    /// Compare two deployments, or two revisions of one
    Diff(DiffArgs),
}

impl DeploymentCommand {
    pub(super) fn run(self) -> ExitCode {
        match self {
            DeploymentCommand::Ls(args) => args.run(),
            DeploymentCommand::Show(args) => args.run(),
            DeploymentCommand::Clone(args) => args.run(),
            DeploymentCommand::Diff(args) => args.run(),
        }
    }
}

/// `weir deployment ls`.
#[derive(Debug, Args)]
pub(in crate::app) struct ListArgs {
    /// The model
    target: Target,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl ListArgs {
    fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let model = self.target.model_only()?;
            let state = self.registry.open().await?.state(model).await?;
            check::exists(&state)?;
            let listed: Vec<_> = state
                .deployments
                .iter()
                .map(|(name, found)| view::DeploymentView::new(name, found))
                .collect();
            show(
                self.registry.json,
                &json!({ "model": model, "revision": state.rev, "deployments": listed }),
                || listed.iter().map(view::DeploymentView::to_line).collect(),
            );
            Ok(())
        })
    }
}

/// `weir deployment show`.
#[derive(Debug, Args)]
pub(in crate::app) struct ShowArgs {
    /// The model
    target: Target,
    /// The deployment
    #[arg(default_value = "default")]
    deployment: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl ShowArgs {
    fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let model = self.target.model_only()?;
            let state = self.registry.open().await?.state(model).await?;
            check::exists(&state)?;
            let found = deploy::find(&state, &self.deployment)?;
            let found = view::DeploymentView::new(&self.deployment, found);
            show(self.registry.json, &json!(found), || found.to_text());
            Ok(())
        })
    }
}

/// `weir deployment clone`.
#[derive(Debug, Args)]
pub(in crate::app) struct CloneArgs {
    /// The model
    target: Target,
    /// The deployment that is copied
    from: String,
    /// The deployment that is made or replaced
    to: String,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl CloneArgs {
    fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let plan = |state: &_| deploy::clone(state, &self.from, &self.to);
            self.change.make_and_wait(model, &self.wait, Some(&self.to), plan).await
        })
    }
}

/// `weir deployment diff`.
#[derive(Debug, Args)]
pub(in crate::app) struct DiffArgs {
    /// The model
    target: Target,
    /// A deployment, or what it served at a revision: NAME or NAME@REVISION
    left: String,
    /// Another
    right: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl DiffArgs {
    fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let model = self.target.model_only()?;
            let state = self.registry.open().await?.state(model).await?;
            check::exists(&state)?;
            let found = diff::specs(diff::select(&state, &self.left)?, diff::select(&state, &self.right)?);
            let value =
                json!({ "model": model, "left": self.left, "right": self.right, "differences": found });
            show(self.registry.json, &value, || match found.as_slice() {
                [] => "no difference\n".to_owned(),
                found => found.iter().map(line).collect(),
            });
            Ok(())
        })
    }
}

fn line(found: &Difference) -> String {
    let side = |value: &Option<serde_json::Value>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
    format!("{}: {} -> {}\n", found.field, side(&found.before), side(&found.after))
}
