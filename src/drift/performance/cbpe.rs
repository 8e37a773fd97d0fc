//! Performance without truths (CBPE): a calibrated score says how likely each answer is right, so the confusion matrix
//! can be expected. It sees a change of the inputs' mix, and is blind where the inputs' meaning changes.

use serde::{Deserialize, Serialize};

use super::classification::{Confusion, Scored, is_weight, soft_auc};
use super::isotonic::Isotonic;

/// A row that has no truth yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The score of the positive class.
    pub score: f64,
    /// Whether the model said the positive class.
    pub is_positive: bool,
    /// Of how many rows it speaks.
    pub weight: f64,
}

/// What performance is expected to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The expected counts; accuracy, precision, recall and F1 follow from them.
    pub confusion: Confusion,
    /// The expected area under the ROC curve, ties counting a half.
    pub auc: f64,
    /// One standard error of the accuracy that would be realised, for a band of three: `sqrt(a (1 - a) / n)`, `n` being
    /// Kish's effective number of rows. NannyML takes `a` from the reference instead.
    pub accuracy_error: f64,
}

/// The estimator: a calibration learned from rows that have their truth.
///
/// Source: NannyML 0.13.1 `CBPE` for two classes. NannyML first checks by cross-validation whether calibration helps;
/// here it always calibrates, and [`Cbpe::uncalibrated`] takes scores as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cbpe {
    calibration: Option<Isotonic>,
}

impl Cbpe {
    /// Learns from a reference; `None` without a row, or with one class only, from which nothing follows.
    pub fn fit(reference: &[Scored]) -> Option<Cbpe> {
        let has = |truth: bool| reference.iter().any(|row| row.truth == truth && is_weight(row.weight));
        if !has(true) || !has(false) {
            return None;
        }
        Some(Cbpe { calibration: Some(Isotonic::fit(reference)?) })
    }

    /// For scores that are probabilities already.
    pub fn uncalibrated() -> Cbpe {
        Cbpe { calibration: None }
    }

    /// The probability that a row with this score is positive.
    pub fn chance(&self, score: f64) -> f64 {
        self.calibration.as_ref().map_or(score, |calibration| calibration.apply(score)).clamp(0.0, 1.0)
    }

    /// Expects: a row that was said to be positive adds its chance to the true positives and the rest to the false
    /// ones, and so on. NaN throughout without a row.
    pub fn estimate(&self, rows: &[Predicted]) -> Estimate {
        let mut confusion = Confusion::default();
        let mut soft = Vec::with_capacity(rows.len());
        let mut squares = 0.0;
        for row in rows.iter().filter(|row| row.score.is_finite() && is_weight(row.weight)) {
            let chance = self.chance(row.score);
            confusion.add(row.is_positive, chance, row.weight);
            soft.push((row.score, chance, row.weight));
            squares += row.weight * row.weight;
        }
        let accuracy = confusion.accuracy();
        let accuracy_error = (accuracy * (1.0 - accuracy) * squares).max(0.0).sqrt() / confusion.total();
        Estimate { confusion, auc: soft_auc(soft), accuracy_error }
    }
}
