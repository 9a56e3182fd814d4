//! New maps: made durable first, then put in force, slot by slot (R9).

use crate::event::{Action, Reply};
use crate::map::{Delta, Slot};
use crate::replica::{Follower, Holder, Phase, Primary, Replica, RoleState};
use crate::server::{Cx, Server};
use crate::storage::Storage;
use crate::types::{Lsn, ServerId, SlotId, Time, Version};

impl Server {
    /// Takes a delta from whoever sent it, if it fits the map and follows what is here, or on its way here.
    ///
    /// What comes while another is being made durable waits, all of it as one: so a slow disk is never more than one step behind,
    /// and leases granted for newer maps are not outrun. What leaves a gap is dropped; it comes again by a pull.
    pub(super) fn take_delta(&mut self, delta: Delta, cx: &mut Cx<'_>) {
        if delta.to <= self.version() || self.map.check(&delta).is_err() {
            return;
        }
        let Some(persisting) = &self.persisting else {
            if delta.from <= self.version() {
                self.persist(delta, cx);
            }
            return;
        };
        match &mut self.waiting {
            Some(waiting) => waiting.join(delta),
            None if delta.from <= persisting.to && delta.to > persisting.to => {
                self.waiting = Some(delta);
            }
            None => {}
        }
    }

    fn persist(&mut self, delta: Delta, cx: &mut Cx<'_>) {
        cx.actions.push(Action::PersistMap(delta.clone()));
        self.persisting = Some(delta);
        self.persisting_since = cx.now;
    }

    pub(super) fn map_persisted(&mut self, version: Version, cx: &mut Cx<'_>) {
        let Some(delta) = self.persisting.take_if(|delta| delta.to == version) else { return };
        if !mutant!("a permit kept in a new epoch") {
            delta.slots.iter().for_each(|(slot, _)| self.permits.withdraw(*slot));
        }
        if self.map.apply(&delta).is_ok() {
            cx.actions.push(Action::MapChanged(version));
            if self.ecs.incarnation.is_some() {
                self.put_in_force(&delta, cx);
            }
            self.settle(cx);
        }
        if let Some(next) = self.waiting.take() {
            self.take_delta(next, cx);
        }
    }

    fn put_in_force(&mut self, delta: &Delta, cx: &mut Cx<'_>) {
        self.create_held(delta.slots.iter().map(|(slot, _)| *slot), cx);
        for (slot, _) in &delta.slots {
            self.relist(*slot, cx);
        }
        if delta.ring.is_some() {
            self.touched.extend(self.map.slots().map(|(slot, _)| slot));
        }
        self.map_in_force(cx);
    }

    /// Puts every slot in force: the registration is.
    pub(super) fn relist_all(&mut self, cx: &mut Cx<'_>) {
        self.permits.withdraw_all();
        let slots: Vec<SlotId> = self.map.slots().map(|(slot, _)| slot).collect();
        self.create_held(slots.iter().copied(), cx);
        for slot in slots {
            self.relist(slot, cx);
        }
        self.map_in_force(cx);
    }

    /// Makes sure that the slots held by the map are in the storage, all in one step; a learner's copy that cannot be read whole
    /// begins anew (R4).
    fn create_held(&mut self, slots: impl Iterator<Item = SlotId>, cx: &mut Cx<'_>) {
        let me = self.me();
        let held: Vec<SlotId> = slots.filter(|slot| self.map.slot(*slot).is_holder(me)).collect();
        let mut missing = Vec::new();
        for slot in held {
            let is_learner = self.map.slot(slot).learner_id() == Some(me);
            let Some(replica) = self.replica_mut(slot) else { continue };
            if replica.is_damaged && is_learner {
                replica.begin_anew(cx.storage);
            }
            if !std::mem::replace(&mut replica.is_stored, true) {
                missing.push(slot);
            }
        }
        if !missing.is_empty() {
            cx.storage.create(&missing);
        }
    }

