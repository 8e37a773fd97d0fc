//! Turns an observation into the values of a version's features: column by column, through buffers that are kept.
//!
//! Numbers become doubles (whole numbers above 2^53 lose their last digits, which no bin notices).

use half::{bf16, f16};

use crate::drift::profile::Value;
use crate::infer::Observation;
use crate::model::features::{Derive, Feature, Side};
use crate::tensor::{DataType, StringsIter, Tensor};

/// Takes the values of one feature after the other; `feature` is its position in the version's list.
pub(super) trait Sink {
    /// A number for each row.
    fn numbers(&mut self, feature: usize, numbers: &[f64]);
    /// The value of one row.
    fn value(&mut self, feature: usize, value: Value<'_>);
}

/// The buffers.
#[derive(Debug, Default)]
pub(super) struct Reader {
    column: Vec<f64>,
    row: Vec<f64>,
}

impl Reader {
    /// Hands every value of `observation` to `sink`. The features of one tensor must follow each other.
    pub(super) fn read(
        &mut self,
        features: &[Feature],
        is_batched: bool,
        observation: &Observation,
        sink: &mut dyn Sink,
    ) {
        let rows = if is_batched { observation.rows } else { 1 };
        let mut at = 0;
        while at < features.len() {
            let of = |feature: &Feature| (feature.side, feature.tensor);
            let end = features[at..].iter().position(|other| of(other) != of(&features[at]));
            let end = end.map_or(features.len(), |count| at + count);
            let tensor = tensor_of(observation, features[at].side, features[at].tensor);
            match tensor {
                None => (at..end).for_each(|at| (0..rows).for_each(|_| sink.value(at, Value::Missing))),
                Some(tensor) if tensor.dtype() == DataType::Bytes => {
                    self.texts(features, at..end, rows, tensor, sink);
                }
                Some(tensor) => self.numbers(features, at..end, rows, tensor, sink),
            }
            at = end;
        }
    }

    fn numbers(
        &mut self,
        features: &[Feature],
        range: std::ops::Range<usize>,
        rows: usize,
        tensor: &Tensor,
        sink: &mut dyn Sink,
    ) {
        let width = tensor.shape().element_count().checked_div(rows).unwrap_or(0);
        for at in range {
            let column = &mut self.column;
            column.clear();
            match features[at].derive {
                Derive::Element(element) if element < width => {
                    each(tensor.dtype(), tensor.data(), element, width, &mut |number| column.push(number));
                }
                Derive::Element(_) => (0..rows).for_each(|_| sink.value(at, Value::Missing)),
                derive if width > 0 => {
                    let row = &mut self.row;
                    row.clear();
                    each(tensor.dtype(), tensor.data(), 0, 1, &mut |number| {
                        row.push(number);
                        if row.len() == width {
                            column.push(derived(derive, row));
                            row.clear();
                        }
                    });
                }
                derive => column.extend((0..rows).map(|_| derived(derive, &[]))),
            }
            if tensor.dtype() == DataType::Bool && matches!(features[at].derive, Derive::Element(_)) {
                column.iter().for_each(|number| sink.value(at, Value::Bool(*number != 0.0)));
            } else if !column.is_empty() {
                sink.numbers(at, column);
            }
        }
    }

