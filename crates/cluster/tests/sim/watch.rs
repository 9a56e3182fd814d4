//! A server's storage during one step of its machine, watched for changes under the eyes of who reads by a permit.
//!
//! Such readers take no lock, so they may look between any two things that a step does, where the simulation has no
//! event. What they must not see is that something changes and the permit still stands: a record that is appended or
//! published at a backup (R14), a slot that is dropped. At a primary a value may change while it is read, since nobody
//! was told of the new one before.

use std::sync::Arc;

use cluster::{
    Entry, Lsn, Page, PendingInfo, Permits, Position, Record, Refused, RequestEntry, Role, Server,
    SlotId, Storage, Time,
};

use crate::disk::Disk;

/// The storage, and what its machine permits.
pub struct Watch<'a> {
    disk: &'a mut dyn Disk,
    permits: Arc<Permits>,
    now: Time,
    /// Slots that others may read here although another server leads them, when the step begins.
    backed: Vec<SlotId>,
    /// What was changed in spite of a permit.
    pub wrong: Option<(SlotId, &'static str)>,
}

impl<'a> Watch<'a> {
    /// Returns the storage of `machine`, whose ring has these slots.
    pub fn new(
        disk: &'a mut dyn Disk,
        machine: &Server,
        now: Time,
        slots: impl Iterator<Item = SlotId>,
    ) -> Self {
        let permits = machine.permits();
        let is_backed = |slot: &SlotId| {
            permits.look(*slot, now).is_some() && machine.peek(now, *slot).role == Role::Backup
        };
        let backed = slots.filter(is_backed).collect();
        Self { disk, permits, now, backed, wrong: None }
    }

    fn note(&mut self, slot: SlotId, what: &'static str) {
        if self.permits.look(slot, self.now).is_some() {
            self.wrong.get_or_insert((slot, what));
        }
    }

    fn note_backed(&mut self, slot: SlotId, what: &'static str) {
        if self.backed.contains(&slot) {
            self.note(slot, what);
        }
    }
}

impl Storage for Watch<'_> {
    fn slots(&self) -> Vec<SlotId> {
        self.disk.slots()
    }

    fn create(&mut self, slots: &[SlotId]) {
        self.disk.create(slots);
    }

    fn drop_slots(&mut self, slots: &[SlotId]) {
        slots.iter().for_each(|slot| self.note(*slot, "drops the slot"));
        self.disk.drop_slots(slots);
    }

    fn is_empty(&self, slot: SlotId) -> bool {
        self.disk.is_empty(slot)
    }

    fn slot_len(&self, slot: SlotId) -> u64 {
        self.disk.slot_len(slot)
    }

    fn commit_point(&self, slot: SlotId) -> Lsn {
        self.disk.commit_point(slot)
    }

    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn) {
        self.disk.set_commit_point(slot, commit);
    }

    fn keep_commit_point(&mut self, slot: SlotId) {
        self.disk.keep_commit_point(slot);
    }

    fn tombstone_floor(&self, slot: SlotId) -> Lsn {
        self.disk.tombstone_floor(slot)
    }

    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.disk.raise_tombstone_floors(floors);
    }

    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        self.disk.raise_request_floors(floors);
    }

    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused> {
        self.note_backed(slot, "appends a record");
        self.disk.append(slot, record)
    }

    fn appended(&self) -> Position {
        self.disk.appended()
    }

    fn is_full(&self) -> bool {
        self.disk.is_full()
    }

    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]) {
        self.note_backed(slot, "publishes a record");
        self.disk.publish(slot, lsn, key);
    }

    fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        self.disk.pending(slot)
    }

    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record> {
        self.disk.read_pending(slot, lsn, key)
    }

    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry> {
        self.disk.newest(slot, key)
    }

    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record> {
        self.disk.read(slot, key)
    }

    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page {
        self.disk.page(slot, above, len_max)
    }

    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry> {
        self.disk.request(slot, client)
    }

    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry> {
        self.disk.requests(slot, above)
    }
}
