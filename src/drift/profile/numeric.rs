//! The profile of a numeric feature.

use std::sync::Arc;

use super::{Bins, Distinct, Kll, Moments, ProfileError, Reservoir, Tally, Value};

/// How much of a feature the sketches see. Counts and moments always see every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Quantile sketch and reservoir see one row in so many.
    pub every: u32,
    /// Accuracy of the quantile sketch.
    pub kll_k: u16,
    /// Rows of the reservoir.
    pub reservoir: usize,
    /// What the reservoir's draws begin with; different for each replica and pane.
    pub seed: u64,
}

impl Sampling {
    /// For baselines: sketches see every row.
    pub const BASELINE: Sampling = Sampling { every: 1, kll_k: 400, reservoir: 2_048, seed: 0 };
    /// For live panes: one row in 16, and no reservoir, which nothing reads there.
    pub const LIVE: Sampling = Sampling { every: 16, kll_k: 400, reservoir: 0, seed: 0 };
}

/// Counts over bins, moments and sketches of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct NumericProfile {
    bins: Arc<Bins>,
    counts: Vec<f64>,
    sampling: Sampling,
    /// Rows, missing values and type errors.
    pub tally: Tally,
    /// NaN values.
    pub nan: f64,
    /// +infinity; also counted above the baseline's maximum.
    pub positive_infinite: f64,
    /// -infinity; also counted below the baseline's minimum.
    pub negative_infinite: f64,
    /// Of the finite values.
    pub moments: Moments,
    /// Quantiles of the finite values (of one row in [`Sampling::every`]).
    pub quantiles: Kll,
    /// How many different values.
    pub distinct: Distinct,
    /// A sample of rows.
    pub reservoir: Reservoir,
}

impl NumericProfile {
    /// An empty profile over `bins`.
    pub fn new(bins: Arc<Bins>, sampling: Sampling) -> NumericProfile {
        NumericProfile {
            counts: vec![0.0; bins.places()],
            bins,
            sampling,
            tally: Tally::default(),
            nan: 0.0,
            positive_infinite: 0.0,
            negative_infinite: 0.0,
            moments: Moments::default(),
            quantiles: Kll::new(sampling.kll_k),
            distinct: Distinct::default(),
            reservoir: Reservoir::new(sampling.reservoir, sampling.seed),
        }
    }

    /// A profile of stored counts; the other fields are the caller's to fill.
    pub(crate) fn restored(
        bins: Arc<Bins>,
        counts: Vec<f64>,
        sampling: Sampling,
    ) -> Result<NumericProfile, ProfileError> {
        if counts.len() != bins.places() || counts.iter().any(|count| !(0.0..1e300).contains(count)) {
            return Err(ProfileError::Bins);
        }
        Ok(NumericProfile { counts, ..NumericProfile::new(bins, sampling) })
    }

    /// The same counts over the bins of the same values as 32-bit floats; `None` where those meet.
    pub(crate) fn for_floats(&self) -> Option<NumericProfile> {
        let bins = Arc::new(self.bins.for_floats()?);
        Some(NumericProfile { bins, ..self.clone() })
    }

    /// The bins.
    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    /// The bins, shared.
    pub fn shared_bins(&self) -> Arc<Bins> {
        Arc::clone(&self.bins)
    }

    /// Counts: below, the bins, above.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// Weight of the values below the baseline's minimum or above its maximum.
    pub fn out_of_range(&self) -> f64 {
        match self.counts.as_slice() {
            [below, .., above] => below + above,
            _ => 0.0,
        }
    }

    /// Adds a row's value.
    pub fn push(&mut self, value: Value<'_>, weight: f64) {
        let number = match value {
            Value::Number(number) => number,
            Value::Bool(truth) => f64::from(u8::from(truth)),
            Value::Missing | Value::Text(_) | Value::WrongType => {
                let is_missing = value == Value::Missing;
                let counter = if is_missing { &mut self.tally.missing } else { &mut self.tally.type_errors };
                *counter += weight;
                self.tally.rows += 1;
                self.tally.weight += weight;
                self.sample(f64::NAN, weight);
                return;
            }
        };
        self.tally.rows += 1;
        self.tally.weight += weight;
        self.count(number, weight);
        if number.is_finite() {
            self.moments.push(number, weight);
        }
        self.sample(number, weight);
    }

    /// Adds a row for each number: the path of live traffic.
    pub fn push_numbers(&mut self, numbers: &[f64]) {
        self.moments.merge(&Moments::of(numbers));
        for &number in numbers {
            self.tally.rows += 1;
            self.count(number, 1.0);
            self.sample(number, 1.0);
        }
        self.tally.weight += numbers.len() as f64;
    }

    fn count(&mut self, number: f64, weight: f64) {
        if number.is_nan() {
            self.nan += weight;
            return;
        }
        let place = self.bins.place(number);
        self.counts[place] += weight;
        if number.is_infinite() {
            let is_positive = number > 0.0;
            *(if is_positive { &mut self.positive_infinite } else { &mut self.negative_infinite }) += weight;
        }
    }

    /// What only one row in [`Sampling::every`] goes through. `tally.rows` already counts the row.
    fn sample(&mut self, number: f64, weight: f64) {
        if !self.tally.rows.is_multiple_of(u64::from(self.sampling.every.max(1))) {
            return;
        }
        self.reservoir.push(number, weight);
        if number.is_finite() {
            self.distinct.push_number(number);
            if weight == 1.0 {
                self.quantiles.push(number);
            } else {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a cast saturates"
                )]
                self.quantiles.push_weighted(number, weight.round().max(1.0) as u64);
            }
        }
    }

    /// Adds what another profile over the same bins has seen.
    pub fn merge(&mut self, other: &NumericProfile) -> Result<(), ProfileError> {
        if !Arc::ptr_eq(&self.bins, &other.bins) && self.bins != other.bins {
            return Err(ProfileError::Unlike);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, other)| *mine += other);
        self.tally.merge(&other.tally);
        self.nan += other.nan;
        self.positive_infinite += other.positive_infinite;
        self.negative_infinite += other.negative_infinite;
        self.moments.merge(&other.moments);
        self.quantiles.merge(&other.quantiles);
        self.distinct.merge(&other.distinct);
        self.reservoir.merge(&other.reservoir);
        Ok(())
    }

    /// How its sketches sample.
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    pub(super) fn bytes(&self) -> usize {
        let fixed = size_of::<NumericProfile>() + 2_048;
        fixed + 8 * self.counts.len() + self.quantiles.bytes() + 32 * self.reservoir.capacity()
    }

    pub(super) fn thin(&mut self) {
        self.quantiles = Kll::new(self.sampling.kll_k);
        self.distinct = Distinct::default();
        self.reservoir = Reservoir::default();
    }
}
