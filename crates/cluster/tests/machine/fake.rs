//! The storage of the simulator, with what a test wants to go wrong.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{
    Entry, Lsn, Page, PendingInfo, Position, Record, Refused, RequestEntry, SlotId, Storage,
};
use fastrand::Rng;

use crate::disk::SimStorage;

/// A storage of which records can be made unreadable, and which counts what costs a sync.
#[derive(Debug)]
pub struct Fake {
    inner: SimStorage,
    /// Records that are here and cannot be read.
    pub unreadable: BTreeSet<Lsn>,
    /// Bytes that slots are said to have.
    pub lens: BTreeMap<SlotId, u64>,
    /// Appends that are still taken.
    pub room: usize,
    /// Calls that are durable on return, by name, each with how many slots it was for.
    pub calls: Vec<(&'static str, usize)>,
    /// Request floors that were raised.
    pub request_floors: Vec<(SlotId, Lsn)>,
}

impl Fake {
    /// Returns an empty storage.
    pub fn new() -> Self {
        Self {
            inner: SimStorage::new(4, Rng::with_seed(1)),
            unreadable: BTreeSet::new(),
            room: usize::MAX,
            lens: BTreeMap::new(),
            calls: Vec::new(),
            request_floors: Vec::new(),
        }
    }

    fn readable(&self, record: Option<Record>) -> Option<Record> {
        record.filter(|record| !self.unreadable.contains(&record.lsn))
    }
}

impl Storage for Fake {
    fn slots(&self) -> Vec<SlotId> {
        self.inner.slots()
    }

    fn create(&mut self, slots: &[SlotId]) {
        self.calls.push(("create", slots.len()));
        self.inner.create(slots);
    }

    fn drop_slots(&mut self, slots: &[SlotId]) {
        self.calls.push(("drop", slots.len()));
        self.inner.drop_slots(slots);
    }

    fn is_empty(&self, slot: SlotId) -> bool {
        self.inner.is_empty(slot)
    }

    fn slot_len(&self, slot: SlotId) -> u64 {
        self.lens.get(&slot).copied().unwrap_or_default()
    }

    fn commit_point(&self, slot: SlotId) -> Lsn {
        self.inner.commit_point(slot)
    }

    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn) {
        self.inner.set_commit_point(slot, commit);
    }

    fn keep_commit_point(&mut self, slot: SlotId) {
        self.inner.keep_commit_point(slot);
    }

    fn tombstone_floor(&self, slot: SlotId) -> Lsn {
        self.inner.tombstone_floor(slot)
    }

    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.calls.push(("floors", floors.len()));
        self.inner.raise_tombstone_floors(floors);
    }

    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.request_floors.extend(floors);
        self.inner.raise_request_floors(floors);
    }

    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused> {
        if self.room == 0 {
            return Err(Refused::Full);
        }
        self.room -= 1;
        self.inner.append(slot, record)
    }

    fn appended(&self) -> Position {
        self.inner.appended()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]) {
        self.inner.publish(slot, lsn, key);
    }

    fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        self.inner.pending(slot)
    }

    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record> {
        self.readable(self.inner.read_pending(slot, lsn, key))
    }

    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry> {
        self.inner.newest(slot, key)
    }

    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record> {
        self.readable(self.inner.read(slot, key))
    }

    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page {
        let mut page = self.inner.page(slot, above, len_max);
        let count = page.records.len();
        page.records.retain(|record| !self.unreadable.contains(&record.lsn));
        page.has_unreadable = page.records.len() < count;
        page
    }

    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry> {
        self.inner.request(slot, client)
    }

    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry> {
        self.inner.requests(slot, above)
    }
}
