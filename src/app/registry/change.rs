//! A change from the command line: made, shown, and waited for.

use serde_json::{Value, json};

use super::common::{ChangeArgs, show};
use super::exit::Failure;
use super::wait::{WaitArgs, Waited};
use crate::model::ModelName;
use crate::registry::ops::{self, Change};
use crate::registry::{ModelState, Op, Refusal, Registry};

impl ChangeArgs {
    /// Makes a change and shows it.
    pub(in crate::app) async fn make<P>(&self, model: &ModelName, plan: P) -> Result<(), Failure>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        let registry = self.registry.open().await?;
        let made = ops::change(&registry, model, &self.intent(), plan).await?;
        show_change(self.registry.json, model, &made, None);
        Ok(())
    }

    /// Makes a change that replicas carry out, shows it, and waits for them if that was asked for.
    pub(in crate::app) async fn make_and_wait<P>(
        &self,
        model: &ModelName,
        wait: &WaitArgs,
        deployment: Option<&str>,
        plan: P,
    ) -> Result<(), Failure>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        let registry = self.registry.open().await?;
        let made = ops::change(&registry, model, &self.intent(), plan).await?;
        let waited = wait_for(&registry, model, wait, deployment, &made).await?;
        show_change(self.registry.json, model, &made, waited.as_ref());
        match waited {
            Some(waited) if !waited.served => Err(Failure::not_served()),
            _ => Ok(()),
        }
    }
}

async fn wait_for(
    registry: &Registry,
    model: &ModelName,
    wait: &WaitArgs,
    deployment: Option<&str>,
    made: &Change,
) -> Result<Option<Waited>, Failure> {
    if !wait.wait || made.proposal().is_some() {
        return Ok(None);
    }
    wait.until_served(registry, model, made, deployment).await.map(Some)
}

/// Shows what a change came to.
pub(in crate::app) fn show_change(json: bool, model: &ModelName, made: &Change, waited: Option<&Waited>) {
    show(json, &to_json(model, made, waited), || to_text(model, made, waited));
}

fn to_json(model: &ModelName, made: &Change, waited: Option<&Waited>) -> Value {
    let summary: Vec<String> = made.ops.iter().map(ops::show::op).collect();
    let mut value = json!({
        "model": model,
        "revision": made.rev,
        "changed": made.is_made(),
        "summary": summary,
        "operations": made.ops,
        "proposal": made.proposal(),
    });
    if let Some(waited) = waited {
        value["served"] = json!(waited.served);
        value["replicas"] = json!(waited.replicas);
    }
    value
}

fn to_text(model: &ModelName, made: &Change, waited: Option<&Waited>) -> String {
    let mut text = match made.ops.as_slice() {
        [] => format!("{model} revision {}: unchanged\n", made.rev),
        ops => {
            ops.iter().map(|op| format!("{model} revision {}: {}\n", made.rev, ops::show::op(op))).collect()
        }
    };
    if let Some(proposal) = made.proposal() {
        text.push_str(&format!("another person approves it: weir approve {model} {proposal} --reason WHY\n"));
    }
    if let Some(waited) = waited {
        text.push_str(&waited.to_text());
    }
    text
}
