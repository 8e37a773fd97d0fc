//! `weir profile-data`: a baseline of data, for a file, for a version in the registry, or for both.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::columns::{ColumnArgs, listed, open, warn};
use crate::app::registry::change::show_change;
use crate::app::registry::common::{ChangeArgs, Target, block, show};
use crate::app::registry::exit::Failure;
use crate::drift::baseline::{Baseline, BaselineEmbedding};
use crate::drift::offline::{Wanted, profile};
use crate::drift::table::{Kind, Table};
use crate::model::embeddings::{Embedding, embeddings};
use crate::model::features::{Derive, Feature, FeatureKind, features};
use crate::model::monitoring::MonitoringConfig;
use crate::model::settings::{SETTINGS_BYTES_MAX, parse_model_toml};
use crate::model::{Dim, Signature, TensorSpec};
use crate::registry::ops::{self, annotate};
use crate::registry::record::{TensorRecord, VersionRecord};
use crate::registry::{Registry, blobs};
use crate::tensor::DataType;

/// A version's own settings.
const MODEL_TOML: &str = "model.toml";

/// `weir profile-data`.
#[derive(Debug, Args)]
pub(in crate::app) struct ProfileArgs {
    /// Data: .parquet, .csv, .tsv, .jsonl, or a folder of .parquet
    file: PathBuf,
    /// Write the profile to a file
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    out: Option<PathBuf>,
    /// The version whose baseline it becomes: NAME@3 or NAME@ALIAS; its features are taken from the columns
    #[arg(long, value_name = "NAME@VERSION")]
    model: Option<Target>,
    /// Keep rows of a list column as points as well (may be given several times); those that the version's own settings
    /// name are kept unasked
    #[arg(long = "embedding", value_name = "COLUMN")]
    embeddings: Vec<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

impl ProfileArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.change.registry.json, self.profile())
    }

    async fn profile(&self) -> Result<(), Failure> {
        let Some(target) = &self.model else {
            let table = open(&self.file)?;
            let mut wanted = self.columns.of_table(&table)?;
            // What is watched as points is not watched element by element.
            let elements = self.embeddings.iter().flat_map(|name| self.columns.of_embedding(name, &table));
            let elements: Vec<usize> = elements.collect();
            wanted.retain(|wanted| !elements.contains(&wanted.column));
            let baseline = self.make(&table, &wanted, &[])?;
            self.tell(&baseline);
            return Ok(());
        };
        target.version()?;
        let registry = self.change.registry.open().await?;
        let (version, state) = target.find(&registry).await?;
        let record = &state.live(version)?.record;
        let Watched { features, embeddings } = version_watched(&registry, record).await?;
        let table = open(&self.file)?;
        let wanted = self.wanted(&table, &features, &embeddings)?;
        let baseline = self.make(&table, &wanted, &embeddings)?;
        self.register(target, &registry, &baseline).await
    }

    /// Makes the profile, and writes it where a file is named.
    fn make(&self, table: &Table, wanted: &[Wanted], of_version: &[Embedding]) -> Result<Baseline, Failure> {
        // Nothing else runs in this program.
        let baseline = tokio::task::block_in_place(|| profile(table, wanted));
        let baseline = baseline.map_err(|error| Failure::coded(&error))?;
        let baseline = baseline.with_embeddings(self.sampled(table, of_version)?);
        if let Some(out) = &self.out {
            std::fs::write(out, baseline.to_bytes()).with_context(|| out.display().to_string())?;
        }
        Ok(baseline)
    }

    /// Rows of the embeddings that are asked for, and of those of the version that the table has.
    fn sampled(&self, table: &Table, of_version: &[Embedding]) -> Result<Vec<BaselineEmbedding>, Failure> {
        let of_version = of_version.iter().map(|known| (&*known.name, false));
        let asked = self.embeddings.iter().map(|name| (name.as_str(), true));
        let mut found: Vec<BaselineEmbedding> = Vec::new();
        let mut missing = Vec::new();
        for (name, is_asked) in asked.chain(of_version) {
            if found.iter().any(|known| *known.name == *name) {
                continue;
            }
            match tokio::task::block_in_place(|| self.columns.points(name, table))? {
                Some(sample) => found.push(BaselineEmbedding { name: name.into(), sample }),
                None if is_asked => {
                    let message =
                        format!("--embedding: {} has no list column {name}", table.path().display());
                    return Err(Failure::usage(message));
                }
                None => missing.push(name.to_owned()),
            }
        }
        warn("there is no list column for the embedding", &missing);
        Ok(found)
    }

    async fn register(
        &self,
        target: &Target,
        registry: &Registry,
        baseline: &Baseline,
    ) -> Result<(), Failure> {
        let bytes = Bytes::from(baseline.to_bytes());
        let stored =
            blobs::put_bytes(registry.store(), "baseline", bytes).await.map_err(anyhow::Error::from)?;
        let version = target.version()?;
        let plan = |state: &_| annotate::baseline(state, version, Some(&stored));
        let made = ops::change(registry, &target.model, &self.change.intent(), plan).await?;
        show_change(self.change.registry.json, &target.model, &made, None);
        Ok(())
    }

    /// The columns of the version's features.
    fn wanted(
        &self,
        table: &Table,
        features: &[Feature],
        embeddings: &[Embedding],
    ) -> Result<Vec<Wanted>, Failure> {
        let names = self.columns.names();
        let mut wanted = Vec::new();
        let mut missing = Vec::new();
        let mut of_texts = Vec::new();
        for feature in features {
            let Some(column) = names.find(&feature.name, table.columns().iter().map(|column| &*column.name))
            else {
                // What is computed of an answer is in no training data.
                if matches!(feature.derive, Derive::Element(_)) {
                    missing.push(feature.name.to_string());
                }
                continue;
            };
            let found = &table.columns()[column];
            if !self.columns.is_wanted(&found.name, &feature.name) {
                continue;
            }
            if feature.kind == FeatureKind::Numeric && found.kind == Kind::Text {
                of_texts.push(found.name.clone());
            }
            wanted.push(Wanted { name: feature.name.to_string(), kind: feature.kind, column });
        }
        if wanted.is_empty() {
            let all: Vec<String> = features.iter().map(|feature| feature.name.to_string()).collect();
            return Err(Failure::usage(format!(
                "{} has no column for a feature of the model, which has {}; --map COLUMN=FEATURE names one",
                self.file.display(),
                listed(&all)
            )));
        }
        let points =
            embeddings.iter().map(|known| &*known.name).chain(self.embeddings.iter().map(|it| &**it));
        let points: Vec<usize> = points.flat_map(|name| self.columns.of_embedding(name, table)).collect();
        let is_used =
            |column: usize| wanted.iter().any(|wanted| wanted.column == column) || points.contains(&column);
        let unused = table.columns().iter().enumerate().filter(|(at, _)| !is_used(*at));
        let unused: Vec<String> = unused.map(|(_, column)| column.name.clone()).collect();
        warn("there is no column for", &missing);
        warn("columns that are no feature of the model", &unused);
        warn("columns of texts for features that are numbers", &of_texts);
        Ok(wanted)
    }

    fn tell(&self, baseline: &Baseline) {
        let out = self.out.as_ref().map(|out| out.display().to_string());
        let names: Vec<&str> = baseline.features().iter().map(|feature| &*feature.name).collect();
        let embeddings: Vec<&str> = baseline.embeddings().iter().map(|known| &*known.name).collect();
        let answer = json!({
            "file": out,
            "rows": baseline.rows(),
            "features": names,
            "embeddings": embeddings,
            "digest": &**baseline.digest(),
        });
        show(self.change.registry.json, &answer, || {
            let out = out.as_deref().unwrap_or_default();
            let points = match embeddings.len() {
                0 => String::new(),
                count => format!(" and {count} embeddings"),
            };
            let (count, rows, digest) = (names.len(), baseline.rows(), baseline.digest());
            format!("{out}: {count} features{points} of {rows} rows, {digest}\n")
        });
    }
}

