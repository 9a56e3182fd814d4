//! The primary's side: new records, prepares, commits (R10).
//!
//! ```text
//! propose ──▶ append here (pending) ──▶ prepare to every live follower
//!                    │                            │
//!                 durable here            acknowledged by all that count
//!                    └──────────── commit ────────┘   publish, answer, tell the commit point
//! ```

use crate::event::{Action, Link, Outcome, Reply};
use crate::message::SlotMessage;
use crate::peer::{Mark, Meaning};
use crate::replica::{Asked, Phase, Replica, Waiter};
use crate::server::hold::info;
use crate::server::{Cx, Server};
use crate::storage::Refused;
use crate::types::{Bytes, Epoch, Lsn, Record, Request, ServerId, SlotId};

/// What a new record says.
pub(super) struct Proposal {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) expires_at_ms: Option<u64>,
    pub(super) request: Option<Request>,
}

impl Server {
    /// Gives a write the slot's next lsn, appends it, and sends it to every live follower, in one step.
    ///
    /// # Errors
    /// `Full`, `Failed`: nothing was done.
    pub(super) fn propose(
        &mut self,
        slot: SlotId,
        proposal: Proposal,
        cx: &mut Cx<'_>,
    ) -> Result<Lsn, Refused> {
        let Some(replica) = self.replica_mut(slot) else { return Err(Refused::Failed) };
        let epoch = replica.epoch;
        let Some(primary) = replica.primary_mut() else { return Err(Refused::Failed) };
        let lsn = epoch.lsn(primary.next);
        let Proposal { key, value, expires_at_ms, request } = proposal;
        let record = Record { lsn, key, value, expires_at_ms, request };
        let position = cx.storage.append(slot, &record)?;
        if let Some(primary) = replica.primary_mut() {
            primary.next += 1;
        }
        replica.pending.insert(info(&record), position);
        self.await_sync(slot, position);
        let live = self.live_followers(slot);
        for id in live {
            self.send_prepare(id, (slot, epoch), &record, lsn, cx);
        }
        self.touched.insert(slot);
        Ok(lsn)
    }

    fn live_followers(&self, slot: SlotId) -> Vec<ServerId> {
        let primary = self.replica(slot).and_then(Replica::primary);
        let followers = primary.into_iter().flat_map(|primary| &primary.followers);
        followers.filter(|(_, follower)| follower.is_live()).map(|(id, _)| *id).collect()
    }

    /// Sends a record; when it is acknowledged, everything of the log up to `upto` is durable there.
    pub(super) fn send_prepare(
        &mut self,
        to: ServerId,
        at: (SlotId, Epoch),
        record: &Record,
        upto: Lsn,
        cx: &mut Cx<'_>,
    ) {
        let Some(replica) = self.replica(at.0) else { return };
        let follower = replica.primary().and_then(|primary| primary.followers.get(&to));
        let commit = follower.is_some_and(|f| f.is_level).then_some(replica.commit);
        let body = SlotMessage::Prepare { commit, record: record.clone() };
        if self.send_slot(to, at, body, cx) {
            self.mark(to, at.0, Meaning::Upto(upto), cx);
        }
    }

