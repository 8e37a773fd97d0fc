//! `weir drift`: data against a baseline, or against other data.
//!
//! One comparison is all there is offline, so a feature has drifted when an effect is beyond its threshold and beyond
//! chance; nothing waits for a second window as it does in a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::add::AddArgs;
use super::columns::{ColumnArgs, open, warn};
use super::compat::{self, CompatArg};
use super::show::ShowArgs;
use crate::app::cli::say;
use crate::app::registry::exit::{Failure, finish};
use crate::drift::baseline::{Baseline, BaselineEmbedding};
use crate::drift::decide::{Rules, Subject, compare};
use crate::drift::embedding::{self, level};
use crate::drift::report::{DriftReport, DriftState, EmbeddingReport};
use crate::drift::table::Table;
use crate::drift::{offline, render};

/// Largest profile.
const PROFILE_BYTES_MAX: u64 = 64 << 20;

/// `weir drift`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::app) struct DriftArgs {
    #[command(subcommand)]
    live: Option<LiveCommand>,
    #[command(flatten)]
    files: FileArgs,
}

/// What is known without files.
#[derive(Debug, Subcommand)]
enum LiveCommand {
    /// Show what a running server knows of a version's drift
    Show(Box<ShowArgs>),
    /// Count rows that a batch job scored with what servers see of the same version
    Add(Box<AddArgs>),
}

/// Two files and what to do with them.
#[derive(Debug, Args)]
struct FileArgs {
    /// What is compared with: a profile (.json), or data (.parquet, .csv, .tsv, .jsonl, a folder of .parquet)
    #[arg(value_name = "BASE", required = true)]
    base: Option<PathBuf>,
    /// What is compared: data, or a folder that capture wrote
    #[arg(value_name = "CURRENT", required = true)]
    current: Option<PathBuf>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
    /// Write a page with pictures as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show the numbers of another tool on the same data as well
    #[arg(long, value_name = "TOOL")]
    compat: Option<CompatArg>,
    /// End with exit code 5 when the verdict is as bad
    #[arg(long, value_name = "STATE")]
    fail_on: Option<FailOn>,
    /// Compare the rows of a list column as points (may be given several times); its elements are no features then
    #[arg(long = "embedding", value_name = "COLUMN")]
    embeddings: Vec<String>,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// From which verdict on the command fails.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Warn,
    Drift,
}

/// What both sides have in common.
struct Pair {
    baseline: Baseline,
    current: Table,
    /// For each feature of the baseline the position of its column in `current`.
    columns: Vec<usize>,
    /// The data of the baseline, and the position of each feature's column, unless it was a profile.
    base: Option<(Table, Vec<usize>)>,
    /// The embeddings of a profile.
    embeddings: Vec<BaselineEmbedding>,
}

impl DriftArgs {
    pub(super) fn run(self) -> ExitCode {
        match self.live {
            Some(LiveCommand::Show(args)) => args.run(),
            Some(LiveCommand::Add(args)) => args.run(),
            None => self.files.run(),
        }
    }
}

impl FileArgs {
    fn run(self) -> ExitCode {
        finish(self.compare(), self.json)
    }

    // clap sees to it that both are there.
    fn base(&self) -> &Path {
        self.base.as_deref().unwrap_or(Path::new(""))
    }

    fn current(&self) -> &Path {
        self.current.as_deref().unwrap_or(Path::new(""))
    }

