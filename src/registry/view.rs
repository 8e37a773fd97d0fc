//! What is shown of a state: the shapes that the command line prints and the API answers with, and lines for people.
//!
//! These shapes are public (`docs/registry.md`): members are added, and none is removed or changes its meaning.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::Refusal;
use super::ops::check::shown;
use super::ops::show;
use super::record::{DeploymentSpec, FileRef, VersionRecord};
use super::state::{AliasState, DeploymentState, ModelState, Moment, VersionState};
use crate::model::{ModelName, Version};

/// A model, in short.
#[derive(Debug, Clone, Serialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: ModelName,
    /// Its newest revision.
    pub revision: u64,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub updated: Option<DateTime<Utc>>,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Versions that are not deleted.
    pub versions: usize,
    /// The newest of them.
    pub newest: Option<Version>,
    /// Aliases.
    pub aliases: BTreeMap<String, Version>,
    /// The traffic of each deployment: weights by version.
    pub deployments: BTreeMap<String, BTreeMap<Version, u32>>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl ModelSummary {
    /// The model of `state`.
    pub fn new(state: &ModelState) -> ModelSummary {
        let live = || state.versions.iter().filter(|(_, version)| version.deleted.is_none());
        let traffic = |(name, found): (&String, &DeploymentState)| (name.clone(), found.spec.traffic.clone());
        ModelSummary {
            name: state.model.clone(),
            revision: state.rev,
            description: state.description.clone(),
            created: state.created.as_ref().map(|moment| moment.time),
            updated: state.updated,
            deleted: state.deleted.is_some(),
            versions: live().count(),
            newest: live().next_back().map(|(version, _)| *version),
            aliases: state.aliases.iter().map(|(name, alias)| (name.clone(), alias.version)).collect(),
            deployments: state.deployments.iter().map(traffic).collect(),
            tags: state.tags.clone(),
        }
    }

    /// A line for people.
    pub fn to_line(&self) -> String {
        let mut line = format!("{}  {} versions", self.name, self.versions);
        if let Some(newest) = self.newest {
            line.push_str(&format!(", newest {newest}"));
        }
        for (name, version) in &self.aliases {
            line.push_str(&format!(", {name} -> {version}"));
        }
        for (name, traffic) in &self.deployments {
            line.push_str(&format!("; {name} serves {}", show::shares(traffic)));
        }
        if self.deleted {
            line.push_str("; deleted");
        }
        line.push('\n');
        line
    }
}

/// A model with its versions, aliases and deployments.
#[derive(Debug, Clone, Serialize)]
pub struct ModelView {
    /// In short.
    #[serde(flatten)]
    pub summary: ModelSummary,
    /// Others who must approve what changes traffic.
    pub approvals: u32,
    /// Proposals that wait.
    pub proposals: Vec<uuid::Uuid>,
    /// Every version that is not deleted, ascending.
    pub version_list: Vec<VersionView>,
    /// Deleted versions, ascending.
    pub deleted_versions: Vec<Version>,
    /// Every deployment.
    pub deployment_list: Vec<DeploymentView>,
    /// Where aliases point since when.
    pub alias_list: BTreeMap<String, AliasState>,
}

impl ModelView {
    /// The model of `state`.
    pub fn new(state: &ModelState) -> ModelView {
        let live = state.versions.iter().filter(|(_, found)| found.deleted.is_none());
        let deleted = state.versions.iter().filter(|(_, found)| found.deleted.is_some());
        let deployments = state.deployments.iter();
        ModelView {
            summary: ModelSummary::new(state),
            approvals: state.approvals,
            proposals: state.proposals.keys().copied().collect(),
            version_list: live.map(|(version, found)| VersionView::of(state, *version, found)).collect(),
            deleted_versions: deleted.map(|(version, _)| *version).collect(),
            deployment_list: deployments.map(|(name, found)| DeploymentView::new(name, found)).collect(),
            alias_list: state.aliases.clone(),
        }
    }

    /// Lines for people.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} revision {}\n", self.summary.name, self.summary.revision);
        if !self.summary.description.is_empty() {
            text.push_str(&format!("  {}\n", self.summary.description.escape_debug()));
        }
        text.push_str(&pairs("tags", &self.summary.tags));
        if self.approvals > 0 {
            text.push_str(&format!("  approvals: {}, {} waiting\n", self.approvals, self.proposals.len()));
        }
        for version in &self.version_list {
            text.push_str(&format!("  {}", version.to_line()));
        }
        for (name, alias) in &self.alias_list {
            text.push_str(&format!("  alias {name} -> version {}{}\n", alias.version, since(&alias.since)));
        }
        for deployment in &self.deployment_list {
            text.push_str(&format!("  {}", deployment.to_line()));
        }
        text
    }
}

/// A version.
#[derive(Debug, Clone, Serialize)]
pub struct VersionView {
    /// The model.
    pub model: ModelName,
    /// Its number.
    pub version: Version,
    /// When, by whom and why it was registered.
    pub created: Moment,
    /// When something was last said about it.
    pub updated: DateTime<Utc>,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// The profile that its traffic is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<FileRef>,
    /// Aliases that point at it.
    pub aliases: Vec<String>,
    /// Deployments that have it loaded.
    pub deployments: Vec<String>,
    /// Whether it, or its model, is deleted.
    pub deleted: bool,
    /// Who keeps it from being deleted.
    pub holders: Vec<String>,
    /// As it was registered.
    pub record: VersionRecord,
}

