//! A [`DriftReport`] for readers: lines for a terminal, JSON for programs, one HTML file for people.
//!
//! Pure: from a report to a text. What is shown is what the report says; nothing is computed here but shares, scales and
//! the order of features, which is the same everywhere: the most worrying first.

mod histogram;
mod html;
mod json;
mod numbers;
mod text;

pub use self::html::html;
pub use self::json::json;
pub use self::text::text;

use super::report::{DriftReport, DriftState, EmbeddingReport, FeatureReport, Measure, Summary};

/// The features, the most worrying first, then by how far the strongest measure goes, then by name.
fn by_severity(report: &DriftReport) -> Vec<&FeatureReport> {
    let mut features: Vec<&FeatureReport> = report.features.iter().collect();
    let score = |feature: &FeatureReport| strongest(feature).map_or(-1.0, |(_, ratio)| ratio);
    features.sort_by(|a, b| {
        let by_score = score(b).total_cmp(&score(a));
        b.state.cmp(&a.state).then(by_score).then_with(|| a.name.cmp(&b.name))
    });
    features
}

/// The measure that goes furthest towards its alarm threshold, and how far; those that alarm come first, then the first of
/// equals.
fn strongest(feature: &FeatureReport) -> Option<(&Measure, f64)> {
    let ratios = feature.measures.iter().filter_map(|measure| {
        let ratio = measure.effect / measure.alarm.filter(|alarm| *alarm > 0.0)?;
        (!ratio.is_nan()).then_some((measure, ratio))
    });
    ratios.rev().max_by(|(a, x), (b, y)| a.state.cmp(&b.state).then(x.total_cmp(y)))
}

/// How many features are in each state, the most worrying first.
fn counts(report: &DriftReport) -> [(DriftState, usize); 4] {
    let mut states = DriftState::ALL;
    states.reverse();
    states.map(|state| (state, report.features.iter().filter(|feature| feature.state == state).count()))
}

/// The share of a side's rows that have no usable value: missing, NaN or of the wrong type. NaN without rows.
fn missing_share(side: &Summary) -> f64 {
    (side.missing + side.nan + side.type_errors) / side.rows
}

/// How far the mean moved, in standard deviations of the baseline. NaN for categories, and where nothing varied.
fn mean_shift(feature: &FeatureReport) -> f64 {
    match feature.is_categorical || feature.baseline.std <= 0.0 {
        true => f64::NAN,
        false => (feature.current.mean - feature.baseline.mean) / feature.baseline.std,
    }
}

/// When the mean changed, in a sentence, where a detector saw that.
fn change(feature: &FeatureReport) -> Option<String> {
    let trend = feature.trend?;
    let seen = [("Page-Hinkley", trend.page_hinkley_us), ("ADWIN", trend.adwin_us)];
    let said: Vec<String> = seen
        .into_iter()
        .filter_map(|(name, us)| {
            let time = chrono::DateTime::from_timestamp_micros(us?)?;
            Some(format!("{} ({name})", time.format("%Y-%m-%d %H:%M UTC")))
        })
        .collect();
    (!said.is_empty()).then(|| format!("the mean changed before {}", said.join(", ")))
}

/// Names in a sentence at most.
const NAMED_MAX: usize = 20;

/// Which features the baseline does not have, in a sentence, where there are any.
fn unwatched(report: &DriftReport) -> Option<String> {
    let names: Vec<&str> = report.unwatched.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = report.unwatched.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("not in the baseline: {}{more}", names.join(", ")))
}

/// What is said of an embedding, in a sentence.
fn embedded(embedding: &EmbeddingReport) -> String {
    let EmbeddingReport { width, baseline_points, current_points, .. } = embedding;
    format!(
        "MMD² {} (drift from {} on), p {}, {current_points} points against {baseline_points} of {width} coordinates",
        numbers::number_with(embedding.mmd2, 3),
        numbers::number_with(embedding.alarm, 2),
        numbers::number_with(embedding.p, 2),
    )
}

#[cfg(test)]
mod tests;
