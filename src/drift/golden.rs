//! For tests only: golden values of reference implementations, written by `tests/golden/drift/make.py`, and the
//! generator that both sides make their larger inputs with.

use serde_json::Value;

/// The parsed text of a golden file.
pub(super) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A number; infinities and NaN are written as text.
pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

/// A list of numbers.
pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// A whole number.
pub(super) fn whole(value: &Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

/// The whole number at or below a positive number.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and a test would fail"
)]
pub(super) fn floor(value: f64) -> usize {
    value as usize
}

/// Fails where two numbers differ by more than `relative` of the second, and by more than `absolute`.
#[track_caller]
pub(super) fn check_near(what: &str, ours: f64, theirs: f64, relative: f64, absolute: f64) {
    let is_near = ours == theirs
        || (ours.is_nan() && theirs.is_nan())
        || (ours - theirs).abs() <= absolute.max(relative * theirs.abs());
    assert!(
        is_near,
        "{what}: {ours:e}, reference {theirs:e}, relative {:e}",
        (ours - theirs).abs() / theirs.abs()
    );
}

/// The same congruential generator as in `make.py`.
#[derive(Debug)]
pub(super) struct Stream(pub(super) u64);

impl Stream {
    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[allow(clippy::cast_precision_loss, reason = "53 bits")]
        let upper = (self.0 >> 11) as f64;
        upper / 9_007_199_254_740_992.0
    }

    /// About normal: the sum of twelve, less 6.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).fold(0.0, |sum, _| sum + self.unit()) - 6.0
    }

    pub(super) fn units(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit()).collect()
    }

    pub(super) fn normals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// In ascending order.
pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
