//! From answers and truths to numbers. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::collect::{Class, Collected, Judged, Truth};
use super::{Performance, PerformanceReport, Task};
use crate::drift::distance::wilson;
use crate::drift::performance::classification::{auc, calibration_error, log_loss};
use crate::drift::performance::regression::{mean_absolute_error, root_mean_squared_error};
use crate::drift::performance::{Cbpe, Measured, Predicted, Scored};
use crate::model::ModelName;

/// Fewer labelled rows calibrate nothing.
const CALIBRATION_ROWS_MIN: usize = 50;
/// Standard deviations of a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// How rows are judged.
#[derive(Debug)]
struct Rules {
    task: Task,
    /// The class of the score, of two.
    positive: Option<Class>,
    /// The class that each position of a list of scores stands for.
    by_position: Vec<Option<Class>>,
    /// Whether scores can be taken for probabilities.
    is_probability: bool,
    is_list: bool,
}

/// Judges all rows.
pub(super) fn judge(model: &ModelName, collected: Collected) -> PerformanceReport {
    let rules = Rules::new(&collected);
    let mut by_version: BTreeMap<u64, Vec<&Judged>> = BTreeMap::new();
    for row in &collected.rows {
        by_version.entry(row.version).or_default().push(row);
    }
    let (mut versions, mut days) = (Vec::new(), Vec::new());
    for (version, rows) in by_version {
        let cbpe = rules.calibrate(&rows);
        versions.push(Performance { version, ..rules.numbers(&rows, cbpe.as_ref()) });
        let mut by_day: BTreeMap<NaiveDate, Vec<&Judged>> = BTreeMap::new();
        for row in rows {
            by_day.entry(row.date).or_default().push(row);
        }
        for (date, rows) in by_day {
            let numbers = rules.numbers(&rows, cbpe.as_ref());
            days.push(Performance { version, date: Some(date.to_string()), ..numbers });
        }
    }
    let mut notes = collected.notes;
    if rules.is_list && !rules.is_probability {
        notes.push(
            "the scores are no probabilities: there is no log loss, calibration error or estimate".to_owned(),
        );
    }
    if rules.task == Task::Unknown && !collected.rows.is_empty() {
        notes.push("no output can be judged: name one".to_owned());
    }
    let is_number = rules.task == Task::Regression || collected.class_column.is_none();
    PerformanceReport {
        model: model.to_string(),
        task: rules.task,
        prediction: if is_number { collected.score_column.clone() } else { collected.class_column },
        scores: collected.score_column.filter(|_| rules.task != Task::Regression),
        positive: rules.positive.and_then(|class| collected.classes.get(class as usize).cloned()),
        versions,
        days,
        notes,
    }
}

impl Rules {
    fn new(collected: &Collected) -> Rules {
        let rows = &collected.rows;
        let is_list = collected.scores_len > 1;
        let has_class = collected.class_column.is_some();
        let named = |text: &str| collected.classes.iter().position(|class| class == text);
        let class_of = |text: &str| named(text).and_then(|at| Class::try_from(at).ok());
        let by_position = positions(rows, collected.scores_len, |at| class_of(&at.to_string()));
        let mut truths = rows.iter().filter_map(|row| row.truth);
        let is_binary_truth =
            truths.clone().next().is_some() && truths.all(|t| t.number == 0.0 || t.number == 1.0);
        let is_share = rows.iter().all(|row| row.number.is_nan() || (0.0..=1.0).contains(&row.number));
        let task = match (has_class, collected.scores_len) {
            (false, 0) => Task::Unknown,
            (_, 2) => Task::Binary,
            (_, 3..) => Task::Multiclass,
            (false, _) if is_binary_truth && is_share => Task::Binary,
            (false, _) => Task::Regression,
            (true, 1) if is_share && is_binary_truth => Task::Binary,
            (true, _) => Task::Multiclass,
        };
        let positive = match task {
            Task::Binary if is_list => by_position.get(1).copied().flatten().or_else(|| class_of("1")),
            Task::Binary => class_of("1"),
            _ => None,
        };
        let is_probability = match is_list {
            true => rows.iter().all(|row| row.top.is_none() || row.is_distribution),
            false => is_share && collected.scores_len == 1,
        };
        Rules { task, positive, by_position, is_probability, is_list }
    }

    /// The class that was named, or that the scores come to.
    fn predicted(&self, row: &Judged) -> Option<Class> {
        row.named.or_else(|| self.by_position.get(row.top? as usize).copied().flatten())
    }

    /// Whether the answer was right; `None` when either is not known.
    fn is_right(&self, row: &Judged) -> Option<bool> {
        let truth = row.truth?;
        // Beyond so many classes they are not told apart.
        if truth.class == Class::MAX || row.named == Some(Class::MAX) {
            return None;
        }
        match self.task {
            Task::Regression | Task::Unknown => None,
            // A score alone says yes from a half on.
            Task::Binary if row.named.is_none() && !self.is_list => {
                (!row.number.is_nan()).then_some((row.number >= 0.5) == (truth.number == 1.0))
            }
            // Positions that no label and no class was seen for cannot be right.
            _ if row.named.is_some() || row.top.is_some() => Some(self.predicted(row) == Some(truth.class)),
            _ => None,
        }
    }

    /// The score of the positive class.
    fn score(&self, row: &Judged) -> f64 {
        match self.task {
            Task::Binary if self.is_list => row.second,
            Task::Binary => row.number,
            _ => f64::NAN,
        }
    }

    fn scored(&self, row: &Judged) -> Option<Scored> {
        let (truth, score) = (row.truth?, self.score(row));
        let truth = self.positive.map_or(truth.number == 1.0, |positive| truth.class == positive);
        (!score.is_nan()).then_some(Scored { score, truth, weight: row.weight })
    }

