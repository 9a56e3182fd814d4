//! Towards the ideal members: learners are named and given up, servers that stay away lose their tokens.
//!
//! There is no list of moves. What is to be done is the difference between a slot's ideal members, which follow from the
//! ring, and its actual ones; both are in the map, so the work is as durable as they are and resumes by itself after any
//! crash. The coordinator names learners. To promote them, to hand over and to remove who is too much is for the slot's
//! primary to ask for: it sees the same ring, and it alone knows when that is safe.
//!
//! ```text
//! a slot lacks an ideal member ──name──▶ learner ──the primary asks──▶ backup
//!      ▲                                    │
//!      └── not ideal any more, unheard, failed, or a learner for longer than `learner_max`
//! ```
//!
//! **Order.** Slots with the fewest members first: a lost copy is made good before anything is moved for balance. Then those
//! that were given up the fewest times. Of several lacking members the ideal primary comes last, so that the slot can
//! be handed to it with all its backups in place.
//!
//! **Places.** A primary has at most `learner_count_max` learners. A slot that was given up waits, from the second time
//! on, longer each time. A server that took too long has half as many places each time in a row, at least one, until it is
//! promoted somewhere: so one that never succeeds does not keep the others waiting.
//!
//! **Seen** is a server with a connection that was heard within `unseen_after`; one that shall be given up or taken off the
//! ring was unheard for that long, or for `rejoin_grace`, whether it is connected or not, counted from no earlier than the
//! coordinator's own start and one grace. Where there are more than a hundred servers, which speak less often, all of these are
//! longer. While fewer than half of the servers on the ring or leaving it are seen, nothing
//! happens by itself here: then it is more likely the coordinator that is cut off.

use std::time::Duration;

use super::Coordinator;
use super::draft::Draft;
use super::event::{Action, Entry};
use super::members::{self, Life};
use super::places::Places;
use crate::map::{Server, Slot, Standing};
use crate::pace::patience;
use crate::types::{ServerId, SlotId, Time};

/// The first wait of a slot that was given up twice, as a part of `learner_max`; it doubles each time.
const WAIT_DIVISOR: u32 = 16;

/// The wait doubles this often at most: up to one `learner_max`.
const WAIT_DOUBLING_COUNT_MAX: u32 = 4;

/// How a slot fared with its learners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// How often in a row a learner was given up.
    count: u32,
    /// No other is named before this.
    until: Time,
}

/// Why a learner is given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The ring changed.
    NotIdeal,
    /// Unheard, or its disk failed.
    Lost,
    /// It took too long.
    Overdue,
}

impl Coordinator {
    /// Takes what time and the decisions before have made due.
    pub(super) fn converge(&mut self, now: Time, actions: &mut Vec<Action>) {
        if !self.is_half_seen(now) {
            return;
        }
        let entry = self.without_absent(now);
        self.commit(now, entry, actions);
        let ends = self.ends(now);
        self.note_ends(now, &ends);
        let entry = self.converged(now, &ends);
        self.commit(now, entry, actions);
    }

    pub(super) fn is_half_seen(&self, now: Time) -> bool {
        // One that leaves, or goes back to standby, is a witness like those on the ring for as long as it holds a slot.
        let holds = |id| self.map.slots().any(|(_, slot)| slot.is_holder(id));
        let servers = self.map.servers().iter().filter(|(id, server)| match server.standing {
            Standing::Serving => true,
            Standing::Leaving | Standing::Standby => holds(**id),
            Standing::Away => false,
        });
        let (mut count, mut seen_count) = (0, 0);
        for (id, _) in servers {
            count += 1;
            seen_count += usize::from(self.is_seen(now, *id));
        }
        seen_count * 2 >= count
    }

    /// Returns whether a server has a connection and spoke lately.
    pub(super) fn is_seen(&self, now: Time, server: ServerId) -> bool {
        self.peers.get(server).is_some_and(|peer| {
            let is_lately = |heard_at| now.since(heard_at) <= self.unseen_after();
            peer.connection.is_some() && peer.heard_at.is_some_and(is_lately)
        })
    }

