//! Reads a search: words, operators and quoted values; `NOT` binds before `AND`, `AND` before `OR`.
//!
//! Every mistake names its column, counted in characters from 1, and what was expected there.

use super::query::{Comparison, FIELDS, Field, KEYED, Operator, Query, is_word};
use super::value;
use crate::model::settings::values::nearest;

/// Longest search, in bytes.
pub const QUERY_LEN_MAX: usize = 8192;
/// Deepest nesting of `NOT` and parentheses.
const DEPTH_MAX: usize = 32;
/// The most comparisons.
const COMPARISONS_MAX: usize = 128;

/// A search cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// An unquoted word.
    Word(String),
    /// A quoted text.
    Text(String),
    Operator(Operator),
    Open,
    Close,
    End,
}

impl Token {
    fn describe(&self) -> String {
        match self {
            Token::Word(text) => format!("'{}'", shorten(text)),
            Token::Text(text) => format!("the text '{}'", shorten(text)),
            Token::Operator(operator) => format!("'{operator}'"),
            Token::Open => "'('".to_owned(),
            Token::Close => "')'".to_owned(),
            Token::End => "the end".to_owned(),
        }
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(32).flat_map(char::escape_debug).collect()
}

/// Reads a search. The empty one finds everything.
///
/// # Errors
/// [`SyntaxError`].
pub fn parse(text: &str) -> Result<Query, SyntaxError> {
    if text.len() > QUERY_LEN_MAX {
        let reason = format!("the search has {} bytes, and {QUERY_LEN_MAX} are allowed", text.len());
        return Err(SyntaxError { column: 1, reason });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, comparisons: 0 };
    if *parser.peek() == Token::End {
        return Ok(Query::All);
    }
    let query = parser.any()?;
    match parser.peek() {
        Token::End => Ok(query),
        _ => parser.expected("AND, OR or the end"),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let start = at;
        let next = chars.get(at + 1).copied();
        at += 1;
        let token = match (c, next) {
            (c, _) if c.is_whitespace() => continue,
            ('(', _) => Token::Open,
            (')', _) => Token::Close,
            ('!', Some('=')) | ('<', Some('=' | '>')) | ('>' | '=', Some('=')) => {
                at += 1;
                Token::Operator(match (c, next) {
                    ('<', Some('=')) => Operator::Le,
                    ('>', _) => Operator::Ge,
                    ('=', _) => Operator::Eq,
                    _ => Operator::Ne,
                })
            }
            ('=' | ':', _) => Token::Operator(Operator::Eq),
            ('<', _) => Token::Operator(Operator::Lt),
            ('>', _) => Token::Operator(Operator::Gt),
            ('~', _) => Token::Operator(Operator::Like),
            ('\'' | '"', _) => {
                let (found, end) = quoted(&chars, start)?;
                at = end;
                Token::Text(found)
            }
            (c, _) if is_word(c) => {
                let rest = chars.iter().skip(start).take_while(|c| is_word(**c));
                let word: String = rest.collect();
                at = start + word.chars().count();
                Token::Word(word)
            }
            (c, _) => {
                let reason = format!("unexpected character '{}'; put values in quotes", c.escape_debug());
                return Err(SyntaxError { column: start + 1, reason });
            }
        };
        tokens.push((start + 1, token));
    }
    tokens.push((chars.len() + 1, Token::End));
    Ok(tokens)
}

/// A quoted text that begins at `start`, where a doubled quote stands for one; and where it ends.
fn quoted(chars: &[char], start: usize) -> Result<(String, usize), SyntaxError> {
    let quote = chars.get(start).copied().unwrap_or('\'');
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (None, _) => {
                let reason = format!("the quote {quote} is not closed");
                return Err(SyntaxError { column: start + 1, reason });
            }
            (Some(c), Some(next)) if *c == quote && *next == quote => {
                text.push(quote);
                at += 2;
            }
            (Some(c), _) if *c == quote => return Ok((text, at + 1)),
            (Some(c), _) => {
                text.push(*c);
                at += 1;
            }
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    comparisons: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(column, _)| *column)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn error<T>(&self, reason: String) -> Result<T, SyntaxError> {
        Err(SyntaxError { column: self.column(), reason })
    }

