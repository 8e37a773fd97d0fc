//! What makes a verdict steady: an alarm needs several evaluations that agree, and ends well below its threshold.
//!
//! ```text
//!                 alarm, once                       alarm, `hold` times in a row
//!   ok / warn ─────────────────► warn (counting) ─────────────────────────────────► drift
//!       ▲                             │ anything less                                 │ below `clear` x threshold
//!       └─────────────────────────────┴───────────────────────────────────────────────┘
//! ```
//!
//! Too few rows prove nothing: a state that was reached stays until rows say otherwise. No rows at all end it.

use std::collections::BTreeMap;

use super::rules::Rules;
use crate::drift::report::{DriftReport, DriftState, EmbeddingReport, FeatureReport, Measure};

/// A feature in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The steady state.
    pub state: DriftState,
    /// Evaluations in a row that alarmed.
    pub streak: u8,
}

impl Default for Held {
    fn default() -> Held {
        Held { state: DriftState::Insufficient, streak: 0 }
    }
}

/// What an evaluation says of a feature, before it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The worst that a measure speaks for.
    pub state: DriftState,
    /// Whether a measure is still near the alarm that it raised.
    pub is_near_alarm: bool,
    /// Whether there was no row at all.
    pub is_empty: bool,
}

impl Verdict {
    /// The verdict of measures.
    pub fn of(measures: &[Measure], rows: f64, rules: &Rules) -> Verdict {
        let is_near = |measure: &Measure| {
            let is_beyond_chance = measure.null_quantile.is_none_or(|quantile| measure.value > quantile);
            let alarm = measure.alarm.unwrap_or(f64::INFINITY);
            let is_known = measure.state != DriftState::Insufficient;
            is_known && is_beyond_chance && measure.effect >= rules.clear * alarm
        };
        Verdict {
            state: worst(measures.iter().map(|measure| measure.state)),
            is_near_alarm: measures.iter().any(is_near),
            is_empty: rows <= 0.0,
        }
    }

    /// The verdict of an embedding's test.
    pub fn of_embedding(found: &EmbeddingReport, rules: &Rules) -> Verdict {
        let is_near_alarm = found.mmd2 > found.null_quantile && found.mmd2 >= rules.clear * found.alarm;
        Verdict { state: found.state, is_near_alarm, is_empty: found.current_points == 0 }
    }
}

/// The worst of states. Nothing is `ok` while a part of it is not known.
pub fn worst(states: impl Iterator<Item = DriftState> + Clone) -> DriftState {
    let known = states.clone().max().unwrap_or(DriftState::Insufficient);
    let is_unknown = states.clone().any(|state| state == DriftState::Insufficient);
    if is_unknown && known < DriftState::Warn { DriftState::Insufficient } else { known }
}

impl Held {
    /// Takes an evaluation; returns the steady state after it.
    pub fn step(&mut self, verdict: Verdict, rules: &Rules) -> DriftState {
        match verdict.state {
            DriftState::Insufficient if verdict.is_empty || self.state <= DriftState::Ok => {
                *self = Held::default();
            }
            DriftState::Insufficient => {}
            DriftState::Drift => {
                self.streak = self.streak.saturating_add(1).min(rules.hold.max(1));
                let is_held = self.streak >= rules.hold.max(1) || self.state == DriftState::Drift;
                self.state = if is_held { DriftState::Drift } else { DriftState::Warn };
            }
            DriftState::Warn | DriftState::Ok => {
                self.streak = 0;
                let stays = self.state == DriftState::Drift && verdict.is_near_alarm;
                self.state = if stays { DriftState::Drift } else { verdict.state };
            }
        }
        self.state
    }
}

/// The steady states of one version: for each feature and window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decisions {
    held: BTreeMap<String, BTreeMap<String, Held>>,
}

impl Decisions {
    /// Takes the evaluation of a window: puts the steady states into the report.
    pub fn apply(&mut self, report: &mut DriftReport, rules: &Rules) {
        for feature in &mut report.features {
            let verdict = Verdict::of(&feature.measures, feature.current.rows, rules);
            let windows = self.held.entry(feature.name.clone()).or_default();
            feature.state = windows.entry(report.window.clone()).or_default().step(verdict, rules);
            feature.reason = reason(feature);
        }
        for embedding in &mut report.embeddings {
            let verdict = Verdict::of_embedding(embedding, rules);
            let windows = self.held.entry(embedding.name.clone()).or_default();
            embedding.state = windows.entry(report.window.clone()).or_default().step(verdict, rules);
        }
        report.state = report.worst();
    }

