//! What a comparison of current data with a baseline came to: the one shape that the API, the metrics, the events, the
//! tables on the terminal and the HTML report are made of.

use serde::{Deserialize, Serialize};

/// What is said of a feature, or of a whole version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriftState {
    /// Too few rows to say anything.
    Insufficient,
    /// Nothing larger than the thresholds and than chance.
    Ok,
    /// An effect above a warning threshold, beyond chance.
    Warn,
    /// An effect above an alarm threshold, beyond chance, for two windows.
    Drift,
}

impl DriftState {
    /// Every state, from the least to the most worrying.
    pub const ALL: [DriftState; 4] =
        [DriftState::Insufficient, DriftState::Ok, DriftState::Warn, DriftState::Drift];

    /// The word in JSON, labels and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            DriftState::Insufficient => "insufficient",
            DriftState::Ok => "ok",
            DriftState::Warn => "warn",
            DriftState::Drift => "drift",
        }
    }
}

/// One number about a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name in `distance`'s table, for example `psi`.
    pub name: &'static str,
    /// The value; NaN where it is undefined.
    pub value: f64,
    /// What is compared with the thresholds where that is not the value itself (the robust form of KS, a Wilson bound).
    pub effect: f64,
    /// The warning threshold.
    pub warn: Option<f64>,
    /// The alarm threshold; `None` for a measure that is only reported.
    pub alarm: Option<f64>,
    /// What chance alone exceeds with the configured probability, for these numbers of rows.
    pub null_quantile: Option<f64>,
    /// The p-value, where the measure has one.
    pub p: Option<f64>,
    /// Whether it speaks for `warn` or `drift`.
    pub state: DriftState,
}

/// A bar of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    /// The interval, or the category.
    pub label: String,
    /// The lower bound of an interval; `-inf` for an open end, NaN for categories.
    pub low: f64,
    /// The upper bound, exclusive; `+inf` for an open end, NaN for categories.
    pub high: f64,
    /// Rows of the baseline (weights, where rows have them).
    pub baseline: f64,
    /// Rows of the current data.
    pub current: f64,
}

/// Counts and moments of one side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// All rows.
    pub rows: f64,
    /// Rows without a value.
    pub missing: f64,
    /// NaN values.
    pub nan: f64,
    /// Infinite values.
    pub infinite: f64,
    /// Rows whose value has the wrong type.
    pub type_errors: f64,
    /// The mean of the finite values; NaN without any, or for categories.
    pub mean: f64,
    /// Their standard deviation (divided by n).
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// About how many different values there are.
    pub distinct: f64,
}

/// When the mean of a numeric feature changed, by detectors that see one pane after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trend {
    /// Panes that had enough rows.
    pub panes: u64,
    /// The end of the last pane at which the Page-Hinkley test raised an alarm, in microseconds since 1970.
    pub page_hinkley_us: Option<i64>,
    /// The same of ADWIN.
    pub adwin_us: Option<i64>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureReport {
    /// Its name, for example `in.age`.
    pub name: String,
    /// `numeric` or `categorical`.
    pub is_categorical: bool,
    /// The verdict.
    pub state: DriftState,
    /// Why, in a short sentence; empty for `ok`.
    pub reason: String,
    /// All measures, in the order of `distance`'s table.
    pub measures: Vec<Measure>,
    /// Counts and moments of the baseline.
    pub baseline: Summary,
    /// The same of the current data.
    pub current: Summary,
    /// Both histograms, over the same bins.
    pub bins: Vec<Bin>,
    /// The main score of recent panes, oldest first, for a sparkline; empty offline.
    pub history: Vec<f64>,
    /// When its mean changed; `None` offline, and for categories.
    pub trend: Option<Trend>,
}

impl FeatureReport {
    /// The measure called `name`.
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }
}

/// An embedding: rows compared as points.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingReport {
    /// Its name, for example `out.embedding`.
    pub name: String,
    /// Coordinates of a point.
    pub width: usize,
    /// Points of the baseline that were compared.
    pub baseline_points: usize,
    /// Points of the current data.
    pub current_points: usize,
    /// The squared maximum mean discrepancy ([`crate::drift::mmd`]); NaN where it is undefined.
    pub mmd2: f64,
    /// The probability of as large a discrepancy without drift; NaN where it is undefined.
    pub p: f64,
    /// What chance alone exceeds with the configured probability; NaN where it is undefined.
    pub null_quantile: f64,
    /// The discrepancy from which on it is called drift, when it is beyond chance.
    pub alarm: f64,
    /// The verdict.
    pub state: DriftState,
}

/// A whole comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftReport {
    /// What is compared, for people: `penguins version 1`, or a file's name.
    pub subject: String,
    /// What it is compared with.
    pub baseline: String,
    /// The window, for people and in JSON: `1h`, `24h`, `deploy` or `file`.
    pub window: String,
    /// From when, in microseconds since 1970; 0 offline.
    pub from_us: i64,
    /// Until when.
    pub until_us: i64,
    /// Rows of the baseline.
    pub baseline_rows: f64,
    /// Rows of the current data.
    pub current_rows: f64,
    /// The worst state of a feature or an embedding; `insufficient` only when none is better known.
    pub state: DriftState,
    /// Every feature, inputs first.
    pub features: Vec<FeatureReport>,
    /// Features of the version that the baseline does not have, so that nothing is said of them.
    pub unwatched: Vec<String>,
    /// Embeddings: those of the baseline, or offline those that were asked for. In a server they are of the last judgement.
    pub embeddings: Vec<EmbeddingReport>,
}

impl DriftReport {
    /// The worst state of a feature or an embedding.
    pub fn worst(&self) -> DriftState {
        let features = self.features.iter().map(|feature| feature.state);
        let embeddings = self.embeddings.iter().map(|embedding| embedding.state);
        features.chain(embeddings).max().unwrap_or(DriftState::Insufficient)
    }
}
