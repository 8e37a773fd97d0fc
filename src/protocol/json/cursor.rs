//! Walks JSON text once, from the front: white space, punctuation, strings, and values that nobody asked for.
//!
//! It builds no tree. Nesting is bounded where values are skipped; where the protocol's own structure is read, the
//! reader's code is the bound.

use std::borrow::Cow;

use super::error::{DecodeError, Found, shorten};
use super::number::{self, Number};
use crate::protocol::parameters::ParameterValue;

/// A place in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
}

/// The most nesting that can be told apart, one bit a level.
const DEPTH_MAX: usize = 128;

impl<'a> Cursor<'a> {
    /// At the start of `json`.
    pub(super) fn new(json: &'a [u8], depth_max: usize) -> Result<Cursor<'a>, DecodeError> {
        let text =
            std::str::from_utf8(json).map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
        Ok(Cursor { text, at: 0, depth_max: depth_max.min(DEPTH_MAX) })
    }

    /// The same text from another place, which must be one that a cursor of this text has been at.
    pub(super) fn at_offset(&self, at: usize) -> Cursor<'a> {
        Cursor { at, ..self.clone() }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn depth_max(&self) -> usize {
        self.depth_max
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    /// The next byte.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over the next byte, which must be one that was peeked.
    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Skips white space and returns the byte after it.
    #[inline]
    pub(super) fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Skips white space and steps over `byte` if it comes.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.next_token() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips white space and steps over `byte`.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), DecodeError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &'static str) -> DecodeError {
        DecodeError::Syntax { offset: self.at, expected, found: Found(self.peek()) }
    }

    /// The text from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Steps over `word` if it comes next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Whether `word` comes next.
    #[inline]
    pub(super) fn starts_with(&self, word: &str) -> bool {
        self.rest().starts_with(word)
    }

