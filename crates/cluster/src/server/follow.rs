//! What members and learners state, and what the primary sends them for it (R12, R18, R20).
//!
//! In each session and epoch the primary first asks every follower what it holds (`Open`); the follower states it
//! (`State`), part by part. Then
//!
//! * while **reconciling**, the primary adopts every record it lacks as members state it. When all have stated, it
//!   sends each member what that member did not state. When all of it is durable everywhere, the
//!   commit point is (epoch, 0) and serving begins (R18);
//! * while **serving**, a member is sent what it did not state, and is live;
//! * a **learner** is sent every pending record, and is live; then the walk over the committed records begins. What it
//!   stated and the primary lacks is overridden: the newest value of the key is proposed again (R20), and so is
//!   the newest request of a client, which keeps the request table true (R24).

use std::collections::{BTreeMap, BTreeSet};

use crate::message::{SlotMessage, State};
use crate::peer::Meaning;
use crate::replica::{Follower, Phase, Replica, Stage, Statement, Walk};
use crate::server::converge::asked_learner;
use crate::server::lead::Proposal;
use crate::server::{Cx, Server};
use crate::storage::Storage;
use crate::types::{Bytes, Epoch, Lsn, Record, Request, ServerId, SlotId};

/// Bytes read at once of the records that a member may lack.
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
        let above = Lsn(0);
        if self.send_slot(id, at, SlotMessage::Open { commit, is_learner, above }, cx) {
            self.owe(slot, id, cx);
            self.set_stage(slot, id, Stage::Stating { stated: Statement::default() });
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
                follower.counted_at = follower.counted_at.filter(|_| is_asked);
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

    /// Takes a part of a statement, and asks for the next. What a member has and this primary lacks is adopted at once (R18), so
    /// that nothing of a statement is kept but names.
    fn stated(&mut self, from: ServerId, slot: SlotId, state: State, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica_mut(slot) else { return };
        let (at, commit) = ((slot, replica.epoch), replica.commit);
        let Some(primary) = replica.primary_mut() else { return };
        let phase = primary.phase;
        let Some(follower) = primary.followers.get_mut(&from) else { return };
        let is_learner = follower.is_learner;
        let Stage::Stating { stated } = &mut follower.stage else { return };
        let before = stated.take(&state);
        let above = stated.upto;
        let is_adopted =
            is_learner || phase != Phase::Reconciling || self.adopt(slot, &state.records, cx);
        if !is_adopted || !state.is_last && above <= before {
            // No room, or nonsense: asked again when the slot is looked at again.
            return self.set_stage(slot, from, Stage::Away);
        }
        if !state.is_last {
            if let Some(follower) = self.follower_mut(slot, from) {
                follower.owes_since = Some(cx.now);
            }
            self.send_slot(from, at, SlotMessage::Open { commit, is_learner, above }, cx);
            return;
        }
        let Some(follower) = self.follower_mut(slot, from) else { return };
        if follower.owes == 0 {
            follower.owes_since = None;
        }
        let Stage::Stating { stated } = &mut follower.stage else { return };
        let stated = std::mem::take(stated);
        match phase {
            Phase::Reconciling => follower.stage = Stage::Stated { stated },
            Phase::Serving | Phase::HandingOver { .. } => {
                match is_learner {
                    true => self.begin_learner(from, slot, stated, cx),
                    false => self.begin_member(from, slot, &stated, cx),
                };
            }
        }
        self.touched.insert(slot);
    }

    /// Goes on with a reconciliation (R18): when all have stated sends each what it lacks, serves when all is durable everywhere.
    pub(super) fn reconcile(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let durable = self.durable;
        let Some(replica) = self.replica_mut(slot) else { return };
        let Some(primary) = replica.primary_mut() else { return };
        let members = || primary.followers.iter().filter(|(_, follower)| !follower.is_learner);
        let is_silent =
            |follower: &Follower| matches!(follower.stage, Stage::Away | Stage::Stating { .. });
        if members().any(|(_, follower)| is_silent(follower)) {
            return;
        }
        let is_stated = |follower: &Follower| matches!(follower.stage, Stage::Stated { .. });
        let stated = members().filter(|(_, follower)| is_stated(follower)).map(|(id, _)| *id);
        let stated: Vec<ServerId> = stated.collect();
        if !stated.is_empty() {
            for id in stated {
                let Some(follower) = self.follower_mut(slot, id) else { continue };
                if let Stage::Stated { stated } = &mut follower.stage {
                    let stated = std::mem::take(stated);
                    self.begin_member(id, slot, &stated, cx);
                }
            }
            self.touched.insert(slot);
            return;
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

    /// Keeps every stated record that is not here. Returns whether there was room.
    fn adopt(&mut self, slot: SlotId, records: &[Record], cx: &mut Cx<'_>) -> bool {
        let Some(replica) = self.replica_mut(slot) else { return true };
        let is_dropped = |record: &Record| {
            record.lsn > replica.commit && mutant!("tail dropped instead of kept")
        };
        let kept: Vec<&Record> = records.iter().filter(|record| !is_dropped(record)).collect();
        let is_kept = kept.into_iter().all(|record| replica.keep(record, cx.storage));
        self.await_sync(slot, cx.storage.appended());
        is_kept
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

    /// Sends a member what it lacks and makes it live. What is not above its own commit point it does not need: it has that, or
    /// something newer of the key.
    fn begin_member(&mut self, id: ServerId, slot: SlotId, stated: &Statement, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica(slot) else { return };
        let last = replica.pending.last().unwrap_or(replica.commit).max(replica.commit);
        let is_sent = mutant!("what is unacknowledged is not sent again")
            || self.send_published(id, slot, stated, cx) && self.send_pending(id, slot, stated, cx);
        if !is_sent {
            // It is not sent a log with a hole (R4).
            self.damaged(slot);
            return self.set_stage(slot, id, Stage::Away);
        }
        self.make_live(id, slot, Walk::Done);
        self.mark(id, slot, Meaning::Upto(last), cx);
        if let Some(follower) = self.follower_mut(slot, id) {
            follower.is_level = true;
        }
        self.untold.insert(slot);
    }

    /// Sends the published records that a member did not state. Returns whether all could be read.
    fn send_published(
        &mut self,
        id: ServerId,
        slot: SlotId,
        stated: &Statement,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(commit) = self.replica(slot).map(|replica| replica.commit) else { return true };
        let mut above = Some(stated.commit).filter(|base| *base < commit);
        while let Some(from) = above {
            let page = cx.storage.page(slot, from, PAGE_LEN);
            if page.has_unreadable {
                return false;
            }
            for record in page.records {
                if !stated.has(record.lsn, &record.key) {
                    self.send_again(id, slot, record, cx);
                }
            }
            above = page.next;
        }
        true
    }

    /// Sends the pending records that a member did not state. Returns whether all could be read.
    fn send_pending(
        &mut self,
        id: ServerId,
        slot: SlotId,
        stated: &Statement,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(replica) = self.replica(slot) else { return true };
        let items = replica.pending.above(stated.commit).map(|item| &item.info);
        let lacks = items.filter(|info| !stated.has(info.lsn, &info.key));
        let lacks: Vec<(Lsn, Bytes)> = lacks.map(|info| (info.lsn, info.key.clone())).collect();
        for (lsn, key) in lacks {
            let Some(record) = cx.storage.read_pending(slot, lsn, &key) else { return false };
            self.send_again(id, slot, record, cx);
        }
        true
    }

    /// Sends a record with no mark: only the one behind the last tells that all of them are there.
    fn send_again(&mut self, id: ServerId, slot: SlotId, record: Record, cx: &mut Cx<'_>) {
        let Some(epoch) = self.replica(slot).map(|replica| replica.epoch) else { return };
        self.send_slot(id, (slot, epoch), SlotMessage::Prepare { commit: None, record }, cx);
    }

    fn make_live(&mut self, id: ServerId, slot: SlotId, walk: Walk) {
        self.set_stage(slot, id, Stage::Live { walk });
    }

    /// Sends a learner everything pending and makes it live; the walk sends the rest.
    fn begin_learner(
        &mut self,
        id: ServerId,
        slot: SlotId,
        mut stated: Statement,
        cx: &mut Cx<'_>,
    ) {
        let Some(replica) = self.replica(slot) else { return };
        let at = (slot, replica.epoch);
        let Some(pending) = replica.pending_records(cx.storage) else {
            self.damaged(slot);
            return self.set_stage(slot, id, Stage::Away);
        };
        let floor = cx.storage.tombstone_floor(slot);
        let mut base = stated.held.max(stated.commit);
        if mutant!("tombstone floor ignored") {
            base = base.max(floor);
        }
        if base < floor && !stated.is_empty {
            self.send_slot(id, at, SlotMessage::Fresh, cx);
            base = Lsn(0);
            stated.records.clear();
        }
        let number = self.count();
        self.make_live(id, slot, Walk::At { number, above: base, is_reading: false });
        if !mutant!("a learner's stream of committed records only") {
            for record in &pending {
                self.send_prepare(id, at, record, record.lsn, cx);
            }
        }
        let noted = self.repair(slot, stated.records, cx);
        if let Some(follower) = self.follower_mut(slot, id) {
            follower.noted = noted;
        }
        self.throttle.enqueue(slot, id);
        self.send_requests(id, at, base, cx);
        self.pump_walks(cx);
    }

    /// Overrides what a returning server holds and this primary lacks (R20). Returns the lsns that must be committed, and
    /// durable there, before it is level.
    fn repair(
        &mut self,
        slot: SlotId,
        stated: BTreeMap<(Lsn, Bytes), Option<Request>>,
        cx: &mut Cx<'_>,
    ) -> BTreeSet<Lsn> {
        let mut noted = BTreeSet::new();
        for ((lsn, key), request) in stated {
            // What it says is not known any more, and nobody needs it.
            let record = Record { lsn, key, value: None, expires_at_ms: None, request };
            self.repair_one(slot, &record, &mut noted, cx);
        }
        noted
    }

    fn repair_one(
        &mut self,
        slot: SlotId,
        record: &Record,
        noted: &mut BTreeSet<Lsn>,
        cx: &mut Cx<'_>,
    ) {
        let Some(replica) = self.replica(slot) else { return };
        let newest = match record.is_request_only() {
            true => None,
            false => replica.newest_lsn(&record.key, cx.storage),
        };
        let is_here =
            replica.pending.contains(record.lsn, &record.key) || newest == Some(record.lsn);
        if is_here && !record.is_request_only() || mutant!("orphans not repaired") {
            return;
        }
        if mutant!("a learner's orphan adopted") {
            return self.adopt_orphan(slot, record, cx);
        }
        let is_newer = !record.is_request_only() && newest.is_none_or(|lsn| lsn < record.lsn);
        let request = self.request_override(slot, record, cx.storage);
        // What stands over its request must be there as well before the record can be let into sight.
        let last = record.request.and_then(|r| self.newest_request(slot, r.client, cx.storage));
        noted.extend(last.filter(|last| last.lsn >= record.lsn).map(|last| last.lsn));
        if !is_newer && request.is_none() {
            noted.extend(newest);
            return;
        }
        let key = if is_newer { record.key.clone() } else { Bytes::from([]) };
        let again = Some(&key).filter(|_| is_newer);
        let again = again.and_then(|key| self.newest_record(slot, key, cx.storage));
        if is_newer && newest.is_some() && again.is_none() {
            // It is there and cannot be read: a tombstone in its place would be a lie.
            self.damaged(slot);
            noted.insert(Lsn(u64::MAX));
            return;
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
        let part_len = self.config.chunk_len / Record::HEAD_LEN;
        for records in records.chunks(part_len.max(1)) {
            let records = records.to_vec();
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

    /// Returns all pending records; `None` when one cannot be read.
    fn pending_records(&self, storage: &dyn Storage) -> Option<Vec<Record>> {
        let read = |item: &crate::pending::Item| {
            storage.read_pending(self.slot, item.info.lsn, &item.info.key)
        };
        self.pending.iter().map(read).collect()
    }
}

impl Statement {
    /// Takes in a part; returns up to where it went before.
    fn take(&mut self, part: &State) -> Lsn {
        (self.commit, self.held, self.is_empty) = (part.commit, part.held, part.is_empty);
        let before = self.upto;
        self.upto = part.records.iter().map(|record| record.lsn).fold(before, Lsn::max);
        // Up to its commit point it needs nothing of what it does not have.
        let names = part.records.iter().filter(|record| record.lsn > part.commit);
        self.records.extend(names.map(|r| ((r.lsn, r.key.clone()), r.request)));
        before
    }

    /// Returns whether a record was stated.
    fn has(&self, lsn: Lsn, key: &Bytes) -> bool {
        self.records.contains_key(&(lsn, key.clone()))
    }
}
