//! Isotonic regression: the rising function of a score that fits the truths best. It turns scores into probabilities.

use serde::{Deserialize, Serialize};

use super::classification::{Scored, is_weight};

/// A table of scores and probabilities, both rising; straight lines between its rows, level outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    scores: Vec<f64>,
    chances: Vec<f64>,
}

/// Neighbouring scores that got the same probability.
struct Block {
    first: f64,
    last: f64,
    chance: f64,
    weight: f64,
}

impl Isotonic {
    /// The weighted least-squares fit, by pooling adjacent violators; `None` without a row.
    ///
    /// Source: Barlow et al. 1972; scikit-learn `IsotonicRegression(out_of_bounds="clip")`.
    pub fn fit(rows: &[Scored]) -> Option<Isotonic> {
        let mut rows: Vec<&Scored> =
            rows.iter().filter(|row| row.score.is_finite() && is_weight(row.weight)).collect();
        rows.sort_by(|a, b| a.score.total_cmp(&b.score));
        let mut blocks: Vec<Block> = Vec::new();
        for same in rows.chunk_by(|a, b| a.score == b.score) {
            let weight: f64 = same.iter().map(|row| row.weight).sum();
            let yes: f64 = same.iter().filter(|row| row.truth).map(|row| row.weight).sum();
            let mut block = Block { first: same[0].score, last: same[0].score, chance: yes / weight, weight };
            while let Some(before) = blocks.pop_if(|before| before.chance >= block.chance) {
                let weight = before.weight + block.weight;
                let chance = (before.chance * before.weight + block.chance * block.weight) / weight;
                block = Block { first: before.first, last: block.last, chance, weight };
            }
            blocks.push(block);
        }
        let mut table = Isotonic { scores: Vec::new(), chances: Vec::new() };
        for block in blocks {
            table.scores.push(block.first);
            table.chances.push(block.chance);
            if block.last > block.first {
                table.scores.push(block.last);
                table.chances.push(block.chance);
            }
        }
        (!table.scores.is_empty()).then_some(table)
    }

    /// The probability that belongs to a score; NaN for NaN.
    pub fn apply(&self, score: f64) -> f64 {
        let after = self.scores.partition_point(|known| *known <= score);
        let at = |index: usize| Some((*self.scores.get(index)?, *self.chances.get(index)?));
        let before = after.checked_sub(1).and_then(at);
        match (before, at(after)) {
            _ if score.is_nan() => f64::NAN,
            (Some((low, chance)), Some((high, next))) => {
                chance + (next - chance) * ((score - low) / (high - low))
            }
            (Some((_, chance)), None) | (None, Some((_, chance))) => chance,
            (None, None) => f64::NAN,
        }
    }
}
