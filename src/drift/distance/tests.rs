//! Values from reference implementations (`tests/golden/drift/make.py`), and properties of the measures.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::drift::golden::{Stream, check_near, floor, number, numbers, parse, sorted, whole};

fn golden() -> Value {
    parse(include_str!("../../../tests/golden/drift/distances.json"))
}

fn rows(golden: &Value, name: &str) -> Vec<Value> {
    golden[name].as_array().unwrap().clone()
}

#[test]
fn measures_of_histograms_are_those_of_scipy() {
    for case in rows(&golden(), "histograms") {
        let (b, c) = (numbers(&case["baseline"]), numbers(&case["current"]));
        let check = |name: &str, ours: f64, relative: f64| {
            check_near(&format!("{name} of {b:?} {c:?}"), ours, number(&case[name]), relative, 1e-12);
        };
        check("psi", psi(&b, &c), 1e-12);
        check("js", jensen_shannon(&b, &c), 1e-12);
        check("linf", l_infinity(&b, &c), 1e-12);
        check("hellinger", hellinger(&b, &c), 1e-9);
        check("tvd", total_variation(&b, &c), 1e-12);
        check("ks", ks_binned(&b, &c), 1e-12);
        let chi2 = chi_squared(&b, &c);
        check("chi2", chi2.statistic, 1e-9);
        check_near("p", chi2.p, number(&case["p"]), 1e-9, 0.0);
        assert_eq!(chi2.dof, whole(&case["dof"]));
    }
}

#[test]
fn measures_of_samples_are_those_of_scipy() {
    for case in rows(&golden(), "samples") {
        let mut stream = Stream(case["seed"].as_u64().unwrap());
        let (n, m) = (whole(&case["n"]), whole(&case["m"]));
        let (a, mut b) = (stream.normals(n), stream.normals(m));
        b.iter_mut().for_each(|value| *value += number(&case["shift"]));
        let (u, v) = (stream.units(n), stream.units(m));
        let weigh = |values: &[f64], weights: &[f64]| {
            let mut pairs: Vec<_> = values.iter().copied().zip(weights.iter().copied()).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            pairs
        };
        let weighted = wasserstein_weighted(&weigh(&a, &u), &weigh(&b, &v));
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            (mean, (square / values.len() as f64).sqrt())
        };
        let shift = mean_shift(moments(&a).0, moments(&a).1, moments(&b).0);
        let (a, b) = (sorted(a), sorted(b));
        let round =
            |values: &[f64]| values.iter().map(|value| (value * 8.0).floor() / 8.0).collect::<Vec<_>>();
        let d = ks_two_sample(&a, &b);
        let check =
            |name: &str, ours: f64, relative: f64| check_near(name, ours, number(&case[name]), relative, 0.0);
        check("d", d, 1e-14);
        check("d_tied", ks_two_sample(&round(&a), &round(&b)), 1e-14);
        check("p_asymp", ks_p(d, n as f64, m as f64), 1e-9);
        check("p_exact", ks_p_exact(d, n, m), 1e-9);
        check("w1", wasserstein(&a, &b), 1e-12);
        check("w1_tied", wasserstein(&round(&a), &round(&b)), 1e-12);
        check("w1_weighted", weighted, 1e-12);
        check("mean_shift", shift, 1e-12);
    }
}

#[test]
fn laws_are_those_of_scipy() {
    let golden = golden();
    let check = |name: &str, relative: f64, ours: &dyn Fn(&[f64]) -> f64| {
        for row in rows(&golden, name) {
            let row = numbers(&row);
            let (theirs, input) = row.split_last().unwrap();
            check_near(&format!("{name} {input:?}"), ours(input), *theirs, relative, 1e-300);
        }
    };
    check("kstwo", 1e-9, &|row| kstwo::survival(row[0], row[1]));
    check("ks_exact", 1e-9, &|row| ks_p_exact(row[0], floor(row[1]), floor(row[2])));
    check("chi2", 1e-9, &|row| chi_squared::survival(row[0], floor(row[1])));
    check("chi2_quantiles", 1e-9, &|row| null::chi_squared_quantile(floor(row[1]), row[0]));
    check("normal_quantiles", 1e-9, &|row| null::normal_quantile(row[0]));
    for row in rows(&golden, "wilson") {
        let row = numbers(&row);
        let (low, high) = wilson(row[0], row[1], row[2]);
        check_near("low", low, row[3], 1e-12, 1e-16);
        check_near("high", high, row[4], 1e-12, 0.0);
    }
}

