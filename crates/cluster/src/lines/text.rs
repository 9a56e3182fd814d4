//! Writing the parts of a line: each appends to the buffer, none makes anything on the way.
//!
//! A part that is a word of its own begins with the space in front of it.

use protocol::escape::{Place, escape_into};

use crate::types::{Lsn, ServerId};

/// What stands for nothing: an empty list, no value of an option.
pub(super) const NONE: u8 = b'-';

/// Digits of the largest number; even.
const DIGIT_COUNT_MAX: usize = 20;

/// Appends the decimal digits of a number.
#[inline]
pub(super) fn digits(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; DIGIT_COUNT_MAX];
    let mut start = DIGIT_COUNT_MAX;
    // Two at a time: half as many divisions wait for each other.
    for pair in digits.rchunks_exact_mut(2) {
        // What is below a hundred always fits.
        let low = u8::try_from(value % 100).unwrap_or(0);
        pair.copy_from_slice(&[b'0' + low / 10, b'0' + low % 10]);
        value /= 100;
        start -= 2;
        if value == 0 {
            start += usize::from(low < 10);
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a number as a word.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, value: impl Into<u64>) {
    out.push(b' ');
    digits(out, value.into());
}

/// Appends a count as a word.
pub(super) fn count(out: &mut Vec<u8>, value: usize) {
    number(out, u64::try_from(value).unwrap_or(u64::MAX));
}

/// Appends an lsn as a word: `<epoch>.<counter>`.
#[inline]
pub(super) fn lsn(out: &mut Vec<u8>, lsn: Lsn) {
    number(out, lsn.epoch());
    out.push(b'.');
    digits(out, lsn.counter());
}

/// Appends `-` as a word.
#[inline]
pub(super) fn none(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b' ', NONE]);
}

/// Appends the 32 digits of a server's id.
pub(super) fn id(out: &mut Vec<u8>, server: ServerId) {
    out.extend_from_slice(server.to_string().as_bytes());
}

/// Appends a server's id as a word.
pub(super) fn server(out: &mut Vec<u8>, server: ServerId) {
    out.push(b' ');
    id(out, server);
}

/// Appends a list as a word: its items with commas between them, or `-`.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    let mut is_first = true;
    for each in items {
        out.push(if is_first { b' ' } else { b',' });
        is_first = false;
        item(out, each);
    }
    if is_first {
        none(out);
    }
}

/// Appends those names that hold, as a list.
pub(super) fn flags<const N: usize>(out: &mut Vec<u8>, flags: [(&str, bool); N]) {
    let set = flags.iter().filter(|(_, is_set)| *is_set);
    list(out, set, |out, (name, _)| out.extend_from_slice(name.as_bytes()));
}

/// Appends bytes as a word.
#[inline]
pub(super) fn token(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b' ');
    escape_into(bytes, Place::Key, out);
}

/// Appends bytes as the last part of a list's item: no comma stands in it.
pub(super) fn item(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, part) in bytes.split(|byte| *byte == b',').enumerate() {
        if index > 0 {
            out.extend_from_slice(br"\x2c");
        }
        escape_into(part, Place::Key, out);
    }
}

/// Appends bytes as the rest of the line.
#[inline]
pub(super) fn rest(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b' ');
    escape_into(bytes, Place::Value, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_plain_digits() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power / 2]);
        for value in around.chain([u64::MAX - 1, u64::MAX]) {
            let mut out = Vec::new();
            digits(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
