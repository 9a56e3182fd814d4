//! Runs random histories of one store on a simulated machine, beside the oracle.
//!
//! Each step is chosen by the seed: writes, syncs, merges, drops, backups, stops, power cuts, failing operations.
//! Whatever goes wrong on purpose, the rule is the same: an error is an error, and never a wrong answer.

use std::path::PathBuf;
use std::sync::Arc;

use bitcask::{
    Appended, Config, CrashMode, Disk, Error, Fault, FaultKind, Lsn, Request, SimWorld, SlotId,
    Store, SyncPolicy, Write, verify_on,
};
use fastrand::Rng;

use crate::look::{Trip, as_write, get, observe};
use crate::oracle::{FAR_FUTURE_MS, Oracle, Presence, Rec, State};

/// Where the store is.
pub(crate) const FOLDER: &str = "/store";

/// Slots a history uses, the first and the last possible among them.
const SLOTS: [u16; 3] = [0, 7, 4095];

/// What can be wrong, as a sentence.
pub(crate) type Check<T = ()> = Result<T, String>;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// Power cuts and failures, whenever the seed says.
    Any,
    /// This failure, once.
    Fault(Fault),
    /// A power cut at this operation.
    CrashAt(u64),
}

/// Records appended and not yet published.
struct Pending {
    appended: Appended,
    recs: Vec<Rec>,
}

pub(crate) struct Driver {
    pub(crate) world: SimWorld,
    pub(crate) rng: Rng,
    pub(crate) oracle: Oracle,
    pub(crate) store: Option<Store>,
    config: Config,
    trouble: Trouble,
    pending: Vec<Pending>,
    copies: Vec<(PathBuf, Oracle)>,
    epoch: u32,
    counter: u64,
    /// Failures are planned or have happened since the store was opened.
    is_faulty: bool,
    /// A sync failed: no more writes may be taken.
    is_sync_failed: bool,
    /// Something failed, and the store is to be opened again soon.
    is_broken: bool,
    is_small: bool,
    pub(crate) steps: Vec<String>,
}

impl Driver {
    pub(crate) fn new(seed: u64, trouble: Trouble) -> Self {
        let mut rng = Rng::with_seed(seed);
        let world = SimWorld::new(rng.u64(..));
        let config = Config {
            sync: SyncPolicy::Never,
            file_len_max: rng.u64(200..6_000),
            key_len_max: 64,
            value_len_max: 16_384,
            reserve_len: 0,
            has_background: false,
            ..Config::default()
        };
        Self {
            world,
            rng,
            oracle: Oracle::default(),
            store: None,
            config,
            trouble,
            pending: Vec::new(),
            copies: Vec::new(),
            epoch: 0,
            counter: 0,
            is_faulty: false,
            is_sync_failed: false,
            is_broken: false,
            is_small: false,
            steps: Vec::new(),
        }
    }

    /// Runs a whole history of `step_count` steps, then stops, opens again and checks a last time.
    pub(crate) fn run(&mut self, step_count: usize) -> Check {
        match self.trouble {
            Trouble::None | Trouble::Any => {}
            Trouble::Fault(fault) => {
                self.world.fail(fault);
                self.is_faulty = true;
            }
            Trouble::CrashAt(at) => {
                self.world.crash_at(at);
                self.is_faulty = true;
            }
        }
        self.open(false)?;
        for _ in 0..step_count {
            self.step()?;
            if self.is_broken && self.rng.u8(..3) == 0 {
                self.recover()?;
            }
        }
        self.recover()?;
        self.check_visible()?;
        self.close_and_open()?;
        self.check_copies()
    }

    fn say(&mut self, what: impl Into<String>) {
        self.steps.push(format!("{:>5} {}", self.world.op_count(), what.into()));
    }

    /// Lets an error pass if something was made to fail.
    fn excuse(&mut self, what: &str, error: &Error) -> Check {
        self.say(format!("{what}: {error}"));
        let is_expected = self.is_faulty || (self.is_small && is_lack_of_space(error));
        if !is_expected {
            return Err(format!("{what} failed for no reason: {error}"));
        }
        if !error.is_refusal() || matches!(error, Error::Poisoned { .. }) {
            self.is_broken = true;
        }
        Ok(())
    }