type Histogram = fn(&[f64], &[f64]) -> f64;
const HISTOGRAMS: [(&str, Histogram); 6] = [
    ("psi", psi),
    ("js", jensen_shannon),
    ("ks", ks_binned),
    ("linf", l_infinity),
    ("hellinger", hellinger),
    ("tvd", total_variation),
];

#[test]
fn what_is_no_pair_of_histograms_is_nan() {
    let broken: [(&[f64], &[f64]); 6] = [
        (&[], &[]),
        (&[1.0], &[1.0, 2.0]),
        (&[0.0, 0.0], &[1.0, 2.0]),
        (&[1.0, 2.0], &[0.0, 0.0]),
        (&[1.0, -1.0], &[1.0, 2.0]),
        (&[1.0, f64::NAN], &[1.0, f64::INFINITY]),
    ];
    for (b, c) in broken {
        for (name, measure) in HISTOGRAMS {
            assert!(measure(b, c).is_nan(), "{name} of {b:?} and {c:?}");
        }
        assert!(chi_squared(b, c).p.is_nan());
    }
    assert!(ks_two_sample(&[], &[1.0]).is_nan() && wasserstein(&[1.0], &[]).is_nan());
    assert!(
        ks_p_exact(f64::INFINITY, 5, 7) == 0.0
            && ks_p_exact(-1.0, 5, 7) == 1.0
            && ks_p_exact(0.5, 0, 7).is_nan()
    );
    assert!(ks_p(0.1, 0.0, 5.0).is_nan() && ks_p(f64::NAN, 5.0, 5.0).is_nan());
    assert!(wilson(3.0, 2.0, 1.96).0.is_nan() && mean_shift(0.0, f64::NAN, 1.0).is_nan());
    assert!(null::psi_quantile(10, 0.0, 5.0, 0.01).is_nan() && null::ks_quantile(5.0, 5.0, 1.0).is_nan());
}

#[test]
fn disjoint_shares_are_as_far_apart_as_can_be() {
    let (b, c) = ([3.0, 0.0], [0.0, 5.0]);
    for (name, measure) in HISTOGRAMS {
        let most = if name == "psi" { 2.0 * (1.0 - psi::SHARE_MIN) * 1e4_f64.ln() } else { 1.0 };
        check_near(name, measure(&b, &c), most, 1e-12, 0.0);
    }
}

#[test]
fn the_tail_keeps_its_digits_with_more_rows_than_terms() {
    // From 1,024 rows on a part of the terms stands for all: against exp(-(6 t + 1)^2 / (18 n)), which scipy takes
    // above a million rows and whose relative error is about z^4 / 2n.
    for n in [2e6_f64, 1e8, 1e10] {
        for z in [1.49_f64, 2.0, 3.5, 6.0] {
            let x = z / n.sqrt();
            let expected = 2.0 * (-(6.0 * n * x + 1.0).powi(2) / (18.0 * n)).exp();
            check_near(
                &format!("{n} rows at {z}"),
                kstwo::survival(n, x),
                expected,
                z.powi(4) / n + 1e-9,
                0.0,
            );
        }
    }
}

#[test]
fn one_new_category_in_one_row_is_no_surprise() {
    // Of MONITORING 2.2: goodness of fit says p = 0, the contingency form must not.
    let (baseline, current) =
        ([4000.0, 4000.0, 4000.0, 4000.0, 4000.0, 0.0], [1000.0, 1000.0, 1000.0, 1000.0, 999.0, 1.0]);
    assert!(chi_squared(&baseline, &current).p > 0.01);
    assert!(psi(&baseline, &current) < 0.01 && jensen_shannon(&baseline, &current) < 0.02);
}

#[test]
fn chance_stays_below_its_quantile_about_as_often_as_it_should() {
    let (n, m, bins, trials, alpha) = (2_000, 500, 10, 400, 0.05);
    let mut stream = Stream(7);
    let mut above = [0; 5];
    for _ in 0..trials {
        let mut count = |rows: usize| {
            let mut counts = vec![0.0; bins];
            for value in stream.units(rows) {
                counts[floor(value * bins as f64)] += 1.0;
            }
            counts
        };
        let (b, c) = (count(n), count(m));
        let (n, m) = (n as f64, m as f64);
        above[0] += usize::from(psi(&b, &c) > null::psi_quantile(bins, n, m, alpha));
        above[1] += usize::from(jensen_shannon(&b, &c) > null::jensen_shannon_quantile(bins, n, m, alpha));
        above[2] += usize::from(null::ks_robust(ks_binned(&b, &c), n, m, alpha) > 0.0);
        above[3] += usize::from(l_infinity(&b, &c) > null::l_infinity_quantile(bins, n, m, alpha));
        above[4] += usize::from(chi_squared(&b, &c).p < alpha);
    }
    // 20 are expected, with a deviation of 4.4; the distances of 2 and 3 have upper bounds for quantiles.
    for (index, above) in above.into_iter().enumerate() {
        let least = if matches!(index, 2 | 3) { 0 } else { 5 };
        assert!((least..=36).contains(&above), "measure {index}: {above} of {trials}");
    }
}

