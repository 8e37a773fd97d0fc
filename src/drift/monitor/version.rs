//! Everything the monitor knows of one version.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::columns::Columns;
use super::lane::{LaneState, version_folder};
use super::learn::Learning;
use super::outlier::Ranges;
use super::points;
use super::transition::Lane;
use super::values::{Reader, Sink};
use crate::drift::baseline::{Baseline, Current};
use crate::drift::config::DriftConfig;
use crate::drift::pane::write_whole;
use crate::drift::profile::Value;
use crate::error::Code;
use crate::infer::{Observation, Route, TappedVersion};
use crate::model::ModelId;
use crate::model::embeddings::{Embedding, embeddings};
use crate::model::features::{Feature, features};

/// The file of a learned baseline in a version's folder.
const LEARNED: &str = "learned.json";

/// See the file's comment.
#[derive(Debug)]
pub(super) struct VersionState {
    id: ModelId,
    features: Vec<Feature>,
    /// Those that the baseline has, in the same order.
    watched: Vec<Feature>,
    /// Tensors whose rows are points.
    embeddings: Vec<Embedding>,
    /// Those that the baseline has, in the order of the fitted one.
    tapped: Vec<Embedding>,
    is_batched: bool,
    /// Whether its tap looks at anything.
    pub(super) active: Arc<AtomicBool>,
    /// Alive as long as a tap of the version is.
    pub(super) tap: Weak<()>,
    /// As it was given, or learned.
    pub(super) baseline: Option<Arc<Baseline>>,
    /// The same for the version's datatypes; there when both are known.
    fitted: Option<Arc<Baseline>>,
    /// For each watched feature, its position in the fitted baseline.
    positions: Vec<usize>,
    learning: Option<Learning>,
    pub(super) lanes: BTreeMap<Lane, LaneState>,
    /// Rows by what became of them, since they were last told.
    counted: [usize; Counted::ALL.len()],
}

/// What became of an observation's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// They are in a profile.
    Profiled,
    /// A baseline is being learned from them.
    Learned,
    /// Their request failed.
    Failed,
    /// Their request did not fit the model.
    Invalid,
    /// Nobody wanted them any more.
    Ignored,
}

impl Counted {
    /// Every one, in their order.
    const ALL: [Counted; 5] =
        [Counted::Profiled, Counted::Learned, Counted::Failed, Counted::Invalid, Counted::Ignored];

    /// The word in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Counted::Profiled => "profiled",
            Counted::Learned => "learned",
            Counted::Failed => "failed",
            Counted::Invalid => "invalid",
            Counted::Ignored => "ignored",
        }
    }
}

impl VersionState {
    /// A version that nothing is known of.
    pub(super) fn new(id: ModelId) -> VersionState {
        VersionState {
            id,
            features: Vec::new(),
            watched: Vec::new(),
            embeddings: Vec::new(),
            tapped: Vec::new(),
            is_batched: true,
            active: Arc::default(),
            tap: Weak::new(),
            baseline: None,
            fitted: None,
            positions: Vec::new(),
            learning: None,
            lanes: BTreeMap::new(),
            counted: [0; Counted::ALL.len()],
        }
    }

    /// The version is loaded: its features are known. A baseline that was learned before is found again.
    pub(super) fn tapped(&mut self, version: &TappedVersion, config: &DriftConfig) {
        let names = &version.config.monitoring.feature_names;
        self.features = features(&version.signature, version.is_batched, names);
        self.is_batched = version.is_batched;
        let monitoring = &version.config.monitoring;
        let (found, missing) = embeddings(&version.signature, version.is_batched, &monitoring.embeddings);
        if !missing.is_empty() {
            let (model, version, tensors) = (&self.id.name, self.id.version, missing.join(", "));
            tracing::warn!(%model, %version, %tensors, "drift.embeddings: no tensors of rows of one width");
        }
        // A name stands for one thing in states and metrics.
        let is_free = |found: &Embedding| self.features.iter().all(|feature| feature.name != found.name);
        self.embeddings = found.into_iter().filter(is_free).collect();
        if self.baseline.is_none() && self.learning.is_none() {
            let path = config.folder.as_deref().map(|folder| version_folder(folder, &self.id).join(LEARNED));
            let bytes = path.and_then(|path| fs::read(path).ok());
            self.baseline = bytes.and_then(|bytes| Baseline::from_bytes(&bytes).ok()).map(Arc::new);
        }
        self.settle(config);
    }

    /// Compares with `baseline` from now on.
    pub(super) fn set_baseline(&mut self, baseline: Arc<Baseline>, config: &DriftConfig) {
        let is_same = self.baseline.as_ref().is_some_and(|old| old.digest() == baseline.digest());
        self.learning = None;
        if !is_same {
            self.lanes.clear();
            self.baseline = Some(baseline);
        }
        self.settle(config);
    }

    /// Learns a baseline from the next `rows` rows.
    pub(super) fn learn(&mut self, rows: usize, config: &DriftConfig) {
        self.learning = Some(Learning::new(rows, config.learn_bytes));
        self.baseline = None;
        self.lanes.clear();
        self.settle(config);
    }

    /// What its numeric inputs lie between, by its baseline.
    pub(super) fn ranges(&self) -> Option<Arc<Ranges>> {
        let baseline = self.fitted.as_ref()?;
        Some(Arc::new(Ranges::new(&self.features, baseline, self.is_batched)))
    }