impl VersionView {
    /// Version `version` of the model of `state`.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn new(state: &ModelState, version: Version) -> Result<VersionView, Refusal> {
        state.live(version).map(|found| VersionView::of(state, version, found))
    }

    /// A version, deleted or not.
    pub fn find(state: &ModelState, version: Version) -> Option<VersionView> {
        state.versions.get(&version).map(|found| VersionView::of(state, version, found))
    }

    fn of(state: &ModelState, version: Version, found: &VersionState) -> VersionView {
        let aliases = state.aliases.iter().filter(|(_, alias)| alias.version == version);
        let serves = |found: &DeploymentState| found.spec.traffic.contains_key(&version);
        let deployments = state.deployments.iter().filter(|(_, found)| serves(found));
        VersionView {
            model: state.model.clone(),
            version,
            created: found.created.clone(),
            updated: found.updated,
            description: found.description.clone(),
            tags: found.tags.clone(),
            properties: found.properties.clone(),
            metrics: found.metrics.clone(),
            baseline: found.baseline.clone(),
            aliases: aliases.map(|(name, _)| name.clone()).collect(),
            deployments: deployments.map(|(name, _)| name.clone()).collect(),
            deleted: state.deleted.is_some() || found.deleted.is_some(),
            holders: state.holders(version),
            record: found.record.clone(),
        }
    }

    /// A line for people.
    pub fn to_line(&self) -> String {
        let mut line = format!("version {}{}", self.version, since(&self.created));
        for (key, value) in &self.tags {
            line.push_str(&format!("  {key}={}", shown(value)));
        }
        for (name, value) in &self.metrics {
            line.push_str(&format!("  {name}={value}"));
        }
        line.push('\n');
        line
    }

    /// Lines for people.
    pub fn to_text(&self) -> String {
        let record = &self.record;
        let mut text = format!("{}@{}{}\n", self.model, self.version, since(&self.created));
        if !self.description.is_empty() {
            text.push_str(&format!("  {}\n", self.description.escape_debug()));
        }
        text.push_str(&pairs("tags", &self.tags));
        text.push_str(&pairs("properties", &self.properties));
        text.push_str(&pairs("metrics", &self.metrics));
        text.push_str(&pairs("datasets", &record.datasets));
        text.push_str(&format!("  source: {}\n", shown(&record.source)));
        text.push_str(&format!("  digest: {}\n", record.digest));
        if let Some(git) = &record.git {
            let dirty = if git.dirty { ", with changes" } else { "" };
            text.push_str(&format!("  git: {} {}{dirty}\n", shown(&git.remote), shown(&git.commit)));
        }
        for parent in &record.derived_from {
            text.push_str(&format!("  made from: {}@{}\n", parent.model, parent.version));
        }
        for (what, tensors) in [("input", &record.inputs), ("output", &record.outputs)] {
            for tensor in tensors {
                let (name, shape) = (shown(&tensor.name), &tensor.shape);
                text.push_str(&format!("  {what}: {name} {}{shape:?}\n", shown(&tensor.datatype)));
            }
        }
        for file in &record.files {
            text.push_str(&format!("  file: {} {} bytes {}\n", shown(&file.path), file.size, file.sha256));
        }
        for holder in &self.holders {
            text.push_str(&format!("  in use: {}\n", shown(holder)));
        }
        text
    }
}

/// A deployment.
#[derive(Debug, Clone, Serialize)]
pub struct DeploymentView {
    /// Its name.
    pub name: String,
    /// What it serves and how.
    #[serde(flatten)]
    pub spec: DeploymentSpec,
    /// Since when, by whom and why.
    pub since: Moment,
    /// What it served before, newest first.
    pub history: Vec<EarlierSpec>,
}

/// What a deployment served before.
#[derive(Debug, Clone, Serialize)]
pub struct EarlierSpec {
    /// What it served and how.
    #[serde(flatten)]
    pub spec: DeploymentSpec,
    /// Since when, by whom and why.
    pub since: Moment,
}

impl DeploymentView {
    /// A deployment of that name.
    pub fn new(name: &str, found: &DeploymentState) -> DeploymentView {
        let earlier = found.history.iter().rev();
        let earlier = earlier.map(|(since, spec)| EarlierSpec { spec: spec.clone(), since: since.clone() });
        DeploymentView {
            name: name.to_owned(),
            spec: found.spec.clone(),
            since: found.since.clone(),
            history: earlier.collect(),
        }
    }

    /// A line for people.
    pub fn to_line(&self) -> String {
        format!("deployment {} serves {}{}\n", self.name, show::traffic(&self.spec), since(&self.since))
    }

    /// Lines for people.
    pub fn to_text(&self) -> String {
        let mut text = self.to_line();
        text.push_str(&format!("  sticky: {}\n", show::sticky(&self.spec.sticky)));
        text.push_str(&format!("  rollback window: {}\n", show::window(self.spec.rollback_window_s)));
        for (key, value) in &self.spec.settings {
            text.push_str(&format!("  {key} = {value}\n"));
        }
        for earlier in &self.history {
            text.push_str(&format!("  before: {}{}\n", show::traffic(&earlier.spec), since(&earlier.since)));
        }
        text
    }
}

fn since(moment: &Moment) -> String {
    let time = moment.time.format("%Y-%m-%d %H:%M:%SZ");
    let why = match moment.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", shown(reason)),
    };
    format!("  (revision {}, {time}, {}{why})", moment.rev, shown(&moment.actor.sub))
}

fn pairs<V: ToString>(what: &str, pairs: &BTreeMap<String, V>) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let shown = pairs.iter().map(|(key, value)| format!("{key}={}", shown(&value.to_string())));
    format!("  {what}: {}\n", shown.collect::<Vec<_>>().join("  "))
}
