//! How much is stored and asked for: the bytes of each slot that is led here, and its operations, told to the coordinator with
//! requests that go out anyway.
//!
//! At most once a second a request carries the slots whose load changed since it was told, up to
//! [`CHANGED_COUNT_MAX`] of them; those that are left over come with the next. A few more are told again in turn though
//! nothing changed, so that a request that was lost, or came late and was dropped, does no lasting harm. A
//! connection to the coordinator that begins, begins anew with all: it may be another process that knows nothing.
//!
//! Operations are those that this server took as the slot's primary, in about the last minute: a count that leaks a
//! sixtieth of itself a second. Reads that backups serve are not among them. Every member gets a like part of a slot's reads,
//! so slots compare as they would with all of them.
//!
//! | | |
//! |---|---|
//! | all 1,365 slots of one of three servers are told within | 6 s |
//! | bytes told are off by, at most | 1/32, and what came in since |
//! | operations told are off by, at most | 1/4, or one a second |
//! | bytes on the wire with nothing new, a second | about 170 |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::server::{Cx, Server};
use crate::types::{SlotId, SlotLoad, Time};

/// How often loads are told at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Changed slots in one request: some 4 KB of text, so that a busy server's requests stay short.
const CHANGED_COUNT_MAX: usize = 256;
/// Slots told again in one request though nothing changed.
const AGAIN_COUNT: usize = 8;
/// Bytes that are off by one part in so many of what was told are told again.
const LEN_CHANGE_PART: u64 = 32;
/// So are operations: they change all the time, and only slots that stand out matter.
const RATE_CHANGE_PART: u64 = 4;
/// Operations a minute below which a change is not worth telling: one a second.
const RATE_CHANGE_MIN: u64 = 60;
/// How long an operation counts.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// Parts of an operation in which is counted, so that leaking is not lost to rounding.
const RATE_PARTS: u64 = 1000;

/// What the coordinator was told.
#[derive(Debug, Default)]
pub(super) struct Loads {
    told: BTreeMap<SlotId, SlotLoad>,
    told_at: Option<Time>,
    /// Where the next look at all slots begins, so that each has its turn.
    from: Option<SlotId>,
    rates: BTreeMap<SlotId, Rate>,
}

/// How often a slot is asked for.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Operations that were counted.
    count: u64,
    /// What of them has not leaked away, in parts.
    parts: u64,
}

impl Loads {
    /// Forgets what was told.
    pub(super) fn forget(&mut self) {
        self.told.clear();
        (self.told_at, self.from) = (None, None);
    }

    fn is_due(&self, now: Time) -> bool {
        self.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY)
    }
}

impl Rate {
    /// Notes that `count` operations were taken by now, `span` after it was noted last.
    fn note(&mut self, count: u64, span: Duration) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (left, all) = (millis(RATE_SPAN.saturating_sub(span)), millis(RATE_SPAN));
        let more = count.saturating_sub(self.count).saturating_mul(RATE_PARTS);
        self.parts = (self.parts / all * left + self.parts % all * left / all).saturating_add(more);
        self.count = count;
    }
}

impl Server {
    /// Returns the loads that a request which is sent now shall carry, and notes them as told.
    pub(super) fn tell_loads(&mut self, cx: &Cx<'_>) -> Vec<(SlotId, SlotLoad)> {
        if !self.ecs.loads.is_due(cx.now) {
            return Vec::new();
        }
        let me = self.me();
        let is_led = |id: &SlotId| self.map.slot(*id).primary_id() == Some(me);
        let led: Vec<SlotId> = self.map.slots().map(|(id, _)| id).filter(is_led).collect();
        self.note_rates(&led, cx.now);
        let from = self.ecs.loads.from;
        self.ecs.loads.told_at = Some(cx.now);
        self.ecs.loads.told.retain(|id, _| led.binary_search(id).is_ok());
        let first = led.partition_point(|id| Some(*id) < from);
        let (mut changed, mut again, mut next) = (Vec::new(), Vec::new(), None);
        for id in led.iter().copied().cycle().skip(first).take(led.len()) {
            let load = SlotLoad { stored_len: cx.storage.slot_len(id), op_rate: self.rate(id) };
            let told = self.ecs.loads.told.get(&id);
            let is_changed = told.is_none_or(|told| has_changed(*told, load));
            if is_changed && changed.len() == CHANGED_COUNT_MAX {
                next = Some(id);
                break;
            } else if is_changed {
                changed.push((id, load));
            } else if again.len() < AGAIN_COUNT {
                again.push((id, load));
            } else {
                next.get_or_insert(id);
            }
        }
        self.ecs.loads.from = next;
        changed.extend(again);
        self.ecs.loads.told.extend(changed.iter().copied());
        changed
    }

    /// Notes how often the slots that are led here were asked for; what others lead is counted anew when it is led here.
    fn note_rates(&mut self, led: &[SlotId], now: Time) {
        let span = self.ecs.loads.told_at.map_or(Duration::ZERO, |at| now.since(at));
        let mut rates = std::mem::take(&mut self.ecs.loads.rates);
        rates.retain(|id, _| led.binary_search(id).is_ok());
        for id in led {
            let count = self.replica(*id).map_or(0, |replica| replica.op_count);
            let count = count + self.permits.read_count(*id);
            rates.entry(*id).or_insert(Rate { count, parts: 0 }).note(count, span);
        }
        self.ecs.loads.rates = rates;
    }

    fn rate(&self, id: SlotId) -> u64 {
        self.ecs.loads.rates.get(&id).map_or(0, |rate| rate.parts / RATE_PARTS)
    }
}

fn has_changed(told: SlotLoad, now: SlotLoad) -> bool {
    let lens = told.stored_len.abs_diff(now.stored_len);
    let rates = told.op_rate.abs_diff(now.op_rate);
    lens.saturating_mul(LEN_CHANGE_PART) > told.stored_len
        || rates >= RATE_CHANGE_MIN && rates.saturating_mul(RATE_CHANGE_PART) > told.op_rate
}
