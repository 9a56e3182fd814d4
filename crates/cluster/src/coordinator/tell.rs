//! What is sent at the end of a step, when all that follows from its event is decided.
//!
//! Whoever asked gets an answer with all that changed since the version that it named. Other connected servers get
//! what changed since they were last told on that connection: so the deltas of one connection follow each other without a gap,
//! whatever the server has taken of them so far.
//!
//! | [`told_count_max`](super::Settings::told_count_max) | who besides the asker | messages for a change |
//! |---|---|---|
//! | `None` | every connected server | as many as there are servers |
//! | `Some(count)` | primaries of the slots that changed, because they must act soonest; then others in turn | `count` at most |
//!
//! Those who are not told pull the change from those who were, when gossip says that there is one; if that fails, the answer to
//! their next request has it.

use std::collections::{BTreeMap, BTreeSet};

use super::Coordinator;
use super::event::{Action, Answer, ConnectionId, Ticket};
use crate::map::Delta;
use crate::message::FromEcs;
use crate::types::{Incarnation, Number, ServerId, Version};

/// An answer that is sent when all decisions of the step are made.
pub(super) enum Due {
    Registered { connection: ConnectionId, server: ServerId, life: u64, version: Version },
    Answer { connection: ConnectionId, number: Number, version: Version },
    Command(Ticket, Answer),
}

/// Who was told what, when not everybody is.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The version that a few were told.
    announced: Version,
    /// Whose turn it is next.
    next: ServerId,
}

impl Told {
    /// Returns that there is nothing to tell up to this version.
    pub(super) fn new(announced: Version) -> Self {
        Self { announced, next: ServerId(0) }
    }
}

impl Coordinator {
    /// Answers whoever asked in this step.
    pub(super) fn answer(&mut self, due: Option<Due>, actions: &mut Vec<Action>) {
        match due {
            None => {}
            Some(Due::Command(ticket, answer)) => actions.push(Action::Answer(ticket, answer)),
            Some(Due::Answer { connection, number, version }) => {
                let answer = FromEcs::Answer { number, delta: self.map.since(version) };
                self.send(connection, answer, actions);
            }
            Some(Due::Registered { connection, server, life, version }) => {
                let incarnation = self.life(server).map_or(Incarnation(0), |(_, number)| number);
                let delta = self.map.since(version);
                self.send(connection, FromEcs::Registered { life, incarnation, delta }, actions);
            }
        }
    }

    /// Sends a message that brings the receiver to the present version.
    fn send(&mut self, to: ConnectionId, message: FromEcs, actions: &mut Vec<Action>) {
        let version = self.map.version();
        if let Some((.., peer)) = self.peers.connected().find(|(_, open, _)| *open == to) {
            peer.sent = version;
        }
        actions.push(Action::Send(to, message));
    }

    /// Tells the others what they were not told yet: all of them, or a few.
    pub(super) fn push(&mut self, actions: &mut Vec<Action>) {
        let version = self.map.version();
        if let Some(count_max) = self.settings.told_count_max {
            let since = std::mem::replace(&mut self.told.announced, version);
            if since == version {
                return;
            }
            let chosen = self.chosen(since, count_max);
            return self.push_to(|server| chosen.contains(&server), actions);
        }
        self.push_to(|_| true, actions);
    }

    /// Returns who is told of what changed since a version.
    fn chosen(&mut self, since: Version, count_max: usize) -> BTreeSet<ServerId> {
        let version = self.map.version();
        let is_behind = |server: &ServerId| {
            let peer = self.peers.get(*server);
            peer.is_some_and(|peer| peer.connection.is_some() && peer.sent < version)
        };
        let changed = self.map.slots().filter(|(_, slot)| slot.changed > since);
        let mut chosen = BTreeSet::new();
        for primary in changed.filter_map(|(_, slot)| slot.primary_id()).filter(is_behind) {
            if chosen.len() == count_max {
                return chosen;
            }
            chosen.insert(primary);
        }
        let servers = self.map.servers();
        let (before, after) = (servers.range(..self.told.next), servers.range(self.told.next..));
        let others = after.chain(before).map(|(id, _)| *id).filter(is_behind);
        let others: Vec<_> = others.filter(|id| !chosen.contains(id)).collect();
        let others = others.into_iter().take(count_max - chosen.len());
        for id in others {
            chosen.insert(id);
            self.told.next = ServerId(id.0.wrapping_add(1));
        }
        chosen
    }

    fn push_to(&mut self, is_told: impl Fn(ServerId) -> bool, actions: &mut Vec<Action>) {
        let (map, version) = (&self.map, self.map.version());
        // Most servers were told the same last time.
        let mut deltas: BTreeMap<Version, Delta> = BTreeMap::new();
        for (server, connection, peer) in self.peers.connected() {
            if peer.sent >= version || !is_told(server) {
                continue;
            }
            let delta = deltas.entry(peer.sent).or_insert_with(|| map.since(peer.sent));
            actions.push(Action::Send(connection, FromEcs::Push(delta.clone())));
            peer.sent = version;
        }
    }
}
