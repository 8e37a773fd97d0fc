//! Why a table cannot be read, with the place in it.

use std::path::PathBuf;

use crate::error::{Code, Coded};

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The ending says nothing.
    #[error("{}: expected a file that ends in .parquet, .csv, .tsv, .jsonl or .ndjson, or a folder of .parquet files", file.display())]
    Format {
        /// The file.
        file: PathBuf,
    },
    /// The file as a whole.
    #[error("{}: {what}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// One row. Rows are counted from 1, without the header.
    #[error("{}: row {row}: {what}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Which row.
        row: u64,
        /// What is wrong with it.
        what: String,
    },
    /// One value.
    #[error("{}: row {row}, column '{column}': {what}", file.display())]
    Cell {
        /// The file.
        file: PathBuf,
        /// Which row.
        row: u64,
        /// Which column.
        column: String,
        /// What is wrong with it.
        what: String,
    },
    /// One column.
    #[error("{}: column '{column}': {what}", file.display())]
    Column {
        /// The file.
        file: PathBuf,
        /// Which column.
        column: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Coded for TableError {
    fn code(&self) -> Code {
        match self {
            TableError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
            TableError::Io { .. } => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }
}
