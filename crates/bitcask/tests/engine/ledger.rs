//! What a store of copied slots may hold: the model of histories with commit points and pending records.
//!
//! ```text
//!   items     every record appended, in order; the first of them are known to be durable
//!             each is pending or published
//!   slots     for each: the commit point as it was noted, and as it was certainly kept; the floors; the requests
//! ```
//!
//! While a store runs, everything must be exactly as the model has it. After an opening:
//!
//! * The commit point is one that was noted, not below the last that was certainly kept; and every record below it is there.
//! * Records up to it are published, the others pending, none of them lost that was durable; of the rest a prefix is there.
//! * A record may be gone that was published and of whose key a newer published one is there, for a merge may have taken it.
//! * The requests are those of what is published now; also those may be known that were published before.

use std::collections::{BTreeMap, BTreeSet};

use bitcask::{Error, Lsn, Op, Request, SlotId, Store, Write};

use crate::oracle::Presence;

pub(crate) type Check<T = ()> = Result<T, String>;

/// A record as it was written; without a key, a request alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) slot: SlotId,
    pub(crate) lsn: Lsn,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) request: Option<Request>,
}

impl Rec {
    pub(crate) fn as_write(&self) -> Write<'_> {
        let op = match &self.value {
            Some(value) => Op::Put(value),
            None if self.key.is_empty() => Op::Request,
            None => Op::Delete,
        };
        let Self { slot, lsn, key, request, .. } = self;
        Write { slot: *slot, lsn: *lsn, key, op, expires_at_ms: None, request: *request }
    }
}

#[derive(Clone, Debug)]
struct Item {
    rec: Rec,
    /// In the log, and neither published nor kept as pending.
    is_loose: bool,
    is_published: bool,
    /// Its append failed without being refused: it may be there or not.
    is_limbo: bool,
    /// Appended once more: that it is there is told by the first.
    is_copy: bool,
}

/// What is known of an item after an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// It was seen.
    Seen,
    /// It was not seen, and need not be.
    Open,
    Missing,
}

#[derive(Clone, Debug)]
struct Slot {
    presence: Presence,
    /// The commit point as it was noted last, and as it is on disk at least.
    noted: Lsn,
    kept_min: Lsn,
    floor: Lsn,
    /// The request floor as it is at least, and at most.
    request_floor: (Lsn, Lsn),
    requests: BTreeMap<u64, (Request, Lsn)>,
    /// Every request that was ever known: what a merge left of an older one may still be on disk.
    ever_known: Vec<(Request, Lsn)>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            presence: Presence::Absent,
            noted: Lsn(0),
            kept_min: Lsn(0),
            floor: Lsn(0),
            request_floor: (Lsn(0), Lsn(0)),
            requests: BTreeMap::new(),
            ever_known: Vec::new(),
        }
    }
}

impl Slot {
    fn note(&mut self, request: Request, lsn: Lsn) {
        self.ever_known.push((request, lsn));
        if lsn < self.request_floor.0 {
            return;
        }
        let known = self.requests.get(&request.client);
        if known.is_none_or(|(known, at)| (*at, known.number) < (lsn, request.number)) {
            self.requests.insert(request.client, (request, lsn));
        }
    }
}

/// What a store shows of a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    commit_point: Option<Lsn>,
    published: BTreeMap<Vec<u8>, Rec>,
    pending: Vec<Rec>,
    requests: BTreeMap<u64, (Request, Lsn)>,
}

