//! What the coordinator is told, what it asks to be done, and its settings.
//!
//! The host carries out the actions in their order, and goes on behind an [`Action::Log`] only when the entry is durable:
//! nobody is told of a decision that a crash could take back. Entries that follow each other can share one
//! sync, and what a later step says comes behind what an earlier one said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::elastic::{By, Elastic};
use crate::map::Delta;
use crate::message::{FromEcs, ToEcs};
use crate::types::ServerId;
use crate::wire;

/// Settings of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many slots the ring is cut into. Fixed at the cluster's start.
    pub slot_count: u16,
    /// How many members each slot shall have.
    pub replica_count: usize,
    /// In how many arcs a joining server takes its share, at most.
    pub token_count: usize,
    /// G of the servers: in the first G after its own start the coordinator judges nobody absent.
    pub grace: Duration,
    /// How long a server may be unheard before it counts as unseen, where there are up to a hundred; more speak less often,
    /// and may be silent for longer.
    pub unseen_after: Duration,
    /// How long a server may be unseen before its tokens are taken off the ring.
    pub rejoin_grace: Duration,
    /// Slots that have a learner at the same time, for each primary.
    pub learner_count_max: usize,
    /// How long a learner may stay one before another slot gets its turn.
    pub learner_max: Duration,
    /// How many servers are told of a change besides whoever asked for it; the others learn it from them, by gossip.
    /// `None`: every connected server is told.
    pub told_count_max: Option<usize>,
    /// Growing and shrinking.
    pub elastic: Elastic,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slot_count: hashring::SLOT_COUNT,
            replica_count: 3,
            token_count: 8,
            grace: Duration::from_millis(1000),
            unseen_after: Duration::from_millis(3000),
            rejoin_grace: Duration::from_secs(10),
            learner_count_max: 64,
            learner_max: Duration::from_secs(30),
            told_count_max: Some(3),
            elastic: Elastic::default(),
        }
    }
}

/// A connection to the coordinator, numbered by the host, rising: of two connections of one server the later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An operator's command, numbered by the host for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an operator asks for. Each may be said twice: the second time it finds its work done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put a standby server onto the ring.
    Join(ServerId),
    /// Take a server off the ring; its slots go to the others first.
    Leave(ServerId),
    /// Level the shares.
    Rebalance(By),
    /// Let a server on standby go that holds nothing: its process is about to be ended.
    Retire(ServerId),
    /// Take a slot's copy on this server for complete, though it may lack acknowledged writes: **may lose data**.
    ForceComplete(ServerId),
}

/// What an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is decided and durable; moves follow.
    Done,
    /// There was nothing to do.
    Already,
    /// No server of this id is registered.
    NoServer,
    /// Not in this standing, or the ring would be empty.
    NotNow,
}

/// What the coordinator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. To be told at least every 100 ms.
    Tick,
    /// Somebody connected.
    Connected(ConnectionId),
    /// A connection ended.
    Closed(ConnectionId),
    /// A message of a server came.
    Received(ConnectionId, ToEcs),
    /// An operator's command came.
    Command(Ticket, Command),
}

/// What the coordinator asks to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make this entry durable before anything that follows.
    Log(Entry),
    /// Send a message to a server.
    Send(ConnectionId, FromEcs),
    /// Close a connection.
    Close(ConnectionId),
    /// Answer an operator.
    Answer(Ticket, Answer),
    /// Tell operators something that is not a decision: in the host's log.
    Note(String),
}

/// One decision, as a line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it changes in the map. Its `to` is the entry's number.
    pub delta: Delta,
    /// Why, for people who read the log.
    pub why: String,
    /// Servers that were removed from slots because they were accused, by whom; for people too.
    #[serde(with = "wire::list", default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<ServerId>,
}
