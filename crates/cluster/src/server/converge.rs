//! Towards the members that the ring says, one compare-and-set at a time (R15, R16, R21, R22, R23).
//!
//! The coordinator names learners; everything after that is asked for by the slot's primary, which knows who has what:
//!
//! 1. a learner that is level is counted, then asked for as a member (R22);
//! 2. when the ideal primary is another member, the slot is handed over to it (R23);
//! 3. a member that is none of the ideal ones stops reading, then its removal is asked for (R21).
//!
//! Members that are silent, or do not acknowledge, are asked to be removed; a silent primary is, by its backups (R15).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::message::{Change, SlotMessage};
use crate::replica::{Follower, Phase, Primary, Replica, Stage};
use crate::server::{Cx, Server};
use crate::types::{Number, ServerId, SlotId, Time};

/// How often peers are judged, and slots looked at that are not as they shall be.
const JUDGE_EVERY: Duration = Duration::from_millis(40);
/// How long a slot rests after a move was refused or given up.
const QUIET: Duration = Duration::from_millis(200);
/// How long a hand-over may wait for its writes to drain, and a learner that is counted for its last records, before it is given
/// up: writes wait for both.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// Slots that one server hands over at the same time, so that each is short.
const HAND_OVER_COUNT_MAX: usize = 64;

impl Server {
    /// Takes the next step towards the ideal members of a slot that is served here.
    pub(super) fn converge(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let Some(primary) = self.replica(slot).and_then(Replica::primary) else { return };
        if !self.ecs.is_ready() || primary.ask.is_some() || cx.now < primary.quiet_until {
            return;
        }
        let learner = primary.followers.iter().find(|(_, follower)| follower.is_learner);
        if let Some((id, follower)) = learner {
            let is_level = follower.knows_level
                || follower.is_level && mutant!("asked for before it knows that it is level");
            if is_level || mutant!("promotion of a learner") {
                self.promote(slot, *id, cx);
            }
            return;
        }
        let (me, ideal) = (self.me(), self.map.ideal(slot).to_vec());
        match ideal.first() {
            Some(first) if *first != me => self.hand_over(slot, *first, cx),
            Some(_) => self.let_go(slot, &ideal, cx),
            None => {}
        }
    }

    /// Asks for a learner that has everything to become a member; it is counted from before the asking (R22).
    fn promote(&mut self, slot: SlotId, id: ServerId, cx: &mut Cx<'_>) {
        let Some(learner) = self.map.slot(slot).learner.filter(|(learner, _)| *learner == id)
        else {
            return;
        };
        let has_lease = self.has_lease(slot, id, cx.now);
        let Some(replica) = self.replica_mut(slot) else { return };
        let (epoch, commit) = (replica.epoch, replica.commit);
        let by_lsn = mutant!("promotion of a learner");
        let Some(primary) = replica.primary_mut() else { return };
        let Some(follower) = primary.followers.get_mut(&id) else { return };
        // Commits wait for it from now on, so that it can catch up with what is committed.
        if !mutant!("joiner not counted while asked for, for writes") {
            follower.counted_at.get_or_insert(cx.now);
        }
        let is_caught_up = follower.acked >= commit;
        if (is_caught_up || by_lsn) && has_lease {
            self.ask(slot, Change::Promote { slot, epoch, learner });
        }
    }

