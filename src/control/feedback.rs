//! Feedback: what turned out to be true of answers, taken for those who may say so.
//!
//! A label decides what the next model learns, so it needs the role that adds to what is known of a model
//! ([`Role::Publisher`], which can be granted for one model); reading and inferring do not give it. Whether the model is
//! served is not asked: labels come days later, and models go.

use std::sync::Arc;

pub use crate::capture::labels::{Label, LabelValue, limits};

use super::{ControlError, ControlPlane, shorten};
use crate::access::{Identity, Role};
use crate::capture::labels::LabelStore;
use crate::error::Coded;
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

impl ControlPlane {
    /// Has labels taken. The first store stays.
    pub fn attach_labels(&self, labels: Arc<LabelStore>) {
        self.labels.get_or_init(|| labels);
    }

    /// Where labels are kept.
    ///
    /// # Errors
    /// [`ControlError::NoCapture`].
    pub fn labels(&self) -> Result<&Arc<LabelStore>, ControlError> {
        self.labels.get().ok_or(ControlError::NoCapture)
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
        Ok(feedback)
    }
}
