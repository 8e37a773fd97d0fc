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
