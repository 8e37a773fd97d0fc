//! One entry of `inputs`: collects its keys in whatever order they come, then makes the tensor.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::cursor::Cursor;
use super::elements::{self, Target};
use super::error::{DecodeError, Label, shorten};
use crate::protocol::binary::BinaryTail;
use crate::protocol::limits::Limits;
use crate::protocol::parameters::{ParameterError, check_tensor_parameter};
use crate::tensor::{DataType, Name, Shape, Tensor};

/// The nesting of `data`: request, `inputs`, input.
const DATA_DEPTH: usize = 3;
/// Dimensions are collected up to one more than a shape may have, so that `Shape` can refuse them.
const DIMENSIONS_MAX: usize = 33;

/// What an input has said so far.
#[derive(Debug, Default)]
struct Draft<'a> {
    index: usize,
    name: Option<Cow<'a, str>>,
    dtype: Option<DataType>,
    shape: Option<Shape>,
    /// `data` that came before what is needed to read them.
    data_offset: Option<usize>,
    data: Option<Bytes>,
    binary_data_size: Option<usize>,
}

/// Reads the input at the cursor; binary data are taken from `tail`.
pub(super) fn decode(
    cursor: &mut Cursor<'_>,
    index: usize,
    tail: &mut BinaryTail,
    limits: &Limits,
) -> Result<Tensor, DecodeError> {
    let mut draft = Draft { index, ..Draft::default() };
    let start = cursor.clone();
    cursor.object("an input", |cursor, key| draft.entry(cursor, &key, limits))?;
    draft.finish(&start, tail)
}

impl<'a> Draft<'a> {
    fn entry(&mut self, cursor: &mut Cursor<'a>, key: &str, limits: &Limits) -> Result<(), DecodeError> {
        let offset = cursor.offset();
        let twice = || DecodeError::Duplicate { offset, key: key.to_owned() };
        match key {
            "name" if self.name.is_some() => Err(twice()),
            "name" => {
                self.name = Some(cursor.string("the input's name")?);
                Ok(())
            }
            "datatype" if self.dtype.is_some() => Err(twice()),
            "datatype" => {
                let found = cursor.string("a datatype")?;
                let dtype = DataType::from_wire_name(&found);
                self.dtype = Some(dtype.ok_or_else(|| DecodeError::DataType {
                    tensor: self.label().to_string(),
                    found: shorten(&found),
                })?);
                Ok(())
            }
            "shape" if self.shape.is_some() => Err(twice()),
            "shape" => {
                self.shape = Some(self.shape(cursor, limits)?);
                Ok(())
            }
            "data" if self.data.is_some() || self.data_offset.is_some() => Err(twice()),
            "data" => self.data(cursor),
            "parameters" => self.parameters(cursor, limits),
            _ => cursor.skip(DATA_DEPTH),
        }
    }

    fn label(&self) -> Label<'_> {
        Label { name: self.name.as_deref(), index: self.index }
    }

    fn shape(&self, cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Shape, DecodeError> {
        let mut dims: SmallVec<[i64; 8]> = SmallVec::new();
        cursor.array("an array of dimensions", |cursor| {
            let offset = cursor.offset();
            let whole = cursor.number()?.to_whole();
            let dim = whole.and_then(|whole| i64::try_from(whole).ok());
            if dims.len() < DIMENSIONS_MAX {
                dims.push(dim.ok_or(DecodeError::Text { offset, reason: "a dimension is a whole number" })?);
            }
            Ok(())
        })?;
        let shape = Shape::from_wire(&dims)
            .map_err(|source| DecodeError::Shape { tensor: self.label().to_string(), source })?;
        match shape.rows() {
            Some(rows) if rows > limits.rows_max => {
                Err(DecodeError::Rows { tensor: self.label().to_string(), rows, max: limits.rows_max })
            }
            _ => Ok(shape),
        }
    }

    /// Reads `data` if all that is needed is known, else remembers where they are.
    fn data(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if self.name.is_some()
            && let (Some(dtype), Some(shape)) = (self.dtype, &self.shape)
        {
            let target = Target { label: self.label(), dtype, shape, depth: DATA_DEPTH };
            self.data = Some(elements::decode(cursor, target)?);
            return Ok(());
        }
        self.data_offset = Some(cursor.offset());
        cursor.skip(DATA_DEPTH)
    }

    fn parameters(&mut self, cursor: &mut Cursor<'a>, limits: &Limits) -> Result<(), DecodeError> {
        let mut size = self.binary_data_size;
        let mut count = 0;
        let checked = cursor.object("an object of parameters", |cursor, key| {
            count += 1;
            if count > limits.parameters_max {
                return Err(DecodeError::TooMany {
                    what: "parameters of an input",
                    max: limits.parameters_max,
                });
            }
            let offset = cursor.offset();
            let mut held = Cow::Borrowed("");
            let value = cursor.scalar(&mut held)?;
            let refused = |source| DecodeError::Parameter { place: format!("input {}", self.index), source };
            if key != "binary_data_size" {
                return check_tensor_parameter(&key).map_err(refused);
            }
            let bytes = value.whole().and_then(|bytes| usize::try_from(bytes).ok());
            let bytes = bytes.ok_or_else(|| {
                refused(ParameterError::Kind { name: key.to_string(), expected: "a whole number of bytes" })
            })?;
            match size.replace(bytes) {
                None => Ok(()),
                Some(_) => Err(DecodeError::Duplicate { offset, key: key.to_string() }),
            }
        });
        self.binary_data_size = size;
        checked
    }

    fn finish(mut self, start: &Cursor<'_>, tail: &mut BinaryTail) -> Result<Tensor, DecodeError> {
        let decoded = self.data.take();
        let label = self.label();
        let missing = |key| DecodeError::Missing { place: label.to_string(), key };
        let name = self.name.as_deref().ok_or_else(|| missing("name"))?;
        let dtype = self.dtype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.as_ref().ok_or_else(|| missing("shape"))?;
        let data = match (self.binary_data_size, decoded, self.data_offset) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                let reason = "it has both 'data' and 'binary_data_size'; one of them is needed";
                return Err(DecodeError::Data { tensor: label.to_string(), reason });
            }
            (Some(size), None, None) => tail.take(label, size)?,
            (None, Some(data), _) => data,
            (None, None, Some(offset)) => {
                let target = Target { label, dtype, shape, depth: DATA_DEPTH };
                elements::decode(&mut start.at_offset(offset), target)?
            }
            (None, None, None) => return Err(missing("data")),
        };
        Ok(Tensor::new(Name::from(name), dtype, shape.clone(), data)?)
    }
}
