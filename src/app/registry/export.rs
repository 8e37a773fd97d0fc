//! `weir export`: a version in the form of another tool.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::{RegistryArgs, Target, block, show};
use super::exit::Failure;
use super::program;
use crate::registry::package::{oci, triton};

/// `weir export`.
#[derive(Debug, Args)]
pub(in crate::app) struct ExportArgs {
    /// The version: NAME@3, NAME@ALIAS, or NAME for the newest
    target: Target,
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// The folder to make
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The program of the image, which must need no libraries; this one, with its libraries, without it
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What a version can be exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A model repository in Triton's layout
    Triton,
    /// An OCI image layout that serves it: this program, the model, a configuration
    Oci,
}

impl ExportArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, self.export())
    }

    async fn export(&self) -> Result<(), Failure> {
        let registry = self.registry.open().await?;
        let model = &self.target.model;
        let (version, state) = self.target.find(&registry).await?;
        let record = &state.live(version)?.record;
        match self.format {
            Format::Triton => triton::export(registry.store(), model, version, record, &self.output).await?,
            Format::Oci => {
                let program = match &self.binary {
                    Some(binary) => program::other(binary)?,
                    None => program::this(&self.registry.place.settings()?)?,
                };
                oci::export(registry.store(), model, version, record, program, &self.output).await?;
            }
        }
        let shown = self.output.display().to_string();
        let answer = json!({ "model": &**model, "version": version.get(), "output": shown });
        show(self.registry.json, &answer, || format!("{model}@{version} -> {shown}\n"));
        Ok(())
    }
}
