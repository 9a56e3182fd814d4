//! Disks that stand still under a process that goes on (R16): syncs and maps wait, threads answer, beacons could be sent.
//!
//! ```text
//! hangs ──▶ a write waits ──▶ no beacon after `sync_max` ──▶ another primary after the grace, or no backup
//!   │                                                                                         │
//!   └─ nothing else goes wrong meanwhile ─────────────────────── NOTICED_MAX ─────────────────┘ looked at here
//! ```
//!
//! What only takes its time breaks no promise of safety, and at the end all is well again; so it is looked at here: if nothing
//! else was wrong, no write may have waited for [`NOTICED_MAX`] while the slot's members are what they were.

use cluster::{Ask, Epoch, SlotId};

use crate::faults::Active;
use crate::queue::{MS, Nanos, SECOND, What};
use crate::world::World;

/// How long a write may wait for a disk that stands still: 0.3 s without a beacon, 1 s of grace, and as much again for
/// prepares that are slow, clocks, and an outcome that has to be asked for twice.
const NOTICED_MAX: Nanos = 2_600 * MS;
/// How long the world is left alone to see it.
const WATCHED_FOR: Nanos = 3_600 * MS;

/// A disk that is watched while it stands still.
#[derive(Clone, Debug)]
pub struct Watch {
    node: usize,
    boot: u32,
    /// Slots that it holds with others, in which epoch.
    slots: Vec<(SlotId, Epoch)>,
}

impl World {
    /// A disk stands still.
    pub fn hang(&mut self, node: usize) {
        let is_watched = self.is_calm() && self.faults.rng.bool();
        let (from, to) = match is_watched {
            true => (WATCHED_FOR + 100 * MS, 6 * SECOND),
            false => (200 * MS, 5 * SECOND),
        };
        self.servers[node].hung += 1;
        self.phase(format!("disk of s{} stands still", node + 1), Active::Hung(node), from, to);
        if !is_watched {
            return;
        }
        let host = &self.servers[node];
        let is_shared = |(_, slot): &(SlotId, &cluster::Slot)| {
            slot.is_member(host.id) && slot.members().count() > 1 && slot.primary.is_some()
        };
        let slots = self.ecs.map.slots().filter(is_shared).map(|(id, slot)| (id, slot.epoch));
        let watch = Watch { node, boot: host.boot, slots: slots.collect() };
        self.faults.watch = Some(watch);
        self.queue.push(self.now + WATCHED_FOR, What::HangSeen);
    }

    /// Looks whether a disk that stood still was noticed.
    pub fn check_hang(&mut self) {
        let Some(Watch { node, boot, slots }) = self.faults.watch.take() else { return };
        if self.faults.is_over
            || !self.is_alive(node, boot)
            || !self.servers.iter().all(crate::node::Host::is_well)
        {
            return;
        }
        let same =
            slots.into_iter().filter(|(slot, epoch)| self.ecs.map.slot(*slot).epoch == *epoch);
        let stuck = same.map(|(slot, _)| slot).find(|slot| self.waits(*slot));
        if let Some(slot) = stuck {
            let text = format!(
                "R16: the disk of s{} stands still, writes of slot {} wait, and its members are the same",
                node + 1,
                slot.index()
            );
            self.fail(text);
        }
    }

    /// Returns whether a write waits at the slot's primary for longer than it may.
    fn waits(&self, slot: SlotId) -> bool {
        let primary = self.ecs.map.slot(slot).primary_id();
        let Some(host) = self.servers.iter().find(|host| Some(host.id) == primary) else {
            return false;
        };
        host.ops.iter().map(|attempt| &self.attempts[*attempt]).any(|attempt| {
            attempt.slot == slot
                && !matches!(attempt.ask, Ask::Get)
                && attempt.sent_at + NOTICED_MAX < self.now
        })
    }
}
