//! What members and learners state, and what the primary sends them for it (R12, R18, R20).
//!
//! In each session and epoch the primary first asks every follower what it holds (`Open`); the follower states it
//! (`State`). Then
//!
//! * while **reconciling**, statements are collected from all members; then the primary adopts every record it lacks,
//!   and sends each member what that member did not state. When all of it is durable everywhere, the
//!   commit point is (epoch, 0) and serving begins (R18);
//! * while **serving**, a member is sent what it did not state, and is live;
//! * a **learner** is sent every pending record, and is live; then the walk over the committed records begins. What it
//!   stated and the primary lacks is overridden: the newest value of the key is proposed again (R20), and so is
//!   the newest request of a client, which keeps the request table true (R24).

use std::collections::{BTreeMap, BTreeSet};

use crate::message::{SlotMessage, State};
use crate::peer::Meaning;
use crate::replica::{Phase, Replica, Stage, Walk};
use crate::server::converge::asked_learner;
use crate::server::lead::Proposal;
use crate::server::{Cx, Server};
use crate::storage::Storage;
use crate::types::{Bytes, Epoch, Lsn, Record, ServerId, SlotId};

/// Bytes read at once of the records that a member lacks.
const PAGE_LEN: usize = 256 << 10;

impl Server {
    /// Asks a peer, whose session has just begun, about every slot that it follows this server in.
    pub(super) fn open_followers(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        let follows = |r: &&Replica| r.primary().is_some_and(|p| p.followers.contains_key(&id));
        let slots: Vec<SlotId> = self.replicas.iter().filter(follows).map(|r| r.slot).collect();
        for slot in slots {
            self.open(slot, id, cx);
        }
    }

    /// Asks all followers of a slot whose epoch has just begun.
    pub(super) fn open_slot(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let primary = self.replica(slot).and_then(Replica::primary);
        let ids: Vec<ServerId> =
            primary.into_iter().flat_map(|primary| primary.followers.keys().copied()).collect();
        for id in ids {
            self.open(slot, id, cx);
        }
    }

    fn open(&mut self, slot: SlotId, id: ServerId, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica(slot) else { return };
        let (at, commit) = ((slot, replica.epoch), replica.commit);
        let Some(primary) = replica.primary() else { return };
        let Some(follower) = primary.followers.get(&id) else { return };
        // A learner waits until the members are reconciled: its orphans must not be adopted (R20).
        let must_wait = follower.is_learner && primary.phase == Phase::Reconciling;
        let is_learner = follower.is_learner;
        if must_wait || !matches!(follower.stage, Stage::Away) {
            return;
        }
        if self.send_slot(id, at, SlotMessage::Open { commit, is_learner }, cx) {
            self.owe(slot, id, cx);
            self.set_stage(slot, id, Stage::Stating { records: Vec::new() });
        }
    }

