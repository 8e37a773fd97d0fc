//! `weir log`: the revisions of a model, newest first.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::common::{RegistryArgs, Target, block, show};
use super::exit::Failure;
use crate::model::ModelName;
use crate::registry::client::revision_key;
use crate::registry::ops;
use crate::registry::ops::check::shown;
use crate::registry::{Refusal, Registry, RegistryError, Revision};

/// `weir log`.
#[derive(Debug, Args)]
pub(in crate::app) struct LogArgs {
    /// The model
    target: Target,
    /// How many revisions; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u64,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl LogArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let model = self.target.model_only()?;
            let registry = self.registry.open().await?;
            let head = registry.state(model).await?.rev;
            if head == 0 {
                return Err(Refusal::NotFound(format!("there is no model '{model}'")).into());
            }
            let count = if self.limit == 0 { head } else { self.limit.min(head) };
            let mut revisions = Vec::new();
            for rev in (head - count + 1..=head).rev() {
                revisions.push(read(&registry, model, rev).await?);
            }
            show(self.registry.json, &json!({ "model": model, "revisions": revisions }), || {
                revisions.iter().map(lines).collect()
            });
            Ok(())
        })
    }
}

async fn read(registry: &Registry, model: &ModelName, rev: u64) -> Result<Revision, Failure> {
    let missing = || anyhow::anyhow!("revision {rev} of model '{model}' is missing: see weir audit verify");
    let bytes = registry.store().get(&revision_key(model, rev)).await?.ok_or_else(missing)?;
    let log = |source| RegistryError::Log { model: model.to_string(), rev, source };
    Ok(Revision::parse(&bytes).map_err(log)?)
}

fn lines(revision: &Revision) -> String {
    let time = revision.time.format("%Y-%m-%d %H:%M:%SZ");
    let mut text = format!("revision {}  {time}  {}", revision.rev, shown(&revision.actor.sub));
    if !revision.reason.is_empty() {
        text.push_str(&format!("  \"{}\"", revision.reason.escape_debug()));
    }
    text.push('\n');
    for op in &revision.ops {
        text.push_str(&format!("    {}\n", ops::show::op(op)));
    }
    text
}
