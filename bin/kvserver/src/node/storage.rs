//! The engine behind the machine's contract ([`cluster::Storage`]).
//!
//! ```text
//! append ──▶ staged ──flush──▶ one write of the log ──▶ pending ──publish──▶ visible
//!              │                                          ▲
//!              └ whoever asks for pending records flushes first
//! ```
//!
//! A step of the machine appends record by record, and so does the next one under the same lock. What they append
//! is *staged*, and written by one system call when the lock is about to be given up, or before anything looks at
//! it. Positions are counted here, one for each record and one for each commit point that must be kept; a sync that begins
//! behind a flush makes everything durable that was counted by then.
//!
//! While the disk is full but for its reserve the machine takes no puts ([`Storage::is_full`]). One that it took before, or that
//! another server logged already, is written all the same, from the reserve: others count on it. From half of the
//! reserve on it is refused, as are chunks of a transfer, which would use up what merges need. Whatever else an append meets is a
//! failure of the disk: the storage takes nothing any more (R3), and the host tells the machine. So is a call that must
//! be durable on return (a slot's creation, its end, a floor) and fails.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bitcask::{Error, Op, Store, Write};
use cluster::{
    Bytes, Entry, Lsn, Page, PendingInfo, Position, Record, Refused, RequestEntry, SlotId, Storage,
};

/// Bytes staged at most before they are written: one large write is as fast as two.
const STAGED_LEN_MAX: usize = 1 << 20;

/// Records read for one page at most.
const PAGE_COUNT_MAX: usize = 4096;

/// The store of one server, as its machine sees it.
#[derive(Debug)]
pub(super) struct NodeStorage {
    store: Store,
    slot_count: u16,
    /// Behind a cell, since looking at pending records writes what is staged.
    stage: RefCell<Stage>,
    /// Counts records, and commit points that must be kept.
    appended: u64,
    /// Values are read into it.
    buf: Vec<u8>,
}

/// What is appended and not written yet, and what went wrong.
#[derive(Debug, Default)]
struct Stage {
    records: Vec<(SlotId, Record)>,
    len: usize,
    /// Commit points that rose, to be noted behind the records.
    points: BTreeMap<SlotId, Lsn>,
    /// What failed, until the host takes it.
    failure: Option<Error>,
    has_failed: bool,
}

/// Returns the engine's number of a slot.
pub(super) fn engine_slot(slot: SlotId) -> bitcask::SlotId {
    let Some(id) = bitcask::SlotId::new(slot.index()) else {
        unreachable!("the ring and the engine have the same number of slots")
    };
    id
}

/// Returns floors as the engine takes them.
fn engine_floors(floors: &[(SlotId, Lsn)]) -> Vec<(bitcask::SlotId, Lsn)> {
    floors.iter().map(|(slot, floor)| (engine_slot(*slot), *floor)).collect()
}

/// Returns a record of the engine as the machine has it.
fn record(from: bitcask::Record) -> Record {
    let bitcask::Record { key, lsn, value, expires_at_ms, request } = from;
    Record { lsn, key: key.into(), value: value.map(Into::into), expires_at_ms, request }
}

/// Returns a record as the engine takes it.
fn write(slot: SlotId, record: &Record) -> Write<'_> {
    let op = match &record.value {
        Some(value) => Op::Put(value),
        None if record.is_request_only() => Op::Request,
        None => Op::Delete,
    };
    let Record { lsn, ref key, expires_at_ms, request, .. } = *record;
    Write { slot: engine_slot(slot), lsn, key, op, expires_at_ms, request }
}

impl Stage {
    /// Writes what is staged.
    fn flush(&mut self, store: &Store) {
        if !self.records.is_empty() {
            self.write(store);
        }
        if !self.points.is_empty() {
            let points: Vec<_> =
                self.points.iter().map(|(slot, lsn)| (engine_slot(*slot), *lsn)).collect();
            self.points.clear();
            // What they promise may be among the records that a failed write has lost.
            if !self.has_failed {
                store.set_commit_points(&points);
            }
        }
    }

