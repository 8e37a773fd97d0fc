//! From a segment to a Parquet file in the spool, and back from a file's bytes to batches.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::{large, wal};

/// The metadata that names the segment a file was made of.
pub(super) const SEGMENT_KEY: &str = "weir.segment";
/// The metadata that says how many rows were deleted from a file.
pub(super) const DELETED_KEY: &str = "weir.deleted";
/// Rows of a row group: what a reader takes into memory at least, and this process at most.
const GROUP_ROWS: usize = 65_536;
/// Bytes of a row group before it is written, whatever its rows.
const GROUP_BYTES: usize = 32 << 20;

fn properties(schema: &Schema, segment: &str) -> WriterProperties {
    let mut metadata: Vec<KeyValue> =
        schema.metadata().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    metadata.push(KeyValue::new(SEGMENT_KEY.to_owned(), segment.to_owned()));
    // A map has no order; files that are made twice are the same.
    metadata.sort_by(|one, other| one.key.cmp(&other.key));
    let compression = ZstdLevel::try_new(1).map_or(Compression::UNCOMPRESSED, Compression::ZSTD);
    WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(metadata))
        .build()
}

/// Makes the file of the segment at `from`, whole or not at all; its large values are to lie in `values`. Made twice of the
/// same segment, it is the same.
pub(super) fn convert(from: &Path, to: &Path, segment: &str, values: &str) -> Result<(), ParquetError> {
    let next = to.with_extension("next");
    let made =
        File::create(&next).map_err(ParquetError::from).and_then(|file| make(from, file, segment, values));
    // What is not whole only takes room.
    made.and_then(|file| Ok(file.sync_all()?)).inspect_err(|_| drop(std::fs::remove_file(&next)))?;
    std::fs::rename(&next, to)?;
    sync_folder(to)?;
    Ok(())
}

/// The same bytes, where the disk has no room for them. A segment is bounded, and so is its file.
pub(super) fn convert_in_memory(from: &Path, segment: &str, values: &str) -> Result<Bytes, ParquetError> {
    make(from, Vec::new(), segment, values).map(Bytes::from)
}

/// Writes the rows of the segment at `from` to `sink`, which is returned.
fn make<W: io::Write + Send>(from: &Path, sink: W, segment: &str, values: &str) -> Result<W, ParquetError> {
    let named = |batch: Result<RecordBatch, ArrowError>| large::named(&batch?, values);
    let mut batches = wal::batches(from)?.1.map(named).peekable();
    let Some(Ok(first)) = batches.peek() else {
        return match batches.next() {
            Some(Err(error)) => Err(error.into()),
            _ => Err(ParquetError::General("the segment holds no rows".to_owned())),
        };
    };
    let schema = first.schema();
    let mut writer = ArrowWriter::try_new(sink, plain(&schema), Some(properties(&schema, segment)))?;
    for batch in batches {
        write(&mut writer, &batch?)?;
    }
    writer.into_inner()
}

/// Metadata stand in the file itself, where every reader finds them; Arrow's copy of the schema need not repeat them.
fn plain(schema: &Schema) -> Arc<Schema> {
    Arc::new(Schema::new(schema.fields().clone()))
}

fn write<W: io::Write + Send>(writer: &mut ArrowWriter<W>, batch: &RecordBatch) -> Result<(), ParquetError> {
    let schema = plain(&batch.schema());
    writer.write(&RecordBatch::try_new(schema, batch.columns().to_vec())?)?;
    if writer.in_progress_size() > GROUP_BYTES {
        writer.flush()?;
    }
    Ok(())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The metadata and batches of a file.
pub(super) struct Opened {
    /// What its writer says of it.
    pub(super) metadata: Vec<KeyValue>,
    /// Its columns.
    pub(super) schema: Arc<Schema>,
    /// Its rows.
    pub(super) batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

/// Opens the bytes of a file.
pub(super) fn open(bytes: Bytes) -> Result<Opened, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(4_096);
    let metadata = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let schema = Arc::clone(builder.schema());
    Ok(Opened { metadata, schema, batches: Box::new(builder.build()?) })
}

impl Opened {
    /// The segment it was made of.
    pub(super) fn segment(&self) -> Option<&str> {
        self.value(SEGMENT_KEY)
    }

    /// One of its writer's words.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
    }
}

/// The bytes of a file with `batches` and the metadata of `like`.
pub(super) fn rewrite(
    like: &[KeyValue],
    schema: &Arc<Schema>,
    batches: &[RecordBatch],
) -> Result<Bytes, ParquetError> {
    let own = || like.iter().filter(|pair| pair.key.starts_with("weir."));
    let pairs: HashMap<String, String> = own()
        .filter(|pair| pair.key != SEGMENT_KEY)
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
        .collect();
    let segment = own().find(|pair| pair.key == SEGMENT_KEY).and_then(|pair| pair.value.as_deref());
    let described = Schema::new_with_metadata(schema.fields().clone(), pairs);
    let properties = properties(&described, segment.unwrap_or_default());
    let mut writer = ArrowWriter::try_new(Vec::new(), plain(&described), Some(properties))?;
    for batch in batches {
        write(&mut writer, batch)?;
    }
    Ok(writer.into_inner()?.into())
}