    /// Elements are handed on as they come, so that the data is walked once for all features of the tensor.
    fn texts(
        &mut self,
        features: &[Feature],
        range: std::ops::Range<usize>,
        rows: usize,
        tensor: &Tensor,
        sink: &mut dyn Sink,
    ) {
        let width = tensor.shape().element_count().checked_div(rows).unwrap_or(0);
        let mut texts = StringsIter::new(tensor.data());
        let by_element = |at: &usize| matches!(features[*at].derive, Derive::Element(_));
        for _ in 0..rows {
            let mut empty = 0usize;
            // Features of elements stand in the order of the elements, and not every element has one.
            let mut feature = range.start;
            for element in 0..width {
                let Some(Ok(text)) = texts.next() else { return };
                empty += usize::from(text.is_empty());
                if range.contains(&feature) && features[feature].derive == Derive::Element(element) {
                    sink.value(feature, Value::Text(text));
                    feature += 1;
                }
            }
            for at in range.clone().filter(|at| !by_element(at)) {
                let number = match features[at].derive {
                    Derive::ZeroShare => empty as f64 / width as f64,
                    Derive::Length => width as f64,
                    _ => f64::NAN,
                };
                sink.value(at, Value::Number(number));
            }
        }
    }
}

/// A tensor of an observation, where it has it.
pub(super) fn tensor_of(observation: &Observation, side: Side, at: usize) -> Option<&Tensor> {
    match side {
        Side::Input => observation.inputs.get(at).and_then(Option::as_ref),
        Side::Output => observation.outputs.get(at),
    }
}

/// Every `step`th element from `first` on, as a double.
pub(super) fn each(dtype: DataType, data: &[u8], first: usize, step: usize, take: &mut dyn FnMut(f64)) {
    fn walk<const N: usize>(
        data: &[u8],
        first: usize,
        step: usize,
        read: fn([u8; N]) -> f64,
        take: &mut dyn FnMut(f64),
    ) {
        let elements = data.as_chunks::<N>().0;
        elements.iter().skip(first).step_by(step.max(1)).for_each(|bytes| take(read(*bytes)));
    }
    match dtype {
        DataType::Bool | DataType::Uint8 => walk(data, first, step, |b: [u8; 1]| f64::from(b[0]), take),
        DataType::Int8 => walk(data, first, step, |b| f64::from(i8::from_le_bytes(b)), take),
        DataType::Uint16 => walk(data, first, step, |b| f64::from(u16::from_le_bytes(b)), take),
        DataType::Int16 => walk(data, first, step, |b| f64::from(i16::from_le_bytes(b)), take),
        DataType::Uint32 => walk(data, first, step, |b| f64::from(u32::from_le_bytes(b)), take),
        DataType::Int32 => walk(data, first, step, |b| f64::from(i32::from_le_bytes(b)), take),
        DataType::Uint64 => walk(data, first, step, |b| u64::from_le_bytes(b) as f64, take),
        DataType::Int64 => walk(data, first, step, |b| i64::from_le_bytes(b) as f64, take),
        DataType::Fp16 => walk(data, first, step, |b| f16::from_le_bytes(b).to_f64(), take),
        DataType::Bf16 => walk(data, first, step, |b| bf16::from_le_bytes(b).to_f64(), take),
        DataType::Fp32 => walk(data, first, step, |b| f64::from(f32::from_le_bytes(b)), take),
        DataType::Fp64 => walk(data, first, step, f64::from_le_bytes, take),
        DataType::Bytes => {}
    }
}

/// A number about a row. NaN where it is undefined, as for a row without elements.
fn derived(derive: Derive, row: &[f64]) -> f64 {
    let count = row.len() as f64;
    let mean = || row.iter().sum::<f64>() / count;
    match derive {
        Derive::Element(at) => row.get(at).copied().unwrap_or(f64::NAN),
        Derive::Mean => mean(),
        Derive::Std => {
            let mean = mean();
            (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt()
        }
        Derive::Norm => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        Derive::ZeroShare => row.iter().filter(|x| **x == 0.0).count() as f64 / count,
        Derive::Length => count,
        Derive::ArgMax => {
            let largest = row.iter().enumerate().filter(|(_, x)| !x.is_nan());
            // The first of equals, as every library has it.
            let largest = largest.rev().max_by(|a, b| a.1.total_cmp(b.1));
            largest.map_or(f64::NAN, |(at, _)| at as f64)
        }
        Derive::Entropy => entropy(row),
        Derive::Margin => {
            let mut best = [f64::NEG_INFINITY; 2];
            for &x in row {
                if x > best[0] {
                    best = [x, best[0]];
                } else if x > best[1] {
                    best[1] = x;
                }
            }
            let margin = best[0] - best[1];
            if margin.is_finite() { margin } else { f64::NAN }
        }
    }
}

/// Of scores that are shares already, or of logits, which are made shares as a softmax makes them.
fn entropy(row: &[f64]) -> f64 {
    let sum: f64 = row.iter().sum();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let are_shares = row.iter().all(|x| *x >= 0.0) && (sum - 1.0).abs() < 1e-2;
    let share = |x: &f64| if are_shares { *x } else { (x - largest).exp() };
    let total: f64 = row.iter().map(share).sum();
    let terms = row.iter().map(|x| share(x) / total).filter(|p| *p != 0.0);
    let entropy = -terms.map(|p| p * p.ln()).sum::<f64>();
    if row.len() < 2 { f64::NAN } else { (entropy / (row.len() as f64).ln()).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::model::features::features;
    use crate::model::{Dim, Signature, TensorSpec};
    use crate::tensor::{Shape, StringsWriter};

    #[derive(Default)]
    struct Seen(BTreeMap<usize, Vec<String>>);

    impl Sink for Seen {
        fn numbers(&mut self, feature: usize, numbers: &[f64]) {
            self.0.entry(feature).or_default().extend(numbers.iter().map(|number| format!("{number:.3}")));
        }

        fn value(&mut self, feature: usize, value: Value<'_>) {
            let text = match value {
                Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Value::Number(number) => format!("{number:.3}"),
                other => format!("{other:?}"),
            };
            self.0.entry(feature).or_default().push(text);
        }
    }

    /// What the features of one tensor of two rows are; `dims` is the shape of the signature without the rows.
    fn check(
        side: Side,
        dtype: DataType,
        dims: &[Option<usize>],
        shape: &[usize],
        data: Vec<u8>,
        expected: &[&[&str]],
    ) {
        let all = [None].iter().chain(dims).map(|dim| dim.map_or(Dim::Dynamic(None), Dim::Fixed)).collect();
        let spec = TensorSpec { name: "x".into(), dtype, shape: Some(all), optional: false };
        let tensor = Tensor::new("x".into(), dtype, Shape::new(shape).unwrap(), Bytes::from(data)).unwrap();
        let mut observation = Observation { rows: shape[0], ..Observation::default() };
        let mut signature = Signature::default();
        match side {
            Side::Input => {
                signature.inputs.push(spec);
                observation.inputs.push(Some(tensor));
            }
            Side::Output => {
                signature.outputs.push(spec);
                observation.outputs.push(tensor);
            }
        }
        let features = features(&signature, true, &BTreeMap::new());
        let mut seen = Seen::default();
        Reader::default().read(&features, true, &observation, &mut seen);
        let found: Vec<&Vec<String>> = seen.0.values().collect();
        assert_eq!(found, expected, "{dtype} {shape:?}");
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn every_datatype_is_read() {
        let one = &[Some(1)][..];
        let input = |dtype, data: Vec<u8>, expected: &[&str]| {
            check(Side::Input, dtype, one, &[2, 1], data, &[expected]);
        };
        input(DataType::Bool, vec![0, 1], &["Bool(false)", "Bool(true)"]);
        input(DataType::Uint8, vec![1, 255], &["1.000", "255.000"]);
        input(DataType::Int8, vec![1, 255], &["1.000", "-1.000"]);
        input(DataType::Uint16, vec![1, 0, 255, 255], &["1.000", "65535.000"]);
        input(DataType::Int16, vec![1, 0, 255, 255], &["1.000", "-1.000"]);
        input(
            DataType::Uint32,
            [1u32, 7].iter().flat_map(|n| n.to_le_bytes()).collect(),
            &["1.000", "7.000"],
        );
        input(
            DataType::Int32,
            [1i32, -7].iter().flat_map(|n| n.to_le_bytes()).collect(),
            &["1.000", "-7.000"],
        );
        input(
            DataType::Uint64,
            [1u64, 7].iter().flat_map(|n| n.to_le_bytes()).collect(),
            &["1.000", "7.000"],
        );
        input(
            DataType::Int64,
            [1i64, -7].iter().flat_map(|n| n.to_le_bytes()).collect(),
            &["1.000", "-7.000"],
        );
        input(DataType::Fp16, vec![0x00, 0x3c, 0x00, 0xc0], &["1.000", "-2.000"]);
        input(DataType::Bf16, vec![0x80, 0x3f, 0x00, 0xc0], &["1.000", "-2.000"]);
        input(DataType::Fp32, f32s(&[0.5, f32::NAN]), &["0.500", "NaN"]);
        input(
            DataType::Fp64,
            [0.5f64, -2.0].iter().flat_map(|n| n.to_le_bytes()).collect(),
            &["0.500", "-2.000"],
        );
    }

    #[test]
    fn texts_keep_to_their_columns() {
        let texts = |texts: &[&[u8]]| {
            let mut writer = StringsWriter::new();
            texts.iter().for_each(|text| writer.push(text).unwrap());
            writer.finish().to_vec()
        };
        let data = texts(&[b"a", b"b", b"", b"d"]);
        check(Side::Input, DataType::Bytes, &[Some(2)], &[2, 2], data.clone(), &[&["a", ""], &["b", "d"]]);
        let shares = &[&["0.000", "0.500"][..], &["2.000", "2.000"]];
        check(Side::Input, DataType::Bytes, &[None], &[2, 2], data, shares);
    }

    #[test]
    fn scores_have_a_class_an_entropy_and_a_margin() {
        let data = f32s(&[0.25, 0.5, 0.25, 2.0, 2.0, 0.0]);
        let expected: &[&[&str]] = &[
            &["0.250", "2.000"],
            &["0.500", "2.000"],
            &["0.250", "0.000"],
            &["1.000", "0.000"],
            // -(0.5 ln 0.5 + 0.5 ln 0.25) / ln 3; softmax of (2, 2, 0) = (0.4683, 0.4683, 0.0634).
            &["0.946", "0.806"],
            &["0.250", "0.000"],
        ];
        check(Side::Output, DataType::Fp32, &[Some(3)], &[2, 3], data, expected);
    }

    #[test]
    fn images_are_summarised() {
        let data = f32s(&[0.0, 2.0, 0.0, 2.0, 3.0, 4.0, 0.0, 5.0]);
        let expected: &[&[&str]] =
            &[&["1.000", "3.000"], &["1.000", "1.871"], &["2.828", "7.071"], &["0.500", "0.250"]];
        check(Side::Input, DataType::Fp32, &[Some(2), Some(2)], &[2, 2, 2], data, expected);
    }
}