    /// Features that the baseline does not have.
    pub(super) fn unwatched(&self) -> Vec<String> {
        let features = self.features.iter().filter(|feature| !self.watched.contains(feature));
        let embeddings = self.embeddings.iter().filter(|embedding| !self.tapped.contains(embedding));
        let names = features.map(|feature| &feature.name).chain(embeddings.map(|embedding| &embedding.name));
        names.map(|name| name.to_string()).collect()
    }

    fn settle(&mut self, config: &DriftConfig) {
        let given = self.baseline.as_ref().filter(|_| !self.features.is_empty());
        self.fitted = given.map(|baseline| Arc::new(baseline.for_version(&self.features, &self.embeddings)));
        if let Some(baseline) = &self.fitted {
            let known = |feature: &Feature| Some((feature.clone(), baseline.position_of(feature)?));
            (self.watched, self.positions) = self.features.iter().filter_map(known).unzip();
            let known = |embedding: &&Embedding| baseline.embedding(embedding).is_some();
            self.tapped = self.embeddings.iter().filter(known).cloned().collect();
            // What is on disk is known again before the first request.
            self.lanes
                .entry(Lane::Main)
                .or_insert_with(|| LaneState::open(&self.id, Lane::Main, baseline, config));
        }
        let has_work = self.baseline.is_some() || self.learning.is_some();
        self.active.store(has_work && !self.features.is_empty(), Ordering::Relaxed);
    }

    /// Counts an observation.
    ///
    /// # Errors
    /// When a learned baseline could not be written; it is used all the same.
    pub(super) fn count(
        &mut self,
        observation: &Observation,
        reader: &mut Reader,
        config: &DriftConfig,
    ) -> (Counted, io::Result<()>) {
        let lane = if observation.choice.route == Route::Canary { Lane::Canary } else { Lane::Main };
        let rows = if self.is_batched { observation.rows } else { 1 };
        let failed = observation
            .failure
            .map(|code| if code == Code::InvalidArgument { Counted::Invalid } else { Counted::Failed });
        if let Some(learning) = &mut self.learning {
            if let Some(failed) = failed {
                return (failed, Ok(()));
            }
            reader.read(&self.features, self.is_batched, observation, learning);
            let samples = learning.samples(&self.embeddings);
            points::read(&self.embeddings, self.is_batched, observation, samples);
            let is_enough = learning.add_rows(rows);
            return (Counted::Learned, if is_enough { self.freeze(config) } else { Ok(()) });
        }
        let Some(baseline) = &self.fitted else { return (Counted::Ignored, Ok(())) };
        let id = &self.id;
        let state = self.lanes.entry(lane).or_insert_with(|| LaneState::open(id, lane, baseline, config));
        if let Some(failed) = failed {
            state.open.failed += rows as u64;
            state.open.invalid += if failed == Counted::Invalid { rows as u64 } else { 0 };
            return (failed, Ok(()));
        }
        let LaneState { open, columns, .. } = state;
        let mut sink = Profiles { positions: &self.positions, columns, current: open };
        reader.read(&self.watched, self.is_batched, observation, &mut sink);
        points::read(&self.tapped, self.is_batched, observation, &mut open.embeddings);
        columns.rows(rows, open);
        open.rows += rows as f64;
        (Counted::Profiled, Ok(()))
    }

    /// Remembers what became of rows, to be told by [`VersionState::told`].
    pub(super) fn tally(&mut self, counted: Counted, rows: usize) {
        if let Some(at) = Counted::ALL.iter().position(|known| *known == counted) {
            self.counted[at] += rows;
        }
    }

    /// Counts what waits in columns, and hands out the rows by what became of them.
    pub(super) fn told(&mut self) -> impl Iterator<Item = (Counted, usize)> {
        for LaneState { open, columns, .. } in self.lanes.values_mut() {
            columns.empty_into(open);
        }
        let counted = std::mem::take(&mut self.counted);
        Counted::ALL.into_iter().zip(counted).filter(|(_, rows)| *rows > 0)
    }

    fn freeze(&mut self, config: &DriftConfig) -> io::Result<()> {
        let Some(learning) = self.learning.take() else { return Ok(()) };
        let baseline = learning.finish(&self.features, &self.embeddings);
        let bytes = baseline.to_bytes();
        self.baseline = Some(baseline);
        self.settle(config);
        let Some(folder) = config.folder.as_deref().map(|folder| version_folder(folder, &self.id)) else {
            return Ok(());
        };
        fs::create_dir_all(&folder)?;
        write_whole(&folder.join(LEARNED), &bytes)
    }
}

/// Counts values in the profiles of the open pane.
struct Profiles<'a> {
    positions: &'a [usize],
    columns: &'a mut Columns,
    current: &'a mut Current,
}

impl Sink for Profiles<'_> {
    fn numbers(&mut self, feature: usize, numbers: &[f64]) {
        if let Some(position) = self.positions.get(feature) {
            self.columns.add(*position, numbers);
        }
    }

    fn value(&mut self, feature: usize, value: Value<'_>) {
        if let Some(position) = self.positions.get(feature) {
            self.current.push(*position, value, 1.0);
        }
    }
}
