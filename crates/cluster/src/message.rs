//! What servers say to each other and to the coordinator.
//!
//! A server opens one connection to each peer that it shares a slot with. On it the opener speaks as **primary** and sends
//! its beacons; the answers of the other side, as backup or learner, come back on the same connection. So two
//! servers that share slots have two connections, one each way.
//!
//! ```text
//!   opener (primary of the slots it speaks of)             acceptor (backup, learner)
//!   Hello ───────────────────────────────────────────────▶
//!   Slot(Open) ──────────────────────────────────────────▶
//!                               ◀─────────────────────────  Slot(State): a part; if not `is_last`, Open asks for the next
//!   Slot(Prepare …), Slot(Chunk …), Slot(Commit) ────────▶
//!                               ◀─────────────────────────  Ack: all before this position is durable
//!   Beacon ──────────────────────────────────────────────▶
//! ```
//!
//! The opener's messages are counted from 1 on both sides; an [`Message::Ack`] names a position in that count and is
//! cumulative. What an acceptor would not take it has refused, by name and before any acknowledgement
//! beyond it, so "all before" means all that was not refused.
//!
//! Every message about a slot carries the slot's epoch (R9); the life of the sender is that of the connection.

use std::collections::{BTreeMap, BTreeSet};

use crate::map::Delta;
use crate::types::{
    Epoch, Incarnation, Lsn, Number, Record, Request, ServerId, Session, SlotId, SlotLoad, Time,
    Version,
};

/// A message between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every connection: who opens it, and as which of its sessions.
    Hello {
        /// The session; a later one of the same server fences it.
        session: Session,
        /// The version of the opener's map.
        version: Version,
    },
    /// A sign of life with a grant.
    Beacon(Beacon),
    /// Asks for what changed since a version of the map.
    Pull {
        /// The version that the asker has.
        version: Version,
    },
    /// Brings what changed.
    Push(Delta),
    /// Something about one slot.
    Slot {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the sender knows it.
        epoch: Epoch,
        /// What.
        body: SlotMessage,
    },
    /// From the acceptor: everything up to this position of the opener's messages that was not refused is durable
    /// here, and so is everything that the answers up to it stated.
    Ack {
        /// The position.
        upto: u64,
    },
}

impl Message {
    /// Returns about how many bytes it takes in memory.
    pub(crate) fn byte_len(&self) -> usize {
        /// What every message takes.
        const HEAD_LEN: usize = 64;
        let records: &[Record] = match self {
            Self::Slot { body: SlotMessage::Prepare { record, .. }, .. } => {
                std::slice::from_ref(record)
            }
            Self::Slot { body: SlotMessage::Chunk { records, .. }, .. } => records,
            Self::Slot { body: SlotMessage::State(state), .. } => &state.records,
            Self::Slot { .. }
            | Self::Hello { .. }
            | Self::Beacon(_)
            | Self::Pull { .. }
            | Self::Push(_)
            | Self::Ack { .. } => &[],
        };
        HEAD_LEN + records.iter().map(Record::byte_len).sum::<usize>()
    }
}

/// A message about one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotMessage {
    /// From the primary, first in each session and epoch: say what you hold.
    Open {
        /// The primary's commit point.
        commit: Lsn,
        /// Whether the receiver is asked as the slot's learner.
        is_learner: bool,
        /// Only what is above this: the statement is asked for in parts. Zero at its beginning.
        above: Lsn,
    },
    /// A record that is not committed yet, or was not when it was queued.
    Prepare {
        /// The primary's commit point; none for a learner that is not level.
        commit: Option<Lsn>,
        /// The record.
        record: Record,
    },
    /// To a learner or a member that lacks them: committed records in lsn order.
    Chunk {
        /// The records.
        records: Vec<Record>,
        /// Everything committed up to here has now been sent, or something newer of its key.
        upto: Lsn,
    },
    /// To a learner: what you hold cannot be brought up to date; drop the slot and begin with nothing.
    Fresh,
    /// Publish up to here.
    Commit {
        /// The commit point.
        commit: Lsn,
        /// The slot's tombstone floor (R5): not above the commit point.
        floor: Lsn,
        /// Requests below this are forgotten: their clients have been silent for too long (R24).
        request_floor: Lsn,
        /// Whether the receiver may serve reads in this epoch, once it holds a read lease.
        has_reads: bool,
    },
    /// To a backup that is about to be removed: stop serving reads (R21).
    StopReads,
    /// From the acceptor: a part of what it holds above the lower of both commit points.
    State(State),
    /// From the acceptor: reads have stopped and will not begin again in this epoch.
    ReadsStopped,
    /// From the acceptor: not taken, because the slot's epoch is another one here.
    Refused {
        /// The epoch here.
        known: Epoch,
    },
}

