//! Permission to read a slot without the machine, which gives it and takes it back.
//!
//! ```text
//! machine:      grant until T ─────────▶ [ until T, withdrawn n times ] ◀───────── withdraw, before what it stood for changes
//! any thread:                  look: now < T? ─▶ read what is committed ─▶ confirm: now < T, withdrawn no more often?
//! ```
//!
//! A permit says what the machine would say to a read: that the slot is served here, and which leases there are for how
//! long (R13, R14). It is withdrawn *before* anything changes that it stands for: the role, the phase, who must have granted
//! a lease, a backup's having nothing pending. So a value that was read between a look and its confirmation was read while
//! the machine would have let it be read, and a thread that is held up in between tells nothing old. Who has no permit
//! asks the machine, which gives one if it can.
//!
//! There is no waiting in it. A machine without threads, as the simulator's, uses it as one with them does.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::types::{SlotId, Time};

/// How long a permit is given anew after it was used last.
const USED_FOR: Duration = Duration::from_secs(2);

/// The permits of all slots of a server.
#[derive(Debug)]
pub struct Permits {
    slots: Box<[Permit]>,
}

#[derive(Debug, Default)]
struct Permit {
    /// Nanoseconds of the machine's clock; zero: none.
    until: AtomicU64,
    withdrawn_count: AtomicU64,
    /// Reads confirmed that the machine does not know of.
    read_count: AtomicU64,
}

/// A permit that was there when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    slot: SlotId,
    withdrawn_count: u64,
}

impl Permits {
    /// Returns no permits for this many slots.
    pub(crate) fn new(slot_count: usize) -> Self {
        Self { slots: (0..slot_count).map(|_| Permit::default()).collect() }
    }

    fn slot(&self, slot: SlotId) -> Option<&Permit> {
        self.slots.get(usize::from(slot.index()))
    }

    /// Returns what [`confirm`](Self::confirm) wants to know, if the slot may be read at the time `now`, which is the present one.
    #[must_use]
    pub fn look(&self, slot: SlotId, now: Time) -> Option<Look> {
        let permit = self.slot(slot)?;
        let withdrawn_count = permit.withdrawn_count.load(Ordering::Acquire);
        let is_granted = now.0 < permit.until.load(Ordering::Acquire);
        is_granted.then_some(Look { slot, withdrawn_count })
    }

    /// Returns whether what was read since the look may be told. The time `now` was asked for after the value was read.
    #[must_use]
    pub fn confirm(&self, look: Look, now: Time) -> bool {
        let Some(permit) = self.slot(look.slot) else { return false };
        // What was read before is not looked for after this.
        fence(Ordering::Acquire);
        let is_same = permit.withdrawn_count.load(Ordering::Relaxed) == look.withdrawn_count;
        let is_confirmed = is_same && now.0 < permit.until.load(Ordering::Relaxed);
        if is_confirmed {
            permit.read_count.fetch_add(1, Ordering::Relaxed);
        }
        is_confirmed || mutant!("a read by a permit not confirmed")
    }

    pub(crate) fn grant(&self, slot: SlotId, until: Time) {
        if let Some(permit) = self.slot(slot) {
            permit.until.store(until.0, Ordering::Release);
        }
    }

    /// To be called before what the permit stands for changes.
    pub(crate) fn withdraw(&self, slot: SlotId) {
        if let Some(permit) = self.slot(slot) {
            permit.until.store(0, Ordering::Relaxed);
            // Who sees the new count does not see the old end.
            permit.withdrawn_count.fetch_add(1, Ordering::Release);
            // Nobody sees what is done after this and not the withdrawal.
            fence(Ordering::Release);
        }
    }

    pub(crate) fn withdraw_all(&self) {
        SlotId::all().take(self.slots.len()).for_each(|slot| self.withdraw(slot));
    }

    /// Returns how many reads were confirmed.
    pub(crate) fn read_count(&self, slot: SlotId) -> u64 {
        self.slot(slot).map_or(0, |permit| permit.read_count.load(Ordering::Relaxed))
    }

    /// Returns when the slot's permit ends; zero, if it has none.
    fn until(&self, slot: SlotId) -> Time {
        Time(self.slot(slot).map_or(0, |permit| permit.until.load(Ordering::Relaxed)))
    }
}

/// Which permits are used, as the machine sees it: it looks at a part of them at each tick, so that nobody waits long for it.
#[derive(Debug, Default)]
pub(crate) struct Used {
    slots: Vec<Use>,
    looked_at: Option<Time>,
    /// Those looked at last.
    part: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    read_count: u64,
    at: Option<Time>,
}

impl Used {
    /// Notes that a slot was read through the machine.
    pub(crate) fn note(&mut self, slot: SlotId, now: Time) {
        if let Some(used) = self.slots.get_mut(usize::from(slot.index())) {
            used.at = Some(now);
        }
    }

