//! A report as one HTML file for people: no script, no font, no link to elsewhere, light and dark, and fit to print.
//!
//! The pictures are SVG written by hand. A histogram is rectangles, a line and a handful of labels; a plotting crate would
//! cost a dependency and its fonts, and its colours would not follow the reader's light or dark. Everything that comes from
//! data goes through [`escape`], and the page forbids itself scripts and requests by its own content security policy.

mod card;
mod glance;
mod picture;

use std::fmt::Write;

use super::numbers::count;
use super::{by_severity, counts, unwatched};
use crate::drift::report::{DriftReport, DriftState};

/// How the page begins; it forbids itself scripts and requests.
const HEAD: &str = include_str!("head.html");
/// The page's style.
const STYLE: &str = include_str!("style.css");

/// The report as a page.
pub fn html(report: &DriftReport) -> String {
    let mut out = String::with_capacity(16 << 10);
    let title = escape(&report.subject);
    // Writing to a string cannot fail.
    writeln!(
        out,
        "{HEAD}<title>{title}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
        report.state.as_str()
    )
    .ok();
    header(report, &mut out);
    let features = by_severity(report);
    glance::glance(&features, &mut out);
    filter(report, &mut out);
    out.push_str("<section class=\"cards\">\n");
    report.embeddings.iter().for_each(|embedding| card::embedding(embedding, &mut out));
    for (at, feature) in features.iter().enumerate() {
        card::card(at, feature, &mut out);
    }
    out.push_str("</section>\n");
    if let Some(unwatched) = unwatched(report) {
        writeln!(out, "<p class=\"reason\">{}</p>", escape(&unwatched)).ok();
    }
    footer(&mut out);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn header(report: &DriftReport, out: &mut String) {
    let state = report.state.as_str();
    write!(
        out,
        "<header class=\"top {state}\">\n<div>\n<p class=\"over\">Drift report</p>\n<h1>{}</h1>\n\
         <p class=\"against\"><b>{}</b> compared with <b>{}</b>{}</p>\n</div>\n<dl class=\"facts\">\n",
        verdict(report),
        escape(&report.subject),
        escape(&report.baseline),
        escape(&when(report)),
    )
    .ok();
    let facts = [
        ("Rows now", count(report.current_rows)),
        ("Rows of the baseline", count(report.baseline_rows)),
        ("Features", count(report.features.len() as f64)),
    ];
    for (name, value) in facts {
        writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>").ok();
    }
    out.push_str("</dl>\n</header>\n");
}

/// The verdict as a sentence, with its word marked.
fn verdict(report: &DriftReport) -> String {
    let embeddings = report.embeddings.iter().map(|embedding| embedding.state);
    let states: Vec<DriftState> =
        report.features.iter().map(|feature| feature.state).chain(embeddings).collect();
    let in_state = |state| states.iter().filter(|found| **found == state).count();
    let all = states.len();
    let features = |count: usize| match (count, all) {
        (1, 1) => "the only feature".to_owned(),
        (1, _) => format!("1 of {all} features"),
        (count, all) if count == all => format!("all {all} features"),
        (count, _) => format!("{count} of {all} features"),
    };
    let said = features(in_state(report.state));
    let sentence = match report.state {
        DriftState::Drift => format!("<em>Drift</em> in {said}"),
        DriftState::Warn => format!("<em>A warning</em> for {said}"),
        DriftState::Ok => "<em>No drift</em>".to_owned(),
        DriftState::Insufficient => "<em>Too few rows</em> to say anything".to_owned(),
    };
    let unknown = in_state(DriftState::Insufficient);
    match report.state == DriftState::Insufficient || unknown == 0 {
        true => sentence,
        false => format!("{sentence}; {unknown} not known"),
    }
}

/// The window, where there is one.
fn when(report: &DriftReport) -> String {
    let time = |us| chrono::DateTime::from_timestamp_micros(us);
    match (report.from_us, time(report.from_us), time(report.until_us)) {
        (1.., Some(from), Some(until)) => {
            let form = "%Y-%m-%d %H:%M";
            format!(", {} to {} UTC ({})", from.format(form), until.format(form), report.window)
        }
        _ => String::new(),
    }
}

/// Radio buttons that show the cards of one state; the style sheet does the rest.
fn filter(report: &DriftReport, out: &mut String) {
    let all = report.features.len();
    out.push_str("<nav class=\"filter\">\n");
    writeln!(out, "<label><input type=\"radio\" name=\"only\" id=\"only-all\" checked>All {all}</label>")
        .ok();
    for (state, count) in counts(report).iter().filter(|(_, count)| *count > 0) {
        let state = state.as_str();
        writeln!(
            out,
            "<label><input type=\"radio\" name=\"only\" id=\"only-{state}\">{count} {state}</label>"
        )
        .ok();
    }
    out.push_str("</nav>\n");
}

fn footer(out: &mut String) {
    out.push_str(
        "<footer>\n<p>A feature has drifted when a measure reaches its alarm threshold and also exceeds what chance alone \
         would give for these numbers of rows. With too few rows to tell, it is insufficient, never ok.</p>\n\
         <p>Histograms show shares of the rows that have a value, on the feature's own scale; dashed lines are means. \
         What lies outside of the shown range is in the outermost bars.</p>\n</footer>\n",
    );
}

/// Text in HTML: markup loses its meaning, and what HTML cannot have is a replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Marks that turn text around would let a name rewrite what stands beside it.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
