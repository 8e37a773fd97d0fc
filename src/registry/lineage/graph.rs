//! The graph of one version.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::model::ModelName;
use crate::registry::error::Refusal;
use crate::registry::record::ModelRef;
use crate::registry::state::{ModelState, VersionState};

/// Most versions in a graph.
const VERSIONS_MAX: usize = 100;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A dataset.
    Data,
    /// A commit of a git repository.
    Code,
    /// A training run.
    Run,
    /// A version of a model.
    Version,
    /// An alias.
    Alias,
    /// A deployment.
    Deployment,
}

/// Something that a version comes from or leads to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Names it: its kind and its own name.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub title: String,
    /// More about it.
    pub lines: Vec<String>,
    /// Whether it is the version that was asked for.
    pub root: bool,
    /// Whether it is deleted, or known by name only.
    pub gone: bool,
}

/// `from` went into `to`, or leads to it: indices of nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The origin.
    pub from: usize,
    /// The result.
    pub to: usize,
    /// The part that it plays, for example `train`; may be empty.
    pub label: String,
}

/// A version's lineage.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Graph {
    /// Everything in it, ascending by id.
    pub nodes: Vec<Node>,
    /// How it hangs together, ascending.
    pub edges: Vec<Edge>,
    /// Whether there was more than fits.
    pub cut: bool,
}

/// The lineage of `root`: what it was made from, what was made from it, and what these were made from otherwise.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such version; a deleted one has a lineage still.
pub fn build(root: &ModelRef, states: &BTreeMap<ModelName, Arc<ModelState>>) -> Result<Graph, Refusal> {
    let missing = || Refusal::NotFound(format!("model '{}' has no version {}", root.model, root.version));
    find(states, root).ok_or_else(missing)?;
    let mut builder = Builder::default();
    let (versions, cut) = relatives(root, states);
    for version in &versions {
        builder.version(version, states, version == root);
    }
    for version in &versions {
        for parent in find(states, version).iter().flat_map(|state| &state.record.derived_from) {
            if versions.contains(parent) {
                builder.edge(&version_id(parent), &version_id(version), "");
            }
        }
    }
    Ok(builder.finish(cut))
}

/// The version and its ancestors and descendants; and whether there were more.
fn relatives(root: &ModelRef, states: &BTreeMap<ModelName, Arc<ModelState>>) -> (BTreeSet<ModelRef>, bool) {
    let mut children: BTreeMap<&ModelRef, Vec<ModelRef>> = BTreeMap::new();
    for (model, state) in states {
        for (number, version) in state.versions.iter().filter(|(_, version)| version.deleted.is_none()) {
            for parent in &version.record.derived_from {
                let child = ModelRef { model: model.clone(), version: *number };
                children.entry(parent).or_default().push(child);
            }
        }
    }
    let parents_of =
        |of: &ModelRef| find(states, of).map(|v| v.record.derived_from.clone()).unwrap_or_default();
    let children_of = |of: &ModelRef| children.get(of).cloned().unwrap_or_default();
    let mut found = BTreeSet::from([root.clone()]);
    let mut cut = reach(root, parents_of, &mut found);
    cut |= reach(root, children_of, &mut found);
    (found, cut)
}

/// Adds what `next` leads to from `root`, near ones first; true when it does not all fit.
fn reach(root: &ModelRef, next: impl Fn(&ModelRef) -> Vec<ModelRef>, found: &mut BTreeSet<ModelRef>) -> bool {
    let mut waiting = VecDeque::from([root.clone()]);
    while let Some(version) = waiting.pop_front() {
        for other in next(&version) {
            if found.contains(&other) {
                continue;
            }
            if found.len() >= VERSIONS_MAX {
                return true;
            }
            found.insert(other.clone());
            waiting.push_back(other);
        }
    }
    false
}

fn find<'a>(
    states: &'a BTreeMap<ModelName, Arc<ModelState>>,
    version: &ModelRef,
) -> Option<&'a VersionState> {
    states.get(&version.model)?.versions.get(&version.version)
}

fn version_id(version: &ModelRef) -> String {
    format!("version:{}@{}", version.model, version.version)
}

#[derive(Default)]
struct Builder {
    nodes: BTreeMap<String, Node>,
    edges: BTreeSet<(String, String, String)>,
}