    /// Looks at the next slots: at all of them in the time `every`.
    pub(crate) fn look(&mut self, permits: &Permits, now: Time, every: Duration) {
        self.slots.resize(permits.slots.len(), Use::default());
        let count = self.slots.len();
        let since = self.looked_at.map_or(every, |at| now.since(at)).min(every);
        self.looked_at = Some(now);
        // Rounded up, so that short times come around too.
        let len = (count as u128 * since.as_nanos()).div_ceil(every.as_nanos().max(1));
        let begin = if self.part.end >= count { 0 } else { self.part.end };
        self.part = begin..begin.saturating_add(usize::try_from(len).unwrap_or(count)).min(count);
        for (permit, used) in
            permits.slots.iter().zip(&mut self.slots).take(self.part.end).skip(begin)
        {
            let read_count = permit.read_count.load(Ordering::Relaxed);
            if std::mem::replace(&mut used.read_count, read_count) != read_count {
                used.at = Some(now);
            }
        }
    }

    /// Returns those of the slots looked at last that are in use, and whose permits end within `rest`.
    pub(crate) fn ending<'a>(
        &'a self,
        permits: &'a Permits,
        now: Time,
        rest: Duration,
    ) -> impl Iterator<Item = SlotId> + 'a {
        let all = SlotId::all().zip(&self.slots).take(self.part.end).skip(self.part.start);
        let is_used = move |used: &Use| used.at.is_some_and(|at| now.since(at) < USED_FOR);
        let used = all.filter(move |(_, used)| is_used(used)).map(|(slot, _)| slot);
        used.filter(move |slot| permits.until(*slot) < now + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> SlotId {
        SlotId::all().nth(3).unwrap()
    }

    #[test]
    fn a_permit_lasts_until_its_end_r13() {
        let permits = Permits::new(4);
        assert_eq!(permits.look(slot(), Time(1)), None);
        permits.grant(slot(), Time(10));
        let look = permits.look(slot(), Time(9)).unwrap();
        assert_eq!(permits.look(slot(), Time(10)), None);
        assert!(permits.confirm(look, Time(9)));
        assert!(!permits.confirm(look, Time(10)), "the value was told too late");
        permits.grant(slot(), Time(20));
        assert!(permits.confirm(look, Time(19)), "it was renewed meanwhile");
        assert_eq!(permits.read_count(slot()), 2);
    }

    #[test]
    fn what_was_read_over_a_withdrawal_is_not_told_though_there_is_a_permit_again_r13() {
        let permits = Permits::new(4);
        permits.grant(slot(), Time(10));
        let look = permits.look(slot(), Time(1)).unwrap();
        permits.withdraw(slot());
        assert_eq!(permits.look(slot(), Time(1)), None);
        permits.grant(slot(), Time(10));
        assert!(!permits.confirm(look, Time(2)));
        assert!(permits.look(slot(), Time(2)).is_some_and(|look| permits.confirm(look, Time(3))));
        permits.withdraw_all();
        assert_eq!(permits.look(slot(), Time(2)), None);
    }

    #[test]
    fn what_is_used_is_found_in_its_turn_before_it_ends() {
        let (permits, mut used, every) =
            (Permits::new(7), Used::default(), Duration::from_nanos(100));
        let mut look = |permits: &Permits, at| {
            used.look(permits, Time(at), every);
            used.ending(permits, Time(at), Duration::from_nanos(200)).collect::<Vec<_>>()
        };
        assert_eq!(look(&permits, 1000), [], "nothing was read");
        permits.grant(slot(), Time(1500));
        let read = permits.look(slot(), Time(1000)).unwrap();
        assert!(permits.confirm(read, Time(1001)));
        let found: Vec<Vec<SlotId>> =
            (1..=20).map(|tick| look(&permits, 1000 + 30 * tick)).collect();
        let when = |from: usize, to: usize| found[from..to].iter().flatten().count();
        assert_eq!((when(0, 10), found.concat().iter().all(|id| *id == slot())), (0, true));
        assert!((2..=5).contains(&when(10, 20)), "{found:?}");
        let late = 2_000_000_000 + 2000;
        assert!(
            (0..4).all(|tick| look(&permits, late + 30 * tick).is_empty()),
            "it is used no more"
        );
    }

    #[test]
    fn threads_that_look_read_and_confirm_never_tell_what_is_no_more_permitted_r13() {
        let permits = Permits::new(4);
        // Even: whole. In two halves, so that a value in the middle of a change shows.
        let value = [AtomicU64::new(0), AtomicU64::new(0)];
        let is_over = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let reader = || {
                let mut told_count = 0;
                while is_over.load(Ordering::Relaxed) == 0 {
                    let Some(look) = permits.look(slot(), Time(1)) else { continue };
                    let read = value.each_ref().map(|half| half.load(Ordering::Acquire));
                    if permits.confirm(look, Time(1)) {
                        assert!(read[0] == read[1] && read[0] % 2 == 0, "{read:?}");
                        told_count += 1;
                    }
                }
                told_count
            };
            let readers = [scope.spawn(reader), scope.spawn(reader)];
            for round in 0..200_000 {
                permits.withdraw(slot());
                for half in &value {
                    half.store(2 * round + 1, Ordering::Release);
                }
                for half in value.iter().rev() {
                    half.store(2 * round + 2, Ordering::Release);
                }
                permits.grant(slot(), Time(10));
            }
            is_over.store(1, Ordering::Relaxed);
            let told_count: u64 = readers.map(|reader| reader.join().unwrap()).iter().sum();
            assert_eq!(permits.read_count(slot()), told_count);
        });
    }
}