#[test]
fn the_table_names_every_measure_once() {
    let names: Vec<_> = TABLE.iter().map(|spec| spec.name).collect();
    let expected = [
        "psi",
        "js",
        "ks",
        "chi2",
        "linf",
        "hellinger",
        "w1n",
        "mean_shift",
        "null_rate",
        "out_of_range",
        "unseen",
        "type_errors",
    ];
    assert_eq!(names, expected);
    for spec in TABLE {
        assert!(spec.warn.is_some() == spec.alarm.is_some() && spec.warn <= spec.alarm, "{}", spec.name);
    }
}

fn counts() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0_u32..1000, 8).prop_map(|counts| counts.into_iter().map(f64::from).collect())
}

#[test]
fn a_row_on_each_side_has_a_p() {
    assert_eq!((ks_p(0.0, 1.0, 1.0), ks_p(1.0, 1.0, 1.0)), (1.0, 0.0));
}

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-100.0..100.0_f64, 1..60).prop_map(sorted)
}

proptest! {
    #[test]
    fn histograms_keep_their_range_and_symmetry(b in counts(), c in counts(), scale in 1_u32..9) {
        prop_assume!(b.iter().sum::<f64>() > 0.0 && c.iter().sum::<f64>() > 0.0);
        let scaled: Vec<_> = b.iter().map(|count| count * f64::from(scale)).collect();
        let order = |counts: &[f64]| counts.iter().rev().copied().collect::<Vec<_>>();
        for (name, measure) in HISTOGRAMS {
            let value = measure(&b, &c);
            let most = if name == "psi" { 18.42 } else { 1.0 };
            prop_assert!((0.0..=most).contains(&value), "{} is {}", name, value);
            prop_assert!((value - measure(&c, &b)).abs() < 1e-12, "{} is not symmetric", name);
            prop_assert_eq!(measure(&b, &b), 0.0);
            prop_assert!(measure(&b, &scaled) < 1e-7, "{} sees how many rows there are", name);
            // The order of bins is the order of merging for categories; the sum of gaps is the same from either end.
            prop_assert!((value - measure(&order(&b), &order(&c))).abs() < 1e-12, "{}", name);
        }
        let chi2 = chi_squared(&b, &c);
        prop_assert!(chi2.statistic >= 0.0 && (0.0..=1.0).contains(&chi2.p));
        prop_assert!(hellinger(&b, &c).powi(2) <= total_variation(&b, &c) + 1e-12);
        prop_assert!(l_infinity(&b, &c) <= total_variation(&b, &c) + 1e-12);
    }

    #[test]
    fn samples_keep_their_range_and_symmetry(a in sample(), b in sample(), shift in 0.0..50.0_f64) {
        let d = ks_two_sample(&a, &b);
        prop_assert!((0.0..=1.0).contains(&d));
        prop_assert_eq!(d, ks_two_sample(&b, &a));
        prop_assert_eq!(ks_two_sample(&a, &a), 0.0);
        let w = wasserstein(&a, &b);
        prop_assert!((w - wasserstein(&b, &a)).abs() < 1e-9 && w >= 0.0);
        let moved: Vec<_> = a.iter().map(|value| value + shift).collect();
        prop_assert!((wasserstein(&a, &moved) - shift).abs() < 1e-9);
        for p in [ks_p(d, a.len() as f64, b.len() as f64), ks_p_exact(d, a.len(), b.len())] {
            prop_assert!((0.0..=1.0).contains(&p));
        }
    }

    #[test]
    fn p_falls_with_the_distance(n in 1_u32..3000, x in 0.0..1.0_f64, more in 0.0..0.2_f64) {
        let n = f64::from(n);
        // At a border between two formulas they may differ by what the series leaves out.
        prop_assert!(kstwo::survival(n, x) + 2e-5 >= kstwo::survival(n, x + more));
    }
}
