//! Captured rows in the shapes that other systems write and read: one CloudEvent a line.
//!
//! | form | lines of a request |
//! |---|---|
//! | `azure` | `model_inputs` and `model_outputs`, each with an array of row objects in `data` (Azure ML's data collector) |
//! | `kserve` | a request and a response, each with Open Inference Protocol JSON in `data` (KServe's logger) |
//! | `rows` | each row with all its columns |
//!
//! What capture did not keep (the tensors of named features, what privacy took away) cannot be made up again: a tensor of
//! the `kserve` form is a column.

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as ArrowType;
use serde_json::{Map, Value, json};

use super::json;
use super::large::{OVERFLOW, is_overflow};

/// A shape of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportForm {
    /// Rows with all their columns.
    #[default]
    Rows,
    /// Azure ML's data collector.
    Azure,
    /// KServe's logger.
    Kserve,
}

/// The lines for the rows of `batch`, which are of `model`. Rows of one request stand together when they follow each
/// other in the batch.
pub fn lines(form: ExportForm, model: &str, batch: &RecordBatch) -> Vec<Value> {
    if form == ExportForm::Rows {
        return (0..batch.num_rows()).map(|at| Value::Object(json::row(batch, at))).collect();
    }
    let Some(ids) = batch.column_by_name("request_id").and_then(|ids| ids.as_string_opt::<i32>()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut begin = 0;
    for at in 1..=ids.len() {
        if at == ids.len() || ids.value(at) != ids.value(begin) {
            let request = Request { model, batch: &batch.slice(begin, at - begin), id: ids.value(begin) };
            match form {
                ExportForm::Azure => lines.extend([request.azure("in."), request.azure("out.")]),
                _ => lines.extend([request.kserve("in."), request.kserve("out.")]),
            }
            begin = at;
        }
    }
    lines
}

/// The rows of one request.
struct Request<'a> {
    model: &'a str,
    batch: &'a RecordBatch,
    id: &'a str,
}

/// A column, and the one for its rows that were too large for it.
struct Shown<'a> {
    column: &'a dyn Array,
    large: Option<&'a dyn Array>,
}

impl Shown<'_> {
    /// The value of a row, or where it is.
    fn value(&self, at: usize) -> Value {
        match self.large {
            Some(large) if large.is_valid(at) => json::value(large, at),
            _ => json::value(self.column, at),
        }
    }
}

impl Request<'_> {
    fn version(&self) -> u64 {
        let versions = self.batch.column_by_name("model_version");
        versions.and_then(|c| c.as_primitive_opt::<UInt64Type>()).map_or(0, |versions| versions.value(0))
    }

    fn time(&self) -> String {
        let times = self.batch.column_by_name("ts_us");
        json::time(
            times.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()).map_or(0, |t| t.value(0)),
        )
    }

    /// The columns of one side, without its prefix.
    fn columns(&self, prefix: &str) -> Vec<(String, Shown<'_>)> {
        let schema = self.batch.schema();
        let fields = schema.fields().iter().zip(self.batch.columns());
        let own = fields.filter(|(field, column)| !is_overflow(field.name(), column));
        own.filter_map(|(field, column)| {
            let name = field.name().strip_prefix(prefix)?.to_owned();
            let large = self.batch.column_by_name(&format!("{}{OVERFLOW}", field.name()));
            let large = large.map(|column| &**column as &dyn Array);
            Some((name, Shown { column, large }))
        })
        .collect()
    }

    fn azure(&self, prefix: &str) -> Value {
        let columns = self.columns(prefix);
        let row = |at| columns.iter().map(|(name, column)| (name.clone(), column.value(at))).collect();
        let data: Vec<Map<String, Value>> = (0..self.batch.num_rows()).map(row).collect();
        let collection = if prefix == "in." { "model_inputs" } else { "model_outputs" };
        json!({
            "specversion": "1.0",
            "id": format!("{}-{collection}", self.id),
            "source": format!("/models/{}/versions/{}", self.model, self.version()),
            "type": format!("azureml.inference.{collection}"),
            "datacontenttype": "application/json",
            "time": self.time(),
            "data": data,
            "contentrange": format!("bytes 0-{}/{}", self.batch.num_rows().saturating_sub(1), self.batch.num_rows()),
            "correlationid": self.id,
            "xrequestid": self.id,
            "modelversion": self.version().to_string(),
            "collectdatatype": "pandas.core.frame.DataFrame",
            "agent": concat!("weir/", env!("CARGO_PKG_VERSION")),
        })
    }

    fn kserve(&self, prefix: &str) -> Value {
        let rows = self.batch.num_rows();
        let tensors: Vec<Value> = self
            .columns(prefix)
            .into_iter()
            .map(|(name, column)| {
                let values = (0..rows).map(|at| column.value(at));
                let data: Vec<Value> = values
                    .flat_map(|value| match value {
                        Value::Array(elements) => elements,
                        one => vec![one],
                    })
                    .collect();
                let shape =
                    if data.len() == rows { vec![rows] } else { vec![rows, data.len() / rows.max(1)] };
                json!({"name": name, "datatype": datatype(column.column.data_type()), "shape": shape, "data": data})
            })
            .collect();
        let (kind, member) = if prefix == "in." { ("request", "inputs") } else { ("response", "outputs") };
        let mut data = json!({"id": self.id, member: tensors});
        if prefix == "out."
            && let Some(data) = data.as_object_mut()
        {
            data.insert("model_name".to_owned(), self.model.into());
            data.insert("model_version".to_owned(), self.version().to_string().into());
        }
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/models/{}/versions/{}", self.model, self.version()),
            "type": format!("org.kubeflow.serving.inference.{kind}"),
            "datacontenttype": "application/json",
            "time": self.time(),
            "inferenceservicename": self.model,
            "endpoint": "default",
            "component": "predictor",
            "data": data,
        })
    }
}

/// The protocol's name of a column's type.
fn datatype(kind: &ArrowType) -> &'static str {
    match kind {
        ArrowType::Boolean => "BOOL",
        ArrowType::Int8 => "INT8",
        ArrowType::Int16 => "INT16",
        ArrowType::Int32 => "INT32",
        ArrowType::Int64 => "INT64",
        ArrowType::UInt8 => "UINT8",
        ArrowType::UInt16 => "UINT16",
        ArrowType::UInt32 => "UINT32",
        ArrowType::UInt64 => "UINT64",
        ArrowType::Float32 => "FP32",
        ArrowType::Float64 => "FP64",
        ArrowType::FixedSizeList(item, _) | ArrowType::List(item) => datatype(item.data_type()),
        _ => "BYTES",
    }
}
