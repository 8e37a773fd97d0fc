//! TOML text to the common tree, with lines. The grammar is the `toml` crate's; only spans are turned into lines here.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Node, SETTINGS_BYTES_MAX, SETTINGS_DEPTH_MAX, SettingsError, Value};

/// Reads `text`; `file` is how errors name it. Answers the entries of the document's table.
///
/// # Errors
/// [`SettingsError`] with the line, when the text is not TOML, too long or nested too deep.
pub fn parse_toml(text: &str, file: &str) -> Result<Vec<Entry>, SettingsError> {
    let error = |line, reason| SettingsError { file: file.to_owned(), line, reason };
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(error(0, format!("the file is longer than {SETTINGS_BYTES_MAX} bytes")));
    }
    let lines = Lines::new(text);
    let document = DeTable::parse(text).map_err(|defect| {
        let line = defect.span().map_or(0, |span| lines.line(span.start));
        error(line, defect.message().replace('\n', ", "))
    })?;
    let entries = table(document.get_ref(), &lines, 0);
    entries.map_err(|line| error(line, format!("nested deeper than {SETTINGS_DEPTH_MAX} levels")))
}

/// Where each line begins.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Lines {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines { starts: std::iter::once(0).chain(newlines.map(|(offset, _)| offset + 1)).collect() }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

/// The entries of a table in the order of their lines; an error is the line that is nested too deep.
fn table(table: &DeTable<'_>, lines: &Lines, depth: usize) -> Result<Vec<Entry>, usize> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let line = lines.line(key.span().start);
        let node = node(value, lines, depth + 1)?;
        entries.push(Entry { key: key.get_ref().to_string(), line, node });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines, depth: usize) -> Result<Node, usize> {
    let line = lines.line(value.span().start);
    if depth > SETTINGS_DEPTH_MAX {
        return Err(line);
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number.to_string()),
            Err(_) => Value::Word(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(value) => Value::Word(value.to_string()),
        DeValue::Array(items) => {
            let items: Result<Vec<Node>, usize> =
                items.iter().map(|item| node(item, lines, depth + 1)).collect();
            Value::List(items?)
        }
        DeValue::Table(inner) => Value::Table(table(inner, lines, depth)?),
    };
    Ok(Node { line, value })
}
