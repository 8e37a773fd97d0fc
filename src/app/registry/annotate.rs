//! `weir alias`, `tag`, `describe` and `baseline`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;

use super::change::show_change;
use super::common::{ChangeArgs, Target, block, pair};
use super::exit::Failure;
use super::wait::WaitArgs;
use crate::registry::ops::{self, alias, annotate};
use crate::registry::{ModelState, blobs};

/// Largest profile.
const PROFILE_BYTES_MAX: u64 = 64 << 20;

/// `weir alias`.
#[derive(Debug, Args)]
pub(in crate::app) struct AliasArgs {
    /// The model
    target: Target,
    /// Names and the versions or aliases that they are to point at: champion=3, old=champion
    #[arg(value_name = "ALIAS=VERSION", value_parser = pair, required_unless_present = "unset")]
    set: Vec<(String, String)>,
    /// Remove an alias
    #[arg(long, value_name = "ALIAS")]
    unset: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl AliasArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let model = self.target.model_only()?;
            let plan = |state: &ModelState| {
                let mut ops = Vec::new();
                for name in &self.unset {
                    ops.extend(alias::unset(state, name)?);
                }
                for (name, version) in &self.set {
                    ops.extend(alias::set(state, name, version)?);
                }
                Ok(ops)
            };
            self.change.make_and_wait(model, &self.wait, None, plan).await
        })
    }
}

/// `weir tag`.
#[derive(Debug, Args)]
pub(in crate::app) struct TagArgs {
    /// The model or version: NAME, NAME@3 or NAME@ALIAS
    target: Target,
    /// Tags
    #[arg(value_name = "KEY=VALUE", value_parser = pair, required_unless_present = "unset")]
    set: Vec<(String, String)>,
    /// Remove a tag
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl TagArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let set = self.set.iter().cloned().collect();
            let plan = |state: &_| annotate::tag(state, &self.target.version, &set, &self.unset);
            self.change.make(&self.target.model, plan).await
        })
    }
}

/// `weir describe`.
#[derive(Debug, Args)]
pub(in crate::app) struct DescribeArgs {
    /// The model or version: NAME, NAME@3 or NAME@ALIAS
    target: Target,
    /// The description
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["metric", "property"])]
    description: Option<String>,
    /// A metric of the version
    #[arg(long, value_name = "NAME=NUMBER", value_parser = metric)]
    metric: Vec<(String, f64)>,
    /// A property of the version; it can be set once
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl DescribeArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let metrics = self.metric.iter().cloned().collect();
            let properties: std::collections::BTreeMap<_, _> = self.property.iter().cloned().collect();
            let version = self.target.version.as_str();
            let plan = |state: &ModelState| {
                let mut ops = annotate::describe(state, version, self.description.as_deref(), &metrics)?;
                if !properties.is_empty() {
                    ops.extend(annotate::properties(state, version, &properties)?);
                }
                Ok(ops)
            };
            self.change.make(&self.target.model, plan).await
        })
    }
}

fn metric(text: &str) -> Result<(String, f64), String> {
    let (name, number) = pair(text)?;
    let number = number.parse().map_err(|_| format!("'{name}': expected NAME=NUMBER"))?;
    Ok((name, number))
}

/// `weir baseline`.
#[derive(Debug, Args)]
pub(in crate::app) struct BaselineArgs {
    /// The version: NAME@3 or NAME@ALIAS
    target: Target,
    /// The profile
    #[arg(value_name = "FILE", required_unless_present = "unset", conflicts_with = "unset")]
    profile: Option<PathBuf>,
    /// Remove it
    #[arg(long)]
    unset: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl BaselineArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, async {
            let version = self.target.version()?;
            let registry = self.change.registry.open().await?;
            let profile = match &self.profile {
                None => None,
                Some(file) => {
                    let bytes = read_profile(file)?;
                    Some(
                        blobs::put_bytes(registry.store(), "baseline", bytes)
                            .await
                            .map_err(anyhow::Error::from)?,
                    )
                }
            };
            let intent = self.change.intent();
            let plan = |state: &_| annotate::baseline(state, version, profile.as_ref());
            let made = ops::change(&registry, &self.target.model, &intent, plan).await?;
            show_change(self.change.registry.json, &self.target.model, &made, None);
            Ok(())
        })
    }
}

fn read_profile(file: &std::path::Path) -> Result<Bytes, Failure> {
    let shown = file.display().to_string();
    let len = std::fs::metadata(file).with_context(|| shown.clone())?.len();
    if len > PROFILE_BYTES_MAX {
        return Err(Failure::usage(format!("{shown}: {len} bytes, and {PROFILE_BYTES_MAX} are allowed")));
    }
    Ok(Bytes::from(std::fs::read(file).context(shown)?))
}