    /// Returns how long a server may be unheard before it counts as unseen.
    pub(super) fn unseen_after(&self) -> Duration {
        self.settings.unseen_after + patience(self.map.servers().len())
    }

    /// Returns whether a server was unheard for `limit`, and as much longer as so many servers speak less often.
    fn is_unheard(&self, now: Time, server: ServerId, limit: Duration) -> bool {
        let heard_at = self.peers.get(server).and_then(|peer| peer.heard_at).unwrap_or_default();
        let from = heard_at.max(self.started_at.unwrap_or(now) + self.settings.grace);
        from + limit + patience(self.map.servers().len()) <= now
    }

    /// Takes servers that stay away off the ring.
    fn without_absent(&self, now: Time) -> Option<Entry> {
        let mut draft = Draft::new(&self.map);
        let serving = self.map.servers().iter().filter(|(_, s)| s.standing == Standing::Serving);
        let (seen, unseen): (Vec<_>, Vec<_>) =
            serving.map(|(id, _)| *id).partition(|id| self.is_seen(now, *id));
        let is_absent = |id: &ServerId| self.is_unheard(now, *id, self.settings.rejoin_grace);
        if seen.is_empty() && unseen.iter().all(is_absent) {
            // The ring was left to servers that are gone; who was leaving it has the data and nobody to give it to.
            for id in self.leaving_holders(now) {
                self.join(id, &mut draft);
            }
        }
        for id in unseen.into_iter().filter(is_absent) {
            if self.leave(id, Standing::Away, &mut draft) {
                draft.accuse(id);
            }
        }
        draft.finish("away for longer than the rejoin grace")
    }

    /// Returns the servers that are leaving, or on their way back to standby, hold slots, and are seen.
    fn leaving_holders(&self, now: Time) -> Vec<ServerId> {
        let holds = |id| self.map.slots().any(|(_, slot)| slot.is_holder(id));
        let is_leaving = |s: &Server| matches!(s.standing, Standing::Leaving | Standing::Standby);
        let leaving = self.map.servers().iter().filter(|(_, s)| is_leaving(s));
        let ids = leaving.map(|(id, _)| *id);
        ids.filter(|id| self.is_seen(now, *id) && holds(*id)).collect()
    }

    /// Returns the learners that are to be given up.
    fn ends(&self, now: Time) -> Vec<(SlotId, ServerId, End)> {
        let ends = self.map.slots().filter_map(|(id, slot)| {
            let learner = slot.learner_id()?;
            self.end(now, id, learner).map(|end| (id, learner, end))
        });
        ends.collect()
    }

    fn end(&self, now: Time, slot: SlotId, learner: ServerId) -> Option<End> {
        if !self.map.ideal(slot).contains(&learner) {
            return Some(End::NotIdeal);
        }
        if self.has_failed(learner) || self.is_unheard(now, learner, self.settings.unseen_after) {
            return Some(End::Lost);
        }
        let named_at = self.named_at.get(&slot).copied().or(self.started_at).unwrap_or(now);
        (now.since(named_at) > self.settings.learner_max).then_some(End::Overdue)
    }

    /// Notes that a server's life as a learner, in all its slots, is over because it begins a new one.
    pub(super) fn note_new_life(&mut self, now: Time, server: ServerId) {
        let is_its = |(_, slot): &(SlotId, &Slot)| slot.learner_id() == Some(server);
        let ends = self.map.slots().filter(is_its).map(|(id, _)| (id, server, End::Lost));
        let ends: Vec<_> = ends.collect();
        self.note_ends(now, &ends);
        if let Some(peer) = self.peers.get_mut(server) {
            peer.strikes = 0;
        }
    }

