//! Runs random histories of a store of copied slots, beside the ledger.
//!
//! As `driver.rs` does for a server that stands alone; here records wait as pending, are published one by one, up to an lsn
//! or at once, in any order, sent twice, read while they wait; commit points are noted, kept and lost; clients' requests are
//! asked for. Whatever goes wrong on purpose, the rule is the same: an error is an error, and never a wrong answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcask::{
    Appended, Config, CrashMode, Error, Fault, FaultKind, Lsn, Request, SimWorld, SlotId, Store,
    SyncPolicy, Write,
};
use fastrand::Rng;

use crate::driver::{FOLDER, Trouble};
use crate::ledger::{Check, Ledger, Rec, Seen, look};
use crate::oracle::Presence;

const SLOTS: [u16; 3] = [0, 7, 4095];
/// Clients of a history: few, so that most requests are a client's second or third.
const CLIENT_COUNT: u64 = 4;

pub(crate) struct Replica {
    pub(crate) world: SimWorld,
    rng: Rng,
    ledger: Ledger,
    store: Option<Store>,
    config: Config,
    trouble: Trouble,
    /// Appended, and neither published nor kept as pending.
    loose: Vec<(Appended, Vec<Rec>)>,
    counter: u64,
    is_faulty: bool,
    is_broken: bool,
    is_small: bool,
    pub(crate) steps: Vec<String>,
}

impl Replica {
    pub(crate) fn new(seed: u64, trouble: Trouble) -> Self {
        let mut rng = Rng::with_seed(seed);
        let world = SimWorld::new(rng.u64(..));
        let config = Config {
            sync: SyncPolicy::Never,
            file_len_max: rng.u64(200..4_000),
            key_len_max: 64,
            value_len_max: 16_384,
            reserve_len: 0,
            has_background: false,
            ..Config::default()
        };
        Self {
            world,
            rng,
            ledger: Ledger::default(),
            store: None,
            config,
            trouble,
            loose: Vec::new(),
            counter: 0,
            is_faulty: false,
            is_broken: false,
            is_small: false,
            steps: Vec::new(),
        }
    }

    /// Runs a whole history of `step_count` steps, then stops, opens again and checks a last time.
    pub(crate) fn run(&mut self, step_count: usize) -> Check {
        match self.trouble {
            Trouble::None | Trouble::Any => {}
            Trouble::Fault(fault) => self.world.fail(fault),
            Trouble::CrashAt(at) => self.world.crash_at(at),
        }
        self.is_faulty = matches!(self.trouble, Trouble::Fault(_) | Trouble::CrashAt(_));
        self.open(false)?;
        for _ in 0..step_count {
            self.step()?;
            if self.is_broken && self.rng.u8(..3) == 0 {
                self.kill()?;
            }
        }
        if self.is_faulty {
            self.kill()?;
        }
        self.check()?;
        self.close_and_open()
    }

    fn say(&mut self, what: impl Into<String>) {
        self.steps.push(format!("{:>5} {}", self.world.op_count(), what.into()));
    }

    /// Lets an error pass if something was made to fail.
    fn excuse(&mut self, what: &str, error: &Error) -> Check {
        self.say(format!("{what}: {error}"));
        let is_lack = match error {
            Error::Full { .. } => true,
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        };
        if !(self.is_faulty || self.is_small && is_lack) {
            return Err(format!("{what} failed for no reason: {error}"));
        }
        self.is_broken |= !error.is_refusal() || matches!(error, Error::Poisoned { .. });
        Ok(())
    }

    fn step(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match self.rng.u8(..100) {
            0..32 => self.append(&store),
            32..44 => self.publish_one(&store),
            44..51 => self.publish_up_to(&store),
            51..57 => self.settle_loose(&store),
            57..66 => self.note_commit_points(&store),
            66..70 => self.keep_commit_points(&store),
            70..73 => self.sync(&store),
            73..77 => self.check(),
            77..84 => self.merge(&store),
            84..85 => self.drop_slot(&store),
            85..88 => self.create_slots(&store),
            88..91 => self.set_floors(&store),
            91..95 => {
                drop(store);
                if self.rng.bool() { self.close_and_open() } else { self.kill() }
            }
            _ => self.make_trouble(),
        }
    }

    // Opening and ending.

    fn open(&mut self, mut is_whole: bool) -> Check {
        self.loose.clear();
        self.is_broken = false;
        loop {
            match Store::open_on(Arc::new(self.world.folder(FOLDER)), self.config.clone()) {
                Ok((store, recovery)) if recovery.damage.is_empty() => {
                    self.ledger.settle_slots(|slot| store.has_slot(slot))?;
                    self.store = Some(store);
                    if let Some(seen) = self.look()? {
                        return self.opened(&seen, is_whole);
                    }
                }
                Ok((_, recovery)) => return Err(format!("damage: {:?}", recovery.damage)),
                Err(error) => self.excuse("open", &error)?,
            }
            // A planned failure hit the opening, or the look at it: once more without.
            self.end_trouble();
            is_whole = false;
        }
    }