    fn step(&mut self) -> Check {
        match self.rng.u8(..100) {
            0..40 => self.append(),
            40..46 => self.sync(),
            46..53 => self.wait_durable(),
            53..59 => self.publish_pending(),
            59..67 => self.get_any(),
            67..71 => self.check_visible(),
            71..78 => self.merge(),
            78..80 => self.drop_slot(),
            80..84 => self.create_slot(),
            84..87 => self.set_floor(),
            87..89 => self.backup(),
            89..91 => self.close_and_open(),
            91..94 => self.kill(),
            _ => self.make_trouble(),
        }
    }

    // Opening and ending.

    fn open(&mut self, mut is_whole: bool) -> Check {
        self.pending.clear();
        self.is_broken = false;
        self.is_sync_failed = false;
        loop {
            let disk = Arc::new(self.world.folder(FOLDER));
            match Store::open_on(disk, self.config.clone()) {
                Ok((store, recovery)) => {
                    if !recovery.damage.is_empty() {
                        return Err(format!("damage after a power cut: {:?}", recovery.damage));
                    }
                    self.store = Some(store);
                    break;
                }
                Err(error) => {
                    self.excuse("open", &error)?;
                    self.end_trouble();
                    is_whole = false;
                }
            }
        }
        self.say("opened");
        let Some(store) = self.store.clone() else { return Ok(()) };
        self.oracle.settle_slots(|slot| store.has_slot(slot))?;
        let Some(observed) = self.observe()? else {
            // A read failed on purpose; without that, once more.
            self.end_trouble();
            return self.open(false);
        };
        let highest = observed.values().map(|rec| rec.lsn).max().unwrap_or_default();
        if store.highest_lsn() < highest {
            return Err(format!("highest lsn {} is below {highest}", store.highest_lsn()));
        }
        self.oracle.settle(observed, is_whole)?;
        self.epoch = self.epoch.max(store.highest_lsn().epoch()) + 1;
        Ok(())
    }

    /// Puts an end to planned failures, with a power cut if one was planned or has begun.
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

    /// Ends the process, by a power cut or by itself, and opens the store again.
    fn kill(&mut self) -> Check {
        let is_whole = !self.is_faulty;
        let mode = self.rng.choice(CrashMode::ALL).unwrap_or(CrashMode::Any);
        self.say(format!("kill {mode:?}"));
        self.world.heal();
        // The old store is let go after the crash: nothing it does then can matter.
        let old = self.store.take();
        self.world.crash(mode);
        drop(old);
        self.is_faulty = false;
        self.plan_trouble_while_opening();
        self.open(is_whole && mode == CrashMode::Kept && !self.is_faulty)?;
        self.check_copies()
    }

    /// Opens a broken store again.
    fn recover(&mut self) -> Check {
        if !self.is_faulty {
            return Ok(());
        }
        if self.rng.bool() && !self.is_crash_planned() {
            // The process is started anew on a disk that works again.
            self.say("restart");
            self.world.heal();
            self.store = None;
            self.pending.clear();
            self.is_faulty = false;
            return self.open(false);
        }
        self.kill()
    }

    fn is_crash_planned(&self) -> bool {
        matches!(self.trouble, Trouble::CrashAt(_) | Trouble::Any)
    }

