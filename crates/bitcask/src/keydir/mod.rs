//! The keydir: for every key of every slot, where its newest record is.
//!
//! One small table and one lock per slot. With 4,096 of them threads seldom meet, a slot is
//! dropped by taking its table away, and there is no moment at which one great table doubles.
//!
//! A slot's life is numbered: its *generation* stands in every record, and the manifest says which
//! generation is the living one. So a dropped slot's records are dead at once and for good (R6), also
//! when the slot is taken again.

mod pending;
mod recent;
mod requests;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

use crate::codec::to_usize;
use crate::types::{Lsn, SLOT_COUNT, SlotId};
pub(crate) use pending::{Pending, PendingTable};
use recent::Recent;
pub(crate) use requests::{Place, Requests};
pub(crate) use table::{ENTRY_LEN, Entry, Published, Table};

/// One life of one slot: the slot's number in the high 12 bits, the number of its life, from 1, in the low 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(pub(crate) u32);

impl Generation {
    const LIFE_BITS: u32 = 20;
    /// The last life a slot can have: a million drops.
    pub(crate) const LIFE_MAX: u32 = (1 << Self::LIFE_BITS) - 1;

    pub(crate) fn new(slot: SlotId, life: u32) -> Self {
        assert!(life <= Self::LIFE_MAX, "a slot's lives are used up");
        Self((u32::from(slot.index()) << Self::LIFE_BITS) | life)
    }

    pub(crate) fn slot(self) -> SlotId {
        let index = u16::try_from(self.0 >> Self::LIFE_BITS).unwrap_or_default();
        let slot = SlotId::new(index % SLOT_COUNT);
        assert!(slot.is_some(), "12 bits are a slot");
        slot.unwrap_or_else(|| unreachable!("just asserted"))
    }

    pub(crate) fn life(self) -> u32 {
        self.0 & Self::LIFE_MAX
    }
}

/// One slot of the keydir.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The slot's living generation, if it has one.
    pub(crate) generation: Option<Generation>,
    /// The lsn below which tombstones may be gone (R5).
    pub(crate) tombstone_floor: Lsn,
    /// How far records are known to be committed; `None`: the slot is kept by this server alone.
    pub(crate) commit_point: Option<CommitPoint>,
    pub(crate) table: Table,
    /// Records that are in the log and not published.
    pub(crate) pending: PendingTable,
    /// The newest published request of each client.
    pub(crate) requests: Requests,
    /// Records read lately; each is the one that the table points to.
    pub(crate) recent: Recent,
}

/// A slot's commit point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitPoint {
    /// As it was told.
    pub(crate) noted: Lsn,
    /// As the manifest has it, if it has one.
    pub(crate) kept: Option<Lsn>,
}

impl CommitPoint {
    /// Returns the commit point that the manifest has.
    pub(crate) fn kept(lsn: Lsn) -> Self {
        Self { noted: lsn, kept: Some(lsn) }
    }
}

impl Slot {
    /// Returns the lsn below which a tombstone may go once no older record of its key is in any file: no record below it
    /// is still to come, nor is one pending, which after a restart may lie below the tombstone floor. Nor is it above the
    /// commit point that the manifest has: an opening would state all that is above it, and not the tombstone.
    pub(crate) fn free_below(&self) -> Lsn {
        let lowest =
            self.pending.lowest().filter(|_| !mutant!("tombstone dropped over a pending record"));
        let kept = self.commit_point.map(|point| Lsn(point.kept.map_or(0, |lsn| lsn.0 + 1)));
        let kept = kept.filter(|_| !mutant!("tombstone dropped above the commit point"));
        [lowest, kept].into_iter().flatten().fold(self.tombstone_floor, Lsn::min)
    }

    /// Returns whether a record found at opening is to wait for its commit.
    pub(crate) fn is_above_commit_point(&self, lsn: Lsn) -> bool {
        self.commit_point.is_some_and(|point| lsn > point.noted)
            && !mutant!("pending record published at opening")
    }

    /// Returns the highest lsn of all records published, pending or found at opening.
    pub(crate) fn highest(&self) -> Lsn {
        self.table.highest().max(self.pending.highest().unwrap_or_default())
    }

    /// Returns the bytes of memory that the slot's keys, pending records and requests hold.
    pub(crate) fn memory_len(&self) -> usize {
        size_of::<Self>()
            + self.table.memory_len()
            + self.pending.memory_len()
            + self.requests.memory_len()
    }
}

/// The slots of the keydir, each behind its own lock.
#[derive(Debug)]
pub(crate) struct Keydir {
    slots: Box<[Mutex<Slot>]>,
    hasher: RandomState,
}

impl Keydir {
    pub(crate) fn new() -> Self {
        let slots = SlotId::all().map(|_| Mutex::default()).collect();
        Self { slots, hasher: RandomState::default() }
    }

    /// Locks a slot. A panic while it was held leaves it usable: tables are changed in steps that each keep them whole.
    pub(crate) fn lock(&self, slot: SlotId) -> MutexGuard<'_, Slot> {
        let found = self.slots.get(usize::from(slot.index()));
        let Some(slot) = found else { unreachable!("a slot id is below SLOT_COUNT") };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the living generation of a slot.
    pub(crate) fn generation(&self, slot: SlotId) -> Option<Generation> {
        self.lock(slot).generation
    }

    /// Makes room in every living slot for its even share of `count` keys whose entries have `len` bytes in all, and a
    /// little more: tables that grow key by key are copied many times over.
    pub(crate) fn reserve(&self, count: u64, len: u64) {
        let is_here = |slot: &SlotId| self.generation(*slot).is_some();
        let slot_count = SlotId::all().filter(is_here).count().max(1) as u64;
        let share = |total: u64| to_usize(total.div_ceil(slot_count) * 17 / 16);
        for slot in SlotId::all().filter(is_here) {
            self.lock(slot).table.reserve(share(count), share(len), &self.hasher);
        }
    }

    /// Gives back the room that was made in vain.
    pub(crate) fn shrink(&self) {
        SlotId::all().for_each(|slot| self.lock(slot).table.shrink(&self.hasher));
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Returns where the newest record of `key` is; the outer `None`: the slot is not here.
    pub(crate) fn find(&self, slot: SlotId, key: &[u8]) -> Option<Option<Entry>> {
        let hash = self.hash(key);
        let slot = self.lock(slot);
        slot.generation?;
        Some(slot.table.find(hash, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_holds_its_slot_and_its_life() {
        let slot = SlotId::new(SLOT_COUNT - 1).unwrap();
        let generation = Generation::new(slot, Generation::LIFE_MAX);
        assert_eq!((generation.slot(), generation.life()), (slot, Generation::LIFE_MAX));
    }
}
