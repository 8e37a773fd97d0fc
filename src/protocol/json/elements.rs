//! The `data` of a tensor, flat or nested, straight into its little-endian bytes.
//!
//! What is written never grows beyond a small multiple of the text that was read (8 bytes for every 2 of text at
//! worst), whatever the shape claims.
//!
//! Floating-point tensors take `NaN`, `Infinity` and `-Infinity`, bare as Python writes them or as strings as this
//! server does, and `null` as NaN, which is what several JSON writers make of it. A number too large for the datatype
//! is refused rather than turned into infinity.

use bytes::Bytes;
use half::{bf16, f16};

use super::cursor::Cursor;
use super::error::{DecodeError, Label};
use crate::tensor::{DataType, Shape};

/// What `data` must become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'t> {
    /// The tensor, for messages.
    pub(super) label: Label<'t>,
    pub(super) dtype: DataType,
    pub(super) shape: &'t Shape,
    /// The nesting at which `data` stands.
    pub(super) depth: usize,
}

/// Reads `data` at the cursor.
pub(super) fn decode(cursor: &mut Cursor<'_>, target: Target<'_>) -> Result<Bytes, DecodeError> {
    match target.dtype {
        DataType::Bool => Reader::<bool>::read(cursor, target),
        DataType::Uint8 => Reader::<u8>::read(cursor, target),
        DataType::Uint16 => Reader::<u16>::read(cursor, target),
        DataType::Uint32 => Reader::<u32>::read(cursor, target),
        DataType::Uint64 => Reader::<u64>::read(cursor, target),
        DataType::Int8 => Reader::<i8>::read(cursor, target),
        DataType::Int16 => Reader::<i16>::read(cursor, target),
        DataType::Int32 => Reader::<i32>::read(cursor, target),
        DataType::Int64 => Reader::<i64>::read(cursor, target),
        DataType::Fp16 => Reader::<f16>::read(cursor, target),
        DataType::Bf16 => Reader::<bf16>::read(cursor, target),
        DataType::Fp32 => Reader::<f32>::read(cursor, target),
        DataType::Fp64 => Reader::<f64>::read(cursor, target),
        DataType::Bytes => Reader::<Text>::read(cursor, target),
    }
}

/// Why a value is not an element.
enum Fault {
    /// It is not JSON.
    Json(Box<DecodeError>),
    /// It is another kind of value or out of range; the reason.
    Value(&'static str),
}

impl From<DecodeError> for Fault {
    #[cold]
    fn from(error: DecodeError) -> Fault {
        Fault::Json(Box::new(error))
    }
}

/// One datatype's way from a JSON value to bytes.
trait Element {
    /// Bytes of an element, or of its length prefix.
    const SIZE: usize;

    /// Reads one value, whose first byte is next, and appends it.
    fn append(cursor: &mut Cursor<'_>, data: &mut Vec<u8>) -> Result<(), Fault>;
}

/// Collects the elements of one tensor.
struct Reader<'t, E> {
    target: Target<'t>,
    expected: usize,
    count: usize,
    data: Vec<u8>,
    element: std::marker::PhantomData<E>,
}

impl<'t, E: Element> Reader<'t, E> {
    fn read(cursor: &mut Cursor<'_>, target: Target<'t>) -> Result<Bytes, DecodeError> {
        let expected = target.shape.element_count();
        // An element takes a byte of text and a comma at least, so a shape that claims more than that is wrong.
        let capacity = expected.min(cursor.remaining() / 2 + 1) * E::SIZE;
        let data = Vec::with_capacity(capacity);
        let mut reader = Reader { target, expected, count: 0, data, element: std::marker::PhantomData::<E> };
        reader.whole(cursor)?;
        if reader.count != expected {
            return Err(reader.wrong_count(false));
        }
        Ok(Bytes::from(reader.data))
    }

