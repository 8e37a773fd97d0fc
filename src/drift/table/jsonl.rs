//! JSON lines: one object a line, a column a member.
//!
//! A list of scalars that is always as long becomes columns `name[i]`; objects and other lists are refused by name. A column
//! whose values are of several kinds holds texts. `"NaN"`, `"Infinity"` and `"-Infinity"` are numbers, which JSON cannot
//! write otherwise.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    BATCH_ROWS, Batch, COLUMNS_MAX, ColumnData, ColumnSpec, Kind, Opened, ROW_BYTES_MAX, Refused, Source,
    TableError,
};

/// Where the rows are.
#[derive(Debug, Clone)]
pub(super) struct Jsonl {
    file: PathBuf,
    /// For each column its member, and its position in the member's list.
    places: Vec<(String, Option<usize>)>,
}

/// What is known of a member.
#[derive(Debug, Default)]
struct Member {
    order: usize,
    /// The kinds of its values, or of the elements of its list.
    kinds: Vec<Option<Kind>>,
    is_list: bool,
    refused: Option<&'static str>,
}

/// Looks at all rows, for the columns and their kinds.
pub(super) fn open(file: &Path) -> Result<Opened, TableError> {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let mut lines = Lines::open(file)?;
    while let Some(row) = lines.next()? {
        for (name, value) in row {
            let order = members.len();
            if order == COLUMNS_MAX && !members.contains_key(&name) {
                return Err(lines.failed(format!("a member more than the {COLUMNS_MAX} that are allowed")));
            }
            members.entry(name).or_insert_with(|| Member { order, ..Member::default() }).look(&value);
        }
    }
    let mut members: Vec<(String, Member)> = members.into_iter().collect();
    members.sort_by_key(|(_, member)| member.order);
    let (mut columns, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (name, member) in members {
        if let Some(reason) = member.refused {
            refused.push(Refused { name, reason: reason.to_owned() });
            continue;
        }
        let kind = |kind: Option<Kind>| kind.unwrap_or(Kind::Number);
        if !member.is_list {
            let kind = kind(member.kinds.first().copied().flatten());
            columns.push(ColumnSpec { name: name.clone(), kind });
            places.push((name, None));
            continue;
        }
        for (at, found) in member.kinds.iter().enumerate() {
            columns.push(ColumnSpec { name: format!("{name}[{at}]"), kind: kind(*found) });
            places.push((name.clone(), Some(at)));
        }
    }
    if columns.len() > COLUMNS_MAX {
        let what = format!("has {} columns, and {COLUMNS_MAX} are allowed", columns.len());
        return Err(TableError::File { file: file.to_owned(), what });
    }
    Ok((Source::Jsonl(Jsonl { file: file.to_owned(), places }), columns, refused))
}

impl Member {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(_) => self.refused = Some("holds objects"),
            Value::Array(_) if !self.is_list && !self.kinds.is_empty() => {
                self.refused = Some("holds lists beside other values");
            }
            Value::Array(values) => {
                let is_first = !self.is_list;
                self.is_list = true;
                if is_first {
                    self.kinds = vec![None; values.len().min(COLUMNS_MAX + 1)];
                }
                if self.kinds.len() != values.len() || values.is_empty() {
                    self.refused = Some("holds lists of different lengths");
                }
                for (kind, value) in self.kinds.iter_mut().zip(values) {
                    match value {
                        Value::Array(_) | Value::Object(_) => {
                            self.refused = Some("holds lists of lists or objects")
                        }
                        value => merge(kind, value),
                    }
                }
            }
            _ if self.is_list => self.refused = Some("holds lists beside other values"),
            value => {
                self.kinds.resize(1, None);
                self.kinds.iter_mut().for_each(|kind| merge(kind, value));
            }
        }
    }
}

/// The kind of a scalar; `None` for null.
fn kind_of(value: &Value) -> Option<Kind> {
    match value {
        Value::Bool(_) => Some(Kind::Bool),
        Value::Number(_) => Some(Kind::Number),
        Value::String(text) if special(text).is_some() => Some(Kind::Number),
        Value::Null => None,
        _ => Some(Kind::Text),
    }
}

fn merge(kind: &mut Option<Kind>, value: &Value) {
    if let Some(found) = kind_of(value) {
        *kind = Some(if kind.is_none_or(|kind| kind == found) { found } else { Kind::Text });
    }
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

impl Jsonl {
    pub(super) fn read(
        &self,
        columns: &[ColumnSpec],
        wanted: &[usize],
        each: &mut dyn FnMut(&Batch),
    ) -> Result<(), TableError> {
        let mut lines = Lines::open(&self.file)?;
        let empty = || wanted.iter().map(|at| ColumnData::new(columns[*at].kind)).collect();
        let mut batch = Batch { columns: empty(), weights: None, rows: 0 };
        while let Some(row) = lines.next()? {
            for (column, at) in batch.columns.iter_mut().zip(wanted) {
                let (member, element) = &self.places[*at];
                let value = row.get(member);
                let value = match element {
                    None => value,
                    Some(element) => value.and_then(|list| list.get(*element)),
                };
                push(column, value.unwrap_or(&Value::Null));
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

fn push(column: &mut ColumnData, value: &Value) {
    match column {
        ColumnData::Numbers(values) => values.push(match value {
            Value::String(text) => special(text),
            value => value.as_f64(),
        }),
        ColumnData::Bools(values) => values.push(value.as_bool()),
        ColumnData::Texts(values) => values.push(match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        }),
    }
}

/// The objects of a file, one at a time; empty lines are passed over.
struct Lines {
    file: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    row: u64,
}

impl Lines {
    fn open(file: &Path) -> Result<Lines, TableError> {
        let opened = File::open(file).map_err(|source| TableError::Io { file: file.to_owned(), source })?;
        Ok(Lines { file: file.to_owned(), reader: BufReader::new(opened), line: Vec::new(), row: 0 })
    }

    fn next(&mut self) -> Result<Option<Map<String, Value>>, TableError> {
        loop {
            self.line.clear();
            let read = self.reader.by_ref().take(ROW_BYTES_MAX + 1).read_until(b'\n', &mut self.line);
            let read = read.map_err(|source| TableError::Io { file: self.file.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 > ROW_BYTES_MAX {
                self.row += 1;
                return Err(self.failed(format!("is longer than {ROW_BYTES_MAX} bytes")));
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.row += 1;
            let parsed = serde_json::from_slice(&self.line);
            return parsed.map(Some).map_err(|error| self.failed(format!("is no JSON object: {error}")));
        }
    }

    fn failed(&self, what: String) -> TableError {
        TableError::Row { file: self.file.clone(), row: self.row, what }
    }
}
