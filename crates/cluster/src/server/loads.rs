//! How much is stored: the bytes of each slot that is led here, told to the coordinator with requests that go out anyway.
//!
//! At most once a second a request carries the slots whose bytes changed by a 32nd part since they were told, up to
//! [`CHANGED_COUNT_MAX`] of them; those that are left over come with the next. A few more are told again in turn though
//! nothing changed, so that a request that was lost, or came late and was dropped, does no lasting harm. A
//! connection to the coordinator that begins, begins anew with all: it may be another process that knows nothing.
//!
//! | | |
//! |---|---|
//! | all 1,365 slots of one of three servers are told within | 6 s |
//! | what is told is off by, at most | 1/32, and what came in since |
//! | bytes on the wire with nothing new, a second | about 150 |
//!
//! Left out: operations. A slot that is asked for often weighs no more than another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::server::{Cx, Server};
use crate::types::{SlotId, Time};

/// How often loads are told at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Changed slots in one request: some 4 KB of text, so that a busy server's requests stay short.
const CHANGED_COUNT_MAX: usize = 256;
/// Slots told again in one request though nothing changed.
const AGAIN_COUNT: usize = 8;
/// A load that is off by one part in so many of what was told is told again.
const CHANGE_PART: u64 = 32;

/// What the coordinator was told.
#[derive(Debug, Default)]
pub(super) struct Loads {
    told: BTreeMap<SlotId, u64>,
    told_at: Option<Time>,
    /// Where the next look at all slots begins, so that each has its turn.
    from: Option<SlotId>,
}

impl Loads {
    /// Forgets what was told.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn is_due(&self, now: Time) -> bool {
        self.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY)
    }
}

impl Server {
    /// Returns the loads that a request which is sent now shall carry, and notes them as told.
    pub(super) fn tell_loads(&mut self, cx: &Cx<'_>) -> Vec<(SlotId, u64)> {
        if !self.ecs.loads.is_due(cx.now) {
            return Vec::new();
        }
        self.ecs.loads.told_at = Some(cx.now);
        let me = self.me();
        let is_led = |id: &SlotId| self.map.slot(*id).primary_id() == Some(me);
        let from = self.ecs.loads.from;
        let led: Vec<SlotId> = self.map.slots().map(|(id, _)| id).filter(is_led).collect();
        self.ecs.loads.told.retain(|id, _| led.binary_search(id).is_ok());
        let first = led.partition_point(|id| Some(*id) < from);
        let (mut changed, mut again, mut next) = (Vec::new(), Vec::new(), None);
        for id in led.iter().copied().cycle().skip(first).take(led.len()) {
            let len = cx.storage.slot_len(id);
            let is_changed =
                self.ecs.loads.told.get(&id).is_none_or(|told| has_changed(*told, len));
            if is_changed && changed.len() == CHANGED_COUNT_MAX {
                next = Some(id);
                break;
            } else if is_changed {
                changed.push((id, len));
            } else if again.len() < AGAIN_COUNT {
                again.push((id, len));
            } else {
                next.get_or_insert(id);
            }
        }
        self.ecs.loads.from = next;
        changed.extend(again);
        self.ecs.loads.told.extend(changed.iter().copied());
        changed
    }
}

fn has_changed(told: u64, len: u64) -> bool {
    told.abs_diff(len).saturating_mul(CHANGE_PART) > told
}