/// What is watched of a version.
pub(super) struct Watched {
    pub(super) features: Vec<Feature>,
    pub(super) embeddings: Vec<Embedding>,
}

/// What is watched of a version as it was registered. What only a deployment says is not known here: `--map` and
/// `--embedding` say it.
pub(super) async fn version_watched(registry: &Registry, record: &VersionRecord) -> Result<Watched, Failure> {
    let settings = own_settings(registry, record).await?;
    let specs = |tensors: &[TensorRecord]| tensors.iter().filter_map(spec).collect();
    let signature = Signature { inputs: specs(&record.inputs), outputs: specs(&record.outputs) };
    let is_batched = record.inputs.iter().all(|tensor| tensor.shape.first() == Some(&-1));
    let is_batched = is_batched && !record.inputs.is_empty();
    Ok(Watched {
        features: features(&signature, is_batched, &settings.feature_names),
        embeddings: embeddings(&signature, is_batched, &settings.embeddings).0,
    })
}

/// What the version's own `model.toml` says.
async fn own_settings(registry: &Registry, record: &VersionRecord) -> Result<MonitoringConfig, Failure> {
    let Some(file) = record.files.iter().find(|file| file.path == MODEL_TOML) else {
        return Ok(MonitoringConfig::default());
    };
    let bytes = blobs::read_small(registry.store(), file, SETTINGS_BYTES_MAX as u64).await;
    let bytes = bytes.map_err(anyhow::Error::from)?;
    let parsed =
        parse_model_toml(&String::from_utf8_lossy(&bytes), MODEL_TOML).map_err(anyhow::Error::from)?;
    Ok(parsed.config.monitoring)
}

fn spec(tensor: &TensorRecord) -> Option<TensorSpec> {
    let dim = |size: &i64| usize::try_from(*size).map_or(Dim::Dynamic(None), Dim::Fixed);
    Some(TensorSpec {
        name: tensor.name.as_str().into(),
        dtype: DataType::from_wire_name(&tensor.datatype)?,
        shape: Some(tensor.shape.iter().map(dim).collect()),
        optional: false,
    })
}