impl SlotMessage {
    /// Returns the highest lsn that it names. None is of a later epoch than the message.
    pub(crate) fn newest(&self) -> Lsn {
        let last = |records: &[Record]| records.iter().map(|record| record.lsn).max();
        let named = match self {
            Self::Open { commit, above, .. } => [Some(*commit), Some(*above), None],
            Self::Prepare { commit, record } => [*commit, Some(record.lsn), None],
            Self::Chunk { records, upto } => [Some(*upto), last(records), None],
            Self::Commit { commit, floor, request_floor, .. } => {
                [Some(*commit), Some(*floor), Some(*request_floor)]
            }
            Self::State(state) => [Some(state.commit), Some(state.held), last(&state.records)],
            Self::Fresh | Self::StopReads | Self::ReadsStopped | Self::Refused { .. } => [None; 3],
        };
        named.into_iter().flatten().max().unwrap_or_default()
    }
}

/// A part of what a member or learner states about a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its commit point.
    pub commit: Lsn,
    /// Every committed record up to here, or a newer one of its key, is held: at least the commit point, more at a
    /// learner whose transfer was interrupted.
    pub held: Lsn,
    /// Whether this is a learner that holds nothing at all of the slot.
    pub is_empty: bool,
    /// The records.
    pub records: Vec<Record>,
    /// Whether the statement ends here. If not, the next part begins above the last record of this one.
    pub is_last: bool,
}

/// A sign of life, and a grant of leases (R13 to R15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// When it was sent, by the sender's clock: only the sender can use it, when it is echoed.
    pub sent_at: Time,
    /// The newest beacon heard from the receiver: its life and its `sent_at`.
    pub echo: Option<(Incarnation, Time)>,
    /// Whether the receiver, as primary, may count on not being accused by the sender: a primary lease.
    pub is_grant: bool,
    /// Whether the receiver, as backup of the sender's slots, may serve reads: a read lease.
    pub is_read_grant: bool,
    /// The version of the sender's map: for what the grant counts.
    pub version: Version,
    /// From whom the sender itself holds a primary lease now, each with the version its grant counts for. A backup
    /// serves reads of a slot only if all the slot's other backups are among them (R14).
    pub leases: BTreeMap<ServerId, Version>,
    /// Whether the sender's disk is so full that it takes no more puts.
    pub is_full: bool,
}

/// What a server says to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToEcs {
    /// Asks for an incarnation. Sent again until it is answered; `life` tells that it is the same process.
    Register {
        /// The server.
        server: ServerId,
        /// Where it listens.
        address: String,
        /// Drawn at the start of its process.
        life: u64,
        /// Whether it provably holds all it ever acknowledged (DESIGN: restart of a member).
        is_complete: bool,
        /// Whether it wants to wait for being asked onto the ring.
        is_standby: bool,
        /// The version of the map it kept.
        version: Version,
    },
    /// Whom everybody doubts, as the server's gossip has it; in place of what it said before on this connection. Wants no answer.
    Doubts {
        /// The server.
        server: ServerId,
        /// Its life.
        incarnation: Incarnation,
        /// Whom.
        doubted: BTreeSet<ServerId>,
    },
    /// Everything else; also a sign of life.
    Request {
        /// The server.
        server: ServerId,
        /// Its life.
        incarnation: Incarnation,
        /// Rises with each request of this life.
        number: Number,
        /// The version of its map.
        version: Version,
        /// Whether its disk is so full that it takes no more puts.
        is_full: bool,
        /// What it asks for, each by compare-and-set on the slot's epoch. Empty: it only settles what it asked before.
        changes: Vec<Change>,
        /// The load of slots that it is primary of, when it is to be told.
        loads: Vec<(SlotId, SlotLoad)>,
    },
}

/// A change that a server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From a backup: the primary is silent; take it out of the members.
    Depose {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the asker knows it.
        epoch: Epoch,
    },
    /// From the primary: take this backup out of the members.
    Remove {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the asker knows it.
        epoch: Epoch,
        /// The backup.
        member: ServerId,
    },
    /// From the primary: the learner has everything; make it a backup.
    Promote {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the asker knows it.
        epoch: Epoch,
        /// The learner, in the life it has everything in.
        learner: (ServerId, Incarnation),
    },
    /// From the primary, which has stopped serving the slot: make this backup the primary.
    HandOver {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the asker knows it.
        epoch: Epoch,
        /// The backup.
        to: ServerId,
    },
    /// From a member: it cannot read all of its copy; take it out of the members if there are others (R4).
    Resign {
        /// The slot.
        slot: SlotId,
        /// Its epoch, as the asker knows it.
        epoch: Epoch,
    },
    /// The asker's disk failed: take it out of all members it can be taken out of.
    Fail,
    /// The asker wants off the ring; it ends when it holds nothing.
    Leave,
}

/// What the coordinator says to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromEcs {
    /// Answers a registration.
    Registered {
        /// The life that was registered.
        life: u64,
        /// Its number.
        incarnation: Incarnation,
        /// From the version that the server kept.
        delta: Delta,
    },
    /// Answers a request. What became of it can be read from the map: a change that was made has a new epoch.
    Answer {
        /// The request's number: it and all before it are settled.
        number: Number,
        /// From the version that the server had.
        delta: Delta,
    },
    /// The map changed.
    Push(Delta),
    /// The request was of a life that is over: the server must end or register anew.
    Superseded,
}

/// A request id as a record keeps it, with the lsn that decides which of two is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEntry {
    /// The client's id, its number, and what it was told.
    pub request: Request,
    /// The lsn of the record that carried it.
    pub lsn: Lsn,
}
