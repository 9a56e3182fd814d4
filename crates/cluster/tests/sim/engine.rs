//! The engine itself as the storage of a server: `bitcask` on its simulated disk, behind the machines' contract.
//!
//! ```text
//! machine ──Storage──▶ EngineStorage ──▶ bitcask::Store ──▶ SimDisk: a kill keeps all, a power cut any part of what is unsynced
//!                          │
//!                          └─ ledger: what was appended in this life or found at its start, with positions
//! ```
//!
//! The simulated sync's end syncs the store. Commit points are kept at random moments, or with the log where they must be; merges,
//! hint files and rotations of very small files come all the time. A process often dies in the middle of such work,
//! at any operation of the disk. A failed sync is a real EIO, which poisons the store.
//!
//! What a server may rely on is checked here as well, at every publish, read and restart: bytes come back as they went in;
//! what was durable is here after a crash, or something newer of its key, and so is a commit point that had to be kept.
//!
//! Left out: running out of space at the disk, since a file of this size is full long before the engine looks at the free space:
//! puts are refused here, as the model does. Expiry of values, whose clock is not the simulator's: clients ask for none. Damaged
//! records, which the engine's own tests have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bitcask::{
    Config, CrashMode, Error, Fault, FaultKind, MergeConfig, Op, SimWorld, Store, SyncPolicy, Write,
};
use cluster::{
    Bytes, Entry, Lsn, Page, PendingInfo, Position, Record, Refused, RequestEntry, SlotId, Storage,
};
use fastrand::Rng;

use crate::disk::{Crash, Disk, Step};

/// A record of the ledger: before which position it was appended; 0: found at the start.
#[derive(Debug)]
struct Noted {
    position: u64,
    record: Record,
}

/// What names a record in its slot.
type Name = (Lsn, Bytes);

/// The storage of one server.
#[derive(Debug)]
pub struct EngineStorage {
    world: SimWorld,
    /// `None` between two lives only.
    store: Option<Store>,
    rng: Rng,
    slot_count: u16,
    ledger: BTreeMap<SlotId, BTreeMap<Name, Noted>>,
    /// Commit points that are kept once their position is told durable.
    forced: VecDeque<(SlotId, Lsn, u64)>,
    /// Told durable under the policy.
    told: u64,
    full: bool,
    failed: bool,
    step: Step,
}

/// Returns the engine's number of a slot.
fn id(slot: SlotId) -> bitcask::SlotId {
    bitcask::SlotId::new(slot.index()).expect("both have 4,096 slots")
}

/// Returns a record of the engine as the machines have it.
fn record(from: bitcask::Record) -> Record {
    let bitcask::Record { key, lsn, value, expires_at_ms, request } = from;
    Record { lsn, key: key.into(), value: value.map(Into::into), expires_at_ms, request }
}

/// Returns a record as the engine takes it.
fn write(slot: SlotId, record: &Record) -> Write<'_> {
    let op = match &record.value {
        Some(value) => Op::Put(value),
        None if record.is_request_only() => Op::Request,
        None => Op::Delete,
    };
    let Record { lsn, ref key, expires_at_ms, request, .. } = *record;
    Write { slot: id(slot), lsn, key, op, expires_at_ms, request }
}

/// Small files, so that rotations and merges are met.
fn config(rng: &mut Rng) -> Config {
    Config {
        sync: SyncPolicy::Always,
        file_len_max: rng.u64(600..6_000),
        cache_len: [0, 64 << 20][rng.usize(0..2)],
        reserve_len: 0,
        merge: MergeConfig { dead_percent: rng.u8(1..40), small_file_count: 3, rate: u64::MAX },
        has_background: false,
        ..Config::default()
    }
}

impl EngineStorage {
    /// Returns an empty storage for slots below `slot_count`.
    pub fn new(slot_count: u16, mut rng: Rng) -> Self {
        let mut new = Self {
            world: SimWorld::new(rng.u64(..)),
            store: None,
            rng,
            slot_count,
            ledger: BTreeMap::new(),
            forced: VecDeque::new(),
            told: 0,
            full: false,
            failed: false,
            step: Step::default(),
        };
        new.open();
        new
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store between two lives")
    }

