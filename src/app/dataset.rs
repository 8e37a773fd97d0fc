//! `weir dataset build` and `weir performance`: what was captured and labelled, offline, from its files.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use object_store::ObjectStore;
use serde_json::json;

use super::registry::common::{Place, RegistryArgs, block, show, store_options, user_at_host};
use super::registry::exit::Failure;
use crate::capture::dataset::{DatasetManifest, LabelNeed, Query, Split, build};
use crate::control::datasets::{self, Built};
use crate::control::performance::{Asked, Performance, PerformanceReport, performance, time};
use crate::model::{ModelName, Version};
use crate::registry::Store;
use crate::registry::ops::check;

/// `weir dataset`.
#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Join captured rows with their labels into a training set
    Build(Box<BuildArgs>),
    /// List the training sets that were built of a model's rows
    Ls(LsArgs),
}

/// Which captured rows.
#[derive(Debug, Args)]
struct Rows {
    /// Where capture writes: a directory, or an s3://, az:// or gs:// URL
    #[arg(long, value_name = "DIR|URL")]
    capture: String,
    /// The model
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// Only this version; may be given several times
    #[arg(long = "version", value_name = "N")]
    versions: Vec<Version>,
    /// From when: 2026-01-31, 2026-01-31T12:00:00Z or -30d
    #[arg(long, value_name = "TIME", default_value = "-30d", allow_hyphen_values = true)]
    from: String,
    /// Until when; now without it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// `weir dataset build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    #[command(flatten)]
    rows: Rows,
    /// Whether rows without a label are left out
    #[arg(long, value_enum, default_value_t = Need::Required)]
    labels: Need,
    /// How rows are divided: none, time:SHARE or hash:SHARE of train
    #[arg(long, value_name = "HOW", default_value = "none")]
    split: Split,
    /// Keep rows of equal inputs and label apart, instead of one with their weights
    #[arg(long)]
    keep_duplicates: bool,
    /// Where it is written: an empty directory, or an s3://, az:// or gs:// URL
    #[arg(long, value_name = "DIR|URL")]
    out: String,
    /// Who, instead of user@host, for the registry
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// `weir dataset ls`.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// The model
    model: ModelName,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Need {
    Required,
    Any,
}

/// `weir performance`.
#[derive(Debug, Args)]
pub(super) struct PerformanceArgs {
    #[command(flatten)]
    rows: Rows,
    /// The output that is the prediction; found without it
    #[arg(long, value_name = "NAME")]
    prediction: Option<String>,
}

impl Rows {
    fn store(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        if !self.capture.contains("://") && !std::path::Path::new(&self.capture).is_dir() {
            return Err(Failure::usage(format!("--capture: there is no directory '{}'", self.capture)));
        }
        Ok(Arc::clone(Store::open(&self.capture, &store_options())?.raw()))
    }

