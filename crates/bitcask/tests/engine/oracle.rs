//! What a store may hold: the model that every history is checked against.
//!
//! ```text
//!   base    records known to be durable: each must be there, or a newer one of its key
//!   tail    records appended later, in order: after a crash a prefix of them is there, and nothing but a prefix
//!   visible what a get must answer now: published records
//! ```
//!
//! An append that failed without being refused leaves *limbo* records in the tail: each may be there or not. After
//! a reopening everything that is there is durable (it was recovered into a synced file), so it becomes the base.

use std::collections::{BTreeMap, BTreeSet};

use bitcask::{Lsn, Request, SlotId};

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) slot: SlotId,
    pub(crate) key: Vec<u8>,
    pub(crate) lsn: Lsn,
    /// `None`: a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) request: Option<Request>,
}

impl Rec {
    /// Says whether a get must answer *not found*. Expiries in these histories are long past or far off.
    pub(crate) fn is_hidden(&self) -> bool {
        self.value.is_none() || self.expires_at_ms.is_some_and(|end| end < FAR_FUTURE_MS)
    }
}

/// An expiry no history lives to see: the year 2286.
pub(crate) const FAR_FUTURE_MS: u64 = 10_000_000_000_000;

/// The newest record of each key.
pub(crate) type State = BTreeMap<(SlotId, Vec<u8>), Rec>;

/// Puts `rec` in if it is the newest of its key (R1).
pub(crate) fn fold(state: &mut State, rec: &Rec) {
    let key = (rec.slot, rec.key.clone());
    if state.get(&key).is_none_or(|old| old.lsn < rec.lsn) {
        state.insert(key, rec.clone());
    }
}

/// Whether a slot is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Present,
    Absent,
    /// A creation or a drop failed half-way.
    Unknown,
}

#[derive(Clone, Debug)]
struct Appended {
    rec: Rec,
    is_limbo: bool,
}

/// The model of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    slots: BTreeMap<SlotId, Presence>,
    floors: BTreeMap<SlotId, Lsn>,
    base: State,
    tail: Vec<Appended>,
    pub(crate) visible: State,
    /// Keys ever written, so that what must not be there is asked for too.
    keys: BTreeSet<(SlotId, Vec<u8>)>,
}

impl Oracle {
    // Slots.

    pub(crate) fn presence(&self, slot: SlotId) -> Presence {
        self.slots.get(&slot).copied().unwrap_or(Presence::Absent)
    }

    pub(crate) fn present_slots(&self) -> Vec<SlotId> {
        let present = self.slots.iter().filter(|(_, presence)| **presence == Presence::Present);
        present.map(|(slot, _)| *slot).collect()
    }

    pub(crate) fn set_presence(&mut self, slot: SlotId, presence: Presence) {
        self.slots.insert(slot, presence);
        if presence == Presence::Absent {
            self.base.retain(|(of, _), _| *of != slot);
            self.visible.retain(|(of, _), _| *of != slot);
            self.tail.retain(|appended| appended.rec.slot != slot);
            self.floors.remove(&slot);
        }
    }

    /// Says which slots a store was found to have.
    pub(crate) fn settle_slots(&mut self, has_slot: impl Fn(SlotId) -> bool) -> Result<(), String> {
        for (slot, presence) in self.slots.clone() {
            let is_there = has_slot(slot);
            match (presence, is_there) {
                (Presence::Present, false) => return Err(format!("{slot:?} is lost")),
                (Presence::Absent, true) => return Err(format!("{slot:?} came back")),
                (Presence::Unknown, true) => self.set_presence(slot, Presence::Present),
                (Presence::Unknown, false) => self.set_presence(slot, Presence::Absent),
                (Presence::Present, true) | (Presence::Absent, false) => {}
            }
        }
        Ok(())
    }

    /// Notes that tombstones of `slot` up to `floor` may be gone.
    pub(crate) fn raise_floor(&mut self, slot: SlotId, floor: Lsn) {
        let old = self.floors.entry(slot).or_default();
        *old = floor.max(*old);
    }

    pub(crate) fn floor(&self, slot: SlotId) -> Lsn {
        self.floors.get(&slot).copied().unwrap_or_default()
    }

    // Records.

    /// Notes records that are in the log, in this order.
    pub(crate) fn append(&mut self, recs: &[Rec], is_limbo: bool) {
        for rec in recs {
            self.keys.insert((rec.slot, rec.key.clone()));
            self.tail.push(Appended { rec: rec.clone(), is_limbo });
        }
    }

    /// Makes records visible.
    pub(crate) fn publish(&mut self, recs: &[Rec]) {
        for rec in recs {
            fold(&mut self.visible, rec);
        }
    }

    /// Notes that `rec`, and everything appended before it, is durable.
    pub(crate) fn acknowledge(&mut self, last: &Rec) {
        if let Some(at) = self.tail.iter().rposition(|appended| appended.rec == *last) {
            self.acknowledge_first(at + 1);
        }
    }