    fn write(&mut self, store: &Store) {
        if !self.has_failed {
            let writes: Vec<Write<'_>> =
                self.records.iter().map(|(slot, record)| write(*slot, record)).collect();
            let done = store.append_pending_from_reserve(&writes);
            self.check(done);
        }
        self.records.clear();
        self.len = 0;
    }

    /// Notes a failure, behind which nothing is taken any more.
    fn check<T>(&mut self, done: Result<T, Error>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                if !self.has_failed {
                    self.has_failed = true;
                    self.failure = Some(error);
                }
                None
            }
        }
    }
}

impl NodeStorage {
    /// Returns the storage of a server whose ring is cut into `slot_count` slots.
    pub(super) fn new(store: Store, slot_count: u16) -> Self {
        Self { store, slot_count, stage: RefCell::default(), appended: 0, buf: Vec::new() }
    }

    /// Writes what is staged.
    pub(super) fn flush(&self) {
        self.stage.borrow_mut().flush(&self.store);
    }

    /// Returns what failed since the last call.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.stage.borrow_mut().failure.take()
    }

    /// Returns whether a write or sync failed: nothing that was appended since may count as durable.
    pub(super) fn has_failed(&self) -> bool {
        self.stage.borrow().has_failed
    }

    /// Notes that a sync failed.
    pub(super) fn fail(&self) {
        self.stage.borrow_mut().has_failed = true;
    }

    /// Returns the value of a key, or that it has none, if that takes no look into a file.
    pub(super) fn get_from_memory(
        &mut self,
        slot: SlotId,
        key: &[u8],
    ) -> Option<Option<(Bytes, Lsn)>> {
        let found = self.store.get_from_memory(engine_slot(slot), key, &mut self.buf)?;
        Some(found.map(|found| (Bytes::from(found.value), found.lsn)))
    }

    /// Notes how a call went that must be durable on return.
    fn demand<T>(&self, done: Result<T, Error>) -> Option<T> {
        self.stage.borrow_mut().check(done)
    }
}

impl Storage for NodeStorage {
    fn slots(&self) -> Vec<SlotId> {
        let all = SlotId::all().take(usize::from(self.slot_count));
        all.filter(|slot| self.store.has_slot(engine_slot(*slot))).collect()
    }

    fn create(&mut self, slots: &[SlotId]) {
        let slots: Vec<_> = slots.iter().copied().map(engine_slot).collect();
        self.demand(self.store.create_copies(&slots));
    }

    fn drop_slots(&mut self, slots: &[SlotId]) {
        self.flush();
        let slots = slots.iter().copied().map(engine_slot);
        let here: Vec<_> = slots.filter(|slot| self.store.has_slot(*slot)).collect();
        self.demand(self.store.drop_slots(&here));
    }

    fn is_empty(&self, slot: SlotId) -> bool {
        self.flush();
        self.store.slot_stats(engine_slot(slot)).is_none_or(|stats| {
            let keys = stats.key_count + stats.tombstone_count;
            keys + stats.pending_count + stats.request_count == 0
        })
    }

    fn slot_len(&self, slot: SlotId) -> u64 {
        self.store.slot_stats(engine_slot(slot)).map_or(0, |stats| stats.live_len)
    }

