//! Every form of a report, on one that has every kind of feature, and on names that would like to be markup.

use super::*;
use crate::drift::report::{Bin, EmbeddingReport, Measure, Trend};

fn measure(name: &'static str, value: f64, alarm: Option<f64>, state: DriftState) -> Measure {
    Measure {
        name,
        value,
        effect: value,
        warn: alarm.map(|alarm| alarm / 2.0),
        alarm,
        null_quantile: alarm.map(|_| 0.0123),
        p: (name == "ks").then_some(1e-9),
        state,
    }
}

fn bin(label: &str, low: f64, high: f64, baseline: f64, current: f64) -> Bin {
    Bin { label: label.to_owned(), low, high, baseline, current }
}

fn feature(name: &str, state: DriftState, is_categorical: bool) -> FeatureReport {
    let inf = f64::INFINITY;
    let mut bins = vec![
        bin("", -inf, 0.0, 0.0, 1.0),
        bin("", 0.0, 1.0, 50.0, 20.0),
        bin("", 1.0, 4.0, 50.0, 60.0),
        bin("", 4.0, inf, 0.0, 9.0),
    ];
    if is_categorical {
        bins = [("<b>", 60.0, 20.0), ("b", 40.0, 30.0), ("c", 0.0, 50.0)]
            .map(|(label, was, is)| bin(label, f64::NAN, f64::NAN, was, is))
            .to_vec();
    }
    let side = |mean| Summary {
        rows: 100.0,
        missing: 2.0,
        mean: if is_categorical { f64::NAN } else { mean },
        std: 1.0,
        min: 0.0,
        max: 4.0,
        distinct: 90.0,
        ..Summary::default()
    };
    FeatureReport {
        name: name.to_owned(),
        is_categorical,
        state,
        reason: if state == DriftState::Ok { String::new() } else { "psi 0.31 is above 0.2".to_owned() },
        measures: vec![
            measure("psi", if state == DriftState::Drift { 0.31 } else { 0.01 }, Some(0.2), state),
            measure(if is_categorical { "linf" } else { "ks" }, 0.5, None, DriftState::Ok),
            measure("js", f64::NAN, Some(0.1), DriftState::Ok),
        ],
        baseline: side(1.0),
        current: side(1.5),
        bins,
        history: Vec::new(),
        trend: None,
    }
}

fn report() -> DriftReport {
    let features = vec![
        feature("calm", DriftState::Ok, false),
        feature("kinds", DriftState::Drift, true),
        feature("<script>alert(1)</script>", DriftState::Drift, false),
        feature("rare", DriftState::Insufficient, false),
    ];
    DriftReport {
        subject: "now.csv".to_owned(),
        baseline: "train\u{1b}[2J&co.csv".to_owned(),
        window: "file".to_owned(),
        from_us: 0,
        until_us: 0,
        baseline_rows: 100.0,
        current_rows: 12_345.0,
        state: DriftState::Drift,
        features,
        unwatched: Vec::new(),
        embeddings: Vec::new(),
    }
}

#[test]
fn embeddings_and_changes_of_the_mean_are_told_everywhere() {
    let mut report = report();
    report.embeddings.push(EmbeddingReport {
        name: "out.<e>".to_owned(),
        width: 384,
        baseline_points: 500,
        current_points: 120,
        mmd2: 0.0312,
        p: 0.005,
        null_quantile: 0.004,
        alarm: 0.01,
        state: DriftState::Drift,
    });
    report.features[0].trend =
        Some(Trend { panes: 50, page_hinkley_us: None, adwin_us: Some(1_700_006_400_000_000) });
    report.unwatched = vec!["in.new".to_owned(), "out.<b>".to_owned()];
    let said = "MMD² 0.0312 (drift from 0.01 on), p 0.005, 120 points against 500 of 384 coordinates";
    let changed = "the mean changed before 2023-11-15 00:00 UTC (ADWIN)";
    let shown = text(&report);
    assert!(shown.contains(&format!("\nembedding out.<e>: drift, {said}\n")), "{shown}");
    assert!(shown.contains(&format!("calm: {changed}\n")), "{shown}");
    assert!(shown.ends_with("\nnot in the baseline: in.new, out.<b>\n"), "{shown}");
    let page = html(&report);
    assert!(page.contains("not in the baseline: in.new, out.&lt;b&gt;"));
    assert!(page.contains(said) && page.contains(changed) && page.contains("out.&lt;e&gt;"));
    assert!(page.contains("<em>Drift</em> in 3 of 5 features"));
    let value = json(&report);
    assert_eq!(
        (&value["embeddings"][0]["mmd2"], &value["embeddings"][0]["state"]),
        (&0.0312.into(), &"drift".into())
    );
    assert_eq!(value["unwatched"], serde_json::json!(["in.new", "out.<b>"]));
    assert_eq!(value["features"][0]["trend"]["adwin_us"], 1_700_006_400_000_000_i64);
    assert!(value["features"][1]["trend"].is_null());
}

