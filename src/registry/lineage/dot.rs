//! A graph in Graphviz' language.

use std::fmt::Write;

use super::graph::{Graph, Kind};

/// The graph as DOT, for `dot -Tpdf` and the like.
pub fn dot(graph: &Graph) -> String {
    let mut out =
        String::from("digraph lineage {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=11];\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let mut label = escape(&node.title);
        for line in &node.lines {
            label.push_str("\\n");
            label.push_str(&escape(line));
        }
        let shape = match node.kind {
            Kind::Version => "box",
            Kind::Data => "cylinder",
            Kind::Code => "note",
            Kind::Run => "cds",
            Kind::Alias => "ellipse",
            Kind::Deployment => "component",
        };
        let style = match (node.root, node.gone) {
            (true, _) => ", style=bold",
            (false, true) => ", style=dashed",
            (false, false) => "",
        };
        // Writing to a string cannot fail.
        writeln!(out, "  n{at} [label=\"{label}\", shape={shape}{style}];").ok();
    }
    for edge in &graph.edges {
        let label = escape(&edge.label);
        writeln!(out, "  n{} -> n{} [label=\"{label}\"];", edge.from, edge.to).ok();
    }
    out.push_str("}\n");
    out
}

/// Text between quotes: what ends them or begins an escape loses its meaning, and there is one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
