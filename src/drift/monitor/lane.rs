//! One version's requests of one lane: the open pane, the closed ones, and what has been decided of them.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::columns::Columns;
use super::transition::{Lane, Transition};
use super::trend::Trends;
use crate::drift::baseline::{Baseline, Current};
use crate::drift::config::{DriftConfig, Window};
use crate::drift::decide::hold::{Held, embedding_reason, overall};
use crate::drift::decide::{Decisions, Rules, Subject, compare};
use crate::drift::embedding;
use crate::drift::offline::name_unseen;
use crate::drift::pane::{PaneLimits, Panes, write_whole};
use crate::drift::profile::{PointSample, Sampling};
use crate::drift::report::{DriftReport, DriftState, EmbeddingReport, FeatureReport};
use crate::model::ModelId;

/// Panes whose main score is remembered for sparklines.
const HISTORY_MAX: usize = 288;

/// See the file's comment.
#[derive(Debug)]
pub(super) struct LaneState {
    id: ModelId,
    lane: Lane,
    baseline: Arc<Baseline>,
    folder: Option<PathBuf>,
    panes: Panes,
    /// The pane that is being filled.
    pub(super) open: Current,
    /// Numbers on their way into it; none between two steps of the monitor.
    pub(super) columns: Columns,
    decisions: Decisions,
    states: BTreeMap<String, DriftState>,
    history: BTreeMap<String, VecDeque<f64>>,
    trends: Trends,
    /// What was last said of the embeddings, by window.
    embedded: BTreeMap<String, Vec<EmbeddingReport>>,
    last_pane_us: i64,
}

/// The points of every window that is to be judged. Tests of points take long: they are made while nothing is locked.
#[derive(Debug)]
pub(super) struct Points {
    baseline: Arc<Baseline>,
    windows: Vec<Vec<PointSample>>,
}

impl Points {
    /// Judges them.
    pub(super) fn judge(&self, rules: &Rules) -> Judged {
        let windows = self.windows.iter();
        let windows = windows.map(|samples| embedding::compare_all(&self.baseline, samples, rules)).collect();
        Judged { baseline: Arc::clone(&self.baseline), windows }
    }
}

/// What tests say of the embeddings, by window.
#[derive(Debug)]
pub(super) struct Judged {
    baseline: Arc<Baseline>,
    windows: Vec<Vec<EmbeddingReport>>,
}

/// What closing a pane came to.
#[derive(Debug)]
pub(super) struct Closed {
    /// What has changed.
    pub(super) transitions: Vec<Transition>,
    /// The report to take scores from.
    pub(super) report: DriftReport,
    /// Whether every file was written.
    pub(super) is_written: bool,
}

impl LaneState {
    /// Reads what is on disk.
    pub(super) fn open(
        id: &ModelId,
        lane: Lane,
        baseline: &Arc<Baseline>,
        config: &DriftConfig,
    ) -> LaneState {
        let folder = config.folder.as_deref().map(|folder| version_folder(folder, id).join(lane.as_str()));
        let microseconds =
            |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
        let limits =
            PaneLimits { retention_us: microseconds(config.retention), bytes_max: config.pane_bytes };
        let panes =
            Panes::open(folder.as_deref(), config.replica.as_str().into(), Arc::clone(baseline), limits);
        let path = folder.as_ref().map(|folder| decisions_path(folder, &config.replica));
        let (decisions, trends) = path.and_then(|path| read_decisions(&path, baseline)).unwrap_or_default();
        LaneState {
            id: id.clone(),
            lane,
            open: baseline.current(sampling(&config.replica, 0)),
            columns: Columns::default(),
            baseline: Arc::clone(baseline),
            folder,
            trends,
            panes,
            states: decisions.states(),
            decisions,
            history: BTreeMap::new(),
            embedded: BTreeMap::new(),
            last_pane_us: 0,
        }
    }

    /// The points of the windows that end with the pane which began at `start_us`; `None` without embeddings.
    pub(super) fn points(&self, start_us: i64, length_us: i64, config: &DriftConfig) -> Option<Points> {
        if self.baseline.embeddings().is_empty() {
            return None;
        }
        let end_us = start_us + length_us;
        let of = |window: &Window| {
            let mut samples = self.panes.points(from_us(*window, start_us, end_us), end_us);
            samples.iter_mut().zip(&self.open.embeddings).for_each(|(mine, open)| {
                // Of the same widths, so they merge.
                mine.merge(open).ok();
            });
            samples
        };
        Some(Points {
            baseline: Arc::clone(&self.baseline),
            windows: config.windows.iter().map(of).collect(),
        })
    }

