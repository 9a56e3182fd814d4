//! Reads and writes of clients (R11, R13, R14, R24).
//!
//! A read begins if the role allows it, the host then fetches the value without a lock, and the value is told only if the
//! role is still the same and the leases hold *then*: so the check comes after the request's bytes and in the
//! term in which the value was read.
//!
//! A write is checked against the newest state of its key, pending records included. Where that state is pending, what it
//! leads to (a condition that fails, a delete that finds nothing) is told when the record is committed; where
//! it is committed, telling it is a read, and needs the leases of one.

use crate::event::{Action, Ask, Condition, OpId, Outcome, ReadTicket, Refusal, Reply};
use crate::message::RequestEntry;
use crate::replica::{Phase, Primary, Replica, RoleState, Waiter};
use crate::server::converge::asked_learner;
use crate::server::lead::Proposal;
use crate::server::{Cx, Server};
use crate::storage::{Refused, Storage};
use crate::types::{Bytes, Lsn, ServerId, SlotId, Time};

/// The end of a lease that nobody needs to grant.
const FOR_EVER: Time = Time(u64::MAX);

/// The newest state of a key on its primary.
#[derive(Clone, Copy, Debug)]
struct Newest {
    lsn: Lsn,
    is_live: bool,
    is_pending: bool,
}

/// A write, taken apart.
struct Write {
    value: Option<Bytes>,
    expires_at_ms: Option<u64>,
    condition: Option<Condition>,
    request: Option<(u64, u64)>,
}

impl Server {
    pub(super) fn client(&mut self, op: OpId, slot: SlotId, key: Bytes, ask: Ask, cx: &mut Cx<'_>) {
        let done = match ask {
            Ask::Get => self.begin_read(op, slot, key, cx),
            Ask::Put { value, expires_at_ms, condition, request } => {
                let value = Some(value);
                self.write(op, slot, key, Write { value, expires_at_ms, condition, request }, cx)
            }
            Ask::Delete { request } => {
                let write = Write { value: None, expires_at_ms: None, condition: None, request };
                self.write(op, slot, key, write, cx)
            }
        };
        if let Some(replica) = self.replica_mut(slot).filter(|_| done.is_ok()) {
            replica.op_count += 1;
        }
        match done {
            Ok(None) => {}
            Ok(Some(reply)) => Self::reply(op, reply, cx),
            Err(refusal) => Self::reply(op, Reply::Refused(refusal), cx),
        }
    }

    fn begin_read(
        &mut self,
        op: OpId,
        slot: SlotId,
        key: Bytes,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(replica) = self.replica(slot) else { return Err(Refusal::NotResponsible) };
        let is_dirty = replica.pending.is_dirty(&key);
        if replica.holder().is_some() && is_dirty && !mutant!("dirty read at a backup") {
            return Err(Refusal::NotResponsible);
        }
        self.may_read(slot, cx.now)?;
        let stay = replica.stay;
        if is_dirty && mutant!("dirty read at the primary") {
            let item = replica.pending.newest(&key);
            let record = item.and_then(|i| cx.storage.read_pending(slot, i.info.lsn, &key));
            let value = record.and_then(|r| Some((r.value?, r.lsn)));
            return Ok(Some(Reply::Value(value)));
        }
        cx.actions.push(Action::Read { ticket: ReadTicket { op, slot, stay }, key });
        Ok(None)
    }

    pub(super) fn read_done(
        &mut self,
        ticket: ReadTicket,
        value: Option<(Bytes, Lsn)>,
        cx: &mut Cx<'_>,
    ) {
        let stay = self.replica(ticket.slot).map(|replica| replica.stay);
        let is_same = stay == Some(ticket.stay);
        self.permits_used.note(ticket.slot, cx.now);
        self.permit(ticket.slot, cx.now);
        let reply = match self.may_read(ticket.slot, cx.now) {
            Ok(()) if is_same => Reply::Value(value),
            _ if mutant!("a read checked only before its value is read") => Reply::Value(value),
            Ok(()) => Reply::Refused(Refusal::Stopped),
            Err(refusal) => Reply::Refused(refusal),
        };
        Self::reply(ticket.op, reply, cx);
    }

    /// Says whether a read of the slot may be served now (R13, R14).
    pub(super) fn may_read(&self, slot: SlotId, now: Time) -> Result<(), Refusal> {
        let until = self.reads_until(slot)?;
        match self.replica(slot).map(|replica| &replica.state) {
            _ if now < until => Ok(()),
            Some(RoleState::Primary(_)) => Err(Refusal::Stopped),
            _ => Err(Refusal::NotResponsible),
        }
    }

    /// Lets others than the machine read the slot while its leases last, if it is served here and no key of it is dirty.
    pub(super) fn permit(&self, slot: SlotId, now: Time) {
        let is_dirty =
            |replica: &Replica| replica.holder().is_some() && !replica.pending.is_empty();
        if let Ok(until) = self.reads_until(slot)
            && now < until
            && !self.replica(slot).is_none_or(is_dirty)
        {
            self.permits.grant(slot, until);
        }
    }

