//! The list that `keyrange` answers with: `<from>,<to>,<ip:port>;` for each arc and server.
//!
//! Ends are 32 lower-case hexadecimal digits and belong to the arc; the list is one token, since it
//! holds no space. It travels in replies as text, so that a server writes it once per map.

use std::fmt;
use std::net::SocketAddr;

use hashring::{Arc, Token};

/// Digits of one end of an arc.
const TOKEN_DIGIT_COUNT: usize = 32;

/// An arc, and a server that answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The run of ring positions.
    pub arc: Arc,
    /// Where the server listens.
    pub server: SocketAddr,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{};", self.arc, self.server)
    }
}

/// A text that is no list of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRanges {
    /// Which of its ranges is wrong, from 0.
    pub index: usize,
}

impl fmt::Display for BadRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad range at index {} of a key range list", self.index)
    }
}

impl std::error::Error for BadRanges {}

/// Returns `ranges` as replies carry them.
#[must_use]
pub fn write_ranges(ranges: &[Range]) -> String {
    ranges.iter().map(Range::to_string).collect()
}

/// Returns the ranges that `text` lists.
///
/// # Errors
///
/// [`BadRanges`] if a range is not `<from>,<to>,<ip:port>;`.
pub fn parse_ranges(text: &str) -> Result<Vec<Range>, BadRanges> {
    text.split_inclusive(';')
        .enumerate()
        .map(|(index, range)| parse_range(range).ok_or(BadRanges { index }))
        .collect()
}

fn parse_range(text: &str) -> Option<Range> {
    let mut parts = text.strip_suffix(';')?.splitn(3, ',');
    let first = parse_token(parts.next()?)?;
    let last = parse_token(parts.next()?)?;
    let server = parts.next()?.parse().ok()?;
    Some(Range { arc: Arc { first, last }, server })
}

fn parse_token(digits: &str) -> Option<Token> {
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits.len() != TOKEN_DIGIT_COUNT || !is_hex {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ranges_is_read_as_it_was_written() {
        let ranges = [
            Range {
                arc: Arc { first: Token(u128::MAX - 1), last: Token(0xab) },
                server: "127.0.0.1:5000".parse().unwrap(),
            },
            Range {
                arc: Arc { first: Token(0xac), last: Token(u128::MAX - 2) },
                server: "[::1]:5001".parse().unwrap(),
            },
        ];
        let text = write_ranges(&ranges);
        assert_eq!(
            text,
            "fffffffffffffffffffffffffffffffe,000000000000000000000000000000ab,127.0.0.1:5000;\
             000000000000000000000000000000ac,fffffffffffffffffffffffffffffffd,[::1]:5001;"
        );
        assert_eq!(parse_ranges(&text), Ok(ranges.to_vec()));
        assert_eq!(parse_ranges(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_list_of_ranges_is_refused_by_index() {
        let good =
            write_ranges(&[Range { arc: Arc::WHOLE, server: "127.0.0.1:5000".parse().unwrap() }]);
        for (text, index) in [
            (good.trim_end_matches(';').to_owned(), 0),
            (format!("{good};"), 1),
            (format!("{good}{}", good.replace(":5000", "")), 1),
            (good.replacen('0', "", 1), 0),
            (good.replacen('0', "+", 1), 0),
            (good.replacen(',', ";", 1), 0),
        ] {
            assert_eq!(parse_ranges(&text), Err(BadRanges { index }), "{text}");
        }
    }
}
