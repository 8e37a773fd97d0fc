//! The measures of drift: one file a measure, each a pure function, and the table of what is reported.
//!
//! Histogram measures take counts over the same bins (counts are floating, because rows carry weights) and never panic:
//! without rows on a side, with bins that do not match, or with a negative or non-finite count they return NaN.
//! Thresholds, states and rows that are too few belong to `decide`; what chance alone gives stands in [`null`].

pub mod shares;
pub mod psi;
pub mod jensen_shannon;
pub mod ks;
pub mod ks_exact;
pub mod kstwo;
pub mod chi_squared;
pub mod l_infinity;
pub mod hellinger;
pub mod total_variation;
pub mod wasserstein;
pub mod mean_shift;
pub mod wilson;
pub mod null;

pub use chi_squared::{ChiSquared, chi_squared};
pub use hellinger::hellinger;
pub use jensen_shannon::jensen_shannon;
pub use ks::{ks_binned, ks_p, ks_two_sample};
pub use ks_exact::ks_p_exact;
pub use l_infinity::l_infinity;
pub use mean_shift::mean_shift;
pub use psi::psi;
pub use total_variation::total_variation;
pub use wasserstein::{wasserstein, wasserstein_weighted};
pub use wilson::wilson;

/// Which features a measure speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// Numbers only.
    Numeric,
    /// Categories only.
    Categorical,
    /// Every feature.
    Both,
}

/// What a reader needs to know of a measure to use its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasureSpec {
    /// Its name in reports, labels and configuration.
    pub name: &'static str,
    /// What it says, in a line.
    pub meaning: &'static str,
    /// The values it can take.
    pub range: &'static str,
    /// In what it is counted.
    pub unit: &'static str,
    /// Where a warning starts, unless configured: half the alarm, where no convention says otherwise.
    pub warn: Option<f64>,
    /// Where an alarm starts, unless configured; `None` for a measure that is only reported.
    pub alarm: Option<f64>,
    /// Which features it speaks of.
    pub applies: Applies,
    /// Where its formula is from.
    pub source: &'static str,
}

/// Every measure, in the order in which they are reported.
///
/// The thresholds of `ks` are for its robust form ([`null::ks_robust`]), those of the four rates for the lower Wilson
/// bound of the current rate less the rate of the baseline.
pub const TABLE: &[MeasureSpec] = &[
    MeasureSpec {
        name: "psi",
        meaning: "population stability index over 10 quantile bins of the baseline, or categories",
        range: "0 to 18.42, by the smallest share of 0.0001",
        unit: "nats",
        warn: Some(0.1),
        alarm: Some(0.2),
        applies: Applies::Both,
        source: "Yurdakul 2018; Potgieter et al., arXiv 2307.11878",
    },
    MeasureSpec {
        name: "js",
        meaning: "Jensen-Shannon distance over the bins of psi",
        range: "0 to 1",
        unit: "square root of bits",
        warn: Some(0.05),
        alarm: Some(0.1),
        applies: Applies::Both,
        source: "Endres and Schindelin 2003; scipy jensenshannon, base 2",
    },
    MeasureSpec {
        name: "ks",
        meaning: "largest gap between the cumulative distributions on the edges of the baseline",
        range: "0 to 1",
        unit: "share of rows",
        warn: Some(0.05),
        alarm: Some(0.1),
        applies: Applies::Numeric,
        source: "Smirnov 1939; scipy ks_2samp; deequ linf_robust",
    },
    MeasureSpec {
        name: "chi2",
        meaning: "chi-squared statistic of the table of both counts, with its p-value",
        range: "0 and more",
        unit: "none",
        warn: None,
        alarm: None,
        applies: Applies::Both,
        source: "Pearson 1900; scipy chi2_contingency",
    },
    MeasureSpec {
        name: "linf",
        meaning: "largest change of the share of one category or bin",
        range: "0 to 1",
        unit: "share of rows",
        warn: Some(0.05),
        alarm: Some(0.1),
        applies: Applies::Both,
        source: "deequ, NannyML",
    },
    MeasureSpec {
        name: "hellinger",
        meaning: "Hellinger distance over the bins of psi",
        range: "0 to 1",
        unit: "none",
        warn: None,
        alarm: None,
        applies: Applies::Both,
        source: "Hellinger 1909; NannyML",
    },
    MeasureSpec {
        name: "w1n",
        meaning: "1-Wasserstein distance in standard deviations of the baseline, from quantile sketches",
        range: "0 and more",
        unit: "sigmas of the baseline",
        warn: Some(0.05),
        alarm: Some(0.1),
        applies: Applies::Numeric,
        source: "scipy wasserstein_distance; Evidently's norm",
    },
    MeasureSpec {
        name: "mean_shift",
        meaning: "how far the mean has moved",
        range: "0 and more",
        unit: "sigmas of the baseline",
        warn: None,
        alarm: None,
        applies: Applies::Numeric,
        source: "Cohen 1988, with the baseline's deviation (Glass's delta)",
    },
    rate("null_rate", "share of rows without a value", Applies::Both),
    rate("out_of_range", "share of values outside the baseline's minimum and maximum", Applies::Numeric),
    rate("unseen", "share of values that the baseline has not seen", Applies::Categorical),
    rate("type_errors", "share of values of a wrong type", Applies::Both),
];

/// A row of the table for a share of rows.
const fn rate(name: &'static str, meaning: &'static str, applies: Applies) -> MeasureSpec {
    MeasureSpec {
        name,
        meaning,
        range: "0 to 1",
        unit: "share of rows",
        warn: Some(0.005),
        alarm: Some(0.01),
        applies,
        source: "Wilson 1927, for the bound",
    }
}

/// The row of the table called `name`.
pub fn spec(name: &str) -> Option<&'static MeasureSpec> {
    TABLE.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests;