    fn query(&self) -> Result<Query, Failure> {
        let now = Utc::now();
        let read = |text: &str, what: &str| {
            time(text, now).map_err(|reason| Failure::usage(format!("{what}: {reason}")))
        };
        let from_us = read(&self.from, "--from")?;
        let to_us = self.to.as_deref().map(|to| read(to, "--to")).transpose()?;
        let to_us = to_us.unwrap_or_else(|| now.timestamp_micros());
        let versions = self.versions.iter().map(|version| version.get()).collect();
        Ok(Query { versions, ..Query::new(self.model.clone(), from_us, to_us) })
    }
}

impl DatasetCommand {
    pub(super) fn run(self) -> ExitCode {
        match self {
            DatasetCommand::Build(args) => block(args.rows.json, args.build()),
            DatasetCommand::Ls(args) => block(args.registry.json, args.list()),
        }
    }
}

impl BuildArgs {
    async fn build(&self) -> Result<(), Failure> {
        let labels = match self.labels {
            Need::Required => LabelNeed::Required,
            Need::Any => LabelNeed::Any,
        };
        let query =
            Query { labels, split: self.split, keep_duplicates: self.keep_duplicates, ..self.rows.query()? };
        // Where a registry is named, it and whoever follows its events learn of it.
        let registry = match self.place.is_named()? {
            false => None,
            true => {
                let registry = self.place.open().await?;
                check::exists(&*registry.state(&query.model).await?)?;
                Some(registry)
            }
        };
        let out = Store::open(&self.out, &store_options())?;
        let manifest =
            build(&self.rows.store()?, out.raw(), &query).await.map_err(|error| Failure::coded(&error))?;
        let reference = format!("{}@{}", location(&self.out)?, manifest.digest());
        if let Some(registry) = &registry {
            let who = self.actor.clone().unwrap_or_else(user_at_host);
            datasets::register(registry, &query.model, &manifest, &reference, &who).await?;
        }
        let answer = json!({
            "reference": reference, "digest": manifest.digest(), "registered": registry.is_some(), "manifest": manifest,
        });
        show(self.rows.json, &answer, || built(&manifest, &self.out, &reference));
        Ok(())
    }
}

impl LsArgs {
    async fn list(&self) -> Result<(), Failure> {
        let found = datasets::list(&self.registry.open().await?, &self.model).await?;
        show(self.registry.json, &json!(found), || {
            let line = |Built { time, reference, detail }: &Built| {
                let rows = |of| detail.get(of).and_then(serde_json::Value::as_u64).unwrap_or_default();
                let time = time.format("%Y-%m-%d %H:%M:%S");
                format!("{time}  {} train, {} test  {reference}\n", rows("train_rows"), rows("test_rows"))
            };
            found.iter().map(line).collect()
        });
        Ok(())
    }
}

/// The place as a URL that means the same on every machine that sees it.
fn location(out: &str) -> Result<String, Failure> {
    if out.contains("://") {
        return Ok(out.trim_end_matches('/').to_owned());
    }
    let path: PathBuf = std::fs::canonicalize(out).map_err(|error| Failure::failed(&error.into()))?;
    let url = url::Url::from_file_path(&path).map(|url| url.to_string());
    Ok(url.unwrap_or_else(|()| path.display().to_string()))
}

fn built(manifest: &DatasetManifest, out: &str, reference: &str) -> String {
    let counts = &manifest.counts;
    let of = |split: &str| {
        manifest.files.iter().filter(|file| file.split == split).map(|file| file.rows).sum::<u64>()
    };
    format!(
        "{out}: {} rows for training, {} for testing\n\
         of {} captured rows: {} not answered, {} repeated requests, {} labelled, {} duplicates merged\n\
         register the next version with --dataset train={reference}\n",
        of("train"),
        of("test"),
        counts.rows,
        counts.failed,
        counts.repeated,
        counts.labelled,
        counts.duplicates,
    )
}

impl PerformanceArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.rows.json, self.show())
    }

    async fn show(&self) -> Result<(), Failure> {
        let query = self.rows.query()?;
        let mut asked = Asked::new(query.model.clone(), query.from_us, query.to_us);
        asked.query.versions = query.versions;
        asked.prediction.clone_from(&self.prediction);
        let report =
            performance(&self.rows.store()?, &asked).await.map_err(|error| Failure::coded(&error))?;
        show(self.rows.json, &json!(report), || table(&report));
        Ok(())
    }
}

/// Columns of the table: a head, and what stands below it.
type Column = (&'static str, fn(&Performance) -> Option<String>);

fn number(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.4}"))
}

const COLUMNS: [Column; 14] = [
    ("version", |row| Some(row.version.to_string())),
    ("date", |row| Some(row.date.clone().unwrap_or_else(|| "all".to_owned()))),
    ("rows", |row| Some(row.rows.to_string())),
    ("labelled", |row| Some(format!("{:.1} %", row.coverage * 100.0))),
    ("delay", |row| row.delay_s_median.map(|delay| format!("{:.1} h", delay / 3600.0))),
    ("accuracy", |row| number(row.accuracy)),
    ("95 %", |row| row.accuracy_interval.map(|[low, high]| format!("{low:.3}-{high:.3}"))),
    ("auc", |row| number(row.auc)),
    ("log loss", |row| number(row.log_loss)),
    ("ece", |row| number(row.calibration_error)),
    ("mae", |row| number(row.mae)),
    ("rmse", |row| number(row.rmse)),
    ("est. accuracy", |row| number(row.estimated_accuracy)),
    ("est. auc", |row| number(row.estimated_auc)),
];

/// Versions and their days; columns without a value are left out.
fn table(report: &PerformanceReport) -> String {
    let mut rows: Vec<&Performance> = report.versions.iter().chain(&report.days).collect();
    rows.sort_by_key(|row| (row.version, row.date.clone()));
    let mut lines = vec![String::new(); rows.len() + 1];
    for (head, value) in COLUMNS {
        let values: Vec<Option<String>> = rows.iter().map(|row| value(row)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let texts: Vec<String> = std::iter::once(head.to_owned())
            .chain(values.into_iter().map(|value| value.unwrap_or_else(|| "-".to_owned())))
            .collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        for (line, text) in lines.iter_mut().zip(texts) {
            let gap = if line.is_empty() { "" } else { "  " };
            line.push_str(&format!("{gap}{text:>width$}"));
        }
    }
    let notes = report.notes.iter().map(|note| format!("note: {note}\n"));
    lines.into_iter().map(|line| line + "\n").chain(notes).collect()
}