    /// States of the features, over all windows.
    pub(super) fn states(&self) -> &BTreeMap<String, DriftState> {
        &self.states
    }

    /// Memory of the panes.
    pub(super) fn bytes(&self) -> usize {
        self.panes.bytes() + self.open.bytes()
    }

    /// Puts the open pane away without judging it.
    pub(super) fn flush(&mut self, start_us: i64, length_us: i64) -> bool {
        let next = self.baseline.current(sampling(self.panes.replica(), start_us + length_us));
        let current = std::mem::replace(&mut self.open, next);
        self.last_pane_us = start_us;
        current.is_empty() || self.panes.add(start_us, length_us, current).is_ok()
    }

    /// Closes the pane that began at `start_us`, judges every window that ends with it, and keeps house. `judged` is what
    /// became of its [`LaneState::points`].
    pub(super) fn close(
        &mut self,
        start_us: i64,
        length_us: i64,
        config: &DriftConfig,
        rules: &Rules,
        judged: Option<Judged>,
    ) -> Closed {
        // A baseline that was set while they were judged has other embeddings.
        let judged = judged.filter(|judged| Arc::ptr_eq(&judged.baseline, &self.baseline));
        let mut embeddings = judged.map(|judged| judged.windows).unwrap_or_default().into_iter();
        let end_us = start_us + length_us;
        let mut is_written = self.flush(start_us, length_us);
        self.panes.refresh();
        let (pane, _) = self.panes.window(start_us, end_us);
        self.trends.pane(&self.baseline, &pane, end_us);
        let mut reports = Vec::with_capacity(config.windows.len());
        for window in &config.windows {
            let mut report = self.compare(*window, start_us, end_us, rules, false);
            report.embeddings = embeddings.next().unwrap_or_default();
            self.decisions.apply(&mut report, rules);
            self.embedded.insert(report.window.clone(), report.embeddings.clone());
            if *window == Window::Pane {
                self.remember(&report);
            }
            reports.push(report);
        }
        is_written &= self.panes.tidy(end_us).is_ok();
        is_written &= self.write_decisions(config).is_ok();
        let transitions = self.transitions(&reports, end_us);
        // Scores come from the window with the most to say.
        let report = reports
            .into_iter()
            .max_by_key(|report| report.state)
            .unwrap_or_else(|| self.compare(Window::Deploy, start_us, end_us, rules, false));
        Closed { transitions, report, is_written }
    }

    /// The report of a window at `now_us`, the open pane included, with the states of the last judgement.
    pub(super) fn report(&self, window: Window, now_us: i64, rules: &Rules) -> DriftReport {
        let mut report = self.compare(window, self.last_pane_us, now_us, rules, window != Window::Pane);
        report.embeddings = match self.embedded.get(&report.window) {
            Some(embedded) => embedded.clone(),
            // Not judged yet.
            None => {
                let nothing = self.baseline.current(Sampling::LIVE).embeddings;
                embedding::compare_all(&self.baseline, &nothing, rules)
            }
        };
        self.decisions.show(&mut report);
        for feature in &mut report.features {
            feature.trend = self.trends.of(&feature.name);
            feature.history = self.history.get(&feature.name).into_iter().flatten().copied().collect();
        }
        report
    }

    fn compare(
        &self,
        window: Window,
        pane_us: i64,
        until_us: i64,
        rules: &Rules,
        with_open: bool,
    ) -> DriftReport {
        let from_us = from_us(window, pane_us, until_us);
        let (mut current, first_us) = self.panes.window(from_us, until_us);
        if with_open {
            // Made against the same baseline, so it merges.
            current.merge(&self.open).ok();
        }
        let digest: String = self.baseline.digest().chars().take(12).collect();
        let subject = Subject {
            subject: format!("{} version {} ({})", &*self.id.name, self.id.version, self.lane.as_str()),
            baseline: format!("baseline {digest}"),
            window: window.name(),
            from_us: first_us.unwrap_or(from_us).max(from_us),
            until_us,
        };
        let mut report = compare(&self.baseline, &current, rules, subject);
        name_unseen(&mut report, &current);
        report
    }

    fn remember(&mut self, report: &DriftReport) {
        for feature in &report.features {
            let score = feature.measure("js").map_or(f64::NAN, |measure| measure.value);
            let history = self.history.entry(feature.name.clone()).or_default();
            history.push_back(score);
            if history.len() > HISTORY_MAX {
                history.pop_front();
            }
        }
    }

