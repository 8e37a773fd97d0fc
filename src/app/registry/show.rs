//! `weir models` and `show`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::common::{RegistryArgs, Target, block, show};
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
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            let mut models = Vec::new();
            for view in registry.all().await? {
                let state = view.state;
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
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            if self.target.version.is_empty() {
                let state = registry.state(&self.target.model).await?;
                check::exists(&state)?;
                let found = ModelView::new(&state);
                show(self.registry.json, &json!(found), || found.to_text());
                return Ok(());
            }
            let (version, state) = self.target.find(&registry).await?;
            let found = VersionView::new(&state, version)?;
            show(self.registry.json, &json!(found), || found.to_text());
            Ok(())
        })
    }
}
