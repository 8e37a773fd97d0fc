//! The classification extension: the top classes of each row as `value:index[:label]` strings. Pure.

use std::cmp::Ordering;

use half::{bf16, f16};

use super::EngineError;
use crate::tensor::{DataType, Shape, StringsWriter, Tensor};

/// The `top` highest values of each row of `tensor`, highest first, ties by index, NaN last, in a BYTES tensor of the
/// same name. Rows are those of axis 0 when the version is `batched` or the tensor has two axes or more; otherwise the
/// whole tensor is one row.
pub(super) fn classify(
    tensor: &Tensor,
    top: u32,
    batched: bool,
    labels: &[String],
) -> Result<Tensor, EngineError> {
    let refuse = |reason| EngineError::Classification { output: tensor.name().to_string(), reason };
    let shape = tensor.shape();
    let by_rows = batched || shape.rank() > 1;
    let (rows, classes) = match shape.rows() {
        Some(rows) if by_rows => (rows, shape.row_element_count()),
        _ => (1, shape.element_count()),
    };
    let top = usize::try_from(top).unwrap_or(usize::MAX).min(classes);
    let read = reader(tensor.dtype()).ok_or_else(|| refuse("its elements are not numbers"))?;
    let size = tensor.dtype().element_size().unwrap_or(1);
    let mut writer = StringsWriter::new();
    let mut order: Vec<(i64, usize)> = Vec::new();
    for row in 0..rows {
        let bytes = tensor.data().get(row * classes * size..(row + 1) * classes * size).unwrap_or_default();
        order.clear();
        order.extend(
            bytes.chunks_exact(size).enumerate().map(|(index, element)| ((read.key)(element), index)),
        );
        if top > 0 && top < order.len() {
            order.select_nth_unstable_by(top - 1, by_value);
        }
        order.truncate(top);
        order.sort_unstable_by(by_value);
        for &(_, index) in &order {
            let mut text = (read.text)(bytes.get(index * size..(index + 1) * size).unwrap_or_default());
            text.push(':');
            text.push_str(&index.to_string());
            if let Some(label) = labels.get(index).filter(|label| !label.is_empty()) {
                text.push(':');
                text.push_str(label);
            }
            writer.push(text.as_bytes()).map_err(|_| refuse("a label is too long"))?;
        }
    }
    let dims: &[usize] = if by_rows { &[rows, top] } else { &[top] };
    let shape = Shape::new(dims).map_err(|_| refuse("it has too many classes"))?;
    Tensor::new(tensor.name().clone(), DataType::Bytes, shape, writer.finish())
        .map_err(|_| refuse("its labels do not fit a tensor"))
}

fn by_value(a: &(i64, usize), b: &(i64, usize)) -> Ordering {
    b.0.cmp(&a.0).then(a.1.cmp(&b.1))
}

/// How elements of a datatype are compared and shown: integers as they are, others with six decimals, as Triton does.
struct Reader {
    /// A number in the order of the elements; exact for all of them.
    key: fn(&[u8]) -> i64,
    text: fn(&[u8]) -> String,
}

/// The key of what has no order: behind everything, so that it never hides a class.
const LAST: i64 = i64::MIN;

