//! The second pass: the rows that were planned, with label and weight, into Parquet parts.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};

use super::error::DatasetError;
use super::hash;
use super::manifest::OutputFile;
use super::plan::{LabelKind, Planned, PlannedFile, inputs};
use super::query::{Query, Split};
use super::source::{self, CapturedRows};
use crate::capture::labels::{Label, LabelTable, LabelValue, hex};

/// Rows and bytes of a part; a part is held in memory until it is written.
const PART_ROWS_MAX: usize = 1 << 20;
const PART_BYTES_MAX: usize = 64 << 20;
/// The columns before the features, which captured rows have under the same names.
const KEPT: [&str; 6] = ["request_id", "row", "ts_us", "model_version", "route", "key_hash"];

/// Writes the planned rows.
pub(super) async fn write(
    store: &Arc<dyn ObjectStore>,
    out: &Arc<dyn ObjectStore>,
    query: &Query,
    labels: &LabelTable,
    planned: &Planned,
) -> Result<Vec<OutputFile>, DatasetError> {
    let schema = schema(planned);
    let mut train = Parts::new(out, "train", &schema);
    let mut test = Parts::new(out, "test", &schema);
    for file in planned.files.iter().filter(|file| file.keep.contains(&true)) {
        let (bytes, sha256) = source::fetch(store, &file.source.key).await?;
        if sha256 != file.sha256 {
            return Err(DatasetError::Changed(file.source.key.clone()));
        }
        let mut begin = 0;
        for batch in source::open(&file.source.key, bytes)? {
            let batch = batch.map_err(|error| DatasetError::damaged(&file.source.key, error))?;
            let (in_train, in_test) = divide(query, planned, file, &batch, begin)?;
            begin += batch.num_rows();
            for (parts, chosen) in [(&mut train, in_train), (&mut test, in_test)] {
                if chosen.true_count() > 0 {
                    let filtered = filter_record_batch(&batch, &chosen);
                    let filtered =
                        filtered.map_err(|error| DatasetError::damaged(&file.source.key, error))?;
                    parts
                        .write(joined(query, labels, planned, &schema, &file.source.key, &filtered)?)
                        .await?;
                }
            }
        }
    }
    let mut files = train.finish().await?;
    files.extend(test.finish().await?);
    Ok(files)
}

/// Creates an object that must be new.
pub(super) async fn create(out: &Arc<dyn ObjectStore>, key: &str, bytes: Bytes) -> Result<(), DatasetError> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match out.put_opts(&Path::from(key), PutPayload::from(bytes), options).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::AlreadyExists { .. }) => Err(DatasetError::Exists(key.to_owned())),
        Err(error) => Err(DatasetError::store(key, error)),
    }
}

/// Which rows of a batch are train and which test.
fn divide(
    query: &Query,
    planned: &Planned,
    file: &PlannedFile,
    batch: &RecordBatch,
    begin: usize,
) -> Result<(BooleanArray, BooleanArray), DatasetError> {
    let rows = CapturedRows::new(&file.source.key, batch)?;
    let is_train = |at: usize| match query.split {
        Split::None => true,
        Split::Time(_) => planned.train_until_us.is_none_or(|until| rows.ts_us(at) <= until),
        Split::Hash(share) => hash::share(rows.group(at)) < share,
    };
    let keep = |at: usize| file.keep.get(begin + at).copied().unwrap_or(false);
    let train: Vec<bool> = (0..batch.num_rows()).map(|at| keep(at) && is_train(at)).collect();
    let test: Vec<bool> = train.iter().enumerate().map(|(at, is_train)| keep(at) && !is_train).collect();
    Ok((BooleanArray::from(train), BooleanArray::from(test)))
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn label_type(kind: Option<LabelKind>) -> DataType {
    match kind {
        Some(LabelKind::Number) => DataType::Float64,
        Some(LabelKind::Bool) => DataType::Boolean,
        Some(LabelKind::Numbers) => DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true))),
        Some(LabelKind::Text | LabelKind::Json) | None => DataType::Utf8,
    }
}

