//! What a server's machine is told, and what it asks to be done.
//!
//! The host calls [`Server::step`](crate::Server::step) with one event and the time, and carries out the actions in
//! their order. Each can be carried out twice without harm. The host decides nothing; it may be a real
//! process with threads and sockets, or the simulator.

use std::collections::BTreeSet;

use crate::map::Delta;
use crate::message::{FromEcs, Message, ToEcs};
use crate::storage::{Page, Position};
use crate::types::{Bytes, Lsn, Request, ServerId, Session, SlotId, Version};

/// A client's operation, numbered by the host for as long as it is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// A connection between servers: who is at its other end, and which session it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Opened by this server.
    Out(ServerId, Session),
    /// Opened by the peer.
    In(ServerId, Session),
}

/// What a write asks of the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key's value was written by the record of this lsn.
    Version(Lsn),
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Reads the key.
    Get,
    /// Stores a value.
    Put {
        /// The value.
        value: Bytes,
        /// When it ends, in milliseconds since 1970-01-01 UTC.
        expires_at_ms: Option<u64>,
        /// When it may be stored.
        condition: Option<Condition>,
        /// The client's id and number, for retries (R24).
        request: Option<(u64, u64)>,
    },
    /// Deletes the key.
    Delete {
        /// The client's id and number, for retries (R24).
        request: Option<(u64, u64)>,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value read, with the lsn of its record; or none.
    Value(Option<(Bytes, Lsn)>),
    /// A new key was stored; the lsn of its record.
    Stored(Lsn),
    /// A value was replaced; the lsn of the new record.
    Replaced(Lsn),
    /// The value is gone.
    Deleted,
    /// There was no value to delete.
    Missing,
    /// The condition did not hold; nothing was done. The lsn of the value that is there, if one is.
    ConditionFailed(Option<Lsn>),
    /// Definite: nothing was done.
    Refused(Refusal),
    /// The write may or may not take effect.
    Unknown,
}

/// Why an operation was refused. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another server answers for the key: refresh the map.
    NotResponsible,
    /// The slot is at a switch: try again at once.
    WriteLock,
    /// On no ring, no lease, or not ready yet: try again.
    Stopped,
    /// Too many writes of the slot wait for their commit: try again later.
    Busy,
    /// The disk of a member is full.
    Full,
    /// The disk of this server failed.
    Failed,
    /// The request's number is below one that was carried out already.
    OldRequest,
}

/// A read that was allowed to begin: what must still hold when its value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTicket {
    /// The operation.
    pub op: OpId,
    /// The slot.
    pub slot: SlotId,
    /// The number of the replica's stay in its role: another number, another role, and the value is not told.
    pub stay: u64,
}

/// A page of published records that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTicket {
    /// The slot.
    pub slot: SlotId,
    /// For whom.
    pub peer: ServerId,
    /// The number of the transfer.
    pub transfer: u64,
    /// Where it begins: above this lsn.
    pub above: Lsn,
    /// About how many bytes.
    pub len_max: usize,
}

/// What a server's machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. To be told at least every 10 ms.
    Tick,
    /// A connection that was asked for by [`Action::Connect`] stands.
    Connected(Link),
    /// A connection ended, or could not be made.
    Closed(Link),
    /// A message came. The first on an [`Link::In`] is a [`Message::Hello`].
    Received(Link, Message),
    /// A connection to the coordinator stands.
    EcsConnected,
    /// The connection to the coordinator ended.
    EcsClosed,
    /// A message of the coordinator came.
    FromEcs(FromEcs),
    /// Another server brought what changed in the map, not on a session: by gossip.
    Told(Delta),
    /// These are the servers that everybody doubts, as gossip has it: the coordinator is to be told.
    Doubts(BTreeSet<ServerId>),
    /// The map that [`Action::PersistMap`] gave is durable.
    MapPersisted(Version),
    /// Everything appended before this position is durable under the sync policy.
    Durable(Position),
    /// A write or sync failed: the storage takes nothing any more (R3).
    StorageFailed,
    /// Whether connections are taken now (R16); they are, until this says otherwise.
    Accepting(bool),
    /// A client asks.
    Client {
        /// The operation.
        op: OpId,
        /// The key's slot.
        slot: SlotId,
        /// The key.
        key: Bytes,
        /// What it asks for.
        ask: Ask,
    },
    /// The value that [`Action::Read`] asked for.
    ReadDone {
        /// The ticket of the read.
        ticket: ReadTicket,
        /// The newest published record's value and lsn; `None`: no value.
        value: Option<(Bytes, Lsn)>,
    },
    /// The value that [`Action::Read`] asked for is here and cannot be read (R4).
    ReadFailed(ReadTicket),
    /// The page that [`Action::ReadPage`] asked for.
    PageDone(PageTicket, Page),
    /// A client needs to be remembered no more in a slot (R24).
    Forget {
        /// The slot.
        slot: SlotId,
        /// The client.
        client: u64,
    },
    /// An operator or a signal asks this server to leave the ring.
    Leave,
}

/// What a server's machine asks to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to a peer; then tell [`Event::Connected`], or [`Event::Closed`] if it cannot be made.
    Connect {
        /// The connection to make.
        link: Link,
        /// Where the peer listens.
        address: String,
    },
    /// Close a connection.
    Close(Link),
    /// Send a message. What cannot be sent is dropped; the connection is then reported closed.
    Send(Link, Message),
    /// Send a message to the coordinator, on the connection that stands.
    ToEcs(ToEcs),
    /// Close the connection to the coordinator and open another: nothing comes back on it.
    CloseEcs,
    /// Make this change of the map durable, then tell [`Event::MapPersisted`].
    PersistMap(Delta),
    /// Answer a client.
    Reply(OpId, Reply),
    /// Read the newest published value of a key, then tell [`Event::ReadDone`].
    Read {
        /// To give back.
        ticket: ReadTicket,
        /// The key.
        key: Bytes,
    },
    /// Read a page of published records, then tell [`Event::PageDone`].
    ReadPage(PageTicket),
    /// The map in force is now of this version.
    MapChanged(Version),
    /// This life is over: another process of the same server has registered, or the server has left.
    Stop(StopReason),
}

/// Why a server's life is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A newer life of the same server is registered.
    Superseded,
    /// It left the ring and holds nothing any more.
    Left,
    /// Its disk failed.
    Failed,
}

/// What a request's outcome byte means (kept with the record).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new key was stored.
    Stored,
    /// A value was replaced.
    Replaced,
    /// A value was deleted.
    Deleted,
    /// Nothing is known: the entry overrides one that never came into force.
    Void,
}

impl Outcome {
    /// Returns the byte that a record keeps.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Replaced => 1,
            Self::Deleted => 2,
            Self::Void => 3,
        }
    }

    /// Returns what a kept byte means.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Stored, Self::Replaced, Self::Deleted, Self::Void]
            .into_iter()
            .find(|o| o.code() == code)
    }

    /// Returns the reply that a retry gets.
    #[must_use]
    pub fn reply(self, lsn: Lsn) -> Option<Reply> {
        match self {
            Self::Stored => Some(Reply::Stored(lsn)),
            Self::Replaced => Some(Reply::Replaced(lsn)),
            Self::Deleted => Some(Reply::Deleted),
            Self::Void => None,
        }
    }

    /// Returns the request id of a record with this outcome.
    #[must_use]
    pub fn request(self, (client, number): (u64, u64)) -> Request {
        Request { client, number, outcome: self.code() }
    }
}
