//! Protobuf's wire format, read field by field from a file. Knows no message and believes no length.

use std::io::{BufRead, Read, Seek};

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Defect {
    #[error("it is empty")]
    Empty,
    #[error("it is in ORT format, which is not served; serve the ONNX file that it was made from")]
    OrtFormat,
    #[error("it is cut off, or is no ONNX file (byte {0})")]
    Truncated(u64),
    #[error("it is no ONNX file (byte {0})")]
    Malformed(u64),
    #[error("it has no graph")]
    NoGraph,
    #[error("it is nested more deeply than {0} messages")]
    TooDeep(u32),
    #[error("it has more than {limit} {what}")]
    TooMany { limit: usize, what: &'static str },
    #[error("it has a name of {0} bytes")]
    LongName(u64),
    #[error("its tensor '{0}' has more elements than memory can hold")]
    TooManyElements(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A field's value, or its length when it has bytes, which are read or skipped next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    /// 4 or 8 bytes, skipped already.
    Fixed,
    Len(u64),
}

/// A cursor over a file.
#[derive(Debug)]
pub(super) struct Reader<R> {
    inner: R,
    at: u64,
}

impl<R: BufRead + Seek> Reader<R> {
    pub(super) fn new(inner: R) -> Reader<R> {
        Reader { inner, at: 0 }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next field of the message that ends at `end`, or `None` at its end.
    pub(super) fn field(&mut self, end: u64) -> Result<Option<(u64, Value)>, Defect> {
        if self.at == end {
            return Ok(None);
        }
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Defect::Malformed(self.at));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => self.skip_within(8, end).map(|()| Value::Fixed)?,
            2 => {
                let len = self.varint(end)?;
                if len > end - self.at {
                    return Err(Defect::Truncated(self.at));
                }
                Value::Len(len)
            }
            5 => self.skip_within(4, end).map(|()| Value::Fixed)?,
            _ => return Err(Defect::Malformed(self.at)),
        };
        Ok(Some((number, value)))
    }

    /// Skips the bytes of a field, if it has any.
    pub(super) fn skip(&mut self, value: Value) -> Result<(), Defect> {
        match value {
            Value::Len(len) => self.advance(len),
            Value::Varint(_) | Value::Fixed => Ok(()),
        }
    }

    /// Reads the bytes of a field as text of at most `len_max` bytes. What is not UTF-8 is replaced.
    pub(super) fn text(&mut self, len: u64, len_max: u64) -> Result<String, Defect> {
        if len > len_max {
            return Err(Defect::LongName(len));
        }
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(len).read_to_end(&mut bytes)?;
        if read as u64 != len {
            return Err(Defect::Truncated(self.at));
        }
        self.at += len;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A varint that must end before `end`.
    pub(super) fn varint(&mut self, end: u64) -> Result<u64, Defect> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.at >= end {
                return Err(Defect::Truncated(self.at));
            }
            let mut byte = [0];
            self.inner.read_exact(&mut byte).map_err(|_| Defect::Truncated(self.at))?;
            self.at += 1;
            let [byte] = byte;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Defect::Malformed(self.at))
    }

    fn skip_within(&mut self, len: u64, end: u64) -> Result<(), Defect> {
        if len > end - self.at {
            return Err(Defect::Truncated(self.at));
        }
        self.advance(len)
    }

    fn advance(&mut self, len: u64) -> Result<(), Defect> {
        // Stays in the buffer where it can; a length beyond `i64` was refused, because no file is that long.
        let offset = i64::try_from(len).map_err(|_| Defect::Truncated(self.at))?;
        self.inner.seek_relative(offset)?;
        self.at += len;
        Ok(())
    }
}
