//! Decisions: from a baseline and current data to a report, and from report to report. Pure.
//!
//! An alarm needs an effect as large as its threshold, beyond what chance gives for this many rows, in `hold`
//! evaluations in a row, and ends below `clear` of the threshold ([`Rules`], [`hold`]). How improbable chance must be
//! follows from the false alarms that are accepted, shared among features, evaluations and measures. For measures with
//! p-values Benjamini and Hochberg's procedure runs across the features as well.

pub mod hold;
mod measure;
pub mod rules;

pub use self::hold::Decisions;
pub use self::rules::Rules;

use self::hold::{Verdict, overall, reason};
use self::rules::{Chance, benjamini_hochberg};
use super::baseline::{Baseline, Current};
use super::profile::Profile;
use super::report::{Bin, DriftReport, DriftState, FeatureReport, Summary};

/// What a comparison is about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subject {
    /// What is compared, for people.
    pub subject: String,
    /// What it is compared with.
    pub baseline: String,
    /// The window's name.
    pub window: String,
    /// From when, in microseconds since 1970.
    pub from_us: i64,
    /// Until when.
    pub until_us: i64,
}

/// Compares current data with the baseline that they were counted against. States are of this evaluation alone;
/// [`Decisions::apply`] makes them steady.
pub fn compare(baseline: &Baseline, current: &Current, rules: &Rules, subject: Subject) -> DriftReport {
    let chance = rules.chance(baseline.features().len());
    let pairs = baseline.features().iter().zip(&current.profiles);
    let mut features: Vec<FeatureReport> = pairs
        .map(|(feature, profile)| compare_feature(&feature.name, &feature.profile, profile, &chance))
        .collect();
    correct(&mut features, &chance);
    for feature in &mut features {
        feature.state = Verdict::of(&feature.measures, feature.current.rows, rules).state;
        feature.reason = reason(feature);
    }
    DriftReport {
        subject: subject.subject,
        baseline: subject.baseline,
        window: subject.window,
        from_us: subject.from_us,
        until_us: subject.until_us,
        baseline_rows: baseline.rows(),
        current_rows: current.rows,
        state: overall(features.iter().map(|feature| feature.state)),
        features,
        unwatched: Vec::new(),
        embeddings: Vec::new(),
    }
}

fn compare_feature(name: &str, baseline: &Profile, current: &Profile, chance: &Chance) -> FeatureReport {
    let is_categorical = matches!(baseline, Profile::Categorical(_));
    let mut measures = measure::measures(baseline, current, chance);
    measures.retain(|found| measure::applies(found.name, is_categorical));
    FeatureReport {
        name: name.to_owned(),
        is_categorical,
        state: DriftState::Insufficient,
        reason: String::new(),
        measures,
        baseline: summary(baseline),
        current: summary(current),
        bins: bars(baseline, current),
        history: Vec::new(),
        trend: None,
    }
}

/// Takes back what p-values do not support once it is known how many features were looked at.
fn correct(features: &mut [FeatureReport], chance: &Chance) {
    let p: Vec<f64> =
        features.iter().map(|f| f.measure("ks").and_then(|m| m.p).unwrap_or(f64::NAN)).collect();
    for (feature, adjusted) in features.iter_mut().zip(benjamini_hochberg(&p)) {
        let ks = feature.measures.iter_mut().find(|measure| measure.name == "ks");
        if let Some(ks) = ks.filter(|ks| ks.state >= DriftState::Warn && adjusted > chance.level) {
            ks.state = DriftState::Ok;
        }
    }
}

/// Counts and moments of a profile.
pub fn summary(profile: &Profile) -> Summary {
    let tally = profile.tally();
    let base = Summary {
        rows: tally.weight,
        missing: tally.missing,
        type_errors: tally.type_errors,
        mean: f64::NAN,
        std: f64::NAN,
        min: f64::NAN,
        max: f64::NAN,
        ..Summary::default()
    };
    match profile {
        Profile::Numeric(profile) => {
            let (moments, has_values) = (&profile.moments, profile.moments.weight > 0.0);
            Summary {
                nan: profile.nan,
                infinite: profile.positive_infinite + profile.negative_infinite,
                mean: moments.mean(),
                std: moments.std(),
                min: if has_values { moments.min } else { f64::NAN },
                max: if has_values { moments.max } else { f64::NAN },
                distinct: profile.distinct.estimate().round(),
                ..base
            }
        }
        Profile::Categorical(profile) => Summary { distinct: profile.distinct.estimate().round(), ..base },
    }
}

/// The bars of both sides, over the places of the baseline.
fn bars(baseline: &Profile, current: &Profile) -> Vec<Bin> {
    let (old, new) = (baseline.counts(), current.counts());
    let counts = old.iter().copied().zip(new.iter().copied());
    match baseline {
        Profile::Numeric(profile) => counts
            .enumerate()
            .map(|(place, (baseline, current))| {
                let (low, high) = profile.bins().interval(place);
                Bin { label: profile.bins().label(place), low, high, baseline, current }
            })
            .collect(),
        Profile::Categorical(profile) => measure::categories_of(profile)
            .into_iter()
            .zip(counts)
            .map(|(label, (baseline, current))| Bin {
                label,
                low: f64::NAN,
                high: f64::NAN,
                baseline,
                current,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
