//! What must raise an alarm and what must not, and how often chance does.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of a test are small")]

use super::measure::{Sides, is_insufficient, kolmogorov_smirnov, of_shares, rate};
use super::*;
use crate::drift::builder::BaselineBuilder;
use crate::drift::decide::hold::Held;
use crate::drift::profile::{Sampling, Value};
use crate::model::features::FeatureKind;

const SEED: u64 = 20_261_127;

/// A small generator: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ z >> 31) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
    }

    fn category(&mut self) -> &'static [u8] {
        [&b"a"[..], b"b", b"c", b"d", b"e"][(self.next() * 5.0) as usize]
    }
}

/// Twenty features: the first categorical, all others normal; the second shifted by `shift`.
fn row(random: &mut Random, shift: f64, push: &mut dyn FnMut(usize, Value<'_>)) {
    push(0, Value::Text(random.category()));
    push(1, Value::Number(random.normal() + shift));
    (2..20).for_each(|at| push(at, Value::Number(random.normal())));
}

fn baseline(rows: usize) -> Baseline {
    let kind = |at| if at == 0 { FeatureKind::Categorical } else { FeatureKind::Numeric };
    let mut first = BaselineBuilder::new((0..20).map(|at| (format!("in.x{at}"), kind(at))));
    let mut random = Random(SEED);
    (0..rows).for_each(|_| row(&mut random, 0.0, &mut |at, value| first.push(at, value, 1.0)));
    let mut second = first.second_pass();
    let mut random = Random(SEED);
    for _ in 0..rows {
        row(&mut random, 0.0, &mut |at, value| second.push(at, value, 1.0));
        second.row(1.0);
    }
    second.finish()
}

fn pane(baseline: &Baseline, random: &mut Random, rows: usize, shift: f64) -> Current {
    let mut current = baseline.current(Sampling::LIVE);
    (0..rows).for_each(|_| row(random, shift, &mut |at, value| current.push(at, value, 1.0)));
    current.rows = rows as f64;
    current
}

fn evaluate(decisions: &mut Decisions, baseline: &Baseline, current: &Current) -> DriftReport {
    let rules = Rules::default();
    let subject = Subject { window: "pane".into(), ..Subject::default() };
    let mut report = compare(baseline, current, &rules, subject);
    decisions.apply(&mut report, &rules);
    report
}

fn raised(report: &DriftReport) -> Vec<(&str, DriftState, &str)> {
    let bad = report.features.iter().filter(|feature| feature.state != DriftState::Ok);
    bad.map(|feature| (&*feature.name, feature.state, &*feature.reason)).collect()
}

#[test]
fn one_outlier_and_one_new_category_raise_nothing() {
    println!("seed {SEED}");
    let baseline = baseline(20_000);
    let (mut decisions, mut random) = (Decisions::default(), Random(SEED + 1));
    for _ in 0..3 {
        let mut current = pane(&baseline, &mut random, 4_999, 0.0);
        current.push(0, Value::Text(b"never seen"), 1.0);
        (1..20).for_each(|at| current.push(at, Value::Number(1e6), 1.0));
        current.rows += 1.0;
        let report = evaluate(&mut decisions, &baseline, &current);
        assert_eq!(raised(&report), []);
    }
}

#[test]
fn a_shift_of_0_3_sigma_is_seen_within_two_panes_and_recovery_clears() {
    println!("seed {SEED}");
    let baseline = baseline(20_000);
    let (mut decisions, mut random) = (Decisions::default(), Random(SEED + 2));
    let mut states = Vec::new();
    for shift in [0.0, 0.0, 0.3, 0.3, 0.0] {
        let report = evaluate(&mut decisions, &baseline, &pane(&baseline, &mut random, 1_000, shift));
        let others = report.features.iter().filter(|feature| &*feature.name != "in.x1");
        assert!(others.clone().all(|feature| feature.state == DriftState::Ok), "{:?}", raised(&report));
        states.push((report.features[1].state, report.state));
    }
    use DriftState::{Drift, Ok, Warn};
    assert_eq!(states, [(Ok, Ok), (Ok, Ok), (Warn, Warn), (Drift, Drift), (Ok, Ok)]);
}

#[test]
fn nulls_categories_and_types_raise_their_own_alarms() {
    let baseline = baseline(20_000);
    let mut current = pane(&baseline, &mut Random(SEED + 3), 2_000, 0.0);
    for _ in 0..200 {
        current.push(0, Value::Text(b"new"), 1.0);
        current.push(1, Value::Missing, 1.0);
        current.push(2, Value::WrongType, 1.0);
        current.push(3, Value::Number(1e9), 1.0);
        current.push(4, Value::Number(f64::NAN), 1.0);
    }
    let report = compare(&baseline, &current, &Rules::offline(), Subject::default());
    let strongest = |at: usize| report.features[at].reason.split(' ').next().unwrap_or_default().to_owned();
    let words: Vec<String> = (0..6).map(strongest).collect();
    assert_eq!(words, ["unseen", "null_rate", "type_errors", "out_of_range", "null_rate", ""]);
    assert_eq!(report.state, DriftState::Drift);
}

#[test]
fn too_few_rows_are_insufficient_and_never_ok() {
    let baseline = baseline(20_000);
    for rows in [0, 1, 100, 199] {
        let current = pane(&baseline, &mut Random(SEED), rows, 3.0);
        let report = compare(&baseline, &current, &Rules::default(), Subject::default());
        assert!(report.features.iter().all(|f| f.state == DriftState::Insufficient), "{:?}", raised(&report));
    }
    // A large effect needs few rows, and the rest is still not known.
    let current = pane(&baseline, &mut Random(SEED), 300, 3.0);
    let report = compare(&baseline, &current, &Rules::default(), Subject::default());
    let states: Vec<DriftState> = report.features.iter().map(|feature| feature.state).collect();
    // The first has five categories, for which 300 rows are enough.
    let numeric = &states[1..];
    assert!(
        numeric.contains(&DriftState::Drift) && numeric.contains(&DriftState::Insufficient),
        "{states:?}"
    );
    assert!(!numeric.contains(&DriftState::Ok), "{states:?}");
    let all_missing = {
        let mut current = baseline.current(Sampling::LIVE);
        (0..1_000).for_each(|_| (0..20).for_each(|at| current.push(at, Value::Missing, 1.0)));
        compare(&baseline, &current, &Rules::default(), Subject::default())
    };
    assert_eq!(all_missing.state, DriftState::Drift);
}

/// The bound of chance for `w1n` is a rule of thumb: it must hold for light and for heavy tails.
#[test]
fn chance_moves_quantiles_less_than_the_bound_of_w1n() {
    println!("seed {SEED}");
    let shapes: [fn(f64) -> f64; 3] = [|normal| normal, f64::exp, |normal| normal.signum() * normal.powi(4)];
    for (shape, at) in shapes.iter().zip(0u64..) {
        let mut random = Random(SEED + at);
        let mut first = BaselineBuilder::new([("in.x", FeatureKind::Numeric)]);
        let values: Vec<f64> = (0..4_000).map(|_| shape(random.normal())).collect();
        values.iter().for_each(|value| first.push(0, Value::Number(*value), 1.0));
        let mut second = first.second_pass();
        values.iter().for_each(|value| second.push(0, Value::Number(*value), 1.0));
        let baseline = second.finish();
        // As if a test erred once in a hundred: what 500 draws can show.
        let rules = Rules { false_alarms_per_week: 7.0 * 9.0 * 0.01, ..Rules::offline() };
        let mut beyond = 0;
        for _ in 0..500 {
            let mut current = baseline.current(Sampling::BASELINE);
            (0..100).for_each(|_| current.push(0, Value::Number(shape(random.normal())), 1.0));
            let report = compare(&baseline, &current, &rules, Subject::default());
            let w1n = report.features[0].measure("w1n").unwrap();
            beyond += u32::from(w1n.value > w1n.null_quantile.unwrap());
        }
        println!("shape {at}: {beyond} of 500 beyond");
        assert!(beyond <= 10, "shape {at}: {beyond}");
    }
}

/// Successes of `n` draws, by inversion.
fn binomial(random: &mut Random, n: u32, p: f64) -> u32 {
    let (mut left, mut k) = (random.next(), 0);
    let mut share = (1.0 - p).powi(n as i32);
    while left > share && k < n {
        left -= share;
        share *= f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p);
        k += 1;
    }
    k
}

