//! Requests of servers: judged in rising order, each change by compare-and-set on its slot's epoch.
//!
//! A request is taken only from the newest life of a server and only if its number is above all that were handled; a lower
//! or equal one came late and is dropped without an answer, because the answer to the later one settles it (R9).
//!
//! | change | who may ask | what becomes of it |
//! |---|---|---|
//! | depose | a backup | it is primary in a new term, the old primary is no member |
//! | remove | the primary | the backup is no member |
//! | promote | the primary | the learner, if it is still that life, is a backup |
//! | hand over | the primary | the backup is primary in a new term, the asker its backup |
//! | resign | a member | it is no member, if another member is seen |
//! | fail | anybody, for itself | it is taken out of every slot that has another member, which is seen |
//! | leave | anybody, for itself | it is off the ring, if somebody else is on it |
//!
//! What is stale or not the asker's to ask for is not made. There is always an answer, with all that changed since the
//! asker's version: a change that was made is seen by its epoch. If two members accuse each other the request that comes
//! first wins, because it raises the epoch; but who is doubted by everybody, as a third server says, accuses in vain (R15).

use std::collections::BTreeSet;

use super::Coordinator;
use super::draft::Draft;
use super::event::{Action, ConnectionId, Entry};
use super::members::{self, Life};
use super::tell::Due;
use crate::map::{Slot, Standing};
use crate::message::{Change, FromEcs};
use crate::types::{Epoch, Incarnation, Number, ServerId, SlotId, SlotLoad, Time, Version};

/// Changes in one request, for each slot of the cluster; two more are for the server itself.
const CHANGE_COUNT_MAX_PER_SLOT: usize = 4;

/// What a server asks for.
pub(super) struct Request {
    pub(super) server: ServerId,
    pub(super) incarnation: Incarnation,
    pub(super) number: Number,
    pub(super) version: Version,
    pub(super) is_full: bool,
    pub(super) changes: Vec<Change>,
    pub(super) loads: Vec<(SlotId, SlotLoad)>,
}

impl Coordinator {
    pub(super) fn request(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: &Request,
        actions: &mut Vec<Action>,
    ) -> Option<Due> {
        let known = self.life(request.server).map(|(_, incarnation)| incarnation);
        if known.is_none_or(|known| request.incarnation < known) {
            actions.push(Action::Send(connection, FromEcs::Superseded));
            self.close(connection, actions);
            return None;
        }
        if known < Some(request.incarnation)
            || !self.is_possible(request)
            || !self.peers.may_speak(connection, request.server)
        {
            self.close(connection, actions);
            return None;
        }
        self.hear((connection, request.server), request.version, now, actions);
        if !self.peers.is_newest(request.server, (request.incarnation, request.number)) {
            return None;
        }
        self.note(request);
        let entry = self.requested(now, request);
        self.commit(now, entry, actions);
        Some(Due::Answer { connection, number: request.number, version: request.version })
    }

    /// Returns whether a server of this cluster can have said this.
    fn is_possible(&self, request: &Request) -> bool {
        let slot_count = self.map.slot_count();
        request.version <= self.map.version()
            && request.changes.len() <= 2 + usize::from(slot_count) * CHANGE_COUNT_MAX_PER_SLOT
            && request.loads.len() <= usize::from(slot_count)
            && request.loads.iter().all(|(slot, _)| slot.index() < slot_count)
    }

    /// Notes what a request tells besides what it asks for.
    fn note(&mut self, request: &Request) {
        for (slot, load) in &request.loads {
            if self.map.slot(*slot).primary_id() == Some(request.server) {
                self.placing.set_load(*slot, *load);
            }
        }
        if let Some(peer) = self.peers.get_mut(request.server) {
            peer.is_full = request.is_full;
            if request.changes.contains(&Change::Fail) {
                peer.failed = Some(request.incarnation);
            }
        }
    }

    /// Returns what a request decides, if anything.
    fn requested(&self, now: Time, request: &Request) -> Option<Entry> {
        let asker = (request.server, request.incarnation);
        let mut draft = Draft::new(&self.map);
        let standing = self.map.servers().get(&asker.0).map(|server| server.standing);
        if standing == Some(Standing::Away) && !request.changes.contains(&Change::Leave) {
            // It was only silent: nobody else has registered in its name.
            self.join(asker.0, &mut draft);
        }
        if request.changes.contains(&Change::Fail) {
            self.fail(now, asker.0, &mut draft);
        }
        for change in &request.changes {
            self.judge(now, asker, *change, &mut draft);
        }
        draft.finish(&format!("{} asked", asker.0))
    }

