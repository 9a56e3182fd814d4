//! What servers gossip: signs of life, rumours about others, and reports of loads.
//!
//! ```text
//!  prober            target        helper                  every message carries besides
//!    │── ping ────────▶│                                     life      of the sender
//!    │◀────────── pong │                                     version   of the sender's map
//!    │                                                       rumors    what is new of members: urgent, few
//!    │── ask ─────────────────────▶│── ping ──▶ target       reports   what members store and do: rotated
//!    │◀───────────── pong or silent│◀──── pong
//!    │── news ────────▶ anybody: only what it carries
//! ```
//!
//! A [`Life`] orders what is said of a server: the incarnation, which the coordinator numbers, first, and then how often
//! the server refuted in it. Of the same life the graver status counts, see [`Status`]. So rumours may come late, twice and
//! in any order, and all who heard the same believe the same.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::types::{Incarnation, ServerId, Version};

/// What one server says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// The sender's life.
    pub life: Life,
    /// The version of the sender's map.
    pub version: Version,
    /// What is new of members.
    pub rumors: Vec<Rumor>,
    /// What members store and do.
    pub reports: Vec<Report>,
}

/// What a message is for. Numbers are the asker's own and rise in the life of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Are you there? Wants a pong.
    Ping {
        /// The asker's number.
        number: u64,
    },
    /// Answers a ping, or an ask when the target answered the helper.
    Pong {
        /// The number of the ping or the ask.
        number: u64,
    },
    /// Ping that server in my place.
    Ask {
        /// The asker's number.
        number: u64,
        /// Whom.
        target: ServerId,
    },
    /// Answers an ask: the target does not answer me either. The asker learns that its own messages get through.
    Silent {
        /// The number of the ask.
        number: u64,
    },
    /// Wants no answer.
    News,
}

/// A server's life, as far as gossip goes: what is said of a later one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The life of its process, as the coordinator numbers it.
    pub incarnation: Incarnation,
    /// How often it said in that life that it lives although others doubt it.
    pub refutation: u32,
}

impl Life {
    /// The most refutations that are believed: one a second for three decades.
    pub const REFUTATION_MAX: u32 = 1 << 30;

    /// Returns the beginning of a life.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, refutation: 0 }
    }

    /// Returns this life after one more refutation.
    #[must_use]
    pub(super) fn refuted(self) -> Self {
        let refutation = self.refutation.saturating_add(1).min(Self::REFUTATION_MAX);
        Self { refutation, ..self }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.refutation)
    }
}

/// Something new of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rumor {
    /// Of whom.
    pub server: ServerId,
    /// In which life.
    pub life: Life,
    /// What.
    pub status: Status,
}

/// What is said of a server. Of the same life, a later one in this list counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It lives.
    Alive {
        /// The version of a map that lists it, which is how it can be told from one that has left since.
        version: Version,
        /// Where it listens.
        address: Arc<str>,
    },
    /// It may be dead: it did not answer these.
    Suspect {
        /// Those who found out by themselves, at most [`ACCUSER_COUNT_MAX`](super::ACCUSER_COUNT_MAX), at least one.
        by: BTreeSet<ServerId>,
    },
    /// It was suspected for too long.
    Dead,
    /// It said that it goes.
    Left,
}

/// What a server stores and does, as it told itself. Of two in the same life the one with the higher beat counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who.
    pub server: ServerId,
    /// In which life of its process.
    pub incarnation: Incarnation,
    /// Its heartbeat: counts its reports.
    pub beat: u64,
    /// The version of its map.
    pub version: Version,
    /// What it stores and does.
    pub load: Load,
}

/// How much a server has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Keys it stores.
    pub key_count: u64,
    /// Bytes it stores.
    pub stored_len: u64,
    /// Operations it answers in a second.
    pub op_rate: u64,
}