/// A thousand weeks without drift, with a pane of two hours and so few rows that chance is at its worst: a day barely holds
/// enough rows to be judged. Every week has a baseline of its own, so that unlucky baselines count as often as they come.
#[test]
fn false_alarms_a_week_are_at_most_what_is_configured() {
    println!("seed {SEED}");
    const WEEKS: usize = 1_000;
    const FEATURES: usize = 1;
    let rules = Rules { false_alarms_per_week: 0.5, evaluations_per_day: 12.0, ..Rules::default() };
    let (chance, mut random) = (rules.chance(FEATURES), Random(SEED));
    let mut alarms = 0usize;
    let mut judged = 0usize;
    for _ in 0..WEEKS {
        for _ in 0..FEATURES {
            // Counts of ten groups and of nulls, which a true rate of 1 % makes.
            let draw = |random: &mut Random, rows: u32| {
                let mut counts = [0.0; 11];
                (0..rows).for_each(|_| counts[(random.next() * 10.0) as usize] += 1.0);
                counts[10] = f64::from(binomial(random, rows, 0.01));
                counts
            };
            let base = draw(&mut random, 2_000);
            let (mut held, mut panes) = (Held::default(), std::collections::VecDeque::new());
            for _ in 0..84 {
                panes.push_back(draw(&mut random, 36));
                if panes.len() > 12 {
                    panes.pop_front();
                }
                let mut day = [0.0; 11];
                panes.iter().for_each(|pane| day.iter_mut().zip(pane).for_each(|(sum, count)| *sum += count));
                let before = held.state;
                let state = held.step(verdict(&base, &day, &chance, &rules), &rules);
                judged += usize::from(state != DriftState::Insufficient);
                alarms += usize::from(state == DriftState::Drift && before != DriftState::Drift);
            }
        }
    }
    let per_week = alarms as f64 / WEEKS as f64;
    println!("{alarms} false alarms in {WEEKS} weeks, {judged} judged evaluations");
    assert!(judged > WEEKS * FEATURES * 60, "{judged}");
    assert!(per_week <= rules.false_alarms_per_week, "{per_week} a week");
}

/// What the counts of ten groups and the nulls speak for, by the same functions as a report.
fn verdict(base: &[f64; 11], day: &[f64; 11], chance: &Chance, rules: &Rules) -> Verdict {
    let sides = Sides { baseline: base[..10].to_vec(), current: day[..10].to_vec() };
    let (n, m): (f64, f64) = (sides.baseline.iter().sum(), sides.current.iter().sum());
    if is_insufficient(&sides, chance) {
        return Verdict { state: DriftState::Insufficient, is_near_alarm: false, is_empty: false };
    }
    let mut measures = of_shares(&sides, chance);
    measures.push(kolmogorov_smirnov(&sides, chance));
    measures.push(rate("null_rate", (base[10], n), (day[10], m), chance));
    Verdict::of(&measures, m, rules)
}
