//! A graph for a terminal: the version first, then what it comes from and what became of it.

use std::fmt::Write;

use super::graph::{Graph, Kind};

/// The graph as lines.
pub fn text(graph: &Graph) -> String {
    let mut out = String::new();
    let root = graph.nodes.iter().position(|node| node.root);
    let others = (0..graph.nodes.len()).filter(|at| Some(*at) != root);
    for at in root.into_iter().chain(others) {
        if let Some(node) = graph.nodes.get(at).filter(|node| node.kind == Kind::Version) {
            let more: Vec<String> = node.lines.iter().map(|line| clean(line)).collect();
            writeln!(out, "{}  {}", clean(&node.title), more.join(", ")).ok();
            relations(graph, at, &mut out);
        }
    }
    if graph.cut {
        out.push_str("(there is more than is shown)\n");
    }
    out
}

fn relations(graph: &Graph, at: usize, out: &mut String) {
    for edge in graph.edges.iter().filter(|edge| edge.to == at) {
        let Some(node) = graph.nodes.get(edge.from) else { continue };
        let what = match node.kind {
            Kind::Version => "made from",
            Kind::Data => "data",
            Kind::Code => "code",
            Kind::Run => "run",
            Kind::Alias | Kind::Deployment => "",
        };
        let lines = match node.kind {
            Kind::Version => String::new(),
            _ => node.lines.iter().map(|line| format!("  {}", clean(line))).collect(),
        };
        let label = if edge.label.is_empty() { String::new() } else { format!("{}  ", clean(&edge.label)) };
        writeln!(out, "  {what:<11} {label}{}{lines}", clean(&node.title)).ok();
    }
    for edge in graph.edges.iter().filter(|edge| edge.from == at) {
        let Some(node) = graph.nodes.get(edge.to) else { continue };
        let what = match node.kind {
            Kind::Version => "used by",
            Kind::Alias => "alias",
            Kind::Deployment => "deployment",
            Kind::Data | Kind::Code | Kind::Run => "",
        };
        let label = if edge.label.is_empty() { String::new() } else { format!("  {}", clean(&edge.label)) };
        writeln!(out, "  {what:<11} {}{label}", clean(&node.title)).ok();
    }
}

/// One line that does nothing to a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