/// Looks at everything a store shows of `slot`.
pub(crate) fn look(store: &Store, slot: SlotId) -> Result<Check<Seen>, Error> {
    let mut seen = Seen { commit_point: store.commit_point(slot), ..Seen::default() };
    let rec = |record: bitcask::Record| {
        let bitcask::Record { key, lsn, value, request, .. } = record;
        Rec { slot, lsn, key, value, request }
    };
    for record in store.records(slot, Lsn(0))? {
        let record = rec(record?);
        seen.published.insert(record.key.clone(), record);
    }
    let mut walked: Vec<Rec> = seen.published.values().cloned().collect();
    walked.sort_by_key(|rec| rec.lsn);
    let (mut above, mut paged) = (Lsn(0), Vec::new());
    loop {
        let mut page = store.page(slot, above, 3, 500)?;
        if let Some(error) = page.unreadable.pop() {
            return Err(error);
        }
        paged.extend(page.records.into_iter().map(rec));
        let Some(next) = page.next else { break };
        above = next;
    }
    if paged != walked {
        return Ok(Err(format!("{slot:?}: the pages say {paged:?}, the walk {walked:?}")));
    }
    for info in store.pending(slot) {
        let Some(record) = store.read_pending(slot, info.lsn, &info.key)? else {
            return Ok(Err(format!("{slot:?}: {info:?} is listed and cannot be read")));
        };
        let is_tombstone = record.value.is_none() && !record.key.is_empty();
        if (info.is_tombstone, info.request) != (is_tombstone, record.request) {
            return Ok(Err(format!("{slot:?}: {info:?} is listed, {record:?} read")));
        }
        seen.pending.push(rec(record));
    }
    for (request, lsn) in store.requests(slot) {
        seen.requests.insert(request.client, (request, lsn));
    }
    Ok(Ok(seen))
}

/// The model of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    items: Vec<Item>,
    durable_count: usize,
    slots: BTreeMap<SlotId, Slot>,
}

impl Ledger {
    fn slot(&mut self, slot: SlotId) -> &mut Slot {
        self.slots.entry(slot).or_default()
    }

    pub(crate) fn presence(&self, slot: SlotId) -> Presence {
        self.slots.get(&slot).map_or(Presence::Absent, |slot| slot.presence)
    }

    pub(crate) fn present_slots(&self) -> Vec<SlotId> {
        let is_present = |slot: &SlotId| self.presence(*slot) == Presence::Present;
        self.slots.keys().copied().filter(is_present).collect()
    }

    pub(crate) fn set_presence(&mut self, slot: SlotId, presence: Presence) {
        if presence == Presence::Absent {
            let durable = &self.items[..self.durable_count];
            self.durable_count -= durable.iter().filter(|item| item.rec.slot == slot).count();
            self.items.retain(|item| item.rec.slot != slot);
            self.slots.remove(&slot);
        } else {
            self.slot(slot).presence = presence;
        }
    }

    pub(crate) fn noted(&self, slot: SlotId) -> Lsn {
        self.slots.get(&slot).map_or(Lsn(0), |slot| slot.noted)
    }

    pub(crate) fn note_commit_point(&mut self, slot: SlotId, lsn: Lsn) {
        let slot = self.slot(slot);
        slot.noted = slot.noted.max(lsn);
    }

    /// Notes that all commit points are on disk.
    pub(crate) fn keep_commit_points(&mut self) {
        self.slots.values_mut().for_each(|slot| slot.kept_min = slot.noted);
    }

    pub(crate) fn floor(&self, slot: SlotId) -> Lsn {
        self.slots.get(&slot).map_or(Lsn(0), |slot| slot.floor)
    }

    pub(crate) fn raise_floor(&mut self, slot: SlotId, floor: Lsn) {
        let slot = self.slot(slot);
        slot.floor = slot.floor.max(floor);
    }

    pub(crate) fn raise_request_floor(&mut self, slot: SlotId, floor: Lsn, is_certain: bool) {
        let slot = self.slot(slot);
        slot.request_floor.1 = slot.request_floor.1.max(floor);
        if is_certain {
            slot.request_floor.0 = slot.request_floor.0.max(floor);
            slot.requests.retain(|_, (_, lsn)| *lsn >= floor);
        }
    }

    /// Notes records that are in the log, in this order.
    pub(crate) fn append(&mut self, recs: &[Rec], is_limbo: bool) {
        for rec in recs {
            let is_copy = self.items.iter().any(|item| item.rec == *rec && !item.is_limbo);
            let (rec, is_loose, is_published) = (rec.clone(), true, false);
            self.items.push(Item { rec, is_loose, is_published, is_limbo, is_copy });
        }
    }

    /// Notes that records were kept as pending.
    pub(crate) fn keep(&mut self, recs: &[Rec]) {
        for item in self.items.iter_mut().filter(|item| recs.contains(&item.rec)) {
            item.is_loose = false;
        }
    }

