//! What must be true at every step, and what the world knows of the truth to say so.
//!
//! | checked | when |
//! |---|---|
//! | a (slot, lsn) names one record over the whole run (R19) | a record is appended |
//! | a write is durable at all members of the primary's epoch when it is committed (R10) | a primary publishes |
//! | nothing is published that no primary committed (R2) | anybody publishes, or starts |
//! | the commit point's two promises | it moves, or a server starts |
//! | versions and epochs never fall; no map is ahead of the log (R9) | a map comes into force |
//! | a new primary was a member before (R17); versions have no gap | the coordinator logs |
//! | a read sees at least what was committed when its request arrived (R13, R14) | a read is answered |
//! | where a permit is, the machine would serve a read itself (R13, R14) | a machine was stepped |
//! | one primary at most can serve reads, and who can read knows the last commit | every so many steps |
//! | nobody can read in an older epoch while a newer one's primary takes writes without it (R21) | the same, and all the time in an ambush |
//!
//! A record counts as *committed* from the moment at which a server that is primary by its own map publishes it.

use std::collections::{BTreeMap, BTreeSet};

use cluster::coordinator::Entry;
use cluster::{Ask, Bytes, Epoch, Lsn, Peek, Record, Reply, Role, SlotId, Version};

use crate::client::{Client, slot_of};
use crate::disk::{Ends, Step};
use crate::node::{Host, State};
use crate::plan::Policy;
use crate::queue::MS;
use crate::words;
use crate::world::World;

/// What the world knows of one slot.
#[derive(Debug, Default)]
pub struct SlotTruth {
    named: BTreeMap<Lsn, Record>,
    committed: BTreeSet<Lsn>,
    by_key: BTreeMap<Bytes, BTreeSet<Lsn>>,
    last: Option<Lsn>,
    /// Whether its last complete copy is gone as the plan allows.
    pub is_excused: bool,
}

impl SlotTruth {
    /// Returns the newest committed lsn of a key.
    pub fn newest(&self, key: &[u8]) -> Option<Lsn> {
        self.by_key.get(key)?.last().copied()
    }

    fn newest_upto(&self, key: &[u8], upto: Lsn) -> Option<Lsn> {
        self.by_key.get(key)?.range(..=upto).next_back().copied()
    }
}

/// What was last seen of a server.
#[derive(Debug)]
pub struct Seen {
    version: Version,
    epochs: Vec<Epoch>,
    commits: Vec<Lsn>,
}

impl Seen {
    /// Returns what is seen of a server that has not begun.
    pub fn new(slot_count: u16) -> Self {
        let count = usize::from(slot_count);
        Self { version: Version(0), epochs: vec![Epoch(0); count], commits: vec![Lsn(0); count] }
    }
}

fn at(slot: SlotId) -> usize {
    usize::from(slot.index())
}

impl World {
    /// Records a violation; the first one ends the run.
    pub fn fail(&mut self, what: String) {
        if self.violation.is_none() {
            crate::tell!(self, "VIOLATION {what}");
            self.violation = Some(crate::report::Violation { at: self.now, what });
        }
    }

    /// Looks at what a server's step did to its disk.
    pub fn check_step(&mut self, node: usize) {
        let step = self.servers[node].disk.step();
        if step.touched == 0 {
            return;
        }
        let Step { mut appends, mut publishes, touched } = std::mem::take(step);
        for (slot, record) in &appends {
            self.check_append(node, *slot, record);
        }
        for (slot, record) in &publishes {
            self.check_publish(node, *slot, record);
        }
        let mut left = touched;
        while left != 0 {
            let slot = SlotId::new(left.trailing_zeros() as u16).unwrap();
            left &= left - 1;
            self.check_commit(node, slot);
        }
        for (slot, record) in &appends {
            if record.lsn <= self.servers[node].disk.commit_point(*slot) {
                self.check_own(node, *slot, record);
            }
        }
        appends.clear();
        publishes.clear();
        *self.servers[node].disk.step() = Step { appends, publishes, touched: 0 };
    }

    fn check_append(&mut self, node: usize, slot: SlotId, record: &Record) {
        let lsn = record.lsn;
        let truth = &mut self.truth[at(slot)];
        let known = truth.named.entry(lsn).or_insert_with(|| record.clone());
        // A record's request may also go about without the record.
        // A value past its end may have become a tombstone.
        let is_ended = record.value.is_none() && known.is_over(self.now / MS);
        let is_same = known == record
            || is_ended && (&known.key, known.request) == (&record.key, record.request)
            || (record.is_request_only() && known.request == record.request);
        if !is_same {
            let text = format!(
                "R19: s{} slot {} lsn {lsn} is {} and was {}",
                node + 1,
                slot.index(),
                words::record(record),
                words::record(known)
            );
            self.fail(text);
        }
    }

