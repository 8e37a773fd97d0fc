//! Ground: datatypes, shapes and tensors as slices of received bytes. No I/O, no async, no clock.
//!
//! A [`Tensor`] is a name, a [`DataType`], a [`Shape`] and [`bytes::Bytes`]; its length is proven once, at
//! construction, so nothing above has to check it again. Fixed-size datatypes are little-endian and row-major;
//! [`DataType::Bytes`] elements are a `u32` length and that many bytes, as the binary tensor data extension of the
//! Open Inference Protocol has them. This module never interprets numbers and never allocates by a claimed size.

mod dtype;
mod name;
mod shape;
mod staging;
mod strings;
#[allow(clippy::module_inception)] // the file is named after the type it holds
mod tensor;

pub use self::dtype::DataType;
pub use self::name::Name;
pub use self::shape::{Shape, ShapeError};
pub use self::staging::{AlignedBuffer, STAGING_ALIGNMENT, StagingBlock, StagingMemory};
pub use self::strings::{StringsError, StringsIter, StringsWriter, count_strings, strings_len_of_rows};
pub use self::tensor::{Tensor, TensorError};