    pub(crate) fn acknowledge_all(&mut self) {
        self.durable_count = self.items.len();
    }

    /// Returns the pending records of a slot in the order of their lsns.
    pub(crate) fn pending(&self, slot: SlotId) -> Vec<Rec> {
        let is_one = |item: &&Item| {
            let is_open = item.is_loose || item.is_published;
            item.rec.slot == slot && !is_open && !item.is_limbo && !item.is_copy
        };
        let mut recs: Vec<Rec> =
            self.items.iter().filter(is_one).map(|item| item.rec.clone()).collect();
        recs.sort_by(|a, b| (a.lsn, &a.key).cmp(&(b.lsn, &b.key)));
        recs
    }

    /// Returns the lsns of a slot's records.
    pub(crate) fn lsns(&self, slot: SlotId) -> Vec<Lsn> {
        let items = self.items.iter().filter(|item| item.rec.slot == slot && !item.is_limbo);
        items.map(|item| item.rec.lsn).collect()
    }

    pub(crate) fn publish(&mut self, rec: &Rec) {
        for item in self.items.iter_mut().filter(|item| item.rec == *rec && !item.is_limbo) {
            (item.is_loose, item.is_published) = (false, true);
        }
        if let Some(request) = rec.request {
            self.slot(rec.slot).note(request, rec.lsn);
        }
    }

    /// Returns the newest published record of each key.
    fn newest(&self, slot: SlotId) -> BTreeMap<Vec<u8>, Rec> {
        let mut newest: BTreeMap<Vec<u8>, Rec> = BTreeMap::new();
        for Item { rec, .. } in self.items.iter().filter(|item| item.is_published) {
            let is_newer = newest.get(&rec.key).is_none_or(|known| known.lsn < rec.lsn);
            if rec.slot == slot && !rec.key.is_empty() && is_newer {
                newest.insert(rec.key.clone(), rec.clone());
            }
        }
        newest
    }

    /// Checks what a running store shows: exactly this.
    pub(crate) fn check(&self, slot: SlotId, seen: &Seen) -> Check {
        let Some(state) = self.slots.get(&slot) else { return Ok(()) };
        if seen.commit_point != Some(state.noted) {
            return Err(format!("{slot:?}: {:?}, noted {}", seen.commit_point, state.noted));
        }
        let newest = self.newest(slot);
        let keys: BTreeSet<_> = newest.keys().chain(seen.published.keys()).collect();
        for key in keys {
            let (found, wanted) = (seen.published.get(key), newest.get(key));
            let may_be_gone = |rec: &Rec| rec.value.is_none() && rec.lsn < state.floor;
            if found != wanted && !(found.is_none() && wanted.is_some_and(may_be_gone)) {
                return Err(format!("{slot:?}: found {}, wanted {}", tell(found), tell(wanted)));
            }
        }
        let pending = self.pending(slot);
        if seen.pending != pending {
            return Err(format!("{slot:?}: {:?} pending, wanted {pending:?}", seen.pending));
        }
        if seen.requests != state.requests {
            let (found, wanted) = (&seen.requests, &state.requests);
            return Err(format!("{slot:?}: requests {found:?}, wanted {wanted:?}"));
        }
        Ok(())
    }

    /// Says which slots a store has: those whose creation or drop failed half-way may be there or not.
    pub(crate) fn settle_slots(&mut self, has_slot: impl Fn(SlotId) -> bool) -> Check {
        for slot in self.slots.keys().copied().collect::<Vec<_>>() {
            let presence = if has_slot(slot) { Presence::Present } else { Presence::Absent };
            let known = self.presence(slot);
            if known != Presence::Unknown && known != presence {
                return Err(format!(
                    "{slot:?} is {presence:?} after an opening, and was {known:?}"
                ));
            }
            self.set_presence(slot, presence);
        }
        Ok(())
    }