    fn transitions(&mut self, reports: &[DriftReport], time_us: i64) -> Vec<Transition> {
        let states = self.decisions.states();
        let before = std::mem::replace(&mut self.states, states);
        let unknown = DriftState::Insufficient;
        let make = |feature: Option<&str>, from, to, report: Option<FeatureReport>, reason| Transition {
            id: self.id.clone(),
            lane: self.lane,
            feature: feature.map(str::to_owned),
            from,
            to,
            reason,
            time_us,
            report,
        };
        let mut found: Vec<Transition> = Vec::new();
        for (feature, to) in &self.states {
            let from = before.get(feature).copied().unwrap_or(unknown);
            if from != *to {
                let mut report = loudest(reports, feature);
                let reason = report.as_ref().map(|report| report.reason.clone());
                let reason = reason.or_else(|| loudest_embedding(reports, feature)).unwrap_or_default();
                report.iter_mut().for_each(|report| report.bins.clear());
                found.push(make(Some(feature), from, *to, report, reason));
            }
        }
        let from = overall(before.values().copied());
        let to = overall(self.states.values().copied());
        let blamed = self.states.iter().filter(|(_, state)| **state == to && to >= DriftState::Warn);
        let blamed: Vec<&str> = blamed.map(|(feature, _)| &**feature).take(10).collect();
        found.push(make(None, from, to, None, blamed.join(", ")));
        found.retain(Transition::is_news);
        found
    }

    fn write_decisions(&self, config: &DriftConfig) -> std::io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let entries = self.decisions.entries();
        let entries: Vec<Json> = entries
            .map(|(feature, window, held)| json!([feature, window, held.state.as_str(), held.streak]))
            .collect();
        let document =
            json!({ "baseline": &**self.baseline.digest(), "held": entries, "trends": self.trends });
        fs::create_dir_all(folder)?;
        write_whole(&decisions_path(folder, &config.replica), document.to_string().as_bytes())
    }
}

/// The feature's report over the window in which it is worst.
fn loudest(reports: &[DriftReport], feature: &str) -> Option<FeatureReport> {
    let of = reports.iter().flat_map(|report| report.features.iter().filter(|found| found.name == feature));
    of.max_by_key(|found| found.state).cloned()
}

/// Why the embedding is in its state, in the window in which it is worst.
fn loudest_embedding(reports: &[DriftReport], name: &str) -> Option<String> {
    let of = reports.iter().flat_map(|report| report.embeddings.iter().filter(|found| found.name == name));
    of.max_by_key(|found| found.state).map(embedding_reason)
}

/// When a window begins that ends at `until_us`, with the pane that began at `pane_us`.
fn from_us(window: Window, pane_us: i64, until_us: i64) -> i64 {
    match window {
        Window::Pane => pane_us,
        Window::Deploy => 0,
        Window::Last(duration) => until_us - i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4),
    }
}

/// How much of a pane is kept. The draws of every replica and pane are their own, so that samples of all merge to one.
fn sampling(replica: &str, pane_us: i64) -> Sampling {
    let mut hasher = DefaultHasher::new();
    (replica, pane_us).hash(&mut hasher);
    Sampling { seed: hasher.finish(), ..Sampling::LIVE }
}

/// Where everything about a version lies.
pub(super) fn version_folder(folder: &Path, id: &ModelId) -> PathBuf {
    folder.join(&*id.name).join(id.version.to_string())
}

fn decisions_path(folder: &Path, replica: &str) -> PathBuf {
    folder.join(format!("decisions-{replica}.json"))
}

/// Decisions on the same baseline; anything else is as good as none.
fn read_decisions(path: &Path, baseline: &Baseline) -> Option<(Decisions, Trends)> {
    let mut document: Json = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if document.get("baseline")?.as_str()? != &**baseline.digest() {
        return None;
    }
    let mut decisions = Decisions::default();
    for entry in document.get("held")?.as_array()? {
        let text = |at: usize| entry.get(at).and_then(Json::as_str);
        let state = DriftState::ALL.into_iter().find(|state| Some(state.as_str()) == text(2))?;
        let streak = u8::try_from(entry.get(3)?.as_u64()?).ok()?;
        decisions.restore(text(0)?, text(1)?, Held { state, streak });
    }
    // Files of older servers have none.
    let trends =
        document.get_mut("trends").map(Json::take).and_then(|trends| serde_json::from_value(trends).ok());
    Some((decisions, trends.unwrap_or_default()))
}
