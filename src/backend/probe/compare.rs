//! Whether rows of outputs are the same: numbers within a tolerance, everything else exactly.

use super::super::Output;
use crate::tensor::{DataType, StringsIter, strings_len_of_rows};

/// One row of every output of a run.
#[derive(Debug, Clone)]
pub(super) struct Row<'a> {
    outputs: &'a [Output],
    index: usize,
}

/// The rows of a batch of `rows`.
///
/// # Errors
/// The output that does not have as many rows as went in.
pub(super) fn rows<'a>(outputs: &'a [Output], rows: usize, names: &[&str]) -> Result<Vec<Row<'a>>, String> {
    for (output, name) in outputs.iter().zip(names) {
        if output.shape.rows() != Some(rows) {
            return Err(format!("output '{name}' has the shape {} for {rows} rows", output.shape));
        }
    }
    Ok((0..rows).map(|index| Row { outputs, index }).collect())
}

/// Says how `left` and `right` differ, or `None` when they are the same.
pub(super) fn difference(left: &Row<'_>, right: &Row<'_>, tolerance: f64, names: &[&str]) -> Option<String> {
    for ((a, b), name) in left.outputs.iter().zip(right.outputs).zip(names) {
        if a.dtype != b.dtype || a.shape.row_dims() != b.shape.row_dims() {
            return Some(format!("output '{name}' has rows of {} and {}", a.shape, b.shape));
        }
        let (Some(a_data), Some(b_data)) = (row_data(a, left.index), row_data(b, right.index)) else {
            return Some(format!("output '{name}' is shorter than its shape"));
        };
        if let Some(text) = element_difference(a.dtype, a_data, b_data, tolerance) {
            return Some(format!("output '{name}': {text}"));
        }
    }
    None
}

fn row_data(output: &Output, index: usize) -> Option<&[u8]> {
    let per_row = output.shape.row_element_count();
    if let Some(size) = output.dtype.element_size() {
        return output.data.get(index * per_row * size..(index + 1) * per_row * size);
    }
    let lens = strings_len_of_rows(&output.data, per_row, index + 1).ok()?;
    let start: usize = lens.get(..index)?.iter().sum();
    output.data.get(start..start + lens.get(index)?)
}

/// Says how elements of `dtype` differ, or `None` when they are the same: floats within `tolerance`, relative and
/// absolute (half precision within its own steps; above 0.01 the absolute part shrinks with the largest element below 1),
/// everything else exactly.
pub fn element_difference(dtype: DataType, a: &[u8], b: &[u8], tolerance: f64) -> Option<String> {
    if a.len() != b.len() && dtype != DataType::Bytes {
        return Some(format!("{} and {} bytes of {dtype}", a.len(), b.len()));
    }
    let size = match dtype {
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => dtype.element_size()?,
        _ if a == b => return None,
        DataType::Bytes => {
            let pairs = StringsIter::new(a).flatten().zip(StringsIter::new(b).flatten());
            return Some(match pairs.into_iter().find(|(a, b)| a != b) {
                Some((a, b)) => format!("'{}' and '{}'", a.escape_ascii(), b.escape_ascii()),
                None => "one has more elements".to_owned(),
            });
        }
        _ => return Some(format!("{dtype} elements differ")),
    };
    // Half precision cannot keep a tolerance that is finer than its own steps.
    let tolerance = match dtype {
        DataType::Fp16 => tolerance.max(4.0 / 1024.0),
        DataType::Bf16 => tolerance.max(4.0 / 128.0),
        _ => tolerance,
    };
    let absolute = if tolerance > FINE { tolerance * magnitude(dtype, size, a, b) } else { tolerance };
    for (a, b) in a.chunks_exact(size).zip(b.chunks_exact(size)) {
        let (a, b) = (read_float(dtype, a), read_float(dtype, b));
        if !close(a, b, tolerance, absolute) {
            return Some(format!("{a} and {b}"));
        }
    }
    None
}

/// A larger tolerance is a share of what is compared: small probabilities would all be the same within 0.02.
const FINE: f64 = 0.01;

/// The largest finite magnitude of `a` and `b`, from [`FINE`] to 1.
fn magnitude(dtype: DataType, size: usize, a: &[u8], b: &[u8]) -> f64 {
    let elements = a.chunks_exact(size).chain(b.chunks_exact(size));
    let finite = elements.map(|bytes| read_float(dtype, bytes).abs()).filter(|value| value.is_finite());
    finite.fold(FINE, f64::max).min(1.0)
}

fn close(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    let within = || (a - b).abs() <= absolute + relative * a.abs().max(b.abs());
    a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && within())
}

/// Whether a floating-point output holds a NaN.
pub(super) fn has_nan(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| match output.dtype {
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => {
            let size = output.dtype.element_size().unwrap_or(8);
            output.data.chunks_exact(size).any(|bytes| read_float(output.dtype, bytes).is_nan())
        }
        _ => false,
    })
}

fn read_float(dtype: DataType, bytes: &[u8]) -> f64 {
    let array2 = || bytes.try_into().unwrap_or([0; 2]);
    match dtype {
        DataType::Fp16 => half::f16::from_le_bytes(array2()).to_f64(),
        DataType::Bf16 => half::bf16::from_le_bytes(array2()).to_f64(),
        DataType::Fp32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap_or_default())),
        _ => f64::from_le_bytes(bytes.try_into().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tensor::Shape;

    fn output(values: &[f32]) -> Output {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = Shape::new(&[values.len(), 1]).unwrap();
        Output { dtype: DataType::Fp32, shape, data: Bytes::from(data) }
    }

    fn check(a: f32, b: f32, same: bool) {
        let (a, b) = ([output(&[9.0, a])], [output(&[b])]);
        let found =
            difference(&rows(&a, 2, &["y"]).unwrap()[1], &rows(&b, 1, &["y"]).unwrap()[0], 1e-4, &["y"]);
        assert_eq!(found.is_none(), same, "{found:?}");
    }

    #[test]
    fn a_coarse_tolerance_is_a_share_of_what_is_compared() {
        let check = |a: &[f32], b: &[f32], same: bool| {
            let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            let found = element_difference(DataType::Fp32, &bytes(a), &bytes(b), 0.02);
            assert_eq!(found.is_none(), same, "{found:?}");
        };
        check(&[4.0, 0.0], &[4.05, 0.015], true);
        check(&[4.0, 0.0], &[4.0, 0.05], false);
        check(&[0.01, 0.001], &[0.01, 0.0011], true);
        check(&[0.01, 0.001], &[0.01, 0.002], false);
        check(&[0.0, f32::NAN], &[1e-5, f32::NAN], true);
    }

    #[test]
    fn floats_are_compared_with_tolerance() {
        check(1.0, 1.0, true);
        check(1.0, 1.00005, true);
        check(1.0, 1.001, false);
        check(1e9, 1e9 + 1e4, true);
        check(f32::NAN, f32::NAN, true);
        check(f32::NAN, 1.0, false);
        check(f32::INFINITY, f32::INFINITY, true);
        check(f32::INFINITY, f32::NEG_INFINITY, false);
        check(f32::INFINITY, 1.0, false);
        check(f32::MAX, f32::INFINITY, false);
    }

    #[test]
    fn missing_rows_are_named() {
        let outputs = [output(&[1.0])];
        assert_eq!(rows(&outputs, 2, &["y"]).unwrap_err(), "output 'y' has the shape [1,1] for 2 rows");
    }
}