    fn close_and_open(&mut self) -> Check {
        let Some(store) = self.store.take() else { return Ok(()) };
        self.pending.clear();
        let closed = store.close();
        drop(store);
        match closed {
            Ok(()) => {
                self.say("close");
                self.oracle.acknowledge_all();
                self.verify()?;
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

    /// Checks a cleanly closed store as an operator would.
    fn verify(&mut self) -> Check {
        if self.is_faulty {
            return Ok(());
        }
        let disk: Arc<dyn Disk> = Arc::new(self.world.folder(FOLDER));
        let report = verify_on(&disk, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        let is_sound =
            report.is_clean() && report.torn_len == 0 && report.unusable_hints.is_empty();
        if is_sound { Ok(()) } else { Err(format!("verify: {report:?}")) }
    }

    // Trouble.

    fn make_trouble(&mut self) -> Check {
        if self.trouble != Trouble::Any {
            return Ok(());
        }
        if self.is_small {
            self.say("room again");
            self.world.set_capacity(None);
            self.is_small = false;
            return Ok(());
        }
        match self.rng.u8(..8) {
            0 => {
                let capacity = self.rng.u64(..20_000);
                self.say(format!("capacity {capacity}"));
                self.world.set_capacity(Some(capacity));
                self.is_small = true;
            }
            1..4 => self.plan_fault(60),
            _ => self.plan_crash(60),
        }
        Ok(())
    }

    fn plan_trouble_while_opening(&mut self) {
        if self.trouble == Trouble::Any {
            match self.rng.u8(..6) {
                0 => self.plan_crash(60),
                1 => self.plan_fault(60),
                _ => {}
            }
        }
    }

    fn plan_crash(&mut self, within: u64) {
        let at = self.world.op_count() + self.rng.u64(1..within);
        self.say(format!("power off at {at}"));
        self.world.crash_at(at);
        self.is_faulty = true;
    }

    fn plan_fault(&mut self, within: u64) {
        let at = self.world.op_count() + self.rng.u64(1..within);
        let kind = if self.rng.bool() { FaultKind::Eio } else { FaultKind::Enospc };
        let fault = if self.rng.bool() { Fault::once(at, kind) } else { Fault::lasting(at, kind) };
        self.say(format!("{fault:?}"));
        self.world.fail(fault);
        self.is_faulty = true;
    }

    // Writes.

    fn append(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let count = if self.rng.u8(..3) == 0 { self.rng.usize(1..5) } else { 1 };
        let recs: Vec<Rec> = (0..count).filter_map(|_| self.make_rec()).collect();
        if recs.is_empty() {
            return self.create_slot();
        }
        let writes: Vec<Write<'_>> = recs.iter().map(as_write).collect();
        let lsns: Vec<String> = recs.iter().map(|rec| rec.lsn.to_string()).collect();
        match store.append(&writes) {
            Ok(appended) => {
                if self.is_sync_failed {
                    return Err("a write was taken after a failed sync".to_owned());
                }
                self.say(format!("append {lsns:?}"));
                self.oracle.append(&recs, false);
                let pending = Pending { appended, recs };
                if self.rng.u8(..7) == 0 {
                    self.pending.push(pending);
                } else {
                    self.publish(&store, pending);
                }
            }
            Err(error) => {
                if !error.is_refusal() {
                    self.oracle.append(&recs, true);
                }
                self.excuse(&format!("append {lsns:?}"), &error)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, store: &Store, pending: Pending) {
        store.publish(pending.appended);
        self.oracle.publish(&pending.recs);
    }

    fn publish_pending(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        if !self.pending.is_empty() {
            let at = self.rng.usize(..self.pending.len());
            let pending = self.pending.swap_remove(at);
            self.say(format!("publish {:?}", pending.recs.first().map(|rec| rec.lsn)));
            self.publish(&store, pending);
        }
        Ok(())
    }

    /// Returns a record for one of the slots there are.
    fn make_rec(&mut self) -> Option<Rec> {
        let slots = self.oracle.present_slots();
        let slot = self.rng.choice(slots)?;
        let key = self.make_key();
        let lsn = self.make_lsn(slot);
        let value = (self.rng.u8(..4) > 0).then(|| self.make_value(lsn));
        let expires_at_ms = match self.rng.u8(..10) {
            0 if value.is_some() => Some(self.rng.u64(1..1_000_000)),
            1 if value.is_some() => Some(FAR_FUTURE_MS + self.rng.u64(..1_000)),
            _ => None,
        };
        let request = (self.rng.u8(..4) == 0).then(|| Request {
            client: self.rng.u64(..),
            number: self.rng.u64(..),
            outcome: self.rng.u8(..),
        });
        Some(Rec { slot, key, lsn, value, expires_at_ms, request })
    }

    fn make_key(&mut self) -> Vec<u8> {
        let number = self.rng.u8(..8);
        match number {
            0 => vec![0],
            7 => vec![b'k'; 64],
            _ => format!("key{number}").into_bytes(),
        }
    }

    /// Returns the next lsn, or now and then one that comes late: above the slot's floor, below the newest.
    fn make_lsn(&mut self, slot: SlotId) -> Lsn {
        self.counter += 1;
        if self.rng.u8(..10) == 0 {
            // Late lsns lie between the others, each used once.
            let late = Lsn::new(self.epoch, self.counter.saturating_sub(self.rng.u64(1..20)) << 20);
            let late = Lsn(late.0 + self.counter);
            if late > self.oracle.floor(slot) {
                return late;
            }
        }
        Lsn::new(self.epoch, self.counter << 20)
    }

    fn make_value(&mut self, lsn: Lsn) -> Vec<u8> {
        let len = match self.rng.u8(..12) {
            0 => 0,
            1 => self.rng.usize(3_000..9_000),
            2 | 3 => self.rng.usize(200..700),
            _ => self.rng.usize(12..60),
        };
        let mut value = lsn.to_string().into_bytes();
        while value.len() < len {
            value.push(self.rng.u8(..));
        }
        value.truncate(len);
        value
    }

    // Durability.

    fn sync(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match store.sync() {
            Ok(_) => self.note_durable("sync"),
            Err(error) => self.note_sync_failed("sync", &error),
        }
    }

    fn wait_durable(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let Some(pending) = self.pending.first() else { return self.sync() };
        let (position, last) = (pending.appended.position(), pending.recs.last().cloned());
        match store.wait_durable(position) {
            Ok(()) => {
                if store.durable() < position {
                    return Err("a wait ended before its position was durable".to_owned());
                }
                if let Some(last) = last {
                    self.say(format!("durable up to {}", last.lsn));
                    self.oracle.acknowledge(&last);
                }
                Ok(())
            }
            Err(error) => self.note_sync_failed("wait", &error),
        }
    }

    fn note_durable(&mut self, what: &str) -> Check {
        if self.is_sync_failed && self.oracle.last_appended().is_some() {
            return Err("a sync after a failed one said yes".to_owned());
        }
        self.say(what);
        self.oracle.acknowledge_all();
        Ok(())
    }

    fn note_sync_failed(&mut self, what: &str, error: &Error) -> Check {
        self.is_sync_failed = true;
        self.excuse(what, error)
    }

    // Reads.

    /// Returns everything the store shows; `None` when a read failed on purpose.
    fn observe(&mut self) -> Check<Option<State>> {
        let Some(store) = self.store.clone() else { return Ok(None) };
        match observe(&store, &self.oracle) {
            Ok(state) => Ok(Some(state)),
            Err(Trip::Wrong(text)) => Err(text),
            Err(Trip::Error(error)) => self.excuse("read", &error).map(|()| None),
        }
    }

    fn check_visible(&mut self) -> Check {
        match self.observe()? {
            Some(observed) => self.oracle.check_visible(&observed),
            None => Ok(()),
        }
    }

    fn get_any(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let Some(slot) = self.rng.choice(self.oracle.present_slots()) else { return Ok(()) };
        let key = self.make_key();
        let wanted = self.oracle.visible.get(&(slot, key.clone())).cloned();
        let wanted = wanted.filter(|rec| !rec.is_hidden());
        match get(&store, slot, &key) {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => Err(format!("get found {found:?}, wanted {wanted:?}")),
            Err(error) => self.excuse("get", &error),
        }
    }

    // Slots, merges, copies.

    fn drop_slot(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let Some(slot) = self.rng.choice(self.oracle.present_slots()) else { return Ok(()) };
        match store.drop_slot(slot) {
            Ok(()) => {
                self.say(format!("drop {slot:?}"));
                self.oracle.set_presence(slot, Presence::Absent);
                // Records of this life stay dead, published late or not.
                for pending in &mut self.pending {
                    pending.recs.retain(|rec| rec.slot != slot);
                }
            }
            Err(error) => {
                if !error.is_refusal() {
                    self.oracle.set_presence(slot, Presence::Unknown);
                }
                self.excuse("drop", &error)?;
            }
        }
        Ok(())
    }

    fn create_slot(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let slots: Vec<SlotId> = SLOTS.iter().filter_map(|index| SlotId::new(*index)).collect();
        let absent =
            slots.into_iter().filter(|&slot| self.oracle.presence(slot) == Presence::Absent);
        let slots: Vec<SlotId> = absent.collect();
        if slots.is_empty() {
            return Ok(());
        }
        let result = store.create_slots(&slots);
        let presence = match &result {
            Ok(()) => Presence::Present,
            Err(error) if error.is_refusal() => Presence::Absent,
            Err(_) => Presence::Unknown,
        };
        for slot in &slots {
            self.oracle.set_presence(*slot, presence);
        }
        match result {
            Ok(()) => self.say(format!("create {slots:?}")),
            Err(error) => self.excuse("create", &error)?,
        }
        Ok(())
    }

    fn set_floor(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let Some(slot) = self.rng.choice(self.oracle.present_slots()) else { return Ok(()) };
        let unpublished = self.pending.iter().flat_map(|pending| &pending.recs);
        let ceiling = unpublished.map(|rec| rec.lsn).min().unwrap_or(Lsn(u64::MAX));
        let visible = self.oracle.visible.values().filter(|rec| rec.slot == slot);
        let lsns: Vec<Lsn> = visible.map(|rec| rec.lsn).filter(|lsn| *lsn < ceiling).collect();
        let Some(floor) = self.rng.choice(lsns) else { return Ok(()) };
        self.oracle.raise_floor(slot, floor);
        match store.set_tombstone_floors(&[(slot, floor)]) {
            Ok(()) => self.say(format!("floor {slot:?} {floor}")),
            Err(error) => self.excuse("floor", &error)?,
        }
        Ok(())
    }

    fn merge(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        if self.rng.bool() {
            return self.maintain(&store);
        }
        match store.merge() {
            Ok(report) => self.say(format!("merge {report:?}")),
            Err(error) => self.excuse("merge", &error)?,
        }
        self.check_visible()
    }

    /// Lets the store write its hint files, and merge until there is nothing to gain.
    fn maintain(&mut self, store: &Store) -> Check {
        match store.maintain() {
            Ok(()) => self.say("maintain"),
            Err(error) => self.excuse("maintain", &error)?,
        }
        self.check_visible()?;
        if self.is_faulty || self.is_small {
            return Ok(());
        }
        // What the keydir points to and what the files count as live are the same bytes.
        let stats = store.stats();
        let headers_len = 32 * stats.file_count as u64;
        let live_len = stats.disk_len - headers_len - stats.dead_len;
        match live_len == stats.live_len + stats.pending_len + stats.request_len {
            true => Ok(()),
            false => Err(format!("the files count {live_len} live bytes: {stats:?}")),
        }
    }

    fn backup(&mut self) -> Check {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let to = PathBuf::from(format!("/copy{}", self.steps.len()));
        match store.backup(&to) {
            Ok(_) => {
                self.say(format!("backup {}", to.display()));
                let mut oracle = self.oracle.clone();
                oracle.acknowledge_all();
                self.copies.push((to, oracle));
            }
            Err(error) => self.excuse("backup", &error)?,
        }
        if self.rng.bool() && !self.is_faulty { self.check_copies() } else { Ok(()) }
    }

    /// Opens each copy made, while the store itself is open, and lets it go for good.
    fn check_copies(&mut self) -> Check {
        if self.is_faulty || self.is_small {
            return Ok(());
        }
        for (path, mut oracle) in std::mem::take(&mut self.copies) {
            self.say(format!("check {}", path.display()));
            let disk = Arc::new(self.world.folder(&path));
            let (store, _) = Store::open_on(disk, self.config.clone())
                .map_err(|error| format!("the copy {}: {error}", path.display()))?;
            oracle.settle_slots(|slot| store.has_slot(slot))?;
            let observed = observe(&store, &oracle).map_err(Trip::text)?;
            oracle.check_prefix(&observed, true)?;
            store.close().map_err(|error| format!("closing a copy: {error}"))?;
        }
        self.check_visible()
    }
}

fn is_lack_of_space(error: &Error) -> bool {
    match error {
        Error::Full { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    }
}