    /// Notes that everything appended so far is durable.
    pub(crate) fn acknowledge_all(&mut self) {
        self.acknowledge_first(self.tail.len());
    }

    fn acknowledge_first(&mut self, count: usize) {
        let rest = self.tail.split_off(count);
        for appended in std::mem::replace(&mut self.tail, rest) {
            // A limbo record before an acknowledged one stays in limbo.
            if appended.is_limbo {
                self.tail.insert(0, appended);
            } else {
                fold(&mut self.base, &appended.rec);
            }
        }
    }

    pub(crate) fn last_appended(&self) -> Option<&Rec> {
        self.tail.last().map(|appended| &appended.rec)
    }

    /// Checks what a store shows against what is visible.
    pub(crate) fn check_visible(&self, observed: &State) -> Result<(), String> {
        self.compare(observed, &self.visible, &[])
    }

    /// Checks what a store was found to hold after a crash or a stop, and takes it for durable from now on.
    ///
    /// `is_whole` says that nothing can have been lost: a clean end, or a killed process on a machine that lives on.
    pub(crate) fn settle(&mut self, observed: State, is_whole: bool) -> Result<(), String> {
        self.check_prefix(&observed, is_whole)?;
        self.base = observed.clone();
        self.visible = observed;
        self.tail.clear();
        Ok(())
    }

    /// Checks that `observed` is the base and a prefix of the tail.
    pub(crate) fn check_prefix(&self, observed: &State, is_whole: bool) -> Result<(), String> {
        let mut state = self.base.clone();
        let mut limbo = Vec::new();
        let mut complaints = Vec::new();
        for count in 0..=self.tail.len() {
            if count > 0
                && let Some(appended) = self.tail.get(count - 1)
            {
                match appended.is_limbo {
                    true => limbo.push(appended.rec.clone()),
                    false => fold(&mut state, &appended.rec),
                }
            }
            let may_end_here = !is_whole || count == self.tail.len();
            match self.compare(observed, &state, &limbo) {
                Ok(()) if may_end_here => return Ok(()),
                Ok(()) => complaints.push(format!("with {count}: records are missing at the end")),
                Err(complaint) => complaints.push(format!("with {count}: {complaint}")),
            }
        }
        let count = self.tail.len();
        Err(format!("no prefix of {count} unsynced records fits:\n  {}", complaints.join("\n  ")))
    }

    fn compare(&self, observed: &State, expected: &State, limbo: &[Rec]) -> Result<(), String> {
        for (slot, key) in &self.keys {
            let at = (*slot, key.clone());
            if self.presence(*slot) == Presence::Unknown {
                continue;
            }
            let (found, wanted) = (observed.get(&at), expected.get(&at));
            let is_same = found == wanted
                || self.may_be_forgotten(found, wanted)
                || limbo.iter().any(|rec| {
                    let is_newer = wanted.is_none_or(|wanted| wanted.lsn < rec.lsn);
                    (rec.slot, &rec.key) == (*slot, key)
                        && is_newer
                        && (found == Some(rec) || self.may_be_forgotten(found, Some(rec)))
                });
            if !is_same {
                return Err(format!(
                    "{slot:?} {}: found {}, wanted {}",
                    key.escape_ascii(),
                    brief(found),
                    brief(wanted)
                ));
            }
        }
        match observed.keys().find(|at| !self.keys.contains(at)) {
            Some(at) => Err(format!("a key nobody wrote: {at:?}")),
            None => Ok(()),
        }
    }

    /// Says whether a merge may have dropped the record `wanted` for good: a tombstone below the floor, or an
    /// expired value, which is as good as one.
    fn may_be_forgotten(&self, found: Option<&Rec>, wanted: Option<&Rec>) -> bool {
        match (found, wanted) {
            (None, Some(wanted)) => wanted.is_hidden() && wanted.lsn <= self.floor(wanted.slot),
            // An expired value may have become a tombstone of the same lsn.
            (Some(found), Some(wanted)) => {
                found.lsn == wanted.lsn && found.value.is_none() && wanted.is_hidden()
            }
            _ => false,
        }
    }

    pub(crate) fn keys_of(&self, slot: SlotId) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().filter(move |(of, _)| *of == slot).map(|(_, key)| &key[..])
    }
}

fn brief(rec: Option<&Rec>) -> String {
    match rec {
        None => "nothing".to_owned(),
        Some(rec) => {
            let value = rec.value.as_ref().map(|value| {
                let start = &value[..value.len().min(24)];
                format!("\"{}\" ({} bytes)", start.escape_ascii(), value.len())
            });
            let value = value.unwrap_or_else(|| "tombstone".to_owned());
            format!("{} {value} {:?} {:?}", rec.lsn, rec.expires_at_ms, rec.request)
        }
    }
}
