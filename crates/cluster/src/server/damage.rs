//! A copy that cannot be read whole (R4): it is given up, and made anew from another member's.
//!
//! ```text
//! a record cannot be read ──▶ damaged ──▶ stops serving ──▶ asks to resign ──▶ no member ──▶ learner with nothing
//!                                            ▲                   │
//!                                            └── refused: the ───┘ serves again, and asks again later
//!                                                only copy
//! ```
//!
//! A member that cannot read a record does not claim to have it: it states nothing rather than less, and sends nobody the
//! log with a hole. It stops serving the slot before it asks, like a primary that hands over (R23) and a backup that leaves (R21), since
//! whoever takes its place does not wait for leases.
//!
//! Left out: fetching the one record from another member. The engine would have to take a record in the place of one that it has,
//! and a disk that lost one is the worse place for the slot. So two members that each lost something else do not mend each
//! other: the last one keeps its hole, which its readers are told. A key that is written anew is whole again.
//! A slot whose only copy has a hole gets no learner that is level, for it would not know of the hole.

use std::time::Duration;

use crate::event::{ReadTicket, Refusal, Reply};
use crate::message::Change;
use crate::replica::{Replica, RoleState};
use crate::server::{Cx, Server};
use crate::types::{SlotId, Time};

/// How long a copy that could not be given up is used before that is asked for again: nothing is served while it is asked.
const RESIGN_EVERY: Duration = Duration::from_secs(5);

impl Server {
    /// Notes that something of a slot that is here cannot be read.
    pub(super) fn damaged(&mut self, slot: SlotId) {
        if let Some(replica) = self.replica_mut(slot) {
            replica.is_damaged = true;
        }
    }

    /// A value that was to be told cannot be read.
    pub(super) fn read_failed(&mut self, ticket: ReadTicket, cx: &mut Cx<'_>) {
        self.damaged(ticket.slot);
        let refusal = match self.may_read(ticket.slot, cx.now) {
            Ok(()) => self.refusal_of_damage(ticket.slot),
            Err(refusal) => refusal,
        };
        Self::reply(ticket.op, Reply::Refused(refusal), cx);
    }

    /// Another member can answer, at once or soon; where there is none, the value is lost.
    fn refusal_of_damage(&self, slot: SlotId) -> Refusal {
        match self.replica(slot).map(|replica| &replica.state) {
            Some(RoleState::Primary(_)) if self.is_sole(slot) => Refusal::Failed,
            Some(RoleState::Primary(_)) => Refusal::Stopped,
            Some(RoleState::Holder(_) | RoleState::None) | None => Refusal::NotResponsible,
        }
    }

    /// Returns whether this server is the slot's only member, and nobody can be made another without its asking.
    pub(super) fn is_sole(&self, slot: SlotId) -> bool {
        let primary = self.replica(slot).and_then(Replica::primary);
        let mut members = self.map.slot(slot).members();
        primary.is_some_and(|primary| primary.ask.is_none()) && members.all(|id| id == self.me())
    }

    /// Asks to be no member of slots that cannot be read whole here, if they have others.
    pub(super) fn resign(&mut self, now: Time) {
        let (me, number) = (self.me(), self.ecs.next_number());
        for replica in self.replicas.iter().filter(|r| r.is_damaged && r.resign_at <= now) {
            let listed = self.map.slot(replica.slot);
            let has_others = listed.is_member(me) && listed.members().any(|id| id != me);
            // What the primary asked for already is settled first.
            let is_free = replica.primary().is_none_or(|primary| primary.ask.is_none());
            if has_others && is_free && !self.resigning.contains_key(&replica.slot) {
                self.permits.withdraw(replica.slot);
                self.resigning.insert(replica.slot, number);
                let (slot, epoch) = (replica.slot, replica.epoch);
                self.loose.push(Change::Resign { slot, epoch });
            }
        }
    }

    /// Serves again what was not taken away.
    pub(super) fn forget_resignations(&mut self, now: Time) {
        let ecs = &self.ecs;
        let is_settled = |number: &crate::types::Number| ecs.is_settled(*number);
        let settled: Vec<SlotId> =
            self.resigning.iter().filter(|(_, n)| is_settled(n)).map(|(slot, _)| *slot).collect();
        for slot in settled {
            self.resigning.remove(&slot);
            if let Some(replica) = self.replica_mut(slot) {
                replica.resign_at = now + RESIGN_EVERY;
            }
        }
    }
}
