//! The same alarms as river's, at the same indices.

use super::*;
use crate::drift::golden::{Stream, check_near, number, parse, whole};

/// The values of a stream of the golden file: pieces of `[rows, mean, deviation]`.
fn values(stream: &serde_json::Value) -> Vec<f64> {
    let mut source = Stream(stream["seed"].as_u64().unwrap());
    let mut values = Vec::new();
    for piece in stream["pieces"].as_array().unwrap() {
        let (rows, mean, deviation) = (whole(&piece[0]), number(&piece[1]), number(&piece[2]));
        values.extend((0..rows).map(|_| mean + deviation * source.normal()));
    }
    values
}

#[test]
fn alarms_are_those_of_river() {
    let golden = parse(include_str!("../../../tests/golden/drift/detect.json"));
    let mut alarms = 0;
    for stream in golden["streams"].as_array().unwrap() {
        let values = values(stream);
        let (mut page_hinkley, mut adwin) = (PageHinkley::default(), Adwin::default());
        let mut found = (Vec::new(), Vec::new());
        for (index, value) in values.iter().enumerate() {
            if page_hinkley.update(*value) {
                found.0.push(index);
            }
            if adwin.update(*value) {
                found.1.push(index);
            }
        }
        let expected = |name: &str| stream[name].as_array().unwrap().iter().map(whole).collect::<Vec<_>>();
        assert_eq!(found.0, expected("page_hinkley"), "page_hinkley, {}", stream["pieces"]);
        assert_eq!(found.1, expected("adwin"), "adwin, {}", stream["pieces"]);
        assert_eq!(adwin.width(), number(&stream["adwin_width"]));
        check_near("mean", adwin.mean(), number(&stream["adwin_mean"]), 1e-9, 1e-12);
        alarms += found.0.len().min(1) + found.1.len().min(1);
    }
    assert!(alarms > 5, "the streams prove too little");
}

#[test]
fn a_state_goes_on_where_it_was_written_down() {
    let mut source = Stream(5);
    let (mut page_hinkley, mut adwin) = (PageHinkley::default(), Adwin::default());
    let fresh: PageHinkley = serde_json::from_str(&serde_json::to_string(&page_hinkley).unwrap()).unwrap();
    assert_eq!(fresh, page_hinkley);
    for value in source.normals(1000) {
        page_hinkley.update(value);
        adwin.update(value);
    }
    let mut restored: (PageHinkley, Adwin) =
        serde_json::from_str(&serde_json::to_string(&(&page_hinkley, &adwin)).unwrap()).unwrap();
    for value in source.normals(500).into_iter().map(|value| value + 1.0) {
        assert_eq!(restored.0.update(value), page_hinkley.update(value));
        assert_eq!(restored.1.update(value), adwin.update(value));
    }
    assert_eq!(restored, (page_hinkley, adwin));
}

#[test]
fn what_is_not_finite_is_passed_over() {
    let (mut page_hinkley, mut adwin) = (PageHinkley::default(), Adwin::default());
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!page_hinkley.update(value) && !adwin.update(value));
    }
    assert_eq!((page_hinkley, adwin), (PageHinkley::default(), Adwin::default()));
}
