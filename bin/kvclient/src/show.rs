//! Keys and values as a person reads them, on one line.
//!
//! A value that could have been typed is shown as it stands; any other is shown in quotation marks with the escapes
//! of [`words`](crate::words). So what `get` shows can be typed behind `put <key>` and is the same value again:
//!
//! | bytes | shown |
//! |---|---|
//! | `héllo wörld` | `héllo wörld` |
//! | `C:\dir` | `C:\dir` |
//! | (none) | `""` |
//! | `a`, LF, `\`, 255 | `"a\n\\\xff"` |
//!
//! Control characters never reach the terminal, so that no stored value can give it orders.

use indicatif::HumanCount;

/// Returns `value` as it is shown.
pub(crate) fn value(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_typable(text) => text.to_owned(),
        _ => quoted(bytes),
    }
}

/// Returns `key` as it is shown: in quotation marks also when it has a space in it.
pub(crate) fn key(bytes: &[u8]) -> String {
    if bytes.contains(&b' ') { quoted(bytes) } else { value(bytes) }
}

/// Returns a number of things, in words.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", HumanCount(number))
}

fn is_typable(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('"') && text.chars().all(is_printable)
}

/// Returns whether a terminal shows `letter` and does nothing else.
fn is_printable(letter: char) -> bool {
    matches!(letter, ' '..='~') || (letter > '\u{9f}' && letter.escape_debug().len() == 1)
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_add(2));
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\0' => text.push_str("\\0"),
                _ if is_printable(letter) => text.push(letter),
                _ => push_hex(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text.push('"');
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    #[test]
    fn what_can_be_typed_is_shown_as_it_stands() {
        for text in ["a", "two words ", r"C:\dir", "héllo", "日本", "say \"hi\"", " x"] {
            assert_eq!(value(text.as_bytes()), text);
        }
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!(count(0, "record"), "0 records");
        assert_eq!(count(1, "record"), "1 record");
        assert_eq!(count(12_345, "record"), "12,345 records");
    }

    #[test]
    fn what_cannot_be_typed_is_quoted() {
        for (bytes, shown) in [
            (&b""[..], r#""""#),
            (b"a\nb\r\0\\\xff", r#""a\nb\r\0\\\xff""#),
            (b"\"x", r#""\"x""#),
            (b"\x1b[31m", r#""\x1b[31m""#),
            ("\u{202e}".as_bytes(), r#""\xe2\x80\xae""#),
            ("\u{9b}0m".as_bytes(), r#""\xc2\x9b0m""#),
        ] {
            assert_eq!(value(bytes), shown);
        }
        assert_eq!(key(b"a b"), r#""a b""#);
    }

    #[test]
    fn what_is_shown_can_be_typed_and_is_the_same_again() {
        for _ in 0..5_000 {
            let len = fastrand::usize(..8);
            let any: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect();
            let shown = value(&any);
            assert_eq!(&*words::value(shown.as_bytes()).unwrap(), &*any, "{shown}");
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            if !any.is_empty() {
                let shown = key(&any);
                let split = words::split_word(shown.as_bytes()).unwrap();
                assert_eq!((&*split.word, split.rest), (&*any, None), "{shown}");
            }
        }
    }
}
