//! A feature's card: verdict, picture, both sides in numbers, and every measure with what it is held against.

use std::fmt::Write;

use super::glance::title;
use super::{escape, picture};
use crate::drift::render::numbers::{count, number, number_with, percent, signed};
use crate::drift::render::{change, embedded, mean_shift, missing_share};
use crate::drift::report::{DriftState, EmbeddingReport, FeatureReport, Measure, Summary};

/// The right end of a measure's bar, in alarm thresholds.
const METER_MAX: f64 = 2.0;

/// The card of the feature at `at`.
pub(super) fn card(at: usize, feature: &FeatureReport, out: &mut String) {
    let state = feature.state.as_str();
    let kind = if feature.is_categorical { "categorical" } else { "numeric" };
    // Writing to a string cannot fail.
    write!(
        out,
        "<article class=\"card {state}\" id=\"f{at}\">\n<div class=\"card-head\"><h2>{}<small>{kind}</small></h2>\
         <span class=\"badge\">{state}</span></div>\n",
        escape(&feature.name)
    )
    .ok();
    if !feature.reason.is_empty() {
        writeln!(out, "<p class=\"reason\">{}</p>", escape(&feature.reason)).ok();
    }
    if let Some(change) = change(feature) {
        writeln!(out, "<p class=\"reason\">{change}</p>").ok();
    }
    picture::picture(feature, out);
    out.push_str(
        "<div class=\"legend\"><span class=\"w\">baseline</span><span class=\"i\">current</span></div>\n",
    );
    sides(feature, out);
    measures(feature, out);
    out.push_str("</article>\n");
}

/// The card of an embedding, which has no histogram.
pub(super) fn embedding(embedding: &EmbeddingReport, out: &mut String) {
    let state = embedding.state.as_str();
    // Writing to a string cannot fail.
    writeln!(
        out,
        "<article class=\"card {state}\">\n<div class=\"card-head\"><h2>{}<small>embedding</small></h2>\
         <span class=\"badge\">{state}</span></div>\n<p class=\"reason\">{}</p>\n</article>",
        escape(&embedding.name),
        embedded(embedding),
    )
    .ok();
}

/// Both sides in numbers.
fn sides(feature: &FeatureReport, out: &mut String) {
    let (was, is) = (&feature.baseline, &feature.current);
    let mut rows = vec![("Rows", count(was.rows), count(is.rows), String::new())];
    let points = |of: fn(&Summary) -> f64| {
        let change = (of(is) - of(was)) * 100.0;
        let has_change = change.abs() >= 0.05;
        if has_change { format!("{} points", signed(change)) } else { String::new() }
    };
    rows.push(("No value", percent(missing_share(was)), percent(missing_share(is)), points(missing_share)));
    if is.type_errors + was.type_errors > 0.0 {
        let share = |side: &Summary| side.type_errors / side.rows;
        rows.push(("Wrong type", percent(share(was)), percent(share(is)), points(share)));
    }
    if !feature.is_categorical {
        let shift = mean_shift(feature);
        let shift = if shift.is_nan() { String::new() } else { format!("{}σ", signed(shift)) };
        rows.push(("Mean", number(was.mean), number(is.mean), shift));
        rows.push(("Standard deviation", number(was.std), number(is.std), String::new()));
        let range = |side: &Summary| match side.min.is_finite() && side.max.is_finite() {
            true => format!("{} to {}", number(side.min), number(side.max)),
            false => "–".to_owned(),
        };
        rows.push(("Range", range(was), range(is), String::new()));
    }
    rows.push(("Different values", about(was.distinct), about(is.distinct), String::new()));
    out.push_str(
        "<table class=\"sides\"><tr><th></th><th>Baseline</th><th>Current</th><th>Change</th></tr>\n",
    );
    for (name, was, is, change) in rows {
        writeln!(out, "<tr><td>{name}</td><td>{was}</td><td>{is}</td><td>{change}</td></tr>").ok();
    }
    out.push_str("</table>\n");
}

/// A number of different values, which above some is an estimate.
fn about(distinct: f64) -> String {
    if distinct.is_nan() { "–".to_owned() } else { count(distinct.round()) }
}

/// Every measure.
fn measures(feature: &FeatureReport, out: &mut String) {
    out.push_str(
        "<table><tr><th>Measure</th><th>Value</th><th></th><th>Warn</th><th>Alarm</th><th>Chance</th><th>p</th></tr>\n",
    );
    let judged = feature.measures.iter().filter(|measure| measure.alarm.is_some());
    let told = feature.measures.iter().filter(|measure| measure.alarm.is_none());
    for found in judged.chain(told) {
        measure(found, out);
    }
    out.push_str("</table>\n");
}

fn measure(measure: &Measure, out: &mut String) {
    let state = measure.state.as_str();
    let row = if measure.alarm.is_none() { "silent" } else { state };
    let hot = if measure.state >= DriftState::Warn { " class=\"hot\"" } else { "" };
    let optional = |value: Option<f64>| value.map(|value| number_with(value, 3)).unwrap_or_default();
    let value = match measure.effect == measure.value || measure.effect.is_nan() || measure.value.is_nan() {
        true => number_with(measure.value, 3),
        // What is held against the thresholds, where that is another number.
        false => {
            format!("{} <small>({})</small>", number_with(measure.value, 3), number_with(measure.effect, 3))
        }
    };
    writeln!(
        out,
        "<tr class=\"{row}\"><td>{}</td><td{hot}>{value}</td><td class=\"meter\">{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td></tr>",
        escape(&title(measure.name)),
        meter(measure),
        optional(measure.warn),
        optional(measure.alarm),
        optional(measure.null_quantile),
        measure.p.map(p_value).unwrap_or_default(),
    )
    .ok();
}

fn p_value(p: f64) -> String {
    match p < 1e-4 {
        true => "&lt;0.0001".to_owned(),
        false => number_with(p, 2),
    }
}

/// How far a measure goes towards its alarm threshold.
fn meter(measure: &Measure) -> String {
    let ratio = measure.alarm.filter(|alarm| *alarm > 0.0).map(|alarm| measure.effect / alarm);
    match ratio.filter(|ratio| !ratio.is_nan()) {
        None => String::new(),
        Some(ratio) => format!(
            "<div class=\"bar\" style=\"--mark:{:.0}%\"><i style=\"width:{:.1}%\"></i><u></u></div>",
            100.0 / METER_MAX,
            (ratio / METER_MAX).clamp(0.0, 1.0) * 100.0
        ),
    }
}