    fn check_publish(&mut self, node: usize, slot: SlotId, record: &Record) {
        let lsn = record.lsn;
        if self.truth[at(slot)].committed.contains(&lsn) {
            return;
        }
        let host = &self.servers[node];
        let Some(machine) = host.machine.as_ref() else { return };
        let members = machine.map().slot(slot).clone();
        if members.primary != Some((host.id, machine.incarnation())) {
            // What was overridden (R20) may pass unseen.
            let client = record.request.map_or(0, |request| request.client);
            let is_seen = host.disk.newest(slot, &record.key).is_some_and(|entry| entry.lsn == lsn)
                || host.disk.request(slot, client).is_some_and(|entry| entry.lsn == lsn);
            if !is_seen {
                return;
            }
            let text = format!(
                "R2: s{} slot {} publishes {}, which no primary committed",
                node + 1,
                slot.index(),
                words::record(record)
            );
            return self.fail(text);
        }
        if self.truth[at(slot)].newest(&record.key) > Some(lsn) {
            // It was overridden (R20) before anybody knew of it.
            return;
        }
        if self.plan.policy == Policy::Always {
            // Who is a member no more, though the primary does not know yet, may have dropped its copy.
            let now = self.ecs.map.slot(slot);
            let lacks = self.servers.iter().position(|other| {
                members.is_member(other.id)
                    && now.is_member(other.id)
                    && !other.disk.holds(slot, record, true)
            });
            if let Some(other) = lacks {
                let text = format!(
                    "R10: s{} slot {} epoch {} commits {}, which s{} does not hold durably",
                    node + 1,
                    slot.index(),
                    members.epoch,
                    words::record(record),
                    other + 1
                );
                self.fail(text);
            }
        }
        let truth = &mut self.truth[at(slot)];
        truth.committed.insert(lsn);
        truth.last = truth.last.max(Some(lsn));
        if !record.is_request_only() {
            truth.by_key.entry(record.key.clone()).or_default().insert(lsn);
        }
    }

    /// The commit point's promises, for as far as it moved.
    fn check_commit(&mut self, node: usize, slot: SlotId) {
        let upto = self.servers[node].disk.commit_point(slot);
        let before = std::mem::replace(&mut self.servers[node].seen.commits[at(slot)], upto);
        if upto > before {
            self.check_promises(node, slot, before, upto);
        }
    }

    fn check_promises(&mut self, node: usize, slot: SlotId, above: Lsn, upto: Lsn) {
        let (truth, disk) = (&self.truth[at(slot)], &self.servers[node].disk);
        let is_newest = |record: &Record| truth.newest_upto(&record.key, upto) == Some(record.lsn);
        let range = truth.committed.range(Lsn(above.0 + 1)..=upto);
        let mut records = range.map(|lsn| &truth.named[lsn]);
        let lacks = |r: &&Record| is_newest(r) && !self.has(node, slot, r);
        let lacks = records.find(lacks);
        if let Some(record) = lacks {
            let text = format!(
                "commit point: s{} slot {} says {upto} and lacks {}",
                node + 1,
                slot.index(),
                words::record(record)
            );
            return self.fail(text);
        }
        let unsure = |r: &&Record| !truth.committed.contains(&r.lsn);
        let own = disk.records(slot, above, upto);
        let own: Vec<Record> = own.into_iter().filter(unsure).cloned().collect();
        for record in own {
            self.check_own(node, slot, &record);
        }
    }

    /// Returns whether a server has a committed record or a newer one of its key, or need not have it: below the floor a
    /// tombstone may be gone, with what it hid, and is not sent to who lacks it.
    fn has(&self, node: usize, slot: SlotId, record: &Record) -> bool {
        let (truth, disk) = (&self.truth[at(slot)], &self.servers[node].disk);
        if disk.holds(slot, record, false) {
            return true;
        }
        // Its own: with a lower one it would take a delta later, and what the tombstone hid would come back.
        let floor = disk.tombstone_floor(slot).max(record.lsn);
        let lsns = truth.by_key.get(&record.key);
        let mut newer = lsns.into_iter().flat_map(|lsns| lsns.range(record.lsn..floor));
        newer.any(|lsn| truth.named[lsn].is_over(self.now / MS))
            && disk.newest(slot, &record.key).is_none()
    }

