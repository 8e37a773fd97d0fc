//! Feedback: what turned out to be true of answers, taken for those who may say so.
//!
//! A label decides what the next model learns, so it needs the role that adds to what is known of a model
//! ([`Role::Publisher`], which can be granted for one model); reading and inferring do not give it. Whether the model is
//! served is not asked: labels come days later, and models go.

use std::sync::Arc;

pub use crate::capture::labels::{Label, LabelValue, limits};

use prometheus::IntCounter;

use super::{ControlError, ControlPlane, shorten};
use crate::access::{Identity, Role};
use crate::capture::labels::LabelStore;
use crate::error::Coded;
use crate::metrics::{MetricsError, Registry};
use crate::model::ModelName;

/// What became of the labels of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feedback {
    /// New ones; they are on the disk.
    pub accepted: usize,
    /// Those that are known already.
    pub duplicates: usize,
    /// Those that are none: their positions, from 0, and why.
    pub rejected: Vec<(usize, String)>,
}

/// Counts labels by what became of them. Not by model: labels may be of any name.
#[derive(Debug, Clone)]
pub struct FeedbackMetrics {
    accepted: IntCounter,
    duplicates: IntCounter,
    rejected: IntCounter,
}

impl FeedbackMetrics {
    /// Registers the family.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn register(registry: &Registry) -> Result<FeedbackMetrics, MetricsError> {
        let labels = registry.counters(
            "weir_feedback_labels_total",
            "Labels that clients sent, by what became of them",
            &["result"],
        )?;
        let of = |result| labels.with_label_values(&[result]);
        Ok(FeedbackMetrics {
            accepted: of("accepted"),
            duplicates: of("duplicate"),
            rejected: of("rejected"),
        })
    }

    fn count(&self, feedback: &Feedback) {
        self.accepted.inc_by(feedback.accepted as u64);
        self.duplicates.inc_by(feedback.duplicates as u64);
        self.rejected.inc_by(feedback.rejected.len() as u64);
    }
}

impl ControlPlane {
    /// Has labels taken and counted. The first store stays.
    pub fn attach_labels(&self, labels: Arc<LabelStore>, metrics: FeedbackMetrics) {
        self.labels.get_or_init(|| (labels, metrics));
    }

    /// Where labels are kept.
    ///
    /// # Errors
    /// [`ControlError::NoCapture`].
    pub fn labels(&self) -> Result<&Arc<LabelStore>, ControlError> {
        self.labels.get().map(|(labels, _)| labels).ok_or(ControlError::NoCapture)
    }

    /// Takes labels of `model` from `who`. Those that are none (`Err`, or out of bounds) do not keep the others back.
    ///
    /// # Errors
    /// [`ControlError`]; none was taken.
    pub async fn feedback(
        &self,
        who: &Identity,
        model: &str,
        sent: Vec<Result<Label, String>>,
    ) -> Result<Feedback, ControlError> {
        who.require(Role::Publisher, Some(model))?;
        let labels = self.labels()?;
        let model: ModelName =
            model.parse().map_err(|_| ControlError::UnknownModel { model: shorten(model) })?;
        let now_us = chrono::Utc::now().timestamp_micros();
        let mut feedback = Feedback::default();
        let mut taken = Vec::with_capacity(sent.len());
        for (index, label) in sent.into_iter().enumerate() {
            match label.and_then(|label| label.check(now_us).map(|()| label)) {
                Ok(label) => taken.push(label),
                Err(reason) => feedback.rejected.push((index, reason)),
            }
        }
        if !taken.is_empty() {
            let appended = labels.append(&model, taken).await.map_err(|error| {
                tracing::warn!(%error, %model, "labels were not taken");
                ControlError::Watching { code: error.code(), reason: error.public_message() }
            })?;
            (feedback.accepted, feedback.duplicates) = (appended.accepted, appended.duplicates);
        }
        if let Some((_, metrics)) = self.labels.get() {
            metrics.count(&feedback);
        }
        Ok(feedback)
    }
}