    /// Gives permits anew that are used and end soon.
    pub(super) fn renew_permits(&mut self, now: Time) {
        let mut used = std::mem::take(&mut self.permits_used);
        used.look(&self.permits, now, self.config.beacon_every);
        for slot in used.ending(&self.permits, now, self.config.lease / 2) {
            self.permit(slot, now);
        }
        self.permits_used = used;
    }

    /// Returns until when reads of the slot may be served, for what is known now, or why they may not (R13, R14).
    fn reads_until(&self, slot: SlotId) -> Result<Time, Refusal> {
        let Some(replica) = self.replica(slot) else { return Err(Refusal::NotResponsible) };
        // A server whose disk failed has asked to be taken out, and whoever takes its place does not wait for its leases. Where
        // there is nobody else the coordinator leaves it be: what is committed is durable, and can be read still (P8).
        if self.has_failed && !self.is_sole(slot) {
            return Err(Refusal::Failed);
        }
        if self.resigning.contains_key(&slot) {
            return Err(match replica.primary() {
                Some(_) => Refusal::Stopped,
                None => Refusal::NotResponsible,
            });
        }
        match &replica.state {
            RoleState::None => Err(self.elsewhere()),
            RoleState::Primary(primary) => match primary.phase {
                Phase::Reconciling if !mutant!("serves before it is reconciled") => {
                    Err(Refusal::Stopped)
                }
                Phase::HandingOver { .. } => Err(Refusal::WriteLock),
                Phase::Serving | Phase::Reconciling => match mutant!("reads without a lease") {
                    true => Ok(FOR_EVER),
                    false => self.leases_until(slot, primary).ok_or(Refusal::Stopped),
                },
            },
            RoleState::Holder(holder) => {
                let until = match mutant!("hand-over that keeps serving") && holder.was_primary {
                    true => Some(FOR_EVER),
                    false => self.read_lease_until(slot, holder.primary),
                };
                let until = until.filter(|_| !holder.is_learner && holder.has_reads);
                until.ok_or(Refusal::NotResponsible)
            }
        }
    }

    /// Returns what to say about a slot that is not here: on no ring yet, or another's.
    fn elsewhere(&self) -> Refusal {
        match self.ecs.incarnation {
            Some(_) => Refusal::NotResponsible,
            None => Refusal::Stopped,
        }
    }

    /// Returns until when the primary leases last that every backup, and a learner that is asked for, granted (R13, R22).
    fn leases_until(&self, slot: SlotId, primary: &Primary) -> Option<Time> {
        let joiner = asked_learner(primary);
        let joiner = joiner.filter(|_| !mutant!("joiner not counted while asked for, for reads"));
        let members = primary.followers.iter().filter(|(_, follower)| !follower.is_learner);
        let mut members = members.map(|(id, _)| *id).chain(joiner);
        members.try_fold(FOR_EVER, |until, id| Some(until.min(self.lease_until(slot, id)?)))
    }

    /// Returns whether a server's primary lease lasts and counts for the slot.
    pub(super) fn has_lease(&self, slot: SlotId, from: ServerId, now: Time) -> bool {
        self.lease_until(slot, from).is_some_and(|until| now < until)
    }

    fn lease_until(&self, slot: SlotId, from: ServerId) -> Option<Time> {
        let changed = self.map.slot(slot).changed;
        let lease = match mutant!("lease longer than the grace") {
            true => self.config.grace * 4,
            false => self.config.lease,
        };
        self.peers.get(&from)?.lease.primary_until(lease, changed, self.version())
    }

    fn read_lease_until(&self, slot: SlotId, primary: ServerId) -> Option<Time> {
        let listed = self.map.slot(slot);
        let backups = match mutant!("read lease granted without own lease") {
            true => &[],
            false => listed.backups.as_slice(),
        };
        let at = (listed.changed, self.version());
        self.peers.get(&primary)?.lease.read_until(self.config.read_lease, at, backups)
    }

