//! The document is stable byte for byte, and nothing that it says is trusted.

use super::*;
use crate::drift::baseline::Baseline;
use crate::drift::builder::BaselineBuilder;
use crate::drift::profile::{Sampling, Value};
use crate::model::features::FeatureKind;

/// Made by `small().to_bytes()` when the format was fixed; a change of these bytes is a change of the format's version.
const GOLDEN: &str = include_str!("golden.json");

fn small() -> Baseline {
    let rows: [(Value<'_>, Value<'_>); 6] = [
        (Value::Number(1.0), Value::Text(b"red")),
        (Value::Number(2.5), Value::Text(b"blue")),
        (Value::Number(2.5), Value::Text(b"red")),
        (Value::Number(f64::NAN), Value::Missing),
        (Value::Missing, Value::Bool(true)),
        (Value::Number(-4.0), Value::Number(7.0)),
    ];
    let mut first =
        BaselineBuilder::new([("in.x", FeatureKind::Numeric), ("in.c", FeatureKind::Categorical)]);
    for (x, c) in rows {
        first.push(0, x, 1.0);
        first.push(1, c, 1.0);
    }
    let mut second = first.second_pass();
    for (x, c) in rows {
        second.push(0, x, 1.0);
        second.push(1, c, 1.0);
        second.row(1.0);
    }
    second.finish()
}

#[test]
fn the_document_is_golden() {
    let bytes = small().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(text, GOLDEN.trim_end());
    assert_eq!(Baseline::from_bytes(GOLDEN.trim_end().as_bytes()).unwrap().to_bytes(), bytes);
}

#[test]
fn current_data_come_back_against_their_baseline_only() {
    let baseline = small();
    let mut current = baseline.current(Sampling::LIVE);
    for n in 0..100u32 {
        current.push(0, Value::Number(f64::from(n)), 1.0);
        current.push(1, Value::Text(b"green"), 1.0);
        current.rows += 1.0;
    }
    current.failed = 3;
    let bytes = write_current(&baseline, &current);
    assert_eq!(read_current(&baseline, &bytes).unwrap(), current);
    let other = |features: Vec<_>| Baseline::new(features, 6.0);
    let turned = other(baseline.features().iter().rev().cloned().collect());
    assert!(read_current(&turned, &bytes).is_err());
    assert!(read_current(&other(baseline.features()[..1].to_vec()), &bytes).is_err());
}

fn cloud(capacity: usize, seed: u64) -> PointSample {
    let mut sample = PointSample::new(3, capacity, seed);
    (0..100u32).for_each(|row| sample.push(1.0, || [0.5, f64::from(row), -1.0].into_iter()));
    sample
}

#[test]
fn points_come_back_and_those_of_new_embeddings_are_none() {
    let embedding = |name: &str| BaselineEmbedding { name: name.into(), sample: cloud(50, 1) };
    let plain = small();
    let baseline = plain.clone().with_embeddings(vec![embedding("out.e")]);
    assert_ne!(baseline.digest(), plain.digest());
    let back = Baseline::from_bytes(&baseline.to_bytes()).unwrap();
    assert_eq!(back.embeddings()[0].sample.points(), cloud(50, 1).points());
    assert_eq!((back.to_bytes(), back.digest()), (baseline.to_bytes(), baseline.digest()));

    let mut current = baseline.current(Sampling::LIVE);
    current.embeddings[0] = cloud(20, 2);
    let bytes = write_current(&baseline, &current);
    assert_eq!(read_current(&baseline, &bytes).unwrap().embeddings[0].points(), cloud(20, 2).points());
    let more = plain.with_embeddings(vec![embedding("out.new"), embedding("out.e")]);
    let read: Vec<usize> =
        read_current(&more, &bytes).unwrap().embeddings.iter().map(|sample| sample.points().len()).collect();
    assert_eq!(read, [0, 20]);
}

#[test]
fn hostile_points_are_refused() {
    let sample = cloud(2, 1);
    let baseline =
        small().with_embeddings(vec![BaselineEmbedding { name: "out.e".into(), sample: sample.clone() }]);
    let text = String::from_utf8(baseline.to_bytes()).unwrap();
    let check = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}: {text}");
        assert!(Baseline::from_bytes(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} as {to}");
    };
    check("\"width\":3", "\"width\":0");
    check("\"width\":3", "\"width\":2");
    check("\"width\":3", "\"width\":9007199254740992");
    check("\"capacity\":2,", "\"capacity\":1,");
    check("\"capacity\":2,", "\"capacity\":99999999,");
    check("\"points\":\"", "\"points\":\"AAAA");
    // NaN.
    check("\"points\":\"AAAAPw", "\"points\":\"AADAfw");
}

#[test]
fn hostile_documents_are_refused() {
    let check = |from: &str, to: &str| {
        assert!(GOLDEN.contains(from), "{from}");
        assert!(Baseline::from_bytes(GOLDEN.replacen(from, to, 1).as_bytes()).is_err(), "{from} as {to}");
    };
    check("weir-profile", "other");
    check("\"version\":1", "\"version\":2");
    check("\"capacity\":2048", "\"capacity\":99999999999");
    check("\"capacity\":2048", "\"capacity\":1");
    check("\"edges\":[-4.0,", "\"edges\":[9.0,");
    check("\"edges\":[-4.0,", "\"edges\":[");
    check("\"rows\":6.0", "\"rows\":-6.0");
    check("\"rows\":6.0", "\"rows\":6.0,\"extra\":1");
    check("\"nan\":1.0", "\"nan\":-1.0");
    check("\"kll\":\"B", "\"kll\":\"C");
    check("\"hll\":\"", "\"hll\":\"AAAA");
    check("\"other\":0.0", "\"other\":-1.0");
    for cut in 0..GOLDEN.trim_end().len() {
        assert!(Baseline::from_bytes(&GOLDEN.as_bytes()[..cut]).is_err(), "{cut}");
    }
}