    /// An answer is owed: the time that a follower may take for it counts like that of a prepare (R16).
    fn owe(&mut self, slot: SlotId, id: ServerId, cx: &mut Cx<'_>) {
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        if let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&id)) {
            follower.owes_since.get_or_insert(cx.now);
        }
    }

    pub(super) fn set_stage(&mut self, slot: SlotId, id: ServerId, stage: Stage) {
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        if let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&id)) {
            follower.stage = stage;
        }
    }

    /// Forgets what followers of a session that ended had in it.
    pub(super) fn reset_followers(&mut self, id: ServerId) {
        let mut counter = self.counter;
        for replica in &mut self.replicas {
            let Some(primary) = replica.primary_mut() else { continue };
            let is_asked = asked_learner(primary) == Some(id);
            if let Some(follower) = primary.followers.get_mut(&id) {
                counter += 1;
                follower.reset(counter);
                // Nothing was promised about a learner that was not asked for yet.
                follower.is_counted &= is_asked;
            }
        }
        self.counter = counter;
    }

    /// Takes an answer about a slot.
    pub(super) fn answered(
        &mut self,
        from: ServerId,
        (slot, epoch): (SlotId, Epoch),
        body: SlotMessage,
        cx: &mut Cx<'_>,
    ) {
        let known = self.replica(slot).map(|replica| replica.epoch);
        match body {
            SlotMessage::State(state) if known == Some(epoch) => self.stated(from, slot, state, cx),
            SlotMessage::ReadsStopped if known == Some(epoch) => {
                let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
                if let Some(follower) = primary.and_then(|p| p.followers.get_mut(&from)) {
                    follower.has_stopped_reads = true;
                }
                self.touched.insert(slot);
            }
            SlotMessage::Refused { known } => self.refused(from, (slot, epoch), known, cx),
            // Answers of an epoch that is over, and what goes the other way.
            _ => {}
        }
    }

    /// The follower did not take a message, and perhaps knows of a newer epoch: what was sent to it counts for nothing.
    fn refused(&mut self, from: ServerId, at: (SlotId, Epoch), known: Epoch, cx: &mut Cx<'_>) {
        let life = self.count();
        let Some(replica) = self.replica_mut(at.0) else { return };
        if replica.epoch != at.1 {
            return;
        }
        if let Some(follower) = replica.primary_mut().and_then(|p| p.followers.get_mut(&from)) {
            follower.reset(life);
        }
        if known > at.1 {
            let version = self.version().next();
            self.pull_if_behind(from, version, cx);
        }
    }

    fn stated(&mut self, from: ServerId, slot: SlotId, mut state: State, cx: &mut Cx<'_>) {
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        let Some(primary) = primary else { return };
        let phase = primary.phase;
        let Some(follower) = primary.followers.get_mut(&from) else { return };
        let Stage::Stating { records } = &mut follower.stage else { return };
        records.append(&mut state.records);
        if !state.is_last {
            return;
        }
        state.records = std::mem::take(records);
        if follower.owes == 0 {
            follower.owes_since = None;
        }
        let is_learner = follower.is_learner;
        match phase {
            Phase::Reconciling => follower.stage = Stage::Stated { state },
            Phase::Serving | Phase::HandingOver { .. } => {
                match is_learner {
                    true => self.begin_learner(from, slot, state, cx),
                    false => self.begin_member(from, slot, &state, cx),
                };
            }
        }
        self.touched.insert(slot);
    }

    /// Goes on with a reconciliation (R18): adopts when all have stated, serves when all is durable everywhere.
    pub(super) fn reconcile(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let durable = self.durable;
        let Some(replica) = self.replica_mut(slot) else { return };
        let Some(primary) = replica.primary_mut() else { return };
        let stated = primary.followers.iter_mut().filter(|(_, f)| !f.is_learner);
        let mut states = BTreeMap::new();
        let mut is_all_live = true;
        for (id, follower) in stated {
            match &follower.stage {
                Stage::Stated { state } => {
                    states.insert(*id, state.clone());
                    is_all_live = false;
                }
                Stage::Live { .. } => {}
                Stage::Away | Stage::Stating { .. } => return,
            }
        }
        if !is_all_live {
            return self.adopt(slot, &states, cx);
        }
        let last = replica.pending.last();
        let is_durable = mutant!("adopted records not awaited")
            || last.is_none_or(|last| replica.committable(durable) == Some(last));
        let has_all = replica.primary().is_some_and(|primary| {
            primary.followers.values().filter(|f| !f.is_learner).all(|f| f.owes == 0)
        });
        if is_durable && (has_all || mutant!("adopted records not awaited")) {
            self.begin_serving(slot, cx);
        }
    }

    /// Adopts every stated record that is not here, then sends each member what it did not state.
    fn adopt(&mut self, slot: SlotId, states: &BTreeMap<ServerId, State>, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica_mut(slot) else { return };
        let own = replica.commit;
        for record in states.values().flat_map(|state| &state.records) {
            let is_orphan = record.lsn > own;
            if is_orphan && mutant!("tail dropped instead of kept") {
                continue;
            }
            if !replica.keep(record, cx.storage) {
                // No room: tried again when the slot is looked at again.
                return;
            }
        }
        for (id, state) in states {
            self.begin_member(*id, slot, state, cx);
        }
        self.touched.insert(slot);
    }

    /// All members hold the same: serves from now on.
    fn begin_serving(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica_mut(slot) else { return };
        let commit = replica.epoch.lsn(0);
        replica.publish_upto(commit, cx.storage);
        if let Some(primary) = replica.primary_mut() {
            primary.phase = Phase::Serving;
        }
        self.tell_commit(slot, cx);
        self.open_slot(slot, cx);
        self.touched.insert(slot);
    }

    /// Sends a member what it lacks and makes it live.
    fn begin_member(&mut self, id: ServerId, slot: SlotId, state: &State, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica(slot) else { return };
        let (at, base) = ((slot, replica.epoch), state.commit.min(replica.commit));
        let stated: BTreeSet<(Lsn, &Bytes)> =
            state.records.iter().map(|r| (r.lsn, &r.key)).collect();
        let lacks = |record: &Record| !stated.contains(&(record.lsn, &record.key));
        let mut records = replica.above(base, cx.storage);
        records.retain(lacks);
        let last = replica.pending.last().unwrap_or(replica.commit).max(replica.commit);
        self.make_live(id, slot, Walk::Done);
        if mutant!("what is unacknowledged is not sent again") {
            records.clear();
        }
        for record in &records {
            // Only the mark behind the last one tells that all of them are there.
            let body = SlotMessage::Prepare { commit: None, record: record.clone() };
            self.send_slot(id, at, body, cx);
        }
        self.mark(id, slot, Meaning::Upto(last), cx);
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        if let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&id)) {
            follower.is_level = true;
        }
        self.untold.insert(slot);
    }

    fn make_live(&mut self, id: ServerId, slot: SlotId, walk: Walk) {
        self.set_stage(slot, id, Stage::Live { walk });
    }

    /// Sends a learner everything pending and makes it live; the walk sends the rest.
    fn begin_learner(&mut self, id: ServerId, slot: SlotId, mut state: State, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica(slot) else { return };
        let at = (slot, replica.epoch);
        let floor = cx.storage.tombstone_floor(slot);
        let mut base = state.held.max(state.commit);
        if mutant!("tombstone floor ignored") {
            base = base.max(floor);
        }
        if base < floor && !state.is_empty {
            self.send_slot(id, at, SlotMessage::Fresh, cx);
            base = Lsn(0);
            state.records.clear();
        }
        let number = self.count();
        self.make_live(id, slot, Walk::At { number, above: base, is_reading: false });
        let pending = match mutant!("a learner's stream of committed records only") {
            true => Vec::new(),
            false => self.replica(slot).map(|r| r.pending_records(cx.storage)).unwrap_or_default(),
        };
        for record in &pending {
            self.send_prepare(id, at, record, record.lsn, cx);
        }
        let noted = self.repair(slot, &state.records, cx);
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        if let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&id)) {
            follower.noted = noted;
        }
        self.throttle.enqueue(slot, id);
        self.send_requests(id, at, base, cx);
        self.pump_walks(cx);
    }

    /// Overrides what a returning server holds and this primary lacks (R20). Returns the lsns that must be committed, and
    /// durable there, before it is level.
    fn repair(&mut self, slot: SlotId, stated: &[Record], cx: &mut Cx<'_>) -> BTreeSet<Lsn> {
        let mut noted = BTreeSet::new();
        for record in stated {
            let Some(replica) = self.replica(slot) else { break };
            let newest = match record.is_request_only() {
                true => None,
                false => replica.newest_lsn(&record.key, cx.storage),
            };
            let is_here =
                replica.pending.contains(record.lsn, &record.key) || newest == Some(record.lsn);
            if is_here && !record.is_request_only() || mutant!("orphans not repaired") {
                continue;
            }
            if mutant!("a learner's orphan adopted") {
                self.adopt_orphan(slot, record, cx);
                continue;
            }
            let is_newer = !record.is_request_only() && newest.is_none_or(|lsn| lsn < record.lsn);
            let request = self.request_override(slot, record, cx.storage);
            // What stands over its request must be there as well before the record can be let into sight.
            let last = record.request.and_then(|r| self.newest_request(slot, r.client, cx.storage));
            noted.extend(last.filter(|last| last.lsn >= record.lsn).map(|last| last.lsn));
            if !is_newer && request.is_none() {
                noted.extend(newest);
                continue;
            }
            let key = if is_newer { record.key.clone() } else { Bytes::from([]) };
            let again = Some(&key).filter(|_| is_newer);
            let again = again.and_then(|key| self.newest_record(slot, key, cx.storage));
            if is_newer && newest.is_some() && again.is_none() {
                // It is there and cannot be read: a tombstone in its place would be a lie.
                noted.insert(Lsn(u64::MAX));
                continue;
            }
            let (value, expires_at_ms) = again.map_or((None, None), |r| (r.value, r.expires_at_ms));
            let proposal = Proposal { key, value, expires_at_ms, request };
            match self.propose(slot, proposal, cx) {
                Ok(lsn) => noted.insert(lsn),
                // The learner can never become level now; the coordinator will give it up.
                Err(_) => noted.insert(Lsn(u64::MAX)),
            };
            noted.extend(newest);
        }
        noted
    }

    fn adopt_orphan(&mut self, slot: SlotId, record: &Record, cx: &mut Cx<'_>) {
        if let Some(replica) = self.replica_mut(slot) {
            replica.keep(record, cx.storage);
        }
    }

    /// Returns the request to say again, if the stated record carries one that would count as its client's last.
    fn request_override(
        &self,
        slot: SlotId,
        record: &Record,
        storage: &dyn Storage,
    ) -> Option<crate::types::Request> {
        let request = record.request?;
        let newest = self.newest_request(slot, request.client, storage);
        if newest.is_some_and(|entry| entry.lsn >= record.lsn) {
            return None;
        }
        let void = crate::event::Outcome::Void.request((request.client, 0));
        Some(newest.map_or(void, |entry| entry.request))
    }

    /// Returns the newest record of a key, pending ones included.
    fn newest_record(&self, slot: SlotId, key: &Bytes, storage: &dyn Storage) -> Option<Record> {
        let replica = self.replica(slot)?;
        let pending = replica.pending.newest(key);
        let pending = pending
            .filter(|_| !mutant!("the committed instead of the newest value proposed again"));
        match pending {
            Some(item) => storage.read_pending(slot, item.info.lsn, key),
            None => storage.read(slot, key),
        }
    }

    /// Sends a learner the request table, of clients whose last record it may never see (R24).
    fn send_requests(&mut self, id: ServerId, at: (SlotId, Epoch), base: Lsn, cx: &mut Cx<'_>) {
        if mutant!("request table not moved") {
            return;
        }
        let entries = cx.storage.requests(at.0, base);
        let record = |entry: crate::message::RequestEntry| Record {
            lsn: entry.lsn,
            key: Bytes::from([]),
            value: None,
            expires_at_ms: None,
            request: Some(entry.request),
        };
        let records: Vec<Record> = entries.into_iter().map(record).collect();
        if !records.is_empty() {
            self.send_slot(id, at, SlotMessage::Chunk { records, upto: Lsn(0) }, cx);
        }
    }
}

impl Replica {
    /// Returns the lsn of the newest record of a key, pending ones included.
    fn newest_lsn(&self, key: &Bytes, storage: &dyn Storage) -> Option<Lsn> {
        let pending = self.pending.newest(key).map(|item| item.info.lsn);
        let pending = pending
            .filter(|_| !mutant!("the committed instead of the newest value proposed again"));
        pending.max(storage.newest(self.slot, key).map(|entry| entry.lsn))
    }

    fn pending_records(&self, storage: &dyn Storage) -> Vec<Record> {
        let read = |item: &crate::pending::Item| {
            storage.read_pending(self.slot, item.info.lsn, &item.info.key)
        };
        self.pending.iter().filter_map(read).collect()
    }

    /// Returns everything above an lsn: published, then pending.
    fn above(&self, base: Lsn, storage: &dyn Storage) -> Vec<Record> {
        let mut records = Vec::new();
        let mut above = Some(base).filter(|base| *base < self.commit);
        while let Some(from) = above {
            let page = storage.page(self.slot, from, PAGE_LEN);
            records.extend(page.records);
            above = page.next;
        }
        records.extend(self.pending_records(storage));
        records
    }
}