    fn whole(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let rank = self.target.shape.rank();
        if cursor.next_token() != Some(b'[') {
            if rank == 0 {
                return self.element(cursor);
            }
            return Err(cursor.unexpected("an array of data"));
        }
        cursor.step();
        match cursor.next_token() {
            Some(b']') => {
                cursor.step();
                Ok(())
            }
            Some(b'[') if rank > 1 => {
                if self.target.depth + rank > cursor.depth_max() {
                    return Err(DecodeError::Depth { offset: cursor.offset(), max: cursor.depth_max() });
                }
                self.nested(cursor, 0)
            }
            _ => self.run(cursor, self.expected).map_err(|run| run.unwrap_or_else(|| self.wrong_count(true))),
        }
    }

    /// The values of `dimension`, after its opening bracket.
    fn nested(&mut self, cursor: &mut Cursor<'_>, dimension: usize) -> Result<(), DecodeError> {
        let dims = self.target.shape.dims();
        let size = dims.get(dimension).copied().unwrap_or_default();
        if dimension + 1 == dims.len() {
            let before = self.count;
            if !cursor.take(b']') {
                let run = self.run(cursor, size);
                run.map_err(|run| run.unwrap_or_else(|| self.wrong_nesting(cursor, dimension)))?;
            }
            return match self.count - before == size {
                true => Ok(()),
                false => Err(self.wrong_nesting(cursor, dimension)),
            };
        }
        let mut values = 0;
        let mut open = !cursor.take(b']');
        while open {
            if values == size || !cursor.take(b'[') {
                return Err(self.wrong_nesting(cursor, dimension));
            }
            self.nested(cursor, dimension + 1)?;
            values += 1;
            open = cursor.take(b',');
            if !open {
                cursor.expect(b']', "',' or ']'")?;
            }
        }
        if values == size { Ok(()) } else { Err(self.wrong_nesting(cursor, dimension)) }
    }

    /// Elements up to and with the closing bracket. `Err(None)` when there are more than `max`.
    #[inline]
    fn run(&mut self, cursor: &mut Cursor<'_>, max: usize) -> Result<(), Option<DecodeError>> {
        let end = self.count + max;
        loop {
            if self.count == end {
                return Err(None);
            }
            cursor.next_token();
            self.element(cursor)?;
            match cursor.next_token() {
                Some(b',') => cursor.step(),
                Some(b']') => {
                    cursor.step();
                    return Ok(());
                }
                _ => return Err(Some(cursor.unexpected("',' or ']'"))),
            }
        }
    }

    #[inline]
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let offset = cursor.offset();
        match E::append(cursor, &mut self.data) {
            Ok(()) => {
                self.count += 1;
                Ok(())
            }
            Err(fault) => Err(self.fault(cursor, offset, fault)),
        }
    }

    #[cold]
    fn fault(&self, cursor: &Cursor<'_>, offset: usize, fault: Fault) -> DecodeError {
        match fault {
            Fault::Json(error) => *error,
            Fault::Value(reason) => DecodeError::Element {
                tensor: self.target.label.to_string(),
                dtype: self.target.dtype,
                element: self.count,
                offset,
                value: cursor.quote(offset),
                reason,
            },
        }
    }

    #[cold]
    fn wrong_count(&self, more_follow: bool) -> DecodeError {
        DecodeError::Count {
            tensor: self.target.label.to_string(),
            shape: self.target.shape.clone(),
            expected: self.expected,
            actual: self.count + usize::from(more_follow),
            at_least: more_follow,
        }
    }

    #[cold]
    fn wrong_nesting(&self, cursor: &Cursor<'_>, dimension: usize) -> DecodeError {
        DecodeError::Nesting {
            tensor: self.target.label.to_string(),
            shape: self.target.shape.clone(),
            offset: cursor.offset(),
            dimension,
            expected: self.target.shape.dims().get(dimension).copied().unwrap_or_default(),
        }
    }
}

/// Whether a number starts with `byte`. `-Infinity` does too, and is told apart by those who take it.
#[inline]
fn starts_number(byte: Option<u8>) -> bool {
    matches!(byte, Some(b'-' | b'0'..=b'9'))
}

