//! `weir policy` and `approve`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::common::{ChangeArgs, Target, block, show};
use super::exit::Failure;
use super::wait::WaitArgs;
use crate::registry::ops::check::shown;
use crate::registry::ops::{self, approval, check};

/// `weir policy`.
#[derive(Debug, Args)]
pub(in crate::app) struct PolicyArgs {
    /// The model
    target: Target,
    /// How many others must approve what changes traffic: 0 or 1. Without it, the policy is shown
    #[arg(long, value_name = "N")]
    approvals: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl PolicyArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            if let Some(approvals) = self.approvals {
                let plan = |state: &_| approval::policy(state, approvals);
                return self.change.make(model, plan).await;
            }
            let state = self.change.registry.open().await?.state(model).await?;
            check::exists(&state)?;
            let value = json!({ "model": model, "revision": state.rev, "approvals": state.approvals });
            show(self.change.registry.json, &value, || format!("approvals: {}\n", state.approvals));
            Ok(())
        })
    }
}

/// `weir approve`.
#[derive(Debug, Args)]
pub(in crate::app) struct ApproveArgs {
    /// The model
    target: Target,
    /// The proposal. Without it, those that wait are listed
    proposal: Option<Uuid>,
    /// Drop the proposal instead
    #[arg(long, requires = "proposal")]
    withdraw: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl ApproveArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let Some(proposal) = self.proposal else { return self.list().await };
            if self.withdraw {
                let plan = |state: &_| approval::withdraw(state, proposal);
                return self.change.make(model, plan).await;
            }
            let actor = self.change.intent().actor;
            let plan = |state: &_| approval::approve(state, &actor, proposal);
            self.change.make_and_wait(model, &self.wait, None, plan).await
        })
    }

    async fn list(&self) -> Result<(), Failure> {
        let model = &self.target.model;
        let state = self.change.registry.open().await?.state(model).await?;
        check::exists(&state)?;
        let proposals: Vec<_> = state
            .proposals
            .iter()
            .map(|(id, found)| {
                let summary: Vec<String> = found.ops.iter().map(ops::show::op).collect();
                json!({ "proposal": id, "proposed": found.proposed, "summary": summary, "operations": found.ops })
            })
            .collect();
        let value = json!({ "model": model, "revision": state.rev, "proposals": proposals });
        show(self.change.registry.json, &value, || {
            let lines = state.proposals.iter().map(|(id, found)| {
                let summary: Vec<String> = found.ops.iter().map(ops::show::op).collect();
                let (who, why) = (shown(&found.proposed.actor.sub), shown(&found.proposed.reason));
                format!("{id}  {who}: {} ({why})\n", summary.join("; "))
            });
            lines.collect()
        });
        Ok(())
    }
}
