//! Embeddings compared as points: whether rows lie where they lay, whatever each coordinate says alone.
//!
//! Of each side there is a sample of rows ([`PointSample`]), of a table or of live panes, and [`mmd`] tests the samples. A row
//! with a missing or infinite coordinate is no point.

use super::baseline::Baseline;
use super::decide::Rules;
use super::mmd::{Points, mmd};
use super::profile::{BASELINE_POINTS, PointSample};
use super::report::{DriftState, EmbeddingReport};
use super::table::{Batch, ColumnData, Table, TableError};

/// Points of a side below which nothing is said.
const POINTS_MIN: usize = 50;
/// Random divisions; the least p is 0.005.
const PERMUTATIONS: u32 = 199;
/// The discrepancy that is called drift: 0.2 to 0.3 standard deviations in every coordinate, for normal ones.
const ALARM: f64 = 0.01;
/// Half of it is worth a warning.
const WARN: f64 = 0.005;
/// Divisions are the same at every run.
const SEED: u64 = 0x5eed;

/// A sample of the rows of `table`, whose coordinates are the columns at `columns`.
///
/// # Errors
/// [`TableError`].
pub fn sample(table: &Table, columns: &[usize]) -> Result<PointSample, TableError> {
    let mut sample = PointSample::new(columns.len(), BASELINE_POINTS, SEED);
    table.read(columns, &mut |batch| {
        for row in 0..batch.rows {
            let weight = batch.weights.as_ref().and_then(|weights| weights.get(row)).copied().unwrap_or(1.0);
            sample.push(weight, || coordinates(batch, row));
        }
    })?;
    Ok(sample)
}

/// The numbers of a row.
fn coordinates(batch: &Batch, row: usize) -> impl Iterator<Item = f64> {
    batch.columns.iter().filter_map(move |column| match column {
        ColumnData::Numbers(values) => values.get(row).copied().flatten(),
        ColumnData::Bools(_) | ColumnData::Texts(_) => None,
    })
}

/// What the test says of every embedding of a baseline.
pub fn compare_all(baseline: &Baseline, current: &[PointSample], rules: &Rules) -> Vec<EmbeddingReport> {
    let level = level(rules, baseline.features().len() + baseline.embeddings().len());
    let pairs = baseline.embeddings().iter().zip(current);
    pairs.map(|(known, current)| compare(&known.name, &known.sample, current, level)).collect()
}

/// The probability of a false alarm of one of `watched` features and embeddings, in one evaluation.
pub fn level(rules: &Rules, watched: usize) -> f64 {
    rules.level() / watched.max(1) as f64
}

/// What the test says of the embedding called `name`: an effect counts when chance exceeds it with a probability of less
/// than `level`.
pub fn compare(name: &str, baseline: &PointSample, current: &PointSample, level: f64) -> EmbeddingReport {
    let flat = |sample: &PointSample| -> (Vec<f64>, usize) {
        let points = sample.points();
        (points.iter().flat_map(|point| point.iter().map(|x| f64::from(*x))).collect(), points.len())
    };
    let ((old, baseline_points), (new, current_points)) = (flat(baseline), flat(current));
    let is_enough = baseline_points.min(current_points) >= POINTS_MIN;
    let points = |values| Points { values, width: baseline.width() };
    let is_alike = baseline.width() == current.width();
    let found =
        (is_enough && is_alike).then(|| mmd(points(&old), points(&new), PERMUTATIONS, SEED)).flatten();
    let null_quantile = found.map_or(f64::NAN, |found| found.null_quantile(level));
    let state = match found {
        None => DriftState::Insufficient,
        Some(found) if found.squared <= null_quantile || found.squared < WARN => DriftState::Ok,
        Some(found) if found.squared < ALARM => DriftState::Warn,
        Some(_) => DriftState::Drift,
    };
    EmbeddingReport {
        name: name.to_owned(),
        width: baseline.width(),
        baseline_points,
        current_points,
        mmd2: found.map_or(f64::NAN, |found| found.squared),
        p: found.map_or(f64::NAN, |found| found.p),
        null_quantile,
        alarm: ALARM,
        state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::golden::Stream;

    fn sample(rows: usize, shift: f64, seed: u64, most: usize) -> PointSample {
        let mut stream = Stream(seed);
        let mut sample = PointSample::new(8, most, seed);
        for _ in 0..rows {
            let point: Vec<f64> = stream.normals(8).into_iter().map(|value| value + shift).collect();
            sample.push(1.0, || point.into_iter());
        }
        sample
    }

    #[test]
    fn a_cloud_that_moved_has_drifted_and_one_that_did_not_has_not() {
        let base = sample(3_000, 0.0, 1, 500);
        let level = level(&Rules::offline(), 1);
        let state = |shift, rows| compare("e", &base, &sample(rows, shift, 2, 500), level).state;
        assert_eq!(state(0.0, 3_000), DriftState::Ok);
        assert_eq!(state(0.3, 3_000), DriftState::Drift);
        assert_eq!(state(0.3, 49), DriftState::Insufficient);
        let found = compare("e", &base, &sample(700, 0.3, 2, 500), level);
        assert_eq!((found.width, found.baseline_points, found.current_points), (8, 500, 500));
        assert!(found.mmd2 > 0.015 && found.p < 0.01 && found.null_quantile < 0.01, "{found:?}");
    }

    /// At the level of a server: what chance is believed to reach in a hundred thousand evaluations, it does not reach in
    /// thirty; and a pane's sample sees a move of half a deviation, an hour's one of 0.3.
    #[test]
    fn chance_alone_raises_no_alarm_and_a_move_does() {
        let base = sample(3_000, 0.0, 1, 500);
        let level = level(&Rules::default(), 20);
        for seed in 10..40 {
            let found = compare("e", &base, &sample(128, 0.0, seed, 128), level);
            assert_eq!(found.state, DriftState::Ok, "{found:?}");
        }
        for seed in 10..14 {
            for (shift, points) in [(0.5, 128), (0.3, 256)] {
                let found = compare("e", &base, &sample(2_000, shift, seed, points), level);
                assert_eq!(found.state, DriftState::Drift, "{shift} {found:?}");
            }
        }
    }
}
