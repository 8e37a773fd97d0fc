//! Values that are too large for a column: they go through the log beside their row and become objects of their own, which
//! the row names.
//!
//! ```text
//! log:    {sha256, bytes, value} ──► file: {sha256, bytes, uri}
//!                          └───────► store: <the file's key without .parquet>.values/<sha256>
//! ```
//!
//! An object belongs to the rows of one file, so it goes when they go, and it is in the store before the file that names it.
//! A value whose policy is not to keep it as it is has a hash and a size, and no object.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, LargeBinaryArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, Field, Fields, Schema};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::privacy::{Policy, hex};

const HASH: &str = "sha256";
const SIZE: &str = "bytes";
/// In the log only.
const VALUE: &str = "value";
/// In files only.
const URI: &str = "uri";

/// The members of a large value in the log.
pub(super) fn logged_fields() -> Fields {
    Fields::from(vec![
        Field::new(HASH, ArrowType::Utf8, false),
        Field::new(SIZE, ArrowType::UInt64, false),
        Field::new(VALUE, ArrowType::LargeBinary, true),
    ])
}

/// The members of a large value in a file.
fn stored_fields() -> Fields {
    Fields::from(vec![
        Field::new(HASH, ArrowType::Utf8, false),
        Field::new(SIZE, ArrowType::UInt64, false),
        Field::new(URI, ArrowType::Utf8, true),
    ])
}

/// Large values while a batch is made.
#[derive(Debug)]
pub(super) struct LargeValues {
    hashes: Vec<String>,
    sizes: Vec<u64>,
    content: Vec<u8>,
    ends: Vec<i64>,
    /// Which have a content.
    kept: NullBufferBuilder,
}

impl LargeValues {
    pub(super) fn new() -> LargeValues {
        LargeValues {
            hashes: Vec::new(),
            sizes: Vec::new(),
            content: Vec::new(),
            ends: vec![0],
            kept: NullBufferBuilder::new(0),
        }
    }

    /// Appends one value under `policy`.
    pub(super) fn push(&mut self, value: &[u8], policy: &Policy) {
        let is_kept = matches!(policy, Policy::Keep);
        self.hashes.push(match policy {
            Policy::Hmac(hasher) => hasher.hash(value),
            _ => hex(&Sha256::digest(value)),
        });
        self.sizes.push(value.len() as u64);
        if is_kept {
            self.content.extend_from_slice(value);
        }
        self.end(is_kept);
    }

    /// Appends a placeholder, whose row is null.
    pub(super) fn pad(&mut self) {
        self.hashes.push(String::new());
        self.sizes.push(0);
        self.end(false);
    }

    fn end(&mut self, is_kept: bool) {
        self.ends.push(i64::try_from(self.content.len()).unwrap_or(i64::MAX));
        self.kept.append(is_kept);
    }

    /// What was appended, for the log; empty afterwards.
    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let LargeValues { hashes, sizes, content, ends, mut kept } =
            std::mem::replace(self, LargeValues::new());
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(hashes)),
            Arc::new(PrimitiveArray::<UInt64Type>::from(sizes)),
            Arc::new(LargeBinaryArray::new(offsets, Buffer::from_vec(content), kept.finish())),
        ];
        Arc::new(StructArray::new(logged_fields(), arrays, nulls))
    }
}

/// Texts as one value: one as it is, several each with its length before it (4 bytes, little-endian), as the protocol
/// sends them.
pub(super) fn joined<'a>(texts: &[&'a [u8]]) -> Cow<'a, [u8]> {
    if let [one] = texts {
        return Cow::Borrowed(one);
    }
    let mut all = Vec::new();
    for text in texts {
        all.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        all.extend_from_slice(text);
    }
    Cow::Owned(all)
}

/// Where the large values of the file at `key` lie.
pub(super) fn folder(key: &str) -> String {
    format!("{}.values", key.trim_end_matches(".parquet"))
}

/// The name of the value with this hash in `folder`.
pub(super) fn uri(folder: &str, hash: &str) -> String {
    format!("{folder}/{hash}")
}

/// What the name of a column ends with whose rows were too large for the column before it.
pub(super) const OVERFLOW: &str = ".large";

/// Whether `column` holds the rows that were too large for the column before it.
pub(super) fn is_overflow(name: &str, column: &dyn Array) -> bool {
    name.ends_with(OVERFLOW) && matches!(column.data_type(), ArrowType::Struct(_))
}

/// Whether rows of `schema` may have large values.
pub(super) fn may_hold(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| is_large(field))
}

/// Whether a column of the log has large values.
fn is_large(field: &Field) -> bool {
    matches!(field.data_type(), ArrowType::Struct(fields) if fields.find(VALUE).is_some())
}

/// The values in a batch of the log, by the hash that names them.
pub(super) fn values(batch: &RecordBatch) -> Vec<(String, Bytes)> {
    let mut found = Vec::new();
    for column in batch.columns().iter().filter_map(|column| column.as_struct_opt()) {
        let hashes = column.column_by_name(HASH).and_then(|hashes| hashes.as_string_opt::<i32>());
        let values = column.column_by_name(VALUE).and_then(|values| values.as_binary_opt::<i64>());
        let (Some(hashes), Some(values)) = (hashes, values) else { continue };
        let kept = (0..column.len()).filter(|at| column.is_valid(*at) && values.is_valid(*at));
        found.extend(kept.map(|at| (hashes.value(at).to_owned(), Bytes::copy_from_slice(values.value(at)))));
    }
    found
}

/// A batch of the log as files have it: large values by the names that they get in `folder`.
///
/// # Errors
/// When the batch is not what its schema says.
pub(super) fn named(batch: &RecordBatch, folder: &str) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !may_hold(&schema) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        match column.as_struct_opt().filter(|_| is_large(field)) {
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
            Some(column) => {
                let kind = ArrowType::Struct(stored_fields());
                fields.push(Arc::new(Field::new(field.name(), kind, field.is_nullable())));
                columns.push(named_column(column, folder)?);
            }
        }
    }
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns)
}

fn named_column(column: &StructArray, folder: &str) -> Result<ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError("a large value lacks a member".to_owned());
    let member = |name: &str| column.column_by_name(name).ok_or_else(missing);
    let (hashes, values) = (member(HASH)?, member(VALUE)?);
    let texts = hashes.as_string_opt::<i32>().ok_or_else(missing)?;
    let uris = (0..column.len()).map(|at| values.is_valid(at).then(|| uri(folder, texts.value(at))));
    let uris: ArrayRef = Arc::new(uris.collect::<StringArray>());
    let arrays = vec![Arc::clone(hashes), Arc::clone(member(SIZE)?), uris];
    Ok(Arc::new(StructArray::try_new(stored_fields(), arrays, column.nulls().cloned())?))
}

/// The objects that rows of a file name.
pub(super) fn uris(batch: &RecordBatch) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for column in batch.columns().iter().filter_map(|column| column.as_struct_opt()) {
        let uris = column.column_by_name(URI).and_then(|uris| uris.as_string_opt::<i32>());
        let Some(uris) = uris else { continue };
        let valid = (0..column.len()).filter(|at| column.is_valid(*at) && uris.is_valid(*at));
        found.extend(valid.map(|at| uris.value(at).to_owned()));
    }
    found
}
