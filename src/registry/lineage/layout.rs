//! Where nodes and edges are drawn: in layers from left to right, so that every edge goes to the right.
//!
//! The usual steps: layers by the longest path; a point in every layer that a long edge passes; an order in each layer
//! that keeps neighbours near each other (means of neighbours, back and forth); heights that follow neighbours.

use super::graph::{Graph, Kind};

/// Space between layers, where edges bend and their labels stand.
const GAP_X: f64 = 72.0;
/// Space between neighbours in a layer.
const GAP_Y: f64 = 18.0;
/// How often the order and the heights are improved.
const ROUNDS: usize = 12;

/// A rectangle: the left upper corner, width and height.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn middle(&self) -> f64 {
        self.y + self.height / 2.0
    }
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    /// By node.
    pub(super) nodes: Vec<Area>,
    /// By edge: the areas that it passes, its ends among them.
    pub(super) edges: Vec<Vec<Area>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A node, or a point of a long edge.
struct Slot {
    layer: usize,
    area: Area,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Lays out a graph whose nodes have these sizes.
pub(super) fn layout(graph: &Graph, sizes: &[(f64, f64)]) -> Layout {
    let layers = layers(graph);
    let slot = |(layer, (width, height)): (&usize, &(f64, f64))| Slot {
        layer: *layer,
        area: Area { width: *width, height: *height, ..Area::default() },
        before: Vec::new(),
        after: Vec::new(),
    };
    let mut slots: Vec<Slot> = layers.iter().zip(sizes).map(slot).collect();
    let paths: Vec<Vec<usize>> =
        graph.edges.iter().map(|edge| path(&mut slots, edge.from, edge.to)).collect();
    let mut columns = columns(&slots);
    order(&slots, &mut columns);
    let width = place_columns(&mut slots, &columns);
    place_rows(&mut slots, &columns);
    let top = slots.iter().map(|slot| slot.area.y).fold(f64::INFINITY, f64::min);
    slots.iter_mut().for_each(|slot| slot.area.y -= top.min(f64::MAX));
    let height = slots.iter().map(|slot| slot.area.y + slot.area.height).fold(0.0, f64::max);
    let area = |at: &usize| slots.get(*at).map(|slot| slot.area);
    Layout {
        edges: paths.iter().map(|path| path.iter().filter_map(area).collect()).collect(),
        nodes: slots.iter().take(graph.nodes.len()).map(|slot| slot.area).collect(),
        width,
        height,
    }
}

/// The layer of each node: right of all that lead to it; what nothing leads to stands next to what it leads to.
fn layers(graph: &Graph) -> Vec<usize> {
    let mut layers = vec![0_usize; graph.nodes.len()];
    // A log that was tampered with may have cycles; then the rounds end it.
    for _ in 0..graph.nodes.len() {
        let mut moved = false;
        for edge in &graph.edges {
            let least = layers.get(edge.from).map_or(0, |layer| layer + 1).min(graph.nodes.len());
            if let Some(layer) = layers.get_mut(edge.to).filter(|layer| **layer < least) {
                *layer = least;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for at in 0..graph.nodes.len() {
        let is_origin = graph.nodes.get(at).is_some_and(|node| node.kind < Kind::Version);
        let next =
            graph.edges.iter().filter(|edge| edge.from == at).filter_map(|edge| layers.get(edge.to)).min();
        if let (true, Some(next)) = (is_origin, next.copied())
            && let Some(layer) = layers.get_mut(at)
        {
            *layer = next.saturating_sub(1);
        }
    }
    layers
}

/// The slots that an edge passes; makes those between its ends.
fn path(slots: &mut Vec<Slot>, from: usize, to: usize) -> Vec<usize> {
    let layer = |slots: &Vec<Slot>, at: usize| slots.get(at).map_or(0, |slot| slot.layer);
    let (first, last) = (layer(slots, from), layer(slots, to));
    let mut path = vec![from];
    for layer in first + 1..last {
        let area = Area { height: 2.0, ..Area::default() };
        slots.push(Slot { layer, area, before: Vec::new(), after: Vec::new() });
        path.push(slots.len() - 1);
    }
    path.push(to);
    for pair in path.windows(2) {
        if let [one, other] = *pair {
            slots.get_mut(one).into_iter().for_each(|slot| slot.after.push(other));
            slots.get_mut(other).into_iter().for_each(|slot| slot.before.push(one));
        }
    }
    path
}

fn columns(slots: &[Slot]) -> Vec<Vec<usize>> {
    let count = slots.iter().map(|slot| slot.layer + 1).max().unwrap_or_default();
    let mut columns = vec![Vec::new(); count];
    for (at, slot) in slots.iter().enumerate() {
        columns.get_mut(slot.layer).into_iter().for_each(|column: &mut Vec<usize>| column.push(at));
    }
    columns
}

/// Orders each column by the mean place of its neighbours in the one before, then in the one after, and so on.
fn order(slots: &[Slot], columns: &mut [Vec<usize>]) {
    let mut places = vec![0.0; slots.len()];
    let number = |columns: &[Vec<usize>], places: &mut Vec<f64>| {
        for column in columns {
            for (place, at) in (0_u32..).zip(column) {
                places.get_mut(*at).into_iter().for_each(|slot| *slot = f64::from(place));
            }
        }
    };
    number(columns, &mut places);
    for round in 0..ROUNDS {
        for at in 0..columns.len() {
            let index = if round % 2 == 0 { at } else { columns.len() - 1 - at };
            let Some(column) = columns.get_mut(index) else { continue };
            let wish = |at: &usize| {
                let slot = slots.get(*at);
                let near = slot.map(|slot| if round % 2 == 0 { &slot.before } else { &slot.after });
                mean(near.into_iter().flatten().filter_map(|near| places.get(*near).copied()))
                    .unwrap_or_else(|| places.get(*at).copied().unwrap_or_default())
            };
            let mut wishes: Vec<(f64, usize)> = column.iter().map(|at| (wish(at), *at)).collect();
            wishes.sort_by(|one, other| one.0.total_cmp(&other.0));
            *column = wishes.into_iter().map(|(_, at)| at).collect();
            number(columns, &mut places);
        }
    }
}

/// Gives every slot its left edge; returns the width of all.
fn place_columns(slots: &mut [Slot], columns: &[Vec<usize>]) -> f64 {
    let mut x = 0.0;
    for column in columns {
        let widest =
            column.iter().filter_map(|at| slots.get(*at)).map(|slot| slot.area.width).fold(0.0, f64::max);
        for at in column {
            if let Some(slot) = slots.get_mut(*at) {
                // All of a column are equally wide, which looks calmer.
                (slot.area.x, slot.area.width) = (x, widest);
            }
        }
        x += widest + GAP_X;
    }
    (x - GAP_X).max(0.0)
}

/// Gives every slot its height: near its neighbours, below the one above it.
fn place_rows(slots: &mut [Slot], columns: &[Vec<usize>]) {
    for column in columns {
        let wishes: Vec<f64> = column.iter().map(|_| 0.0).collect();
        settle(slots, column, &wishes);
    }
    for round in 0..ROUNDS {
        for index in 0..columns.len() {
            let index = if round % 2 == 0 { index } else { columns.len() - 1 - index };
            let Some(column) = columns.get(index) else { continue };
            let wish = |at: &usize| {
                let slot = slots.get(*at)?;
                let near = slot.before.iter().chain(&slot.after).filter_map(|near| slots.get(*near));
                Some(mean(near.map(|slot| slot.area.middle())).unwrap_or(slot.area.middle()))
            };
            let wishes: Vec<f64> = column.iter().map(|at| wish(at).unwrap_or_default()).collect();
            settle(slots, column, &wishes);
        }
    }
}

/// Puts the slots of a column as near to the middles that they wish as their order allows: those that would overlap form
/// a block, which stands where its members wish on average.
fn settle(slots: &mut [Slot], column: &[usize], wishes: &[f64]) {
    // A block: its first member, the mean of where its top wishes to be, its members, and its length.
    let mut blocks: Vec<(usize, f64, f64, f64)> = Vec::new();
    let height = |at: &usize| slots.get(*at).map_or(0.0, |slot| slot.area.height);
    for (index, (at, wish)) in column.iter().zip(wishes).enumerate() {
        let mut block = (index, wish - height(at) / 2.0, 1.0, height(at) + GAP_Y);
        while let Some(above) = blocks.last().copied().filter(|above| above.1 + above.3 > block.1) {
            blocks.pop();
            let members = above.2 + block.2;
            let top = (above.1 * above.2 + (block.1 - above.3) * block.2) / members;
            block = (above.0, top, members, above.3 + block.3);
        }
        blocks.push(block);
    }
    let mut y = 0.0;
    let mut blocks = blocks.into_iter().peekable();
    for (index, at) in column.iter().enumerate() {
        if let Some(block) = blocks.next_if(|block| block.0 == index) {
            y = block.1;
        }
        if let Some(slot) = slots.get_mut(*at) {
            slot.area.y = y;
            y += slot.area.height + GAP_Y;
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
