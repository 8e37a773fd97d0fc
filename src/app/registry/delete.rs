//! `weir delete` and `undelete`.

use std::process::ExitCode;

use clap::Args;

use super::change::show_change;
use super::common::{ChangeArgs, Target, block};
use super::exit::Failure;
use crate::model::Version;
use crate::registry::ops::delete;

/// `weir delete` and `weir undelete`.
#[derive(Debug, Args)]
pub(in crate::app) struct DeleteArgs {
    /// The version (NAME@3), or the model
    target: Target,
    #[command(flatten)]
    change: ChangeArgs,
}

impl DeleteArgs {
    pub(super) fn delete(self) -> ExitCode {
        block(self.change.registry.json, async {
            let version = self.number()?;
            let registry = self.change.registry.open().await?;
            let intent = self.change.intent();
            let made = delete::carry_out(&registry, &self.target.model, version, &intent).await?;
            show_change(self.change.registry.json, &self.target.model, &made, None);
            Ok(())
        })
    }

    pub(super) fn undelete(self) -> ExitCode {
        block(self.change.registry.json, async {
            let version = self.number()?;
            let registry = self.change.registry.open().await?;
            let intent = self.change.intent();
            let made = delete::take_back(&registry, &self.target.model, version, &intent).await?;
            show_change(self.change.registry.json, &self.target.model, &made, None);
            Ok(())
        })
    }

    /// The version by its number: what is deleted has no alias.
    fn number(&self) -> Result<Option<Version>, Failure> {
        let wrong =
            |_| Failure::usage(format!("name the version by its number, as in {}@3", self.target.model));
        match self.target.version.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(wrong),
        }
    }
}
