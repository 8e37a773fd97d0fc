//! Realised performance of models that answer with a number.

use super::classification::is_weight;

/// A row with the number that was answered and the true one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// What the model said.
    pub predicted: f64,
    /// What was so.
    pub truth: f64,
    /// Of how many rows it speaks.
    pub weight: f64,
}

/// The mean absolute error, in the unit of the values. Source: scikit-learn `mean_absolute_error`.
pub fn mean_absolute_error(rows: &[Measured]) -> f64 {
    mean(rows, f64::abs)
}

/// The root of the mean squared error, in the unit of the values. Source: scikit-learn `root_mean_squared_error`.
pub fn root_mean_squared_error(rows: &[Measured]) -> f64 {
    mean(rows, |error| error * error).sqrt()
}

fn mean(rows: &[Measured], of: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for row in rows {
        let error = row.predicted - row.truth;
        if error.is_finite() && is_weight(row.weight) {
            sum += row.weight * of(error);
            all += row.weight;
        }
    }
    sum / all
}
