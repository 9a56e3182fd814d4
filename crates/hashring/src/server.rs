//! Who may be on the ring: servers, by the id of their store.
//!
//! A server *is* its store: the id is drawn when the store is created and kept in its folder, so a server
//! that comes back with another address is the same server. The ring orders ids only to have an order that
//! is the same everywhere; a greater id means nothing.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Digits of an id.
const DIGIT_COUNT: usize = 32;

/// The id of a server: the id of its store, kept in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u128);

impl fmt::Display for ServerId {
    /// Writes 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ServerId {
    type Err = Error;

    /// Reads what `Display` writes, and nothing else: one id has one text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGIT_COUNT || !text.bytes().all(is_digit) {
            return Err(Error::ServerId);
        }
        u128::from_str_radix(text, 16).map(Self).or(Err(Error::ServerId))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        for id in [0, 1, 0xab << 64, u128::MAX] {
            let text = ServerId(id).to_string();
            assert_eq!(text.len(), DIGIT_COUNT);
            assert_eq!(text.parse(), Ok(ServerId(id)));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let good = "0123456789abcdef0123456789abcdef";
        assert!(good.parse::<ServerId>().is_ok());
        let bad = [
            String::new(),
            good[1..].to_owned(),
            format!("{good}0"),
            good.replace('a', "A"),
            good.replace('a', "g"),
            good.replacen('0', "+", 1),
        ];
        for text in bad {
            assert_eq!(text.parse::<ServerId>(), Err(Error::ServerId), "{text}");
        }
    }
}