    fn expected<T>(&self, what: &str) -> Result<T, SyntaxError> {
        self.error(format!("expected {what}, found {}", self.peek().describe()))
    }

    fn any(&mut self) -> Result<Query, SyntaxError> {
        let mut parts = vec![self.all()?];
        while self.peek().is_keyword("or") {
            self.take();
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Query::Or))
    }

    fn all(&mut self) -> Result<Query, SyntaxError> {
        let mut parts = vec![self.one()?];
        while self.peek().is_keyword("and") {
            self.take();
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Query::And))
    }

    fn one(&mut self) -> Result<Query, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return self.error(format!("the search is nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        let found = match self.peek() {
            Token::Open => self.group(),
            token if token.is_keyword("not") => {
                self.take();
                self.one().map(|part| Query::Not(Box::new(part)))
            }
            _ => self.comparison(),
        };
        self.depth -= 1;
        found
    }

    fn group(&mut self) -> Result<Query, SyntaxError> {
        self.take();
        let found = self.any()?;
        match self.peek() {
            Token::Close => {
                self.take();
                Ok(found)
            }
            _ => self.expected("AND, OR or ')'"),
        }
    }

    fn comparison(&mut self) -> Result<Query, SyntaxError> {
        if self.comparisons == COMPARISONS_MAX {
            return self.error(format!("the search has more than {COMPARISONS_MAX} comparisons"));
        }
        self.comparisons += 1;
        let field_column = self.column();
        let field = self.field()?;
        let operator_column = self.column();
        let operator = match self.peek() {
            Token::Operator(operator) => *operator,
            token if token.is_keyword("like") => Operator::Like,
            _ => return self.expected("=, !=, <, <=, >, >=, ~ or LIKE"),
        };
        self.take();
        let is_order = !matches!(operator, Operator::Eq | Operator::Ne | Operator::Like);
        if is_order && !field.is_ordered() {
            let reason = format!("{field} is a text: compare it by =, != or ~");
            return Err(SyntaxError { column: operator_column, reason });
        }
        if operator == Operator::Like && field.is_ordered() {
            let reason = format!("{field} is a number or time: compare it by =, !=, <, <=, > or >=");
            return Err(SyntaxError { column: operator_column, reason });
        }
        let column = self.column();
        let value = match self.peek().clone() {
            Token::Text(text) => text,
            Token::Word(word) => word,
            _ => return self.expected("a value"),
        };
        self.take();
        value::check(&field, &value).map_err(|reason| SyntaxError { column, reason })?;
        debug_assert!(field_column < column);
        Ok(Query::Is(Comparison { field, operator, value }))
    }

    fn field(&mut self) -> Result<Field, SyntaxError> {
        let column = self.column();
        let Token::Word(word) = self.peek().clone() else {
            return self.expected("a field, NOT or '('");
        };
        self.take();
        // A key that is no word is quoted: tags.'my key'.
        let is_prefix = KEYED.iter().any(|(prefix, _)| word.strip_suffix('.') == Some(prefix));
        let name = match self.peek().clone() {
            Token::Text(key) if is_prefix => {
                self.take();
                format!("{word}{key}")
            }
            _ => word,
        };
        Field::parse(&name).ok_or_else(|| SyntaxError { column, reason: unknown_field(&name) })
    }
}

fn unknown_field(name: &str) -> String {
    let known = FIELDS.iter().map(|(name, _)| *name);
    let shown = shorten(name);
    match nearest(name, known) {
        Some(near) => format!("unknown field '{shown}'; did you mean '{near}'?"),
        None => format!(
            "unknown field '{shown}': expected tags.KEY, property.KEY, metric.NAME, dataset.ROLE or one of {}",
            FIELDS.map(|(name, _)| name).join(", ")
        ),
    }
}

/// One part as it is; flattened parts of the same kind are kept as they were grouped.
fn one_or(mut parts: Vec<Query>, join: fn(Vec<Query>) -> Query) -> Query {
    match parts.len() {
        1 => parts.pop().unwrap_or(Query::All),
        _ => join(parts),
    }
}