    fn compare(&self) -> Result<(), Failure> {
        let pair = match self.base().extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            true => self.with_profile()?,
            false => self.with_data()?,
        };
        let current = offline::count(&pair.current, &pair.baseline, &pair.columns);
        let current = current.map_err(|error| Failure::coded(&error))?;
        let subject = Subject {
            subject: self.current().display().to_string(),
            baseline: self.base().display().to_string(),
            window: "file".to_owned(),
            from_us: 0,
            until_us: 0,
        };
        let mut report = compare(&pair.baseline, &current, &Rules::offline(), subject);
        offline::name_unseen(&mut report, &current);
        for name in &self.embeddings {
            let found = self.embedding(name, &pair)?;
            report.state = report.state.max(found.state);
            report.embeddings.push(found);
        }
        let told = self.compat.map(|tool| self.compat(tool, &pair, &report)).transpose()?;
        self.show(&report, told.as_deref())?;
        let is_failure = match self.fail_on {
            None => false,
            Some(FailOn::Warn) => report.state >= DriftState::Warn,
            Some(FailOn::Drift) => report.state >= DriftState::Drift,
        };
        match is_failure {
            true => Err(Failure::drifted(format!("the verdict is {}", report.state.as_str()))),
            false => Ok(()),
        }
    }

    fn show(&self, report: &DriftReport, told: Option<&[compat::Told]>) -> Result<(), Failure> {
        if let Some(file) = &self.html {
            std::fs::write(file, render::html(report)).with_context(|| file.display().to_string())?;
        }
        if self.json {
            let mut value = render::json(report);
            if let (Some(tool), Some(told)) = (self.compat, told) {
                value["compat"] = compat::json(tool, told);
            }
            say(&format!("{value}\n"));
            return Ok(());
        }
        say(&render::text(report));
        if let (Some(tool), Some(told)) = (self.compat, told) {
            say(&compat::text(tool, told));
        }
        if let Some(file) = &self.html {
            say(&format!("\n{} written\n", file.display()));
        }
        Ok(())
    }

    fn compat(
        &self,
        tool: CompatArg,
        pair: &Pair,
        report: &DriftReport,
    ) -> Result<Vec<compat::Told>, Failure> {
        let Some((base, base_columns)) = &pair.base else {
            return Err(Failure::usage("--compat needs the data of the baseline, not a profile"));
        };
        let base = compat::Side { table: base, columns: base_columns };
        let current = compat::Side { table: &pair.current, columns: &pair.columns };
        compat::measure(tool, base, current, &report.features)
    }

    fn embedding(&self, name: &str, pair: &Pair) -> Result<EmbeddingReport, Failure> {
        let missing =
            |of: &Path| Failure::usage(format!("--embedding: {} has no list column {name}", of.display()));
        let read = |table: &Table| self.columns.points(name, table)?.ok_or_else(|| missing(table.path()));
        let base = match &pair.base {
            Some((base, _)) => read(base)?,
            None => {
                let known = pair.embeddings.iter().find(|known| bare(&known.name) == bare(name));
                known.ok_or_else(|| missing(self.base()))?.sample.clone()
            }
        };
        let current = read(&pair.current)?;
        let (width, other) = (base.width(), current.width());
        if width != other {
            let message = format!("--embedding: {name} has {width} elements there and {other} here");
            return Err(Failure::usage(message));
        }
        Ok(embedding::compare(name, &base, &current, level(&Rules::offline(), self.embeddings.len())))
    }

    /// Whether a feature is an element of an embedding.
    fn is_element(&self, feature: &str) -> bool {
        let element =
            |feature: &str, name: &str| feature.strip_prefix(name).is_some_and(|rest| rest.starts_with('['));
        self.embeddings.iter().any(|name| element(feature, name) || element(bare(feature), name))
    }

    fn with_data(&self) -> Result<Pair, Failure> {
        let (base, current) = (open(self.base())?, open(self.current())?);
        let mut features = self.columns.of_table(&base)?;
        let mut missing = Vec::new();
        let mut columns = Vec::new();
        features.retain(|feature| !self.is_element(&feature.name));
        features.retain(|feature| match self.find(&feature.name, &current) {
            Some(column) => {
                columns.push(column);
                true
            }
            None => {
                missing.push(feature.name.clone());
                false
            }
        });
        self.check(&missing, &columns)?;
        let baseline = offline::profile(&base, &features).map_err(|error| Failure::coded(&error))?;
        let base_columns = features.iter().map(|feature| feature.column).collect();
        Ok(Pair { baseline, current, columns, base: Some((base, base_columns)), embeddings: Vec::new() })
    }

    fn with_profile(&self) -> Result<Pair, Failure> {
        let profile = read_profile(self.base())?;
        let current = open(self.current())?;
        let (mut missing, mut columns, mut features) = (Vec::new(), Vec::new(), Vec::new());
        for feature in profile.features() {
            let found = self.find(&feature.name, &current);
            let column = found.map_or("", |at| current.columns()[at].name.as_str());
            if !self.columns.is_wanted(column, &feature.name) {
                continue;
            }
            match found {
                None => missing.push(feature.name.to_string()),
                Some(column) => {
                    columns.push(column);
                    features.push(feature.clone());
                }
            }
        }
        self.check(&missing, &columns)?;
        let (rows, embeddings) = (profile.rows(), profile.embeddings().to_vec());
        Ok(Pair { baseline: Baseline::new(features, rows), current, columns, base: None, embeddings })
    }

    fn find(&self, feature: &str, table: &Table) -> Option<usize> {
        self.columns.names().find(feature, table.columns().iter().map(|column| column.name.as_str()))
    }

    fn check(&self, missing: &[String], columns: &[usize]) -> Result<(), Failure> {
        warn(&format!("{} has no column for", self.current().display()), missing);
        match columns.is_empty() && self.embeddings.is_empty() {
            true => Err(Failure::usage(format!(
                "{} and {} have no column in common",
                self.base().display(),
                self.current().display()
            ))),
            false => Ok(()),
        }
    }
}

/// A name as training data have it.
fn bare(name: &str) -> &str {
    name.strip_prefix("in.").unwrap_or(name)
}

fn read_profile(file: &Path) -> Result<Baseline, Failure> {
    let shown = || file.display().to_string();
    let len = std::fs::metadata(file).with_context(shown)?.len();
    if len > PROFILE_BYTES_MAX {
        return Err(Failure::usage(format!("{}: {len} bytes, and {PROFILE_BYTES_MAX} are allowed", shown())));
    }
    let bytes = std::fs::read(file).with_context(shown)?;
    Baseline::from_bytes(&bytes).map_err(|error| Failure::usage(format!("{}: {error}", shown())))
}
