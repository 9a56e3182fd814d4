//! The backup's and learner's side: what it does with what the primary says.
//!
//! Whatever epoch a message is of has been compared with the map already, except that it may be of an older one: that is
//! refused, by name (R9). A record that is here already is not appended again (R12). What was appended is acknowledged
//! when it is durable; see `links`.

use crate::event::{Action, Link};
use crate::message::{Message, SlotMessage, State};
use crate::replica::Replica;
use crate::server::{Cx, Server};
use crate::storage::{PendingInfo, Storage};
use crate::types::{Epoch, Lsn, Record, ServerId, SlotId};

/// Records in one part of a statement, about, in bytes: the next part is asked for.
const STATE_LEN: usize = 64 << 10;
/// A learner with more pending records than this drops the slot instead of stating them: it would be a transfer the
/// wrong way round.
const STATED_COUNT_MAX: usize = 10_000;

impl Server {
    /// Takes a message about a slot from the server that says it is the slot's primary.
    pub(super) fn hold(
        &mut self,
        from: ServerId,
        (slot, epoch): (SlotId, Epoch),
        body: SlotMessage,
        cx: &mut Cx<'_>,
    ) {
        let Some(replica) = self.replica(slot) else { return };
        let known = replica.epoch;
        let is_taken = ignores_epoch(&body) && replica.holder().is_some();
        let is_primary = replica.holder().is_some_and(|holder| holder.primary == from);
        if (epoch < known || !is_primary) && !is_taken {
            return self.answer(from, (slot, epoch), SlotMessage::Refused { known }, cx);
        }
        let is_taken = match body {
            SlotMessage::Open { commit, is_learner, above } => {
                self.state(from, (slot, epoch), (commit, above), is_learner, cx);
                true
            }
            SlotMessage::Prepare { commit, record } => self.prepare(slot, commit, &record, cx),
            SlotMessage::Chunk { records, upto } => self.chunk(slot, &records, upto, cx),
            SlotMessage::Fresh => self.fresh(slot, cx),
            SlotMessage::Commit { commit, floor, request_floor, has_reads } => {
                self.committed(slot, commit, has_reads, cx);
                self.keep_level(slot, cx);
                self.note_floors(slot, floor, request_floor, cx);
                true
            }
            SlotMessage::StopReads => {
                self.stop_reads(slot);
                self.answer(from, (slot, epoch), SlotMessage::ReadsStopped, cx);
                true
            }
            // Answers go the other way.
            SlotMessage::State(_) | SlotMessage::ReadsStopped | SlotMessage::Refused { .. } => true,
        };
        if !is_taken {
            // No room even in the reserve: nothing more can be acknowledged on this session.
            self.close_inward(from, cx);
        }
    }

    fn answer(
        &mut self,
        to: ServerId,
        (slot, epoch): (SlotId, Epoch),
        body: SlotMessage,
        cx: &mut Cx<'_>,
    ) {
        let Some(inward) = self.peers.get(&to).and_then(|peer| peer.inward.as_ref()) else {
            return;
        };
        let message = Message::Slot { slot, epoch, body };
        cx.actions.push(Action::Send(Link::In(to, inward.session), message));
    }

    /// States what is held above the lower of both commit points; a learner, above its own (R18, R20). One part at a time:
    /// the next, above the last one's end, is stated when it is asked for.
    fn state(
        &mut self,
        to: ServerId,
        at: (SlotId, Epoch),
        (theirs, above): (Lsn, Lsn),
        is_learner: bool,
        cx: &mut Cx<'_>,
    ) {
        let Some(replica) = self.replica_mut(at.0) else { return };
        let from = if above > Lsn(0) { above } else { theirs.min(replica.commit) };
        if is_learner && replica.pending.count() > STATED_COUNT_MAX {
            replica.begin_anew(cx.storage);
        }
        let part = match mutant!("no reconciliation") {
            true => Some((Vec::new(), true)),
            false => replica.stated(from, is_learner, cx.storage),
        };
        let Some((records, is_last)) = part.or_else(|| {
            // A learner has nothing to give up but its own time.
            replica.is_damaged = !is_learner;
            is_learner.then(|| replica.begin_anew(cx.storage))?;
            Some((Vec::new(), true))
        }) else {
            // It does not state less than it holds: it states nothing, and asks to be no member (R4).
            return;
        };
        if is_learner && replica.held_from.replace(to) != Some(to) {
            replica.held = replica.commit;
        }
        let (commit, held) = (replica.commit, replica.held.max(replica.commit));
        let is_empty = is_learner && cx.storage.is_empty(at.0);
        let state = State { commit, held, is_empty, records, is_last };
        self.answer(to, at, SlotMessage::State(state), cx);
    }

