//! Embeddings of two tables compared as points: whether rows lie where they lay, whatever each coordinate says alone.
//!
//! Of each side a sample of rows is kept while its table is read, and [`mmd`] tests the samples. A row with a missing or
//! infinite coordinate is no point; rows count alike, whatever weight the table gives them.

use super::mmd::{Points, Random, mmd};
use super::report::{DriftState, EmbeddingReport};
use super::table::{Batch, ColumnData, Table, TableError};

/// Points of a side: the test takes a quarter of a second.
const POINTS: usize = 500;
/// Points of a side below which nothing is said.
const POINTS_MIN: usize = 50;
/// Random divisions; the least p is 0.005.
const PERMUTATIONS: u32 = 199;
/// Above it a difference may be chance.
const P_MAX: f64 = 0.01;
/// The discrepancy that is called drift: 0.2 to 0.3 standard deviations in every coordinate, for normal ones.
const ALARM: f64 = 0.01;
/// Samples and divisions are the same at every run.
const SEED: u64 = 0x5eed;

/// Rows of one table.
#[derive(Debug, Clone)]
pub struct Sample {
    width: usize,
    /// One point after the other.
    values: Vec<f64>,
    /// Whole rows that were seen.
    seen: usize,
    random: Random,
}

impl Sample {
    /// A sample of the rows of `table`, whose coordinates are the columns at `columns`.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn of(table: &Table, columns: &[usize]) -> Result<Sample, TableError> {
        let mut sample = Sample::new(columns.len());
        let mut point = Vec::with_capacity(sample.width);
        table.read(columns, &mut |batch| {
            for row in 0..batch.rows {
                point.clear();
                point.extend(coordinates(batch, row));
                sample.push(&point);
            }
        })?;
        Ok(sample)
    }

    fn new(width: usize) -> Sample {
        Sample { width, values: Vec::new(), seen: 0, random: Random(SEED) }
    }

    /// Takes a row. Every row seen is in the sample with the same probability (Vitter 1985, algorithm R).
    fn push(&mut self, point: &[f64]) {
        if point.len() != self.width || self.width == 0 {
            return;
        }
        self.seen += 1;
        if self.seen <= POINTS {
            self.values.extend_from_slice(point);
            return;
        }
        let place = self.random.below(self.seen);
        if let Some(old) = self.values.chunks_exact_mut(self.width).nth(place) {
            old.copy_from_slice(point);
        }
    }

    fn points(&self) -> usize {
        self.seen.min(POINTS)
    }
}

/// The finite numbers of a row.
fn coordinates(batch: &Batch, row: usize) -> impl Iterator<Item = f64> {
    batch.columns.iter().filter_map(move |column| match column {
        ColumnData::Numbers(values) => values.get(row).copied().flatten().filter(|value| value.is_finite()),
        ColumnData::Bools(_) | ColumnData::Texts(_) => None,
    })
}

/// What the test says of the embedding called `name`.
pub fn compare(name: &str, baseline: &Sample, current: &Sample) -> EmbeddingReport {
    fn points(sample: &Sample) -> Points<'_> {
        Points { values: &sample.values, width: sample.width }
    }
    let is_enough = baseline.points().min(current.points()) >= POINTS_MIN;
    let found = is_enough.then(|| mmd(points(baseline), points(current), PERMUTATIONS, SEED)).flatten();
    let state = match found {
        None => DriftState::Insufficient,
        Some(found) if found.p > P_MAX => DriftState::Ok,
        Some(found) if found.squared < ALARM => DriftState::Warn,
        Some(_) => DriftState::Drift,
    };
    EmbeddingReport {
        name: name.to_owned(),
        width: baseline.width,
        baseline_points: baseline.points(),
        current_points: current.points(),
        mmd2: found.map_or(f64::NAN, |found| found.squared),
        p: found.map_or(f64::NAN, |found| found.p),
        alarm: ALARM,
        state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::golden::Stream;

    fn sample(rows: usize, shift: f64, seed: u64) -> Sample {
        let mut stream = Stream(seed);
        let mut sample = Sample::new(8);
        for _ in 0..rows {
            let point: Vec<f64> = stream.normals(8).into_iter().map(|value| value + shift).collect();
            sample.push(&point);
        }
        sample
    }

    #[test]
    fn a_cloud_that_moved_has_drifted_and_one_that_did_not_has_not() {
        let base = sample(3_000, 0.0, 1);
        let state = |shift, rows| compare("e", &base, &sample(rows, shift, 2)).state;
        assert_eq!(state(0.0, 3_000), DriftState::Ok);
        assert_eq!(state(0.3, 3_000), DriftState::Drift);
        assert_eq!(state(0.3, 49), DriftState::Insufficient);
        let found = compare("e", &base, &sample(700, 0.3, 2));
        assert_eq!((found.width, found.baseline_points, found.current_points), (8, 500, 500));
        assert!(found.mmd2 > 0.015 && found.p < 0.01, "{found:?}");
    }

    /// Quiet clouds raise about one warning in a hundred and no alarm.
    #[test]
    fn chance_alone_raises_no_alarm() {
        let base = sample(400, 0.0, 1);
        let states: Vec<DriftState> =
            (10..40).map(|seed| compare("e", &base, &sample(400, 0.0, seed)).state).collect();
        assert!(states.iter().all(|state| *state < DriftState::Drift), "{states:?}");
        assert!(states.iter().filter(|state| **state == DriftState::Warn).count() <= 2, "{states:?}");
    }

    #[test]
    fn a_sample_is_of_the_whole_table() {
        let mut sample = Sample::new(1);
        (0..100_000).for_each(|row| sample.push(&[f64::from(row)]));
        let mean = sample.values.iter().sum::<f64>() / 500.0;
        assert_eq!(sample.values.len(), 500);
        // Four standard errors of a mean of 500 uniform numbers.
        assert!((mean - 50_000.0).abs() < 4.0 * 28_868.0 / 500f64.sqrt(), "{mean}");
        sample.push(&[]);
        assert_eq!(sample.seen, 100_000, "a row without all coordinates is no point");
    }
}
