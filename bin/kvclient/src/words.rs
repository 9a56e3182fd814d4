//! Words of a typed line: what is typed is the word as it stands; `"…"` with escapes for what cannot be typed.
//!
//! | typed | is |
//! |---|---|
//! | `user:1` | the eight bytes as they stand; a backslash is a backslash |
//! | `"two words"` | a word with a space in it |
//! | `"\n \r \0 \xHH \\ \""` | LF, CR, NUL, any byte, a backslash, a quotation mark |
//!
//! A word ends at a space; the *rest* of a line is taken as it stands, spaces included, so that a value need
//! not be quoted. Only a rest that begins with a quotation mark is read as a quoted word, and then
//! nothing may follow it. Errors name the column, counted in characters from 1.

use std::borrow::Cow;
use std::fmt;

/// What is wrong with a quoted word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WordError {
    /// Bytes before the place, in the text that was read.
    offset: usize,
    kind: WordErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WordErrorKind {
    Unclosed,
    Escape,
    Trailing,
}

impl WordError {
    /// Returns this error as one of a longer text that has `offset` bytes more before it.
    #[must_use]
    pub(crate) fn moved_by(self, offset: usize) -> Self {
        Self { offset: self.offset.saturating_add(offset), ..self }
    }

    /// Returns the message, with the column in `line`.
    pub(crate) fn in_line(self, line: &[u8]) -> impl fmt::Display {
        let before = line.get(..self.offset).unwrap_or(line);
        let column = String::from_utf8_lossy(before).chars().count().saturating_add(1);
        let what = match self.kind {
            WordErrorKind::Unclosed => "the quotation mark is never closed",
            WordErrorKind::Escape => r#"unknown escape; known are \n \r \0 \xHH \\ \""#,
            WordErrorKind::Trailing => {
                r#"text after the closing quotation mark; inside a word it is written \""#
            }
        };
        format!("column {column}: {what}")
    }
}

/// A word and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split<'t> {
    /// The word, its escapes replaced.
    pub(crate) word: Cow<'t, [u8]>,
    /// What follows the one space behind the word; none if the text ends with the word.
    pub(crate) rest: Option<&'t [u8]>,
}

/// Splits the first word off `text`, which begins with it.
pub(crate) fn split_word(text: &[u8]) -> Result<Split<'_>, WordError> {
    if !text.starts_with(b"\"") {
        let mut parts = text.splitn(2, |&byte| byte == b' ');
        let word = Cow::Borrowed(parts.next().unwrap_or_default());
        return Ok(Split { word, rest: parts.next() });
    }
    let (word, len) = unquote(text)?;
    let word = Cow::Owned(word);
    match text.get(len..).unwrap_or_default() {
        [] => Ok(Split { word, rest: None }),
        [b' ', rest @ ..] => Ok(Split { word, rest: Some(rest) }),
        _ => Err(WordError { offset: len, kind: WordErrorKind::Trailing }),
    }
}

/// Returns the rest of a line as a value: as it stands, or unquoted.
pub(crate) fn value(rest: &[u8]) -> Result<Cow<'_, [u8]>, WordError> {
    if !rest.starts_with(b"\"") {
        return Ok(Cow::Borrowed(rest));
    }
    let (word, len) = unquote(rest)?;
    if len < rest.len() {
        return Err(WordError { offset: len, kind: WordErrorKind::Trailing });
    }
    Ok(Cow::Owned(word))
}

/// Reads the quoted word at the beginning of `text`; returns it and its length with both marks.
fn unquote(text: &[u8]) -> Result<(Vec<u8>, usize), WordError> {
    let mut word = Vec::with_capacity(text.len());
    let mut offset = 1;
    loop {
        let left = text.get(offset..).unwrap_or_default();
        let (byte, len) = match left {
            [] => return Err(WordError { offset: 0, kind: WordErrorKind::Unclosed }),
            [b'"', ..] => return Ok((word, offset.saturating_add(1))),
            [b'\\', escape @ ..] => {
                unescape(escape).ok_or(WordError { offset, kind: WordErrorKind::Escape })?
            }
            [byte, ..] => (*byte, 1),
        };
        word.push(byte);
        offset = offset.saturating_add(len);
    }
}

/// Returns the byte that `escape`, which follows a backslash, stands for, and the length of both.
fn unescape(escape: &[u8]) -> Option<(u8, usize)> {
    match escape {
        [b'n', ..] => Some((b'\n', 2)),
        [b'r', ..] => Some((b'\r', 2)),
        [b'0', ..] => Some((0, 2)),
        [byte @ (b'\\' | b'"'), ..] => Some((*byte, 2)),
        [b'x', high, low, ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let byte = digit(*high)?.checked_mul(16)?.checked_add(digit(*low)?)?;
            Some((u8::try_from(byte).ok()?, 4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_at_a_space_and_a_backslash_is_itself() {
        for (text, word, rest) in [
            ("k v w", "k", Some("v w")),
            ("k", "k", None),
            ("k ", "k", Some("")),
            ("k  v", "k", Some(" v")),
            (r"a\nb", r"a\nb", None),
            (r#"a"b c"#, r#"a"b"#, Some("c")),
            ("", "", None),
        ] {
            let split = split_word(text.as_bytes()).unwrap();
            assert_eq!((&*split.word, split.rest), (word.as_bytes(), rest.map(str::as_bytes)));
        }
    }

    #[test]
    fn a_quoted_word_may_hold_any_byte() {
        let split = split_word(br#""a b\n\r\0\x7F\xfe\\\"" rest"#).unwrap();
        assert_eq!(&*split.word, b"a b\n\r\0\x7f\xfe\\\"");
        assert_eq!(split.rest, Some(&b"rest"[..]));
        assert_eq!(&*split_word(b"\"\"").unwrap().word, b"");
    }

    #[test]
    fn a_value_is_the_rest_as_it_stands_or_one_quoted_word() {
        for (rest, expected) in [
            ("a  b ", "a  b "),
            ("", ""),
            (r#"say "hi""#, r#"say "hi""#),
            (r#""""#, ""),
            (r#""a b""#, "a b"),
        ] {
            assert_eq!(&*value(rest.as_bytes()).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn errors_name_the_column() {
        for (rest, message) in [
            (r#""abc"#, "column 1: the quotation mark"),
            (r#""abc\""#, "column 1: the quotation mark"),
            (r#""äö\q""#, "column 4: unknown escape"),
            (r#""a\x4""#, "column 3: unknown escape"),
            (r#""a\xg0""#, "column 3: unknown escape"),
            (r#""a\"#, "column 3: unknown escape"),
            (r#""a"b"#, "column 4: text after"),
            (r#""a" "#, "column 4: text after"),
        ] {
            let error = value(rest.as_bytes()).unwrap_err();
            let text = error.in_line(rest.as_bytes()).to_string();
            assert!(text.starts_with(message), "{rest}: {text}");
        }
        let moved = value(br#""a"#).unwrap_err().moved_by(6);
        assert!(moved.in_line(br#"put k "a"#).to_string().starts_with("column 7:"));
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        for _ in 0..20_000 {
            let len = fastrand::usize(..12);
            let alphabet = br#""\x0n4 ag"#;
            let text: Vec<u8> =
                (0..len).map(|_| alphabet[fastrand::usize(..alphabet.len())]).collect();
            drop(split_word(&text));
            drop(value(&text));
        }
    }
}