macro_rules! whole_elements {
    ($($type:ty: $range:literal),* $(,)?) => {$(
        impl Element for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn append(cursor: &mut Cursor<'_>, data: &mut Vec<u8>) -> Result<(), Fault> {
                if !starts_number(cursor.peek()) {
                    return Err(Fault::Value("a whole number is needed"));
                }
                let whole = cursor.number()?.to_whole();
                let value = whole.and_then(|whole| <$type>::try_from(whole).ok());
                let value = value.ok_or(Fault::Value(concat!("a whole number from ", $range, " is needed")))?;
                data.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
        }
    )*};
}

whole_elements! {
    u8: "0 to 255",
    u16: "0 to 65535",
    u32: "0 to 4294967295",
    u64: "0 to 18446744073709551615",
    i8: "-128 to 127",
    i16: "-32768 to 32767",
    i32: "-2147483648 to 2147483647",
    i64: "-9223372036854775808 to 9223372036854775807",
}

impl Element for bool {
    const SIZE: usize = 1;

    fn append(cursor: &mut Cursor<'_>, data: &mut Vec<u8>) -> Result<(), Fault> {
        let value = match cursor.peek() {
            Some(b't') if cursor.take_word("true") => true,
            Some(b'f') if cursor.take_word("false") => false,
            byte if starts_number(byte) => match cursor.number()?.to_whole() {
                Some(0) => false,
                Some(1) => true,
                _ => return Err(Fault::Value("true, false, 1 or 0 is needed")),
            },
            _ => return Err(Fault::Value("true, false, 1 or 0 is needed")),
        };
        data.push(u8::from(value));
        Ok(())
    }
}

/// A value that stands for a float that JSON's numbers cannot hold. `None` when it is something else.
#[cold]
fn named_float(cursor: &mut Cursor<'_>) -> Option<f64> {
    let names = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];
    if cursor.take_word("null") {
        return Some(f64::NAN);
    }
    let (name, value) = match cursor.peek() {
        Some(b'"') => {
            let quoted = ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
            quoted
                .into_iter()
                .zip(names)
                .map(|(quoted, (_, value))| (quoted, value))
                .find(|(q, _)| cursor.starts_with(q))?
        }
        _ => names.into_iter().find(|(name, _)| cursor.starts_with(name))?,
    };
    cursor.take_word(name).then_some(value)
}

macro_rules! float_elements {
    ($($type:ty: $value:ident => $convert:expr, $name:ident => $named:expr);* $(;)?) => {$(
        impl Element for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn append(cursor: &mut Cursor<'_>, data: &mut Vec<u8>) -> Result<(), Fault> {
                let value: $type = if starts_number(cursor.peek()) && !cursor.starts_with("-I") {
                    let $value = cursor.number()?;
                    let value: $type = $convert;
                    if !value.is_finite() {
                        return Err(Fault::Value("it is too large"));
                    }
                    value
                } else {
                    match named_float(cursor) {
                        Some($name) => $named,
                        None => return Err(Fault::Value("a number is needed")),
                    }
                };
                data.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
        }
    )*};
}

#[expect(clippy::cast_possible_truncation, reason = "NaN and infinities have every width")]
const fn narrow(named: f64) -> f32 {
    named as f32
}

float_elements! {
    f32: number => number.to_f32(), named => narrow(named);
    f64: number => number.to_f64(), named => named;
    f16: number => f16::from_f64(number.to_f64()), named => f16::from_f64(named);
    bf16: number => bf16::from_f64(number.to_f64()), named => bf16::from_f64(named);
}

/// A BYTES element: a string, as a length and its UTF-8.
struct Text;

impl Element for Text {
    const SIZE: usize = 4;

    fn append(cursor: &mut Cursor<'_>, data: &mut Vec<u8>) -> Result<(), Fault> {
        if cursor.peek() != Some(b'"') {
            return Err(Fault::Value("a string is needed"));
        }
        let text = cursor.string("a string")?;
        let len = u32::try_from(text.len()).map_err(|_| Fault::Value("it is longer than 4 GiB"))?;
        data.extend_from_slice(&len.to_le_bytes());
        data.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