    /// Checks what a store was found to hold after an opening, and takes it for durable from now on. `is_whole` says
    /// that nothing can have been lost.
    pub(crate) fn settle(&mut self, seen: &BTreeMap<SlotId, Seen>, is_whole: bool) -> Check {
        for (slot, seen) in seen {
            self.check_commit_point(*slot, seen)?;
        }
        let traces: Vec<Trace> = (0..self.items.len()).map(|at| self.trace(at, seen)).collect();
        let mut first_missing = None;
        for (at, (item, trace)) in self.items.iter().zip(&traces).enumerate() {
            let Some(slot) = seen.get(&item.rec.slot) else { continue };
            let is_below = Some(item.rec.lsn) <= slot.commit_point;
            match trace {
                Trace::Seen if first_missing.is_some() && !item.is_limbo && !item.is_copy => {
                    let missing = first_missing.and_then(|at: usize| self.items.get(at));
                    let (missing, seen) =
                        (tell(missing.map(|item| &item.rec)), tell(Some(&item.rec)));
                    return Err(format!("{seen} is there, behind {missing}, which is not"));
                }
                Trace::Missing if is_whole || is_below || at < self.durable_count => {
                    let point = slot.commit_point;
                    return Err(format!("{} is lost, {point:?}", tell(Some(&item.rec))));
                }
                Trace::Missing => first_missing = Some(at),
                Trace::Seen | Trace::Open => {}
            }
        }
        for (slot, seen) in seen {
            self.check_requests(*slot, seen, &traces)?;
        }
        self.take_over(seen, &traces);
        // What is shown is now what the model has, or something is shown that nobody wrote.
        seen.iter().try_for_each(|(slot, seen)| self.check(*slot, seen))
    }

    fn check_commit_point(&self, slot: SlotId, seen: &Seen) -> Check {
        let state = self.slots.get(&slot).cloned().unwrap_or_default();
        let Some(point) = seen.commit_point else { return Err(format!("{slot:?} has none")) };
        if point < state.kept_min || point > state.noted {
            let Slot { kept_min, noted, .. } = state;
            return Err(format!("{slot:?}: commit point {point}, kept {kept_min}, noted {noted}"));
        }
        let above = seen.published.values().find(|rec| rec.lsn > point);
        let below = seen.pending.iter().find(|rec| rec.lsn <= point);
        match above.or(below) {
            Some(rec) => Err(format!("{} on the wrong side of {point}", tell(Some(rec)))),
            None => Ok(()),
        }
    }

    /// Says whether an item was seen, or what explains that it was not.
    fn trace(&self, at: usize, seen: &BTreeMap<SlotId, Seen>) -> Trace {
        let item = &self.items[at];
        let rec = &item.rec;
        let Some(slot) = seen.get(&rec.slot) else { return Trace::Open };
        if slot.pending.contains(rec) || slot.published.get(&rec.key) == Some(rec) {
            return Trace::Seen;
        }
        let is_alone_and_below = rec.key.is_empty() && Some(rec.lsn) <= slot.commit_point;
        let is_hidden = slot.published.get(&rec.key).is_some_and(|newest| newest.lsn > rec.lsn);
        let floor = self.slots.get(&rec.slot).map_or(Lsn(0), |slot| slot.floor);
        // Published, newest and below the floor: a merge may have dropped it.
        let is_free = item.is_published && rec.value.is_none() && rec.lsn < floor;
        let is_superseded = item.is_published
            && (0..self.items.len()).rev().any(|other| {
                let by = &self.items[other];
                by.is_published
                    && (by.rec.slot, &by.rec.key) == (rec.slot, &rec.key)
                    && by.rec.lsn > rec.lsn
                    && self.trace(other, seen) != Trace::Missing
            });
        // A request alone goes when its client has a newer one.
        let is_forgotten = item.is_published && rec.key.is_empty();
        let is_excused = item.is_limbo || item.is_copy || is_alone_and_below || is_hidden;
        if is_excused || is_free || is_superseded || is_forgotten {
            Trace::Open
        } else {
            Trace::Missing
        }
    }

