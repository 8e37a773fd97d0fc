//! `weir lineage`: where a version comes from and what became of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::{RegistryArgs, Target, block};
use crate::app::cli::say;
use crate::registry::lineage::{build, dot, svg, text};
use crate::registry::record::ModelRef;
use crate::registry::{history, ops::check};

/// `weir lineage`.
#[derive(Debug, Args)]
pub(in crate::app) struct LineageArgs {
    /// The version: NAME@3, NAME@ALIAS, or NAME for the newest
    target: Target,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
    /// Nodes and edges
    Json,
}

impl LineageArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            let state = registry.state(&self.target.model).await?;
            check::exists(&state)?;
            let version = match self.target.version.parse() {
                // Deleted ones, too.
                Ok(version) => version,
                Err(_) => state.resolve(&self.target.version)?,
            };
            let mut states = BTreeMap::new();
            for model in history::models(registry.store()).await? {
                let state = registry.state(&model).await?;
                states.insert(model, state);
            }
            let graph = build(&ModelRef { model: self.target.model.clone(), version }, &states)?;
            let format = if self.registry.json { Format::Json } else { self.format };
            let drawn = match format {
                Format::Text => text(&graph),
                Format::Dot => dot(&graph),
                Format::Svg => svg(&graph),
                Format::Json => format!("{}\n", json!(graph)),
            };
            match &self.output {
                None => say(&drawn),
                Some(file) => {
                    let written = std::fs::write(file, drawn);
                    written.with_context(|| format!("cannot write '{}'", file.display()))?;
                }
            }
            Ok(())
        })
    }
}
