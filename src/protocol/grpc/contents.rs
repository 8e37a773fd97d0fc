//! `InferTensorContents` to the bytes of a tensor: range checks, little-endian, and no copy where the wire has the same
//! form (packed floats).

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::message::Input;
use super::wire::{Field, Fields, Value, take_varint};
use crate::tensor::{DataType, Name, Shape, StringsWriter, TensorError};

/// The list of `InferTensorContents` that holds each datatype: its field number and name. FP16 and BF16 have none.
fn list_of(dtype: DataType) -> Option<u32> {
    match dtype {
        DataType::Bool => Some(1),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(2),
        DataType::Int64 => Some(3),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => Some(4),
        DataType::Uint64 => Some(5),
        DataType::Fp32 => Some(6),
        DataType::Fp64 => Some(7),
        DataType::Bytes => Some(8),
        DataType::Fp16 | DataType::Bf16 => None,
    }
}

fn list_name(number: u32) -> &'static str {
    match number {
        1 => "bool_contents",
        2 => "int_contents",
        3 => "int64_contents",
        4 => "uint_contents",
        5 => "uint64_contents",
        6 => "fp32_contents",
        7 => "fp64_contents",
        _ => "bytes_contents",
    }
}

/// The bytes of a typed input. `frame` is the message that the input's slices belong to.
pub(super) fn typed_data(
    frame: &Bytes,
    input: &Input<'_>,
    name: &Name,
    dtype: DataType,
    shape: &Shape,
) -> Result<Bytes, DecodeError> {
    let Some(list) = list_of(dtype) else {
        return Err(DecodeError::OnlyRaw { input: name.clone(), dtype });
    };
    let mut reader = Reader {
        frame,
        name,
        dtype,
        shape,
        expected: shape.element_count(),
        count: 0,
        shared: None,
        written: BytesMut::new(),
        strings: StringsWriter::new(),
    };
    for part in &input.contents {
        let mut fields = Fields::new(part);
        while let Some(field) = fields.next()? {
            if field.number == list {
                reader.read(field)?;
            } else if (1..=8).contains(&field.number) && !is_empty(field) {
                let (expected, actual) = (list_name(list), list_name(field.number));
                return Err(DecodeError::WrongContents { input: name.clone(), dtype, expected, actual });
            }
        }
    }
    reader.finish()
}

/// A packed list without values is no list.
fn is_empty(field: Field<'_>) -> bool {
    field.number != 8 && matches!(field.value, Value::Len([]))
}

/// Collects the values of one input.
struct Reader<'a> {
    frame: &'a Bytes,
    name: &'a Name,
    dtype: DataType,
    shape: &'a Shape,
    expected: usize,
    count: usize,
    /// The values, when all of them stand in the frame in the form that is wanted.
    shared: Option<Bytes>,
    written: BytesMut,
    strings: StringsWriter,
}

impl Reader<'_> {
    fn read(&mut self, field: Field<'_>) -> Result<(), DecodeError> {
        match (self.dtype, field.value) {
            (DataType::Bytes, Value::Len(element)) => {
                self.grow(1)?;
                let name = self.name;
                self.strings
                    .push(element)
                    .map_err(|source| TensorError::Strings { name: name.clone(), source }.into())
            }
            (DataType::Fp32, Value::Fixed32(value)) => self.fixed(&value, 4),
            (DataType::Fp64, Value::Fixed64(value)) => self.fixed(&value, 8),
            (DataType::Fp32, Value::Len(packed)) => self.packed_fixed(field, packed, 4),
            (DataType::Fp64, Value::Len(packed)) => self.packed_fixed(field, packed, 8),
            (DataType::Bytes | DataType::Fp32 | DataType::Fp64, _) => Err(field.wrong_type().into()),
            (_, Value::Varint(value)) => {
                self.grow(1)?;
                self.varint(value)
            }
            (_, Value::Len(mut packed)) => {
                // Every value takes a byte at least, so this is bounded by what was received.
                let size = self.dtype.element_size().unwrap_or(1);
                self.written.reserve(packed.len().min(self.expected) * size);
                while !packed.is_empty() {
                    self.grow(1)?;
                    self.varint(take_varint(&mut packed)?)?;
                }
                Ok(())
            }
            _ => Err(field.wrong_type().into()),
        }
    }

    /// Counts `values` more, and stops at the first that is too many.
    fn grow(&mut self, values: usize) -> Result<(), DecodeError> {
        self.count = self.count.saturating_add(values);
        if self.count > self.expected {
            return Err(self.wrong_count(format!("at least {}", self.count)));
        }
        Ok(())
    }

    fn wrong_count(&self, actual: String) -> DecodeError {
        let (input, shape) = (self.name.clone(), self.shape.to_string());
        DecodeError::ValueCount { input, shape, expected: self.expected, actual }
    }

    fn packed_fixed(&mut self, field: Field<'_>, packed: &[u8], size: usize) -> Result<(), DecodeError> {
        if !packed.len().is_multiple_of(size) {
            return Err(field.wrong_type().into());
        }
        if self.count == 0 {
            self.grow(packed.len() / size)?;
            self.shared = Some(self.frame.slice_ref(packed));
            return Ok(());
        }
        self.fixed(packed, size)
    }

    fn fixed(&mut self, values: &[u8], size: usize) -> Result<(), DecodeError> {
        self.grow(values.len() / size)?;
        if let Some(shared) = self.shared.take() {
            self.written.put(shared);
        }
        self.written.put_slice(values);
        Ok(())
    }

    fn varint(&mut self, value: u64) -> Result<(), DecodeError> {
        let out = &mut self.written;
        // The int and uint lists hold 32 bits; longer varints are cut, as protobuf has it.
        #[expect(clippy::cast_possible_truncation, reason = "protobuf's rule for 32-bit fields")]
        let (narrow, narrow_signed) = (value as u32, value as i32);
        let fits = match self.dtype {
            DataType::Bool => {
                out.put_u8(u8::from(value != 0));
                true
            }
            DataType::Int8 => i8::try_from(narrow_signed).map(|v| out.put_i8(v)).is_ok(),
            DataType::Int16 => i16::try_from(narrow_signed).map(|v| out.put_i16_le(v)).is_ok(),
            DataType::Int32 => {
                out.put_i32_le(narrow_signed);
                true
            }
            DataType::Uint8 => u8::try_from(narrow).map(|v| out.put_u8(v)).is_ok(),
            DataType::Uint16 => u16::try_from(narrow).map(|v| out.put_u16_le(v)).is_ok(),
            DataType::Uint32 => {
                out.put_u32_le(narrow);
                true
            }
            // INT64 and UINT64; the others never come here.
            _ => {
                out.put_u64_le(value);
                true
            }
        };
        if fits {
            return Ok(());
        }
        let signed = matches!(self.dtype, DataType::Int8 | DataType::Int16);
        Err(DecodeError::ValueRange {
            input: self.name.clone(),
            index: self.count - 1,
            value: if signed { i64::from(narrow_signed) } else { i64::from(narrow) },
            dtype: self.dtype,
        })
    }

    fn finish(self) -> Result<Bytes, DecodeError> {
        if self.count != self.expected {
            return Err(self.wrong_count(self.count.to_string()));
        }
        Ok(match (self.dtype, self.shared) {
            (DataType::Bytes, _) => self.strings.finish(),
            (_, Some(shared)) => shared,
            (_, None) => self.written.freeze(),
        })
    }
}