    fn judge(&self, now: Time, asker: Life, change: Change, draft: &mut Draft<'_>) {
        match change {
            Change::Depose { slot, epoch } => self.depose(now, asker, (slot, epoch), draft),
            Change::Remove { slot, epoch, member } => {
                let Some(at) = at_epoch(draft, slot, epoch) else { return };
                let next = members::remove(at, asker, member);
                if self.believes(now, asker.0, member) && draft.set_slot(slot, "removed", next) {
                    draft.accuse(member);
                }
            }
            Change::Promote { slot, epoch, learner } => {
                let Some(at) = at_epoch(draft, slot, epoch) else { return };
                let next = members::promote(at, asker, learner);
                draft.set_slot(slot, "promoted", next);
            }
            Change::HandOver { slot, epoch, to } => {
                let Some(at) = at_epoch(draft, slot, epoch) else { return };
                let next = self.life(to).and_then(|to| members::hand_over(at, asker, to));
                draft.set_slot(slot, "handed over", next);
            }
            Change::Resign { slot, epoch } => self.resign(now, asker.0, (slot, epoch), draft),
            // It came first: no other change is worth more.
            Change::Fail => {}
            Change::Leave => {
                // Where it would be the last there is nobody to leave its slots to: it stays.
                let _is_left = self.leave(asker.0, Standing::Leaving, draft);
            }
        }
    }

    fn depose(
        &self,
        now: Time,
        asker: Life,
        (slot, epoch): (SlotId, Epoch),
        draft: &mut Draft<'_>,
    ) {
        let Some(at) = at_epoch(draft, slot, epoch) else { return };
        let Some(accused) = at.primary_id() else { return };
        let next = members::depose(at, asker);
        if self.believes(now, asker.0, accused) && draft.set_slot(slot, "deposed", next) {
            draft.accuse(accused);
        }
    }

    /// Returns whether an accusation is believed: not if a third server says that everybody doubts the accuser, and none says so
    /// of the accused (R15). Old words count for nothing.
    fn believes(&self, now: Time, accuser: ServerId, accused: ServerId) -> bool {
        let is_doubted = |server: ServerId| {
            let mut said = self.peers.doubts(now, self.unseen_after());
            said.any(|(by, doubts)| by != accuser && by != accused && doubts.contains(&server))
        };
        !is_doubted(accuser)
            || is_doubted(accused)
            || mutant!("an accuser believed whom everybody doubts")
    }

    /// Takes in whom everybody doubts, as a server says of the newest life of which the coordinator knows.
    pub(super) fn take_doubts(
        &mut self,
        connection: ConnectionId,
        (server, incarnation): Life,
        doubted: BTreeSet<ServerId>,
    ) {
        let is_known = self.life(server).is_some_and(|(_, known)| known == incarnation);
        if let Some(peer) = self.peers.get_mut(server)
            && is_known
            && peer.connection == Some(connection)
        {
            peer.doubts = doubted;
        }
    }

    /// Takes a server with a broken disk out of all that others hold too.
    fn fail(&self, now: Time, server: ServerId, draft: &mut Draft<'_>) {
        for (id, slot) in self.map.slots().filter(|(_, slot)| slot.is_holder(server)) {
            draft.set_slot(id, "failed", self.without(now, server, (id, slot)));
        }
    }

    /// Takes a server out of a slot of which it cannot read all (R4). It is asked back as a learner, which begins anew.
    fn resign(
        &self,
        now: Time,
        server: ServerId,
        (id, epoch): (SlotId, Epoch),
        draft: &mut Draft<'_>,
    ) {
        let Some(slot) = at_epoch(draft, id, epoch) else { return };
        let next = self.without(now, server, (id, slot)).filter(|_| slot.is_member(server));
        draft.set_slot(id, "resigned", next);
    }

    /// Returns a slot without a server that another member can stand in for.
    fn without(&self, now: Time, server: ServerId, (id, slot): (SlotId, &Slot)) -> Option<Slot> {
        // Not while the others are away: they may never come back, and this copy can be read still.
        let has_others = slot.members().any(|m| m != server && self.is_seen(now, m));
        let heir = self.heir(now, id, slot);
        has_others.then(|| members::take_out(slot, server, heir)).flatten()
    }
}

/// Returns a slot if its epoch is the asker's, and nothing has become of it in this request yet.
fn at_epoch<'a>(draft: &'a Draft<'_>, slot: SlotId, epoch: Epoch) -> Option<&'a Slot> {
    draft.unchanged_slot(slot).filter(|at| at.epoch == epoch)
}