    fn note_ends(&mut self, now: Time, ends: &[(SlotId, ServerId, End)]) {
        let mut overdue: Vec<ServerId> = Vec::new();
        for (slot, learner, end) in ends {
            if *end == End::NotIdeal {
                continue;
            }
            let tries = self.tries.entry(*slot).or_default();
            let until = now + wait(tries.count, self.settings.learner_max);
            *tries = Tries { count: tries.count.saturating_add(1), until };
            if *end == End::Overdue && !overdue.contains(learner) {
                overdue.push(*learner);
            }
        }
        for learner in overdue {
            if let Some(peer) = self.peers.get_mut(learner) {
                peer.strikes = peer.strikes.saturating_add(1);
            }
        }
    }

    /// Gives learners up, and names new ones.
    fn converged(&self, now: Time, ends: &[(SlotId, ServerId, End)]) -> Option<Entry> {
        let mut draft = Draft::new(&self.map);
        for (id, _, end) in ends {
            let kind = match end {
                End::NotIdeal => "learners not ideal any more",
                End::Lost => "learners lost",
                End::Overdue => "learners overdue",
            };
            draft.set_slot(*id, kind, members::drop_learner(self.map.slot(*id)));
        }
        let mut places = Places::default();
        for (id, _) in self.map.slots() {
            let slot = draft.slot(id);
            if let (Some(primary), Some(learner)) = (slot.primary_id(), slot.learner_id()) {
                places.take(primary, learner);
            }
        }
        for (id, slot) in self.queue(now) {
            let Some(learner) = self.candidate(now, id, slot, &places) else { continue };
            if draft.set_slot(id, "learners named", members::name(slot, learner))
                && let Some(primary) = slot.primary_id()
            {
                places.take(primary, learner.0);
            }
        }
        draft.finish("towards the ideal members")
    }

    /// Returns the slots that lack a member and have no learner, the most urgent first.
    fn queue(&self, now: Time) -> Vec<(SlotId, &Slot)> {
        let tries = |id: &SlotId| self.tries.get(id).copied().unwrap_or_default();
        let mut queue: Vec<_> = self
            .map
            .slots()
            .filter(|(_, slot)| slot.primary.is_some() && slot.learner.is_none())
            .filter(|(id, slot)| self.map.ideal(*id).iter().any(|ideal| !slot.is_member(*ideal)))
            .filter(|(id, _)| tries(id).until <= now)
            .collect();
        queue.sort_by_key(|(id, slot)| (slot.members().count(), tries(id).count, *id));
        queue
    }

    /// Returns who shall become the slot's learner now.
    fn candidate(&self, now: Time, id: SlotId, slot: &Slot, places: &Places) -> Option<Life> {
        let primary = slot.primary_id()?;
        if !self.is_seen(now, primary)
            || places.taken_by(primary) >= self.settings.learner_count_max
        {
            return None;
        }
        let (owner, others) = self.map.ideal(id).split_first()?;
        let is_fit = |server: &ServerId| {
            let strikes = self.peers.get(*server).map_or(0, |peer| peer.strikes);
            let place_count = self.settings.learner_count_max.checked_shr(strikes).unwrap_or(0);
            !slot.is_member(*server)
                && self.is_seen(now, *server)
                && !self.has_failed(*server)
                && places.taken_by_pair(primary, *server) < place_count.max(1)
        };
        let learner = others.iter().chain([owner]).copied().find(is_fit)?;
        self.life(learner)
    }

    /// Returns whether a server's disk failed in its present life.
    pub(super) fn has_failed(&self, server: ServerId) -> bool {
        let failed = self.peers.get(server).and_then(|peer| peer.failed);
        self.life(server).is_some_and(|(_, incarnation)| failed == Some(incarnation))
    }
}

/// Returns how long a slot waits that was given up `count` times before this one.
fn wait(count: u32, learner_max: Duration) -> Duration {
    let Some(doubling_count) = count.checked_sub(1) else { return Duration::ZERO };
    learner_max / WAIT_DIVISOR * (1 << doubling_count.min(WAIT_DOUBLING_COUNT_MAX))
}
