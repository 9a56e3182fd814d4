//! Pending records, as callers see them: in the log, durable perhaps, and not visible before they are published (R2).
//!
//! ```text
//! append ──▶ keep_pending ──▶ read_pending, as often as need be ──▶ publish_pending, publish_up_to ──▶ get
//!               ▲
//!   an opening: records above the slot's commit point
//! ```

use crate::batch::Appended;
use crate::error::{Error, Result};
use crate::hint::Form;
use crate::keydir::Pending;
use crate::store::{MOVED_COUNT_MAX, Store};
use crate::types::{Lsn, Position, Request, SlotId, Write};
use crate::walk::{self, Record};

/// A pending record without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingInfo {
    /// The key; empty for a request alone.
    pub key: Vec<u8>,
    /// Its place in the slot's order.
    pub lsn: Lsn,
    /// Whether it is a tombstone.
    pub is_tombstone: bool,
    /// Whether it is a request id and nothing else.
    pub is_request_only: bool,
    /// When the value ends, in milliseconds since 1970-01-01 UTC; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// Who asked for it, if that is kept.
    pub request: Option<Request>,
    /// Length of the whole record on disk, in bytes.
    pub record_len: u32,
}

impl PendingInfo {
    fn new(key: &[u8], pending: &Pending) -> Self {
        Self {
            key: key.to_vec(),
            lsn: pending.entry.lsn,
            is_tombstone: pending.entry.is_tombstone,
            is_request_only: pending.form != Form::Record,
            expires_at_ms: pending.expires_at_ms,
            request: pending.request,
            record_len: pending.entry.record_len,
        }
    }
}

impl Store {
    /// Keeps appended records as pending, to be published one by one or up to an lsn, in whatever order. They are not
    /// visible, can be read, and survive merges; an opening offers those above the slot's commit point again.
    ///
    /// A record that is pending already, by lsn and key, stays as it is.
    pub fn keep_pending(&self, appended: Appended) -> Position {
        for hint in appended.hints() {
            self.inner.keep_pending(&hint, &appended.file);
        }
        appended.file.sub_unpublished(appended.count() as u64);
        appended.position
    }

    /// Appends `writes` and keeps them as pending.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_pending(&self, writes: &[Write<'_>]) -> Result<Position> {
        self.append(writes).map(|appended| self.keep_pending(appended))
    }

    /// Appends `writes` as [`append_pending`](Self::append_pending) does, from the reserve if need be: for writes that were
    /// taken while [`is_full`](Self::is_full) said that there is room, and that others count on by now.
    ///
    /// # Errors
    /// As [`append`](Self::append); `Full` only when not even the reserve is left.
    pub fn append_pending_from_reserve(&self, writes: &[Write<'_>]) -> Result<Position> {
        let mut prepared = self.prepare(writes)?;
        prepared.use_reserve();
        self.append_prepared(prepared).map(|appended| self.keep_pending(appended))
    }

    /// Returns the slot's pending records in the order of their lsns; none when it is not here.
    #[must_use]
    pub fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        let slot = self.inner.keydir.lock(slot);
        slot.pending.iter().map(|(key, pending)| PendingInfo::new(key, pending)).collect()
    }

    /// Returns a pending record without its value; `None` when there is none of this lsn and key.
    #[must_use]
    pub fn pending_info(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<PendingInfo> {
        let slot = self.inner.keydir.lock(slot);
        slot.pending.find(lsn, key).map(|pending| PendingInfo::new(key, pending))
    }

    /// Reads a pending record with its value and checks it; `None` when there is none of this lsn and key, or no longer.
    ///
    /// # Errors
    /// `NoSlot`; `Corrupt` when it is damaged; `Io`.
    pub fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Result<Option<Record>> {
        let mut buf = Vec::new();
        for _ in 0..MOVED_COUNT_MAX {
            let locked = self.inner.keydir.lock(slot);
            if locked.generation.is_none() {
                return Err(Error::NoSlot { slot });
            }
            let Some(pending) = locked.pending.find(lsn, key).copied() else { return Ok(None) };
            drop(locked);
            if pending.form != Form::Record {
                let (key, value, expires_at_ms) = (Vec::new(), None, None);
                let request = pending.request;
                return Ok(Some(Record { key, lsn, value, expires_at_ms, request }));
            }
            // Where the file is gone, a merge moved the record, or it was published and then merged.
            if let Some(read) = self.inner.read(&pending.entry, &mut buf) {
                let read = read.and_then(|(head, value)| {
                    walk::record_of(&self.inner, key, &pending.entry, &head, value)
                });
                return read.map(Some);
            }
        }
        unreachable!("a record cannot move so often within one read")
    }

    /// Makes a pending record visible; where its key has a newer record already, that one stays (R1). Returns whether there
    /// was one of this lsn and key.
    pub fn publish_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> bool {
        self.inner.publish_pending(slot, lsn, key)
    }

    /// Makes all pending records of the slot up to `upto` visible, as [`publish_pending`](Self::publish_pending) does;
    /// returns how many there were.
    pub fn publish_up_to(&self, slot: SlotId, upto: Lsn) -> usize {
        self.inner.publish_up_to(slot, upto)
    }
}
