//! Reads a data file from front to back, past whatever is damaged in it.
//!
//! A record whose head is good is given with its place, also when its value is not: the head says how
//! long it is. From a damaged head on, every byte is tried until a head is found whose checksum
//! holds for its place; there is no limit on how much may be damaged.

use crate::codec::to_usize;
use crate::data_file::{DataFile, FILE_HEADER_LEN};
use crate::error::Result;
use crate::record::{HEAD_LEN_MAX, HEADER_LEN, Head, Seed, is_plausible};

/// Bytes read at once.
const CHUNK_LEN: usize = 256 * 1024;

/// What stands at a place of a data file.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A record with a good head.
    Record(Head<'a>),
    /// This many bytes that are no record.
    Damage(u64),
}

/// A reading position in a data file.
#[derive(Debug)]
pub(crate) struct Scan<'f> {
    file: &'f DataFile,
    end: u64,
    /// Where the next item stands.
    offset: u64,
    window: Window,
}

/// The stretch of the file that is in memory.
#[derive(Debug)]
struct Window {
    buf: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window {
    /// Returns the bytes from `offset` on, `want_len` or more of them if `end` allows.
    fn bytes(&mut self, file: &DataFile, offset: u64, want_len: usize, end: u64) -> Result<&[u8]> {
        let left_len = to_usize(end.saturating_sub(offset));
        let want_len = want_len.min(left_len);
        let is_here =
            offset >= self.start && offset + want_len as u64 <= self.start + self.len as u64;
        if !is_here {
            let load_len = want_len.max(CHUNK_LEN.min(left_len));
            if self.buf.len() < load_len {
                self.buf.resize(load_len, 0);
            }
            let place = self.buf.get_mut(..load_len).unwrap_or_default();
            (self.start, self.len) = (offset, file.read(place, offset)?);
        }
        let from = to_usize(offset - self.start);
        Ok(self.buf.get(from..self.len).unwrap_or_default())
    }
}

impl<'f> Scan<'f> {
    /// Begins at the first record of `file` and ends at `end`.
    pub(crate) fn new(file: &'f DataFile, end: u64) -> Self {
        let window = Window { buf: Vec::new(), start: 0, len: 0 };
        Self { file, end, offset: FILE_HEADER_LEN, window }
    }

    /// Returns where the next item stands.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next item and where it stands; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Item<'_>)>> {
        let at = self.offset;
        if at >= self.end {
            return Ok(None);
        }
        let seed = self.file.seed;
        let is_record = self.head_at(at, seed)?.is_some();
        if !is_record {
            let is_given_up = mutant!("scan ends at damage");
            self.offset = if is_given_up { self.end } else { self.search(at + 1, seed)? };
            return Ok(Some((at, Item::Damage(self.offset - at))));
        }
        let end = self.end;
        let (offset, file) = (&mut self.offset, self.file);
        let bytes = self.window.bytes(file, at, HEADER_LEN, end)?;
        let Some(head) = Head::parse(bytes, seed, at) else { unreachable!("it was just read") };
        // A value that reaches past the end is cut off; the head still tells whose it was.
        *offset = (at + head.record_len() as u64).min(end);
        Ok(Some((at, Item::Record(head))))
    }

    /// Returns the head at `at`; a first look with few bytes spares a read for each large value.
    fn head_at(&mut self, at: u64, seed: Seed) -> Result<Option<()>> {
        for want_len in [HEADER_LEN, HEAD_LEN_MAX] {
            let bytes = self.window.bytes(self.file, at, want_len, self.end)?;
            if Head::parse(bytes, seed, at).is_some() {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }

    /// Returns where the next good head at or after `from` stands, or the end.
    fn search(&mut self, from: u64, seed: Seed) -> Result<u64> {
        let mut at = from;
        while at < self.end {
            let bytes = self.window.bytes(self.file, at, HEADER_LEN, self.end)?;
            if is_plausible(bytes) && self.head_at(at, seed)?.is_some() {
                return Ok(at);
            }
            at += 1;
        }
        Ok(self.end)
    }

    /// Returns the bytes of the record of `len` bytes at `at`; fewer when the file ends before.
    pub(crate) fn record_bytes(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let bytes = self.window.bytes(self.file, at, len, self.end)?;
        Ok(bytes.get(..len).unwrap_or(bytes))
    }
}
