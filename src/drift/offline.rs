//! Profiles of tables: a baseline of training data, and current data counted against a baseline.
//!
//! Both go through the same code as live traffic. A text in a column of numbers is read as the number that it says, and is
//! of a wrong type when it says none; a number in a column of categories is the category of that name.

use super::baseline::{Baseline, Current};
use super::builder::BaselineBuilder;
use super::profile::{Profile, Sampling, Value};
use super::report::{Bin, DriftReport};
use super::table::{Batch, ColumnData, ColumnSpec, Kind, Table, TableError, number_of};
use crate::model::features::FeatureKind;

/// Most values outside the baseline that a report names for a feature.
const UNSEEN_NAMED_MAX: usize = 8;

/// A feature of a baseline that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it will be called.
    pub name: String,
    /// How its values are compared.
    pub kind: FeatureKind,
    /// The position of its column in the table.
    pub column: usize,
}

/// How the values of a column are compared, unless something says otherwise.
pub fn kind_of(column: &ColumnSpec) -> FeatureKind {
    match column.kind {
        Kind::Number => FeatureKind::Numeric,
        Kind::Bool | Kind::Text => FeatureKind::Categorical,
    }
}

/// Makes a baseline of a table, which is read twice.
///
/// # Errors
/// [`TableError`].
pub fn profile(table: &Table, features: &[Wanted]) -> Result<Baseline, TableError> {
    let columns: Vec<usize> = features.iter().map(|feature| feature.column).collect();
    let is_numeric: Vec<bool> = features.iter().map(|feature| feature.kind == FeatureKind::Numeric).collect();
    let kinds = features.iter().map(|feature| (feature.name.as_str(), feature.kind));
    let mut first = BaselineBuilder::new(kinds);
    table.read(&columns, &mut |batch| {
        each_value(batch, &is_numeric, |at, value, weight| first.push(at, value, weight));
    })?;
    let mut second = first.second_pass();
    table.read(&columns, &mut |batch| {
        each_value(batch, &is_numeric, |at, value, weight| second.push(at, value, weight));
        (0..batch.rows).for_each(|row| second.row(weight_of(batch, row)));
    })?;
    Ok(second.finish())
}

/// Counts a table against a baseline; `columns` has the position of the column of each of its features.
///
/// # Errors
/// [`TableError`].
pub fn count(table: &Table, baseline: &Baseline, columns: &[usize]) -> Result<Current, TableError> {
    assert_eq!(columns.len(), baseline.features().len(), "a column for each feature");
    let is_numeric: Vec<bool> =
        baseline.features().iter().map(|feature| matches!(feature.profile, Profile::Numeric(_))).collect();
    let mut current = baseline.current(Sampling::BASELINE);
    table.read(columns, &mut |batch| {
        each_value(batch, &is_numeric, |at, value, weight| current.push(at, value, weight));
        (0..batch.rows).for_each(|row| current.rows += weight_of(batch, row));
    })?;
    Ok(current)
}

/// A column that was found for a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The feature's position in the baseline.
    pub position: usize,
    /// The column's position in the table.
    pub column: usize,
    /// Whether a server is sent the values as 32-bit floats, so that they are counted as such here.
    pub is_float: bool,
}

/// Counts the columns that were found against a baseline, as a server counts requests: so that both merge.
///
/// # Errors
/// [`TableError`].
pub fn count_found(table: &Table, baseline: &Baseline, found: &[Found]) -> Result<Current, TableError> {
    let is_numeric = |found: &Found| {
        let feature = baseline.features().get(found.position);
        feature.is_some_and(|feature| matches!(feature.profile, Profile::Numeric(_)))
    };
    let is_numeric: Vec<bool> = found.iter().map(is_numeric).collect();
    let columns: Vec<usize> = found.iter().map(|found| found.column).collect();
    let mut current = baseline.current(Sampling::LIVE);
    table.read(&columns, &mut |batch| {
        each_value(batch, &is_numeric, |at, value, weight| {
            let Found { position, is_float, .. } = found[at];
            #[allow(clippy::cast_possible_truncation, reason = "what a client would have sent")]
            let value = match value {
                Value::Number(number) if is_float => Value::Number(f64::from(number as f32)),
                other => other,
            };
            current.push(position, value, weight);
        });
        (0..batch.rows).for_each(|row| current.rows += weight_of(batch, row));
    })?;
    Ok(current)
}

/// Gives values that the baseline does not have bars of their own, as far as they are known by name: what is new is what
/// one wants to read. Measures stay what they are.
pub fn name_unseen(report: &mut DriftReport, current: &Current) {
    for (feature, profile) in report.features.iter_mut().zip(&current.profiles) {
        let Profile::Categorical(profile) = profile else { continue };
        let Some(mut other) = feature.bins.pop() else { continue };
        for (name, rows) in profile.unseen().into_iter().take(UNSEEN_NAMED_MAX) {
            // Their counts are estimates; together they are no more than all others.
            let rows = rows.min(other.current);
            other.current -= rows;
            let (low, high) = (f64::NAN, f64::NAN);
            feature.bins.push(Bin { label: name.to_owned(), low, high, baseline: 0.0, current: rows });
        }
        feature.bins.push(other);
    }
}