    /// Stops serving the slot, to give it to the member that shall be its primary (R23).
    fn hand_over(&mut self, slot: SlotId, to: ServerId, cx: &mut Cx<'_>) {
        // While an answer is awaited it would only wait longer, serving nothing.
        if self.ecs.is_owed() {
            return;
        }
        let replicas = &self.replicas;
        self.handing.retain(|slot| {
            let primary = replicas.get(usize::from(slot.index())).and_then(Replica::primary);
            primary.is_some_and(|primary| matches!(primary.phase, Phase::HandingOver { .. }))
        });
        if self.handing.len() >= HAND_OVER_COUNT_MAX {
            return;
        }
        if !mutant!("a permit kept while a slot is handed over") {
            self.permits.withdraw(slot);
        }
        let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) else { return };
        let is_fit = |follower: &Follower| follower.is_live() && follower.is_level;
        if primary.followers.get(&to).is_some_and(is_fit) {
            primary.phase = Phase::HandingOver { to, since: cx.now };
            self.handing.push(slot);
            self.touched.insert(slot);
        }
    }

    /// Asks for the hand-over when nothing is pending any more.
    pub(super) fn hand_over_when_drained(&mut self, slot: SlotId, to: ServerId) {
        let is_ready = self.ecs.is_ready();
        let Some(replica) = self.replica_mut(slot) else { return };
        let (epoch, is_drained) = (replica.epoch, replica.pending.is_empty());
        let Some(primary) = replica.primary_mut() else { return };
        if primary.ask.is_none() && is_drained && is_ready {
            self.ask(slot, Change::HandOver { slot, epoch, to });
        }
    }

    /// Gives up moves that do not get to the asking.
    fn give_up(&mut self, slot: SlotId, now: Time) {
        let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) else { return };
        if primary.ask.is_some() {
            return;
        }
        if let Phase::HandingOver { since, .. } = primary.phase
            && now.since(since) >= DRAIN_MAX
        {
            primary.phase = Phase::Serving;
            primary.quiet_until = now + QUIET;
        }
        // A learner that is counted and too slow must not hold up commits before it is even asked for, be it ever so steady.
        for follower in primary.followers.values_mut() {
            if follower.counted_at.is_some_and(|at| now.since(at) >= DRAIN_MAX) {
                follower.counted_at = None;
                primary.quiet_until = now + QUIET;
            }
        }
    }

    /// Lets a member go that is none of the ideal ones, when all of those are members.
    fn let_go(&mut self, slot: SlotId, ideal: &[ServerId], cx: &mut Cx<'_>) {
        let listed = self.map.slot(slot);
        if !ideal.iter().all(|id| listed.is_member(*id)) {
            return;
        }
        let surplus = listed.backups.iter().find(|id| !ideal.contains(id)).copied();
        let Some(replica) = self.replica_mut(slot) else { return };
        let at = (slot, replica.epoch);
        let Some(primary) = replica.primary_mut() else { return };
        primary.letting_go = surplus;
        let Some(id) = surplus else { return };
        let Some(follower) = primary.followers.get_mut(&id) else { return };
        let is_stopped =
            follower.has_stopped_reads || mutant!("removal asked before the reader has stopped");
        if is_stopped {
            return self.ask(slot, Change::Remove { slot, epoch: at.1, member: id });
        }
        if follower.is_live() && !follower.was_stopped {
            follower.was_stopped = true;
            follower.told_reads = false;
            self.send_slot(id, at, SlotMessage::StopReads, cx);
        }
    }

    /// Judges the peers, and looks at the slots that are not as they shall be.
    pub(super) fn judge(&mut self, cx: &mut Cx<'_>) {
        if cx.now.since(self.judged_at) < JUDGE_EVERY {
            return;
        }
        self.judged_at = cx.now;
        self.touch_unsettled(cx);
        self.suspect(cx.now);
        if !self.ecs.is_ready() || !self.is_able(cx.now) {
            return;
        }
        if let Some(patience) = self.patience(cx.now) {
            self.accuse_primaries(patience, cx.now);
            self.accuse_backups(patience, cx.now);
        }
        self.resign(cx.now);
    }

    fn touch_unsettled(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let led = self.replicas.iter().filter(|replica| replica.primary().is_some());
        let unsettled: Vec<SlotId> =
            led.map(|replica| replica.slot).filter(|slot| !self.map.is_ideal(*slot)).collect();
        for slot in unsettled {
            self.give_up(slot, now);
            self.touched.insert(slot);
        }
        let is_at_rest = |primary: &Primary| {
            let mut followers = primary.followers.values();
            primary.phase == Phase::Serving
                && followers.all(|follower| !matches!(follower.stage, Stage::Away))
        };
        let led = self.replicas.iter();
        let restless = led.filter(|r| r.primary().is_some_and(|primary| !is_at_rest(primary)));
        let restless: Vec<SlotId> = restless.map(|replica| replica.slot).collect();
        for slot in restless {
            // A follower that refused once may have learned of the epoch since.
            self.open_slot(slot, cx);
            self.touched.insert(slot);
        }
    }

    /// Notes which peers owe acknowledgements for too long, or do not hear this server: they get no read lease any more (R16, R21).
    fn suspect(&mut self, now: Time) {
        let primaries = self.replicas.iter().filter_map(Replica::primary);
        let owing = primaries.flat_map(|primary| &primary.followers).filter(|(id, follower)| {
            let is_deaf = || self.deafness(**id, follower.listed_at, now) >= self.deaf_max();
            !follower.is_learner && (self.owes_too_long(follower, Duration::ZERO, now) || is_deaf())
        });
        let owing: BTreeSet<ServerId> = owing.map(|(id, _)| *id).collect();
        for (id, peer) in &mut self.peers {
            peer.is_suspect = owing.contains(id);
        }
    }

    /// Returns whether a follower leaves something unacknowledged for too long; own pauses are not its fault.
    fn owes_too_long(&self, follower: &Follower, patience: Duration, now: Time) -> bool {
        let max = self.config.prepare_max + patience;
        follower.owes_since.is_some_and(|at| self.pauses.awake(at, now) >= max)
    }

    /// Returns how long a peer has been silent, for somebody who listens to it since `listed_at`.
    fn silence(&self, id: ServerId, listed_at: Time, now: Time) -> (Duration, bool) {
        let heard_at = self.peers.get(&id).and_then(|peer| peer.lease.heard_at());
        let was_heard = heard_at.is_some_and(|at| at >= listed_at);
        let silence = match mutant!("no grace after a restart") {
            true => now.since(heard_at.unwrap_or(Time(0))),
            false => self.pauses.awake(heard_at.unwrap_or(listed_at).max(listed_at), now),
        };
        (silence, was_heard)
    }

    /// Returns how long a peer has not heard this server, as far as its echoes tell.
    fn deafness(&self, id: ServerId, listed_at: Time, now: Time) -> Duration {
        if mutant!("a deaf backup kept") {
            return Duration::ZERO;
        }
        let echoed_at = self.peers.get(&id).and_then(|peer| peer.lease.echoed_at());
        self.pauses.awake(echoed_at.unwrap_or(listed_at).max(listed_at), now)
    }

    /// Returns how long a backup may not hear its primary: a little less than it waits until it accuses the primary, which is of
    /// more use than a backup that cannot hear it (R15).
    fn deaf_max(&self) -> Duration {
        let before = self.config.grace.saturating_sub(self.config.beacon_every);
        before.max(self.config.silence_max)
    }

    /// As a backup: asks to take silent primaries out (R15).
    fn accuse_primaries(&mut self, patience: Duration, now: Time) {
        let grace = match mutant!("grace shorter than the leases") {
            true => self.config.lease / 2,
            false => self.config.grace,
        };
        let mut deposes: BTreeMap<ServerId, Vec<Change>> = BTreeMap::new();
        for replica in &self.replicas {
            let Some(holder) = replica.holder().filter(|holder| !holder.is_learner) else {
                continue;
            };
            let (silence, _) = self.silence(holder.primary, replica.listed_at, now);
            if silence >= grace + patience {
                let change = Change::Depose { slot: replica.slot, epoch: replica.epoch };
                deposes.entry(holder.primary).or_default().push(change);
            }
        }
        let number = self.ecs.next_number();
        for (id, changes) in deposes {
            let peer = self.peers.entry(id).or_default();
            if peer.accused.is_none() {
                peer.accused = Some(number);
                self.loose.extend(changes);
                self.accused_at = Some(now);
            }
        }
    }

    /// As a primary: asks to remove backups that are silent or do not acknowledge, once no read lease can last (R15, R16,
    /// R21).
    fn accuse_backups(&mut self, patience: Duration, now: Time) {
        let mut removals = Vec::new();
        for replica in &self.replicas {
            let Some(primary) = replica.primary().filter(|primary| primary.ask.is_none()) else {
                continue;
            };
            let members = primary.followers.iter().filter(|(_, follower)| !follower.is_learner);
            let due =
                members.filter(|(id, follower)| self.is_removal_due(**id, follower, patience, now));
            removals.extend(due.map(|(id, _)| (replica.slot, replica.epoch, *id)).next());
        }
        let number = self.ecs.next_number();
        for (slot, epoch, member) in removals {
            if let Some(peer) = self.peers.get_mut(&member) {
                peer.accused = Some(number);
            }
            self.accused_at = Some(now);
            self.ask(slot, Change::Remove { slot, epoch, member });
        }
    }

    /// Returns how much longer than usual this server waits before it accuses anybody; `None`: it does not accuse now.
    ///
    /// A server that hears none of several others, or is heard by none, is itself cut off, more likely than that they all are
    /// dead. It gives them time to say so (R15), and if it was not believed it does not ask again at once.
    fn patience(&self, now: Time) -> Option<Duration> {
        // The others fell silent at about the same time: within the time of some beacons.
        let is_silent = |id: &ServerId| {
            let (silence, was_heard) = self.silence(*id, Time(0), now);
            !was_heard || silence >= self.config.silence_max / 2
        };
        let is_deaf = |id: &ServerId| self.deafness(*id, Time(0), now) >= self.config.silence_max;
        let mut wanted = self.wanted.iter();
        let is_cut_off = wanted.clone().all(is_silent) || wanted.all(is_deaf);
        let is_cut_off = is_cut_off && !mutant!("who hears nobody accuses at once");
        if self.wanted.len() < 2 || !is_cut_off {
            return Some(Duration::ZERO);
        }
        let is_soon = self.accused_at.is_some_and(|at| now.since(at) < self.config.grace);
        (!is_soon).then_some(self.config.silence_max)
    }

    fn is_removal_due(
        &self,
        id: ServerId,
        follower: &Follower,
        patience: Duration,
        now: Time,
    ) -> bool {
        let (silence, was_heard) = self.silence(id, follower.listed_at, now);
        let is_soon = was_heard && patience.is_zero();
        let silence_max = if is_soon { self.config.silence_max } else { self.config.grace };
        let silence_max = silence_max + patience;
        let peer = self.peers.get(&id);
        let is_of_no_use = self.owes_too_long(follower, patience, now)
            || self.deafness(id, follower.listed_at, now) >= self.deaf_max() + patience;
        let is_suspect = peer.is_some_and(|peer| peer.is_suspect) && is_of_no_use;
        let margin = self.config.silence_max.saturating_sub(self.config.read_lease);
        let is_over =
            |peer: &crate::peer::Peer| peer.lease.is_read_over(now, self.config.read_lease, margin);
        let is_read_over =
            peer.is_none_or(is_over) || mutant!("removal without waiting for readers");
        // A backup may read on a grant of the primary before, which is not known here: it is over after a full G (R21).
        let is_old_grant_over = now.since(follower.listed_at) >= self.config.grace
            || mutant!("grants of the primary before forgotten");
        (silence >= silence_max || is_suspect) && is_read_over && is_old_grant_over
    }

    /// Returns whether something is to be asked for that clients wait for.
    pub(super) fn has_urgent_ask(&self) -> bool {
        let change = |slot: &SlotId| self.replica(*slot)?.primary()?.ask.map(|asked| asked.change);
        !self.loose.is_empty()
            || self.unsent.iter().any(|slot| matches!(change(slot), Some(Change::Remove { .. })))
    }

    /// Collects what is to be asked for in this step, under the number that the request will have.
    pub(super) fn collect_asks(&mut self, number: Number, now: Time) -> Vec<Change> {
        let mut changes = self.own_changes(now);
        changes.append(&mut self.loose);
        for slot in std::mem::take(&mut self.unsent) {
            let asked =
                self.replica_mut(slot).and_then(Replica::primary_mut).and_then(|p| p.ask.as_mut());
            if let Some(asked) = asked {
                asked.number = Some(number);
                changes.push(asked.change);
                self.asking.insert(slot);
            }
        }
        changes
    }

    /// Forgets what is settled: if it was done, the map says so.
    pub(super) fn forget_settled(&mut self, cx: &mut Cx<'_>) {
        for peer in self.peers.values_mut() {
            if peer.accused.is_some_and(|number| self.ecs.is_settled(number)) {
                peer.accused = None;
            }
        }
        self.forget_resignations(cx.now);
        for slot in std::mem::take(&mut self.asking) {
            let number = self.replica(slot).and_then(Replica::primary).and_then(|p| p.ask?.number);
            match number {
                Some(number) if !self.ecs.is_settled(number) => {
                    self.asking.insert(slot);
                }
                Some(_) => self.ask_settled(slot, cx.now),
                None => {}
            }
        }
    }

    /// A change was refused: its slot's epoch is still the one that was asked about.
    fn ask_settled(&mut self, slot: SlotId, now: Time) {
        let Some(primary) = self.replica_mut(slot).and_then(Replica::primary_mut) else { return };
        let Primary { ask, phase, followers, quiet_until, letting_go, .. } = primary;
        *ask = None;
        *letting_go = None;
        *quiet_until = now + QUIET;
        if let Phase::HandingOver { .. } = phase {
            *phase = Phase::Serving;
        }
        for follower in followers.values_mut() {
            follower.counted_at = None;
            follower.was_stopped = false;
        }
        self.touched.insert(slot);
    }

    /// Returns whether a server that is asked for as a member of a slot with this backup has no lease for us: then the backup
    /// gets no read lease either (R14, R22).
    pub(super) fn lacks_joiners_lease(&self, backup: ServerId, now: Time) -> bool {
        self.asking.iter().chain(&self.unsent).any(|slot| {
            let Some(primary) = self.replica(*slot).and_then(Replica::primary) else {
                return false;
            };
            let follows = primary.followers.contains_key(&backup);
            follows && asked_learner(primary).is_some_and(|id| !self.has_lease(*slot, id, now))
        })
    }
}

/// Returns the learner that is asked for as a member.
pub(super) fn asked_learner(primary: &Primary) -> Option<ServerId> {
    match primary.ask?.change {
        Change::Promote { learner, .. } => Some(learner.0),
        Change::Depose { .. }
        | Change::Remove { .. }
        | Change::HandOver { .. }
        | Change::Resign { .. }
        | Change::Fail
        | Change::Leave => None,
    }
}