    /// Opens the store in a new life and takes what it has into the ledger.
    fn open(&mut self) {
        // The store draws its id from the thread's generator.
        fastrand::seed(self.rng.u64(..));
        let disk = Arc::new(self.world.folder("/store"));
        let opened = Store::open_on(disk, config(&mut self.rng));
        let (store, recovery) = opened.unwrap_or_else(|error| panic!("the store: {error}"));
        assert!(recovery.damage.is_empty(), "a crash damaged {:?}", recovery.damage);
        self.store = Some(store);
        self.ledger.clear();
        for slot in self.slots() {
            let pending = self.pending(slot);
            let pending = pending.iter().filter_map(|p| self.read_pending(slot, p.lsn, &p.key));
            let found: Vec<_> = pending.chain(self.published(slot)).collect();
            let named = found
                .into_iter()
                .map(|record| ((record.lsn, record.key.clone()), Noted { position: 0, record }));
            self.ledger.insert(slot, named.collect());
        }
    }

    /// Unless the disk has failed, what the engine refuses is wrong.
    fn demand<T>(&self, what: &str, done: Result<T, Error>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(_) if self.failed => None,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    fn noted(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<&Noted> {
        self.ledger.get(&slot)?.get(&(lsn, Bytes::from(key)))
    }

    /// Returns whether the record of this name was appended before what was told durable.
    fn is_told(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> bool {
        self.noted(slot, lsn, key).is_none_or(|noted| noted.position <= self.told)
    }

    /// Checks that a record is the one that was written under its name.
    fn check_bytes(&self, slot: SlotId, found: &Record) {
        let noted = self.noted(slot, found.lsn, &found.key).map(|noted| &noted.record);
        assert!(
            noted.is_none_or(|noted| noted == found),
            "slot {}: the engine has {found:?}, written was {noted:?}",
            slot.index()
        );
    }

    /// Returns the names of what was appended before `upto` and is of use, each with whether it is a tombstone.
    fn names(&self, upto: u64) -> Vec<(SlotId, Name, bool)> {
        let mut names = Vec::new();
        for (slot, ledger) in &self.ledger {
            let pending: BTreeSet<_> =
                self.pending(*slot).into_iter().map(|info| (info.lsn, info.key)).collect();
            for (name, noted) in ledger.iter().filter(|(name, _)| !name.1.is_empty()) {
                let is_here = pending.contains(name)
                    || self.newest(*slot, &name.1).is_some_and(|entry| entry.lsn == name.0);
                if is_here && noted.position <= upto {
                    names.push((*slot, name.clone(), noted.record.value.is_none()));
                }
            }
        }
        names
    }

    /// Checks what a new life found against what the last one was promised: names, and commit points kept before `synced`.
    fn check_survived(&self, names: &[(SlotId, Name, bool)], synced: u64) {
        for (slot, (lsn, key), is_tombstone) in names {
            let is_free = *is_tombstone && *lsn < self.tombstone_floor(*slot);
            assert!(
                is_free || self.newest_of(*slot, key) >= Some(*lsn),
                "slot {}: a crash lost {lsn}",
                slot.index()
            );
        }
        let kept = self.forced.iter().filter(|(_, _, at)| *at <= synced);
        for (slot, lsn, _) in kept {
            let found = self.commit_point(*slot);
            assert!(found >= *lsn, "slot {}: commit point {found}, kept {lsn}", slot.index());
        }
    }

    /// Does something that takes several operations of the disk.
    fn work(&mut self) -> Result<(), Error> {
        match self.rng.u8(0..4) {
            0 => self.store().maintain(),
            1 => self.store().persist_commit_points(),
            _ => self.store().merge().map(drop),
        }
    }

    fn touch(&mut self, slot: SlotId) {
        assert!(slot.index() < self.slot_count);
        self.step.touched |= 1 << slot.index();
    }
}

impl Disk for EngineStorage {
    fn set_clock(&mut self, _: u64) {}

    fn damage(&mut self, _: SlotId) -> Option<Bytes> {
        None
    }

    fn is_damaged(&self, _: SlotId) -> bool {
        false
    }

    fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    fn fail(&mut self) {
        self.failed = true;
        if self.store().durable() < self.store().appended() {
            // The next operation is the sync's, unless all there is to do is a commit point that was kept since.
            let at = self.world.op_count() + 1;
            self.world.fail(Fault::lasting(at, FaultKind::Eio));
            let is_told = self.store().sync().is_err();
            assert_eq!(is_told, self.world.op_count() >= at, "a failed sync must be noticed");
            if !is_told {
                self.world.heal();
            }
        }
    }

    fn is_failed(&self) -> bool {
        self.failed
    }

    fn synced(&mut self, position: Position) {
        let upto = self.store().sync();
        let upto = self.demand("sync", upto);
        assert!(upto.is_none_or(|upto| upto.0 >= position.0), "{upto:?} synced, not {position:?}");
    }

    fn tell(&mut self, position: Position) {
        self.told = self.told.max(position.0);
    }

    fn has(&self, slot: SlotId) -> bool {
        self.store().has_slot(id(slot))
    }

    fn holds(&self, slot: SlotId, record: &Record, is_durable: bool) -> bool {
        let good = |lsn, key: &[u8]| !is_durable || self.is_told(slot, lsn, key);
        if let Some(entry) = self.newest(slot, &record.key)
            && entry.lsn >= record.lsn
            && good(entry.lsn, &record.key)
        {
            return true;
        }
        let client = record.request.map(|request| request.client);
        if record.is_request_only()
            && let Some(entry) = client.and_then(|client| self.request(slot, client))
            && entry.lsn >= record.lsn
        {
            return true;
        }
        self.pending(slot).iter().any(|info| {
            let is_same = match record.is_request_only() {
                true => info.request.map(|request| request.client) == client,
                false => info.key == record.key,
            };
            is_same && info.lsn >= record.lsn && good(info.lsn, &info.key)
        })
    }

    fn newest_of(&self, slot: SlotId, key: &[u8]) -> Option<Lsn> {
        let published = self.newest(slot, key).map(|entry| entry.lsn);
        let pending = self.store().pending(id(slot));
        pending.iter().filter(|info| info.key == key).map(|info| info.lsn).max().max(published)
    }

    fn records(&self, slot: SlotId, above: Lsn, upto: Lsn) -> Vec<&Record> {
        let ledger = self.ledger.get(&slot).into_iter().flatten();
        let records = ledger.map(|(_, noted)| &noted.record);
        records.filter(|record| above < record.lsn && record.lsn <= upto).collect()
    }

    fn published(&self, slot: SlotId) -> Vec<Record> {
        let Ok(walk) = self.store().records(id(slot), Lsn(0)) else { return Vec::new() };
        let walked = walk.map(|found| record(found.expect("no record is damaged")));
        let mut all: Vec<_> = walked.collect();
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        all
    }

    fn merge(&mut self) {
        if !self.failed {
            let done = self.work();
            self.demand("maintain", done);
        }
    }

    fn crash(&mut self, crash: Crash) {
        let synced = self.store().durable().0;
        let names = self.names(if crash == Crash::Kill { u64::MAX } else { synced });
        if !self.failed && self.rng.bool() {
            // It dies at work.
            self.world.crash_at(self.world.op_count() + self.rng.u64(1..30));
            drop(self.work());
        }
        let mode = match crash {
            Crash::Kill => CrashMode::Kept,
            Crash::Power if self.rng.u8(0..4) == 0 => CrashMode::Lost,
            Crash::Power => CrashMode::Any,
        };
        self.world.crash(mode);
        self.world.heal();
        self.store = None;
        self.failed = false;
        self.open();
        self.check_survived(&names, synced);
        self.forced.clear();
        self.told = 0;
        self.step = Step::default();
    }

    fn step(&mut self) -> &mut Step {
        &mut self.step
    }
}

impl Storage for EngineStorage {
    fn slots(&self) -> Vec<SlotId> {
        let all = (0..self.slot_count).map(|index| SlotId::new(index).expect("a slot"));
        all.filter(|slot| self.has(*slot)).collect()
    }

    fn create(&mut self, slots: &[SlotId]) {
        slots.iter().for_each(|slot| self.touch(*slot));
        let ids: Vec<_> = slots.iter().copied().map(id).collect();
        let created = self.store().create_copies(&ids);
        self.demand("create", created);
    }

    fn drop_slots(&mut self, slots: &[SlotId]) {
        for slot in slots {
            self.touch(*slot);
            let step = &mut self.step;
            step.appends.retain(|(of, _)| of != slot);
            step.publishes.retain(|(of, _)| of != slot);
            self.ledger.remove(slot);
            self.forced.retain(|(of, ..)| of != slot);
        }
        let here: Vec<_> = slots.iter().filter(|slot| self.has(**slot)).copied().map(id).collect();
        let dropped = self.store().drop_slots(&here);
        self.demand("drop", dropped);
    }

    fn is_empty(&self, slot: SlotId) -> bool {
        self.store().slot_stats(id(slot)).is_none_or(|stats| {
            let keys = stats.key_count + stats.tombstone_count;
            keys + stats.pending_count + stats.request_count == 0
        })
    }

    /// Always nothing, so that rings are cut by slots, and a seed tells the same story whatever its records weigh.
    fn slot_len(&self, _slot: SlotId) -> u64 {
        0
    }

    fn commit_point(&self, slot: SlotId) -> Lsn {
        self.store().commit_point(id(slot)).unwrap_or_default()
    }

    fn set_commit_point(&mut self, slot: SlotId, commit: Lsn) {
        self.touch(slot);
        let before = self.commit_point(slot);
        assert!(commit >= before, "slot {} commit point falls: {before} to {commit}", slot.index());
        self.store().set_commit_points(&[(id(slot), commit)]);
        if !self.failed && self.rng.u8(..) < 16 {
            let kept = self.store().persist_commit_points();
            self.demand("keep commit points", kept);
        }
    }

    fn keep_commit_point(&mut self, slot: SlotId) {
        let at = self.store().keep_commit_point(id(slot));
        self.forced.push_back((slot, self.commit_point(slot), at.0));
    }

    fn tombstone_floor(&self, slot: SlotId) -> Lsn {
        self.store().slot_stats(id(slot)).map(|stats| stats.tombstone_floor).unwrap_or_default()
    }

    fn raise_tombstone_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        for (slot, floor) in floors {
            self.touch(*slot);
            let first = self.store().pending(id(*slot)).first().map(|info| info.lsn);
            assert!(
                first.is_none_or(|lsn| lsn >= *floor),
                "slot {} floor {floor} is above the pending {first:?}",
                slot.index()
            );
        }
        let floors: Vec<_> = floors.iter().map(|(slot, floor)| (id(*slot), *floor)).collect();
        let raised = self.store().set_tombstone_floors(&floors);
        self.demand("raise floors", raised);
    }

    fn raise_request_floors(&mut self, floors: &[(SlotId, Lsn)]) {
        let floors: Vec<_> = floors.iter().map(|(slot, floor)| (id(*slot), *floor)).collect();
        let raised = self.store().set_request_floors(&floors);
        self.demand("raise request floors", raised);
    }

    fn append(&mut self, slot: SlotId, record: &Record) -> Result<Position, Refused> {
        assert!(record.lsn.counter() > 0, "slot {} a record without a number", slot.index());
        if self.failed {
            return Err(Refused::Failed);
        }
        if self.full && record.value.is_some() {
            return Err(Refused::Full);
        }
        let is_known = self.store().pending_info(id(slot), record.lsn, &record.key).is_some()
            || self.newest(slot, &record.key).is_some_and(|entry| entry.lsn == record.lsn);
        assert!(!is_known, "slot {} appends {} twice", slot.index(), record.lsn);
        let appended = self.store().append_pending(&[write(slot, record)]);
        let position = appended.unwrap_or_else(|error| panic!("append: {error}")).0;
        self.touch(slot);
        let noted = Noted { position, record: record.clone() };
        self.ledger.entry(slot).or_default().insert((record.lsn, record.key.clone()), noted);
        self.step.appends.push((slot, record.clone()));
        Ok(Position(position))
    }

    fn appended(&self) -> Position {
        Position(self.store().appended().0)
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn publish(&mut self, slot: SlotId, lsn: Lsn, key: &[u8]) {
        self.touch(slot);
        let Some(record) = self.read_pending(slot, lsn, key) else {
            let is_known = self.newest(slot, key).is_some_and(|newest| newest.lsn >= lsn)
                || self.noted(slot, lsn, key).is_some();
            assert!(is_known || key.is_empty(), "slot {} publishes {lsn}, not here", slot.index());
            return;
        };
        assert!(self.store().publish_pending(id(slot), lsn, key), "it was pending");
        self.step.publishes.push((slot, record));
    }

    fn pending(&self, slot: SlotId) -> Vec<PendingInfo> {
        let info = |info: bitcask::PendingInfo| PendingInfo {
            lsn: info.lsn,
            key: info.key.into(),
            is_live: !info.is_tombstone && !info.is_request_only,
            request: info.request,
            record_len: info.record_len as usize,
        };
        self.store().pending(id(slot)).into_iter().map(info).collect()
    }

    fn read_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> Option<Record> {
        let found = match self.store().read_pending(id(slot), lsn, key) {
            Err(Error::NoSlot { .. }) => None,
            found => {
                record(found.unwrap_or_else(|error| panic!("a pending record: {error}"))?).into()
            }
        };
        found.inspect(|found| self.check_bytes(slot, found))
    }

    fn newest(&self, slot: SlotId, key: &[u8]) -> Option<Entry> {
        let entry = self.store().entry(id(slot), key)?;
        Some(Entry { lsn: entry.lsn, is_live: !entry.is_tombstone })
    }

    fn read(&self, slot: SlotId, key: &[u8]) -> Option<Record> {
        let found = match self.store().record(id(slot), key) {
            Err(Error::NoSlot { .. }) => None,
            found => record(found.unwrap_or_else(|error| panic!("a record: {error}"))?).into(),
        };
        found.inspect(|found| self.check_bytes(slot, found))
    }

    fn page(&self, slot: SlotId, above: Lsn, len_max: usize) -> Page {
        /// Few enough that the count ends pages too.
        const COUNT_MAX: usize = 50;
        match self.store().page(id(slot), above, COUNT_MAX, len_max) {
            Err(Error::NoSlot { .. }) => Page::default(),
            page => {
                let page = page.unwrap_or_else(|error| panic!("a page: {error}"));
                assert!(page.unreadable.is_empty(), "unreadable: {:?}", page.unreadable);
                let records = page.records.into_iter().map(record).collect();
                Page { records, next: page.next, has_unreadable: false }
            }
        }
    }

    fn request(&self, slot: SlotId, client: u64) -> Option<RequestEntry> {
        let (request, lsn) = self.store().request(id(slot), client)?;
        Some(RequestEntry { request, lsn })
    }

    fn requests(&self, slot: SlotId, above: Lsn) -> Vec<RequestEntry> {
        let all = self.store().requests(id(slot)).into_iter();
        let entries = all.map(|(request, lsn)| RequestEntry { request, lsn });
        let mut found: Vec<_> = entries.filter(|entry| entry.lsn > above).collect();
        found.sort_unstable_by_key(|entry| entry.lsn);
        found
    }
}
