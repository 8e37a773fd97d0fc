//! How good the answers were, by version and day: captured rows joined with the labels that came since.
//!
//! ```text
//! captured files ─┐
//!                 ├─ collect: a Judged row for each answer ──► judge: numbers for each version and day ──► PerformanceReport
//! labels ─────────┘
//! ```
//!
//! Which output is the prediction is told from the outputs (see [`collect`]) unless it is named. What performance is
//! estimated to be without labels (CBPE) is calibrated on those rows of a version that have one.
//!
//! Joins `capture` and `drift::performance`; has no formula of its own.

mod collect;
mod judge;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use object_store::ObjectStore;
use serde::Serialize;

use super::{ControlError, ControlPlane};
use crate::capture::dataset::{DatasetError, Query, day};
use crate::capture::labels;
use crate::error::{Code, Coded};
use crate::model::ModelName;
use crate::model::settings::values::parse_duration;

/// Most rows of one report: about 100 bytes each.
const ROWS_MAX: usize = 5_000_000;
const DAY_US: i64 = 86_400_000_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Which rows.
    pub query: Query,
    /// The output that is the prediction, with or without `out.`; `None` to find it.
    pub prediction: Option<String>,
}

impl Asked {
    /// All versions of `model` from `from_us` to `to_us`.
    pub fn new(model: ModelName, from_us: i64, to_us: i64) -> Asked {
        let query = Query { rows_max: ROWS_MAX, ..Query::new(model, from_us, to_us) };
        Asked { query, prediction: None }
    }
}

/// A time as people write it, in microseconds since 1970: `2026-01-31`, `2026-01-31T12:00:00Z`, or as long before
/// `now` as `-30d` says.
///
/// # Errors
/// What was expected.
pub fn time(text: &str, now: DateTime<Utc>) -> Result<i64, String> {
    if let Some(ago) = text.strip_prefix('-') {
        let days = ago.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let ago_us = match days {
            Some(days) => i64::from(days) * DAY_US,
            None => i64::try_from(parse_duration(ago)?.as_micros()).unwrap_or(i64::MAX),
        };
        return Ok(now.timestamp_micros().saturating_sub(ago_us));
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
    time.map_err(|_| "expected a time such as 2026-01-31, 2026-01-31T12:00:00Z or -30d".to_owned())
}

/// What a model does, as far as its outputs and labels tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// It names one of two classes, or scores one.
    Binary,
    /// It names one of several classes.
    Multiclass,
    /// It answers a number.
    Regression,
    /// There is no output that could be judged.
    Unknown,
}

/// The numbers of a version, or of one of its days. What cannot be told is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Performance {
    /// The version.
    pub version: u64,
    /// The day in UTC; absent for the whole time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Answered rows, each once.
    pub rows: u64,
    /// Those that have a label.
    pub labelled: u64,
    /// Their share.
    pub coverage: f64,
    /// Half of the labels came within so many seconds after the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s_median: Option<f64>,
    /// The share of rows whose class was right, by their weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Where it lies with 95 % confidence (Wilson), given as many rows as the weights are worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_interval: Option<[f64; 2]>,
    /// The area under the ROC curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// The mean negative logarithm of the probability of what was so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_loss: Option<f64>,
    /// The expected calibration error; of several classes that of the one that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_error: Option<f64>,
    /// The mean absolute error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// The root of the mean squared error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// What the accuracy of all rows is expected to be, labelled or not (CBPE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_accuracy: Option<f64>,
    /// The same of the area under the ROC curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_auc: Option<f64>,
}

/// How good the answers of a model were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerformanceReport {
    /// The model.
    pub model: String,
    /// What it does.
    pub task: Task,
    /// The output with the class that was named, or with the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// The output with the scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// The class whose score is judged, of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// Each version, over the whole time.
    pub versions: Vec<Performance>,
    /// Each version and day.
    pub days: Vec<Performance>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// How good the answers in `store` were.
///
/// # Errors
/// [`DatasetError`].
pub async fn performance(
    store: &Arc<dyn ObjectStore>,
    asked: &Asked,
) -> Result<PerformanceReport, DatasetError> {
    let query = &asked.query;
    if query.from_us >= query.to_us {
        return Err(DatasetError::Invalid("the time ends before it begins".to_owned()));
    }
    let labels = labels::read(store, &query.model, Some(day(query.from_us)), query.labels_max).await?;
    let collected = collect::collect(store, asked, &labels).await?;
    Ok(judge::judge(&query.model, collected))
}

impl ControlPlane {
    /// How good the answers that this server captured were, labels that have just come included.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn performance(&self, asked: Asked) -> Result<PerformanceReport, ControlError> {
        let labels = Arc::clone(self.labels()?);
        let Ok(_permit) = self.reports.try_acquire() else {
            let reason = "other reports of performance are being worked out; try again later".to_owned();
            return Err(ControlError::Watching { code: Code::ResourceExhausted, reason });
        };
        let failed = |error: &dyn std::fmt::Display, code, reason| {
            tracing::warn!(%error, "performance could not be worked out");
            ControlError::Watching { code, reason }
        };
        let flushed = labels.flush().await;
        flushed.map_err(|error| failed(&error, error.code(), error.public_message()))?;
        // Reading Parquet is work for a thread that may take its time.
        let runtime = tokio::runtime::Handle::current();
        let store = Arc::clone(labels.store());
        let work = tokio::task::spawn_blocking(move || runtime.block_on(performance(&store, &asked)));
        let report =
            work.await.map_err(|error| failed(&error, Code::Internal, "internal error".to_owned()))?;
        report.map_err(|error| failed(&error, error.code(), error.public_message()))
    }
}