    #[inline]
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// A number, which starts here.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'a>, DecodeError> {
        match number::scan(self.rest()) {
            Ok(number) => {
                self.at += number.len;
                Ok(number)
            }
            Err(offset) => Err(self.not_a_digit(offset)),
        }
    }

    #[cold]
    fn not_a_digit(&mut self, offset: usize) -> DecodeError {
        self.at += offset;
        self.unexpected("a digit")
    }

    /// A string; borrowed when it has no escapes.
    pub(super) fn string(&mut self, expected: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        self.expect(b'"', expected)?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.since(start);
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped_string(start).map(Cow::Owned),
                Some(0x20..) => self.at += 1,
                _ => return Err(self.unterminated()),
            }
        }
    }

    #[cold]
    fn unterminated(&self) -> DecodeError {
        match self.peek() {
            None => self.unexpected("the end of the string"),
            Some(_) => {
                DecodeError::Text { offset: self.at, reason: "control characters in strings must be escaped" }
            }
        }
    }

    /// The rest of a string whose text before the first escape began at `start`.
    fn escaped_string(&mut self, start: usize) -> Result<String, DecodeError> {
        let mut text = self.since(start).to_owned();
        loop {
            let run = self.at;
            while matches!(self.peek(), Some(byte) if byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            text.push_str(self.since(run));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.unterminated()),
            }
        }
    }

    /// The character of an escape, after its backslash.
    fn escape(&mut self) -> Result<char, DecodeError> {
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// `uXXXX`, or two of them that make a character outside the basic plane.
    fn unicode_escape(&mut self) -> Result<char, DecodeError> {
        let offset = self.at - 1;
        let lone = DecodeError::Text { offset, reason: "half of a surrogate pair" };
        self.at += 1;
        let first = self.hex4()?;
        let code = match first {
            0xd800..0xdc00 => {
                if !self.take_word("\\u") {
                    return Err(lone);
                }
                match self.hex4()? {
                    second @ 0xdc00..0xe000 => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(lone),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.unexpected("a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(value)
    }

    /// `{`, then `entry` for every key, which must read the value, then `}`.
    pub(super) fn object<E>(&mut self, expected: &'static str, mut entry: E) -> Result<(), DecodeError>
    where
        E: FnMut(&mut Cursor<'a>, Cow<'a, str>) -> Result<(), DecodeError>,
    {
        self.expect(b'{', expected)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string("a key")?;
            self.expect(b':', "':'")?;
            self.next_token();
            entry(self, key)?;
            if !self.take(b',') {
                return self.expect(b'}', "',' or '}'");
            }
        }
    }

    /// `[`, then `item` for every value, then `]`.
    pub(super) fn array<I>(&mut self, expected: &'static str, mut item: I) -> Result<(), DecodeError>
    where
        I: FnMut(&mut Cursor<'a>) -> Result<(), DecodeError>,
    {
        self.expect(b'[', expected)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.next_token();
            item(self)?;
            if !self.take(b',') {
                return self.expect(b']', "',' or ']'");
            }
        }
    }

    /// A value that is a parameter: anything but an object or an array. The string, if it is one, is kept in `held`.
    pub(super) fn scalar<'h>(
        &mut self,
        held: &'h mut Cow<'a, str>,
    ) -> Result<ParameterValue<'h>, DecodeError> {
        match self.next_token() {
            Some(b'"') => {
                *held = self.string("a string")?;
                Ok(ParameterValue::Text(held))
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                Ok(number.to_whole().map_or(ParameterValue::Double(number.to_f64()), ParameterValue::Whole))
            }
            _ if self.take_word("true") => Ok(ParameterValue::Bool(true)),
            _ if self.take_word("false") => Ok(ParameterValue::Bool(false)),
            _ if self.take_word("null") => Ok(ParameterValue::Null),
            _ => Err(self.unexpected("true, false, a number or a string")),
        }
    }

    /// Skips one value that stands at nesting `depth`, checking that it is JSON.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        // One bit a level that is open: 1 for an object, 0 for an array.
        let mut objects: u128 = 0;
        let mut level = 0usize;
        loop {
            let opened = match self.next_token() {
                Some(b'{') => Some((1, b'}')),
                Some(b'[') => Some((0, b']')),
                _ => None,
            };
            match opened {
                Some((object, close)) => {
                    if depth + level >= self.depth_max {
                        return Err(DecodeError::Depth { offset: self.at, max: self.depth_max });
                    }
                    self.at += 1;
                    objects = (objects << 1) | object;
                    level += 1;
                    if !self.take(close) {
                        self.skip_key(objects)?;
                        continue;
                    }
                    objects >>= 1;
                    level -= 1;
                }
                None => self.skip_scalar()?,
            }
            // After a value: close what ends here, then go on to the next value or stop.
            loop {
                if level == 0 {
                    return Ok(());
                }
                if self.take(b',') {
                    self.skip_key(objects)?;
                    break;
                }
                self.expect(if objects & 1 == 1 { b'}' } else { b']' }, "',' or the closing bracket")?;
                objects >>= 1;
                level -= 1;
            }
        }
    }

    fn skip_key(&mut self, objects: u128) -> Result<(), DecodeError> {
        if objects & 1 == 1 {
            self.string("a key")?;
            self.expect(b':', "':'")?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self) -> Result<(), DecodeError> {
        match self.next_token() {
            Some(b'"') => self.string("a string").map(drop),
            Some(b'0'..=b'9') => self.number().map(drop),
            Some(b'-') if !self.starts_with("-I") => self.number().map(drop),
            _ => {
                let words = ["true", "false", "null", "NaN", "Infinity", "-Infinity"];
                match words.iter().any(|word| self.take_word(word)) {
                    true => Ok(()),
                    false => Err(self.unexpected("a value")),
                }
            }
        }
    }

    /// Nothing but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), DecodeError> {
        match self.next_token() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the JSON")),
        }
    }

    /// The value that starts at `offset`, shortened, for a message.
    #[cold]
    pub(super) fn quote(&self, offset: usize) -> String {
        let rest = self.text.get(offset..).unwrap_or_default();
        let inner = rest.strip_prefix('"');
        let end = match inner {
            Some(inner) => inner.find('"').map_or(rest.len(), |end| end + 2),
            None => rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()),
        };
        shorten(rest.get(..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skip(json: &str, depth_max: usize) -> Result<usize, DecodeError> {
        let mut cursor = Cursor::new(json.as_bytes(), depth_max)?;
        cursor.skip(0)?;
        cursor.finish().map(|()| cursor.offset())
    }

    #[test]
    fn skipping_is_strict_and_bounded() {
        for good in [
            "{}",
            "[]",
            " [ 1 , 2 ] ",
            r#"{"a":[{"b":null}],"c":"\u00e9\"" }"#,
            "-1.5e3",
            "true",
            "[[],[],{}]",
            "[NaN,-Infinity]",
        ] {
            assert!(skip(good, 32).is_ok(), "{good}: {:?}", skip(good, 32));
        }
        for bad in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{1:2}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1}",
            "1 2",
            "tru",
            "\"\n\"",
            "\"",
            r#""\x""#,
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\u0041""#,
            "[1 2]",
            "01",
        ] {
            assert!(skip(bad, 32).is_err(), "{bad}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(skip(&nested(32), 32).is_ok());
        assert_eq!(skip(&nested(33), 32), Err(DecodeError::Depth { offset: 32, max: 32 }));
        assert_eq!(skip(&"[".repeat(100_000), 32), Err(DecodeError::Depth { offset: 32, max: 32 }));
        assert_eq!(skip(&nested(128), 1000), Ok(256));
    }

    #[test]
    fn strings_are_unescaped() {
        let check = |json: &str, expected: &str| {
            let mut cursor = Cursor::new(json.as_bytes(), 32).unwrap();
            assert_eq!(cursor.string("a string").unwrap(), expected);
        };
        check(r#""""#, "");
        check(r#""plain é""#, "plain é");
        check(r#""\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00!""#, "\"\\/\u{8}\u{c}\n\r\t\0é😀!");
    }

    proptest! {
        #[test]
        fn skipping_agrees_with_serde_json(value in json()) {
            prop_assert!(skip(&value.to_string(), 128).is_ok());
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[\\[\\]{}\",:\\\\u0-9a-f .e+-]{0,60}") {
            let ours = skip(&text, 128).is_ok();
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                proptest::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
