//! From a change of drift to a line of the log and, where it is worth one, a signal. Pure but for the log.

use chrono::DateTime;
use serde_json::{Map, Value, json};

use crate::drift::monitor::{Lane, Transition};
use crate::drift::report::{DriftState, FeatureReport};
use crate::registry::signals::{Signal, SignalKind};

/// Measures of missing and unusable values: of data quality rather than of drift.
const QUALITY: [&str; 4] = ["null_rate", "out_of_range", "unseen", "type_errors"];

/// Says it in the log.
pub(super) fn log(transition: &Transition) {
    let (from, to) = (transition.from.as_str(), transition.to.as_str());
    let feature = transition.feature.as_deref().unwrap_or("(all)");
    let (model, version, lane) = (&transition.id.name, transition.id.version, transition.lane.as_str());
    match transition.to {
        DriftState::Drift => {
            tracing::warn!(%model, %version, lane, feature, from, to, reason = transition.reason, "drift");
        }
        _ => tracing::info!(%model, %version, lane, feature, from, to, reason = transition.reason, "drift"),
    }
}

/// The signal of a feature that began or ceased to drift; `None` for all that is no alarm.
pub(super) fn signal(transition: &Transition, rev: u64, replica: &str) -> Option<Signal> {
    let feature = transition.feature.as_ref()?;
    let begins = transition.to == DriftState::Drift;
    let ends = transition.from == DriftState::Drift && !begins;
    let is_quality = transition.report.as_ref().is_some_and(is_about_quality);
    let kind = match (begins, ends, is_quality) {
        (true, _, false) => SignalKind::DriftDetected,
        (true, _, true) => SignalKind::QualityViolated,
        (_, true, false) => SignalKind::DriftResolved,
        (_, true, true) => SignalKind::QualityResolved,
        _ => return None,
    };
    let mut detail = Map::new();
    detail.insert("feature".to_owned(), json!(feature));
    detail.insert("from".to_owned(), json!(transition.from.as_str()));
    detail.insert("to".to_owned(), json!(transition.to.as_str()));
    detail.insert("lane".to_owned(), json!(transition.lane.as_str()));
    if let Some(report) = &transition.report {
        detail.insert("rows".to_owned(), json!(report.current.rows));
        detail.insert("measures".to_owned(), measures(report));
    }
    Some(Signal {
        kind,
        rev,
        deployment: None,
        version: Some(transition.id.version),
        // Each feature is a signal of its own, so its name is a part of what makes the signal's id.
        replica: Some(format!(
            "{replica}/{feature}{}",
            if transition.lane == Lane::Canary { "/canary" } else { "" }
        )),
        time: DateTime::from_timestamp_micros(transition.time_us).unwrap_or_default(),
        reason: format!("{feature}: {}", transition.reason),
        detail,
    })
}

/// Whether every measure that speaks for an alarm is about quality.
fn is_about_quality(report: &FeatureReport) -> bool {
    let mut loud = report.measures.iter().filter(|measure| measure.state >= DriftState::Warn).peekable();
    loud.peek().is_some() && loud.all(|measure| QUALITY.contains(&measure.name))
}

fn measures(report: &FeatureReport) -> Value {
    let loud = report.measures.iter().filter(|measure| measure.state >= DriftState::Warn);
    let shown: Vec<Value> = loud
        .map(|measure| {
            json!({
                "name": measure.name,
                "value": measure.value,
                "threshold": measure.alarm,
                "null_quantile": measure.null_quantile,
                "state": measure.state.as_str(),
            })
        })
        .collect();
    Value::Array(shown)
}
