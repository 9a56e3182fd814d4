//! Received bytes into lines.
//!
//! Lines end in LF, CR LF or LF CR: the bytes are split at LF and one CR is dropped at either end.
//! The CR of an LF CR therefore goes with the *following* line's front, whenever it arrives; it is
//! consumed at once, so that a connection at rest has nothing left in its buffer.
//!
//! ```text
//!   received:  g e t ␠ a \r \n p u t ␠ b ␠ 1 \n \r g e t
//!   lines:    [g e t ␠ a]     [p u t ␠ b ␠ 1]
//!   consumed: ──────────────────────────────────▶|      "get" stays until its end arrives
//! ```
//!
//! The caller owns the buffer: it appends what it receives, takes the lines, removes what was
//! consumed. The same bytes in any chunks give the same lines, and no byte is searched twice. A line
//! that passes the limit is reported as soon as no end could save it, and the framer is done: where
//! the next line begins will not be known.

use memchr::memchr;

use crate::Error;

/// Cuts a stream of bytes into lines; holds what must be remembered between chunks.
#[derive(Clone, Debug)]
pub struct Framer {
    line_len_max: usize,
    /// How many of the unconsumed bytes are known to hold no LF.
    searched_len: usize,
    /// Whether the CR at the front of the present line has been dropped.
    has_dropped_cr: bool,
    /// Whether a line was too long.
    is_over: bool,
}

impl Framer {
    /// Returns a framer for lines of at most `line_len_max` bytes, their ends not counted.
    #[must_use]
    pub const fn new(line_len_max: usize) -> Self {
        Self { line_len_max, searched_len: 0, has_dropped_cr: false, is_over: false }
    }

    /// Returns the complete lines in `received`: all bytes that arrived and were not yet consumed.
    pub const fn lines<'f, 'b>(&'f mut self, received: &'b [u8]) -> Lines<'f, 'b> {
        Lines { framer: self, rest: received, consumed_len: 0 }
    }

    /// Returns whether the unfinished line `rest` is too long however it goes on: a CR at its end may
    /// still turn out not to belong to it.
    fn is_hopeless(&self, rest: &[u8]) -> bool {
        let len = if rest.ends_with(b"\r") { rest.len() - 1 } else { rest.len() };
        len > self.line_len_max
    }
}

/// The complete lines of a buffer, without their ends; from [`Framer::lines`].
///
/// The lines borrow from the buffer only, so they may outlive this iterator.
#[derive(Debug)]
pub struct Lines<'f, 'b> {
    framer: &'f mut Framer,
    rest: &'b [u8],
    consumed_len: usize,
}

impl<'b> Lines<'_, 'b> {
    /// Returns how many bytes from the buffer's front are done with; the others must be presented
    /// again, with what follows them, at the next call.
    #[must_use]
    pub const fn consumed_len(&self) -> usize {
        self.consumed_len
    }

    fn consume(&mut self, len: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.consumed_len += len;
        taken
    }
}

impl<'b> Iterator for Lines<'_, 'b> {
    /// A line, or [`Error::LineTooLong`] once and then nothing more.
    type Item = Result<&'b [u8], Error<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.framer.is_over {
            self.consume(self.rest.len());
            return None;
        }
        if !self.framer.has_dropped_cr && self.rest.starts_with(b"\r") {
            self.consume(1);
            self.framer.has_dropped_cr = true;
        }
        let unsearched = self.rest.get(self.framer.searched_len..).unwrap_or_default();
        let line = if let Some(at) = memchr(b'\n', unsearched) {
            let line = self.consume(self.framer.searched_len + at);
            self.consume(1);
            self.framer.searched_len = 0;
            self.framer.has_dropped_cr = false;
            line
        } else {
            self.framer.searched_len = self.rest.len();
            if !self.framer.is_hopeless(self.rest) {
                return None;
            }
            self.rest
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.framer.line_len_max {
            self.framer.is_over = true;
            return Some(Err(Error::LineTooLong { len_max: self.framer.line_len_max }));
        }
        Some(Ok(line))
    }
}
