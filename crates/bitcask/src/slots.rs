//! Slots of a store: created, dropped, and the lsns below which merges may forget things of them.

use std::sync::PoisonError;

use crate::error::{Error, Result};
use crate::keydir::{CommitPoint, Generation, Slot};
use crate::manifest::{Edit, Manifest};
use crate::store::Store;
use crate::types::{Lsn, SlotId};

impl Store {
    /// Returns whether the slot is here.
    #[must_use]
    pub fn has_slot(&self, slot: SlotId) -> bool {
        self.inner.keydir.generation(slot).is_some()
    }

    /// Creates the slots that are not here, empty, durably, in one step. They have no commit point: this server alone
    /// keeps them.
    ///
    /// # Errors
    /// `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn create_slots(&self, slots: &[SlotId]) -> Result<()> {
        self.create(slots, None)
    }

    /// Creates the slots that are not here as [`create_slots`](Self::create_slots) does, with the commit point
    /// `Lsn(0)`: one of several servers' copies. Of slots that are here nothing is changed.
    ///
    /// # Errors
    /// As [`create_slots`](Self::create_slots).
    pub fn create_copies(&self, slots: &[SlotId]) -> Result<()> {
        self.create(slots, Some(Lsn(0)))
    }

    fn create(&self, slots: &[SlotId], commit_point: Option<Lsn>) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let generations: Vec<_> = slots
            .iter()
            .filter(|slot| !self.has_slot(**slot))
            .map(|slot| {
                let last = manifest.state.slots.get(slot);
                Generation::new(*slot, last.map_or(0, |state| state.generation.life()) + 1)
            })
            .collect();
        let mut edits: Vec<_> = generations.iter().map(|new| Edit::SlotCreated(*new)).collect();
        if edits.is_empty() {
            return Ok(());
        }
        if let Some(lsn) = commit_point {
            let points = generations.iter().map(|generation| (*generation, lsn));
            edits.push(Edit::CommitPoints(points.collect()));
        }
        self.edit(&mut manifest, &edits)?;
        for generation in generations {
            *self.inner.keydir.lock(generation.slot()) = Slot {
                generation: Some(generation),
                commit_point: commit_point.map(CommitPoint::kept),
                ..Slot::default()
            };
        }
        Ok(())
    }

    fn edit(&self, manifest: &mut Manifest, edits: &[Edit]) -> Result<()> {
        self.inner.health.poison_on_failure(manifest.commit(edits))
    }

    /// Drops the slot with all its records, pending ones, requests and its commit point, durably, in constant time (R6).
    /// Taking it again starts empty.
    ///
    /// # Errors
    /// `NoSlot`, `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn drop_slot(&self, slot: SlotId) -> Result<()> {
        self.drop_slots(&[slot])
    }

    /// Drops the slots, each once, as [`drop_slot`](Self::drop_slot) does, in one step.
    ///
    /// # Errors
    /// As [`drop_slot`](Self::drop_slot).
    pub fn drop_slots(&self, slots: &[SlotId]) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let living = |slot: &SlotId| {
            let generation = self.inner.keydir.generation(*slot);
            generation.map(Edit::SlotDropped).ok_or(Error::NoSlot { slot: *slot })
        };
        let edits = slots.iter().map(living).collect::<Result<Vec<_>>>()?;
        if edits.is_empty() {
            return Ok(());
        }
        self.edit(&mut manifest, &edits)?;
        for slot in slots {
            let dropped = std::mem::take(&mut *self.inner.keydir.lock(*slot));
            self.inner.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(dropped);
        }
        self.inner.background.wake();
        Ok(())
    }

    /// Promises that no record of the slot below `floor` is still to come: none is appended and not published, and none
    /// will be appended. Merges may then drop tombstones below it (R5). A floor never falls.
    ///
    /// # Errors
    /// `NoSlot`, `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn set_tombstone_floors(&self, floors: &[(SlotId, Lsn)]) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let risen = self.risen(floors, |slot| slot.tombstone_floor)?;
        let edits: Vec<_> =
            risen.iter().map(|(slot, floor)| Edit::TombstoneFloor(*slot, *floor)).collect();
        if edits.is_empty() {
            return Ok(());
        }
        self.edit(&mut manifest, &edits)?;
        for (generation, floor) in risen {
            let mut slot = self.inner.keydir.lock(generation.slot());
            slot.tombstone_floor = slot.tombstone_floor.max(floor);
        }
        Ok(())
    }

    /// Forgets the requests of the slots' clients below these lsns, now and at every opening (R24); see
    /// [`requests`](Self::requests). A floor never falls.
    ///
    /// # Errors
    /// `NoSlot`, `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn set_request_floors(&self, floors: &[(SlotId, Lsn)]) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let risen = self.risen(floors, |slot| slot.requests.floor())?;
        if risen.is_empty() {
            return Ok(());
        }
        self.edit(&mut manifest, &[Edit::RequestFloors(risen.clone())])?;
        for (generation, floor) in risen {
            let died_in = self.inner.keydir.lock(generation.slot()).requests.raise_floor(floor);
            died_in.into_iter().for_each(|file| self.inner.bury_request(Some(file)));
        }
        Ok(())
    }

    /// Returns those of `floors` that are above what their slots have. Slots come and go under the manifest's lock
    /// only, which the caller holds.
    fn risen(
        &self,
        floors: &[(SlotId, Lsn)],
        floor_of: impl Fn(&Slot) -> Lsn,
    ) -> Result<Vec<(Generation, Lsn)>> {
        let mut risen = Vec::new();
        for (slot, floor) in floors {
            let locked = self.inner.keydir.lock(*slot);
            let Some(generation) = locked.generation else {
                return Err(Error::NoSlot { slot: *slot });
            };
            if *floor > floor_of(&locked) {
                risen.push((generation, *floor));
            }
        }
        Ok(risen)
    }
}