#[test]
fn the_table_is_what_it_was() {
    let expected = "\
now.csv against train\u{fffd}[2J&co.csv: drift (12\u{202f}345 rows against 100)
2 drift, 0 warn, 1 ok, 1 insufficient

FEATURE                    STATE          PSI  JS  KS|LINF      MISSING  MEAN SHIFT  BASELINE            CURRENT
<script>alert(1)</script>  drift         0.31   –      0.5  2.0% → 2.0%       +0.5σ   ████▃▃▃▃▃▃▃▃▃▃▃▃   ▁▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▇
kinds                      drift         0.31   –      0.5  2.0% → 2.0%           –  █ ▆                 ▃▇▄
calm                       ok            0.01   –      0.5  2.0% → 2.0%       +0.5σ   ████▃▃▃▃▃▃▃▃▃▃▃▃   ▁▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▇
rare                       insufficient  0.01   –      0.5  2.0% → 2.0%       +0.5σ   ████▃▃▃▃▃▃▃▃▃▃▃▃   ▁▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▇

<script>alert(1)</script>: psi 0.31 is above 0.2
kinds: psi 0.31 is above 0.2
rare: psi 0.31 is above 0.2
";
    assert_eq!(text(&report()), expected);
}

#[test]
fn json_has_the_state_of_every_feature_and_null_for_what_is_undefined() {
    let found = json(&report());
    assert_eq!(found["version"], 1);
    assert_eq!(found["state"], "drift");
    assert_eq!(found["counts"], serde_json::json!({ "drift": 2, "warn": 0, "ok": 1, "insufficient": 1 }));
    let states: Vec<_> = found["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ok", "drift", "drift", "insufficient"]);
    let calm = &found["features"][0];
    assert!(calm["measures"][2]["value"].is_null() && calm["bins"][0]["low"].is_null(), "{calm}");
    assert_eq!(calm["measures"][0]["null_quantile"], 0.0123);
    assert_eq!(found["features"][1]["kind"], "categorical");
}

#[test]
fn the_page_escapes_asks_for_nothing_and_shows_the_worst_first() {
    let page = html(&report());
    for wrong in ["<script", "http://", "https://", "url(", "@import", "src=", "NaN", "inf\"", "\u{1b}"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
    let at = |needle: &str| page.find(needle).unwrap_or_else(|| panic!("{needle}: {page}"));
    assert!(at("&lt;script&gt;alert(1)&lt;/script&gt;<small>") < at("kinds<small>"));
    assert!(at("kinds<small>") < at("calm<small>") && at("calm<small>") < at("rare<small>"));
    at("<em>Drift</em> in 2 of 4 features; 1 not known");
    at(">&lt;b&gt;</text>");
    at(">0% → 50% new</text>");
    at("<td>Kolmogorov–Smirnov</td><td>0.5</td>");
    at("&lt;0.0001");
    for (open, close) in
        [("<svg", "</svg>"), ("<article", "</article>"), ("<table", "</table>"), ("<tr", "</tr>")]
    {
        assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
    }
}

#[test]
fn a_report_of_nothing_is_shown() {
    let mut empty = report();
    empty.features.clear();
    empty.state = DriftState::Insufficient;
    assert!(text(&empty).contains("insufficient"));
    assert!(html(&empty).contains("Too few rows"));
    assert_eq!(json(&empty)["features"], serde_json::json!([]));
}
