//! The input buffer of a connection: bytes come in as they like, whole lines go out.
//!
//! ```text
//!   bytes:  [ lines handed over by `lines` | begun line ......... | spare capacity ]
//!           0                        lines_len                 len            capacity
//! ```
//!
//! The buffer starts at [`START_LEN`] and doubles only while a legal line does not fit, so memory is taken
//! for bytes that have come, never for a length that was announced. Each byte is searched for an LF once.
//! Left out: what a line means, and carriage returns.

use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};

/// Bytes of a fresh buffer: a hundred everyday requests, and little for thousands of connections.
pub(crate) const START_LEN: usize = 16 * 1024;

/// The bytes of one connection that were read and not answered yet.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Bytes at the front that are whole lines.
    lines_len: usize,
    /// Bytes of a line, its LF not counted.
    line_len_max: usize,
}

impl Input {
    /// Returns an empty buffer.
    pub(crate) fn new(line_len_max: usize) -> Self {
        Self { bytes: Vec::with_capacity(START_LEN), lines_len: 0, line_len_max }
    }

    /// Returns what the buffer will have beyond its first size once there is room for the next read.
    pub(crate) fn wanted_len(&self) -> usize {
        self.wanted_capacity().saturating_sub(START_LEN)
    }

    /// Returns what the buffer has beyond its first size.
    pub(crate) fn extra_len(&self) -> usize {
        self.bytes.capacity().saturating_sub(START_LEN)
    }

    fn wanted_capacity(&self) -> usize {
        if self.bytes.len() < self.bytes.capacity() {
            return self.bytes.capacity();
        }
        // One byte more than a legal line shows that a line is too long.
        let len_max = self.line_len_max.saturating_add(1).max(START_LEN);
        let more = self.bytes.len().min(len_max.saturating_sub(self.bytes.len())).max(1);
        self.bytes.len() + more
    }

    /// Makes room for the next read.
    fn grow(&mut self) {
        let more = self.wanted_capacity() - self.bytes.len();
        self.bytes.reserve_exact(more);
    }

    /// Reads once and returns how many bytes came; 0 is the end of the stream.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn read(
        &mut self,
        socket: &TcpStream,
        flags: RecvFlags,
    ) -> rustix::io::Result<usize> {
        self.grow();
        let searched = self.bytes.len();
        let (_, count) = recv(socket, spare_capacity(&mut self.bytes), flags)?;
        let fresh = self.bytes.get(searched..).unwrap_or_default();
        if let Some(index) = memchr::memrchr(b'\n', fresh) {
            self.lines_len = searched + index + 1;
        }
        Ok(count)
    }

    /// Returns the whole lines, each of legal length, that are there; it may be none.
    pub(crate) fn lines(&self) -> &[u8] {
        let lines = self.bytes.get(..self.lines_len).unwrap_or_default();
        if lines.len() <= self.line_len_max.saturating_add(1) {
            return lines;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            if end - start > self.line_len_max {
                return lines.get(..start).unwrap_or_default();
            }
            start = end + 1;
        }
        lines
    }

    /// Forgets the first `len` bytes, which were lines, and any lines after them.
    ///
    /// Returns whether a line was too long: one of those after them, or the one that is begun.
    pub(crate) fn consume(&mut self, len: usize) -> bool {
        let is_line_too_long = len < self.lines_len;
        let lines_len = std::mem::take(&mut self.lines_len);
        if lines_len == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..lines_len);
        }
        is_line_too_long || self.bytes.len() > self.line_len_max
    }

    /// Changes the limit for the lines that are not whole yet.
    pub(crate) fn limit_lines(&mut self, line_len_max: usize) {
        self.line_len_max = line_len_max;
    }

    /// Returns whether a line was begun and its LF has not come. A lone CR is the end of the line before it:
    /// some clients end lines in LF CR.
    pub(crate) fn has_begun_line(&self) -> bool {
        let begun = self.bytes.get(self.lines_len..).unwrap_or_default();
        !begun.is_empty() && begun != b"\r"
    }

    /// Returns whether the buffer has grown beyond its first size.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes.capacity() > START_LEN
    }

    /// Gives back the memory that the bytes which are there do not need.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to(START_LEN);
    }
}