impl Builder {
    fn node(&mut self, kind: Kind, id: String, title: &str, lines: Vec<String>) -> &mut Node {
        let make = || Node { id: id.clone(), kind, title: title.to_owned(), lines, root: false, gone: false };
        self.nodes.entry(id.clone()).or_insert_with(make)
    }

    fn edge(&mut self, from: &str, to: &str, label: &str) {
        self.edges.insert((from.to_owned(), to.to_owned(), label.to_owned()));
    }

    fn version(&mut self, version: &ModelRef, states: &BTreeMap<ModelName, Arc<ModelState>>, root: bool) {
        let id = version_id(version);
        let title = format!("{}@{}", version.model, version.version);
        let Some(state) = find(states, version) else {
            let node = self.node(Kind::Version, id, &title, vec!["not in this registry".to_owned()]);
            node.gone = true;
            return;
        };
        let model = states.get(&version.model);
        let gone = state.deleted.is_some() || model.is_some_and(|model| model.deleted.is_some());
        let mut lines =
            vec![format!("{} by {}", state.created.time.format("%Y-%m-%d"), state.created.actor.sub)];
        lines.extend(state.metrics.iter().take(2).map(|(name, value)| format!("{name} {value}")));
        if gone {
            lines.push("deleted".to_owned());
        }
        let node = self.node(Kind::Version, id.clone(), &title, lines);
        (node.root, node.gone) = (root, gone);
        self.origins(&id, state);
        let Some(model) = model else { return };
        for (name, alias) in model.aliases.iter().filter(|(_, alias)| alias.version == version.version) {
            let alias_id = format!("alias:{}@{name}", version.model);
            let since = format!("since {}", alias.since.time.format("%Y-%m-%d"));
            self.node(Kind::Alias, alias_id.clone(), &format!("{}@{name}", version.model), vec![since]);
            self.edge(&id, &alias_id, "");
        }
        for (name, deployment) in &model.deployments {
            let Some(weight) = deployment.spec.traffic.get(&version.version) else { continue };
            let sum: u64 = deployment.spec.traffic.values().map(|weight| u64::from(*weight)).sum();
            let percent = u64::from(*weight) * 100 / sum.max(1);
            let deployment_id = format!("deployment:{}/{name}", version.model);
            let since = format!("since {}", deployment.since.time.format("%Y-%m-%d"));
            let title = format!("{} in {name}", version.model);
            self.node(Kind::Deployment, deployment_id.clone(), &title, vec![since]);
            self.edge(&id, &deployment_id, &format!("{percent} %"));
        }
    }

    /// Data, code and run of a version.
    fn origins(&mut self, id: &str, state: &VersionState) {
        let record = &state.record;
        for (role, uri) in &record.datasets {
            let data = format!("data:{uri}");
            self.node(Kind::Data, data.clone(), uri, Vec::new());
            self.edge(&data, id, role);
        }
        if let Some(git) = &record.git {
            let short: String = git.commit.chars().take(10).collect();
            let dirty = if git.dirty { ", changed" } else { "" };
            let branch = if git.branch.is_empty() { "detached" } else { &git.branch };
            let mut lines = vec![format!("{branch}{dirty}")];
            lines.extend(Some(git.remote.clone()).filter(|remote| !remote.is_empty()));
            let code = format!("code:{}{}", git.commit, if git.dirty { "+" } else { "" });
            self.node(Kind::Code, code.clone(), &short, lines);
            self.edge(&code, id, "");
        }
        if let Some(run) = &record.run {
            let run_id = format!("run:{run}");
            self.node(Kind::Run, run_id.clone(), run, Vec::new());
            self.edge(&run_id, id, "");
        }
    }

    fn finish(self, cut: bool) -> Graph {
        let at: BTreeMap<&String, usize> = self.nodes.keys().enumerate().map(|(at, id)| (id, at)).collect();
        let edge = |(from, to, label): &(String, String, String)| {
            Some(Edge { from: *at.get(from)?, to: *at.get(to)?, label: label.clone() })
        };
        let mut edges: Vec<Edge> = self.edges.iter().filter_map(edge).collect();
        edges.sort();
        Graph { edges, nodes: self.nodes.into_values().collect(), cut }
    }
}
