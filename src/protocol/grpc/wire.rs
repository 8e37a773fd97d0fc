//! The protobuf wire format: tags, varints and length-delimited fields of a byte slice. Knows no message.
//!
//! Groups (wire types 3 and 4) are refused: proto3 has none.

/// Bytes that are not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// A number takes more than 64 bits.
    #[error("a varint is longer than 64 bits")]
    Varint,
    /// A field number is 0 or too large, or its wire type does not exist.
    #[error("a field has an impossible tag")]
    Tag,
    /// A known field has another wire type than its definition.
    #[error("field {field} has the wrong wire type")]
    WireType {
        /// The field's number.
        field: u32,
    },
}

/// A field's value as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Len(&'a [u8]),
    Fixed32([u8; 4]),
}

/// A field number and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

impl<'a> Field<'a> {
    /// The value of a length-delimited field.
    pub(super) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Len(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    pub(super) fn wrong_type(&self) -> WireError {
        WireError::WireType { field: self.number }
    }
}

/// Reads the fields of one message, in the order of the wire.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// The next field, or `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(take_varint(&mut self.rest)?).map_err(|_| WireError::Tag)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut self.rest)?),
            1 => Value::Fixed64(take_array(&mut self.rest)?),
            2 => {
                let len = usize::try_from(take_varint(&mut self.rest)?).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Len(bytes)
            }
            5 => Value::Fixed32(take_array(&mut self.rest)?),
            _ => return Err(WireError::Tag),
        };
        Ok(Some(Field { number, value }))
    }
}

/// Takes one varint off the front.
pub(super) fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    // One byte is by far the most common.
    if let Some((&first, tail)) = rest.split_first()
        && first < 0x80
    {
        *rest = tail;
        return Ok(u64::from(first));
    }
    let mut value = 0u64;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        // The tenth byte holds bit 63 alone.
        if index == 9 && byte > 1 {
            return Err(WireError::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = rest.get(index + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (array, tail) = rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *rest = tail;
    Ok(*array)
}

/// The bytes that `value` takes as a varint.
pub(super) fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and at least one byte.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` as a varint.
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are wanted")]
pub(super) fn put_varint(buf: &mut impl bytes::BufMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_survive(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
            for len in 0..bytes.len() {
                prop_assert_eq!(take_varint(&mut &bytes[..len]), Err(WireError::Truncated));
            }
        }
    }

    #[test]
    fn impossible_bytes_are_refused() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Fields::new(bytes).next().map(|_| ()), Err(expected), "{bytes:?}");
        };
        check(&[0x00], WireError::Tag);
        check(&[0x0b], WireError::Tag);
        check(&[0x0a], WireError::Truncated);
        check(&[0x0a, 0x02, 0x00], WireError::Truncated);
        check(&[0x0d, 0, 0, 0], WireError::Truncated);
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], WireError::Varint);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Tag);
    }
}
