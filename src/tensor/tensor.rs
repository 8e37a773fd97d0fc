//! A named tensor whose bytes are known to match its datatype and shape.

use bytes::Bytes;

use super::{DataType, Name, Shape, StringsError, count_strings};

/// A name, a datatype, a shape and the bytes that fill it.
///
/// Invariant: `data.len()` equals `shape.element_count()` times the element size, or, for BYTES, `data` holds exactly
/// that many elements in wire form. Bytes of BOOL are 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    name: Name,
    dtype: DataType,
    shape: Shape,
    data: Bytes,
}

/// Why bytes are not the tensor they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// Too many or too few bytes.
    #[error("tensor '{name}': shape {shape} of {dtype} takes {expected} bytes, got {actual}")]
    Length {
        /// The tensor's name.
        name: Name,
        /// Its datatype.
        dtype: DataType,
        /// Its shape.
        shape: Shape,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// Too many or too few BYTES elements.
    #[error("tensor '{name}': shape {shape} of BYTES takes {expected} elements, got {actual}")]
    ElementCount {
        /// The tensor's name.
        name: Name,
        /// Its shape.
        shape: Shape,
        /// Elements that the shape takes.
        expected: usize,
        /// Elements that came.
        actual: usize,
    },
    /// A BOOL element that is neither 0 nor 1.
    #[error("tensor '{name}': BOOL element {index} is {byte}; only 0 and 1 are allowed")]
    Bool {
        /// The tensor's name.
        name: Name,
        /// Which element.
        index: usize,
        /// What it is.
        byte: u8,
    },
    /// BYTES data that is not in wire form.
    #[error("tensor '{name}': {source}")]
    Strings {
        /// The tensor's name.
        name: Name,
        /// The defect.
        source: StringsError,
    },
}

impl Tensor {
    /// A tensor of `data`, which must fill `shape` exactly.
    ///
    /// # Errors
    /// [`TensorError`] when it does not; nothing is allocated by the claimed size.
    pub fn new(name: Name, dtype: DataType, shape: Shape, data: Bytes) -> Result<Tensor, TensorError> {
        let expected = shape.element_count();
        match dtype.element_size() {
            Some(size) => {
                // Cannot overflow: a shape's element count times 16 fits `isize`.
                let expected = expected * size;
                if data.len() != expected {
                    let actual = data.len();
                    return Err(TensorError::Length { name, dtype, shape, expected, actual });
                }
                // A runtime may refuse a whole batch for one such byte, or do as it likes.
                if dtype == DataType::Bool
                    && let Some((index, &byte)) = data.iter().enumerate().find(|(_, byte)| **byte > 1)
                {
                    return Err(TensorError::Bool { name, index, byte });
                }
            }
            None => match count_strings(&data) {
                Ok(actual) if actual == expected => {}
                Ok(actual) => return Err(TensorError::ElementCount { name, shape, expected, actual }),
                Err(source) => return Err(TensorError::Strings { name, source }),
            },
        }
        Ok(Tensor { name, dtype, shape, data })
    }

    /// The tensor's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Takes the bytes out.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The same tensor under another name.
    pub fn with_name(self, name: Name) -> Tensor {
        Tensor { name, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dtype: DataType, dims: &[usize], len: usize, ok: bool) {
        let made = Tensor::new("x".into(), dtype, Shape::new(dims).unwrap(), Bytes::from(vec![0; len]));
        assert_eq!(made.is_ok(), ok, "{dtype} {dims:?} of {len} bytes: {made:?}");
    }

    #[test]
    fn length_is_proven() {
        check(DataType::Fp32, &[2, 3], 24, true);
        check(DataType::Fp32, &[2, 3], 23, false);
        check(DataType::Fp32, &[], 4, true);
        check(DataType::Int64, &[0, 7], 0, true);
        check(DataType::Bytes, &[2], 8, true);
        check(DataType::Bytes, &[2], 4, false);
        check(DataType::Bytes, &[2], 9, false);
    }

    #[test]
    fn bools_are_zero_or_one() {
        let check = |dtype, bytes: &'static [u8], expected: Option<&str>| {
            let made = Tensor::new("x".into(), dtype, Shape::new(&[3]).unwrap(), Bytes::from_static(bytes));
            assert_eq!(made.err().map(|error| error.to_string()).as_deref(), expected);
        };
        check(DataType::Bool, &[0, 1, 1], None);
        check(DataType::Bool, &[0, 1, 7], Some("tensor 'x': BOOL element 2 is 7; only 0 and 1 are allowed"));
        check(DataType::Uint8, &[0, 1, 7], None);
    }
}
