//! Who is connected, and what each was told: all that the coordinator remembers outside the map.
//!
//! Nothing of this is logged, and a restart forgets it without harm: the old connections end with the process, and with
//! them every message that was on its way. So the newest request number of a server, which fences its late requests
//! (R9), need not outlive the process; the same holds for the rule that of two connections of one server the later counts.
//!
//! ```text
//! connected ──first message of a server──▶ bound ──Closed, or a later connection of that server──▶ gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::ConnectionId;
use crate::types::{Incarnation, Number, ServerId, Time, Version};

/// A server, as far as connections go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// The connection that stands.
    pub(super) connection: Option<ConnectionId>,
    /// The newest connection there ever was: messages of an earlier one are late.
    newest: Option<ConnectionId>,
    /// When anything was heard last.
    pub(super) heard_at: Option<Time>,
    /// The version of the map that the server has, or that is on its way on this connection.
    pub(super) sent: Version,
    /// The newest request that was handled.
    latest: (Incarnation, Number),
    /// The life in which it reported that its disk failed.
    pub(super) failed: Option<Incarnation>,
    /// Whether its disk takes no more puts, as it said last.
    pub(super) is_full: bool,
    /// Whom everybody doubts, as it said last on its connection.
    pub(super) doubts: BTreeSet<ServerId>,
    /// How often in a row it was given up as a learner because it took too long.
    pub(super) strikes: u32,
}

/// All servers' connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peers {
    servers: BTreeMap<ServerId, Peer>,
    connections: BTreeMap<ConnectionId, Option<ServerId>>,
}

impl Peers {
    pub(super) fn get(&self, server: ServerId) -> Option<&Peer> {
        self.servers.get(&server)
    }

    pub(super) fn get_mut(&mut self, server: ServerId) -> Option<&mut Peer> {
        self.servers.get_mut(&server)
    }

    /// Returns the servers that have a connection.
    pub(super) fn connected(
        &mut self,
    ) -> impl Iterator<Item = (ServerId, ConnectionId, &mut Peer)> {
        self.servers.iter_mut().filter_map(|(id, peer)| Some((*id, peer.connection?, peer)))
    }

    pub(super) fn open(&mut self, connection: ConnectionId) {
        self.connections.entry(connection).or_default();
    }

    /// Forgets a connection. Its late messages find nobody.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        let Some(Some(server)) = self.connections.remove(&connection) else { return };
        if let Some(peer) = self.servers.get_mut(&server)
            && peer.connection == Some(connection)
        {
            peer.connection = None;
            peer.doubts.clear();
        }
    }

    pub(super) fn is_open(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Returns whether `server` may speak on `connection`: it is nobody else's, and not older than the server's newest.
    pub(super) fn may_speak(&self, connection: ConnectionId, server: ServerId) -> bool {
        let is_free = self
            .connections
            .get(&connection)
            .is_some_and(|speaker| speaker.is_none_or(|speaker| speaker == server));
        is_free && self.get(server).is_none_or(|peer| peer.newest <= Some(connection))
    }

    /// Notes a sign of life of `server`, which has `version` of the map. Returns the connection that this one replaces.
    pub(super) fn hear(
        &mut self,
        (connection, server): (ConnectionId, ServerId),
        version: Version,
        now: Time,
    ) -> Option<ConnectionId> {
        self.connections.insert(connection, Some(server));
        let peer = self.servers.entry(server).or_default();
        peer.heard_at = Some(now);
        if peer.connection == Some(connection) {
            peer.sent = peer.sent.max(version);
            return None;
        }
        peer.sent = version;
        peer.doubts.clear();
        peer.newest = Some(connection);
        peer.connection.replace(connection)
    }

    /// Returns those whom everybody doubts, as servers say of which something was heard that is no older than this.
    pub(super) fn doubts(
        &self,
        now: Time,
        age_max: Duration,
    ) -> impl Iterator<Item = (ServerId, &BTreeSet<ServerId>)> {
        let is_heard = move |peer: &Peer| peer.heard_at.is_some_and(|at| now.since(at) <= age_max);
        let heard = self.servers.iter().filter(move |(_, peer)| is_heard(peer));
        heard.map(|(id, peer)| (*id, &peer.doubts)).filter(|(_, doubts)| !doubts.is_empty())
    }

    /// Returns whether a request is newer than all that were handled, and remembers it.
    pub(super) fn is_newest(&mut self, server: ServerId, number: (Incarnation, Number)) -> bool {
        let Some(peer) = self.servers.get_mut(&server) else { return false };
        let is_newer = number > peer.latest;
        peer.latest = peer.latest.max(number);
        is_newer || mutant!("requests to the ECS unnumbered")
    }
}
