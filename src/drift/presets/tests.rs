//! The tools' own numbers (`tests/golden/drift/make.py`).

use super::*;
use crate::drift::golden::{Stream, check_near, floor, number, parse, whole};

/// A column of the golden file: `rounded` gives it few values, `skewed` and `outlier` strain the bins.
fn numbers(seed: u64, rows: usize, shift: f64, kind: &str) -> Vec<f64> {
    let values = Stream(seed).normals(rows);
    let mut values: Vec<f64> = values
        .into_iter()
        .map(|value| match kind {
            "skewed" => (value + shift).powi(2),
            "rounded" => (value + shift).floor(),
            "binary" => f64::from(u8::from(value + shift > 0.0)),
            _ => value + shift,
        })
        .collect();
    if kind == "outlier" && shift != 0.0 {
        values[0] = 1000.0;
    }
    values
}

fn categories(seed: u64, rows: usize, power: i32, names: &str) -> Vec<String> {
    let names: Vec<char> = names.chars().collect();
    let values = Stream(seed).units(rows);
    values.into_iter().map(|value| names[floor(value.powi(power) * names.len() as f64)].to_string()).collect()
}

#[test]
fn numbers_are_those_of_the_tools() {
    let golden = parse(include_str!("../../../tests/golden/drift/presets.json"));
    let mut seen = 0;
    for case in golden["cases"].as_array().unwrap() {
        let preset = Preset::parse(case["tool"].as_str().unwrap()).unwrap();
        let (n, m, kind) = (whole(&case["n"]), whole(&case["m"]), case["kind"].as_str().unwrap());
        let seed = case["seed"].as_u64().unwrap();
        let measures = if let Some(names) = case["names"].as_array() {
            let powers = (whole(&case["powers"][0]), whole(&case["powers"][1]));
            let of = |seed, rows, power: usize, names: &serde_json::Value| {
                categories(seed, rows, power.try_into().unwrap(), names.as_str().unwrap())
            };
            let (a, b) = (of(seed, n, powers.0, &names[0]), of(seed + 1, m, powers.1, &names[1]));
            let text = |column: &'_ [String]| column.iter().map(String::clone).collect::<Vec<_>>();
            let (a, b) = (text(&a), text(&b));
            let (a, b): (Vec<&str>, Vec<&str>) =
                (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
            preset.measure(Column::Categories(&a), Column::Categories(&b))
        } else {
            let (a, b) = (numbers(seed, n, 0.0, kind), numbers(seed + 1, m, number(&case["shift"]), kind));
            preset.measure(Column::Numbers(&a), Column::Numbers(&b))
        };
        for expected in case["measures"].as_array().unwrap() {
            let name = expected["name"].as_str().unwrap();
            let what = format!("{} {name} of {kind} {n} {m}", preset.as_str());
            let found = measures.iter().find(|measure| measure.name == name).expect(&what);
            check_near(&what, found.value, number(&expected["value"]), 1e-9, 1e-12);
            assert_eq!(found.is_drift, expected["is_drift"].as_bool().unwrap(), "{what}: {found:?}");
            if let Some(threshold) = expected["threshold"].as_f64() {
                check_near(&what, found.threshold.unwrap(), threshold, 1e-9, 1e-12);
            }
            if let Some(is_default) = expected["is_default"].as_bool() {
                assert_eq!(found.is_default, is_default, "{what}");
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} numbers");
}

#[test]
fn what_cannot_be_compared_gives_no_numbers() {
    for preset in Preset::ALL {
        let (numbers, names) = (Column::Numbers(&[1.0, 2.0]), Column::Categories(&["a"]));
        assert!(preset.measure(numbers, names).is_empty());
        assert!(preset.measure(Column::Numbers(&[f64::NAN]), numbers).is_empty());
        assert!(preset.measure(names, Column::Categories(&[])).is_empty());
        assert!(!preset.measure(numbers, numbers).is_empty() && !preset.measure(names, names).is_empty());
        let constant = Column::Numbers(&[3.0; 40]);
        assert!(preset.measure(constant, constant).iter().all(|measure| !measure.is_drift), "{preset:?}");
        assert!(!preset.measure(constant, numbers).is_empty());
        assert!(!preset.measure(Column::Numbers(&[1.0]), Column::Numbers(&[-2.0])).is_empty());
    }
}
