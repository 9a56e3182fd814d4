//! Any bytes in a line of text.
//!
//! | escape | byte | must be written so in |
//! |---|---|---|
//! | `\\` | backslash | keys, values |
//! | `\n` | LF | keys, values |
//! | `\r` | CR | keys, values |
//! | `\0` | NUL | keys, values |
//! | `\s` | space | keys (and is read in keys only) |
//! | `\xHH` | any | never |
//!
//! Most keys and values need none, so both directions first search for what would need work (in
//! blocks, which the compiler turns into vector instructions) and else do nothing: reading borrows,
//! writing is one copy.
//!
//! Other lines than those of clients (what servers say to each other) hold keys and values in the same way, so this
//! is open to other crates.

use std::borrow::Cow;

use memchr::memchr;

/// Bytes looked at together when searching for what must be escaped.
const BLOCK_LEN: usize = 32;

/// The same for shorter pieces, such as keys.
const WORD_LEN: usize = 8;

/// Where a piece of text stands: in keys a space must be escaped too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A token: it ends at a space.
    Key,
    /// The rest of the line.
    Value,
}

/// Why a piece of text cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The backslash at this offset begins no escape.
    BadEscape(usize),
    /// It stands for this many bytes, which is too many.
    TooLong(usize),
}

/// Returns what `text` stands for; copies only if it holds an escape, and only what fits `len_max`.
///
/// # Errors
///
/// [`Refusal`] says what cannot be taken.
#[inline]
pub fn unescape(text: &[u8], place: Place, len_max: usize) -> Result<Cow<'_, [u8]>, Refusal> {
    match memchr(b'\\', text) {
        Some(_) => unescape_copy(text, place, len_max).map(Cow::Owned),
        None if text.len() > len_max => Err(Refusal::TooLong(text.len())),
        None => Ok(Cow::Borrowed(text)),
    }
}

fn unescape_copy(text: &[u8], place: Place, len_max: usize) -> Result<Vec<u8>, Refusal> {
    let len = unescaped_len(text, place)?;
    if len > len_max {
        return Err(Refusal::TooLong(len));
    }
    let mut bytes = Vec::with_capacity(len);
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        let (byte, escape_len) = read_escape(escape, place).ok_or(Refusal::BadEscape(at))?;
        bytes.extend_from_slice(plain);
        bytes.push(byte);
        rest = escape.get(escape_len..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// Returns how many bytes `text` stands for.
fn unescaped_len(text: &[u8], place: Place) -> Result<usize, Refusal> {
    let mut len = text.len();
    let mut offset = 0;
    while let Some(rest) = text.get(offset..)
        && let Some(at) = memchr(b'\\', rest)
    {
        let escape = rest.get(at..).unwrap_or_default();
        let (_, escape_len) = read_escape(escape, place).ok_or(Refusal::BadEscape(offset + at))?;
        len -= escape_len - 1;
        offset += at + escape_len;
    }
    Ok(len)
}

/// Returns the byte that the escape at the front of `text` stands for, and the escape's length.
fn read_escape(text: &[u8], place: Place) -> Option<(u8, usize)> {
    match *text {
        [b'\\', b'\\', ..] => Some((b'\\', 2)),
        [b'\\', b'n', ..] => Some((b'\n', 2)),
        [b'\\', b'r', ..] => Some((b'\r', 2)),
        [b'\\', b'0', ..] => Some((0, 2)),
        [b'\\', b's', ..] if place == Place::Key => Some((b' ', 2)),
        [b'\\', b'x', high, low, ..] => Some((hex_digit(high)? << 4 | hex_digit(low)?, 4)),
        _ => None,
    }
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends `bytes` as text, with as few escapes as can be.
#[inline]
pub fn escape_into(bytes: &[u8], place: Place, out: &mut Vec<u8>) {
    if must_escape(bytes, place) {
        escape_copy(bytes, place, out);
    } else {
        out.extend_from_slice(bytes);
    }
}

#[cold]
fn escape_copy(bytes: &[u8], place: Place, out: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK_LEN) {
        if !must_escape(block, place) {
            out.extend_from_slice(block);
            continue;
        }
        for piece in block.split_inclusive(|&byte| letter_of(byte, place).is_some()) {
            let letter = piece.last().and_then(|&byte| letter_of(byte, place));
            if let (Some(letter), Some((_, plain))) = (letter, piece.split_last()) {
                out.extend_from_slice(plain);
                out.extend_from_slice(&[b'\\', letter]);
            } else {
                out.extend_from_slice(piece);
            }
        }
    }
}

/// Returns whether a byte of `bytes` must be escaped.
#[inline]
fn must_escape(bytes: &[u8], place: Place) -> bool {
    if bytes.len() >= BLOCK_LEN {
        has_special_block::<BLOCK_LEN>(bytes, place)
    } else if bytes.len() >= WORD_LEN {
        has_special_block::<WORD_LEN>(bytes, place)
    } else {
        has_special(bytes, place)
    }
}

/// Returns whether a byte of `bytes`, which has at least `LEN` bytes, must be escaped: block by
/// block, and then the last `LEN` bytes, some of them for the second time.
#[inline]
fn has_special_block<const LEN: usize>(bytes: &[u8], place: Place) -> bool {
    let (blocks, _) = bytes.as_chunks::<LEN>();
    blocks.iter().any(|block| has_special(block, place))
        || bytes.last_chunk::<LEN>().is_some_and(|block| has_special(block, place))
}

/// Returns whether a byte of `block` must be escaped; without branches, so that it is vectorised.
#[inline]
fn has_special(block: &[u8], place: Place) -> bool {
    let space = if place == Place::Key { b' ' } else { b'\\' };
    block.iter().fold(false, |is_found, &byte| {
        let is_line_end = (byte == b'\n') | (byte == b'\r');
        is_found | is_line_end | (byte == b'\\') | (byte == 0) | (byte == space)
    })
}

const fn letter_of(byte: u8, place: Place) -> Option<u8> {
    match byte {
        b'\\' => Some(b'\\'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        0 => Some(b'0'),
        b' ' if matches!(place, Place::Key) => Some(b's'),
        _ => None,
    }
}
