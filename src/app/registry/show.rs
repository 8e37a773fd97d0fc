//! `weir models` and `show`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::common::{Environment, RegistryArgs, Target, block, show};
use crate::registry::history;
use crate::registry::ops::check;
use crate::registry::view::{ModelSummary, ModelView, VersionView};

/// `weir models`.
#[derive(Debug, Args)]
pub(in crate::app) struct ModelsArgs {
    /// Deleted ones too
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl ModelsArgs {
    pub(super) fn run(self, environment: &Environment) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open(environment).await?;
            let mut models = Vec::new();
            for name in history::models(registry.store()).await? {
                let state = registry.state(&name).await?;
                if state.exists() || (self.deleted && state.created.is_some()) {
                    models.push(ModelSummary::new(&state));
                }
            }
            show(self.registry.json, &json!({ "models": models }), || {
                models.iter().map(ModelSummary::to_line).collect()
            });
            Ok(())
        })
    }
}

/// `weir show`.
#[derive(Debug, Args)]
pub(in crate::app) struct ShowArgs {
    /// The model or version: NAME, NAME@3 or NAME@ALIAS
    target: Target,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl ShowArgs {
    pub(super) fn run(self, environment: &Environment) -> ExitCode {
        block(self.registry.json, async {
            let state = self.registry.open(environment).await?.state(&self.target.model).await?;
            check::exists(&state)?;
            match self.target.version.as_str() {
                "" => {
                    let found = ModelView::new(&state);
                    show(self.registry.json, &json!(found), || found.to_text());
                }
                text => {
                    let found = VersionView::new(&state, state.resolve(text)?)?;
                    show(self.registry.json, &json!(found), || found.to_text());
                }
            }
            Ok(())
        })
    }
}
