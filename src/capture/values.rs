//! The values of one column while a batch is made: a vector per type, grown in place, so that a number costs no
//! allocation of its own. Nulls and lists are the column's business, not this file's.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType as ArrowType;

use super::privacy::Policy;
use crate::tensor::DataType;

/// Text whose ends are offsets into one run of bytes.
#[derive(Debug)]
pub(super) struct Text {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Text {
    fn new() -> Text {
        Text { ends: vec![0], bytes: Vec::new() }
    }

    /// Appends one value. Beyond 2 GiB in one batch, which the bounds of a batch forbid, values become empty.
    pub(super) fn push(&mut self, text: &str) {
        let end = i32::try_from(self.bytes.len() + text.len());
        if end.is_ok() {
            self.bytes.extend_from_slice(text.as_bytes());
        }
        let last = self.ends.last().copied().unwrap_or_default();
        self.ends.push(end.unwrap_or(last));
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let Text { ends, bytes } = std::mem::replace(self, Text::new());
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(bytes), nulls))
    }
}

/// How a type of numbers is stored: variant, Arrow's type, its name.
macro_rules! numbers {
    ($($variant:ident $native:ty, $arrow:ty, $name:ident;)*) => {
        /// Values of one type.
        #[derive(Debug)]
        pub(super) enum Values {
            Bool(Vec<bool>),
            Text(Text),
            $($variant(Vec<$native>),)*
        }

        impl Values {
            /// Values appended.
            pub(super) fn len(&self) -> usize {
                match self {
                    Values::Bool(values) => values.len(),
                    Values::Text(text) => text.ends.len() - 1,
                    $(Values::$variant(values) => values.len(),)*
                }
            }

            /// Appends so many placeholders, whose row is null.
            pub(super) fn pad(&mut self, count: usize) {
                match self {
                    Values::Bool(values) => values.resize(values.len() + count, false),
                    Values::Text(text) => (0..count).for_each(|_| text.push("")),
                    $(Values::$variant(values) => values.resize(values.len() + count, <$native>::default()),)*
                }
            }

            /// What was appended, as an array; empty afterwards.
            pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
                match self {
                    Values::Bool(values) => {
                        let values = BooleanBuffer::from(std::mem::take(values));
                        Arc::new(BooleanArray::new(values, nulls))
                    }
                    Values::Text(text) => text.finish(nulls),
                    $(Values::$variant(values) => {
                        let values = ScalarBuffer::from(std::mem::take(values));
                        Arc::new(PrimitiveArray::<$arrow>::new(values, nulls))
                    })*
                }
            }

            /// The type that Arrow and Parquet know.
            pub(super) fn arrow_type(&self) -> ArrowType {
                match self {
                    Values::Bool(_) => ArrowType::Boolean,
                    Values::Text(_) => ArrowType::Utf8,
                    $(Values::$variant(_) => ArrowType::$name,)*
                }
            }
        }
    };
}

numbers! {
    Uint8 u8, UInt8Type, UInt8;
    Uint16 u16, UInt16Type, UInt16;
    Uint32 u32, UInt32Type, UInt32;
    Uint64 u64, UInt64Type, UInt64;
    Int8 i8, Int8Type, Int8;
    Int16 i16, Int16Type, Int16;
    Int32 i32, Int32Type, Int32;
    Int64 i64, Int64Type, Int64;
    Fp32 f32, Float32Type, Float32;
    Fp64 f64, Float64Type, Float64;
}

/// Runs `$with` with the function from bytes to a number of `$dtype` as `$read`.
macro_rules! with_reader {
    ($dtype:expr, $read:ident => $with:expr) => {
        match $dtype {
            DataType::Uint8 => {
                let $read = u8::from_le_bytes;
                $with
            }
            DataType::Uint16 => {
                let $read = u16::from_le_bytes;
                $with
            }
            DataType::Uint32 => {
                let $read = u32::from_le_bytes;
                $with
            }
            DataType::Uint64 => {
                let $read = u64::from_le_bytes;
                $with
            }
            DataType::Int8 => {
                let $read = i8::from_le_bytes;
                $with
            }
            DataType::Int16 => {
                let $read = i16::from_le_bytes;
                $with
            }
            DataType::Int32 => {
                let $read = i32::from_le_bytes;
                $with
            }
            DataType::Int64 => {
                let $read = i64::from_le_bytes;
                $with
            }
            DataType::Fp16 => {
                let $read = |bytes| half::f16::from_le_bytes(bytes).to_f32();
                $with
            }
            DataType::Bf16 => {
                let $read = |bytes| half::bf16::from_le_bytes(bytes).to_f32();
                $with
            }
            DataType::Fp32 => {
                let $read = f32::from_le_bytes;
                $with
            }
            DataType::Fp64 => {
                let $read = f64::from_le_bytes;
                $with
            }
            DataType::Bool => {
                let $read = |[byte]: [u8; 1]| byte != 0;
                $with
            }
            DataType::Bytes => {}
        }
    };
}