/// The key of a float. Its bits are in order as they are, but for the sign; both zeros are one.
fn key_of_float(value: f64) -> i64 {
    if value.is_nan() {
        return LAST;
    }
    let bits = (value + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The key of an unsigned number: moved down by half the range.
fn key_of_u64(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

macro_rules! reader {
    ($type:ty, $show:literal, $to_key:expr) => {
        Reader {
            key: |bytes| bytes.first_chunk().map_or(LAST, |raw| $to_key(<$type>::from_le_bytes(*raw))),
            text: |bytes| {
                bytes
                    .first_chunk()
                    .map_or_else(String::new, |raw| format!($show, <$type>::from_le_bytes(*raw)))
            },
        }
    };
}

fn reader(dtype: DataType) -> Option<Reader> {
    Some(match dtype {
        DataType::Bool | DataType::Uint8 => reader!(u8, "{}", i64::from),
        DataType::Uint16 => reader!(u16, "{}", i64::from),
        DataType::Uint32 => reader!(u32, "{}", i64::from),
        DataType::Uint64 => reader!(u64, "{}", key_of_u64),
        DataType::Int8 => reader!(i8, "{}", i64::from),
        DataType::Int16 => reader!(i16, "{}", i64::from),
        DataType::Int32 => reader!(i32, "{}", i64::from),
        DataType::Int64 => reader!(i64, "{}", |value| value),
        DataType::Fp16 => reader!(f16, "{:.6}", |value| key_of_float(f64::from(value))),
        DataType::Bf16 => reader!(bf16, "{:.6}", |value| key_of_float(f64::from(value))),
        DataType::Fp32 => reader!(f32, "{:.6}", |value| key_of_float(f64::from(value))),
        DataType::Fp64 => reader!(f64, "{:.6}", key_of_float),
        DataType::Bytes => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::StringsIter;

    fn check(tensor: &Tensor, top: u32, batched: bool, labels: &[&str], shape: &[usize], expected: &[&str]) {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let classes = classify(tensor, top, batched, &labels).unwrap();
        let texts: Vec<String> = StringsIter::new(classes.data())
            .map(|text| String::from_utf8(text.unwrap().to_vec()).unwrap())
            .collect();
        assert_eq!(
            (classes.shape().dims(), texts),
            (shape, expected.iter().map(|text| (*text).to_owned()).collect())
        );
    }

    fn floats(dims: &[usize], values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new("p".into(), DataType::Fp32, Shape::new(dims).unwrap(), data.into()).unwrap()
    }

    fn whole<const N: usize>(dtype: DataType, values: [[u8; 8]; N]) -> Tensor {
        let data = values.concat();
        Tensor::new("p".into(), dtype, Shape::new(&[N]).unwrap(), data.into()).unwrap()
    }

    #[test]
    fn large_integers_are_told_apart() {
        let signed = [i64::MAX - 1, i64::MAX, i64::MIN, -1].map(i64::to_le_bytes);
        check(
            &whole(DataType::Int64, signed),
            4,
            false,
            &[],
            &[4],
            &["9223372036854775807:1", "9223372036854775806:0", "-1:3", "-9223372036854775808:2"],
        );
        let unsigned = [u64::MAX - 1, u64::MAX, 0].map(u64::to_le_bytes);
        check(
            &whole(DataType::Uint64, unsigned),
            3,
            false,
            &[],
            &[3],
            &["18446744073709551615:1", "18446744073709551614:0", "0:2"],
        );
    }

    #[test]
    fn floats_keep_their_order() {
        let ascending = [f64::NEG_INFINITY, -1e300, -5e-324, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        for pair in ascending.windows(2) {
            assert!(key_of_float(pair[0]) < key_of_float(pair[1]), "{pair:?}");
        }
        assert_eq!(key_of_float(-0.0), key_of_float(0.0));
        assert!(key_of_float(f64::NAN) < key_of_float(f64::NEG_INFINITY));
        assert!(key_of_float(-f64::NAN) < key_of_float(f64::NEG_INFINITY));
    }

    #[test]
    fn the_highest_come_first() {
        let two_rows = floats(&[2, 3], &[0.1, 0.7, 0.2, 0.5, 0.25, 0.5]);
        check(&two_rows, 2, true, &[], &[2, 2], &["0.700000:1", "0.200000:2", "0.500000:0", "0.500000:2"]);
        check(&two_rows, 1, true, &["a", "b", ""], &[2, 1], &["0.700000:1:b", "0.500000:0:a"]);
        check(
            &two_rows,
            9,
            true,
            &["a"],
            &[2, 3],
            &["0.700000:1", "0.200000:2", "0.100000:0:a", "0.500000:0:a", "0.500000:2", "0.250000:1"],
        );
        let vector = floats(&[3], &[f32::NAN, -1.0, f32::INFINITY]);
        check(&vector, 3, false, &[], &[3], &["inf:2", "-1.000000:1", "NaN:0"]);
        check(&vector, 1, true, &[], &[3, 1], &["NaN:0", "-1.000000:0", "inf:0"]);
        check(&floats(&[0, 3], &[]), 2, true, &[], &[0, 2], &[]);
        let bytes =
            Tensor::new("p".into(), DataType::Uint8, Shape::new(&[3]).unwrap(), vec![7, 200, 9].into());
        check(&bytes.unwrap(), 1, false, &[], &[1], &["200:1"]);
        assert!(
            classify(
                &Tensor::new("p".into(), DataType::Bytes, Shape::new(&[0]).unwrap(), Vec::new().into())
                    .unwrap(),
                1,
                false,
                &[]
            )
            .is_err()
        );
    }
}
