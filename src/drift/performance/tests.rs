//! Values from scikit-learn and NannyML (`tests/golden/drift/make.py`), and what has no value.

use proptest::prelude::*;
use serde_json::Value;

use super::classification::{accuracy, auc, brier, calibration_error, confusion_table, log_loss};
use super::regression::{mean_absolute_error, root_mean_squared_error};
use super::*;
use crate::drift::golden::{Stream, check_near, number, numbers, parse, whole};

fn golden() -> Value {
    parse(include_str!("../../../tests/golden/drift/performance.json"))
}

/// The rows that `scored` of `make.py` makes.
fn scored(seed: &Value, n: &Value, slope: &Value) -> Vec<Scored> {
    let mut stream = Stream(seed.as_u64().unwrap());
    let n = whole(n);
    let (scores, chances, weights) = (stream.units(n), stream.units(n), stream.units(n));
    let rows = scores.into_iter().zip(chances).zip(weights);
    rows.map(|((score, chance), weight)| Scored {
        score,
        truth: chance < score * score * number(slope) + 0.1,
        weight: weight + 0.5,
    })
    .collect()
}

#[test]
fn realised_performance_is_that_of_scikit_learn() {
    let golden = golden();
    for case in golden["classification"].as_array().unwrap() {
        let mut rows = scored(&case["seed"], &case["n"], &case["slope"]);
        if case["is_tied"].as_bool().unwrap() {
            rows.iter_mut().for_each(|row| row.score = (row.score * 10.0).floor() / 10.0);
        }
        let check = |name: &str, ours: f64| check_near(name, ours, number(&case[name]), 1e-9, 1e-12);
        let confusion = Confusion::of(&rows, 0.5);
        check("tp", confusion.true_positive);
        check("fp", confusion.false_positive);
        check("tn", confusion.true_negative);
        check("fn", confusion.false_negative);
        check("accuracy", confusion.accuracy());
        check("precision", confusion.precision());
        check("recall", confusion.recall());
        check("f1", confusion.f1());
        check("auc", auc(&rows));
        check("log_loss", log_loss(&rows));
        check("brier", brier(&rows));
        check("ece", calibration_error(&rows));
        let name = |is: bool| if is { "yes" } else { "no" };
        let labelled: Vec<_> = rows
            .iter()
            .map(|row| (Labelled { predicted: name(row.score >= 0.5), truth: name(row.truth) }, row.weight))
            .collect();
        check("accuracy", accuracy(&labelled));
        check("fn", confusion_table(&labelled)[&("no", "yes")]);
    }
    let case = &golden["regression"];
    let mut stream = Stream(case["seed"].as_u64().unwrap());
    let n = whole(&case["n"]);
    let (predicted, truths, weights) = (stream.normals(n), stream.normals(n), stream.units(n));
    let rows: Vec<_> = predicted
        .into_iter()
        .zip(truths)
        .zip(weights)
        .map(|((predicted, truth), weight)| Measured { predicted, truth, weight })
        .collect();
    check_near("mae", mean_absolute_error(&rows), number(&case["mae"]), 1e-12, 0.0);
    check_near("rmse", root_mean_squared_error(&rows), number(&case["rmse"]), 1e-12, 0.0);
}

#[test]
fn isotonic_regression_is_that_of_scikit_learn() {
    let case = &golden()["isotonic"];
    let mut rows = scored(&case["seed"], &case["n"], &case["slope"]);
    rows.iter_mut().for_each(|row| row.score = (row.score * 50.0).floor() / 50.0);
    let check = |name: &str, rows: &[Scored]| {
        let fitted = Isotonic::fit(rows).unwrap();
        for (score, theirs) in numbers(&case["grid"]).into_iter().zip(numbers(&case[name])) {
            check_near(&format!("{name} at {score}"), fitted.apply(score), theirs, 1e-9, 1e-12);
        }
    };
    check("weighted", &rows);
    rows.iter_mut().for_each(|row| row.weight = 1.0);
    check("plain", &rows);
}

