//! Makes a baseline of rows that are read twice: once for the edges of bins and the most frequent categories, once to
//! count over them exactly.
//!
//! ```
//! use weir::drift::builder::BaselineBuilder;
//! use weir::drift::profile::Value;
//! use weir::model::features::FeatureKind;
//! let rows = [(1.5, "red"), (2.5, "blue"), (3.5, "red")];
//! let mut first = BaselineBuilder::new([("in.size", FeatureKind::Numeric), ("in.colour", FeatureKind::Categorical)]);
//! for (size, colour) in rows {
//!     first.push(0, Value::Number(size), 1.0);
//!     first.push(1, Value::Text(colour.as_bytes()), 1.0);
//! }
//! let mut second = first.second_pass();
//! for (size, colour) in rows {
//!     second.push(0, Value::Number(size), 1.0);
//!     second.push(1, Value::Text(colour.as_bytes()), 1.0);
//!     second.row(1.0);
//! }
//! assert_eq!(second.finish().rows(), 3.0);
//! ```
//!
//! A feature stays of the kind that it is given: a numeric feature of few different values is not made a category. Its
//! values are atoms with bins of their own, so its shares are compared exactly as those of categories are, and what
//! lies between or outside them still shows by its size.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::baseline::{Baseline, BaselineFeature, Current};
use super::profile::{
    Bins, CATEGORIES_MAX, CategoricalProfile, Categories, Kll, NumericProfile, Profile, QUANTILE_BINS,
    Sampling, Value, category,
};
use crate::model::features::FeatureKind;

/// Accuracy of the first pass: exact up to some 4,000 rows, then about 0.07 % of rank.
const EDGES_K: u16 = 4_096;
/// Different values that are counted while the most frequent are looked for; beyond it the rare ones are dropped.
const CANDIDATES_MAX: usize = 16 * CATEGORIES_MAX;

/// What the first pass keeps of a feature.
#[derive(Debug)]
enum First {
    Numeric(Kll),
    Categorical(BTreeMap<Box<str>, f64>),
}

/// The first pass.
#[derive(Debug)]
pub struct BaselineBuilder {
    names: Vec<Arc<str>>,
    features: Vec<First>,
}

impl BaselineBuilder {
    /// A builder for features of these names and kinds.
    pub fn new<N: Into<Arc<str>>>(features: impl IntoIterator<Item = (N, FeatureKind)>) -> BaselineBuilder {
        let (names, features) = features
            .into_iter()
            .map(|(name, kind)| {
                let first = match kind {
                    FeatureKind::Numeric => First::Numeric(Kll::new(EDGES_K)),
                    FeatureKind::Categorical => First::Categorical(BTreeMap::new()),
                };
                (name.into(), first)
            })
            .unzip();
        BaselineBuilder { names, features }
    }

    /// Adds a value of the feature at `position`, which stands for `weight` rows.
    pub fn push(&mut self, position: usize, value: Value<'_>, weight: f64) {
        let value = value.or_missing();
        match self.features.get_mut(position) {
            Some(First::Numeric(quantiles)) => match value {
                // A weight below 1 still says that the value occurs.
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a cast saturates"
                )]
                Value::Number(number) if number.is_finite() => {
                    quantiles.push_weighted(number, weight.round().max(1.0) as u64);
                }
                Value::Bool(truth) => quantiles.push(f64::from(u8::from(truth))),
                _ => {}
            },
            Some(First::Categorical(candidates)) => count_candidate(candidates, value, weight),
            None => {}
        }
    }

    /// Fixes bins and categories.
    pub fn second_pass(self) -> SecondPass {
        let profiles = self.features.iter().map(First::profile).collect();
        SecondPass { names: self.names, current: Current { profiles, ..Current::default() } }
    }
}

fn count_candidate(candidates: &mut BTreeMap<Box<str>, f64>, value: Value<'_>, weight: f64) {
    let mut scratch = [0; 40];
    let Some(name) = category(value, &mut scratch) else { return };
    if matches!(value, Value::Number(number) if number.is_nan()) {
        return;
    }
    match candidates.get_mut(&*name) {
        Some(count) => *count += weight,
        None => {
            candidates.insert(name.as_ref().into(), weight);
        }
    }
    if candidates.len() >= CANDIDATES_MAX {
        let mut counts: Vec<f64> = candidates.values().copied().collect();
        counts.sort_by(|a, b| b.total_cmp(a));
        let bound = counts[CANDIDATES_MAX / 2];
        candidates.retain(|_, count| *count > bound);
    }
}

