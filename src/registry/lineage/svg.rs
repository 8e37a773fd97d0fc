//! A graph as a picture that stands alone: no script, no font, no link, nothing from elsewhere.

use std::fmt::Write;

use super::graph::{Graph, Kind, Node};
use super::layout::{Area, Layout, layout};

const MARGIN: f64 = 24.0;
/// Longest text in a box, in characters; the whole text is in its tooltip.
const TEXT_MAX: usize = 34;
const LINE: f64 = 16.0;
const PADDING: f64 = 12.0;
const FONT: &str = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

/// A kind's word, paper and ink.
fn look(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Data => ("DATA", "#e9f6ee", "#23804c"),
        Kind::Code => ("CODE", "#f3edfb", "#6f42b5"),
        Kind::Run => ("RUN", "#fdf3e1", "#a86400"),
        Kind::Version => ("VERSION", "#e8f0fd", "#2459b8"),
        Kind::Alias => ("ALIAS", "#fdebf1", "#b3295f"),
        Kind::Deployment => ("DEPLOYMENT", "#e2f5f6", "#0f7079"),
    }
}

/// The graph as SVG.
pub fn svg(graph: &Graph) -> String {
    let sizes: Vec<(f64, f64)> = graph.nodes.iter().map(size).collect();
    let places = layout(graph, &sizes);
    let (width, height) = (places.width + 2.0 * MARGIN, places.height + 2.0 * MARGIN);
    let mut out = String::new();
    // Writing to a string cannot fail.
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="{FONT}">"#
    )
    .ok();
    writeln!(out, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##).ok();
    writeln!(out, r#"<g transform="translate({MARGIN} {MARGIN})">"#).ok();
    edges(graph, &places, &mut out);
    for (node, area) in graph.nodes.iter().zip(&places.nodes) {
        draw(node, area, &mut out);
    }
    out.push_str("</g>\n");
    if graph.cut {
        let y = height - 8.0;
        writeln!(out, r##"<text x="{MARGIN}" y="{y:.0}" font-size="11" fill="#667085">There is more than is shown.</text>"##).ok();
    }
    out.push_str("</svg>\n");
    out
}

fn size(node: &Node) -> (f64, f64) {
    let title = 7.9 * chars(&short(&node.title));
    let lines = node.lines.iter().map(|line| 6.3 * chars(&short(line))).fold(0.0, f64::max);
    let word = 6.6 * chars(look(node.kind).0);
    let count = u32::try_from(node.lines.len()).unwrap_or(u32::MAX);
    (title.max(lines).max(word) + 2.0 * PADDING, 46.0 + LINE * f64::from(count))
}

fn chars(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

/// A text that fits: its middle is left out, since both ends of a path tell most.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= TEXT_MAX {
        return text.to_owned();
    }
    let (head, tail) = (TEXT_MAX * 2 / 5, TEXT_MAX * 3 / 5 - 1);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{start}…{end}")
}

fn draw(node: &Node, area: &Area, out: &mut String) {
    let (word, paper, ink) = look(node.kind);
    let Area { x, y, width, height } = *area;
    let stroke = if node.root { 2.5 } else { 1.0 };
    let dashes = if node.gone { r#" stroke-dasharray="5 4""# } else { "" };
    let mut whole = node.title.clone();
    node.lines.iter().for_each(|line| whole.extend(["\n", line]));
    writeln!(out, "<g><title>{}</title>", escape(&whole)).ok();
    writeln!(
        out,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="7" fill="{paper}" stroke="{ink}" stroke-width="{stroke}"{dashes}/>"#
    )
    .ok();
    let left = x + PADDING;
    writeln!(
        out,
        r#"<text x="{left:.1}" y="{:.1}" font-size="9" font-weight="600" letter-spacing="0.8" fill="{ink}">{word}</text>"#,
        y + 16.0
    )
    .ok();
    let title = escape(&short(&node.title));
    writeln!(
        out,
        r##"<text x="{left:.1}" y="{:.1}" font-size="13" font-weight="600" fill="#101828">{title}</text>"##,
        y + 34.0
    )
    .ok();
    let mut below = y + 34.0;
    for line in &node.lines {
        below += LINE;
        let line = escape(&short(line));
        writeln!(out, r##"<text x="{left:.1}" y="{below:.1}" font-size="11" fill="#475467">{line}</text>"##)
            .ok();
    }
    out.push_str("</g>\n");
}

fn edges(graph: &Graph, places: &Layout, out: &mut String) {
    for passed in &places.edges {
        let (Some(first), Some(last)) = (passed.first(), passed.last()) else { continue };
        let (mut x, mut y) = (first.x + first.width, first.middle());
        let mut path = format!("M {x:.1} {y:.1}");
        for area in passed.iter().skip(1) {
            let (to_x, to_y) = (area.x, area.middle());
            let half = (x + to_x) / 2.0;
            write!(path, " C {half:.1} {y:.1}, {half:.1} {to_y:.1}, {to_x:.1} {to_y:.1}").ok();
            (x, y) = (area.x + area.width, to_y);
            if !std::ptr::eq(area, last) {
                write!(path, " L {x:.1} {y:.1}").ok();
            }
        }
        writeln!(out, r##"<path d="{path}" fill="none" stroke="#98a2b3" stroke-width="1.4"/>"##).ok();
        let (tip_x, tip_y) = (last.x, last.middle());
        writeln!(
            out,
            r##"<path d="M {:.1} {:.1} L {tip_x:.1} {tip_y:.1} L {:.1} {:.1} Z" fill="#98a2b3"/>"##,
            tip_x - 7.0,
            tip_y - 3.5,
            tip_x - 7.0,
            tip_y + 3.5
        )
        .ok();
    }
    labels(graph, places, out);
}

/// Labels after all lines, on white, so that no line goes through a word.
fn labels(graph: &Graph, places: &Layout, out: &mut String) {
    for (edge, passed) in graph.edges.iter().zip(&places.edges) {
        let [first, second, ..] = passed.as_slice() else { continue };
        if edge.label.is_empty() {
            continue;
        }
        let x = (first.x + first.width + second.x) / 2.0;
        let y = (first.middle() + second.middle()) / 2.0;
        let label = short(&edge.label);
        let width = 5.9 * chars(&label) + 8.0;
        let (left, top) = (x - width / 2.0, y - 8.0);
        let label = escape(&label);
        writeln!(
            out,
            r##"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="15" rx="3" fill="#ffffff"/><text x="{x:.1}" y="{:.1}" font-size="10" text-anchor="middle" fill="#475467">{label}</text>"##,
            y + 3.5
        )
        .ok();
    }
}

/// Text in XML: markup loses its meaning, and what XML cannot have is a space.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
