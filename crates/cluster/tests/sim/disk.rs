//! A model of the storage engine's contract, strict about its use and as unkind as the contract allows.
//!
//! ```text
//! held:    every record in the files, by lsn and key position 0: found at the start, durable
//! pending: those not published                      newest: the published record of each key
//! commit:  as told ▲ kept: surely on disk           what a crash leaves lies between them, and never ahead of the sync
//! ```
//!
//! A *kill* of the process leaves all that was appended (the page cache survives); a *power* loss cuts a random
//! piece off what was not really synced. Records that a newer, durable one of their key replaced may be
//! merged away at any moment, tombstones below the floor too, so that a wrong floor or a commit point that runs ahead shows.
//! The last record of a client's request is never merged away.
//!
//! A record may be *damaged*: memory knows of it, and it cannot be read (R4). A value past its end is a tombstone from the next
//! merge on that comes a while later.
//!
//! Left out: damage that is found when the store is opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster::{
    Bytes, Entry, Lsn, Page, PendingInfo, Position, Record, Refused, RequestEntry, SlotId, Storage,
};
use fastrand::Rng;

/// How a server's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; what it wrote stays in the page cache.
    Kill,
    /// The machine loses power; what was not synced is lost from some point on.
    Power,
}

/// What a step of the machine did to its storage.
#[derive(Debug, Default)]
pub struct Step {
    /// What it appended.
    pub appends: Vec<(SlotId, Record)>,
    /// What it published.
    pub publishes: Vec<(SlotId, Record)>,
    /// Slots it changed, as bits.
    pub touched: u64,
}

/// What host and checks need of a server's storage, besides what its machine does.
pub trait Disk: Storage + std::fmt::Debug {
    /// Sets what the clock on the wall shows, in milliseconds.
    fn set_clock(&mut self, now_ms: u64);
    /// Damages a record of a slot that is durable, if it can; returns its key.
    fn damage(&mut self, slot: SlotId) -> Option<Bytes>;
    /// Returns whether a record of the slot is damaged.
    fn is_damaged(&self, slot: SlotId) -> bool;
    /// Sets whether puts are refused.
    fn set_full(&mut self, full: bool);
    /// A sync fails: the disk takes nothing any more.
    fn fail(&mut self);
    /// Returns whether a write or sync failed.
    fn is_failed(&self) -> bool;
    /// Everything before `position` reaches the platter.
    fn synced(&mut self, position: Position);
    /// Everything before `position` is told durable.
    fn tell(&mut self, position: Position);
    /// Returns whether the slot is here.
    fn has(&self, slot: SlotId) -> bool;
    /// Returns whether it holds the record or a newer one of its key, durable as far as was told if `is_durable`.
    fn holds(&self, slot: SlotId, record: &Record, is_durable: bool) -> bool;
    /// Returns the lsn of the key's newest record, pending or not.
    fn newest_of(&self, slot: SlotId, key: &[u8]) -> Option<Lsn>;
    /// Returns the records in `(above, upto]` that are held, or were in this life.
    fn records(&self, slot: SlotId, above: Lsn, upto: Lsn) -> Vec<&Record>;
    /// Returns the published records of a slot by key, tombstones too.
    fn published(&self, slot: SlotId) -> Vec<Record>;
    /// Merges what is worth it.
    fn merge(&mut self);
    /// Loses what the crash takes and recovers what is left; positions begin anew.
    fn crash(&mut self, crash: Crash);
    /// Returns what the present step did; the checks empty it.
    fn step(&mut self) -> &mut Step;
}

/// What can be asked of a record here.
pub trait Ends {
    /// Returns whether it is no value, or no more.
    fn is_over(&self, now_ms: u64) -> bool;
}

impl Ends for Record {
    fn is_over(&self, now_ms: u64) -> bool {
        self.value.is_none() || self.expires_at_ms.is_some_and(|end_ms| end_ms <= now_ms)
    }
}

/// A record in the files.
#[derive(Debug)]
struct Held {
    position: u64,
    record: Record,
}

/// What names a record in its slot: beside one with a key there may be one of the same lsn that only carries its request.
type Name = (Lsn, Bytes);

/// Returns what names a record.
fn name(record: &Record) -> Name {
    (record.lsn, record.key.clone())
}

/// Returns the least name of an lsn.
fn first(lsn: Lsn) -> Name {
    thread_local! {
        static EMPTY: Bytes = Bytes::from([]);
    }
    (lsn, EMPTY.with(Bytes::clone))
}