fn weight_of(batch: &Batch, row: usize) -> f64 {
    batch.weights.as_ref().and_then(|weights| weights.get(row)).copied().unwrap_or(1.0)
}

/// Gives `each` every value: the position of its column, the value and the row's weight.
fn each_value(batch: &Batch, is_numeric: &[bool], mut each: impl FnMut(usize, Value<'_>, f64)) {
    for (at, (column, is_numeric)) in batch.columns.iter().zip(is_numeric).enumerate() {
        match column {
            ColumnData::Numbers(values) => {
                for (row, value) in values.iter().enumerate() {
                    each(at, value.map_or(Value::Missing, Value::Number), weight_of(batch, row));
                }
            }
            ColumnData::Bools(values) => {
                for (row, value) in values.iter().enumerate() {
                    each(at, value.map_or(Value::Missing, Value::Bool), weight_of(batch, row));
                }
            }
            ColumnData::Texts(values) => {
                for (row, value) in values.iter().enumerate() {
                    let value = match value {
                        None => Value::Missing,
                        Some(text) if *is_numeric => number_of(text).map_or(Value::WrongType, Value::Number),
                        Some(text) => Value::Text(text.as_bytes()),
                    };
                    each(at, value, weight_of(batch, row));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all, write};
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::{DataType, Field};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::drift::decide::{Rules, Subject, compare};

    fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn numbers(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn baseline(folder: &Path) -> Baseline {
        write(folder.join("train.csv"), "x,c\n1,a\n2,b\n3,a\n4,b\n").unwrap();
        let table = Table::open(&folder.join("train.csv")).unwrap();
        let wanted = table.columns().iter().enumerate().map(|(column, found)| Wanted {
            name: format!("in.{}", found.name),
            kind: kind_of(found),
            column,
        });
        profile(&table, &wanted.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn captured_files_are_one_table_with_weights_and_without_bookkeeping() {
        let folder = tempfile::tempdir().unwrap();
        let hour = folder.path().join("capture/model=m/version=1/date=2026-01-01/hour=00");
        create_dir_all(&hour).unwrap();
        write(hour.join("manifest.json"), "{}").unwrap();
        let marks = |weights: &[f64]| {
            let ids = texts(&vec![Some("id"); weights.len()]);
            vec![("request_id", ids), ("ts_us", numbers(weights)), ("sample_weight", numbers(weights))]
        };
        let mut first = marks(&[1.0, 10.0]);
        first.extend([("in.x", numbers(&[1.0, 9.0])), ("in.c", texts(&[Some("a"), Some("new")]))]);
        // A header, and rows that were too large for their column.
        let member = Arc::new(Field::new("sha256", DataType::Utf8, true));
        let large: ArrayRef = Arc::new(StructArray::from(vec![(member, texts(&[None, None]))]));
        first.extend([("attr.x-tenant", texts(&[None, None])), ("in.c.large", large)]);
        parquet(&hour.join("r-1.parquet"), first);
        let mut second = marks(&[2.0]);
        second.push(("in.x", numbers(&[f64::NAN])));
        parquet(&hour.join("r-2.parquet"), second);

        let table = Table::open(&folder.path().join("capture")).unwrap();
        let names: Vec<&str> = table.columns().iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["in.x", "in.c"]);
        assert!(table.refused().is_empty(), "{:?}", table.refused());
        let baseline = baseline(folder.path());
        let current = count(&table, &baseline, &[0, 1]).unwrap();
        assert_eq!(current.rows, 13.0);
        let mut report = compare(&baseline, &current, &Rules::offline(), Subject::default());
        name_unseen(&mut report, &current);
        let (x, c) = (&report.features[0].current, &report.features[1].current);
        assert_eq!((x.rows, x.nan, x.missing, c.missing), (13.0, 2.0, 0.0, 2.0));
        let bins: Vec<(&str, f64)> =
            report.features[1].bins.iter().map(|bin| (bin.label.as_str(), bin.current)).collect();
        assert_eq!(bins, [("a", 1.0), ("b", 0.0), ("new", 10.0), ("(other)", 0.0)]);
    }

    #[test]
    fn values_are_of_the_baseline_s_kind_or_of_a_wrong_type() {
        let folder = tempfile::tempdir().unwrap();
        let baseline = baseline(folder.path());
        write(folder.path().join("now.csv"), "c,x\n1,2\n,oops\na,3\n").unwrap();
        let table = Table::open(&folder.path().join("now.csv")).unwrap();
        let current = count(&table, &baseline, &[1, 0]).unwrap();
        let report = compare(&baseline, &current, &Rules::offline(), Subject::default());
        let (x, c) = (&report.features[0].current, &report.features[1].current);
        assert_eq!((x.type_errors, x.mean, c.missing, c.type_errors), (1.0, 2.5, 1.0, 0.0));
    }
}