impl First {
    fn profile(&self) -> Profile {
        match self {
            First::Numeric(quantiles) => {
                let ranks: Vec<f64> =
                    (0..=QUANTILE_BINS).map(|rank| rank as f64 / QUANTILE_BINS as f64).collect();
                let bins = Bins::of_quantiles(&quantiles.quantiles(&ranks));
                Profile::Numeric(NumericProfile::new(Arc::new(bins), Sampling::BASELINE))
            }
            First::Categorical(candidates) => {
                let mut names: Vec<(&str, f64)> =
                    candidates.iter().map(|(name, count)| (&**name, *count)).collect();
                names.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
                let categories = Categories::new(names.into_iter().map(|(name, _)| Arc::from(name)));
                Profile::Categorical(CategoricalProfile::new(Arc::new(categories)))
            }
        }
    }
}

/// The second pass: the same rows again.
#[derive(Debug)]
pub struct SecondPass {
    names: Vec<Arc<str>>,
    current: Current,
}

impl SecondPass {
    /// Adds a value of the feature at `position`, which stands for `weight` rows.
    pub fn push(&mut self, position: usize, value: Value<'_>, weight: f64) {
        self.current.push(position, value, weight);
    }

    /// Says that a row has been pushed.
    pub fn row(&mut self, weight: f64) {
        self.current.rows += weight;
    }

    /// The baseline.
    pub fn finish(self) -> Baseline {
        let features = self.names.into_iter().zip(self.current.profiles);
        let features = features.map(|(name, profile)| BaselineFeature { name, profile }).collect();
        Baseline::new(features, self.current.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of three features, the same for the same seed.
    fn build(rows: u32) -> Baseline {
        let kinds = [
            ("in.x", FeatureKind::Numeric),
            ("in.flag", FeatureKind::Numeric),
            ("in.c", FeatureKind::Categorical),
        ];
        let value = |row: u32| {
            let x = f64::from(row.wrapping_mul(2_654_435_761) >> 8);
            [
                Value::Number(x),
                Value::Number(f64::from(row % 3 / 2)),
                Value::Number(f64::from(row % 7 * (row % 2))),
            ]
        };
        let mut first = BaselineBuilder::new(kinds);
        (0..rows).for_each(|row| {
            value(row).iter().enumerate().for_each(|(at, value)| first.push(at, *value, 1.0))
        });
        let mut second = first.second_pass();
        for row in 0..rows {
            value(row).iter().enumerate().for_each(|(at, value)| second.push(at, *value, 1.0));
            second.row(1.0);
        }
        second.finish()
    }

    #[test]
    fn bins_hold_equal_shares_and_everything_is_inside() {
        let baseline = build(30_000);
        let counts = baseline.features()[0].profile.counts().to_vec();
        assert_eq!((counts.len(), counts[0], counts[61]), (62, 0.0, 0.0));
        assert!(counts[1..61].iter().all(|count| (count - 500.0).abs() < 0.002 * 30_000.0), "{counts:?}");
        // Two atoms and the gap between them.
        assert_eq!(baseline.features()[1].profile.counts().to_vec(), [0.0, 20_000.0, 0.0, 10_000.0, 0.0]);
        let Profile::Categorical(profile) = &baseline.features()[2].profile else { unreachable!() };
        assert_eq!(&*profile.categories().names()[0], "0");
        assert_eq!((profile.other, profile.counts().iter().sum::<f64>()), (0.0, 30_000.0));
    }

    #[test]
    fn the_same_rows_make_the_same_bytes_and_the_bytes_come_back() {
        let baseline = build(10_000);
        let bytes = baseline.to_bytes();
        assert_eq!(build(10_000).to_bytes(), bytes);
        let back = Baseline::from_bytes(&bytes).unwrap();
        assert_eq!((back.to_bytes(), back.digest()), (bytes, baseline.digest()));
        assert_ne!(build(9_999).digest(), baseline.digest());
    }

    #[test]
    fn only_the_most_frequent_categories_are_named() {
        let mut first = BaselineBuilder::new([("c", FeatureKind::Categorical)]);
        let mut values: Vec<u32> = (0..40_000).collect();
        values.extend(std::iter::repeat_n(7, 100));
        values.iter().for_each(|n| first.push(0, Value::Number(f64::from(*n)), 1.0));
        let mut second = first.second_pass();
        values.iter().for_each(|n| second.push(0, Value::Number(f64::from(*n)), 1.0));
        let baseline = second.finish();
        let Profile::Categorical(profile) = &baseline.features()[0].profile else { unreachable!() };
        assert!(profile.categories().names().len() <= CATEGORIES_MAX);
        assert_eq!(profile.counts().iter().sum::<f64>() + profile.other, 40_100.0);
    }
}
