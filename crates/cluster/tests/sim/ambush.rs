//! Ambushes: whoever was handed a slot hears the others and is heard by nobody who matters, then hears nobody.
//!
//! ```text
//! logged: t is primary                          +30 … 100 ms                     +1.2 … 1.3 s
//!   │ t ⇏ others, coordinator ⇏ others ───────────────────────────────────────────┤
//!   │                              │ others ⇏ t ─────────────────────────────────┤
//! ```
//!
//! The others do not learn of the hand-over: a backup goes on reading on a grant of the primary before, of which the
//! new one knows nothing. The new one has every reason to have that backup removed, and may take writes without it once it
//! is: not before every such grant is over (R21). Random partitions hardly ever fall together like this.
//!
//! Only where nothing else is wrong: another fault would mostly spoil it.

use cluster::SlotId;
use cluster::coordinator::Entry;

use crate::faults::Active;
use crate::queue::{MS, Nanos, What};
use crate::world::World;

/// How long messages of the new primary are held, at least and at most.
const DEAF_FOR: (Nanos, Nanos) = (1_200 * MS, 1_300 * MS);
/// After which time it hears nobody either.
const OPEN_FOR: (Nanos, Nanos) = (30 * MS, 100 * MS);
/// For how long it hears nobody.
const CLOSED_FOR: (Nanos, Nanos) = (1_100 * MS, 1_150 * MS);
/// How long the slot is looked at all the time.
const WATCHED_FOR: Nanos = 1_500 * MS;

/// An ambush that goes on.
#[derive(Clone, Debug)]
pub struct Ambush {
    /// The slot that was handed over.
    pub slot: SlotId,
    /// Until when it is looked at.
    pub until: Nanos,
    /// What is to be blocked when it closes.
    then: Vec<(usize, usize)>,
}

impl World {
    /// Lies in wait for whoever was just handed a slot.
    pub fn ambush(&mut self, entry: &Entry) {
        let mut handed = entry.delta.slots.iter().filter(|(slot, next)| {
            let before = self.ecs.map.slot(*slot);
            let heir = next.primary_id();
            heir != before.primary_id()
                && before.primary_id().is_some_and(|old| next.is_member(old))
                && heir.is_some_and(|heir| before.is_member(heir))
        });
        let Some((slot, next)) = handed.next() else { return };
        let (slot, heir) = (*slot, next.primary_id());
        let percent = self.plan.ambush_percent;
        if percent == 0 || !self.is_time_for_faults() || !self.is_calm() {
            return;
        }
        let Some(heir) = self.servers.iter().position(|host| Some(host.id) == heir) else { return };
        if self.faults.rng.u8(0..100) >= percent {
            return;
        }
        let others: Vec<usize> = (0..self.servers.len()).filter(|other| *other != heir).collect();
        let ecs = self.ecs_node();
        let first = others.iter().flat_map(|other| [(heir, *other), (ecs, *other)]).collect();
        let then = others.iter().map(|other| (*other, heir)).collect();
        self.block_for(format!("ambush of s{}", heir + 1), first, DEAF_FOR);
        let until = self.now + WATCHED_FOR;
        self.faults.ambush = Some(Ambush { slot, until, then });
        let open_for = self.faults.span(OPEN_FOR.0, OPEN_FOR.1);
        self.queue.push(self.now + open_for, What::AmbushCloses);
    }

    /// The new primary hears nobody any more.
    pub fn close_ambush(&mut self) {
        let Some(ambush) = self.faults.ambush.as_mut().filter(|_| !self.faults.is_over) else {
            return;
        };
        let ways = std::mem::take(&mut ambush.then);
        self.block_for("the ambush closes".to_owned(), ways, CLOSED_FOR);
    }

    fn block_for(&mut self, what: String, ways: Vec<(usize, usize)>, span: (Nanos, Nanos)) {
        for (from, to) in &ways {
            self.net.block(*from, *to);
        }
        self.phase(what, Active::Blocked(ways), span.0, span.1);
    }

    /// Returns the slot that is looked at all the time, if an ambush goes on.
    pub fn ambushed(&self) -> Option<SlotId> {
        self.faults
            .ambush
            .as_ref()
            .filter(|ambush| self.now < ambush.until)
            .map(|ambush| ambush.slot)
    }
}
