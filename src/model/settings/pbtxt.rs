//! Protobuf text format, as far as `config.pbtxt` needs it, to the common tree. The schema is in `triton`, not here.
//!
//! Known: comments, nested messages in braces or angle brackets with or without a colon, lists, quoted text with
//! escapes and continuation, numbers, words, and `,` or `;` between fields. Bounded in length and depth.

use super::triton::from_tree;
use super::values::shorten;
use super::{Entry, Node, ParsedModelConfig, SETTINGS_BYTES_MAX, SETTINGS_DEPTH_MAX, SettingsError, Value};

/// Reads `config.pbtxt`; `file` is how errors and sources name it.
///
/// # Errors
/// [`SettingsError`] with the line: malformed text, an unknown field, or a value that cannot be used.
pub fn parse_config_pbtxt(text: &str, file: &str) -> Result<ParsedModelConfig, SettingsError> {
    from_tree(&parse_text_format(text, file)?, file)
}

/// Reads protobuf text format without a schema.
pub(super) fn parse_text_format(text: &str, file: &str) -> Result<Vec<Entry>, SettingsError> {
    let error = |line, reason| SettingsError { file: file.to_owned(), line, reason };
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(error(0, format!("the file is longer than {SETTINGS_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { bytes: text.as_bytes(), at: 0, line: 1 };
    parser.fields(None, 0).map_err(|reason| error(parser.line, reason))
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Parser<'_> {
    /// The next byte that is not space or comment.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                b'#' => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                    continue;
                }
                _ => return Some(byte),
            }
            self.at += 1;
        }
        None
    }

    /// Fields up to `close`, or to the end of the text.
    fn fields(&mut self, close: Option<u8>, depth: usize) -> Result<Vec<Entry>, String> {
        if depth > SETTINGS_DEPTH_MAX {
            return Err(format!("nested deeper than {SETTINGS_DEPTH_MAX} levels"));
        }
        let mut entries = Vec::new();
        loop {
            match (self.peek(), close) {
                (None, None) => return Ok(entries),
                (None, Some(close)) => {
                    return Err(format!("expected '{}' before the end of the file", char::from(close)));
                }
                (found, Some(_)) if found == close => {
                    self.at += 1;
                    return Ok(entries);
                }
                (Some(b',' | b';'), _) if !entries.is_empty() => self.at += 1,
                (Some(_), _) => entries.push(self.field(depth)?),
            }
        }
    }

    fn field(&mut self, depth: usize) -> Result<Entry, String> {
        let line = self.line;
        let key = self.word();
        if key.is_empty() {
            return Err(format!("expected the name of a field, found {}", self.found()));
        }
        let colon = self.peek() == Some(b':');
        if colon {
            self.at += 1;
        }
        let node = match self.peek() {
            Some(b'[') => self.list(depth + 1)?,
            Some(b'{' | b'<') => self.message(depth + 1)?,
            _ if colon => self.scalar()?,
            _ => {
                return Err(format!(
                    "expected ':' or '{{' after \"{}\", found {}",
                    shorten(&key),
                    self.found()
                ));
            }
        };
        Ok(Entry { key, line, node })
    }

    fn message(&mut self, depth: usize) -> Result<Node, String> {
        let close = if self.peek() == Some(b'<') { b'>' } else { b'}' };
        let line = self.line;
        self.at += 1;
        Ok(Node { line, value: Value::Table(self.fields(Some(close), depth)?) })
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let line = self.line;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(Node { line, value: Value::List(items) });
                }
                Some(b',') if !items.is_empty() => self.at += 1,
                Some(b'{' | b'<') => items.push(self.message(depth)?),
                Some(_) => items.push(self.scalar()?),
                None => return Err("expected ']' before the end of the file".to_owned()),
            }
        }
    }

    fn scalar(&mut self) -> Result<Node, String> {
        let line = match self.peek() {
            Some(b'"' | b'\'') => return self.quoted(),
            _ => self.line,
        };
        let word = self.word();
        let value = match word.as_str() {
            "" => return Err(format!("expected a value, found {}", self.found())),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number if number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) => {
                Value::Number(plain_number(number)?)
            }
            _ => Value::Word(word),
        };
        Ok(Node { line, value })
    }

    /// Quoted text; pieces that follow each other are one text.
    fn quoted(&mut self) -> Result<Node, String> {
        let line = self.line;
        let mut text = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            loop {
                match self.bytes.get(self.at) {
                    None | Some(b'\n') => return Err("a quoted text has no end on its line".to_owned()),
                    Some(&byte) if byte == quote => break,
                    Some(b'\\') => text.push(self.escape()?),
                    Some(&byte) => text.push(byte),
                }
                self.at += 1;
            }
            self.at += 1;
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(Node { line, value: Value::Text(text) }),
            Err(_) => Err("a quoted text is not UTF-8".to_owned()),
        }
    }

    /// The byte that an escape means; stands on the escape's last character afterwards.
    fn escape(&mut self) -> Result<u8, String> {
        self.at += 1;
        let digits = |from: usize, len: usize, radix: u32| {
            let digits = self.bytes.get(from..from + len)?;
            digits.iter().try_fold(0u32, |sum, digit| Some(sum * radix + char::from(*digit).to_digit(radix)?))
        };
        let (byte, more) = match self.bytes.get(self.at) {
            Some(b'n') => (b'\n', 0),
            Some(b't') => (b'\t', 0),
            Some(b'r') => (b'\r', 0),
            Some(&quoted @ (b'\\' | b'"' | b'\'')) => (quoted, 0),
            Some(b'x') => (digits(self.at + 1, 2, 16).and_then(|n| u8::try_from(n).ok()).unwrap_or(0), 2),
            Some(b'0'..=b'7') => match digits(self.at, 3, 8).and_then(|n| u8::try_from(n).ok()) {
                Some(byte) => (byte, 2),
                None => return Err("an octal escape has three digits up to \\377".to_owned()),
            },
            _ => return Err("unknown escape in a quoted text".to_owned()),
        };
        if more == 2 && self.bytes.get(self.at) == Some(&b'x') && digits(self.at + 1, 2, 16).is_none() {
            return Err("a hexadecimal escape has two digits".to_owned());
        }
        self.at += more;
        Ok(byte)
    }

    /// Letters, digits and the signs of numbers, as far as they go.
    fn word(&mut self) -> String {
        if self.peek().is_none() {
            return String::new();
        }
        let start = self.at;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.');
        while self.bytes.get(self.at).is_some_and(|&byte| is_word(byte)) {
            self.at += 1;
        }
        String::from_utf8_lossy(self.bytes.get(start..self.at).unwrap_or_default()).into_owned()
    }

    /// What stands here, for messages.
    fn found(&mut self) -> String {
        match self.peek() {
            None => "the end of the file".to_owned(),
            Some(_) => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let end =
                    rest.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(rest.len()).min(20);
                format!("\"{}\"", shorten(&String::from_utf8_lossy(rest.get(..end).unwrap_or_default())))
            }
        }
    }
}

/// A number in decimal digits: hexadecimal is turned, a float's `f` dropped.
fn plain_number(number: &str) -> Result<String, String> {
    let defect = || format!("\"{}\" is not a number", shorten(number));
    if let Some(digits) = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).map(|number| number.to_string()).map_err(|_| defect());
    }
    let number = number.strip_suffix(['f', 'F']).unwrap_or(number);
    number.parse::<f64>().map_err(|_| defect())?;
    Ok(number.to_owned())
}