    fn map_in_force(&mut self, cx: &mut Cx<'_>) {
        let me = self.me();
        // The same few again and again: a set made of all of them at once would sort thousands.
        self.wanted.clear();
        for (_, slot) in self.map.slots().filter(|(_, slot)| slot.is_holder(me)) {
            self.wanted.extend(slot.holders().filter(|id| *id != me));
        }
        // Who was accused may have been removed: then there may be more to ask for.
        self.accused_at = None;
        self.leave_old_lives(cx);
        self.connect_peers(cx);
        // Leases of the new epochs begin with the first beacons of the new version: at once, or as soon as may be.
        let peers: Vec<ServerId> = self.peers.keys().copied().collect();
        for id in peers {
            self.send_news(id, cx);
            self.unblock(id, cx);
        }
    }

    /// Gives a slot the role that the map in force says.
    fn relist(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let listed = self.map.slot(slot).clone();
        let (me, incarnation) = (self.me(), self.incarnation());
        let Some(replica) = self.replica(slot) else { return };
        if replica.epoch == listed.epoch && replica.stay > 0 {
            return;
        }
        // The epoch that was asked about is over: that is the outcome.
        self.resigning.remove(&slot);
        let Some(replica) = self.replica(slot) else { return };
        let is_same_term = replica.term == listed.term && replica.stay > 0;
        let was_primary = replica.primary().is_some();
        self.touched.insert(slot);
        if listed.primary == Some((me, incarnation)) {
            match is_same_term && was_primary {
                true => self.go_on(slot, &listed, cx),
                false => self.begin_primary(slot, &listed, cx),
            }
        } else {
            let is_learner = listed.learner == Some((me, incarnation));
            let is_holder = is_learner || listed.backups.contains(&me);
            let primary = listed.primary_id().filter(|_| is_holder);
            self.begin_holder(slot, &listed, primary.map(|id| (id, is_learner)), cx);
        }
        if let Some(replica) = self.replica_mut(slot) {
            replica.epoch = listed.epoch;
            replica.term = listed.term;
        }
        self.open_slot(slot, cx);
    }

    /// Begins to be a learner, a backup, or nothing.
    fn begin_holder(
        &mut self,
        slot: SlotId,
        listed: &Slot,
        held: Option<(ServerId, bool)>,
        cx: &mut Cx<'_>,
    ) {
        self.drop_waiters(usize::from(slot.index()), cx);
        let Some(replica) = self.replica_mut(slot) else { return };
        if replica.term != listed.term || replica.holder().is_none_or(|h| h.is_learner) {
            replica.listed_at = cx.now;
        }
        replica.stay += 1;
        let was_primary = replica.primary().is_some();
        let holder = |(primary, is_learner)| Holder {
            primary,
            is_learner,
            was_primary,
            has_reads: was_primary && mutant!("hand-over that keeps serving"),
            has_stopped: false,
        };
        replica.state = held.map_or(RoleState::None, |held| RoleState::Holder(holder(held)));
    }

    /// Begins to be primary: nothing is served before all members are reconciled (R18).
    fn begin_primary(&mut self, slot: SlotId, listed: &Slot, cx: &mut Cx<'_>) {
        let followers = self.followers(listed, cx.now);
        if let Some(last) = self.replica(slot).and_then(|replica| replica.pending.end()) {
            self.await_sync(slot, last);
        }
        let Some(replica) = self.replica_mut(slot) else { return };
        replica.stay += 1;
        replica.listed_at = cx.now;
        let next = match mutant!("lsn reused after a restart") && listed.term.0 > 0 {
            true => replica.pending.last().unwrap_or(replica.commit).counter().saturating_sub(1),
            false => 1,
        };
        replica.state = RoleState::Primary(Box::new(Primary {
            phase: Phase::Reconciling,
            next,
            followers: followers.into_iter().collect(),
            waiters: Default::default(),
            ask: None,
            next_floor: Lsn(0),
            next_request_floor: Lsn(0),
            quiet_until: cx.now,
            letting_go: None,
        }));
    }