    /// Notes what it means when the last message sent to the follower is acknowledged.
    pub(super) fn mark(&mut self, to: ServerId, slot: SlotId, meaning: Meaning, cx: &mut Cx<'_>) {
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&to)) else {
            return;
        };
        follower.owes += 1;
        follower.owes_since.get_or_insert(cx.now);
        let life = follower.life;
        let mark = Mark { slot, life, meaning };
        let outward = self.peers.get_mut(&to).and_then(|peer| peer.outward.as_mut());
        if outward.is_some_and(|outward| outward.mark(mark)) {
            self.mark_reached(to, mark, cx);
        }
    }

    /// Takes an acknowledgement: all before the position is durable there.
    pub(super) fn acknowledged(&mut self, from: ServerId, upto: u64, cx: &mut Cx<'_>) {
        let outward = self.peers.get_mut(&from).and_then(|peer| peer.outward.as_mut());
        let Some(outward) = outward else { return };
        if upto > outward.sent {
            // Nonsense: what was never sent cannot be durable there.
            let link = Link::Out(from, outward.session);
            cx.actions.push(Action::Close(link));
            return self.closed(link, cx.now);
        }
        outward.acknowledge(upto);
        let next = |server: &mut Self| server.peers.get_mut(&from)?.outward.as_mut()?.pop_mark();
        while let Some(mark) = next(self) {
            self.mark_reached(from, mark, cx);
        }
    }

    fn mark_reached(&mut self, from: ServerId, mark: Mark, cx: &mut Cx<'_>) {
        let primary = self.replica_mut(mark.slot).and_then(Replica::primary_mut);
        let Some(follower) = primary.and_then(|primary| primary.followers.get_mut(&from)) else {
            return;
        };
        if follower.life != mark.life && !mutant!("epoch unchecked in acknowledgements") {
            return;
        }
        follower.owes = follower.owes.saturating_sub(1);
        follower.owes_since = (follower.owes > 0).then_some(cx.now);
        match mark.meaning {
            Meaning::Upto(lsn) => follower.acked = follower.acked.max(lsn),
            Meaning::Level => follower.knows_level = true,
            Meaning::Chunk | Meaning::WalkEnd(_) => {
                self.walked(from, mark.slot, mark.meaning, cx);
            }
        }
        self.touched.insert(mark.slot);
    }

    /// Looks at a slot that something happened to.
    pub(super) fn progress(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let phase = self.replica(slot).and_then(Replica::primary).map(|primary| primary.phase);
        match phase {
            None => self.note_surplus(slot),
            Some(Phase::Reconciling) => self.reconcile(slot, cx),
            Some(Phase::Serving) => {
                self.commit(slot, cx);
                self.level_learner(slot, cx);
                self.converge(slot, cx);
            }
            Some(Phase::HandingOver { to, .. }) => {
                self.commit(slot, cx);
                self.hand_over_when_drained(slot, to);
            }
        }
    }

    /// Commits what all that count have (R10).
    fn commit(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let durable = self.durable;
        let Some(replica) = self.replica_mut(slot) else { return };
        let Some(upto) = replica.committable(durable) else { return };
        replica.publish_upto(upto, cx.storage);
        // The acknowledgements may be older than what waits: they prove a write, and no reading of the state (R13).
        let reads = match mutant!("a pending state told without a lease") {
            true => Ok(()),
            false => self.may_read(slot, cx.now),
        };
        let primary = self.replica_mut(slot).and_then(Replica::primary_mut);
        let Some(primary) = primary else { return };
        while let Some(waiter) = primary.waiters.pop_upto(upto) {
            cx.actions.push(match reads {
                Err(refusal) if waiter.reply.is_reading() => {
                    Action::Reply(waiter.op, Reply::Refused(refusal))
                }
                Ok(()) | Err(_) => Action::Reply(waiter.op, waiter.reply),
            });
        }
        self.untold.insert(slot);
    }

    /// Lets an operation wait for a record's commit.
    pub(super) fn wait(&mut self, slot: SlotId, lsn: Lsn, waiter: Waiter) {
        if let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) {
            primary.waiters.push(lsn, waiter);
        }
    }

    /// Tells followers how far the slots are committed that moved since the last tick, and whether they may serve reads.
    pub(super) fn tell_commits(&mut self, cx: &mut Cx<'_>) {
        while let Some(slot) = self.untold.pop_first() {
            self.tell_commit(slot, cx);
        }
    }

    pub(super) fn tell_commit(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica_mut(slot) else { return };
        let (commit, at) = (replica.commit, (slot, replica.epoch));
        let request_floor = replica.request_floor;
        let Some(primary) = replica.primary_mut() else { return };
        if primary.phase == Phase::Reconciling {
            return;
        }
        let letting_go = primary.letting_go;
        let floor = cx.storage.tombstone_floor(slot);
        let mut told = Vec::new();
        for (id, follower) in &mut primary.followers {
            let has_reads = !follower.is_learner && letting_go != Some(*id);
            let is_news = follower.told != Some(commit) || follower.told_reads != has_reads;
            if follower.is_level && is_news {
                follower.told = Some(commit);
                follower.told_reads = has_reads;
                told.push((*id, has_reads));
            }
        }
        for (id, has_reads) in told {
            let body = SlotMessage::Commit { commit, floor, request_floor, has_reads };
            self.send_slot(id, at, body, cx);
        }
    }

    /// Overrides what is remembered of a client's requests in a slot: it needs them no more (R24).
    pub(super) fn forget_client(&mut self, slot: SlotId, client: u64, cx: &mut Cx<'_>) {
        let is_known = self.newest_request(slot, client, cx.storage).is_some();
        if !is_known || self.may_write(slot).is_err() {
            return;
        }
        let request = Some(Outcome::Void.request((client, 0)));
        let key = Bytes::from([]);
        let proposal = Proposal { key, value: None, expires_at_ms: None, request };
        // A disk that takes nothing keeps the entry; it goes with age.
        self.propose(slot, proposal, cx).ok();
    }

    /// Notes a change to ask the coordinator for; it goes out when the step ends.
    pub(super) fn ask(&mut self, slot: SlotId, change: crate::message::Change) {
        if !mutant!("a permit kept though a joiner counts") {
            self.permits.withdraw(slot);
        }
        if let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) {
            primary.ask = Some(Asked { change, number: None });
            self.unsent.insert(slot);
        }
    }

    /// Answers an operation at once.
    pub(super) fn reply(op: crate::event::OpId, reply: Reply, cx: &mut Cx<'_>) {
        cx.actions.push(Action::Reply(op, reply));
    }
}
