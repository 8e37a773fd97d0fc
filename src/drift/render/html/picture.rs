//! A feature's two histograms as SVG: the baseline as an area with an outline, the current data as bars upon it.

use std::fmt::Write;

use super::escape;
use crate::drift::render::histogram::{Bar, bars};
use crate::drift::render::numbers::{number, percent};
use crate::drift::report::FeatureReport;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 168.0;
/// Room for the labels of the shares, left, and of the scale, below.
const LEFT: f64 = 34.0;
const BELOW: f64 = 22.0;
const TOP: f64 = 8.0;
/// Bars of a number's histogram.
const STEPS: usize = 30;
/// Between the scale and a bar for what lies beyond it.
const END_GAP: f64 = 8.0;
/// Height of a category's row.
const ROW: f64 = 24.0;
/// Width of a category's name.
const NAME: f64 = 120.0;

/// The picture.
pub(super) fn picture(feature: &FeatureReport, out: &mut String) {
    let bars = bars(feature, STEPS);
    match bars.first() {
        None => {}
        Some(bar) if !bar.label.is_empty() || bar.high.is_nan() => categories(&bars, out),
        Some(_) => numbers(feature, &bars, out),
    }
}

fn open(height: f64, out: &mut String) {
    // Writing to a string cannot fail.
    writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">").ok();
}

/// Where each bar starts and ends.
fn places(bars: &[Bar]) -> Vec<(f64, f64)> {
    let ends = bars.iter().filter(|bar| is_end(bar)).count() as f64;
    let room = WIDTH - LEFT - ends * END_GAP;
    let width = room / bars.len() as f64;
    let mut at = LEFT;
    bars.iter()
        .map(|bar| {
            at += if bar.high == f64::INFINITY { END_GAP } else { 0.0 };
            let place = (at, at + width);
            at += width + if bar.low == f64::NEG_INFINITY { END_GAP } else { 0.0 };
            place
        })
        .collect()
}

/// Whether the bar is for what lies beyond the scale.
fn is_end(bar: &Bar) -> bool {
    bar.low.is_infinite() || bar.high.is_infinite()
}

fn numbers(feature: &FeatureReport, bars: &[Bar], out: &mut String) {
    let highest = bars.iter().map(|bar| bar.baseline.max(bar.current)).fold(0.0, f64::max);
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let bottom = HEIGHT - BELOW;
    let y = |share: f64| bottom - (bottom - TOP) * share / highest;
    let places = places(bars);
    open(HEIGHT, out);
    for part in [0.5, 1.0] {
        let at = y(highest * part);
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 3.5,
            percent(highest * part)
        )
        .ok();
    }
    outline(bars, &places, bottom, y, out);
    for (bar, (start, end)) in bars.iter().zip(&places) {
        let top = y(bar.current);
        let inset = (end - start) * 0.14;
        writeln!(
            out,
            "<rect class=\"is\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            start + inset,
            end - start - 2.0 * inset,
            bottom - top
        )
        .ok();
    }
    writeln!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
    )
    .ok();
    means(feature, bars, &places, bottom, out);
    scale(bars, &places, bottom, out);
    for (bar, (start, end)) in bars.iter().zip(&places) {
        tip(&interval(bar), bar, (*start, TOP, end - start, bottom - TOP), out);
    }
    out.push_str("</svg>\n");
}

/// The baseline: an area for each stretch of neighbouring bars, and its upper edge as a line.
fn outline(bars: &[Bar], places: &[(f64, f64)], bottom: f64, y: impl Fn(f64) -> f64, out: &mut String) {
    let all: Vec<(&Bar, (f64, f64))> = bars.iter().zip(places.iter().copied()).collect();
    for stretch in all.chunk_by(|(a, _), (b, _)| !is_end(a) && !is_end(b)) {
        let Some((_, (first, _))) = stretch.first() else { continue };
        let mut path = format!("M{first:.1} {bottom:.1}");
        for (bar, (start, end)) in stretch {
            let top = y(bar.baseline);
            write!(path, "L{start:.1} {top:.1}L{end:.1} {top:.1}").ok();
        }
        let last = stretch.last().map_or(*first, |(_, (_, end))| *end);
        write!(path, "L{last:.1} {bottom:.1}").ok();
        writeln!(out, "<path class=\"was\" d=\"{path}Z\"/><path class=\"was-line\" d=\"{path}\"/>").ok();
    }
}

/// A dashed line at each side's mean, where it is on the scale.
fn means(feature: &FeatureReport, bars: &[Bar], places: &[(f64, f64)], bottom: f64, out: &mut String) {
    for (mean, class) in [(feature.baseline.mean, "was-mean"), (feature.current.mean, "is-mean")] {
        if let Some(x) = position(mean, bars, places) {
            writeln!(
                out,
                "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>"
            )
            .ok();
        }
    }
}