    fn commit_point(&self, slot: SlotId) -> Lsn {
        let staged = self.stage.borrow().points.get(&slot).copied();
        staged.or_else(|| self.store.commit_point(engine_slot(slot))).unwrap_or_default()
    }

    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn) {
        self.stage.borrow_mut().points.insert(slot, commit);
    }

    fn keep_commit_point(&mut self, slot: SlotId) {
        self.flush();
        if !self.has_failed() {
            self.store.keep_commit_point(engine_slot(slot));
        }
        self.appended += 1;
    }

    fn tombstone_floor(&self, slot: SlotId) -> Lsn {
        let stats = self.store.slot_stats(engine_slot(slot));
        stats.map(|stats| stats.tombstone_floor).unwrap_or_default()
    }

    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.flush();
        self.demand(self.store.set_tombstone_floors(&engine_floors(floors)));
    }

    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.flush();
        self.demand(self.store.set_request_floors(&engine_floors(floors)));
    }

    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused> {
        let mut stage = self.stage.borrow_mut();
        if stage.has_failed {
            return Err(Refused::Failed);
        }
        // The machine asks for room before it takes a put; what a primary has logged already is taken while there is any.
        if record.value.is_some() && self.store.is_scarce() {
            return Err(Refused::Full);
        }
        stage.len += record.byte_len();
        stage.records.push((slot, record.clone()));
        self.appended += 1;
        if stage.len >= STAGED_LEN_MAX {
            stage.flush(&self.store);
        }
        Ok(Position(self.appended))
    }

    fn appended(&self) -> Position {
        Position(self.appended)
    }

    fn is_full(&self) -> bool {
        self.store.is_full()
    }

    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]) {
        let id = engine_slot(slot);
        if !self.store.publish_pending(id, lsn, key) {
            self.flush();
            self.store.publish_pending(id, lsn, key);
        }
    }

    fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        self.flush();
        let info = |info: bitcask::PendingInfo| PendingInfo {
            lsn: info.lsn,
            key: info.key.into(),
            is_live: !info.is_tombstone && !info.is_request_only,
            request: info.request,
            record_len: usize::try_from(info.record_len).unwrap_or(usize::MAX),
        };
        self.store.pending(engine_slot(slot)).into_iter().map(info).collect()
    }

    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record> {
        self.flush();
        match self.store.read_pending(engine_slot(slot), lsn, key) {
            Ok(found) => found.map(record),
            Err(error) => {
                log::error!("slot {}: a pending record cannot be read: {error}", slot.index());
                None
            }
        }
    }

    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry> {
        let id = engine_slot(slot);
        let entry = self.store.entry(id, key)?;
        let is_over = entry.has_expiry && !self.store.contains(id, key).unwrap_or(true);
        Some(Entry { lsn: entry.lsn, is_live: !entry.is_tombstone && !is_over })
    }

    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record> {
        match self.store.record(engine_slot(slot), key) {
            Ok(found) => found.map(record),
            Err(error) => {
                log::error!("slot {}: a record cannot be read: {error}", slot.index());
                None
            }
        }
    }

    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page {
        page(&self.store, slot, above, len_max)
    }

    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry> {
        let (request, lsn) = self.store.request(engine_slot(slot), client)?;
        Some(RequestEntry { request, lsn })
    }

    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry> {
        let all = self.store.requests(engine_slot(slot)).into_iter();
        let entries = all.map(|(request, lsn)| RequestEntry { request, lsn });
        let mut found: Vec<_> = entries.filter(|entry| entry.lsn > above).collect();
        found.sort_unstable_by_key(|entry| entry.lsn);
        found
    }
}

/// Reads a page of a slot's published records, with no lock of the machine held.
pub(super) fn page(store: &Store, slot: SlotId, above: Lsn, len_max: usize) -> Page {
    match store.page(engine_slot(slot), above, PAGE_COUNT_MAX, len_max) {
        Ok(page) => {
            for error in &page.unreadable {
                log::error!("slot {}: a record cannot be read: {error}", slot.index());
            }
            let has_unreadable = !page.unreadable.is_empty();
            let records = page.records.into_iter().map(record).collect();
            Page { records, next: page.next, has_unreadable }
        }
        Err(error) => {
            log::error!("slot {} cannot be read: {error}", slot.index());
            Page { has_unreadable: true, ..Page::default() }
        }
    }
}
