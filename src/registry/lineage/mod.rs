//! Where a version comes from and what became of it, as a graph: data, code, run, the versions that it was made from and
//! that were made from it, across models, and the deployments and aliases that lead to them.
//!
//! Pure: from the states of models to a [`Graph`], and from that to text, DOT, SVG or JSON.

mod dot;
mod graph;
mod layout;
mod svg;
mod text;

pub use self::dot::dot;
pub use self::graph::{Edge, Graph, Kind, Node, build};
pub use self::svg::svg;
pub use self::text::text;

#[cfg(test)]
mod tests;
