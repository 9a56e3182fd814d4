//! Writes on their way into the log: encoded outside of the lock, placed and written inside.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::to_u32;
use crate::data_file::{DataFile, Footer};
use crate::hint::{Form, Hint};
use crate::keydir::{Entry, Generation};
use crate::record::{HEADER_LEN, Head, Kind, stamp};
use crate::types::{Lsn, Op, Position, Request, Write};

/// Encoded records, with room for a mark before them.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Placed>,
    has_put: bool,
    /// Whether it may use the reserve though a put is among it (R8).
    uses_reserve: bool,
}

/// One record of a batch.
#[derive(Clone, Debug)]
struct Placed {
    generation: Generation,
    lsn: Lsn,
    bytes: Range<usize>,
    key: Range<usize>,
    form: Form,
    is_tombstone: bool,
    has_expiry: bool,
    has_request: bool,
}

impl Batch {
    /// Returns a batch with room for `count` records of `len` bytes in all.
    pub(crate) fn with_capacity(count: usize, len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len + HEADER_LEN * (count + 1));
        bytes.resize(HEADER_LEN, 0);
        Self { bytes, records: Vec::with_capacity(count), has_put: false, uses_reserve: false }
    }

    pub(crate) fn push(&mut self, write: &Write<'_>, generation: Generation) {
        if mutant!("overwrite in two records") && write.op != Op::Delete {
            let lsn = Lsn(write.lsn.0 - 1);
            self.push(&Write { lsn, op: Op::Delete, ..*write }, generation);
        }
        let (head, value) = Head::of_write(write, generation);
        let start = self.bytes.len();
        head.encode(value, &mut self.bytes);
        let key_end = start + head.len();
        self.has_put |= head.kind == Kind::Put;
        self.records.push(Placed {
            generation,
            lsn: write.lsn,
            bytes: start..self.bytes.len(),
            key: key_end - write.key.len()..key_end,
            form: if head.kind == Kind::Request { Form::Request } else { Form::Record },
            is_tombstone: head.kind == Kind::Delete,
            has_expiry: head.expires_at_ms.is_some(),
            has_request: head.request.is_some(),
        });
    }

    /// Returns the expiry and the request of a record. Most have neither, and are not looked at again.
    fn extensions(&self, record: &Placed) -> (Option<u64>, Option<Request>) {
        if !record.has_expiry && !record.has_request {
            return (None, None);
        }
        let head = self.bytes.get(record.bytes.clone()).and_then(Head::decode);
        head.map_or((None, None), |head| (head.expires_at_ms, head.request))
    }

    /// Adds the records of `other` behind those of this batch.
    fn merge(&mut self, other: &Self) {
        let (records, shift) =
            (other.bytes.get(HEADER_LEN..).unwrap_or_default(), self.bytes.len());
        let moved =
            |range: &Range<usize>| range.start - HEADER_LEN + shift..range.end - HEADER_LEN + shift;
        self.bytes.extend_from_slice(records);
        self.records.extend(other.records.iter().map(|record| Placed {
            bytes: moved(&record.bytes),
            key: moved(&record.key),
            ..record.clone()
        }));
        self.has_put |= other.has_put;
        self.uses_reserve &= other.uses_reserve;
    }

    /// Returns the most bytes this batch can take in a file.
    pub(crate) fn len_max(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn has_put(&self) -> bool {
        self.has_put
    }

    /// Lets it use the reserve of a full disk.
    pub(crate) fn use_reserve(&mut self) {
        self.uses_reserve = true;
    }

    /// Returns whether a disk that is full but for its reserve refuses it.
    pub(crate) fn is_refused_when_full(&self) -> bool {
        self.has_put && !self.uses_reserve
    }

    /// Fixes the batch's place at the end of `footer`'s file, behind a mark if `mark` says how far that file is
    /// durable; counts the records in `footer` and returns the bytes to write.
    pub(crate) fn place(
        &mut self,
        file: &DataFile,
        mark: Option<u64>,
        footer: &mut Footer,
    ) -> &[u8] {
        let start = footer.data_end;
        let skipped_len = match mark {
            Some(upto) => {
                let mut bytes = Vec::with_capacity(HEADER_LEN);
                Head::mark(upto).encode(&[], &mut bytes);
                stamp(&mut bytes, HEADER_LEN, file.seed, start);
                crate::codec::put_at(&mut self.bytes, 0, &bytes);
                footer.data_end += HEADER_LEN as u64;
                0
            }
            None => HEADER_LEN,
        };
        for record in &self.records {
            let bytes = self.bytes.get_mut(record.bytes.clone()).unwrap_or_default();
            stamp(bytes, record.key.end - record.bytes.start, file.seed, footer.data_end);
            footer.count(record.lsn, record.bytes.len());
        }
        self.bytes.get(skipped_len..).unwrap_or_default()
    }
}

/// Encoded writes that are in no file yet, from [`Store::prepare`](crate::Store::prepare).
#[derive(Debug)]
#[must_use = "prepared writes are nowhere until they are appended"]
pub struct Prepared {
    pub(crate) batch: Batch,
}

impl Prepared {
    /// Lets it use the reserve of a full disk.
    pub(crate) fn use_reserve(&mut self) {
        self.batch.use_reserve();
    }

    /// Adds the writes of `other` behind these, so that one write to the file takes both.
    pub fn merge(&mut self, other: &Self) {
        self.batch.merge(&other.batch);
    }

    /// Returns the bytes to be written, or a little more.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.batch.len_max()
    }

    /// Returns whether a put is among the writes: without one, the reserve of a full disk may be used (R8).
    #[must_use]
    pub fn has_put(&self) -> bool {
        self.batch.has_put()
    }
}

/// Records that are in the log and not yet visible (R2).
///
/// They are [published](crate::Store::publish) together, or [kept as pending](crate::Store::keep_pending) and
/// published one by one. Dropping it leaves the records on disk: they may come into force at the next opening, and no
/// merge touches their file before.
#[derive(Debug)]
#[must_use = "appended records become visible only when they are published or kept as pending"]
pub struct Appended {
    pub(crate) file: Arc<DataFile>,
    pub(crate) position: Position,
    /// Where the first record stands.
    offset: u64,
    batch: Batch,
}

impl Appended {
    /// Returns the records of `batch`, which was written so that it ends at `end`.
    pub(crate) fn new(file: Arc<DataFile>, position: Position, end: u64, batch: Batch) -> Self {
        let offset = end - (batch.bytes.len() - HEADER_LEN) as u64;
        Self { file, position, offset, batch }
    }

    /// Returns the position from which on these records are durable.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn count(&self) -> usize {
        self.batch.records.len()
    }

    pub(crate) fn hints(&self) -> impl Iterator<Item = Hint<'_>> {
        self.batch.records.iter().map(|record| {
            let offset = self.offset + (record.bytes.start - HEADER_LEN) as u64;
            let entry = Entry {
                lsn: record.lsn,
                file: self.file.id,
                offset: to_u32(crate::codec::to_usize(offset)),
                record_len: to_u32(record.bytes.len()),
                is_tombstone: record.is_tombstone,
                has_expiry: record.has_expiry,
            };
            let key = self.batch.bytes.get(record.key.clone()).unwrap_or_default();
            let (expires_at_ms, request) = self.batch.extensions(record);
            Hint {
                generation: record.generation,
                form: record.form,
                entry,
                expires_at_ms,
                request,
                key,
            }
        })
    }
}
