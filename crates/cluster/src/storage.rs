//! What the machines need of the storage engine: a log per slot, what is published of it, and what is pending.
//!
//! ```text
//! append ──▶ pending (R2) ──publish──▶ published: what reads see, the highest lsn of a key (R1)
//!    │                                     ▲ after a restart: what is ≤ the commit point kept on disk
//!    └─▶ durable when the position given is reported durable
//! ```
//!
//! Calls return at once; a sync's end and a failure of the disk are told to the machine as events. An append
//! whose write fails later poisons the storage (R3); nothing is told durable after that. Reading pending records and
//! pages may touch the disk; machines do it at epoch changes only, bulk pages are asked for by an action. What is durable on
//! return costs a sync: such calls take many slots at once.
//!
//! A record that is here and cannot be read is **never** left out in silence (R4): [`Storage::read`] and
//! [`Storage::read_pending`] give nothing where memory knows of a record, and a page says so. The machine then gives its copy up.

use crate::message::RequestEntry;
use crate::types::{Lsn, Record, SlotId};

/// A position in the stream of everything appended by this life of the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// What memory knows of the newest published record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its lsn.
    pub lsn: Lsn,
    /// Whether it is a value that can be read: neither a tombstone nor past its end.
    pub is_live: bool,
}

/// A stretch of published records in lsn order, tombstones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where to go on: every published record up to here has been seen. `None`: there are no more.
    pub next: Option<Lsn>,
    /// Whether records that belong here could not be read: the page lacks them.
    pub has_unreadable: bool,
}

/// Why an append was refused; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The disk is full but for a reserve.
    Full,
    /// An earlier write or sync failed; only a restart helps (R3).
    Failed,
}

/// The storage engine's contract.
pub trait Storage {
    /// Returns the slots that are here.
    fn slots(&self) -> Vec<SlotId>;
    /// Makes sure that the slots are here, with commit point zero and nothing in them if they are new. Durable on return.
    fn create(&mut self, slots: &[SlotId]);
    /// Drops the slots that are here with everything in them (R6). Durable on return.
    fn drop_slots(&mut self, slots: &[SlotId]);
    /// Returns whether nothing of the slot is here: no record, no tombstone, no request, pending or published.
    fn is_empty(&self, slot: SlotId) -> bool;

    /// Returns about how many bytes the slot's live records take; zero if it is not here. From memory, in no time.
    fn slot_len(&self, slot: SlotId) -> u64;

    /// Returns the commit point that was kept.
    fn commit_point(&self, slot: SlotId) -> Lsn;
    /// Keeps the commit point, at some time, but never ahead of the sync of the records it covers.
    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn);
    /// Has the commit point kept for certain: once everything appended so far is told durable, it is too. What
    /// [`appended`](Self::appended) returns rises, so that there is something to wait for.
    fn keep_commit_point(&mut self, slot: SlotId);
    /// Returns the lsn below which tombstones may be gone (R5). None above the commit point that is kept for certain is.
    fn tombstone_floor(&self, slot: SlotId) -> Lsn;
    /// Raises the tombstone floors of slots that are here. Nothing below may still be pending or to come. Durable on return.
    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]);
    /// Forgets the requests below these lsns, of clients that are silent since (R24), in slots that are here. Durable on
    /// return; a floor that is not above the present one changes nothing and costs nothing.
    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]);

    /// Appends a record to the slot's log. It is pending until it is published. Whoever calls it has seen that the key has
    /// no record of this very lsn, pending or published.
    ///
    /// # Errors
    /// `Full` and `Failed`: nothing was done.
    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused>;
    /// Returns the position before which everything was appended so far.
    fn appended(&self) -> Position;
    /// Returns whether puts are refused because the disk is full but for a reserve.
    fn is_full(&self) -> bool;
    /// Publishes the pending record of this lsn and key; the highest lsn of a key wins (R1), of a request too.
    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]);
    /// Returns the pending records, without their values, in lsn order: lsn, key, whether it is a tombstone, its
    /// request id.
    fn pending(&self, slot: SlotId) -> Vec<PendingInfo>;
    /// Returns a pending record; `None` when it is not here, or cannot be read.
    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record>;

    /// Returns what memory knows of the newest published record of a key.
    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry>;
    /// Returns the newest published record of a key, a tombstone too; `None` when there is none, or it cannot be read.
    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record>;
    /// Returns published records above an lsn, in lsn order, about `len_max` bytes of them.
    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page;

    /// Returns the last request of a client among published records, by lsn.
    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry>;
    /// Returns the last request of every client whose lsn is above `above`.
    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry>;
}

/// A pending record without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingInfo {
    /// Its lsn.
    pub lsn: Lsn,
    /// Its key; empty if it only carries a request id.
    pub key: crate::types::Bytes,
    /// Whether it is a value rather than a tombstone.
    pub is_live: bool,
    /// Its request id.
    pub request: Option<bitcask::Request>,
    /// Bytes of the whole record, about.
    pub record_len: usize,
}