fn schema(planned: &Planned) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new("request_id", DataType::Utf8, false)),
        Arc::new(Field::new("row", DataType::UInt32, false)),
        Arc::new(Field::new("ts_us", time_type(), false)),
        Arc::new(Field::new("model_version", DataType::UInt64, false)),
        Arc::new(Field::new("route", DataType::Utf8, false)),
        Arc::new(Field::new("key_hash", DataType::Utf8, true)),
        Arc::new(Field::new("weight", DataType::Float64, false)),
    ];
    fields.extend(planned.features.iter().cloned());
    fields.push(Arc::new(Field::new("label", label_type(planned.label), true)));
    fields.push(Arc::new(Field::new("label_time", time_type(), true)));
    fields.push(Arc::new(Field::new("label_source", DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

/// Captured rows with weight, label and the columns that other files have.
fn joined(
    query: &Query,
    labels: &LabelTable,
    planned: &Planned,
    schema: &SchemaRef,
    key: &str,
    batch: &RecordBatch,
) -> Result<RecordBatch, DatasetError> {
    let rows = CapturedRows::new(key, batch)?;
    let damaged = |reason: &dyn std::fmt::Display| DatasetError::damaged(key, reason);
    let of: Vec<Option<&Label>> = (0..batch.num_rows())
        .map(|at| labels.get(rows.request_id(at), rows.row(at)).map(|(label, _)| label))
        .collect();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for name in KEPT {
        columns.push(Arc::clone(batch.column_by_name(name).ok_or_else(|| damaged(&name))?));
    }
    let inputs = inputs(batch);
    let weight = |at: usize| {
        if query.keep_duplicates {
            return rows.weight(at);
        }
        let text = of.get(at).copied().flatten().map(|label| label.value.to_json()).unwrap_or_default();
        planned.weights.get(&hash::row(batch, &inputs, at, &text)).copied().unwrap_or_else(|| rows.weight(at))
    };
    columns.push(Arc::new(Float64Array::from_iter_values((0..batch.num_rows()).map(weight))));
    for field in &planned.features {
        let found = batch.column_by_name(field.name()).cloned();
        columns.push(found.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())));
    }
    columns.extend(label_columns(planned.label, &of));
    let typed = columns.into_iter().zip(schema.fields()).map(|(column, field)| {
        // The same time, whether its zone was written or not.
        match column.data_type() == field.data_type() {
            true => Ok(column),
            false => retyped(&column, field).ok_or_else(|| damaged(field.name())),
        }
    });
    let typed = typed.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), typed).map_err(|error| damaged(&error))
}

/// A time column with the zone of `field`.
fn retyped(column: &ArrayRef, field: &Field) -> Option<ArrayRef> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::TimestampMicrosecondType;
    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?.clone().with_timezone("UTC");
    (field.data_type() == &time_type()).then(|| Arc::new(times) as ArrayRef)
}

fn label_columns(kind: Option<LabelKind>, labels: &[Option<&Label>]) -> [ArrayRef; 3] {
    let values = || labels.iter().map(|label| label.map(|label| &label.value));
    let label: ArrayRef = match kind {
        Some(LabelKind::Number) => {
            let mut builder = Float64Builder::new();
            values().for_each(|value| builder.append_option(value.and_then(LabelValue::as_number)));
            Arc::new(builder.finish())
        }
        Some(LabelKind::Bool) => {
            let mut builder = BooleanBuilder::new();
            values().for_each(|value| {
                builder.append_option(value.and_then(LabelValue::as_number).map(|yes| yes > 0.5))
            });
            Arc::new(builder.finish())
        }
        Some(LabelKind::Numbers) => {
            let mut builder = ListBuilder::new(Float64Builder::new());
            for value in values() {
                let items = match value {
                    Some(LabelValue::List(items)) => Some(items),
                    _ => None,
                };
                builder.append_option(items.map(|items| items.iter().map(LabelValue::as_number)));
            }
            Arc::new(builder.finish())
        }
        Some(LabelKind::Text | LabelKind::Json) | None => {
            let mut builder = StringBuilder::new();
            for value in values() {
                match value {
                    Some(LabelValue::Text(text)) if kind == Some(LabelKind::Text) => {
                        builder.append_value(text)
                    }
                    Some(value) => builder.append_value(value.to_json()),
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
    };
    let (mut times, mut sources) = (TimestampMicrosecondBuilder::new(), StringBuilder::new());
    for label in labels {
        times.append_option(label.and_then(|label| label.time_us));
        sources.append_option(label.map(|label| label.source.as_str()));
    }
    [label, Arc::new(times.finish().with_timezone("UTC")), Arc::new(sources.finish())]
}

/// The files of one split.
struct Parts<'a> {
    out: &'a Arc<dyn ObjectStore>,
    split: &'static str,
    schema: SchemaRef,
    writer: Option<ArrowWriter<Vec<u8>>>,
    rows: usize,
    files: Vec<OutputFile>,
}

impl<'a> Parts<'a> {
    fn new(out: &'a Arc<dyn ObjectStore>, split: &'static str, schema: &SchemaRef) -> Parts<'a> {
        Parts { out, split, schema: Arc::clone(schema), writer: None, rows: 0, files: Vec::new() }
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), DatasetError> {
        let failed = |error: ParquetError| DatasetError::damaged(self.split, error);
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by("weir dataset 1".to_owned())
                    .build();
                ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), Some(properties))
                    .map_err(failed)?
            }
        };
        writer.write(&batch).map_err(failed)?;
        self.rows += batch.num_rows();
        let bytes = writer.bytes_written() + writer.in_progress_size();
        self.writer = Some(writer);
        if self.rows >= PART_ROWS_MAX || bytes >= PART_BYTES_MAX {
            self.close().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), DatasetError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let bytes = writer.into_inner().map_err(|error| DatasetError::damaged(self.split, error))?;
        let path = format!("{}/part-{:05}.parquet", self.split, self.files.len());
        let file = OutputFile {
            path: path.clone(),
            split: self.split,
            rows: self.rows as u64,
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
        };
        create(self.out, &path, bytes.into()).await?;
        self.files.push(file);
        self.rows = 0;
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<OutputFile>, DatasetError> {
        self.close().await?;
        Ok(self.files)
    }
}
