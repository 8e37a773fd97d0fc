//! `weir drift add`: rows that a batch job scored, counted with what servers see of the same version.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use clap::Args;
use serde_json::json;

use super::columns::{ColumnArgs, open, warn};
use super::profile::{Watched, version_watched};
use crate::app::registry::common::{RegistryArgs, Target, block, show};
use crate::app::registry::exit::Failure;
use crate::control::monitoring::BASELINE_BYTES_MAX;
use crate::control::performance::time;
use crate::drift::baseline::Baseline;
use crate::drift::monitor::{Batch, add_batch};
use crate::drift::offline::{Found, count_found};
use crate::drift::table::Table;
use crate::model::ModelId;
use crate::model::features::Feature;
use crate::registry::blobs;
use crate::registry::leases::is_replica_name;
use crate::tensor::DataType;

/// `weir drift add`.
#[derive(Debug, Args)]
pub(in crate::app) struct AddArgs {
    /// The rows: .parquet, .csv, .tsv, .jsonl, or a folder of .parquet
    file: PathBuf,
    /// The version that scored them, which has a registered baseline: NAME@3 or NAME@ALIAS
    #[arg(long, value_name = "NAME@VERSION")]
    model: Target,
    /// The folder that servers watch with
    #[arg(long, value_name = "DIR")]
    monitoring_dir: PathBuf,
    /// The job's name: the same job at the same time is counted once
    #[arg(long, default_value = "batch", value_name = "NAME")]
    job: String,
    /// When it scored them: 2026-01-31T12:00:00Z or -1h; the pane before this one without it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl AddArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.registry.json, self.add())
    }

    async fn add(&self) -> Result<(), Failure> {
        self.model.version()?;
        if !is_replica_name(&self.job) || self.job.len() > 64 {
            let reason = "--job is 1 to 64 letters, digits, '.', '_' or '-'";
            return Err(Failure::usage(reason.to_owned()));
        }
        let (start_us, length_us) = self.pane()?;
        let registry = self.registry.open().await?;
        let (version, state) = self.model.find(&registry).await?;
        let known = state.live(version)?;
        let missing = || Failure::usage(format!("version {version} has no registered baseline"));
        let file = known.baseline.as_ref().ok_or_else(missing)?;
        let bytes = blobs::read_small(registry.store(), file, BASELINE_BYTES_MAX).await;
        let baseline = Baseline::from_bytes(&bytes.map_err(anyhow::Error::from)?);
        let baseline = baseline.map_err(|error| Failure::failed(&error.into()))?;
        let Watched { features, embeddings } = version_watched(&registry, &known.record).await?;
        let baseline = Arc::new(baseline.for_version(&features, &embeddings));
        let table = open(&self.file)?;
        let found = self.found(&table, &baseline, &features)?;
        // Nothing else runs in this program.
        let current = tokio::task::block_in_place(|| count_found(&table, &baseline, &found));
        let mut current = current.map_err(|error| Failure::coded(&error))?;
        for (known, sample) in baseline.embeddings().iter().zip(&mut current.embeddings) {
            let points = tokio::task::block_in_place(|| self.columns.points(&known.name, &table))?;
            if let Some(points) = points.filter(|points| points.width() == sample.width()) {
                *sample = points;
            }
        }
        let rows = current.rows;
        let id = ModelId { name: self.model.model.clone(), version };
        let batch = Batch { job: self.job.clone(), start_us, length_us, current };
        let is_new = add_batch(&self.monitoring_dir.join("drift"), &id, baseline, batch);
        let is_new = is_new.map_err(|error| Failure::failed(&error.into()))?;
        let answer =
            json!({ "rows": rows, "added": is_new, "from_us": start_us, "until_us": start_us + length_us });
        show(self.registry.json, &answer, || match is_new {
            true => format!("{rows} rows are counted with those of {}@{version}\n", self.model.model),
            false => format!("job '{}' has added its rows of that time before\n", self.job),
        });
        Ok(())
    }

    /// When the pane begins, and its length.
    fn pane(&self) -> Result<(i64, i64), Failure> {
        let settings = self.registry.settings()?;
        let length =
            settings.duration("drift.pane").map_err(|problem| Failure::usage(problem.to_string()))?;
        let length_us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4).max(1);
        let now = Utc::now();
        let at_us = match &self.at {
            Some(at) => time(at, now).map_err(|reason| Failure::usage(format!("--at: {reason}")))?,
            None => now.timestamp_micros() - length_us,
        };
        Ok((at_us.div_euclid(length_us) * length_us, length_us))
    }

    /// The columns of the baseline's features; some are in no table, because a server derives them.
    fn found(&self, table: &Table, baseline: &Baseline, features: &[Feature]) -> Result<Vec<Found>, Failure> {
        let names = self.columns.names();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (position, feature) in baseline.features().iter().enumerate() {
            let columns = table.columns().iter().map(|column| column.name.as_str());
            let Some(column) = names.find(&feature.name, columns) else {
                missing.push(feature.name.to_string());
                continue;
            };
            let of_version = features.iter().find(|known| baseline.position_of(known) == Some(position));
            let is_float = of_version.is_some_and(|known| known.dtype == DataType::Fp32);
            if self.columns.is_wanted(&table.columns()[column].name, &feature.name) {
                found.push(Found { position, column, is_float });
            }
        }
        warn(&format!("{} has no column for", self.file.display()), &missing);
        match found.is_empty() {
            true => Err(Failure::usage(format!("{} has no column of the baseline", self.file.display()))),
            false => Ok(found),
        }
    }
}