/// One slot's files and memory.
#[derive(Debug, Default)]
struct Slot {
    held: BTreeMap<Name, Held>,
    pending: BTreeSet<Name>,
    newest: BTreeMap<Bytes, Lsn>,
    requests: BTreeMap<u64, RequestEntry>,
    commit: Lsn,
    kept: Lsn,
    /// Commit points not surely kept yet, each with the position that must be synced first.
    later: VecDeque<(Lsn, u64)>,
    /// Those that are kept for certain once their position is synced.
    forced: VecDeque<(Lsn, u64)>,
    floor: Lsn,
    request_floor: Lsn,
    /// Records that cannot be read.
    damaged: BTreeSet<Name>,
}

/// The storage of one server.
#[derive(Debug)]
pub struct SimStorage {
    slots: Vec<Option<Box<Slot>>>,
    rng: Rng,
    appended: u64,
    /// Really on the platter.
    synced: u64,
    /// Told durable under the policy.
    told: u64,
    full: bool,
    failed: bool,
    now_ms: u64,
    step: Step,
}

/// How long after its end a value becomes a tombstone at the earliest, in milliseconds.
const ENDED_GRACE_MS: u64 = 500;

/// Slots that the bits of `touched` can name.
const SLOT_COUNT_MAX: u16 = 64;

impl SimStorage {
    /// Returns an empty storage for slots below `slot_count`.
    pub fn new(slot_count: u16, rng: Rng) -> Self {
        assert!(slot_count <= SLOT_COUNT_MAX);
        Self {
            slots: (0..slot_count).map(|_| None).collect(),
            rng,
            appended: 0,
            synced: 0,
            told: 0,
            full: false,
            failed: false,
            now_ms: 0,
            step: Step::default(),
        }
    }

    fn get(&self, slot: SlotId) -> Option<&Slot> {
        self.slots.get(usize::from(slot.index())).and_then(Option::as_deref)
    }

    fn at(&self, slot: SlotId) -> &Slot {
        self.get(slot).expect("the slot was not created")
    }

    fn at_mut(&mut self, slot: SlotId) -> &mut Slot {
        self.step.touched |= 1 << slot.index();
        self.slots[usize::from(slot.index())].as_deref_mut().expect("the slot was not created")
    }

    fn holds_request(&self, s: &Slot, record: &Record, good: impl Fn(&Held) -> bool) -> bool {
        let client = record.request.map(|r| r.client);
        let of_client = |h: &Held| h.record.request.map(|r| r.client) == client;
        s.held.range(first(record.lsn)..).any(|(_, h)| of_client(h) && good(h))
    }
}

impl Disk for SimStorage {
    fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn damage(&mut self, slot: SlotId) -> Option<Bytes> {
        let synced = self.synced;
        let s = self.slots.get_mut(usize::from(slot.index()))?.as_deref_mut()?;
        let is_fit = |(name, held): &(&Name, &Held)| {
            held.position <= synced && !name.1.is_empty() && s.newest.get(&name.1) == Some(&name.0)
        };
        let fit: Vec<Name> = s.held.iter().filter(is_fit).map(|(name, _)| name.clone()).collect();
        let name = self.rng.choice(fit)?;
        s.damaged.insert(name.clone());
        Some(name.1)
    }

    fn is_damaged(&self, slot: SlotId) -> bool {
        self.get(slot).is_some_and(|s| !s.damaged.is_empty())
    }

    fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    fn fail(&mut self) {
        self.failed = true;
    }

    fn is_failed(&self) -> bool {
        self.failed
    }

    fn synced(&mut self, position: Position) {
        self.synced = self.synced.max(position.0);
    }

    fn tell(&mut self, position: Position) {
        self.told = self.told.max(position.0);
    }

    fn has(&self, slot: SlotId) -> bool {
        self.get(slot).is_some()
    }

    fn holds(&self, slot: SlotId, record: &Record, is_durable: bool) -> bool {
        let Some(s) = self.get(slot) else { return false };
        let good = |held: &Held| !is_durable || held.position <= self.told;
        if s.held.get(&name(record)).is_some_and(good) {
            return true;
        }
        if record.is_request_only() {
            return self.holds_request(s, record, good);
        }
        if let Some(newest) = s.newest.get(&record.key) {
            let held = &s.held[&(*newest, record.key.clone())];
            if held.record.lsn > record.lsn && good(held) {
                return true;
            }
        }
        s.held.range(first(record.lsn)..).any(|((_, key), h)| *key == record.key && good(h))
    }

