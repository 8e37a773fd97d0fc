//! Profiles: what is known of a feature's values, in a few kilobytes that merge.
//!
//! A [`Profile`] counts over the bins or categories of its baseline, exactly; beside the counts it keeps moments and, for
//! what bins cannot say, sketches of quantiles and of the number of different values, and a sample. Profiles of panes,
//! replicas and batch jobs against the same baseline merge in any order. Pure: no clock, no files, no randomness.

mod bins;
mod categorical;
mod distinct;
mod kll;
mod moments;
mod numeric;
mod points;
mod reservoir;

pub use self::bins::{BINS_MAX, Bins, QUANTILE_BINS, group_places, grouped};
pub use self::categorical::{
    CATEGORIES_MAX, CATEGORY_LEN_MAX, CategoricalProfile, Categories, UNSEEN_MAX, category,
};
pub use self::distinct::Distinct;
pub use self::kll::Kll;
pub use self::moments::Moments;
pub use self::numeric::{NumericProfile, Sampling};
pub use self::points::{BASELINE_POINTS, PANE_POINTS, Point, PointSample, WINDOW_POINTS};
pub use self::reservoir::{Reservoir, Sampled};
pub use crate::model::embeddings::COORDINATES_MAX;

use std::borrow::Cow;

/// One value of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number, NaN and infinities included.
    Number(f64),
    /// A text, not necessarily UTF-8.
    Text(&'a [u8]),
    /// A truth value: 0 or 1 to a numeric feature, `false` or `true` to a categorical one.
    Bool(bool),
    /// The row has none.
    Missing,
    /// The row has one of a type that the feature cannot have.
    WrongType,
}

impl Value<'_> {
    /// An empty text is a missing one: tables in CSV and models that know no null write it so.
    pub fn or_missing(self) -> Self {
        match self {
            Value::Text([]) => Value::Missing,
            value => value,
        }
    }
}

/// Why profiles do not merge, or bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// They count over other bins or categories, or one is numeric and one is not.
    #[error("the profiles were made against different baselines")]
    Unlike,
    /// The edges of bins do not ascend, or there are too many.
    #[error("the edges of bins do not ascend, or are too many")]
    Bins,
    /// The bytes of a sketch are damaged.
    #[error("sketch: {0}")]
    Sketch(String),
}

/// What every profile counts, whatever its kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Rows that were pushed, however much they weigh: what significance is judged by.
    pub rows: u64,
    /// Their weights. The counts below are weights, too; each is the number of rows where rows have no weight.
    pub weight: f64,
    /// Rows without a value.
    pub missing: f64,
    /// Rows whose value has the wrong type.
    pub type_errors: f64,
}

impl Tally {
    fn merge(&mut self, other: &Tally) {
        self.rows += other.rows;
        self.weight += other.weight;
        self.missing += other.missing;
        self.type_errors += other.type_errors;
    }
}

/// The profile of one feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// Of numbers.
    Numeric(NumericProfile),
    /// Of categories.
    Categorical(CategoricalProfile),
}

impl Profile {
    /// An empty profile over the same bins or categories.
    pub fn empty_like(&self, sampling: Sampling) -> Profile {
        match self {
            Profile::Numeric(profile) => {
                Profile::Numeric(NumericProfile::new(profile.shared_bins(), sampling))
            }
            Profile::Categorical(profile) => {
                Profile::Categorical(CategoricalProfile::new(profile.shared_categories()))
            }
        }
    }

    /// Adds a row's value, which stands for `weight` rows.
    pub fn push(&mut self, value: Value<'_>, weight: f64) {
        let value = value.or_missing();
        match self {
            Profile::Numeric(profile) => profile.push(value, weight),
            Profile::Categorical(profile) => profile.push(value, weight),
        }
    }

    /// Adds a row for each number.
    pub fn push_numbers(&mut self, numbers: &[f64]) {
        match self {
            Profile::Numeric(profile) => profile.push_numbers(numbers),
            Profile::Categorical(profile) => {
                numbers.iter().for_each(|number| profile.push(Value::Number(*number), 1.0));
            }
        }
    }

    /// Adds `rows` rows without a value.
    pub fn push_missing(&mut self, rows: usize) {
        for _ in 0..rows {
            self.push(Value::Missing, 1.0);
        }
    }

    /// Adds what another profile has seen.
    pub fn merge(&mut self, other: &Profile) -> Result<(), ProfileError> {
        match (self, other) {
            (Profile::Numeric(mine), Profile::Numeric(other)) => mine.merge(other),
            (Profile::Categorical(mine), Profile::Categorical(other)) => mine.merge(other),
            _ => Err(ProfileError::Unlike),
        }
    }

    /// Rows, missing values and type errors.
    pub fn tally(&self) -> &Tally {
        match self {
            Profile::Numeric(profile) => &profile.tally,
            Profile::Categorical(profile) => &profile.tally,
        }
    }

    /// Counts, over the same places in every profile against the same baseline.
    ///
    /// Numeric: below the baseline's minimum, its bins, above its maximum. Categorical: the categories, then all others.
    pub fn counts(&self) -> Cow<'_, [f64]> {
        match self {
            Profile::Numeric(profile) => Cow::Borrowed(profile.counts()),
            Profile::Categorical(profile) => Cow::Owned(profile.counts_and_other()),
        }
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Profile::Numeric(profile) => profile.bytes(),
            Profile::Categorical(profile) => profile.bytes(),
        }
    }

    /// Drops what only sketches can tell, to save memory: quantiles, the sample and the number of different values.
    pub fn thin(&mut self) {
        match self {
            Profile::Numeric(profile) => profile.thin(),
            Profile::Categorical(profile) => profile.distinct = Distinct::default(),
        }
    }
}

#[cfg(test)]
mod tests;
