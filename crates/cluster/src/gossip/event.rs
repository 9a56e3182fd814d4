//! What the gossip machine is told, and what it asks to be done.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::message::{Load, Message};
use crate::map::Map;
use crate::types::ServerId;

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Time has passed. To be told when [`wake_at`](super::Gossip::wake_at) says, or simply every 50 ms; told late by more than
    /// [`Settings::late_max`](super::Settings::late_max), the machine takes it that its own process stood still.
    Tick,
    /// A message came from that server.
    Received {
        /// Who sent it, as its connection says.
        from: ServerId,
        /// What it said.
        message: Message,
    },
    /// This map is in force here now.
    Map(&'a Map),
    /// This is what this server stores and does now.
    Load(Load),
    /// No connection to that server could be made: its probe need not wait longer.
    Unreachable(ServerId),
    /// This server is about to end on purpose.
    Leave,
}

/// What the machine asks to be done. All of it may be lost or done twice without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message.
    Send {
        /// To whom.
        to: ServerId,
        /// Where it listens; empty if only the connection on which it was heard leads to it.
        address: Arc<str>,
        /// What.
        message: Message,
    },
    /// Ask that server, whose map is newer, for what changed in it.
    Pull {
        /// Whom.
        from: ServerId,
        /// Where it listens; may be empty as above.
        address: Arc<str>,
    },
    /// Tell the coordinator whom everybody doubts, in place of what it was told before (R15).
    Doubts(BTreeSet<ServerId>),
    /// A member is now seen in another state: for logs, and for whoever acts on hints.
    Changed {
        /// Which.
        server: ServerId,
        /// Before; `None`: it was not known.
        before: Option<Seen>,
        /// Now; `None`: it is forgotten.
        after: Option<Seen>,
    },
}

/// How a member is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Nobody doubts it.
    Alive,
    /// Somebody got no answer from it.
    Suspect,
    /// Suspected for too long.
    Dead,
    /// It said that it goes.
    Left,
}