    fn newest_of(&self, slot: SlotId, key: &[u8]) -> Option<Lsn> {
        let held = &self.get(slot)?.held;
        held.keys().rev().find(|(_, k)| **k == *key).map(|(lsn, _)| *lsn)
    }

    fn records(&self, slot: SlotId, above: Lsn, upto: Lsn) -> Vec<&Record> {
        let [from, to] = [above, upto].map(|lsn| first(Lsn(lsn.0.saturating_add(1))));
        let range = self.get(slot).filter(|_| above < upto).map(|s| s.held.range(from..to));
        range.into_iter().flatten().map(|(_, held)| &held.record).collect()
    }

    fn published(&self, slot: SlotId) -> Vec<Record> {
        let Some(s) = self.get(slot) else { return Vec::new() };
        let names = s.newest.iter();
        names.map(|(key, lsn)| s.held[&(*lsn, key.clone())].record.clone()).collect()
    }

    /// Drops tombstones below the floor, some of them.
    fn merge(&mut self) {
        let rng = &mut self.rng;
        for s in self.slots.iter_mut().flatten() {
            s.bury_ended(self.now_ms);
            s.drop_tombstones(rng, self.synced);
        }
    }

    fn crash(&mut self, crash: Crash) {
        let cut = match crash {
            Crash::Kill => self.appended,
            Crash::Power if self.rng.bool() => self.synced,
            Crash::Power => self.rng.u64(self.synced..=self.appended),
        };
        for s in self.slots.iter_mut().flatten() {
            s.recover(&mut self.rng, self.synced, cut);
        }
        (self.appended, self.synced, self.told) = (0, 0, 0);
        self.failed = false;
        self.step = Step::default();
    }

    fn step(&mut self) -> &mut Step {
        &mut self.step
    }
}

impl Slot {
    /// Whether merges must keep the record for its request id.
    fn is_needed_for_request(&self, record: &Record) -> bool {
        let entry = record.request.and_then(|r| self.requests.get(&r.client));
        entry.is_some_and(|entry| entry.lsn == record.lsn)
    }

    /// Returns the published record of a key.
    fn newest(&self, key: &Bytes) -> Option<&Held> {
        let lsn = self.newest.get(key)?;
        self.held.get(&(*lsn, key.clone()))
    }

    fn publish(&mut self, name: &Name, rng: &mut Rng, synced: u64) {
        self.pending.remove(name);
        let (lsn, key) = name;
        let held = &self.held[name];
        if let Some(request) = held.record.request.filter(|_| *lsn >= self.request_floor) {
            let entry = RequestEntry { request, lsn: *lsn };
            let known = self.requests.entry(request.client).or_insert(entry);
            if known.lsn < *lsn {
                *known = entry;
            }
        }
        if key.is_empty() {
            return;
        }
        let newest = self.newest.entry(key.clone()).or_insert(*lsn);
        let old = (*newest).min(*lsn);
        *newest = (*newest).max(*lsn);
        let is_synced = self.newest(key).is_some_and(|held| held.position <= synced);
        if old != self.newest[key] && is_synced && rng.bool() {
            self.merge_away(&(old, key.clone()));
        }
    }

    fn merge_away(&mut self, name: &Name) {
        let is_needed = self.held.get(name).is_some_and(|h| self.is_needed_for_request(&h.record));
        if !is_needed && !self.pending.contains(name) {
            self.held.remove(name);
            self.damaged.remove(name);
        }
    }

    /// Makes tombstones of values that have ended.
    fn bury_ended(&mut self, now_ms: u64) {
        for (key, lsn) in &self.newest {
            let Some(held) = self.held.get_mut(&(*lsn, key.clone())) else { continue };
            let end_ms = held.record.expires_at_ms;
            if end_ms.is_some_and(|end_ms| end_ms + ENDED_GRACE_MS <= now_ms) {
                (held.record.value, held.record.expires_at_ms) = (None, None);
            }
        }
    }

    fn drop_tombstones(&mut self, rng: &mut Rng, synced: u64) {
        if self.floor == Lsn(0) {
            return;
        }
        let is_old = |key: &&Bytes| {
            let held = self.newest(key).unwrap();
            let floor = self.floor.min(self.kept);
            held.record.lsn < floor && held.record.value.is_none() && held.position <= synced
        };
        let old: Vec<Bytes> = self.newest.keys().filter(is_old).cloned().collect();
        for key in old {
            if rng.u8(0..4) > 0 {
                self.drop_tombstone(&key);
            }
        }
    }

