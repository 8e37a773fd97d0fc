//! Shapes: dimensions that a client stated, checked before anything is allocated or multiplied.

use std::fmt;

use smallvec::SmallVec;

/// The most dimensions a tensor may have. ONNX Runtime's kernels stop far below this.
pub(super) const RANK_MAX: usize = 32;

/// Dimensions of a tensor, row-major. Rank 0 is a scalar with one element.
///
/// The product of the dimensions fits `usize`; this is proven at construction.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    dims: SmallVec<[usize; 6]>,
}

/// Why stated dimensions are not a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A dimension is negative.
    #[error("dimension {index} is {value}; a request's dimensions must not be negative")]
    Negative {
        /// Which dimension.
        index: usize,
        /// What was stated.
        value: i64,
    },
    /// The number of elements does not fit the address space.
    #[error("the number of elements overflows")]
    Overflow,
    /// More than [`RANK_MAX`] dimensions.
    #[error("{rank} dimensions; at most {RANK_MAX} are allowed")]
    TooManyDimensions {
        /// How many were stated.
        rank: usize,
    },
}

impl Shape {
    /// A shape of dimensions that are already sizes.
    pub fn new(dims: &[usize]) -> Result<Shape, ShapeError> {
        if dims.len() > RANK_MAX {
            return Err(ShapeError::TooManyDimensions { rank: dims.len() });
        }
        checked_product(dims).ok_or(ShapeError::Overflow)?;
        Ok(Shape { dims: SmallVec::from_slice(dims) })
    }

    /// A shape of dimensions as the wire has them (`int64`).
    pub fn from_wire(dims: &[i64]) -> Result<Shape, ShapeError> {
        if dims.len() > RANK_MAX {
            return Err(ShapeError::TooManyDimensions { rank: dims.len() });
        }
        let mut sizes: SmallVec<[usize; 6]> = SmallVec::with_capacity(dims.len());
        for (index, &value) in dims.iter().enumerate() {
            sizes.push(usize::try_from(value).map_err(|_| ShapeError::Negative { index, value })?);
        }
        checked_product(&sizes).ok_or(ShapeError::Overflow)?;
        Ok(Shape { dims: sizes })
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The product of all dimensions; 1 for a scalar.
    pub fn element_count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The size of the first dimension, or `None` for a scalar.
    pub fn rows(&self) -> Option<usize> {
        self.dims.first().copied()
    }

    /// The dimensions after the first; empty for a scalar.
    pub fn row_dims(&self) -> &[usize] {
        self.dims.get(1..).unwrap_or(&[])
    }

    /// Elements in one row (the product of all dimensions after the first).
    pub fn row_element_count(&self) -> usize {
        self.row_dims().iter().product()
    }

    /// The same shape with another first dimension. The shape must not be a scalar.
    pub fn with_rows(&self, rows: usize) -> Result<Shape, ShapeError> {
        let mut dims = self.dims.clone();
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        checked_product(&dims).ok_or(ShapeError::Overflow)?;
        Ok(Shape { dims })
    }

    /// Whether any dimension is 0, so that there are no elements.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// The dimensions as `int64`, for the wire.
    pub fn to_wire(&self) -> Vec<i64> {
        self.dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect()
    }
}

/// The product, or `None` when it overflows. A 0 anywhere does not hide an overflow elsewhere: `[0, 2^40, 2^40]` is
/// refused, so that no later code that drops the 0 can overflow.
fn checked_product(dims: &[usize]) -> Option<usize> {
    let nonzero = dims.iter().filter(|&&dim| dim != 0).try_fold(1usize, |acc, &dim| acc.checked_mul(dim))?;
    // Byte counts are products of this with an element size of at most 8.
    isize::try_from(nonzero.checked_mul(16)?).ok()?;
    Some(if dims.contains(&0) { 0 } else { nonzero })
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dim) in self.dims.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_dimensions_are_refused() {
        assert_eq!(Shape::from_wire(&[-1]), Err(ShapeError::Negative { index: 0, value: -1 }));
        assert_eq!(Shape::from_wire(&[1 << 32, 1 << 32]), Err(ShapeError::Overflow));
        assert_eq!(Shape::from_wire(&[0, 1 << 40, 1 << 40]), Err(ShapeError::Overflow));
        assert_eq!(Shape::from_wire(&[2147483648, 2147483648]), Err(ShapeError::Overflow));
        assert_eq!(Shape::from_wire(&[1; 33]), Err(ShapeError::TooManyDimensions { rank: 33 }));
    }

    #[test]
    fn scalars_have_one_element() {
        let scalar = Shape::new(&[]).unwrap();
        assert_eq!((scalar.element_count(), scalar.rows(), scalar.rank()), (1, None, 0));
    }
}