    /// Puts the steady states into a report that was made between evaluations, and changes nothing.
    pub fn show(&self, report: &mut DriftReport) {
        for feature in &mut report.features {
            let held = self.held.get(&feature.name).and_then(|windows| windows.get(&report.window));
            feature.state = held.copied().unwrap_or_default().state;
            feature.reason = reason(feature);
        }
        for embedding in &mut report.embeddings {
            let held = self.held.get(&embedding.name).and_then(|windows| windows.get(&report.window));
            embedding.state = held.copied().unwrap_or_default().state;
        }
        report.state = report.worst();
    }

    /// The worst state of each feature over all windows.
    pub fn states(&self) -> BTreeMap<String, DriftState> {
        let worst = |windows: &BTreeMap<String, Held>| {
            windows.values().map(|held| held.state).max().unwrap_or(DriftState::Insufficient)
        };
        self.held.iter().map(|(feature, windows)| (feature.clone(), worst(windows))).collect()
    }

    /// Every state, for a file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, Held)> {
        self.held.iter().flat_map(|(feature, windows)| {
            windows.iter().map(move |(window, held)| (&**feature, &**window, *held))
        })
    }

    /// Brings an entry back.
    pub fn restore(&mut self, feature: &str, window: &str, held: Held) {
        self.held.entry(feature.to_owned()).or_default().insert(window.to_owned(), held);
    }
}

/// The state of a version: its worst feature, and `insufficient` only when no feature is better known.
pub fn overall(states: impl Iterator<Item = DriftState>) -> DriftState {
    states.max().unwrap_or(DriftState::Insufficient)
}

/// Why an embedding is in its state, for people.
pub fn embedding_reason(embedding: &EmbeddingReport) -> String {
    match embedding.state {
        DriftState::Ok => String::new(),
        DriftState::Insufficient => format!("{} points are too few to tell", embedding.current_points),
        DriftState::Warn | DriftState::Drift => {
            format!("mmd2 {:.3} (alarm at {:.3})", embedding.mmd2, embedding.alarm)
        }
    }
}

/// Why a feature is in its state, for people.
pub fn reason(feature: &FeatureReport) -> String {
    let speaks = |measure: &&Measure| measure.state >= DriftState::Warn;
    let excess = |measure: &Measure| measure.effect / measure.alarm.unwrap_or(f64::INFINITY);
    match feature.state {
        DriftState::Ok => String::new(),
        DriftState::Insufficient => format!("{} rows are too few to tell", feature.current.rows),
        DriftState::Warn | DriftState::Drift => {
            let mut strong: Vec<&Measure> = feature.measures.iter().filter(speaks).collect();
            strong.sort_by(|a, b| excess(b).total_cmp(&excess(a)));
            let words = strong
                .iter()
                .take(3)
                .map(|m| format!("{} {:.3} (alarm at {:.3})", m.name, m.effect, m.alarm.unwrap_or(f64::NAN)));
            let words: Vec<String> = words.collect();
            if words.is_empty() { "not yet clearly below its alarm".to_owned() } else { words.join(", ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdicts: &[(DriftState, bool)], expected: &[DriftState]) {
        let (mut held, rules) = (Held::default(), Rules::default());
        let states: Vec<DriftState> = verdicts
            .iter()
            .map(|(state, is_near_alarm)| {
                let is_empty = *state == DriftState::Insufficient && *is_near_alarm;
                held.step(Verdict { state: *state, is_near_alarm: *is_near_alarm, is_empty }, &rules)
            })
            .collect();
        assert_eq!(states, expected);
    }

    #[test]
    fn an_alarm_needs_two_and_ends_well_below() {
        use DriftState::{Drift, Insufficient, Ok, Warn};
        check(&[(Ok, false), (Drift, true), (Drift, true)], &[Ok, Warn, Drift]);
        check(&[(Drift, true), (Ok, false), (Drift, true), (Ok, false)], &[Warn, Ok, Warn, Ok]);
        check(&[(Drift, true), (Drift, true), (Warn, true), (Warn, false)], &[Warn, Drift, Drift, Warn]);
        check(&[(Drift, true), (Drift, true), (Insufficient, false)], &[Warn, Drift, Drift]);
        check(&[(Drift, true), (Drift, true), (Insufficient, true)], &[Warn, Drift, Insufficient]);
        check(&[(Ok, false), (Insufficient, false)], &[Ok, Insufficient]);
        check(&[(Drift, true), (Insufficient, false), (Drift, true)], &[Warn, Warn, Drift]);
    }

    #[test]
    fn nothing_is_ok_while_a_part_is_unknown() {
        use DriftState::{Drift, Insufficient, Ok};
        assert_eq!(worst([Ok, Insufficient].into_iter()), Insufficient);
        assert_eq!(worst([Drift, Insufficient].into_iter()), Drift);
        assert_eq!(worst([].into_iter()), Insufficient);
    }
}