    /// Drops a tombstone with all that it hides.
    fn drop_tombstone(&mut self, key: &Bytes) {
        let Some(upto) = self.newest.remove(key) else { return };
        let range = self.held.range(..=(upto, key.clone()));
        let is_hidden = |name: &&Name| name.1 == *key && !self.pending.contains(*name);
        let below: Vec<Name> = range.map(|(name, _)| name).filter(is_hidden).cloned().collect();
        for name in below {
            let Held { position, mut record } = self.held.remove(&name).unwrap();
            self.damaged.remove(&name);
            if self.is_needed_for_request(&record) {
                // The engine keeps the request without the key.
                record.key = first(record.lsn).1;
                record.value = None;
                self.held.insert(first(record.lsn), Held { position, record });
            }
        }
    }

    /// Returns the commit point that the crash leaves.
    fn commit_left(&self, rng: &mut Rng, synced: u64) -> Lsn {
        let count = self.later.iter().take_while(|(_, position)| *position <= synced).count();
        let left = match rng.u8(0..3) {
            0 => count,
            _ => rng.usize(0..=count),
        };
        let left = left.checked_sub(1).map_or(self.kept, |index| self.later[index].0);
        let forced = self.forced.iter().take_while(|(_, position)| *position <= synced).last();
        forced.map_or(left, |(lsn, _)| left.max(*lsn))
    }

    fn recover(&mut self, rng: &mut Rng, synced: u64, cut: u64) {
        self.drop_tombstones(rng, synced);
        // Merges: what a durable, published, newer record of the key replaced may be gone.
        let is_replaced = |(name, _): &(&Name, &Held)| {
            let newest = self.newest(&name.1);
            !self.pending.contains(*name)
                && newest.is_some_and(|n| n.record.lsn > name.0 && n.position <= synced)
        };
        let replaced = self.held.iter().filter(is_replaced);
        let replaced: Vec<Name> = replaced.map(|(name, _)| name.clone()).collect();
        for name in replaced {
            if rng.bool() {
                self.merge_away(&name);
            }
        }
        self.kept = self.commit_left(rng, synced);
        self.commit = self.kept;
        self.later.clear();
        self.forced.clear();
        self.held.retain(|_, held| held.position <= cut);
        self.held.values_mut().for_each(|held| held.position = 0);
        self.newest.clear();
        self.requests.clear();
        self.pending = self.held.keys().cloned().collect();
        let published = self.held.range(..first(Lsn(self.kept.0 + 1)));
        let published: Vec<Name> = published.map(|(name, _)| name.clone()).collect();
        for name in published {
            self.publish(&name, rng, 0);
        }
    }
}

impl Storage for SimStorage {
    fn slots(&self) -> Vec<SlotId> {
        let ids = (0..).map_while(SlotId::new).zip(&self.slots);
        ids.filter(|(_, slot)| slot.is_some()).map(|(id, _)| id).collect()
    }

    fn create(&mut self, slots: &[SlotId]) {
        for slot in slots {
            self.step.touched |= 1 << slot.index();
            self.slots[usize::from(slot.index())].get_or_insert_default();
        }
    }

    fn drop_slots(&mut self, slots: &[SlotId]) {
        for slot in slots {
            self.step.touched |= 1 << slot.index();
            self.slots[usize::from(slot.index())] = None;
            self.step.appends.retain(|(of, _)| of != slot);
            self.step.publishes.retain(|(of, _)| of != slot);
        }
    }

    fn is_empty(&self, slot: SlotId) -> bool {
        self.get(slot).is_none_or(|s| s.held.is_empty())
    }

    /// Always nothing, so that rings are cut by slots, and a seed tells the same story whatever its records weigh.
    fn slot_len(&self, _slot: SlotId) -> u64 {
        0
    }

