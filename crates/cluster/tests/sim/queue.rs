//! What is to happen in the world, ordered by time; of one time, in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A moment of real (virtual) time, in nanoseconds from the world's start.
pub type Nanos = u64;

/// A thousandth of a second.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MS;

/// Something to happen. `boot` tells the lives of a process apart: what was meant for an earlier one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The server's machine is told that time has passed.
    Tick { node: usize, boot: u32 },
    /// The server's gossip is told that time has passed.
    GossipTick { node: usize, boot: u32 },
    /// Something of gossip arrives.
    Letter { index: usize },
    /// The coordinator is told that time has passed.
    EcsTick { boot: u32 },
    /// The first message on its way to this end arrives.
    Deliver { conn: usize, end: usize, turn: u32 },
    /// This end learns that the connection is gone.
    Closed { conn: usize, end: usize },
    /// A connection asked for stands, or not.
    Connecting { index: usize, is_made: bool },
    /// The host of a server tries to reach the coordinator.
    EcsConnect { node: usize, boot: u32 },
    /// A sync ends.
    SyncDone { node: usize, boot: u32, position: u64 },
    /// The system writes back what nobody waits for.
    WriteBack { node: usize, boot: u32 },
    /// The oldest map in writing is durable.
    Persisted { node: usize, boot: u32 },
    /// A read is done.
    ReadDone { node: usize, boot: u32, index: usize },
    /// A read by a permit goes on.
    Permitted { node: usize, boot: u32, index: usize },
    /// A thread gives the machine what it gathered.
    Gathered { node: usize, boot: u32 },
    /// A page is read.
    PageDone { node: usize, boot: u32, index: usize },
    /// A client's request arrives at its server.
    Request { attempt: usize },
    /// The answer arrives at the client.
    Answer { attempt: usize },
    /// The client gives its connection up.
    Lost { attempt: usize },
    /// A client asked to be woken.
    Wake { client: usize },
    /// A server's map arrives at a client that asked.
    TellMap { client: usize, node: usize },
    /// A process is started.
    Start { node: usize, boot: u32 },
    /// The coordinator is started.
    EcsStart { boot: u32 },
    /// An end gives a connection across a partition up.
    GiveUp { conn: usize, first: usize },
    /// The next fault begins.
    Fault,
    /// A fault ends.
    FaultEnd { index: usize },
    /// A process dies in its next step.
    Dies { node: usize, boot: u32 },
    /// A server is put onto the ring.
    Join { node: usize },
    /// The new primary of an ambush is heard no more.
    AmbushCloses,
    /// It is looked whether a disk that stands still was noticed.
    HangSeen,
    /// The operator looks for servers that never come back.
    Operate,
    /// All faults end.
    Heal,
    /// Clients begin nothing new.
    StopClients,
    /// It is looked whether all is done.
    Look,
    /// A write or read that measures.
    Probe { slot: u16 },
    /// The measured fault.
    Strike,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    sequence: u64,
}

impl Queue {
    /// Plans something.
    pub fn push(&mut self, at: Nanos, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, what)));
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<(Nanos, What)> {
        self.heap.pop().map(|Reverse((at, _, what))| (at, what))
    }
}