    /// What CBPE learns from the labelled rows of a version.
    fn calibrate(&self, rows: &[&Judged]) -> Option<Cbpe> {
        let labelled: Vec<Scored> = rows.iter().filter_map(|row| self.scored(row)).collect();
        let is_enough = labelled.len() >= CALIBRATION_ROWS_MIN && self.is_probability;
        is_enough.then(|| Cbpe::fit(&labelled)).flatten()
    }

    fn numbers(&self, rows: &[&Judged], cbpe: Option<&Cbpe>) -> Performance {
        let labelled = rows.iter().filter(|row| row.truth.is_some()).count();
        let mut numbers = Performance {
            rows: rows.len() as u64,
            labelled: labelled as u64,
            coverage: if rows.is_empty() { 0.0 } else { labelled as f64 / rows.len() as f64 },
            delay_s_median: median(
                rows.iter().filter_map(|row| row.truth.map(|truth| truth.delay_s)).collect(),
            ),
            ..Performance::default()
        };
        self.add_accuracy(rows, &mut numbers);
        self.add_scores(rows, &mut numbers);
        if self.task == Task::Regression {
            let measured = |row: &&Judged| {
                let truth = row.truth?.number;
                Some(Measured { predicted: row.number, truth, weight: row.weight })
            };
            let measured: Vec<Measured> = rows.iter().filter_map(measured).collect();
            numbers.mae = known(mean_absolute_error(&measured));
            numbers.rmse = known(root_mean_squared_error(&measured));
        }
        if let Some(cbpe) = cbpe {
            let predicted = |row: &&Judged| {
                let score = self.score(row);
                let said = self.predicted(row);
                let is_positive = said.map_or(score >= 0.5, |class| Some(class) == self.positive);
                (!score.is_nan()).then_some(Predicted { score, is_positive, weight: row.weight })
            };
            let estimate = cbpe.estimate(&rows.iter().filter_map(predicted).collect::<Vec<_>>());
            numbers.estimated_accuracy = known(estimate.confusion.accuracy());
            numbers.estimated_auc = known(estimate.auc);
        }
        numbers
    }

    fn add_accuracy(&self, rows: &[&Judged], numbers: &mut Performance) {
        let (mut right, mut all, mut squares) = (0.0, 0.0, 0.0);
        for row in rows {
            if let Some(is_right) = self.is_right(row) {
                right += if is_right { row.weight } else { 0.0 };
                all += row.weight;
                squares += row.weight * row.weight;
            }
        }
        numbers.accuracy = known(right / all);
        if let Some(accuracy) = numbers.accuracy {
            // Rows of unequal weight are worth fewer (Kish).
            let worth = all * all / squares;
            let (low, high) = wilson(accuracy * worth, worth, Z);
            numbers.accuracy_interval = known(low).zip(known(high)).map(|(low, high)| [low, high]);
        }
    }

    fn add_scores(&self, rows: &[&Judged], numbers: &mut Performance) {
        match self.task {
            Task::Binary => {
                let scored: Vec<Scored> = rows.iter().filter_map(|row| self.scored(row)).collect();
                numbers.auc = known(auc(&scored));
                if self.is_probability {
                    numbers.log_loss = known(log_loss(&scored));
                    numbers.calibration_error = known(calibration_error(&scored));
                }
            }
            Task::Multiclass if self.is_list && self.is_probability => {
                // The place that a label names counts where it is known to stand for that label.
                let of_truth = |row: &Judged, truth: Truth| {
                    let place = self.by_position.iter().position(|class| *class == Some(truth.class));
                    let score = if place.is_some_and(|at| at as f64 == truth.number) {
                        row.truth_score
                    } else {
                        f64::NAN
                    };
                    Scored { score, truth: true, weight: row.weight }
                };
                let of_truth: Vec<Scored> =
                    rows.iter().filter_map(|row| row.truth.map(|truth| of_truth(row, truth))).collect();
                let of_top = |row: &&Judged| {
                    Some(Scored { score: row.top_score, truth: self.is_right(row)?, weight: row.weight })
                };
                // Without those whose score is not known it would be too good.
                let is_whole = of_truth.iter().all(|row| !row.score.is_nan());
                numbers.log_loss = known(log_loss(&of_truth)).filter(|_| is_whole);
                let top: Vec<Scored> = rows.iter().filter_map(of_top).collect();
                numbers.calibration_error = known(calibration_error(&top));
            }
            _ => {}
        }
    }
}

/// The class that each position of a list of scores stands for: the one that is named most often when that score is
/// the largest. Where none is, and all that are have their position's number, `by_number` tells.
fn positions(rows: &[Judged], len: usize, by_number: impl Fn(usize) -> Option<Class>) -> Vec<Option<Class>> {
    let mut seen: BTreeMap<(u32, Class), u64> = BTreeMap::new();
    for row in rows {
        if let (Some(top), Some(named)) = (row.top, row.named) {
            *seen.entry((top, named)).or_default() += 1;
        }
    }
    let most = |at: usize| {
        let of = seen.iter().filter(|((top, _), _)| *top as usize == at);
        of.max_by_key(|(_, count)| **count).map(|((_, class), _)| *class)
    };
    let len = if len > 1 { len } else { 0 };
    let named: Vec<Option<Class>> = (0..len).map(most).collect();
    let is_numbered = named.iter().enumerate().all(|(at, class)| class.is_none() || *class == by_number(at));
    let or_number =
        |(at, class): (usize, &Option<Class>)| class.or_else(|| by_number(at).filter(|_| is_numbered));
    named.iter().enumerate().map(or_number).collect()
}

fn known(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
