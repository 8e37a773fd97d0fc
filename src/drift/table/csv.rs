//! CSV and TSV, row by row, with a header.
//!
//! Every row has as many cells as the header. A column without a name is not read: it is the index that data frames write.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::cells::Guess;
use super::{
    BATCH_ROWS, Batch, COLUMNS_MAX, ColumnData, ColumnSpec, Opened, ROW_BYTES_MAX, Source, TableError,
};

/// Where the rows are.
#[derive(Debug, Clone)]
pub(super) struct Csv {
    file: PathBuf,
    delimiter: u8,
    /// The position in a row of each column.
    places: Vec<usize>,
}

/// Looks at all rows, for the kinds of the columns.
pub(super) fn open(file: &Path, delimiter: u8) -> Result<Opened, TableError> {
    let mut rows = Rows::open(file, delimiter)?;
    let names = rows.header()?;
    let places: Vec<usize> = (0..names.len()).filter(|place| !names[*place].is_empty()).collect();
    let mut guesses = vec![Guess::default(); places.len()];
    while rows.next()? {
        for (guess, place) in guesses.iter_mut().zip(&places) {
            guess.look(rows.cell(*place, &names)?);
        }
    }
    let columns = places.iter().zip(guesses);
    let columns = columns
        .map(|(place, guess)| ColumnSpec { name: names[*place].clone(), kind: guess.kind() })
        .collect();
    Ok((Source::Csv(Csv { file: file.to_owned(), delimiter, places }), columns, Vec::new()))
}

impl Csv {
    pub(super) fn read(
        &self,
        columns: &[ColumnSpec],
        wanted: &[usize],
        each: &mut dyn FnMut(&Batch),
    ) -> Result<(), TableError> {
        let mut rows = Rows::open(&self.file, self.delimiter)?;
        let names = rows.header()?;
        let empty = || wanted.iter().map(|at| ColumnData::new(columns[*at].kind)).collect();
        let mut batch = Batch { columns: empty(), weights: None, rows: 0 };
        while rows.next()? {
            for (column, at) in batch.columns.iter_mut().zip(wanted) {
                let text = rows.cell(self.places[*at], &names)?;
                if !column.push_text(text) {
                    let what = "is not what it was when the file was looked at first".to_owned();
                    return Err(rows.cell_error(&columns[*at].name, what));
                }
            }
            batch.rows += 1;
            if batch.rows == BATCH_ROWS {
                each(&batch);
                batch = Batch { columns: empty(), weights: None, rows: 0 };
            }
        }
        if batch.rows > 0 {
            each(&batch);
        }
        Ok(())
    }
}

/// The rows of a file, one at a time.
struct Rows {
    file: PathBuf,
    reader: Reader<Bounded>,
    left: Rc<Cell<u64>>,
    record: ByteRecord,
    row: u64,
}

impl Rows {
    fn open(file: &Path, delimiter: u8) -> Result<Rows, TableError> {
        let opened = File::open(file).map_err(|source| TableError::Io { file: file.to_owned(), source })?;
        let left = Rc::new(Cell::new(ROW_BYTES_MAX));
        let bounded = Bounded { file: opened, left: Rc::clone(&left) };
        let reader = ReaderBuilder::new().delimiter(delimiter).from_reader(bounded);
        Ok(Rows { file: file.to_owned(), reader, left, record: ByteRecord::new(), row: 0 })
    }

    /// The names of the columns; empty for those without one.
    fn header(&mut self) -> Result<Vec<String>, TableError> {
        let header = self.reader.byte_headers().cloned();
        let header = header.map_err(|error| self.failed(&error))?;
        let wrong = |what: String| TableError::File { file: self.file.clone(), what };
        if header.len() > COLUMNS_MAX {
            return Err(wrong(format!("has {} columns, and {COLUMNS_MAX} are allowed", header.len())));
        }
        let mut seen = BTreeSet::new();
        let mut names = Vec::with_capacity(header.len());
        for cell in &header {
            let name =
                std::str::from_utf8(cell).map_err(|_| wrong("the header is not UTF-8".to_owned()))?.trim();
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                return Err(wrong(format!("has two columns '{name}'")));
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Goes to the next row; `false` after the last.
    fn next(&mut self) -> Result<bool, TableError> {
        self.left.set(ROW_BYTES_MAX);
        self.row += 1;
        let read = self.reader.read_byte_record(&mut self.record);
        read.map_err(|error| self.failed(&error))
    }

    /// The text at `place` of the row.
    fn cell(&self, place: usize, names: &[String]) -> Result<&str, TableError> {
        let bytes = self.record.get(place).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| {
            let name = names.get(place).map_or("", String::as_str);
            self.cell_error(name, "is not UTF-8".to_owned())
        })
    }

    fn cell_error(&self, column: &str, what: String) -> TableError {
        TableError::Cell { file: self.file.clone(), row: self.row, column: column.to_owned(), what }
    }

    fn failed(&self, error: &csv::Error) -> TableError {
        let what = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} cells, and the header has {expected_len}")
            }
            _ => error.to_string(),
        };
        TableError::Row { file: self.file.clone(), row: self.row, what }
    }
}

/// A file of which no more than so many bytes are read for one row: a quote that is never closed would take all of it.
#[derive(Debug)]
struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::Error::other(format!("is longer than {ROW_BYTES_MAX} bytes")));
        }
        let read = self.file.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}
