//! When the mean of a feature changed, pane by pane: what windows do not say, which only know that they differ from the
//! baseline. Two sequential detectors see each pane's mean, less the baseline's, over its standard error. They decide no
//! state: they know of no effect's size, and Page-Hinkley is not free of false alarms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::baseline::{Baseline, Current};
use crate::drift::detect::{Adwin, PageHinkley};
use crate::drift::profile::{Moments, Profile};
use crate::drift::report::Trend;

/// Rows of a pane below which its mean says little.
const ROWS_MIN: f64 = 30.0;

/// The trends of the numeric features of a baseline. They are kept with the decisions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Trends {
    features: BTreeMap<String, Watched>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    page_hinkley: PageHinkley,
    adwin: Adwin,
    trend: Trend,
}

impl Trends {
    /// Takes a pane that ended at `end_us`.
    pub(super) fn pane(&mut self, baseline: &Baseline, current: &Current, end_us: i64) {
        for (feature, current) in baseline.features().iter().zip(&current.profiles) {
            let (Profile::Numeric(known), Profile::Numeric(pane)) = (&feature.profile, current) else {
                continue;
            };
            let Some(z) = standardised(&known.moments, &pane.moments) else { continue };
            let watched = self.features.entry(feature.name.to_string()).or_default();
            watched.trend.panes += 1;
            if watched.page_hinkley.update(z) {
                watched.trend.page_hinkley_us = Some(end_us);
            }
            if watched.adwin.update(z) {
                watched.trend.adwin_us = Some(end_us);
            }
        }
    }

    /// The trend of a feature; `None` for categories, and before there was a pane.
    pub(super) fn of(&self, feature: &str) -> Option<Trend> {
        self.features.get(feature).map(|watched| watched.trend)
    }
}

/// A pane's mean less the baseline's, over the standard error of their difference: of unit scale while nothing changes, and
/// not more when panes are larger than the baseline.
fn standardised(baseline: &Moments, pane: &Moments) -> Option<f64> {
    let std = baseline.std();
    if pane.weight < ROWS_MIN || baseline.weight < ROWS_MIN || std.is_nan() || std <= 0.0 {
        return None;
    }
    let error = std * (1.0 / pane.weight + 1.0 / baseline.weight).sqrt();
    Some((pane.mean - baseline.mean) / error).filter(|z| z.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mean: f64, rows: f64) -> Moments {
        Moments { weight: rows, mean, m2: rows, min: mean - 3.0, max: mean + 3.0 }
    }

    #[test]
    fn means_are_in_standard_errors() {
        let z = |pane: &Moments| standardised(&of(10.0, 100.0), pane);
        assert!(z(&of(10.2, 100.0)).is_some_and(|z| (z - std::f64::consts::SQRT_2).abs() < 1e-9));
        assert_eq!(z(&of(10.2, 29.0)), None, "too few rows");
        assert_eq!(standardised(&Moments { m2: 0.0, ..of(1.0, 100.0) }, &of(1.0, 100.0)), None, "a constant");
        let many = z(&of(10.2, 1e9)).unwrap_or_default();
        assert!(many < 2.01, "the baseline's own error counts: {many}");
    }
}
