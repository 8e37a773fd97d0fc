//! Made-up inputs that fit a signature: the same seed gives the same row in a batch of any size.

use bytes::Bytes;

use super::super::{Input, InputData};
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::{AlignedBuffer, DataType, Shape, StringsWriter};

/// The most bytes of all inputs of one run. A signature with large fixed dimensions is not the child's fault.
const INPUT_BYTES_MAX: usize = 256 << 20;

/// Sizes that dynamic dimensions are tried with. 7 first: it is not 1, not even, and small.
pub(super) const SIZES: [usize; 6] = [7, 1, 2, 16, 64, 224];

/// What values look like. Some models look them up in tables or take logarithms of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Numbers from -1 to 1, integers 0 and 1, short words.
    Plain,
    /// Numbers from 0 to 1, integers 1, words that are numbers.
    Positive,
    /// Zeros and empty words.
    Zero,
}

impl Style {
    pub(super) const ALL: [Style; 3] = [Style::Plain, Style::Positive, Style::Zero];
}

/// How inputs are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) signature: &'a Signature,
    /// Whether axis 0 of every input is the batch.
    pub(super) batched: bool,
    /// Size of each dynamic dimension that is not the batch.
    pub(super) size: usize,
    pub(super) style: Style,
    /// One dynamic dimension, by the position of its input and its axis, that is 0 instead, with all of its name.
    pub(super) zero: Option<(usize, usize)>,
}

/// One input that owns its memory.
#[derive(Debug)]
pub(super) struct Made {
    dtype: DataType,
    shape: Shape,
    fixed: AlignedBuffer,
    strings: [Bytes; 1],
}

impl Made {
    pub(super) fn as_input(&self) -> Input<'_> {
        let data = match self.dtype {
            DataType::Bytes => InputData::Strings(&self.strings),
            _ => InputData::Fixed(self.fixed.as_slice()),
        };
        Input { dtype: self.dtype, shape: &self.shape, data }
    }
}

impl Plan<'_> {
    /// Inputs for `rows`, each the seed of one row. Without a batch axis the first seed is used for everything.
    /// `None` when they would be too large.
    pub(super) fn make(&self, rows: &[u64]) -> Option<Vec<Made>> {
        let mut left = INPUT_BYTES_MAX;
        let specs = self.signature.inputs.iter().enumerate();
        specs.map(|(position, spec)| self.make_input(position, spec, rows, &mut left)).collect()
    }

    fn make_input(&self, position: usize, spec: &TensorSpec, rows: &[u64], left: &mut usize) -> Option<Made> {
        let unknown_rank = [Dim::Dynamic(None)];
        let spec_dims = spec.shape.as_deref().unwrap_or(&unknown_rank);
        let dims: Vec<usize> =
            (0..spec_dims.len()).map(|axis| self.dim(position, spec_dims, axis, rows.len())).collect();
        let shape = Shape::new(&dims).ok()?;
        let (count, size) = (shape.element_count(), spec.dtype.element_size().unwrap_or(16));
        *left = left.checked_sub(count.checked_mul(size)?)?;
        let batched = self.batched && dims.first() == Some(&rows.len());
        let (rows, per_row) =
            if batched { (rows, shape.row_element_count()) } else { (rows.get(..1)?, count) };
        let mut made =
            Made { dtype: spec.dtype, shape, fixed: AlignedBuffer::new(), strings: [Bytes::new()] };
        let mut strings = StringsWriter::new();
        for &row in rows {
            let mut random = Random(row.wrapping_mul(0x9e37_79b9).wrapping_add(position as u64 + 1));
            for _ in 0..per_row {
                if spec.dtype == DataType::Bytes {
                    strings.push(self.style.word(&mut random).as_bytes()).ok()?;
                } else {
                    let (bytes, len) = self.style.number(spec.dtype, &mut random);
                    made.fixed.extend_from_slice(bytes.get(..len)?);
                }
            }
        }
        made.strings = [strings.finish()];
        Some(made)
    }

    fn dim(&self, position: usize, dims: &[Dim], axis: usize, rows: usize) -> usize {
        match dims.get(axis) {
            Some(Dim::Fixed(size)) => *size,
            Some(Dim::Dynamic(_)) | None if self.is_zero(position, dims, axis) => 0,
            Some(Dim::Dynamic(_)) | None if self.batched && axis == 0 => rows,
            Some(Dim::Dynamic(_)) | None => self.size,
        }
    }

    /// Whether this dimension is the one that is 0, or has its name.
    fn is_zero(&self, position: usize, dims: &[Dim], axis: usize) -> bool {
        let Some((zero_position, zero_axis)) = self.zero else { return false };
        if self.batched && zero_axis == 0 {
            return axis == 0;
        }
        let name = |dims: &[Dim], axis: usize| match dims.get(axis) {
            Some(Dim::Dynamic(Some(name))) => Some(name.clone()),
            _ => None,
        };
        let zero_spec = self.signature.inputs.get(zero_position);
        let zero_name =
            zero_spec.and_then(|spec| spec.shape.as_deref()).and_then(|dims| name(dims, zero_axis));
        (position, axis) == (zero_position, zero_axis)
            || (zero_name.is_some() && name(dims, axis) == zero_name && !(self.batched && axis == 0))
    }
}

impl Style {
    fn word(self, random: &mut Random) -> &'static str {
        const WORDS: [&str; 8] = ["a", "b", "cat", "the", "x1", "Yes", "north", "z"];
        const NUMBERS: [&str; 4] = ["1", "2", "3", "10"];
        match self {
            Style::Plain => WORDS[random.below(8)],
            Style::Positive => NUMBERS[random.below(4)],
            Style::Zero => "",
        }
    }

    /// One element, little-endian, and how many of its bytes count.
    fn number(self, dtype: DataType, random: &mut Random) -> ([u8; 8], usize) {
        let unit = random.unit();
        let real = match self {
            Style::Plain => unit * 2.0 - 1.0,
            Style::Positive => unit,
            Style::Zero => 0.0,
        };
        let whole = match self {
            Style::Plain => random.below(2) as u64,
            Style::Positive => 1,
            Style::Zero => 0,
        };
        let mut bytes = whole.to_le_bytes();
        match dtype {
            DataType::Fp64 => bytes = real.to_le_bytes(),
            DataType::Fp32 => bytes[..4].copy_from_slice(&half::f16::from_f64(real).to_f32().to_le_bytes()),
            DataType::Fp16 => bytes[..2].copy_from_slice(&half::f16::from_f64(real).to_le_bytes()),
            DataType::Bf16 => bytes[..2].copy_from_slice(&half::bf16::from_f64(real).to_le_bytes()),
            _ => {}
        }
        (bytes, dtype.element_size().unwrap_or(0))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u8) -> usize {
        // The remainder of a division by a `u8` fits any integer.
        usize::try_from(self.next() % u64::from(bound)).unwrap_or(0)
    }

    fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(bits) / 4_294_967_296.0
    }
}
