//! Captured values as JSON, for people and for other systems. Numbers that JSON cannot say are text (`NaN`).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as ArrowType;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};

use super::large::is_overflow;

/// One row as an object of all its columns. Those for what was too large stand in it where something was.
pub fn row(batch: &RecordBatch, at: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name());
    let columns = names.zip(batch.columns());
    let shown = columns.filter(|(name, column)| column.is_valid(at) || !is_overflow(name, column));
    shown.map(|(name, column)| (name.clone(), value(column, at))).collect()
}

/// One value.
pub(super) fn value(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    macro_rules! whole {
        ($kind:ty) => {
            Value::from(array.as_primitive::<$kind>().value(at))
        };
    }
    match array.data_type() {
        ArrowType::Boolean => Value::from(array.as_boolean().value(at)),
        ArrowType::Utf8 => Value::from(array.as_string::<i32>().value(at)),
        ArrowType::Int8 => whole!(Int8Type),
        ArrowType::Int16 => whole!(Int16Type),
        ArrowType::Int32 => whole!(Int32Type),
        ArrowType::Int64 => whole!(Int64Type),
        ArrowType::UInt8 => whole!(UInt8Type),
        ArrowType::UInt16 => whole!(UInt16Type),
        ArrowType::UInt32 => whole!(UInt32Type),
        ArrowType::UInt64 => whole!(UInt64Type),
        ArrowType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(at);
            // Through its shortest text, so that 0.1 does not become 0.10000000149.
            real(number.to_string().parse().unwrap_or(f64::from(number)))
        }
        ArrowType::Float64 => real(array.as_primitive::<Float64Type>().value(at)),
        ArrowType::Timestamp(..) => time(array.as_primitive::<TimestampMicrosecondType>().value(at)).into(),
        ArrowType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(at)),
        ArrowType::List(_) => list(&array.as_list::<i32>().value(at)),
        ArrowType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns).map(|(f, column)| (f.name().clone(), value(column, at)));
            Value::Object(members.collect())
        }
        _ => Value::Null,
    }
}

fn real(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
}

fn list(values: &dyn Array) -> Value {
    (0..values.len()).map(|at| value(values, at)).collect()
}

/// A time as RFC 3339.
pub(super) fn time(us: i64) -> String {
    DateTime::from_timestamp_micros(us).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true)
}
