//! Realised performance of classifiers: by label, and for two classes by score.

use std::collections::BTreeMap;

/// A row with the class that was answered and the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled<'a> {
    /// What the model said.
    pub predicted: &'a str,
    /// What was so.
    pub truth: &'a str,
}

/// Weights by (predicted, true) class, in the order of the names. It is at most the square of the classes large, which
/// the caller bounds.
pub fn confusion_table<'a>(rows: &[(Labelled<'a>, f64)]) -> BTreeMap<(&'a str, &'a str), f64> {
    let mut table = BTreeMap::new();
    for (row, weight) in rows.iter().filter(|(_, weight)| is_weight(*weight)) {
        *table.entry((row.predicted, row.truth)).or_insert(0.0) += weight;
    }
    table
}

/// The share of rows whose class was right: 0 to 1. Source: scikit-learn `accuracy_score`.
pub fn accuracy(rows: &[(Labelled<'_>, f64)]) -> f64 {
    let rows = rows.iter().filter(|(_, weight)| is_weight(*weight));
    let (mut right, mut all) = (0.0, 0.0);
    for (row, weight) in rows {
        all += weight;
        right += if row.predicted == row.truth { *weight } else { 0.0 };
    }
    right / all
}

/// A row with the score of the positive class and whether it was so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// From 0 to 1 where it is a probability; the area under the curve takes any.
    pub score: f64,
    /// Whether the positive class was true.
    pub truth: bool,
    /// Of how many rows it speaks.
    pub weight: f64,
}

impl Scored {
    fn is_sound(&self) -> bool {
        self.score.is_finite() && is_weight(self.weight)
    }

    fn target(&self) -> f64 {
        f64::from(u8::from(self.truth))
    }
}

/// What was said against what was so, in weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Confusion {
    /// Said and so.
    pub true_positive: f64,
    /// Said, and not so.
    pub false_positive: f64,
    /// Neither said nor so.
    pub true_negative: f64,
    /// Not said, but so.
    pub false_negative: f64,
}

impl Confusion {
    /// The counts when a score of `threshold` or more says yes.
    pub fn of(rows: &[Scored], threshold: f64) -> Confusion {
        let mut counts = Confusion::default();
        for row in rows.iter().filter(|row| row.is_sound()) {
            counts.add(row.score >= threshold, row.target(), row.weight);
        }
        counts
    }

    /// Adds a row that is true with probability `chance`.
    pub(super) fn add(&mut self, predicted: bool, chance: f64, weight: f64) {
        let (yes, no) = if predicted {
            (&mut self.true_positive, &mut self.false_positive)
        } else {
            (&mut self.false_negative, &mut self.true_negative)
        };
        *yes += chance * weight;
        *no += (1.0 - chance) * weight;
    }

    /// All rows.
    pub fn total(&self) -> f64 {
        self.true_positive + self.false_positive + self.true_negative + self.false_negative
    }

    /// The share of rows that were right.
    pub fn accuracy(&self) -> f64 {
        (self.true_positive + self.true_negative) / self.total()
    }

    /// Of what was said, the share that was so; NaN where nothing was said.
    pub fn precision(&self) -> f64 {
        self.true_positive / (self.true_positive + self.false_positive)
    }

    /// Of what was so, the share that was said; NaN where nothing was so.
    pub fn recall(&self) -> f64 {
        self.true_positive / (self.true_positive + self.false_negative)
    }

    /// The harmonic mean of both; NaN where nothing was said nor so.
    pub fn f1(&self) -> f64 {
        self.true_positive / (self.true_positive + (self.false_positive + self.false_negative) / 2.0)
    }
}

/// The area under the ROC curve: the probability that a true row scores higher than a false one, ties counting a half.
///
/// 0 to 1, a half by chance; NaN unless both classes occur. Source: Hanley and McNeil 1982; scikit-learn `roc_auc_score`.
pub fn auc(rows: &[Scored]) -> f64 {
    let rows = rows.iter().filter(|row| row.is_sound());
    soft_auc(rows.map(|row| (row.score, row.target(), row.weight)).collect())
}

/// The same of `(score, chance, weight)` rows that are true with probability `chance`.
pub(super) fn soft_auc(mut rows: Vec<(f64, f64, f64)>) -> f64 {
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut yes, mut no, mut area) = (0.0, 0.0, 0.0);
    // -0 and 0 are the same score, but sort apart: neighbours are compared, so they meet in one group.
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let group_yes: f64 = group.iter().map(|row| row.1 * row.2).sum();
        let group_no: f64 = group.iter().map(|row| (1.0 - row.1) * row.2).sum();
        area += group_yes * (no + group_no / 2.0);
        yes += group_yes;
        no += group_no;
    }
    area / (yes * no)
}

/// The mean of `-ln` of the probability that was given to what was so, each at least 2.2e-16 and at most 1 less that.
///
/// 0 to 36, in nats. Source: scikit-learn `log_loss`.
pub fn log_loss(rows: &[Scored]) -> f64 {
    mean(rows, |row| {
        let score = row.score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        if row.truth { -score.ln() } else { -(1.0 - score).ln() }
    })
}

/// The mean squared difference of score and truth: 0 to 1 for probabilities. Source: Brier 1950; scikit-learn
/// `brier_score_loss`.
pub fn brier(rows: &[Scored]) -> f64 {
    mean(rows, |row| (row.score - row.target()).powi(2))
}

/// Bins of the calibration error.
const CALIBRATION_BINS: usize = 10;

/// The expected calibration error: over ten equal bins of the score, the mean difference of the average score and the
/// share of true rows, by rows.
///
/// 0 to 1. Scores outside 0 and 1 count to the outer bins. Source: Naeini et al. 2015.
pub fn calibration_error(rows: &[Scored]) -> f64 {
    let mut differences = [0.0; CALIBRATION_BINS];
    let mut all = 0.0;
    for row in rows.iter().filter(|row| row.is_sound()) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast saturates at both ends"
        )]
        #[allow(clippy::cast_precision_loss, reason = "ten")]
        let bin = (row.score * CALIBRATION_BINS as f64) as usize;
        differences[bin.min(CALIBRATION_BINS - 1)] += row.weight * (row.score - row.target());
        all += row.weight;
    }
    differences.iter().map(|difference| difference.abs()).sum::<f64>() / all
}

fn mean(rows: &[Scored], of: impl Fn(&Scored) -> f64) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for row in rows.iter().filter(|row| row.is_sound()) {
        sum += row.weight * of(row);
        all += row.weight;
    }
    sum / all
}

/// Whether a row with this weight counts.
pub(super) fn is_weight(weight: f64) -> bool {
    weight.is_finite() && weight > 0.0
}
