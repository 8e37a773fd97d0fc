//! Profiles merge in any order; what they count is exact.
#![allow(clippy::cast_possible_truncation, reason = "rounding is what is tried")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn numeric() -> Profile {
    let bins = Arc::new(Bins::of_quantiles(&[0.0, 0.0, 1.0, 2.0, 4.0]));
    Profile::Numeric(NumericProfile::new(bins, Sampling { reservoir: 64, ..Sampling::BASELINE }))
}

fn categorical() -> Profile {
    let names = ["a", "b", "3", "true"].map(Arc::from);
    Profile::Categorical(CategoricalProfile::new(Arc::new(Categories::new(names))))
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        4 => (-2i32..12).prop_map(|n| Value::Number(f64::from(n) / 2.0)),
        1 => Just(Value::Number(f64::NAN)),
        1 => Just(Value::Number(f64::INFINITY)),
        2 => proptest::sample::select(vec![&b"a"[..], b"b", b"c", b"\xff"]).prop_map(Value::Text),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Missing),
        1 => Just(Value::WrongType),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(Value<'static>, f64)>> {
    proptest::collection::vec((value(), (1u8..4).prop_map(f64::from)), 0..60)
}

fn profile(empty: &Profile, rows: &[(Value<'_>, f64)]) -> Profile {
    let mut profile = empty.clone();
    rows.iter().for_each(|(value, weight)| profile.push(*value, *weight));
    profile
}

fn merged(parts: &[&Profile]) -> Profile {
    let mut whole = parts[0].clone();
    parts[1..].iter().for_each(|part| whole.merge(part).unwrap());
    whole
}

/// Everything that merges exactly.
fn exact(profile: &Profile) -> (Tally, Vec<f64>, Vec<f64>) {
    let more = match profile {
        Profile::Numeric(p) => {
            vec![
                p.nan,
                p.positive_infinite,
                p.negative_infinite,
                p.moments.weight,
                p.moments.min,
                p.moments.max,
            ]
        }
        Profile::Categorical(p) => vec![p.other],
    };
    (*profile.tally(), profile.counts().to_vec(), more)
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative(a in rows(), b in rows(), c in rows()) {
        for empty in [numeric(), categorical()] {
            let all: Vec<_> = a.iter().chain(&b).chain(&c).copied().collect();
            let whole = profile(&empty, &all);
            let [a, b, c] = [&a, &b, &c].map(|rows| profile(&empty, rows));
            let left = merged(&[&merged(&[&a, &b]), &c]);
            let right = merged(&[&a, &merged(&[&b, &c])]);
            let turned = merged(&[&c, &a, &b]);
            for other in [&left, &right, &turned] {
                prop_assert_eq!(exact(other), exact(&whole));
            }
            if let (Profile::Numeric(left), Profile::Numeric(whole)) = (&left, &whole) {
                prop_assert!((left.moments.mean - whole.moments.mean).abs() < 1e-12);
                prop_assert!((left.moments.m2 - whole.moments.m2).abs() < 1e-9);
                prop_assert_eq!(left.quantiles.n(), whole.quantiles.n());
            }
        }
    }

    #[test]
    fn a_slice_counts_like_its_values(numbers in proptest::collection::vec(-3.0f64..7.0, 0..200)) {
        let (mut slice, mut single) = (numeric(), numeric());
        slice.push_numbers(&numbers);
        numbers.iter().for_each(|number| single.push(Value::Number(*number), 1.0));
        prop_assert_eq!(exact(&slice), exact(&single));
        let (Profile::Numeric(slice), Profile::Numeric(single)) = (&slice, &single) else { unreachable!() };
        prop_assert_eq!(&slice.quantiles, &single.quantiles);
        prop_assert_eq!(&slice.reservoir, &single.reservoir);
    }
}

#[test]
fn every_value_is_counted_once() {
    let numbers = [-1.0, 0.0, 0.5, 4.0, 9.0, f64::NAN, f64::INFINITY].map(Value::Number);
    let values =
        numbers.into_iter().chain([Value::Bool(true), Value::Missing, Value::Text(b"x"), Value::WrongType]);
    let mut profile = numeric();
    values.for_each(|value| profile.push(value, 1.0));
    let Profile::Numeric(profile) = &profile else { unreachable!() };
    assert_eq!(profile.counts(), [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    assert_eq!((profile.tally.missing, profile.tally.type_errors, profile.nan), (1.0, 2.0, 1.0));
    assert_eq!((profile.tally.rows, profile.out_of_range(), profile.positive_infinite), (11, 3.0, 1.0));
}

#[test]
fn categories_are_called_the_same_whatever_their_type() {
    let values = [
        Value::Text(b"3"),
        Value::Number(3.0),
        Value::Bool(true),
        Value::Text(b"true"),
        Value::Text(b"new"),
        Value::Number(0.5),
        Value::Number(f64::NAN),
        Value::Missing,
        Value::WrongType,
    ];
    let mut profile = categorical();
    values.into_iter().for_each(|value| profile.push(value, 1.0));
    let Profile::Categorical(profile) = &profile else { unreachable!() };
    assert_eq!(profile.counts_and_other(), [0.0, 0.0, 2.0, 2.0, 2.0]);
    assert_eq!((profile.tally.missing, profile.tally.type_errors), (2.0, 1.0));
    assert_eq!(profile.unseen(), [("0.5", 1.0), ("new", 1.0)]);
}

#[test]
fn long_and_foreign_texts_are_bounded_and_apart() {
    let mut scratch = [0; 40];
    let mut name = |text: &[u8]| category(Value::Text(text), &mut scratch).unwrap().into_owned();
    let (one, two) = (name(&[b'x'; 10_000]), name(&[b'x'; 10_001]));
    assert!(one != two && one.len() <= CATEGORY_LEN_MAX);
    assert_ne!(name(b"\xff\x01"), name(b"\xff\x02"));
    assert_eq!(name(b"kiwi"), "kiwi");
}

#[test]
fn the_heaviest_unseen_values_are_kept() {
    let mut profile = categorical();
    for n in 0..1_000u32 {
        profile.push(Value::Number(f64::from(n)), 1.0);
        profile.push(Value::Text(b"often"), 1.0);
    }
    let mut other = categorical();
    (0..UNSEEN_MAX).for_each(|n| other.push(Value::Text(format!("x{n}").as_bytes()), 1.0));
    other.merge(&profile).unwrap();
    let Profile::Categorical(other) = &other else { unreachable!() };
    assert_eq!((other.unseen().len(), other.unseen()[0].0), (UNSEEN_MAX, "often"));
    assert!(matches!(numeric().merge(&categorical()), Err(ProfileError::Unlike)));
}

#[test]
fn an_empty_text_is_a_missing_one() {
    let mut profile = categorical();
    for text in [&b"a"[..], b"", b"z"] {
        profile.push(Value::Text(text), 1.0);
    }
    assert_eq!((profile.tally().rows, profile.tally().missing), (3, 1.0));
    assert_eq!(*profile.counts(), [1.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn values_that_come_as_32_bit_floats_are_counted_where_they_were() {
    let values = [32.1, 36.6, 36.6, 36.6, 40.2, 55.25, 59.6];
    let bins = Bins::of_quantiles(&values);
    let rounded = bins.for_floats().unwrap();
    for value in values {
        let served = f64::from(value as f32);
        assert_eq!(rounded.place(served), bins.place(value), "{value}");
    }
    assert_ne!(bins.place(f64::from(32.1_f32)), bins.place(32.1), "as it would be without");
    let labels: Vec<String> = (0..bins.places()).map(|place| bins.label(place)).collect();
    let of_rounded: Vec<String> = (0..rounded.places()).map(|place| rounded.label(place)).collect();
    // What stands behind an atom is another number, and shown as one.
    assert_eq!(
        (&labels[..3], &labels[5..]),
        (&of_rounded[..3], &of_rounded[5..]),
        "{labels:?} {of_rounded:?}"
    );
}
