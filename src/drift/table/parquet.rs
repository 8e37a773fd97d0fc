//! Parquet, a file or a folder of them, batch by batch.
//!
//! A folder is read as one table, files in the order of their names; a column that a file lacks has no values there. In
//! files that capture wrote, what capture says about each row is not a feature and is not read, but for `sample_weight`.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::arrow::{self, Part};
use super::names::{WEIGHT, is_captured, is_feature_of_capture};
use super::{
    BATCH_ROWS, Batch, COLUMNS_MAX, ColumnData, ColumnSpec, FILES_MAX, Kind, Opened, Refused, Source,
    TableError,
};

/// Where the rows are.
#[derive(Debug, Clone)]
pub(super) struct Parquet {
    files: Vec<PathBuf>,
    /// Whether rows say how many they stand for.
    is_weighted: bool,
}

/// The Parquet files below a folder, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, TableError> {
    let failed = |file: &Path, source| TableError::Io { file: file.to_owned(), source };
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(&below).map_err(|error| failed(&below, error))? {
            let entry = entry.map_err(|error| failed(&below, error))?;
            let kind = entry.file_type().map_err(|error| failed(&below, error))?;
            let path = entry.path();
            // Links are not followed into folders, which could lead around in a circle.
            if kind.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "parquet") {
                files.push(path);
            }
            if files.len() + folders.len() > FILES_MAX {
                let what = format!("has more than the {FILES_MAX} files that are allowed");
                return Err(TableError::File { file: folder.to_owned(), what });
            }
        }
    }
    if files.is_empty() {
        return Err(TableError::File { file: folder.to_owned(), what: "has no .parquet files".to_owned() });
    }
    files.sort();
    Ok(files)
}

/// Looks at the schemas of all files.
pub(super) fn open(files: Vec<PathBuf>) -> Result<Opened, TableError> {
    let (mut columns, mut refused): (Vec<ColumnSpec>, Vec<Refused>) = (Vec::new(), Vec::new());
    let mut is_weighted = false;
    for file in &files {
        let (_, schema) = builder(file)?;
        let is_captured = is_captured(|name| schema.field_with_name(name).is_ok());
        is_weighted |= is_captured;
        for field in schema.fields() {
            // Rows that were too large for a column stand beside it, and are no feature of their own.
            let is_overflow =
                || matches!(field.data_type(), DataType::Struct(_)) && field.name().ends_with(".large");
            if is_captured && (!is_feature_of_capture(field.name()) || is_overflow()) {
                continue;
            }
            match arrow::parts(field) {
                Ok(parts) => parts.into_iter().for_each(|part| add(&mut columns, part)),
                Err(reason) if refused.iter().all(|refused| refused.name != *field.name()) => {
                    refused.push(Refused { name: field.name().clone(), reason });
                }
                Err(_) => {}
            }
        }
        if columns.len() > COLUMNS_MAX {
            let what = format!("has {} columns, and {COLUMNS_MAX} are allowed", columns.len());
            return Err(TableError::File { file: file.clone(), what });
        }
    }
    Ok((Source::Parquet(Parquet { files, is_weighted }), columns, refused))
}

/// Adds a column, or makes one of texts where files do not agree on the kind.
fn add(columns: &mut Vec<ColumnSpec>, part: Part) {
    match columns.iter_mut().find(|column| column.name == part.name) {
        None => columns.push(ColumnSpec { name: part.name, kind: part.kind }),
        Some(column) if column.kind != part.kind => column.kind = Kind::Text,
        Some(_) => {}
    }
}

fn failed(file: &Path, error: &impl std::fmt::Display) -> TableError {
    TableError::File { file: file.to_owned(), what: error.to_string() }
}

fn builder(file: &Path) -> Result<(ParquetRecordBatchReaderBuilder<File>, Schema), TableError> {
    let opened = File::open(file).map_err(|source| TableError::Io { file: file.to_owned(), source })?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|error| failed(file, &error))?;
    let schema = builder.schema().as_ref().clone();
    Ok((builder, schema))
}

impl Parquet {
    pub(super) fn read(
        &self,
        columns: &[ColumnSpec],
        wanted: &[usize],
        each: &mut dyn FnMut(&Batch),
    ) -> Result<(), TableError> {
        for file in &self.files {
            self.read_file(file, columns, wanted, each)?;
        }
        Ok(())
    }

    fn read_file(
        &self,
        file: &Path,
        columns: &[ColumnSpec],
        wanted: &[usize],
        each: &mut dyn FnMut(&Batch),
    ) -> Result<(), TableError> {
        let (builder, schema) = builder(file)?;
        let parts: Vec<(usize, Part)> = schema
            .fields()
            .iter()
            .enumerate()
            .filter_map(|(at, field)| arrow::parts(field).ok().map(|parts| (at, parts)))
            .flat_map(|(at, parts)| parts.into_iter().map(move |part| (at, part)))
            .collect();
        let find = |name: &str| parts.iter().find(|(_, part)| part.name == name);
        let places: Vec<Option<&(usize, Part)>> = wanted.iter().map(|at| find(&columns[*at].name)).collect();
        let weight = Some(WEIGHT).filter(|_| self.is_weighted).and_then(find);
        let mut roots: Vec<usize> =
            places.iter().copied().chain([weight]).flatten().map(|(root, _)| *root).collect();
        roots.sort_unstable();
        roots.dedup();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
        for batch in reader.map_err(|error| failed(file, &error))? {
            let batch = batch.map_err(|error| failed(file, &error))?;
            let rows = batch.num_rows();
            let take = |place: &(usize, Part), kind| {
                let at = roots.binary_search(&place.0).ok().filter(|at| *at < batch.num_columns());
                let array = at.map(|at| batch.column(at));
                array.map(|array| arrow::column(array, place.1.element, kind)).transpose()
            };
            let mut found = Vec::with_capacity(wanted.len());
            for (place, at) in places.iter().zip(wanted) {
                let ColumnSpec { name, kind } = &columns[*at];
                let column = place.map(|place| take(place, *kind)).transpose();
                let wrong = |what| TableError::Column { file: file.to_owned(), column: name.clone(), what };
                let column = column.map_err(wrong)?.flatten();
                found.push(column.unwrap_or_else(|| ColumnData::missing(*kind, rows)));
            }
            let weights = match weight.map(|place| take(place, Kind::Number)) {
                Some(Ok(Some(ColumnData::Numbers(values)))) => Some(
                    values
                        .iter()
                        .map(|weight| weight.filter(|w| w.is_finite() && *w >= 0.0).unwrap_or(1.0))
                        .collect(),
                ),
                _ => None,
            };
            each(&Batch { columns: found, weights, rows });
        }
        Ok(())
    }
}
