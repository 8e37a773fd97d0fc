//! What a rate may be, given what was counted.

/// The Wilson score interval of a rate: lower and upper bound for `successes` of `n`, `z` standard deviations wide.
///
/// Both within 0 and 1; unlike the textbook's interval it does not collapse at a rate of 0 or 1, so that two nulls in
/// ten rows say little and two hundred in a thousand say much. `(NaN, NaN)` without rows or with more successes than
/// rows. Source: Wilson 1927, *Probable inference*; statsmodels `proportion_confint(method="wilson")`.
pub fn wilson(successes: f64, n: f64, z: f64) -> (f64, f64) {
    let is_rate = n.is_finite() && n > 0.0 && (0.0..=n).contains(&successes) && z.is_finite();
    if !is_rate {
        return (f64::NAN, f64::NAN);
    }
    let rate = successes / n;
    let z2 = z * z / n;
    let middle = (rate + z2 / 2.0) / (1.0 + z2);
    let half = (rate * (1.0 - rate) * z2 + z2 * z2 / 4.0).sqrt() / (1.0 + z2);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}