    fn write(
        &mut self,
        op: OpId,
        slot: SlotId,
        key: Bytes,
        write: Write,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Reply>, Refusal> {
        self.may_write(slot)?;
        let Some(replica) = self.replica(slot) else { return Err(Refusal::NotResponsible) };
        if let Some((client, number)) = write.request {
            let last = self.newest_request(slot, client, cx.storage);
            if let Some(known) = last.and_then(|last| known_request(replica, last, number)) {
                return Ok(self.answer_known(op, slot, known));
            }
        }
        self.check_room(slot, write.value.is_some(), cx.storage)?;
        let newest = newest(replica, &key, cx.storage);
        let live = newest.filter(|newest| newest.is_live);
        let is_met = match write.condition {
            None => write.value.is_some() || live.is_some(),
            Some(Condition::Absent) => live.is_none(),
            Some(Condition::Version(lsn)) => live.is_some_and(|live| live.lsn == lsn),
        };
        if !is_met {
            let reply = match write.condition {
                Some(_) => Reply::ConditionFailed(live.map(|live| live.lsn)),
                None => Reply::Missing,
            };
            return self.tell_state(op, slot, newest, reply, cx.now);
        }
        let outcome = match (&write.value, live) {
            (Some(_), None) => Outcome::Stored,
            (Some(_), Some(_)) => Outcome::Replaced,
            (None, _) => Outcome::Deleted,
        };
        let request = write.request.map(|request| outcome.request(request));
        let Write { value, expires_at_ms, .. } = write;
        let proposal = Proposal { key, value, expires_at_ms, request };
        let lsn = self.propose(slot, proposal, cx).map_err(Refusal::from)?;
        let reply = outcome.reply(lsn).unwrap_or(Reply::Unknown);
        self.wait(slot, lsn, Waiter { op, reply });
        Ok(None)
    }

    /// Says whether a write may be taken now.
    pub(super) fn may_write(&self, slot: SlotId) -> Result<(), Refusal> {
        let Some(replica) = self.replica(slot) else { return Err(Refusal::NotResponsible) };
        let Some(primary) = replica.primary() else { return Err(self.elsewhere()) };
        if self.has_failed {
            return Err(Refusal::Failed);
        }
        if self.resigning.contains_key(&slot) {
            return Err(Refusal::Stopped);
        }
        match primary.phase {
            Phase::Reconciling if !mutant!("serves before it is reconciled") => {
                Err(Refusal::Stopped)
            }
            Phase::HandingOver { .. } => Err(Refusal::WriteLock),
            Phase::Serving | Phase::Reconciling => {
                let has_room = replica.pending.count() < self.config.pending_count_max
                    && replica.pending.byte_len() < self.config.pending_len_max;
                match has_room {
                    true => Ok(()),
                    false => Err(Refusal::Busy),
                }
            }
        }
    }

    /// Refuses puts while the disk of any member is full; deletes go on (R8).
    fn check_room(&self, slot: SlotId, is_put: bool, storage: &dyn Storage) -> Result<(), Refusal> {
        let primary = self.replica(slot).and_then(Replica::primary);
        let mut followers = primary.into_iter().flat_map(|primary| primary.followers.keys());
        let is_any_full = storage.is_full()
            || followers.any(|id| self.peers.get(id).is_some_and(|peer| peer.is_full));
        match is_put && is_any_full {
            true => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    /// Tells what a write that changes nothing found.
    fn tell_state(
        &mut self,
        op: OpId,
        slot: SlotId,
        newest: Option<Newest>,
        reply: Reply,
        now: Time,
    ) -> Result<Option<Reply>, Refusal> {
        match newest.filter(|newest| newest.is_pending) {
            Some(pending) if !mutant!("a condition answered from pending state") => {
                self.wait(slot, pending.lsn, Waiter { op, reply });
                Ok(None)
            }
            _ => {
                self.may_read(slot, now)?;
                Ok(Some(reply))
            }
        }
    }

    /// Returns the newest request of a client, pending ones included, by lsn (R24).
    pub(super) fn newest_request(
        &self,
        slot: SlotId,
        client: u64,
        storage: &dyn Storage,
    ) -> Option<RequestEntry> {
        if mutant!("request ids ignored") {
            return None;
        }
        let pending = self.replica(slot).and_then(|replica| replica.pending.request(client));
        let published = storage.request(slot, client);
        pending.into_iter().chain(published).max_by_key(|entry| entry.lsn)
    }

    fn answer_known(&mut self, op: OpId, slot: SlotId, known: Known) -> Option<Reply> {
        match known {
            Known::Done(reply) => Some(reply),
            Known::Pending(lsn, reply) => {
                self.wait(slot, lsn, Waiter { op, reply });
                None
            }
        }
    }
}

/// What is known of a request that came before.
enum Known {
    /// Its outcome.
    Done(Reply),
    /// Its outcome, once the record is committed.
    Pending(Lsn, Reply),
}

fn known_request(replica: &Replica, last: RequestEntry, number: u64) -> Option<Known> {
    let outcome = Outcome::from_code(last.request.outcome)?;
    if last.request.number > number {
        // It may have been carried out before the later one; what came of it is no longer kept.
        return Some(Known::Done(Reply::Unknown));
    }
    if last.request.number < number {
        return None;
    }
    let reply = outcome.reply(last.lsn)?;
    let is_pending =
        replica.pending.request(last.request.client).is_some_and(|p| p.lsn == last.lsn);
    Some(if is_pending { Known::Pending(last.lsn, reply) } else { Known::Done(reply) })
}

fn newest(replica: &Replica, key: &Bytes, storage: &dyn Storage) -> Option<Newest> {
    let published = storage.newest(replica.slot, key);
    let published =
        published.map(|entry| Newest { lsn: entry.lsn, is_live: entry.is_live, is_pending: false });
    let pending = replica.pending.newest(key);
    let pending = pending.map(|item| Newest {
        lsn: item.info.lsn,
        is_live: item.info.is_live,
        is_pending: true,
    });
    pending.into_iter().chain(published).max_by_key(|newest| newest.lsn)
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Full,
            Refused::Failed => Self::Failed,
        }
    }
}