    /// A record at or below the commit point that is its key's newest there must be committed, or hidden by a newer one
    /// above: merges may have dropped what overrode it (R20) once that was replaced itself.
    fn check_own(&mut self, node: usize, slot: SlotId, record: &Record) {
        let (truth, disk) = (&self.truth[at(slot)], &self.servers[node].disk);
        let (lsn, upto) = (record.lsn, disk.commit_point(slot));
        let is_newest = || disk.newest_of(slot, &record.key) == Some(lsn);
        if !truth.committed.contains(&lsn) && !record.is_request_only() && is_newest() {
            let text = format!(
                "commit point: s{} slot {} says {upto}, and {} below it was never committed",
                node + 1,
                slot.index(),
                words::record(record)
            );
            self.fail(text);
        }
    }

    /// Looks at what a server found when it started.
    pub fn check_start(&mut self, node: usize) {
        let version = self.servers[node].map.version();
        self.servers[node].seen.commits.fill(Lsn(0));
        if version < self.servers[node].seen.version {
            let seen = self.servers[node].seen.version;
            return self.fail(format!("R9: s{} starts with map {version}, had {seen}", node + 1));
        }
        for slot in self.servers[node].disk.slots() {
            self.check_commit(node, slot);
            let truth = &self.truth[at(slot)];
            let disk = &self.servers[node].disk;
            let is_newest = |r: &Record| disk.newest_of(slot, &r.key) == Some(r.lsn);
            let is_wrong = |r: &Record| !truth.committed.contains(&r.lsn) && is_newest(r);
            let wrong = disk.published(slot).into_iter().find(is_wrong);
            if let Some(record) = wrong {
                let text = format!(
                    "R2: s{} slot {} starts with {}, which no primary committed",
                    node + 1,
                    slot.index(),
                    words::record(&record)
                );
                return self.fail(text);
            }
        }
    }

    /// Looks at a map that came into force at a server.
    pub fn check_map(&mut self, node: usize, version: Version) {
        let newest = self.ecs.map.version();
        let host = &mut self.servers[node];
        let Some(machine) = host.machine.as_ref() else { return };
        let map = machine.map();
        let seen = &mut host.seen;
        let mut wrong = None;
        if map.version() != version || version > newest || version < seen.version {
            let had = seen.version;
            wrong = Some(format!(
                "goes to map {version} (in force {}), had {had}, logged {newest}",
                map.version()
            ));
        } else if host.map.version() < version {
            wrong = Some(format!("acts on map {version}, durable is {}", host.map.version()));
        }
        seen.version = version;
        for (id, slot) in map.slots() {
            let epoch = &mut seen.epochs[at(id)];
            if slot.epoch < *epoch {
                wrong =
                    Some(format!("slot {} goes from epoch {epoch} to {}", id.index(), slot.epoch));
            }
            *epoch = slot.epoch;
        }
        if let Some(wrong) = wrong {
            self.fail(format!("R9: s{} {wrong}", node + 1));
        }
    }