    fn check_requests(&self, slot: SlotId, seen: &Seen, traces: &[Trace]) -> Check {
        let state = self.slots.get(&slot).cloned().unwrap_or_default();
        let (mut surely, mut perhaps) = (BTreeMap::new(), state.ever_known.clone());
        for (item, trace) in self.items.iter().zip(traces).filter(|(item, _)| item.rec.slot == slot)
        {
            let Some(request) = item.rec.request else { continue };
            if Some(item.rec.lsn) <= seen.commit_point || item.is_published {
                perhaps.push((request, item.rec.lsn));
            }
            let is_sure = *trace == Trace::Seen && item.rec.lsn >= state.request_floor.1;
            if is_sure && Some(item.rec.lsn) <= seen.commit_point {
                let at = (item.rec.lsn, request.number);
                let known = surely.entry(request.client).or_insert(at);
                *known = at.max(*known);
            }
        }
        for (client, found) in &seen.requests {
            if !perhaps.contains(found) || found.1 < state.request_floor.0 {
                return Err(format!("{slot:?}: client {client} has {found:?}, of {perhaps:?}"));
            }
        }
        for (client, (lsn, number)) in surely {
            let found = seen.requests.get(&client).map(|(request, lsn)| (*lsn, request.number));
            if found < Some((lsn, number)) {
                return Err(format!("{slot:?}: client {client}: {found:?}, not {number} at {lsn}"));
            }
        }
        self.check_remembered(slot, seen, &state)
    }

    /// Checks that a request that was known and whose record was durable and below the commit point is known still.
    fn check_remembered(&self, slot: SlotId, seen: &Seen, state: &Slot) -> Check {
        for (client, (request, lsn)) in &state.requests {
            let carriers = self.items[..self.durable_count]
                .iter()
                .filter(|item| item.rec.slot == slot && item.rec.request == Some(*request));
            let is_durable = carriers.into_iter().any(|item| item.rec.lsn == *lsn);
            let must_be =
                is_durable && Some(*lsn) <= seen.commit_point && *lsn >= state.request_floor.1;
            let found = seen.requests.get(client).map(|(found, at)| (*at, found.number));
            if must_be && found < Some((*lsn, request.number)) {
                return Err(format!("{slot:?}: client {client} had {request:?}, has {found:?}"));
            }
        }
        Ok(())
    }

    fn take_over(&mut self, seen: &BTreeMap<SlotId, Seen>, traces: &[Trace]) {
        let (mut traces, mut known) = (traces.iter(), Vec::new());
        self.items.retain_mut(|item| {
            let (Some(trace), Some(slot)) = (traces.next(), seen.get(&item.rec.slot)) else {
                return false;
            };
            item.is_published = Some(item.rec.lsn) <= slot.commit_point;
            if let Some(request) = item.rec.request.filter(|_| item.is_published) {
                known.push((item.rec.slot, request, item.rec.lsn));
            }
            // What is not hidden by a newer one, and not there, is gone.
            let newest = slot.published.get(&item.rec.key);
            let is_hidden = *trace == Trace::Open
                && !item.is_limbo
                && newest.is_some_and(|newest| newest.lsn > item.rec.lsn);
            let is_kept = *trace == Trace::Seen || item.is_published && is_hidden;
            (item.is_limbo, item.is_loose) = (false, false);
            is_kept
        });
        for (slot, request, lsn) in known {
            self.slot(slot).ever_known.push((request, lsn));
        }
        for at in 0..self.items.len() {
            let rec = self.items[at].rec.clone();
            self.items[at].is_copy = self.items[..at].iter().any(|item| item.rec == rec);
        }
        self.durable_count = self.items.len();
        for (slot, seen) in seen {
            let state = self.slot(*slot);
            state.noted = seen.commit_point.unwrap_or_default();
            state.kept_min = state.noted;
            state.requests.clone_from(&seen.requests);
            state.ever_known.extend(seen.requests.values());
            state.request_floor.0 = state.request_floor.1.min(state.request_floor.0);
        }
    }
}

fn tell(rec: Option<&Rec>) -> String {
    rec.map_or("nothing".to_owned(), |rec| {
        let value = rec
            .value
            .as_ref()
            .map_or("tombstone".to_owned(), |value| format!("{} bytes", value.len()));
        format!("{:?} {} {} {value} {:?}", rec.slot, rec.key.escape_ascii(), rec.lsn, rec.request)
    })
}
