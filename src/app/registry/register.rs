//! `weir register`: files become a version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::common::{ChangeArgs, Target, block, pair, show, staging_folder, store_options};
use super::exit::Failure;
use crate::app::cli::complain;
use crate::app::config::{package_limits, probe_options, runtime};
use crate::app::run::{make_prober, start_runtime};
use crate::app::settings::Settings;
use crate::control::register::{Registered, Registration, register as run};
use crate::model::ModelName;
use crate::registry::package::{self, Choice, git};
use crate::registry::record::{GitRecord, ModelRef};
use crate::registry::{Refusal, Registry};
use crate::serving::{Validate, Validator};

/// Largest sample file.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// What was typed after `weir register`.
#[derive(Debug, Args)]
pub(in crate::app) struct RegisterArgs {
    /// A file, a folder, a Triton or MLflow model, or an s3://, az:// or gs:// URL of one
    source: String,
    /// The model's name
    #[arg(long, value_name = "NAME")]
    name: ModelName,
    /// What the version is
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A tag, which may change later
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// A property, which stays as it is
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// A metric
    #[arg(long = "metric", value_name = "KEY=NUMBER", value_parser = pair)]
    metrics: Vec<(String, String)>,
    /// Data that it was made from or tested with, for example train=s3://bucket/table@7
    #[arg(long = "dataset", value_name = "ROLE=URI", value_parser = pair)]
    datasets: Vec<(String, String)>,
    /// The training run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// A version that it is made from
    #[arg(long = "from", value_name = "NAME@VERSION")]
    derived_from: Vec<Target>,
    /// An alias that is to point at it; needs a reason
    #[arg(long, value_name = "ALIAS")]
    alias: Option<String>,
    /// Names this registration: the same again finds the version that was made
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Make a version though there is one of the same files
    #[arg(long)]
    force_new: bool,
    /// Inputs as JSON, which it is run on and whose outputs are kept
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Which version of a Triton model: a number, or all; the newest without it
    #[arg(long, value_name = "N|all", value_parser = choice)]
    version: Option<Choice>,
    #[command(flatten)]
    change: ChangeArgs,
}

fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "all" => Ok(Choice::All),
        number => number.parse().map(Choice::Number).map_err(|_| "expected a version or all".to_owned()),
    }
}

impl RegisterArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, self.register())
    }

    async fn register(&self) -> Result<(), Failure> {
        let settings = self.change.registry.place.settings()?;
        let registry = self.change.registry.place.open().await?;
        let mut registration = registration(self, &registry).await?;
        let (choice, limits) = (
            self.version.unwrap_or_default(),
            package_limits(&settings).map_err(|problem| Failure::usage(problem.to_string()))?,
        );
        let (options, staging) = (store_options(), staging_folder());
        let packages = package::open(&self.source, choice, &options, &staging, limits).await?;
        registration.git = git_record(&self.source).await;
        let validator = validator(&settings)?;
        for package in &packages {
            let registered = run(&registry, &validator, package, &registration).await?;
            tell(self, &registered);
        }
        Ok(())
    }
}

async fn registration(args: &RegisterArgs, registry: &Registry) -> Result<Registration, Failure> {
    let mut metrics = BTreeMap::new();
    for (name, text) in &args.metrics {
        let number = text
            .parse::<f64>()
            .map_err(|_| Failure::usage(format!("--metric {name}: '{text}' is no number")))?;
        metrics.insert(name.clone(), number);
    }
    let mut derived_from = Vec::new();
    for target in &args.derived_from {
        let state = registry.state(&target.model).await?;
        if !state.exists() {
            return Err(Refusal::NotFound(format!("there is no model '{}'", target.model)).into());
        }
        derived_from.push(ModelRef { model: target.model.clone(), version: state.resolve(&target.version)? });
    }
    let sample = args.sample.as_deref().map(read_sample).transpose()?;
    Ok(Registration {
        model: args.name.clone(),
        intent: args.change.intent(),
        description: args.description.clone(),
        tags: args.tags.iter().cloned().collect(),
        properties: args.properties.iter().cloned().collect(),
        metrics,
        datasets: args.datasets.iter().map(|(role, uri)| (role.clone(), git::without_secrets(uri))).collect(),
        run: args.run.clone(),
        derived_from,
        git: None,
        alias: args.alias.clone(),
        proposal: uuid::Uuid::now_v7(),
        idempotency_key: args.idempotency_key.clone(),
        force_new: args.force_new,
        sample,
    })
}

fn read_sample(path: &Path) -> anyhow::Result<Value> {
    let shown = || path.display().to_string();
    let len = std::fs::metadata(path).with_context(shown)?.len();
    anyhow::ensure!(len <= SAMPLE_BYTES_MAX, "{} is longer than {SAMPLE_BYTES_MAX} bytes", shown());
    let bytes = std::fs::read(path).with_context(shown)?;
    serde_json::from_slice(&bytes).with_context(shown)
}

/// The working tree that a local source lies in.
async fn git_record(source: &str) -> Option<GitRecord> {
    let path = PathBuf::from(source);
    tokio::task::spawn_blocking(move || git::record(&path)).await.ok().flatten()
}

/// Tries models as a server would, without remembering verdicts.
fn validator(settings: &Settings) -> anyhow::Result<Arc<dyn Validate>> {
    let options = runtime(settings)?;
    let started = start_runtime(&options)?;
    let prober = make_prober(probe_options(settings)?, &started, 1, None);
    Ok(Arc::new(Validator::new(Arc::new(prober), started.build_info())))
}

fn tell(args: &RegisterArgs, registered: &Registered) {
    let Registered { version, rev, created, record, warnings } = registered;
    let name = &args.name;
    let answer = json!({
        "model": &**name, "version": version.get(), "revision": rev, "created": created,
        "digest": record.digest, "source": record.source, "warnings": warnings,
    });
    show(args.change.registry.json, &answer, || {
        for warning in warnings {
            complain(&format!("warning: {warning}"));
        }
        let (files, bytes) = (record.files.len(), record.files.iter().map(|file| file.size).sum::<u64>());
        match created {
            true => format!("{name}@{version} registered in revision {rev}: {files} files, {bytes} bytes\n"),
            false => format!("{name}@{version} is the same already; nothing was changed (revision {rev})\n"),
        }
    });
}
