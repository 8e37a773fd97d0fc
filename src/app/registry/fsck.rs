//! `weir fsck`: whether everything that the logs name is there and right.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::audit::summary;
use super::common::{RegistryArgs, block, show};
use super::exit::Failure;
use crate::model::ModelName;
use crate::registry::verify::{Blobs, VerifyOptions, verify};

/// `weir fsck`.
#[derive(Debug, Args)]
pub(in crate::app) struct FsckArgs {
    /// Only this model
    #[arg(value_name = "NAME")]
    model: Option<ModelName>,
    /// Compare lengths of files only, instead of reading them
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl FsckArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let store = self.registry.open_store()?;
            let blobs = if self.quick { Blobs::Sizes } else { Blobs::Content };
            let options =
                VerifyOptions { model: self.model.clone(), anchors: Vec::new(), blobs, holds: true };
            let report = verify(&store, &options).await?;
            show(self.registry.json, &json!(report), || summary(&report));
            if report.findings.is_empty() { Ok(()) } else { Err(Failure::found()) }
        })
    }
}