    fn opened(&mut self, seen: &BTreeMap<SlotId, Seen>, is_whole: bool) -> Check {
        self.say("opened");
        self.ledger.settle(seen, is_whole)
    }

    /// Looks at all slots; `None` when a read failed on purpose.
    fn look(&mut self) -> Check<Option<BTreeMap<SlotId, Seen>>> {
        let Some(store) = self.store.clone() else { return Ok(None) };
        let mut seen = BTreeMap::new();
        for slot in self.ledger.present_slots() {
            match look(&store, slot) {
                Ok(found) => seen.insert(slot, found?),
                Err(error) => return self.excuse("look", &error).map(|()| None),
            };
        }
        Ok(Some(seen))
    }

    fn end_trouble(&mut self) {
        self.store = None;
        self.world.heal();
        let mode = self.rng.choice(CrashMode::ALL).unwrap_or(CrashMode::Any);
        self.say(format!("crash {mode:?}"));
        self.world.crash(mode);
        self.is_faulty = false;
        self.world.set_capacity(None);
        self.is_small = false;
    }

    fn kill(&mut self) -> Check {
        let is_whole = !self.is_faulty;
        let mode = self.rng.choice(CrashMode::ALL).unwrap_or(CrashMode::Any);
        self.say(format!("kill {mode:?}"));
        self.world.heal();
        let old = self.store.take();
        self.loose.clear();
        self.world.crash(mode);
        drop(old);
        self.is_faulty = false;
        if self.trouble == Trouble::Any && self.rng.u8(..3) == 0 {
            self.plan_trouble();
        }
        self.open(is_whole && mode == CrashMode::Kept && !self.is_faulty)
    }

    fn close_and_open(&mut self) -> Check {
        let Some(store) = self.store.take() else { return Ok(()) };
        self.loose.clear();
        let closed = store.close();
        drop(store);
        match closed {
            Ok(()) => {
                self.say("close");
                self.ledger.acknowledge_all();
                self.ledger.keep_commit_points();
                if self.is_faulty {
                    self.end_trouble();
                } else if self.rng.bool() {
                    self.world.crash(CrashMode::Lost);
                }
                self.open(true)
            }
            Err(error) => {
                self.excuse("close", &error)?;
                self.end_trouble();
                self.open(false)
            }
        }
    }

    // Trouble.

    fn make_trouble(&mut self) -> Check {
        if self.trouble != Trouble::Any {
            return Ok(());
        }
        if self.is_small {
            self.world.set_capacity(None);
            self.is_small = false;
        } else if self.rng.u8(..8) == 0 {
            let capacity = self.rng.u64(..20_000);
            self.say(format!("capacity {capacity}"));
            self.world.set_capacity(Some(capacity));
            self.is_small = true;
        } else {
            self.plan_trouble();
        }
        Ok(())
    }

    fn plan_trouble(&mut self) {
        let at = self.world.op_count() + self.rng.u64(1..60);
        self.is_faulty = true;
        if self.rng.bool() {
            self.say(format!("power off at {at}"));
            return self.world.crash_at(at);
        }
        let kind = if self.rng.bool() { FaultKind::Eio } else { FaultKind::Enospc };
        let fault = if self.rng.bool() { Fault::once(at, kind) } else { Fault::lasting(at, kind) };
        self.say(format!("{fault:?}"));
        self.world.fail(fault);
    }

    // Records.

