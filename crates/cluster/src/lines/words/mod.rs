//! Reading the parts of a line, from left to right.
//!
//! ```text
//!   prepare 17 3 3.41 3.42 - - put city Bern
//!   ───────▶│at            each word is taken with the one space behind it
//! ```
//!
//! A number has one spelling, and so has an id, so that a line that was read is written as it stood, but for escapes
//! that need not be. `at` is one past the line's end when the last word has been taken, and at the end when a space is
//! the last byte: then another word is owed.

mod ids;

use std::borrow::Cow;

use protocol::escape::{Place, Refusal, unescape};

use crate::lines::error::{Fault, LineError};
use crate::lines::text::NONE;

/// Decimal digits that always fit 64 bits.
const FITTING_DIGIT_COUNT: usize = 19;

/// A line, and how far it has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    /// Returns the words of `line`.
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// Returns the error that `fault` is of the `part` that begins here.
    #[cold]
    pub(super) fn error(&self, fault: Fault, part: &'static str) -> LineError {
        LineError { fault, part, column: self.at.min(self.line.len()) + 1 }
    }

    /// Returns what has not been read.
    #[inline]
    fn left(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn next(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// Takes `byte` if it is the next one.
    #[inline]
    pub(super) fn is_next(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes `byte`, which must be the next one.
    #[inline]
    pub(super) fn mark(&mut self, byte: u8, part: &'static str) -> Result<(), LineError> {
        if self.is_next(byte) { Ok(()) } else { Err(self.error(Fault::Missing, part)) }
    }

    /// Takes the space behind a word, or the end of the line.
    #[inline]
    pub(super) fn close(&mut self, part: &'static str) -> Result<(), LineError> {
        match self.next() {
            Some(b' ') | None => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(Fault::Unexpected, part)),
        }
    }

    /// Checks that nothing is left behind `part`.
    #[inline]
    pub(super) fn end(&self, part: &'static str) -> Result<(), LineError> {
        if self.at > self.line.len() { Ok(()) } else { Err(self.error(Fault::Unexpected, part)) }
    }

    /// Takes a word of one byte or more, as spelled.
    #[inline]
    pub(super) fn word(&mut self, part: &'static str) -> Result<&'a [u8], LineError> {
        let left = self.left();
        let len = left.iter().position(|byte| *byte == b' ').unwrap_or(left.len());
        if len == 0 {
            return Err(self.error(Fault::Missing, part));
        }
        self.at += len + 1;
        Ok(left.get(..len).unwrap_or_default())
    }

    /// Takes the rest of the line, as spelled: there must have been a space before it.
    #[inline]
    fn rest(&mut self, part: &'static str) -> Result<&'a [u8], LineError> {
        let rest = self.line.get(self.at..).ok_or_else(|| self.error(Fault::Missing, part))?;
        self.at = self.line.len() + 1;
        Ok(rest)
    }

    /// Takes decimal digits.
    #[inline]
    pub(super) fn digits(&mut self, part: &'static str, max: u64) -> Result<u64, LineError> {
        let (mut value, mut len) = (0_u64, 0);
        let left = self.left();
        for byte in left {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = match len < FITTING_DIGIT_COUNT {
                true => value * 10 + u64::from(digit),
                false => match value.checked_mul(10).and_then(|v| v.checked_add(digit.into())) {
                    Some(value) => value,
                    None => return Err(self.error(Fault::TooLarge { max }, part)),
                },
            };
            len += 1;
        }
        let is_padded = len > 1 && left.first() == Some(&b'0');
        if len == 0 || is_padded {
            let is_here = left.first().is_some_and(|byte| *byte != b' ');
            let fault = if is_here { Fault::NotANumber } else { Fault::Missing };
            return Err(self.error(fault, part));
        }
        if value > max {
            return Err(self.error(Fault::TooLarge { max }, part));
        }
        self.at += len;
        Ok(value)
    }

    /// Takes a number as a word.
    #[inline]
    pub(super) fn number(&mut self, part: &'static str) -> Result<u64, LineError> {
        let value = self.digits(part, u64::MAX)?;
        self.close(part)?;
        Ok(value)
    }

    /// Takes the number of things that are to follow.
    pub(super) fn count(
        &mut self,
        part: &'static str,
        count_max: usize,
    ) -> Result<usize, LineError> {
        let before = *self;
        let count = self.number(part)?;
        let count = usize::try_from(count).ok().filter(|count| *count <= count_max);
        count.ok_or_else(|| before.error(Fault::TooMany { count_max }, part))
    }

    /// Takes the word `-`, if it is the next one.
    #[inline]
    pub(super) fn is_none(&mut self, part: &'static str) -> Result<bool, LineError> {
        let is_none = self.is_next(NONE);
        if is_none {
            self.close(part)?;
        }
        Ok(is_none)
    }

    /// Takes what `read` reads, or `-`.
    #[inline]
    pub(super) fn option<T>(
        &mut self,
        part: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, LineError>,
    ) -> Result<Option<T>, LineError> {
        if self.is_none(part)? { Ok(None) } else { read(self).map(Some) }
    }

    /// Takes a list as a word, each of its items with `item`, which leaves the comma.
    pub(super) fn list(
        &mut self,
        part: &'static str,
        count_max: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), LineError>,
    ) -> Result<(), LineError> {
        if self.is_none(part)? {
            return Ok(());
        }
        let mut count = 0;
        loop {
            if count == count_max {
                return Err(self.error(Fault::TooMany { count_max }, part));
            }
            item(self)?;
            count += 1;
            if !self.is_next(b',') {
                return self.close(part);
            }
        }
    }

    /// Takes a list of those of `names` that hold, in their order.
    pub(super) fn flags<const N: usize>(
        &mut self,
        part: &'static str,
        names: [&str; N],
    ) -> Result<[bool; N], LineError> {
        let before = *self;
        let word = self.word(part)?;
        if word == [NONE] {
            return Ok([false; N]);
        }
        let mut given = word.split(|byte| *byte == b',').peekable();
        let flags = names.map(|name| given.next_if(|word| *word == name.as_bytes()).is_some());
        match given.next() {
            None => Ok(flags),
            Some(_) => Err(before.error(Fault::Unknown, part)),
        }
    }

    /// Takes lower-case letters and underscores: a name with its arguments behind it.
    pub(super) fn name(&mut self) -> &'a [u8] {
        let left = self.left();
        let is_letter = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
        let len = left.iter().position(|byte| !is_letter(byte)).unwrap_or(left.len());
        self.at += len;
        left.get(..len).unwrap_or_default()
    }

    /// Takes bytes that are written as a word, at least one.
    #[inline]
    pub(super) fn token(
        &mut self,
        part: &'static str,
        len_max: usize,
    ) -> Result<Cow<'a, [u8]>, LineError> {
        let before = *self;
        let text = self.word(part)?;
        before.unescape(text, Place::Key, part, len_max)
    }

    /// Takes bytes that are written as the last part of a list's item, at least one.
    pub(super) fn item(
        &mut self,
        part: &'static str,
        len_max: usize,
    ) -> Result<Cow<'a, [u8]>, LineError> {
        let before = *self;
        let left = self.left();
        let len = left.iter().position(|byte| matches!(byte, b' ' | b',')).unwrap_or(left.len());
        if len == 0 {
            return Err(self.error(Fault::Missing, part));
        }
        self.at += len;
        before.unescape(left.get(..len).unwrap_or_default(), Place::Key, part, len_max)
    }

    /// Takes bytes that are written as the rest of the line.
    #[inline]
    pub(super) fn value(
        &mut self,
        part: &'static str,
        len_max: usize,
    ) -> Result<Cow<'a, [u8]>, LineError> {
        let before = *self;
        let text = self.rest(part)?;
        before.unescape(text, Place::Value, part, len_max)
    }

    #[inline]
    fn unescape(
        mut self,
        text: &'a [u8],
        place: Place,
        part: &'static str,
        len_max: usize,
    ) -> Result<Cow<'a, [u8]>, LineError> {
        unescape(text, place, len_max).map_err(|refusal| match refusal {
            Refusal::TooLong(len) => self.error(Fault::TooLong { len, len_max }, part),
            Refusal::BadEscape(offset) => {
                self.at += offset;
                self.error(Fault::BadEscape, part)
            }
        })
    }

    /// Takes the rest of the line, as spelled and in at most `len_max` bytes, and returns it with how far the line had
    /// been read before.
    pub(super) fn rest_as_spelled(
        &mut self,
        part: &'static str,
        len_max: usize,
    ) -> Result<(&'a [u8], Self), LineError> {
        let before = *self;
        let rest = self.rest(part)?;
        if rest.len() > len_max {
            return Err(before.error(Fault::TooLong { len: rest.len(), len_max }, part));
        }
        Ok((rest, before))
    }

    /// Returns these words with `len` more bytes read.
    pub(super) fn ahead(self, len: usize) -> Self {
        Self { at: self.at.saturating_add(len), ..self }
    }
}
