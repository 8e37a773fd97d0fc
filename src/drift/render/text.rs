//! A report for terminals: a line a feature, with both histograms as sparklines.

use std::fmt::Write;

use super::histogram::{Bar, bars};
use super::numbers::{count, number_with, percent, signed};
use super::{by_severity, change, counts, embedded, mean_shift, missing_share, unwatched};
use crate::drift::report::{DriftReport, FeatureReport};

/// Bars of a sparkline.
const STEPS: usize = 16;
/// Longest name, in characters; the middle of a longer one is left out.
const NAME_MAX: usize = 32;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const HEADINGS: [&str; 9] =
    ["FEATURE", "STATE", "PSI", "JS", "KS|LINF", "MISSING", "MEAN SHIFT", "BASELINE", "CURRENT"];
/// The columns of numbers, which end at the same place.
const NUMBERS: std::ops::Range<usize> = 2..7;

/// The report as lines.
pub fn text(report: &DriftReport) -> String {
    let mut out = format!(
        "{} against {}: {} ({} rows against {})\n",
        plain(&report.subject),
        plain(&report.baseline),
        report.state.as_str(),
        count(report.current_rows),
        count(report.baseline_rows),
    );
    let said: Vec<String> =
        counts(report).iter().map(|(state, number)| format!("{number} {}", state.as_str())).collect();
    // Writing to a string cannot fail.
    writeln!(out, "{}\n", said.join(", ")).ok();
    let features = by_severity(report);
    let lines: Vec<[String; 9]> = features.iter().map(|feature| line(feature)).collect();
    table(&lines, &mut out);
    let reasons = features.iter().filter(|feature| !feature.reason.is_empty());
    for (at, feature) in reasons.enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        writeln!(out, "{gap}{}: {}", short(&plain(&feature.name)), plain(&feature.reason)).ok();
    }
    for feature in features {
        if let Some(change) = change(feature) {
            writeln!(out, "{}: {change}", short(&plain(&feature.name))).ok();
        }
    }
    for embedding in &report.embeddings {
        let (name, state) = (short(&plain(&embedding.name)), embedding.state.as_str());
        writeln!(out, "\nembedding {name}: {state}, {}", embedded(embedding)).ok();
    }
    if let Some(unwatched) = unwatched(report) {
        writeln!(out, "\n{}", plain(&unwatched)).ok();
    }
    out
}

fn line(feature: &FeatureReport) -> [String; 9] {
    let value =
        |name| feature.measure(name).map_or_else(|| "–".to_owned(), |found| number_with(found.value, 3));
    let distance = if feature.is_categorical { "linf" } else { "ks" };
    let missing = format!(
        "{} → {}",
        percent(missing_share(&feature.baseline)),
        percent(missing_share(&feature.current))
    );
    let shift = mean_shift(feature);
    let shift = if shift.is_nan() { "–".to_owned() } else { format!("{}σ", signed(shift)) };
    let bars = bars(feature, STEPS);
    [
        short(&plain(&feature.name)),
        feature.state.as_str().to_owned(),
        value("psi"),
        value("js"),
        value(distance),
        missing,
        shift,
        sparkline(&bars, |bar| bar.baseline),
        sparkline(&bars, |bar| bar.current),
    ]
}

/// Shares as blocks. Both sides of a feature have the same scale, so that they can be compared.
fn sparkline(bars: &[Bar], side: fn(&Bar) -> f64) -> String {
    let highest = bars.iter().map(|bar| bar.baseline.max(bar.current)).fold(0.0, f64::max);
    bars.iter()
        .map(|bar| {
            let share = side(bar);
            match share <= 0.0 || highest <= 0.0 {
                true => ' ',
                false => block(share / highest),
            }
        })
        .collect()
}

/// The block for a height of 0 to 1.
fn block(height: f64) -> char {
    let steps = BLOCKS.iter().enumerate();
    let reached = steps.take_while(|(at, _)| height * BLOCKS.len() as f64 > *at as f64);
    reached.last().map_or(BLOCKS[0], |(_, block)| *block)
}

fn table(lines: &[[String; 9]], out: &mut String) {
    let headings = HEADINGS.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(lines);
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| all().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    for line in all() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            match NUMBERS.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
}

/// A name that fits: its middle is left out, since both ends tell most.
fn short(text: &str) -> String {
    let length = text.chars().count();
    if length <= NAME_MAX {
        return text.to_owned();
    }
    let half = (NAME_MAX - 1) / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

/// What a file called something cannot move the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
