//! Floors: below which lsn tombstones may be gone (R5), and requests are forgotten (R24).
//!
//! Both are decided by the slot's primary, by time, and told with the commit point; so all members forget alike. What was
//! committed when one age began is below the floor when it has passed: a tombstone is kept for one age at least and two
//! at most, and so is the last request of a client that is silent.
//!
//! ```text
//! age begins: next = commit          age has passed: floor = next, next = commit
//! ───────────┬───────────────────────────────┬──────────────────▶ time
//! ```
//!
//! A floor is durable before anything is forgotten, which costs a sync: all that rise go in one step, at a tick.

use std::collections::BTreeMap;

use crate::replica::{Phase, Replica};
use crate::server::{Cx, Server};
use crate::types::{Lsn, SlotId};

/// Floors that were told and are not raised yet.
#[derive(Debug, Default)]
pub(super) struct Floors(BTreeMap<SlotId, Lsn>);

impl Floors {
    pub(super) fn note(&mut self, slot: SlotId, floor: Lsn) {
        let noted = self.0.entry(slot).or_insert(floor);
        *noted = floor.max(*noted);
    }

    /// Takes out what can be raised: a slot may have been dropped since, and be here again with nothing in it.
    fn take<'a>(&mut self, replica: impl Fn(SlotId) -> Option<&'a Replica>) -> Vec<(SlotId, Lsn)> {
        let is_held = |(slot, floor): &(SlotId, Lsn)| {
            replica(*slot)
                .is_some_and(|replica| replica.is_stored && floor.0 <= replica.commit.0 + 1)
        };
        std::mem::take(&mut self.0).into_iter().filter(is_held).collect()
    }
}

impl Server {
    /// Raises the floors of the slots led here that are due, and those that were told.
    pub(super) fn raise_floors(&mut self, cx: &mut Cx<'_>) {
        self.age_tombstones(cx);
        self.age_requests(cx);
        let (mut tombstones, mut requests) =
            (std::mem::take(&mut self.floors), std::mem::take(&mut self.request_floors));
        let tombstones = tombstones.take(|slot| self.replica(slot));
        if !tombstones.is_empty() {
            cx.storage.raise_tombstone_floors(&tombstones);
        }
        let requests = requests.take(|slot| self.replica(slot));
        if !requests.is_empty() {
            cx.storage.raise_request_floors(&requests);
        }
    }

    /// Notes that tombstones committed an age ago may go.
    fn age_tombstones(&mut self, cx: &Cx<'_>) {
        if cx.now.since(self.floors_at) < self.config.tombstone_age {
            return;
        }
        self.floors_at = cx.now;
        for replica in &mut self.replicas {
            let (slot, commit) = (replica.slot, replica.commit);
            let Some(primary) = replica.primary_mut() else { continue };
            // A learner's base was compared with the floor when its walk began: the floor stays until it is done.
            let has_learner = primary.followers.values().any(|follower| follower.is_learner);
            if primary.phase == Phase::Reconciling || has_learner {
                continue;
            }
            let floor = std::mem::replace(&mut primary.next_floor, commit);
            if floor > cx.storage.tombstone_floor(slot) {
                self.floors.note(slot, floor);
            }
        }
    }

    /// Notes that requests committed an age ago are forgotten, here and at the followers.
    fn age_requests(&mut self, cx: &Cx<'_>) {
        if cx.now.since(self.request_floors_at) < self.config.request_age {
            return;
        }
        self.request_floors_at = cx.now;
        for replica in &mut self.replicas {
            let (slot, commit) = (replica.slot, replica.commit);
            let Some(primary) = replica.primary_mut() else { continue };
            if primary.phase == Phase::Reconciling {
                continue;
            }
            let floor = std::mem::replace(&mut primary.next_request_floor, Lsn(commit.0 + 1));
            if floor > Lsn(0) {
                self.request_floors.note(slot, floor);
                // They are told with the commit point, once more if it has not moved.
                for follower in primary.followers.values_mut() {
                    follower.told = None;
                }
                self.untold.insert(slot);
                replica.request_floor = replica.request_floor.max(floor);
            }
        }
    }
}
