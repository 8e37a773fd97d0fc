//! `weir gc`: deletes files that nobody needs any more.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use serde_json::json;

use super::common::{RegistryArgs, block, show};
use crate::registry::audit::parse_age;
use crate::registry::gc::{GcOptions, GcReport, collect};

/// `weir gc`.
#[derive(Debug, Args)]
pub(in crate::app) struct GcArgs {
    /// Keep what is younger, and files of versions that were deleted more recently
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_age)]
    grace: Duration,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl GcArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            let options = GcOptions { grace: self.grace, dry_run: self.dry_run };
            let report = collect(&registry, &options, Utc::now()).await?;
            let freed: Vec<_> =
                report.freed.iter().map(|(sha256, size)| json!({ "sha256": sha256, "size": size })).collect();
            let value = json!({
                "dry_run": self.dry_run, "freed": freed, "freed_bytes": report.freed_bytes(), "live": report.live,
                "young": report.young, "rescued": report.rescued, "stale_intents": report.stale_intents, "staging": report.staging,
            });
            show(self.registry.json, &value, || tell(&report, self.dry_run));
            Ok(())
        })
    }
}

fn tell(report: &GcReport, dry_run: bool) -> String {
    let freed: String = report.freed.iter().map(|(sha256, size)| format!("{sha256}  {size}\n")).collect();
    let did = if dry_run { "would free" } else { "freed" };
    let (files, bytes) = (report.freed.len(), report.freed_bytes());
    let (live, young) = (report.live, report.young);
    let parts = match report.staging {
        0 => String::new(),
        parts => format!("removed {parts} files that were never finished\n"),
    };
    format!(
        "{freed}{parts}{did} {bytes} bytes in {files} files; {live} files are in use, {young} are younger than the grace\n"
    )
}
