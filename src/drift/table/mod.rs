//! Tables of data from files: Parquet, CSV, TSV and JSON lines, and folders of Parquet such as capture writes.
//!
//! A [`Table`] is opened by looking at all of it once, to know its columns and their kinds, and read in batches as often as
//! one likes, so that nothing is held that grows with the number of rows. It knows nothing of baselines or features:
//! [`names`] says which column is which feature.
//!
//! What counts as missing: a null; in CSV also an empty cell, `NA`, `NaN`, `nan`, `null` and `NULL`. Numbers are 64-bit
//! floats, so that whole numbers beyond 2^53 lose their last digits. Times and dates are numbers in the unit of the file.

mod arrow;
mod cells;
mod csv;
mod error;
mod jsonl;
pub mod names;
mod parquet;

pub use self::cells::number as number_of;
pub use self::error::TableError;

use std::path::{Path, PathBuf};

/// Most columns of a table.
pub const COLUMNS_MAX: usize = 4096;
/// Most bytes of a row in CSV and JSON lines.
pub const ROW_BYTES_MAX: u64 = 16 << 20;
/// Most files of a folder.
pub const FILES_MAX: usize = 100_000;
/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Number,
    /// `true` and `false`.
    Bool,
    /// Anything else.
    Text,
}

/// A column's name and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// As in the file; an element of a list is `name[i]`.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// The values of a column in a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    /// Numbers.
    Numbers(Vec<Option<f64>>),
    /// Truth values.
    Bools(Vec<Option<bool>>),
    /// Texts.
    Texts(Vec<Option<String>>),
}

impl ColumnData {
    fn new(kind: Kind) -> ColumnData {
        match kind {
            Kind::Number => ColumnData::Numbers(Vec::new()),
            Kind::Bool => ColumnData::Bools(Vec::new()),
            Kind::Text => ColumnData::Texts(Vec::new()),
        }
    }

    /// A column without a value.
    fn missing(kind: Kind, rows: usize) -> ColumnData {
        match kind {
            Kind::Number => ColumnData::Numbers(vec![None; rows]),
            Kind::Bool => ColumnData::Bools(vec![None; rows]),
            Kind::Text => ColumnData::Texts(vec![None; rows]),
        }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        match self {
            ColumnData::Numbers(values) => values.len(),
            ColumnData::Bools(values) => values.len(),
            ColumnData::Texts(values) => values.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The columns that were asked for, in that order; all of one length.
    pub columns: Vec<ColumnData>,
    /// How many rows each row stands for, where the data says so.
    pub weights: Option<Vec<f64>>,
    /// How many rows there are.
    pub rows: usize,
}

/// A column that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// What it is.
    pub reason: String,
}

/// Rows in a file, or in a folder of files.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    source: Source,
    columns: Vec<ColumnSpec>,
    refused: Vec<Refused>,
}

#[derive(Debug, Clone)]
enum Source {
    Csv(csv::Csv),
    Jsonl(jsonl::Jsonl),
    Parquet(parquet::Parquet),
}

impl Table {
    /// Opens the table at `path`: a file by its ending, or a folder.
    ///
    /// # Errors
    /// [`TableError`], which names the file, and the row and column where there is one.
    pub fn open(path: &Path) -> Result<Table, TableError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let (source, columns, refused) = match ending.as_deref() {
            _ if path.is_dir() => parquet::open(parquet::files(path)?)?,
            Some("parquet" | "pq") => parquet::open(vec![path.to_owned()])?,
            Some("csv") => csv::open(path, b',')?,
            Some("tsv") => csv::open(path, b'\t')?,
            Some("jsonl" | "ndjson") => jsonl::open(path)?,
            _ => return Err(TableError::Format { file: path.to_owned() }),
        };
        if columns.is_empty() {
            return Err(TableError::File {
                file: path.to_owned(),
                what: "has no columns that can be read".to_owned(),
            });
        }
        Ok(Table { path: path.to_owned(), source, columns, refused })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The columns that cannot be read.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Gives `each` every batch, with the columns at the positions `wanted`.
    ///
    /// # Errors
    /// [`TableError`]; batches before it have been given.
    pub fn read(&self, wanted: &[usize], each: &mut dyn FnMut(&Batch)) -> Result<(), TableError> {
        match &self.source {
            Source::Csv(source) => source.read(&self.columns, wanted, each),
            Source::Jsonl(source) => source.read(&self.columns, wanted, each),
            Source::Parquet(source) => source.read(&self.columns, wanted, each),
        }
    }
}

/// What opening a file finds.
type Opened = (Source, Vec<ColumnSpec>, Vec<Refused>);

#[cfg(test)]
mod tests;
