//! Data sets of captured rows that were built, in the registry: signals of their model, so that events tell of them and the
//! next version can name one. Nothing here reads rows.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::capture::dataset::DatasetManifest;
use crate::model::ModelName;
use crate::registry::ops::check;
use crate::registry::signals::{self, Signal, SignalKind};
use crate::registry::{Registry, RegistryError};

/// A data set that was built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// When.
    pub time: DateTime<Utc>,
    /// Where it is and what it hashes to: what `weir register --dataset` takes.
    pub reference: String,
    /// Rows for training and testing, and from when until when they were captured.
    pub detail: Map<String, Value>,
}

/// Writes down that `manifest` was built of the rows of `model`, and lies at `reference`.
///
/// # Errors
/// [`crate::registry::Refusal::NotFound`] for a model that is not registered.
pub async fn register(
    registry: &Registry,
    model: &ModelName,
    manifest: &DatasetManifest,
    reference: &str,
    who: &str,
) -> Result<(), RegistryError> {
    let state = registry.state(model).await?;
    check::exists(&state)?;
    let rows = |split: &str| {
        manifest.files.iter().filter(|file| file.split == split).map(|file| file.rows).sum::<u64>()
    };
    let detail = json!({
        "reference": reference,
        "train_rows": rows("train"),
        "test_rows": rows("test"),
        "labelled_rows": manifest.counts.labelled,
        "query": manifest.query(),
    });
    let Value::Object(detail) = detail else { return Ok(()) };
    let signal = Signal {
        kind: SignalKind::DatasetBuilt,
        rev: state.rev,
        deployment: None,
        version: None,
        replica: Some(who.to_owned()),
        time: Utc::now(),
        reason: format!("{} rows", rows("train") + rows("test")),
        detail,
    };
    signals::append(registry.store(), model, &signal).await?;
    Ok(())
}

/// The data sets that were built of a model's rows, the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(registry: &Registry, model: &ModelName) -> Result<Vec<Built>, RegistryError> {
    let (store, mut found) = (registry.store(), Vec::new());
    for number in (1..=signals::last(store, model).await?).rev() {
        let Some(signal) = signals::read(store, model, number).await? else { continue };
        if signal.kind == SignalKind::DatasetBuilt {
            let reference =
                signal.detail.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned();
            found.push(Built { time: signal.time, reference, detail: signal.detail });
        }
    }
    Ok(found)
}
