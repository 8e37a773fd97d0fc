//! `weir pull`: a version's files out of the registry, verified.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::common::{RegistryArgs, Target, block, show};
use crate::registry::package::pull::pull;

/// `weir pull`.
#[derive(Debug, Args)]
pub(in crate::app) struct PullArgs {
    /// The version: NAME@3, NAME@ALIAS, or NAME for the newest
    target: Target,
    /// The folder to make; NAME-VERSION without it
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl PullArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            let model = &self.target.model;
            let (version, state) = self.target.find(&registry).await?;
            let record = &state.live(version)?.record;
            let output = self.output.clone().unwrap_or_else(|| PathBuf::from(format!("{model}-{version}")));
            pull(registry.store(), record, &output).await?;
            let shown = output.display().to_string();
            let paths: Vec<&String> = record.files.iter().map(|file| &file.path).collect();
            let answer = json!({
                "model": &**model, "version": version.get(), "output": shown, "digest": record.digest,
                "files": paths,
            });
            show(self.registry.json, &answer, || {
                let bytes: u64 = record.files.iter().map(|file| file.size).sum();
                format!("{model}@{version}: {} files, {bytes} bytes -> {shown}\n", paths.len())
            });
            Ok(())
        })
    }
}
