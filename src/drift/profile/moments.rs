//! Mean and spread of numbers, exactly mergeable but for rounding.
//!
//! Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).

/// Weight, mean, sum of squared distances from the mean, smallest and largest of finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// Sum of the weights: the number of values where none has a weight.
    pub weight: f64,
    /// The mean; 0 without values.
    pub mean: f64,
    /// Sum of weighted squared distances from the mean.
    pub m2: f64,
    /// The smallest; infinite without values.
    pub min: f64,
    /// The largest; minus infinite without values.
    pub max: f64,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments { weight: 0.0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Moments {
    /// Adds one finite number.
    pub fn push(&mut self, value: f64, weight: f64) {
        self.merge(&Moments { weight, mean: value, m2: 0.0, min: value, max: value });
    }

    /// The moments of the finite ones of `values`, each of weight 1. Two passes over a short slice are cheaper and more
    /// exact than an update for each value.
    pub fn of(values: &[f64]) -> Moments {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let mut moments = Moments::default();
        let mut sum = 0.0;
        for value in finite() {
            moments.weight += 1.0;
            sum += value;
            moments.min = moments.min.min(value);
            moments.max = moments.max.max(value);
        }
        if moments.weight > 0.0 {
            moments.mean = sum / moments.weight;
            moments.m2 = finite().map(|value| (value - moments.mean) * (value - moments.mean)).sum();
        }
        moments
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Moments) {
        if other.weight <= 0.0 {
            return;
        }
        let weight = self.weight + other.weight;
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * (self.weight / weight) * other.weight;
        self.mean += delta * (other.weight / weight);
        self.weight = weight;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The mean; NaN without values.
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.mean } else { f64::NAN }
    }

    /// The standard deviation, divided by n; NaN without values.
    pub fn std(&self) -> f64 {
        if self.weight > 0.0 { (self.m2 / self.weight).max(0.0).sqrt() } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_merge_to_the_whole() {
        let values: Vec<f64> = (0..1_000u32).map(|i| 1e6 + f64::from(i * i % 997)).collect();
        let whole = Moments::of(&values);
        let mut merged = Moments::of(&values[..13]);
        merged.merge(&Moments::of(&values[13..900]));
        values[900..].iter().for_each(|value| merged.push(*value, 1.0));
        assert!((merged.mean / whole.mean - 1.0).abs() < 1e-14);
        assert!((merged.std() / whole.std() - 1.0).abs() < 1e-10);
        assert_eq!((merged.min, merged.max, merged.weight), (whole.min, whole.max, 1_000.0));
        let with_nan = Moments::of(&[1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert_eq!((with_nan.mean(), with_nan.std(), with_nan.weight), (2.0, 1.0, 2.0));
        assert!(Moments::default().mean().is_nan());
    }
}