#[test]
fn estimates_are_those_of_nannyml() {
    let case = &golden()["cbpe"];
    let mut reference = scored(&case["reference_seed"], &case["n"], &case["slope"]);
    reference.iter_mut().for_each(|row| row.weight = 1.0);
    let cbpe = Cbpe::fit(&reference).unwrap();
    let analysed: Vec<_> = scored(&case["analysed_seed"], &case["n"], &case["slope"])
        .into_iter()
        .map(|row| row.score.sqrt())
        .map(|score| Predicted { score, is_positive: score >= 0.5, weight: 1.0 })
        .collect();
    for (rows, chunk) in analysed.chunks(1000).zip(case["chunks"].as_array().unwrap()) {
        let found = cbpe.estimate(rows);
        let check = |name: &str, ours: f64| check_near(name, ours, number(&chunk[name]), 1e-6, 0.0);
        check("accuracy", found.confusion.accuracy());
        check("precision", found.confusion.precision());
        check("recall", found.confusion.recall());
        check("f1", found.confusion.f1());
        check("roc_auc", found.auc);
        let accuracy = found.confusion.accuracy();
        let error = (accuracy * (1.0 - accuracy) / 1000.0).sqrt();
        check_near("accuracy_error", found.accuracy_error, error, 1e-12, 0.0);
        check("true_positive", found.confusion.true_positive);
        check("false_positive", found.confusion.false_positive);
        check("true_negative", found.confusion.true_negative);
        check("false_negative", found.confusion.false_negative);
    }
}

#[test]
fn what_has_no_value_is_nan_or_none() {
    let row = |score, truth, weight| Scored { score, truth, weight };
    let empty: [&[Scored]; 3] =
        [&[], &[row(f64::NAN, true, 1.0)], &[row(0.5, true, 0.0), row(0.5, false, f64::NAN)]];
    for rows in empty {
        for value in
            [auc(rows), log_loss(rows), brier(rows), calibration_error(rows), Confusion::of(rows, 0.5).f1()]
        {
            assert!(value.is_nan(), "{rows:?}");
        }
        assert!(Isotonic::fit(rows).is_none() && Cbpe::fit(rows).is_none());
    }
    assert!(auc(&[row(0.1, true, 1.0), row(0.2, true, 1.0)]).is_nan(), "one class has no curve");
    assert!(log_loss(&[row(0.0, true, 1.0)]).is_finite());
    assert!(calibration_error(&[row(-3.0, true, 1.0), row(7.0, false, 1.0)]).is_finite());
    let broken: Isotonic = serde_json::from_str(r#"{"scores": [0.1, 0.2], "chances": []}"#).unwrap();
    assert!(broken.apply(0.15).is_nan());
    assert!(mean_absolute_error(&[]).is_nan() && accuracy(&[]).is_nan());
    let estimate = Cbpe::uncalibrated().estimate(&[]);
    assert!(estimate.auc.is_nan() && estimate.confusion.accuracy().is_nan());
}

proptest! {
    #[test]
    fn a_calibration_rises_and_stays_a_probability(
        rows in prop::collection::vec((0_u8..40, any::<bool>(), 1_u8..5), 1..80),
        scores in prop::collection::vec(-0.2..1.2_f64, 10),
    ) {
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(score, truth, weight)| Scored { score: f64::from(score) / 40.0, truth, weight: weight.into() })
            .collect();
        let fitted = Isotonic::fit(&rows).unwrap();
        let mut scores = scores;
        scores.sort_by(f64::total_cmp);
        let chances: Vec<_> = scores.iter().map(|score| fitted.apply(*score)).collect();
        prop_assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        prop_assert!(chances.is_sorted_by(|a, b| a <= &(b + 1e-12)));
        // Pooling keeps the mean: expected and realised positives of the reference are the same.
        let mean = |of: &dyn Fn(&Scored) -> f64| rows.iter().map(|row| row.weight * of(row)).sum::<f64>();
        prop_assert!((mean(&|row| fitted.apply(row.score)) - mean(&|row| f64::from(u8::from(row.truth)))).abs() < 1e-9);
        let mut reversed = rows.clone();
        reversed.reverse();
        prop_assert!((auc(&rows) - auc(&reversed)).abs() < 1e-12 || auc(&rows).is_nan());
    }
}
