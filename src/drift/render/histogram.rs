//! Both histograms of a feature on bars of equal width, as eyes expect them.
//!
//! A baseline's bins hold equal shares and so differ in width; drawn as they are they would be a flat line. Here their
//! shares are spread evenly over the width of each and gathered again into equal steps of the feature's own scale. What
//! lies outside of the shown range is kept, in a bar at either end. Categories stay as they are, the most frequent first.

use crate::drift::report::{Bin, FeatureReport};

/// Most categories that are shown by themselves; the rest is one bar.
const CATEGORIES_MAX: usize = 10;
/// The scale is cut where it is this many times as long as what the middle 90% need.
const STRETCH_MAX: f64 = 3.0;

/// A bar: the share of each side's rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// The category; empty for numbers.
    pub(super) label: String,
    /// The lower bound; `-inf` for the bar at the lower end.
    pub(super) low: f64,
    /// The upper bound.
    pub(super) high: f64,
    /// Share of the baseline.
    pub(super) baseline: f64,
    /// Share of the current data.
    pub(super) current: f64,
}

/// The bars of a feature: `steps` for numbers, with one more at each end that something lies beyond.
pub(super) fn bars(feature: &FeatureReport, steps: usize) -> Vec<Bar> {
    let total = |of: fn(&Bin) -> f64| {
        let sum: f64 = feature.bins.iter().map(of).filter(|rows| rows.is_finite()).sum();
        if sum > 0.0 { sum } else { 1.0 }
    };
    let (baseline, current) = (total(|bin| bin.baseline), total(|bin| bin.current));
    let share = |rows: f64, total: f64| if rows.is_finite() { (rows / total).max(0.0) } else { 0.0 };
    let shares: Vec<Bar> = feature
        .bins
        .iter()
        .map(|bin| Bar {
            label: bin.label.clone(),
            low: bin.low,
            high: bin.high,
            baseline: share(bin.baseline, baseline),
            current: share(bin.current, current),
        })
        .collect();
    match feature.is_categorical || shares.iter().any(|bar| bar.low.is_nan() || bar.high.is_nan()) {
        true => categories(shares),
        false => numbers(&shares, steps),
    }
}

fn categories(mut bars: Vec<Bar>) -> Vec<Bar> {
    bars.retain(|bar| bar.baseline > 0.0 || bar.current > 0.0);
    bars.sort_by(|a, b| b.baseline.max(b.current).total_cmp(&a.baseline.max(a.current)));
    // A category that the baseline does not have is what a reader looks for; it stays however rare it is.
    let is_new = |bar: &Bar| bar.baseline == 0.0 && bar.current > 0.0;
    if bars.len() <= CATEGORIES_MAX + 1 {
        return bars;
    }
    let rest = bars.split_off(CATEGORIES_MAX);
    let (new, rest): (Vec<Bar>, Vec<Bar>) = rest.into_iter().partition(is_new);
    let mut other = Bar { label: String::new(), low: f64::NAN, high: f64::NAN, baseline: 0.0, current: 0.0 };
    let kept = new.len().min(2);
    bars.extend(new.iter().take(kept).cloned());
    let rest = rest.iter().chain(new.iter().skip(kept));
    let mut count = 0;
    for bar in rest {
        count += 1;
        other.baseline += bar.baseline;
        other.current += bar.current;
    }
    other.label = format!("{count} others");
    bars.push(other);
    bars
}

fn numbers(shares: &[Bar], steps: usize) -> Vec<Bar> {
    let Some((low, high)) = range(shares) else { return shares.to_vec() };
    let width = (high - low) / steps as f64;
    let mut bars: Vec<Bar> = (0..steps)
        .map(|step| {
            let start = low + width * step as f64;
            Bar { label: String::new(), low: start, high: start + width, baseline: 0.0, current: 0.0 }
        })
        .collect();
    let end = |low, high| Bar { label: String::new(), low, high, baseline: 0.0, current: 0.0 };
    let mut below = end(f64::NEG_INFINITY, low);
    let mut above = end(high, f64::INFINITY);
    for share in shares {
        spread(share, &mut below, &mut bars, &mut above);
    }
    let is_there = |bar: &Bar| bar.baseline > 0.0 || bar.current > 0.0;
    let mut out = Vec::with_capacity(steps + 2);
    out.extend(Some(below).filter(is_there));
    out.append(&mut bars);
    out.extend(Some(above).filter(is_there));
    out
}

/// Gives each bar the part of `share` that it overlaps.
fn spread(share: &Bar, below: &mut Bar, bars: &mut [Bar], above: &mut Bar) {
    let give = |bar: &mut Bar, part: f64| {
        bar.baseline += share.baseline * part;
        bar.current += share.current * part;
    };
    let (low, high) = (below.high, above.low);
    if share.low.is_infinite() || share.high <= low {
        return give(below, 1.0);
    }
    if share.high.is_infinite() || share.low >= high {
        // The largest value itself stands in the last bar, not beyond it.
        return match bars.last_mut() {
            Some(last) if share.low == high && share.high == high => give(last, 1.0),
            _ => give(above, 1.0),
        };
    }
    let width = share.high - share.low;
    if width <= 0.0 {
        let at = bars.iter_mut().find(|bar| share.low < bar.high);
        return give(at.unwrap_or(above), 1.0);
    }
    give(below, (low - share.low).max(0.0) / width);
    give(above, (share.high - high).max(0.0) / width);
    for bar in bars {
        let overlap = (share.high.min(bar.high) - share.low.max(bar.low)).max(0.0);
        give(bar, overlap / width);
    }
}