impl Values {
    /// Where values of `dtype` go under `policy`.
    pub(super) fn new(dtype: DataType, policy: &Policy) -> Values {
        if policy.makes_text() {
            return Values::Text(Text::new());
        }
        match dtype {
            DataType::Bool => Values::Bool(Vec::new()),
            DataType::Uint8 => Values::Uint8(Vec::new()),
            DataType::Uint16 => Values::Uint16(Vec::new()),
            DataType::Uint32 => Values::Uint32(Vec::new()),
            DataType::Uint64 => Values::Uint64(Vec::new()),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => Values::Fp32(Vec::new()),
            DataType::Fp64 => Values::Fp64(Vec::new()),
            DataType::Bytes => Values::Text(Text::new()),
        }
    }

    /// Appends one text.
    pub(super) fn push_text(&mut self, value: &str) {
        if let Values::Text(text) = self {
            text.push(value);
        }
    }

    /// Appends the numbers in `data`, which are of `dtype`.
    pub(super) fn extend(&mut self, dtype: DataType, data: &[u8], policy: &Policy) {
        if let Values::Text(text) = self {
            let mut scratch = String::new();
            with_reader!(dtype, read => for bytes in data.as_chunks().0 {
                scratch.clear();
                // Writing to a string cannot fail.
                write!(scratch, "{}", read(*bytes)).ok();
                text.push(policy.text(scratch.as_bytes()).as_deref().unwrap_or_default());
            });
            return;
        }
        let before = self.len();
        macro_rules! append {
            ($values:expr, $read:expr) => {
                $values.extend(data.as_chunks().0.iter().map(|bytes| $read(*bytes)))
            };
        }
        match (&mut *self, dtype) {
            (Values::Bool(values), _) => values.extend(data.iter().map(|byte| *byte != 0)),
            (Values::Uint8(values), _) => values.extend_from_slice(data),
            (Values::Uint16(values), _) => append!(values, u16::from_le_bytes),
            (Values::Uint32(values), _) => append!(values, u32::from_le_bytes),
            (Values::Uint64(values), _) => append!(values, u64::from_le_bytes),
            (Values::Int8(values), _) => append!(values, i8::from_le_bytes),
            (Values::Int16(values), _) => append!(values, i16::from_le_bytes),
            (Values::Int32(values), _) => append!(values, i32::from_le_bytes),
            (Values::Int64(values), _) => append!(values, i64::from_le_bytes),
            (Values::Fp32(values), DataType::Fp16) => {
                append!(values, |bytes| half::f16::from_le_bytes(bytes).to_f32());
            }
            (Values::Fp32(values), DataType::Bf16) => {
                append!(values, |bytes| half::bf16::from_le_bytes(bytes).to_f32());
            }
            (Values::Fp32(values), _) => append!(values, f32::from_le_bytes),
            (Values::Fp64(values), _) => append!(values, f64::from_le_bytes),
            (Values::Text(_), _) => {}
        }
        if policy.changes_numbers() {
            self.coarsen(before..self.len(), policy);
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a policy asks for less than the exact number; `as` keeps it within its type"
    )]
    fn coarsen(&mut self, range: Range<usize>, policy: &Policy) {
        macro_rules! each {
            ($($variant:ident $native:ty),*) => {
                match self {
                    Values::Bool(_) | Values::Text(_) => {}
                    $(Values::$variant(values) => {
                        for value in values.get_mut(range).unwrap_or_default() {
                            *value = policy.number(*value as f64) as $native;
                        }
                    })*
                }
            };
        }
        each!(
            Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64, Int8 i8, Int16 i16, Int32 i32, Int64 i64, Fp32 f32,
            Fp64 f64
        );
    }
}
