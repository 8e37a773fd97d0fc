//! Labels as Parquet and back. The same labels always make the same bytes, so that a file may be written twice.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt32Type};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::error::LabelError;
use super::label::{Label, LabelValue};

/// A label as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Received {
    pub(super) label: Label,
    pub(super) received_us: i64,
}

fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("request_id", DataType::Utf8, false),
        Field::new("row", DataType::UInt32, false),
        // JSON: exact, whatever the label is.
        Field::new("label", DataType::Utf8, false),
        // The same for those who want to count: numbers, and 1 and 0 for yes and no.
        Field::new("label_number", DataType::Float64, true),
        Field::new("label_time", time(), false),
        Field::new("source", DataType::Utf8, false),
        Field::new("received", time(), false),
    ]))
}

/// A file of `labels`.
pub(super) fn encode(labels: &[Received]) -> Result<Bytes, ParquetError> {
    let text = |text: fn(&Received) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(labels.iter().map(text)))
    };
    let time = |time: fn(&Received) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(labels.iter().map(time)).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        text(|one| one.label.request_id.clone()),
        Arc::new(UInt32Array::from_iter_values(labels.iter().map(|one| one.label.row))),
        text(|one| one.label.value.to_json()),
        Arc::new(labels.iter().map(|one| one.label.value.as_number()).collect::<Float64Array>()),
        time(|one| one.label.time_us.unwrap_or(one.received_us)),
        text(|one| one.label.source.clone()),
        time(|one| one.received_us),
    ];
    let schema = schema();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("weir labels 1".to_owned())
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// The labels of a file.
pub(super) fn decode(key: &str, bytes: Bytes) -> Result<Vec<Received>, LabelError> {
    let damaged = |error: ParquetError| LabelError::damaged(key, error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(damaged)?;
    let reader = reader.build().map_err(damaged)?;
    let mut labels = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| LabelError::damaged(key, error))?;
        let rows =
            rows(&batch).ok_or_else(|| LabelError::damaged(key, "columns are missing or of other types"))?;
        labels.extend(rows);
    }
    Ok(labels)
}

fn rows(batch: &RecordBatch) -> Option<Vec<Received>> {
    let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
    let time = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>();
    let (ids, values, sources) = (text("request_id")?, text("label")?, text("source")?);
    let rows = batch.column_by_name("row")?.as_primitive_opt::<UInt32Type>()?;
    let (times, received) = (time("label_time")?, time("received")?);
    let row = |at: usize| {
        let value: LabelValue = serde_json::from_str(values.value(at)).ok()?;
        let label = Label {
            request_id: ids.value(at).to_owned(),
            row: rows.value(at),
            value,
            time_us: Some(times.value(at)),
            source: sources.value(at).to_owned(),
        };
        Some(Received { label, received_us: received.value(at) })
    };
    (0..batch.num_rows()).map(row).collect()
}