/// The range that is shown: all of it, unless a few values would squeeze the others into a corner.
fn range(shares: &[Bar]) -> Option<(f64, f64)> {
    let finite = || shares.iter().filter(|bar| bar.low.is_finite() && bar.high.is_finite());
    let low = finite().map(|bar| bar.low).fold(f64::INFINITY, f64::min);
    let high = finite().map(|bar| bar.high).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return None;
    }
    if low == high {
        let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
        return Some((low - half, high + half));
    }
    let quantile = |wanted: f64| {
        let mut sum = 0.0;
        finite().find_map(|bar| {
            sum += bar.baseline;
            (sum >= wanted).then_some(bar.high)
        })
    };
    let (start, end) = (quantile(0.05).unwrap_or(low), quantile(0.95).unwrap_or(high));
    let middle = end - start;
    if middle <= 0.0 || !middle.is_finite() {
        return Some((low, high));
    }
    let cut_low = if (start - low) > STRETCH_MAX * middle { start - middle / 2.0 } else { low };
    let cut_high = if (high - end) > STRETCH_MAX * middle { end + middle / 2.0 } else { high };
    Some((cut_low, cut_high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::report::{DriftState, Summary};

    fn feature(is_categorical: bool, bins: &[(&str, f64, f64, f64, f64)]) -> FeatureReport {
        let bins = bins.iter().map(|(label, low, high, baseline, current)| Bin {
            label: (*label).to_owned(),
            low: *low,
            high: *high,
            baseline: *baseline,
            current: *current,
        });
        FeatureReport {
            name: "x".to_owned(),
            is_categorical,
            state: DriftState::Ok,
            reason: String::new(),
            measures: Vec::new(),
            baseline: Summary::default(),
            current: Summary::default(),
            bins: bins.collect(),
            history: Vec::new(),
            trend: None,
        }
    }

    #[test]
    fn shares_are_spread_over_equal_steps_and_nothing_is_lost() {
        let inf = f64::INFINITY;
        let feature = feature(
            false,
            &[
                ("", -inf, 0.0, 0.0, 10.0),
                ("", 0.0, 1.0, 50.0, 20.0),
                ("", 1.0, 4.0, 50.0, 60.0),
                ("", 4.0, inf, 0.0, 10.0),
            ],
        );
        let bars = bars(&feature, 4);
        let shares: Vec<(f64, f64)> = bars.iter().map(|bar| (bar.baseline, bar.current)).collect();
        let third = 0.5 / 3.0;
        let expected = [(0.0, 0.1), (0.5, 0.2), (third, 0.2), (third, 0.2), (third, 0.2), (0.0, 0.1)];
        for (found, expected) in shares.iter().zip(expected) {
            assert!(
                (found.0 - expected.0).abs() < 1e-12 && (found.1 - expected.1).abs() < 1e-12,
                "{shares:?}"
            );
        }
        assert_eq!(shares.len(), expected.len());
    }

    #[test]
    fn a_long_tail_does_not_squeeze_the_rest() {
        let mut bins: Vec<(&str, f64, f64, f64, f64)> =
            (0..60).map(|at| ("", f64::from(at), f64::from(at + 1), 1.0, 1.0)).collect();
        bins.push(("", 60.0, 1e6, 1.0, 1.0));
        let bars = bars(&feature(false, &bins), 30);
        assert_eq!(bars.len(), 31);
        assert!(bars[29].high < 100.0, "{bars:?}");
        let sum: f64 = bars.iter().map(|bar| bar.baseline).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn one_value_and_no_values_have_a_picture() {
        let one = bars(&feature(false, &[("", 7.0, 7.0, 5.0, 5.0)]), 4);
        assert_eq!(one.len(), 4);
        assert!((one.iter().map(|bar| bar.current).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(bars(&feature(false, &[]), 4).is_empty());
    }

    #[test]
    fn rare_categories_become_one_bar_and_new_ones_stay() {
        let names: Vec<String> = (0..30).map(|at| format!("c{at}")).collect();
        let mut bins: Vec<_> =
            names.iter().map(|name| (name.as_str(), f64::NAN, f64::NAN, 100.0, 100.0)).collect();
        bins.push(("fresh", f64::NAN, f64::NAN, 0.0, 1.0));
        let bars = bars(&feature(true, &bins), 4);
        assert_eq!(bars.len(), CATEGORIES_MAX + 2);
        assert_eq!(bars[CATEGORIES_MAX].label, "fresh");
        assert_eq!(bars[CATEGORIES_MAX + 1].label, "20 others");
    }
}
