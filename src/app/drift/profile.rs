//! `weir profile-data`: a baseline of data, for a file, for a version in the registry, or for both.

use std::collections::BTreeMap;
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
use crate::drift::baseline::Baseline;
use crate::drift::offline::{Wanted, profile};
use crate::drift::table::{Kind, Table};
use crate::model::features::{Derive, Feature, FeatureKind, features};
use crate::model::settings::{SETTINGS_BYTES_MAX, parse_model_toml};
use crate::model::{Dim, Signature, TensorSpec};
use crate::registry::ops::{self, annotate};
use crate::registry::record::{TensorRecord, VersionRecord};
use crate::registry::{Registry, blobs};
use crate::tensor::DataType;

/// A version's own settings.
const MODEL_TOML: &str = "model.toml";

/// Names of elements by tensor.
type FeatureNames = BTreeMap<String, Vec<String>>;

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
            let wanted = self.columns.of_table(&table)?;
            let baseline = self.make(&table, &wanted)?;
            self.tell(&baseline);
            return Ok(());
        };
        target.version()?;
        let registry = self.change.registry.open().await?;
        let (version, state) = target.find(&registry).await?;
        let record = &state.live(version)?.record;
        let features = version_features(&registry, record).await?;
        let table = open(&self.file)?;
        let wanted = self.wanted(&table, &features)?;
        let baseline = self.make(&table, &wanted)?;
        self.register(target, &registry, &baseline).await
    }

    /// Makes the profile, and writes it where a file is named.
    fn make(&self, table: &Table, wanted: &[Wanted]) -> Result<Baseline, Failure> {
        // Nothing else runs in this program.
        let baseline = tokio::task::block_in_place(|| profile(table, wanted));
        let baseline = baseline.map_err(|error| Failure::coded(&error))?;
        if let Some(out) = &self.out {
            std::fs::write(out, baseline.to_bytes()).with_context(|| out.display().to_string())?;
        }
        Ok(baseline)
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
    fn wanted(&self, table: &Table, features: &[Feature]) -> Result<Vec<Wanted>, Failure> {
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
        let is_used = |column: usize| wanted.iter().any(|wanted| wanted.column == column);
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
        let answer = json!({ "file": out, "rows": baseline.rows(), "features": names, "digest": &**baseline.digest() });
        show(self.change.registry.json, &answer, || {
            let out = out.as_deref().unwrap_or_default();
            format!("{out}: {} features of {} rows, {}\n", names.len(), baseline.rows(), baseline.digest())
        });
    }
}

/// The features of a version as it was registered.
pub(super) async fn version_features(
    registry: &Registry,
    record: &VersionRecord,
) -> Result<Vec<Feature>, Failure> {
    Ok(of_record(record, &feature_names(registry, record).await?))
}

/// The names that the version's own `model.toml` gives to the elements of rows.
async fn feature_names(registry: &Registry, record: &VersionRecord) -> Result<FeatureNames, Failure> {
    let Some(file) = record.files.iter().find(|file| file.path == MODEL_TOML) else {
        return Ok(FeatureNames::new());
    };
    let bytes = blobs::read_small(registry.store(), file, SETTINGS_BYTES_MAX as u64).await;
    let bytes = bytes.map_err(anyhow::Error::from)?;
    let parsed =
        parse_model_toml(&String::from_utf8_lossy(&bytes), MODEL_TOML).map_err(anyhow::Error::from)?;
    Ok(parsed.config.monitoring.feature_names)
}

/// The features of a version as it was registered. Names that only a deployment gives are not known here; `--map` gives
/// them.
fn of_record(record: &VersionRecord, names: &FeatureNames) -> Vec<Feature> {
    let specs = |tensors: &[TensorRecord]| tensors.iter().filter_map(spec).collect();
    let signature = Signature { inputs: specs(&record.inputs), outputs: specs(&record.outputs) };
    let is_batched = record.inputs.iter().all(|tensor| tensor.shape.first() == Some(&-1));
    features(&signature, is_batched && !record.inputs.is_empty(), names)
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
