//! From Arrow's arrays to columns of numbers, truth values or texts.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::i256;
use arrow_schema::{DataType, Field, TimeUnit};

use super::{COLUMNS_MAX, ColumnData, Kind};

/// A column of ours in a column of a file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The position in a list of fixed size.
    pub(super) element: Option<usize>,
}

/// The columns that a field is, or why it is none.
pub(super) fn parts(field: &Field) -> Result<Vec<Part>, String> {
    let name = field.name();
    if let DataType::FixedSizeList(item, size) = field.data_type() {
        let kind = kind(item.data_type()).ok_or_else(|| format!("holds lists of {}", item.data_type()))?;
        let size = usize::try_from(*size).unwrap_or(0);
        if size > COLUMNS_MAX {
            return Err(format!("holds lists of {size}, and {COLUMNS_MAX} are allowed"));
        }
        return Ok((0..size)
            .map(|at| Part { name: format!("{name}[{at}]"), kind, element: Some(at) })
            .collect());
    }
    let kind = kind(field.data_type()).ok_or_else(|| format!("holds {}", field.data_type()))?;
    Ok(vec![Part { name: name.clone(), kind, element: None }])
}

fn kind(kind: &DataType) -> Option<Kind> {
    match kind {
        DataType::Boolean => Some(Kind::Bool),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
        DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(..)) => {
            self::kind(values)
        }
        DataType::Null | DataType::Date32 | DataType::Date64 => Some(Kind::Number),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            Some(Kind::Number)
        }
        kind if kind.is_numeric() => Some(Kind::Number),
        _ => None,
    }
}

/// The values of an array, or of one element of its lists.
pub(super) fn column(array: &ArrayRef, element: Option<usize>, wanted: Kind) -> Result<ColumnData, String> {
    let Some(element) = element else { return flat(array).map(|column| as_kind(column, wanted)) };
    let lists = array.as_fixed_size_list_opt().ok_or_else(|| format!("holds {}", array.data_type()))?;
    let values = flat(lists.values())?;
    let size = usize::try_from(lists.value_length()).unwrap_or(0);
    // The offset of a slice is in the values already.
    let place = |row: usize| lists.is_valid(row).then_some(row * size + element);
    let picked = match values {
        ColumnData::Numbers(values) => ColumnData::Numbers(pick(&values, lists.len(), place)),
        ColumnData::Bools(values) => ColumnData::Bools(pick(&values, lists.len(), place)),
        ColumnData::Texts(values) => ColumnData::Texts(pick(&values, lists.len(), place)),
    };
    Ok(as_kind(picked, wanted))
}

fn pick<T: Clone>(
    values: &[Option<T>],
    rows: usize,
    place: impl Fn(usize) -> Option<usize>,
) -> Vec<Option<T>> {
    (0..rows).map(|row| place(row).and_then(|at| values.get(at)).cloned().flatten()).collect()
}

/// The column as `wanted`, which differs only where files of a folder do not agree.
fn as_kind(column: ColumnData, wanted: Kind) -> ColumnData {
    match (column, wanted) {
        (ColumnData::Numbers(values), Kind::Text) => ColumnData::Texts(texts(&values)),
        (ColumnData::Bools(values), Kind::Text) => ColumnData::Texts(texts(&values)),
        (column, _) => column,
    }
}

fn texts<T: std::fmt::Display>(values: &[Option<T>]) -> Vec<Option<String>> {
    values.iter().map(|value| value.as_ref().map(ToString::to_string)).collect()
}

fn flat(array: &ArrayRef) -> Result<ColumnData, String> {
    let unknown = || format!("holds {}", array.data_type());
    match array.data_type() {
        DataType::Null => Ok(ColumnData::Numbers(vec![None; array.len()])),
        DataType::Boolean => Ok(ColumnData::Bools(array.as_boolean().iter().collect())),
        DataType::Utf8 => Ok(strings(array.as_string::<i32>().iter())),
        DataType::LargeUtf8 => Ok(strings(array.as_string::<i64>().iter())),
        DataType::Utf8View => Ok(strings(array.as_string_view().iter())),
        DataType::Dictionary(key, _) => match **key {
            DataType::Int8 => dictionary::<Int8Type>(array),
            DataType::Int16 => dictionary::<Int16Type>(array),
            DataType::Int32 => dictionary::<Int32Type>(array),
            DataType::Int64 => dictionary::<Int64Type>(array),
            DataType::UInt8 => dictionary::<UInt8Type>(array),
            DataType::UInt16 => dictionary::<UInt16Type>(array),
            DataType::UInt32 => dictionary::<UInt32Type>(array),
            DataType::UInt64 => dictionary::<UInt64Type>(array),
            _ => Err(unknown()),
        },
        kind => numbers(array, kind).ok_or_else(unknown),
    }
}

fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ColumnData {
    ColumnData::Texts(values.map(|value| value.map(str::to_owned)).collect())
}

fn dictionary<K: ArrowDictionaryKeyType>(array: &ArrayRef) -> Result<ColumnData, String> {
    let found = array.as_dictionary::<K>();
    let values = flat(found.values())?;
    let place = |row: usize| found.key(row);
    Ok(match values {
        ColumnData::Numbers(values) => ColumnData::Numbers(pick(&values, found.len(), place)),
        ColumnData::Bools(values) => ColumnData::Bools(pick(&values, found.len(), place)),
        ColumnData::Texts(values) => ColumnData::Texts(pick(&values, found.len(), place)),
    })
}

/// Every type that is a number, times in the unit of the file.
fn numbers(array: &ArrayRef, kind: &DataType) -> Option<ColumnData> {
    let scaled = |scale: i8| 10f64.powi(-i32::from(scale));
    Some(match kind {
        DataType::Int8 => of::<Int8Type>(array, f64::from),
        DataType::Int16 => of::<Int16Type>(array, f64::from),
        DataType::Int32 => of::<Int32Type>(array, f64::from),
        DataType::Int64 => of::<Int64Type>(array, |value| value as f64),
        DataType::UInt8 => of::<UInt8Type>(array, f64::from),
        DataType::UInt16 => of::<UInt16Type>(array, f64::from),
        DataType::UInt32 => of::<UInt32Type>(array, f64::from),
        DataType::UInt64 => of::<UInt64Type>(array, |value| value as f64),
        DataType::Float16 => of::<Float16Type>(array, f64::from),
        DataType::Float32 => of::<Float32Type>(array, f64::from),
        DataType::Float64 => of::<Float64Type>(array, |value| value),
        DataType::Decimal32(_, scale) => {
            of::<Decimal32Type>(array, |value| f64::from(value) * scaled(*scale))
        }
        DataType::Decimal64(_, scale) => of::<Decimal64Type>(array, |value| decimal(value.into(), *scale)),
        DataType::Decimal128(_, scale) => of::<Decimal128Type>(array, |value| decimal(value, *scale)),
        DataType::Decimal256(_, scale) => of::<Decimal256Type>(array, |value| wide(value) * scaled(*scale)),
        DataType::Date32 => of::<Date32Type>(array, f64::from),
        DataType::Date64 => of::<Date64Type>(array, |value| value as f64),
        DataType::Time32(TimeUnit::Second) => of::<Time32SecondType>(array, f64::from),
        DataType::Time32(_) => of::<Time32MillisecondType>(array, f64::from),
        DataType::Time64(TimeUnit::Microsecond) => of::<Time64MicrosecondType>(array, |value| value as f64),
        DataType::Time64(_) => of::<Time64NanosecondType>(array, |value| value as f64),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => of::<TimestampSecondType>(array, |value| value as f64),
            TimeUnit::Millisecond => of::<TimestampMillisecondType>(array, |value| value as f64),
            TimeUnit::Microsecond => of::<TimestampMicrosecondType>(array, |value| value as f64),
            TimeUnit::Nanosecond => of::<TimestampNanosecondType>(array, |value| value as f64),
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => of::<DurationSecondType>(array, |value| value as f64),
            TimeUnit::Millisecond => of::<DurationMillisecondType>(array, |value| value as f64),
            TimeUnit::Microsecond => of::<DurationMicrosecondType>(array, |value| value as f64),
            TimeUnit::Nanosecond => of::<DurationNanosecondType>(array, |value| value as f64),
        },
        _ => return None,
    })
}

fn of<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> f64) -> ColumnData {
    ColumnData::Numbers(array.as_primitive::<T>().iter().map(|value| value.map(&number)).collect())
}

/// A decimal as the nearest number: dividing by a power of ten that is exact rounds once.
fn decimal(value: i128, scale: i8) -> f64 {
    match scale {
        0..=22 => value as f64 / 10f64.powi(i32::from(scale)),
        scale => value as f64 * 10f64.powi(-i32::from(scale)),
    }
}

/// A number of 256 bits as the nearest of 64.
fn wide(value: i256) -> f64 {
    match value.to_i128() {
        Some(value) => value as f64,
        // Its text is a number.
        None => value.to_string().parse().unwrap_or(f64::NAN),
    }
}