    /// Looks at a decision of the coordinator.
    pub fn check_decision(&mut self, entry: &Entry) {
        let map = &self.ecs.map;
        let mut wrong = None;
        if entry.delta.from != map.version() && entry.delta.from != Version(0)
            || entry.delta.to != map.version().next()
        {
            wrong = Some(format!(
                "an entry from {} to {} at {}",
                entry.delta.from,
                entry.delta.to,
                map.version()
            ));
        }
        for (id, new) in &entry.delta.slots {
            let old = map.slot(*id);
            if new.epoch < old.epoch || new.epoch == old.epoch && new != old {
                wrong = Some(format!(
                    "slot {} changes in epoch {} from {old:?} to {new:?}",
                    id.index(),
                    new.epoch
                ));
            }
            self.changes += u64::from(new.epoch > old.epoch);
            let Some(primary) = new.primary_id() else { continue };
            if old.epoch > Epoch(0) && !old.is_member(primary) && !old.former.contains(&primary) {
                wrong = Some(format!(
                    "R17: slot {} gets primary {}, which was no member",
                    id.index(),
                    words::name(primary)
                ));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(format!("ecs: {wrong}"));
        }
    }

    /// Looks at an answer as it is given.
    pub fn check_reply(&mut self, node: usize, attempt: usize, reply: &Reply) {
        let attempt = &self.attempts[attempt];
        let (slot, key) = (attempt.slot, &attempt.key);
        let truth = &self.truth[at(slot)];
        let is_known = |lsn: &Lsn| truth.committed.contains(lsn) && truth.named[lsn].key == *key;
        let floor = attempt.floor;
        let wrong = match (reply, &attempt.ask) {
            (Reply::Value(Some((_, lsn))), Ask::Get) => Some(*lsn) < floor || !is_known(lsn),
            (Reply::Value(None), Ask::Get) => floor.is_some_and(|floor| {
                let since = truth.by_key.get(key).into_iter().flat_map(|lsns| lsns.range(floor..));
                !since.into_iter().any(|lsn| truth.named[lsn].is_over(self.now / MS))
            }),
            (Reply::Stored(lsn) | Reply::Replaced(lsn), Ask::Put { .. }) => !is_known(lsn),
            (Reply::Deleted | Reply::Missing, Ask::Delete { .. }) => false,
            (Reply::ConditionFailed(_), Ask::Put { condition: Some(_), .. }) => false,
            (Reply::Refused(_) | Reply::Unknown, _) => false,
            _ => true,
        };
        if wrong {
            let text = format!(
                "R13/R14: s{} slot {} key {} answers {} where {} was committed before",
                node + 1,
                slot.index(),
                String::from_utf8_lossy(key),
                words::reply(reply),
                floor.map_or("nothing".to_owned(), |lsn| lsn.to_string())
            );
            self.fail(text);
        }
    }

    /// Looks whether a server permits reads that its machine would refuse (R13, R14).
    pub fn check_permits(&mut self, node: usize) {
        let host = &self.servers[node];
        let Some(machine) = host.machine.as_ref() else { return };
        let (now, permits) = (host.local(self.now), machine.permits());
        let is_wrong = |slot: &SlotId| {
            permits.look(*slot, now).is_some() && {
                let peek = machine.peek(now, *slot);
                !peek.can_read || peek.role != Role::Primary && !peek.pending.is_empty()
            }
        };
        let wrong = self.ecs.map.slots().map(|(slot, _)| slot).find(is_wrong);
        if let Some(slot) = wrong {
            self.fail(format!(
                "slot {}: s{} permits reads that its machine would refuse",
                slot.index(),
                node + 1
            ));
        }
    }

    /// Looks at one slot everywhere.
    pub fn look_at(&mut self, slot: SlotId) {
        let truth = &self.truth[at(slot)];
        let mut primary = None;
        let mut wrong = None;
        for (node, host) in self.servers.iter().enumerate() {
            let Some(machine) = host.machine.as_ref() else { continue };
            let peek = machine.peek(host.local(self.now), slot);
            if peek.epoch > self.ecs.map.slot(slot).epoch {
                wrong =
                    Some(format!("s{} is in epoch {} before it is logged", node + 1, peek.epoch));
            }
            if !peek.can_read {
                continue;
            }
            if let Some(other) = self.newer_without(host, slot, &peek) {
                wrong = Some(format!(
                    "R21: s{} can read in epoch {}, and s{other} takes writes without it",
                    node + 1,
                    peek.epoch
                ));
            }
            if peek.role == Role::Primary
                && let Some(other) = primary.replace(node + 1)
            {
                wrong = Some(format!("R13: s{other} and s{} can both read as primary", node + 1));
            }
            let last = truth.last.map(|lsn| &truth.named[&lsn]);
            if let Some(record) = last.filter(|record| !self.has(node, slot, record)) {
                let text = words::record(record);
                wrong = Some(format!(
                    "R14: s{} can read as {:?} and lacks {text}",
                    node + 1,
                    peek.role
                ));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(format!("slot {}: {wrong}", slot.index()));
        }
    }

    /// Returns who takes writes of the slot in a newer epoch in which this one, who can read, is nothing (R21): what it reads
    /// would be old from the first of them on.
    fn newer_without(&self, reader: &Host, slot: SlotId, peek: &Peek) -> Option<usize> {
        let is_newer = |host: &Host| {
            let Some(machine) = host.machine.as_ref() else { return false };
            let other = machine.peek(host.local(self.now), slot);
            other.epoch > peek.epoch
                && other.can_write
                && !machine.map().slot(slot).is_holder(reader.id)
        };
        self.servers.iter().position(is_newer).map(|other| other + 1)
    }

    /// Returns what still keeps the cluster from being whole, once all faults have ended.
    pub fn unfinished(&self) -> Option<String> {
        // What was asked of a slot that nobody can serve stays unknown.
        let is_excused = |client: &Client| {
            let slot = client.key().map(|key| slot_of(key, self.plan.slots));
            slot.is_some_and(|slot| self.truth[at(slot)].is_excused)
        };
        let waits = |client: &Client| !client.is_done() && !is_excused(client);
        if let Some(client) = self.clients.iter().position(waits) {
            return Some(format!("client {client} is not done"));
        }
        let map = &self.ecs.map;
        let slots = map.slots().filter(|(id, _)| !self.truth[at(*id)].is_excused);
        for (id, slot) in slots {
            if slot.epoch == Epoch(0) || !map.is_ideal(id) {
                let ideal: Vec<_> = map.ideal(id).iter().map(|s| words::name(*s)).collect();
                let actual: Vec<_> = slot.holders().map(words::name).collect();
                return Some(format!(
                    "slot {} epoch {} is at {actual:?}, ideal {ideal:?}",
                    id.index(),
                    slot.epoch
                ));
            }
            let members: Vec<_> = slot.members().collect();
            if let Some(text) = self.differs(id, &members) {
                return Some(format!("slot {}: {text}", id.index()));
            }
        }
        self.unheard()
    }

    /// Returns how the members of a slot differ.
    fn differs(&self, slot: SlotId, members: &[cluster::ServerId]) -> Option<String> {
        let now_ms = self.now / MS;
        let mut first = None;
        let is_member = |host: &&Host| members.contains(&host.id);
        let of_members = self.servers.iter().filter(is_member);
        let floor =
            of_members.map(|host| host.disk.tombstone_floor(slot)).max().unwrap_or_default();
        // Below the floor a tombstone may be gone here and still be there.
        let must_be = |r: &&Record| !r.is_over(now_ms) || r.lsn >= floor;
        for (node, host) in self.servers.iter().enumerate() {
            if !members.contains(&host.id) {
                continue;
            }
            if host.state != State::Up {
                return Some(format!("s{} is {:?}", node + 1, host.state));
            }
            if !host.disk.pending(slot).is_empty() {
                return Some(format!("s{} has pending records", node + 1));
            }
            let Some(first) = first.replace(host) else { continue };
            let (a, b) = (first.disk.published(slot), host.disk.published(slot));
            let what = |r| {
                let record: &Record = r;
                let value = record.value.clone().filter(|_| !record.is_over(now_ms));
                (record.lsn, record.key.clone(), value)
            };
            if !a.iter().filter(must_be).map(what).eq(b.iter().filter(must_be).map(what)) {
                return Some(format!("{} and s{} differ", words::name(first.id), node + 1));
            }
            let [a, b] = [first, host].map(|host| host.disk.requests(slot, Lsn(0)));
            if a != b {
                let first = words::name(first.id);
                return Some(format!("{first} and s{} remember other requests", node + 1));
            }
        }
        None
    }

    /// Looks for committed writes that no member has any more.
    pub fn check_end(&mut self) {
        let mut lost = None;
        for (id, slot) in self.ecs.map.slots() {
            let truth = &self.truth[at(id)];
            let Some(primary) = slot.primary_id().filter(|_| !truth.is_excused) else { continue };
            let node = self.servers.iter().position(|host| host.id == primary).unwrap();
            for lsns in truth.by_key.values() {
                let record = &truth.named[lsns.last().unwrap()];
                if !self.has(node, id, record) {
                    lost = Some(format!("P2: slot {} lost {}", id.index(), words::record(record)));
                }
            }
        }
        if let Some(lost) = lost {
            self.fail(lost);
        }
    }

    /// Takes note of slots whose last complete copy is gone as the plan allows.
    pub fn excuse(&mut self) {
        let is_lost = |id| {
            let host = self.servers.iter().find(|host| host.id == id);
            host.is_some_and(|host| host.state == State::Lost)
        };
        // What cannot be read at the only member can be read nowhere.
        let is_torn = |member, slot| {
            let host = self.servers.iter().find(|host| host.id == member);
            host.is_some_and(|host| host.disk.is_damaged(slot))
        };
        for (id, slot) in self.ecs.map.slots() {
            let may_forget = self.plan.policy != Policy::Always;
            let is_gone = match slot.primary {
                None => {
                    slot.epoch > Epoch(0) && (may_forget || slot.former.iter().any(|f| is_lost(*f)))
                }
                Some(_) => slot.members().all(|member| is_lost(member) || is_torn(member, id)),
            };
            self.truth[at(id)].is_excused |= is_gone;
        }
    }
}
