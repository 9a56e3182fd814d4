//! The order of writes in each slot, and the writes that are not visible yet.
//!
//! A write gets the next lsn of its slot under the slot's lock; the append to the log and the sync happen outside of
//! it. Until its record is published, the write stands in the slot's *pending* list, so that later writes are
//! decided against the newest state and not against the newest visible one:
//!
//! | newest of the key | `put` answers | `delete` answers |
//! |---|---|---|
//! | a pending put | update, at once | success, at once |
//! | a pending delete | success, at once | not found, once that delete is settled |
//! | none pending | as the store says | as the store says |
//!
//! "At once" is safe although the pending write may be lost in a crash: the later write has the higher lsn, so what
//! it says is true of a history in which the pending one took effect just before it. A *not found* has no record of
//! its own that would bring this about, so it waits. A pending write that another one was decided on is marked as
//! *seen*; should its append then be refused, its client is told *unknown*, since *nothing was done* would
//! contradict the other's reply.
//!
//! An lsn's epoch is one above the highest that the store has seen at its start (R19), so no lsn is given twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bitcask::{Lsn, SlotId};

/// The order of writes in every slot.
#[derive(Debug)]
pub(crate) struct Slots {
    epoch: u32,
    slots: Vec<Mutex<Slot>>,
    /// Threads in [`Slots::wait_settled`]; a wake-up with nobody there would still be a system call.
    waiter_count: AtomicUsize,
    waiters: Mutex<()>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    last_counter: u64,
    /// A delete was ordered since the floor was last taken.
    has_delete: bool,
    /// In the order of their lsns.
    pending: VecDeque<Pending>,
}

/// A write that has its lsn and is not settled.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its place in the slot's order.
    pub(crate) lsn: Lsn,
    /// Its key.
    pub(crate) key: Box<[u8]>,
    /// Whether it is a delete.
    pub(crate) is_delete: bool,
    /// Whether a write of another batch was decided on it.
    pub(crate) is_seen: bool,
}

/// A place in a slot's order, given to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// The slot.
    pub(crate) slot: SlotId,
    /// The place.
    pub(crate) lsn: Lsn,
}

/// A slot under its lock.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    id: SlotId,
    epoch: u32,
    slot: MutexGuard<'a, Slot>,
}

impl Slots {
    /// Returns all slots, with no write pending. `epoch` must be above all that the store has seen.
    pub(crate) fn new(epoch: u32) -> Self {
        let slots = SlotId::all().map(|_| Mutex::default()).collect();
        Self {
            epoch,
            slots,
            waiter_count: AtomicUsize::new(0),
            waiters: Mutex::new(()),
            settled: Condvar::new(),
        }
    }

    /// Returns the epoch of all lsns given here.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Locks the slot `id`.
    pub(crate) fn lock(&self, id: SlotId) -> Locked<'_> {
        let Some(slot) = self.slots.get(usize::from(id.index())) else {
            unreachable!("there is an entry for each slot");
        };
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { id, epoch: self.epoch, slot }
    }

    /// Takes a write off the pending list: it was published, or it failed.
    pub(crate) fn settle(&self, ordered: Ordered) -> Option<Pending> {
        let mut slot = self.lock(ordered.slot).slot;
        let index = slot.pending.iter().position(|pending| pending.lsn == ordered.lsn)?;
        let pending = slot.pending.remove(index);
        drop(slot);
        if self.waiter_count.load(Ordering::SeqCst) > 0 {
            drop(self.waiters.lock().unwrap_or_else(PoisonError::into_inner));
            self.settled.notify_all();
        }
        pending
    }

    /// Waits until the write `ordered` is settled.
    ///
    /// Every write of the calling thread must be on its way to being settled by others.
    pub(crate) fn wait_settled(&self, ordered: Ordered) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted before the slot is looked at: who settles after that look sees a waiter.
        self.waiter_count.fetch_add(1, Ordering::SeqCst);
        while self.lock(ordered.slot).is_pending(ordered.lsn) {
            waiters = self.settled.wait(waiters).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiter_count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Locked<'_> {
    /// Returns the newest pending write of `key`.
    pub(crate) fn newest(&mut self, key: &[u8]) -> Option<&mut Pending> {
        self.slot.pending.iter_mut().rev().find(|pending| *pending.key == *key)
    }

    /// Gives the next lsn to a write of `key`; it is pending from now on.
    pub(crate) fn order(&mut self, key: &[u8], is_delete: bool) -> Ordered {
        self.slot.last_counter += 1;
        let lsn = Lsn::new(self.epoch, self.slot.last_counter);
        self.slot.has_delete |= is_delete;
        let key = key.into();
        self.slot.pending.push_back(Pending { lsn, key, is_delete, is_seen: false });
        Ordered { slot: self.id, lsn }
    }

    fn is_pending(&self, lsn: Lsn) -> bool {
        self.slot.pending.iter().any(|pending| pending.lsn == lsn)
    }

    /// Returns the lsn below which every write is settled, if the slot had deletes since this was last asked.
    pub(crate) fn risen_floor(&mut self) -> Option<Lsn> {
        if !self.slot.has_delete {
            return None;
        }
        // While one is pending, the floor may rise further without another delete.
        self.slot.has_delete = self.slot.pending.iter().any(|pending| pending.is_delete);
        Some(self.floor())
    }

    fn floor(&self) -> Lsn {
        let next = Lsn::new(self.epoch, self.slot.last_counter + 1);
        self.slot.pending.front().map_or(next, |oldest| oldest.lsn)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn slot() -> SlotId {
        SlotId::new(7).unwrap()
    }

    #[test]
    fn each_slot_counts_its_own_lsns() {
        let slots = Slots::new(5);
        let lsns: Vec<Lsn> = (0..3).map(|_| slots.lock(slot()).order(b"k", false).lsn).collect();
        assert_eq!(lsns, [Lsn::new(5, 1), Lsn::new(5, 2), Lsn::new(5, 3)]);
        let other = SlotId::new(8).unwrap();
        assert_eq!(slots.lock(other).order(b"k", false).lsn, Lsn::new(5, 1));
    }

    #[test]
    fn the_newest_pending_write_of_a_key_is_found_whatever_settles_first() {
        let slots = Slots::new(1);
        let first = slots.lock(slot()).order(b"k", false);
        let second = slots.lock(slot()).order(b"k", true);
        let other = slots.lock(slot()).order(b"other", false);
        assert!(slots.lock(slot()).newest(b"k").unwrap().is_delete);
        assert_eq!(slots.settle(second).unwrap().lsn, second.lsn);
        assert!(!slots.lock(slot()).newest(b"k").unwrap().is_delete);
        assert_eq!(slots.lock(slot()).floor(), first.lsn);
        slots.settle(first);
        assert_eq!(slots.lock(slot()).floor(), other.lsn);
        slots.settle(other);
        assert!(slots.lock(slot()).newest(b"k").is_none());
        assert!(slots.lock(slot()).floor() > other.lsn);
        assert!(slots.settle(other).is_none(), "it was settled before");
    }

    #[test]
    fn who_waits_for_a_write_goes_on_when_it_is_settled() {
        let slots = Arc::new(Slots::new(1));
        let [first, second] = [0, 1].map(|_| slots.lock(slot()).order(b"k", false));
        let waiter = {
            let slots = Arc::clone(&slots);
            std::thread::spawn(move || {
                slots.wait_settled(second);
                slots.lock(slot()).is_pending(second.lsn)
            })
        };
        while slots.waiter_count.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        slots.settle(second);
        assert!(!waiter.join().unwrap());
        slots.settle(first);
    }
}