/// Where a value stands on the scale.
fn position(value: f64, bars: &[Bar], places: &[(f64, f64)]) -> Option<f64> {
    let mut inner = bars.iter().zip(places).filter(|(bar, _)| !is_end(bar));
    let (bar, (start, end)) = inner.find(|(bar, _)| value >= bar.low && value <= bar.high)?;
    Some(start + (end - start) * (value - bar.low) / (bar.high - bar.low))
}

/// Round numbers below the axis, and what the bars at the ends are.
fn scale(bars: &[Bar], places: &[(f64, f64)], bottom: f64, out: &mut String) {
    let y = bottom + 15.0;
    let mut inner = bars.iter().filter(|bar| !is_end(bar));
    let low = inner.clone().map(|bar| bar.low).fold(f64::INFINITY, f64::min);
    let high = inner.by_ref().map(|bar| bar.high).fold(f64::NEG_INFINITY, f64::max);
    let (mut start, mut end) = (LEFT, WIDTH);
    for (bar, (from, to)) in bars.iter().zip(places).filter(|(bar, _)| is_end(bar)) {
        let (mark, anchor, x) = match bar.low.is_infinite() {
            true => ("less", "start", *from),
            false => ("more", "end", *to),
        };
        if bar.low.is_infinite() {
            start = from + 40.0
        } else {
            end = to - 44.0
        }
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{mark}</text>").ok();
    }
    for tick in ticks(low, high) {
        if let Some(x) = position(tick, bars, places).filter(|x| *x >= start && *x <= end) {
            let anchor = if x < LEFT + 12.0 {
                "start"
            } else if x > WIDTH - 12.0 {
                "end"
            } else {
                "middle"
            };
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", number(tick))
                .ok();
        }
    }
}

/// Up to eight round numbers from `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 7.0;
    if !raw.is_finite() || raw <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|part| part * power).find(|step| *step >= raw);
    let step = step.unwrap_or(power * 10.0);
    let first = (low / step).ceil();
    (0..9).map(|at| (first + f64::from(at)) * step).take_while(|tick| *tick <= high).collect()
}

/// Two bars a category, one below the other.
fn categories(bars: &[Bar], out: &mut String) {
    let highest = bars.iter().map(|bar| bar.baseline.max(bar.current)).fold(0.0, f64::max);
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let room = WIDTH - NAME - 96.0;
    open(ROW * bars.len() as f64 + 4.0, out);
    for (at, bar) in bars.iter().enumerate() {
        let top = ROW * at as f64 + 3.0;
        let is_new = bar.baseline == 0.0 && bar.current > 0.0;
        writeln!(
            out,
            "<text class=\"label\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            NAME - 8.0,
            top + 13.0,
            escape(&fitting(&bar.label))
        )
        .ok();
        let parts = [("was", bar.baseline, top), ("is", bar.current, top + 9.0)];
        for (class, share, y) in parts {
            let width = (room * share / highest).max(if share > 0.0 { 1.0 } else { 0.0 });
            writeln!(
                out,
                "<rect class=\"{class}\" x=\"{NAME:.0}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"9\" rx=\"1.5\"/>"
            )
            .ok();
        }
        let said = format!("{} → {}", percent(bar.baseline), percent(bar.current));
        let longest = room * bar.baseline.max(bar.current) / highest;
        let (class, mark) = if is_new { (" class=\"new\"", " new") } else { ("", "") };
        writeln!(
            out,
            "<text{class} x=\"{:.1}\" y=\"{:.1}\">{said}{mark}</text>",
            NAME + longest + 8.0,
            top + 13.0
        )
        .ok();
        tip(&bar.label, bar, (0.0, top - 3.0, WIDTH, ROW), out);
    }
    out.push_str("</svg>\n");
}

/// A name that fits.
fn fitting(label: &str) -> String {
    const LABEL_MAX: usize = 19;
    match label.chars().count() {
        0 => "(empty)".to_owned(),
        length if length > LABEL_MAX => label.chars().take(LABEL_MAX - 1).chain(['…']).collect(),
        _ => label.to_owned(),
    }
}

fn interval(bar: &Bar) -> String {
    match (bar.low.is_infinite(), bar.high.is_infinite()) {
        (true, _) => format!("less than {}", number(bar.high)),
        (_, true) => format!("more than {}", number(bar.low)),
        _ => format!("{} to {}", number(bar.low), number(bar.high)),
    }
}

/// An invisible area that tells its numbers to who points at it.
fn tip(name: &str, bar: &Bar, (x, y, width, height): (f64, f64, f64, f64), out: &mut String) {
    writeln!(
        out,
        "<rect class=\"hit\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
         <title>{}: baseline {}, current {}</title></rect>",
        escape(name),
        percent(bar.baseline),
        percent(bar.current)
    )
    .ok();
}