    /// Appends a record that is not here yet. Returns whether there was room.
    fn prepare(
        &mut self,
        slot: SlotId,
        commit: Option<Lsn>,
        record: &Record,
        cx: &mut Cx<'_>,
    ) -> bool {
        let is_late = mutant!("a permit withdrawn behind the record");
        if !is_late && !mutant!("a permit kept with a record pending") {
            self.permits.withdraw(slot);
        }
        let Some(replica) = self.replica_mut(slot) else { return true };
        if mutant!("resend not idempotent: it cuts the log") {
            replica.pending.cut_above(record.lsn);
        }
        if !replica.keep(record, cx.storage) {
            return false;
        }
        if let Some(commit) = commit {
            replica.publish_upto(commit, cx.storage);
        }
        if is_late {
            self.permits.withdraw(slot);
        }
        true
    }

    /// Takes committed records: they are published at once, since nobody reads from a learner.
    fn chunk(&mut self, slot: SlotId, records: &[Record], upto: Lsn, cx: &mut Cx<'_>) -> bool {
        let Some(replica) = self.replica_mut(slot) else { return true };
        for record in records {
            if replica.pending.contains(record.lsn, &record.key)
                || is_published(cx.storage, slot, record)
            {
                continue;
            }
            if cx.storage.append(slot, record).is_err() {
                return false;
            }
            cx.storage.publish(slot, record.lsn, &record.key);
        }
        replica.held = replica.held.max(upto);
        if mutant!("a learner's commit point that moves early") {
            replica.commit = replica.commit.max(upto);
            cx.storage.set_commit_point(slot, replica.commit);
        }
        true
    }

    /// Drops what a learner holds: it cannot be brought up to date.
    fn fresh(&mut self, slot: SlotId, cx: &mut Cx<'_>) -> bool {
        let Some(replica) = self.replica_mut(slot) else { return true };
        if replica.holder().is_some_and(|holder| holder.is_learner) {
            replica.begin_anew(cx.storage);
        }
        true
    }

    /// Takes over the primary's floors. A learner's tombstone floor must be durable before it is a member, since it was never
    /// sent what is below; a member still has that, so its floors can wait for the next tick, which raises all in one step.
    fn note_floors(&mut self, slot: SlotId, floor: Lsn, request_floor: Lsn, cx: &mut Cx<'_>) {
        let is_learner = self.replica(slot).and_then(Replica::holder).is_some_and(|h| h.is_learner);
        if floor > cx.storage.tombstone_floor(slot) && !mutant!("tombstone floor not moved") {
            match is_learner {
                true => cx.storage.raise_tombstone_floors(&[(slot, floor)]),
                false => self.floors.note(slot, floor),
            }
        }
        let Some(replica) = self.replica_mut(slot) else { return };
        if request_floor > replica.request_floor {
            replica.request_floor = request_floor;
            self.request_floors.note(slot, request_floor);
        }
    }

    /// Publishes up to the primary's commit point.
    fn committed(&mut self, slot: SlotId, commit: Lsn, has_reads: bool, cx: &mut Cx<'_>) {
        if !has_reads {
            self.permits.withdraw(slot);
        }
        let Some(replica) = self.replica_mut(slot) else { return };
        replica.publish_upto(commit, cx.storage);
        if let Some(holder) = replica.holder_mut() {
            holder.has_reads = has_reads && !holder.has_stopped && !holder.is_learner;
        }
    }

    /// A learner that is told a commit point is level. What it held too much is overridden below that point, so the point
    /// must outlast a restart before it becomes a member: the acknowledgement waits for it (R20).
    fn keep_level(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let is_learner = self.replica(slot).and_then(Replica::holder).is_some_and(|h| h.is_learner);
        if is_learner {
            cx.storage.keep_commit_point(slot);
        }
    }

    fn stop_reads(&mut self, slot: SlotId) {
        if !mutant!("a permit kept though reads are to stop") {
            self.permits.withdraw(slot);
        }
        if let Some(holder) = self.replica_mut(slot).and_then(Replica::holder_mut) {
            holder.has_stopped = true;
            holder.has_reads = false;
        }
    }
}