    /// Goes on as primary with other members.
    fn go_on(&mut self, slot: SlotId, listed: &Slot, cx: &mut Cx<'_>) {
        let fresh = self.followers(listed, cx.now);
        let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) else { return };
        let mut old = std::mem::take(&mut primary.followers);
        for (id, mut follower) in fresh {
            if let Some(before) = old.remove(&id) {
                follower.listed_at = before.listed_at;
            }
            primary.followers.insert(id, follower);
        }
        primary.next = 1;
        // The epoch that was asked about is over: that is the outcome.
        primary.ask = None;
        primary.letting_go = None;
        if let Phase::HandingOver { .. } = primary.phase {
            primary.phase = Phase::Serving;
        }
    }

    fn followers(&mut self, listed: &Slot, now: Time) -> Vec<(ServerId, Follower)> {
        let me = self.me();
        let learner = listed.learner_id();
        let others: Vec<ServerId> = listed.holders().filter(|id| *id != me).collect();
        let follower = |id: ServerId| {
            let follower = Follower::new(learner == Some(id), now);
            (id, Follower { life: self.count(), ..follower })
        };
        others.into_iter().map(follower).collect()
    }

    /// Tells everybody who waits for a record of the slot that its outcome is not known here.
    pub(super) fn drop_waiters(&mut self, index: usize, cx: &mut Cx<'_>) {
        let primary = self.replicas.get_mut(index).and_then(Replica::primary_mut);
        let Some(primary) = primary else { return };
        for waiter in std::mem::take(&mut primary.waiters).into_all() {
            cx.actions.push(Action::Reply(waiter.op, waiter.reply.given_up()));
        }
    }

    /// Notes a slot whose data is held elsewhere as it shall be, and not here.
    pub(super) fn note_surplus(&mut self, slot: SlotId) {
        let me = self.me();
        let (listed, ideal) = (self.map.slot(slot), self.map.ideal(slot));
        let is_elsewhere = listed.primary.is_some()
            && !ideal.is_empty()
            && ideal.iter().all(|id| listed.is_member(*id))
            && !listed.is_holder(me)
            && !ideal.contains(&me);
        let Some(replica) = self.replica_mut(slot) else { return };
        if is_elsewhere && replica.is_stored && matches!(replica.state, RoleState::None) {
            replica.forget_data();
            replica.is_stored = false;
            self.surplus.push(slot);
        }
    }

    /// Drops what was noted, all in one step (R6).
    pub(super) fn drop_surplus(&mut self, cx: &mut Cx<'_>) {
        let surplus = std::mem::take(&mut self.surplus);
        if !surplus.is_empty() {
            cx.storage.drop_slots(&surplus);
        }
    }
}

impl Replica {
    /// Takes over what the storage recovered.
    pub(super) fn recover(&mut self, storage: &dyn Storage) {
        self.is_stored = true;
        self.commit = storage.commit_point(self.slot);
        self.held = self.commit;
        let position = storage.appended();
        for info in storage.pending(self.slot) {
            self.pending.insert(info, position);
        }
    }

    /// Begins with nothing.
    pub(super) fn forget_data(&mut self) {
        self.commit = Lsn(0);
        self.held = Lsn(0);
        self.request_floor = Lsn(0);
        self.is_damaged = false;
        self.pending = Default::default();
    }
}

impl Reply {
    /// Returns whether it tells what is there, and of no change.
    pub(super) fn is_reading(&self) -> bool {
        match self {
            Self::Value(_) | Self::Missing | Self::ConditionFailed(_) => true,
            Self::Stored(_)
            | Self::Replaced(_)
            | Self::Deleted
            | Self::Refused(_)
            | Self::Unknown => false,
        }
    }

    /// Returns what to say instead when the record that this reply waited for is out of sight: a write's outcome is
    /// unknown, while a reply that tells of no write tells that nothing was done.
    fn given_up(self) -> Self {
        match self {
            Self::Stored(_) | Self::Replaced(_) | Self::Deleted | Self::Unknown => Self::Unknown,
            Self::Value(_) | Self::Missing | Self::ConditionFailed(_) | Self::Refused(_) => {
                Self::Refused(crate::event::Refusal::Stopped)
            }
        }
    }
}
