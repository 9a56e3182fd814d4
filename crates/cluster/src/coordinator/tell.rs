//! What is sent at the end of a step, when all that follows from its event is decided.
//!
//! Whoever asked gets an answer with all that changed since the version that it named. Every other connected server gets
//! what changed since it was last told on that connection: so the deltas of one connection follow each other without a gap,
//! whatever the server has taken of them so far.

use std::collections::BTreeMap;

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
        if let Some((_, peer)) = self.peers.connected().find(|(connection, _)| *connection == to) {
            peer.sent = version;
        }
        actions.push(Action::Send(to, message));
    }

    /// Tells every connected server what it was not told yet.
    pub(super) fn push(&mut self, actions: &mut Vec<Action>) {
        let (map, version) = (&self.map, self.map.version());
        // Most servers were told the same last time.
        let mut deltas: BTreeMap<Version, Delta> = BTreeMap::new();
        for (connection, peer) in self.peers.connected().filter(|(_, peer)| peer.sent < version) {
            let delta = deltas.entry(peer.sent).or_insert_with(|| map.since(peer.sent));
            actions.push(Action::Send(connection, FromEcs::Push(delta.clone())));
            peer.sent = version;
        }
    }
}