/// Returns whether the message is taken whatever epoch it is of: never, but in planted defects.
fn ignores_epoch(body: &SlotMessage) -> bool {
    match body {
        SlotMessage::Prepare { .. } => mutant!("epoch unchecked in prepares"),
        // What these bring is committed, and true whatever epoch it is of.
        SlotMessage::Chunk { .. }
        | SlotMessage::Commit { .. }
        | SlotMessage::Open { .. }
        | SlotMessage::Fresh
        | SlotMessage::StopReads
        | SlotMessage::State(_)
        | SlotMessage::ReadsStopped
        | SlotMessage::Refused { .. } => false,
    }
}

/// Returns whether the record, or a newer one of its key, is published; for one that only carries a request id, whether
/// it or a newer one of its client is.
pub(super) fn is_published(storage: &dyn Storage, slot: SlotId, record: &Record) -> bool {
    let newest = match (&record.request, record.is_request_only()) {
        (Some(request), true) => storage.request(slot, request.client).map(|entry| entry.lsn),
        _ => storage.newest(slot, &record.key).map(|entry| entry.lsn),
    };
    newest.is_some_and(|lsn| lsn >= record.lsn)
}

impl Replica {
    /// Appends a record as pending, unless it is here, or its key has a newer one that is published. Returns whether
    /// there was room.
    ///
    /// A record below the commit point that is not here is superseded for certain: the commit point promises that every
    /// committed record up to it is held, or a newer one of its key, which may have been a tombstone below the floor.
    /// Taking it would bring it back.
    pub(super) fn keep(&mut self, record: &Record, storage: &mut dyn Storage) -> bool {
        let is_here = record.lsn <= self.commit
            || self.pending.contains(record.lsn, &record.key)
            || is_published(storage, self.slot, record);
        if is_here {
            return true;
        }
        match storage.append(self.slot, record) {
            Ok(position) => {
                self.pending.insert(info(record), position);
                true
            }
            Err(_) => false,
        }
    }

    /// Publishes pending records up to an lsn, which becomes the commit point. It never falls (R12).
    pub(super) fn publish_upto(&mut self, commit: Lsn, storage: &mut dyn Storage) {
        while let Some(item) = self.pending.pop_upto(commit) {
            storage.publish(self.slot, item.info.lsn, &item.info.key);
        }
        if commit > self.commit {
            self.commit = commit;
            self.held = self.held.max(commit);
            storage.set_commit_point(self.slot, commit);
        }
    }

    /// Returns the first records above an lsn, published ones, then pending ones, and whether they are the last; `None` when one
    /// cannot be read. A learner's published records above its own commit point were committed when it got them; only
    /// the pending ones can be orphans.
    fn stated(
        &self,
        from: Lsn,
        is_learner: bool,
        storage: &dyn Storage,
    ) -> Option<(Vec<Record>, bool)> {
        // Above the commit point nothing is published at a member.
        let mut above = Some(from).filter(|from| *from < self.commit && !is_learner);
        while let Some(at) = above {
            let page = storage.page(self.slot, at, STATE_LEN);
            if page.has_unreadable {
                return None;
            }
            if !page.records.is_empty() {
                let is_last = page.next.is_none() && self.pending.is_empty();
                return Some((page.records, is_last));
            }
            above = page.next;
        }
        let (mut records, mut len) = (Vec::new(), 0);
        for item in self.pending.above(from) {
            // Two records may have one lsn: a part never ends between them.
            if len >= STATE_LEN && records.last().is_some_and(|r: &Record| r.lsn < item.info.lsn) {
                return Some((records, false));
            }
            let record = storage.read_pending(self.slot, item.info.lsn, &item.info.key)?;
            len += record.byte_len();
            records.push(record);
        }
        Some((records, true))
    }

    /// Drops what is here and begins with nothing.
    pub(super) fn begin_anew(&mut self, storage: &mut dyn Storage) {
        storage.drop_slots(&[self.slot]);
        storage.create(&[self.slot]);
        self.forget_data();
    }
}

/// Returns what the pending table keeps of a record.
pub(super) fn info(record: &Record) -> PendingInfo {
    PendingInfo {
        lsn: record.lsn,
        key: record.key.clone(),
        is_live: record.value.is_some(),
        request: record.request,
        record_len: record.byte_len(),
    }
}
