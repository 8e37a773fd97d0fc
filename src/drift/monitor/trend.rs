//! When the mean of a feature changed, pane by pane: what windows do not say, which only know that they differ from the
//! baseline. Two sequential detectors see each pane's mean, less the baseline's, over its standard error. They decide no
//! state: they know of no effect's size, and Page-Hinkley is not free of false alarms.

use std::collections::BTreeMap;

use crate::drift::baseline::{Baseline, Current};
use crate::drift::detect::{Adwin, PageHinkley};
use crate::drift::pane::Pane;
use crate::drift::profile::{Moments, Profile};
use crate::drift::report::Trend;

/// Rows of a pane below which its mean says little.
const ROWS_MIN: f64 = 30.0;

/// The trends of the numeric features of a baseline, in its order.
#[derive(Debug, Default)]
pub(super) struct Trends {
    features: Vec<Option<Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    page_hinkley: PageHinkley,
    adwin: Adwin,
    trend: Trend,
}

impl Trends {
    /// What is known of panes that were closed before.
    pub(super) fn replay(baseline: &Baseline, panes: &[Pane]) -> Trends {
        let mut trends = Trends::default();
        // Panes of several replicas that begin together are one.
        let mut by_start: BTreeMap<i64, (i64, Vec<Moments>)> = BTreeMap::new();
        for pane in panes {
            let found = by_start.entry(pane.start_us).or_default();
            found.0 = found.0.max(pane.start_us + pane.length_us);
            let moments = moments(&pane.current);
            found.1.resize(moments.len(), Moments::default());
            for (sum, moments) in found.1.iter_mut().zip(&moments) {
                sum.merge(moments);
            }
        }
        for (end_us, moments) in by_start.into_values() {
            trends.see(baseline, &moments, end_us);
        }
        trends
    }

    /// Takes a pane that ended at `end_us`.
    pub(super) fn pane(&mut self, baseline: &Baseline, current: &Current, end_us: i64) {
        self.see(baseline, &moments(current), end_us);
    }

    /// The trend of the feature at a position of the baseline; `None` for categories.
    pub(super) fn of(&self, position: usize) -> Option<Trend> {
        Some(self.features.get(position)?.as_ref()?.trend)
    }

    fn see(&mut self, baseline: &Baseline, panes: &[Moments], end_us: i64) {
        self.features.resize_with(baseline.features().len(), Option::default);
        for ((watched, feature), pane) in self.features.iter_mut().zip(baseline.features()).zip(panes) {
            let Profile::Numeric(profile) = &feature.profile else { continue };
            let Some(z) = standardised(&profile.moments, pane) else { continue };
            let watched = watched.get_or_insert_default();
            watched.trend.panes += 1;
            if watched.page_hinkley.update(z) {
                watched.trend.page_hinkley_us = Some(end_us);
            }
            if watched.adwin.update(z) {
                watched.trend.adwin_us = Some(end_us);
            }
        }
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

/// Of every feature; empty for categories.
fn moments(current: &Current) -> Vec<Moments> {
    let of = |profile: &Profile| match profile {
        Profile::Numeric(profile) => profile.moments,
        Profile::Categorical(_) => Moments::default(),
    };
    current.profiles.iter().map(of).collect()
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
        assert_eq!(z(&of(10.2, 100.0)).map(|z| (z * 1e6).round() / 1e6), Some(1.414_214));
        assert_eq!(z(&of(10.2, 29.0)), None, "too few rows");
        assert_eq!(standardised(&Moments { m2: 0.0, ..of(1.0, 100.0) }, &of(1.0, 100.0)), None, "a constant");
        let many = z(&of(10.2, 1e9)).unwrap_or_default();
        assert!(many < 2.01, "the baseline's own error counts: {many}");
    }
}