    fn commit_point(&self, slot: SlotId) -> Lsn {
        self.get(slot).map_or(Lsn(0), |s| s.commit)
    }

    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn) {
        let (appended, synced, is_kept) = (self.appended, self.synced, self.rng.u8(..) < 16);
        let s = self.at_mut(slot);
        assert!(
            commit >= s.commit,
            "slot {} commit point falls: {} to {commit}",
            slot.index(),
            s.commit
        );
        if commit == s.commit {
            return;
        }
        s.commit = commit;
        s.later.push_back((commit, appended));
        while is_kept && s.later.front().is_some_and(|(_, position)| *position <= synced) {
            s.kept = s.later.pop_front().unwrap().0;
        }
    }

    fn keep_commit_point(&mut self, slot: SlotId) {
        self.appended += 1;
        let position = self.appended;
        let s = self.at_mut(slot);
        s.forced.push_back((s.commit, position));
    }

    fn tombstone_floor(&self, slot: SlotId) -> Lsn {
        self.get(slot).map_or(Lsn(0), |s| s.floor)
    }

    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        for (slot, floor) in floors {
            let s = self.at_mut(*slot);
            let first = s.pending.first().map(|(lsn, _)| *lsn);
            assert!(
                first.is_none_or(|lsn| lsn >= *floor),
                "slot {} floor {floor} is above the pending {first:?}",
                slot.index()
            );
            s.floor = s.floor.max(*floor);
        }
    }

    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        for (slot, floor) in floors {
            let s = self.at_mut(*slot);
            s.request_floor = s.request_floor.max(*floor);
            let floor = s.request_floor;
            s.requests.retain(|_, entry| entry.lsn >= floor);
        }
    }

    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused> {
        assert!(record.lsn.counter() > 0, "slot {} a record without a number", slot.index());
        let name = name(record);
        if self.failed {
            return Err(Refused::Failed);
        }
        if self.full && record.value.is_some() {
            return Err(Refused::Full);
        }
        let is_here = self.at(slot).held.contains_key(&name);
        assert!(!is_here, "slot {} appends {} twice", slot.index(), record.lsn);
        self.appended += 1;
        let position = self.appended;
        let s = self.at_mut(slot);
        s.pending.insert(name.clone());
        s.held.insert(name, Held { position, record: record.clone() });
        self.step.appends.push((slot, record.clone()));
        Ok(Position(position))
    }

    fn appended(&self) -> Position {
        Position(self.appended)
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]) {
        let synced = self.synced;
        let mut rng = self.rng.clone();
        let s = self.at_mut(slot);
        let name = (lsn, Bytes::from(key));
        if !s.pending.contains(&name) {
            let is_known =
                s.newest.get(key).is_some_and(|n| *n >= lsn) || s.held.contains_key(&name);
            assert!(is_known || key.is_empty(), "slot {} publishes {lsn}, not here", slot.index());
            return;
        }
        s.publish(&name, &mut rng, synced);
        let record = s.held.get(&name).map(|held| held.record.clone());
        self.rng = rng;
        self.step.publishes.extend(record.map(|record| (slot, record)));
    }

    fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        let Some(s) = self.get(slot) else { return Vec::new() };
        let info = |name: &Name| {
            let record = &s.held[name].record;
            PendingInfo {
                lsn: record.lsn,
                key: record.key.clone(),
                is_live: record.value.is_some(),
                request: record.request,
                record_len: record.byte_len(),
            }
        };
        s.pending.iter().map(info).collect()
    }

    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record> {
        let s = self.get(slot)?;
        let name = (lsn, Bytes::from(key));
        let is_there = s.pending.contains(&name) && !s.damaged.contains(&name);
        is_there.then(|| s.held[&name].record.clone())
    }

    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry> {
        let s = self.get(slot)?;
        let held = &s.held[&(*s.newest.get(key)?, Bytes::from(key))];
        Some(Entry { lsn: held.record.lsn, is_live: !held.record.is_over(self.now_ms) })
    }

    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record> {
        let s = self.get(slot)?;
        let name = (*s.newest.get(key)?, Bytes::from(key));
        (!s.damaged.contains(&name)).then(|| s.held[&name].record.clone())
    }

    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page {
        let Some(s) = self.get(slot) else { return Page::default() };
        let names = s.newest.iter().filter(|(_, lsn)| **lsn > above);
        let mut names: Vec<Name> = names.map(|(key, lsn)| (*lsn, key.clone())).collect();
        names.sort_unstable();
        let mut page = Page::default();
        let (mut len, mut last) = (0, None);
        for name in names {
            if len >= len_max.max(1) {
                page.next = last;
                break;
            }
            last = Some(name.0);
            let record = &s.held[&name].record;
            len += record.byte_len();
            match s.damaged.contains(&name) {
                true => page.has_unreadable = true,
                false => page.records.push(record.clone()),
            }
        }
        page
    }

    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry> {
        self.get(slot)?.requests.get(&client).copied()
    }

    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry> {
        let Some(s) = self.get(slot) else { return Vec::new() };
        let mut found: Vec<_> = s.requests.values().copied().filter(|r| r.lsn > above).collect();
        found.sort_unstable_by_key(|entry| entry.lsn);
        found
    }
}