    fn append(&mut self, store: &Store) -> Check {
        let count = self.rng.usize(1..5);
        let recs: Vec<Rec> = (0..count).filter_map(|_| self.make_rec()).collect();
        if recs.is_empty() {
            return self.create_slots(store);
        }
        let writes: Vec<Write<'_>> = recs.iter().map(Rec::as_write).collect();
        let lsns: Vec<String> =
            recs.iter().map(|rec| format!("{:?} {}", rec.slot, rec.lsn)).collect();
        match store.append(&writes) {
            Ok(appended) => {
                self.say(format!("append {lsns:?}"));
                // What is pending already is kept once more, and no more than that.
                let is_again = recs.iter().any(|rec| self.ledger.pending(rec.slot).contains(rec));
                self.ledger.append(&recs, false);
                match self.rng.u8(..8) {
                    _ if is_again => self.keep(store, appended, &recs),
                    0 => self.loose.push((appended, recs)),
                    1 => self.publish(store, appended, &recs),
                    _ => self.keep(store, appended, &recs),
                }
            }
            Err(error) => {
                if !error.is_refusal() {
                    self.ledger.append(&recs, true);
                }
                self.excuse(&format!("append {lsns:?}"), &error)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, store: &Store, appended: Appended, recs: &[Rec]) {
        store.publish(appended);
        recs.iter().for_each(|rec| self.ledger.publish(rec));
    }

    fn keep(&mut self, store: &Store, appended: Appended, recs: &[Rec]) {
        store.keep_pending(appended);
        self.ledger.keep(recs);
    }

    /// Publishes or keeps what was left lying about.
    fn settle_loose(&mut self, store: &Store) -> Check {
        if let Some((appended, mut recs)) = self.loose.pop() {
            recs.retain(|rec| self.ledger.presence(rec.slot) == Presence::Present);
            match self.rng.bool() {
                true => self.publish(store, appended, &recs),
                false => self.keep(store, appended, &recs),
            }
        }
        Ok(())
    }

    /// Returns a record for one of the slots there are: a new one, or one that is pending once more.
    fn make_rec(&mut self) -> Option<Rec> {
        let slot = self.rng.choice(self.ledger.present_slots())?;
        if self.rng.u8(..10) == 0
            && let Some(rec) = self.rng.choice(self.ledger.pending(slot))
        {
            return Some(rec);
        }
        let lsn = self.make_lsn(slot);
        let request = (self.rng.u8(..3) == 0).then(|| Request {
            client: self.rng.u64(..CLIENT_COUNT),
            number: self.rng.u64(..self.counter + 5),
            outcome: self.rng.u8(..),
        });
        if request.is_some() && self.rng.u8(..5) == 0 {
            return Some(Rec { slot, lsn, key: Vec::new(), value: None, request });
        }
        let key = format!("key{}", self.rng.u8(..6)).into_bytes();
        let len =
            if self.rng.u8(..8) == 0 { self.rng.usize(500..3_000) } else { self.rng.usize(..60) };
        let value = (self.rng.u8(..4) > 0).then(|| {
            let mut value = lsn.to_string().into_bytes();
            value.resize(value.len() + len, self.rng.u8(..));
            value
        });
        Some(Rec { slot, lsn, key, value, request })
    }

    /// Returns the next lsn, or now and then one that comes late, above the slot's commit point and floor. Each is
    /// used once.
    fn make_lsn(&mut self, slot: SlotId) -> Lsn {
        self.counter += 1;
        if self.rng.u8(..6) == 0 {
            let late = Lsn((self.counter.saturating_sub(self.rng.u64(1..20)) << 20) + self.counter);
            if late > self.ledger.noted(slot) && late > self.ledger.floor(slot) {
                return late;
            }
        }
        Lsn(self.counter << 20)
    }

    fn publish_one(&mut self, store: &Store) -> Check {
        let Some(slot) = self.rng.choice(self.ledger.present_slots()) else { return Ok(()) };
        let Some(rec) = self.rng.choice(self.ledger.pending(slot)) else { return Ok(()) };
        self.say(format!("publish {slot:?} {}", rec.lsn));
        if !store.publish_pending(slot, rec.lsn, &rec.key) {
            return Err("it was not pending".to_owned());
        }
        self.ledger.publish(&rec);
        Ok(())
    }

    fn publish_up_to(&mut self, store: &Store) -> Check {
        let Some(slot) = self.rng.choice(self.ledger.present_slots()) else { return Ok(()) };
        let Some(upto) = self.rng.choice(self.ledger.lsns(slot)) else { return Ok(()) };
        let recs: Vec<Rec> =
            self.ledger.pending(slot).into_iter().filter(|rec| rec.lsn <= upto).collect();
        self.say(format!("publish {slot:?} up to {upto}"));
        let count = store.publish_up_to(slot, upto);
        if count != recs.len() {
            return Err(format!("{count} were published, wanted {recs:?}"));
        }
        recs.iter().for_each(|rec| self.ledger.publish(rec));
        Ok(())
    }

    fn sync(&mut self, store: &Store) -> Check {
        match store.sync() {
            Ok(_) => {
                self.say("sync");
                self.ledger.acknowledge_all();
                Ok(())
            }
            Err(error) => self.excuse("sync", &error),
        }
    }

    // Commit points.

    fn note_commit_points(&mut self, store: &Store) -> Check {
        let mut points = Vec::new();
        for slot in self.ledger.present_slots() {
            // What is in the log and in no table is not spoken of.
            let loose = self.loose.iter().flat_map(|(_, recs)| recs);
            let ceiling = loose.map(|rec| rec.lsn).min().unwrap_or(Lsn(u64::MAX));
            let mut lsns = self.ledger.lsns(slot);
            lsns.retain(|lsn| *lsn < ceiling);
            points.extend(self.rng.choice(lsns).map(|lsn| (slot, lsn)));
        }
        self.say(format!("commit points {points:?}"));
        store.set_commit_points(&points);
        points.iter().for_each(|(slot, lsn)| self.ledger.note_commit_point(*slot, *lsn));
        Ok(())
    }

    fn keep_commit_points(&mut self, store: &Store) -> Check {
        match store.persist_commit_points() {
            Ok(()) => {
                self.say("keep commit points");
                self.ledger.keep_commit_points();
                Ok(())
            }
            Err(error) => self.excuse("keep commit points", &error),
        }
    }

    // Checks, merges, slots.

    fn check(&mut self) -> Check {
        let Some(seen) = self.look()? else { return Ok(()) };
        seen.iter().try_for_each(|(slot, seen)| self.ledger.check(*slot, seen))
    }

    fn merge(&mut self, store: &Store) -> Check {
        if self.rng.bool() {
            match store.maintain() {
                Ok(()) => {
                    self.say("maintain");
                    self.ledger.keep_commit_points();
                    self.check_live_len(store)?;
                }
                Err(error) => self.excuse("maintain", &error)?,
            }
        } else {
            match store.merge() {
                Ok(report) => self.say(format!("merge {report:?}")),
                Err(error) => self.excuse("merge", &error)?,
            }
        }
        self.check()
    }

    /// What the tables point to and what the files count as live are the same bytes.
    fn check_live_len(&self, store: &Store) -> Check {
        if self.is_faulty || self.is_small {
            return Ok(());
        }
        let stats = store.stats();
        let live_len = stats.disk_len - 32 * stats.file_count as u64 - stats.dead_len;
        match live_len == stats.live_len + stats.pending_len + stats.request_len {
            true => Ok(()),
            false => Err(format!("the files count {live_len} live bytes: {stats:?}")),
        }
    }

    fn drop_slot(&mut self, store: &Store) -> Check {
        let Some(slot) = self.rng.choice(self.ledger.present_slots()) else { return Ok(()) };
        match store.drop_slot(slot) {
            Ok(()) => {
                self.say(format!("drop {slot:?}"));
                self.ledger.set_presence(slot, Presence::Absent);
                self.loose.iter_mut().for_each(|(_, recs)| recs.retain(|rec| rec.slot != slot));
            }
            Err(error) => {
                if !error.is_refusal() {
                    self.ledger.set_presence(slot, Presence::Unknown);
                }
                self.excuse("drop", &error)?;
            }
        }
        Ok(())
    }

    fn create_slots(&mut self, store: &Store) -> Check {
        let slots = SLOTS.iter().filter_map(|index| SlotId::new(*index));
        let slots: Vec<SlotId> =
            slots.filter(|slot| self.ledger.presence(*slot) == Presence::Absent).collect();
        let result = store.create_copies(&slots);
        let presence = match &result {
            Ok(()) => Presence::Present,
            Err(error) if error.is_refusal() => return self.excuse("create", error),
            Err(_) => Presence::Unknown,
        };
        slots.iter().for_each(|slot| self.ledger.set_presence(*slot, presence));
        match result {
            Ok(()) => self.say(format!("create {slots:?}")),
            Err(error) => self.excuse("create", &error)?,
        }
        Ok(())
    }

    /// Raises a floor, of tombstones or of requests, no higher than what is still to be published.
    fn set_floors(&mut self, store: &Store) -> Check {
        let Some(slot) = self.rng.choice(self.ledger.present_slots()) else { return Ok(()) };
        let loose = self.loose.iter().flat_map(|(_, recs)| recs).map(|rec| rec.lsn);
        let pending = self.ledger.pending(slot).into_iter().map(|rec| rec.lsn);
        let ceiling = loose.chain(pending).min().unwrap_or(Lsn(u64::MAX));
        let mut lsns = self.ledger.lsns(slot);
        lsns.retain(|lsn| *lsn <= ceiling);
        let Some(floor) = self.rng.choice(lsns) else { return Ok(()) };
        if self.rng.bool() {
            self.ledger.raise_floor(slot, floor);
            match store.set_tombstone_floors(&[(slot, floor)]) {
                Ok(()) => self.say(format!("tombstone floor {slot:?} {floor}")),
                Err(error) => self.excuse("tombstone floor", &error)?,
            }
            return Ok(());
        }
        let result = store.set_request_floors(&[(slot, floor)]);
        let is_certain = result.is_ok();
        if !result.as_ref().is_err_and(Error::is_refusal) {
            self.ledger.raise_request_floor(slot, floor, is_certain);
        }
        match result {
            Ok(()) => self.say(format!("request floor {slot:?} {floor}")),
            Err(error) => self.excuse("request floor", &error)?,
        }
        Ok(())
    }
}
