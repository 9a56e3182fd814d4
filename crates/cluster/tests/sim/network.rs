//! Connections between nodes: two streams of messages each, in order, late, and lost from some point on when they break.
//!
//! ```text
//! send ──▶ on its way (a delay of its own, never before the one ahead) ──▶ arrives ──▶ the machine
//!              │ partition: held until it ends                               ▲
//!              └ break: a random suffix is lost, the rest lies in the        │
//!                receiver's buffer and is handed over late ──────────────────┘ even after a newer connection's
//! ```
//!
//! Connections are independent of each other, so messages of two of them overtake each other freely. Both ends learn of a
//! break at moments of their own.

use std::collections::VecDeque;

use cluster::{FromEcs, Message, Session, ToEcs};
use fastrand::Rng;

use crate::queue::{MS, Nanos, Queue, SECOND, What};

/// A message on its way.
#[derive(Debug)]
pub enum Parcel {
    /// Between servers.
    Peer(Message),
    /// The coordinator's host learns of the connection.
    Open,
    /// To the coordinator.
    ToEcs(ToEcs),
    /// From the coordinator.
    FromEcs(FromEcs),
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    queue: VecDeque<Parcel>,
    last_at: Nanos,
    held: usize,
    turn: u32,
    is_buffered: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// The nodes at its ends; the opener first.
    pub nodes: [usize; 2],
    /// Their lives.
    pub boots: [u32; 2],
    /// The session, between servers; none to the coordinator.
    pub session: Option<Session>,
    /// Which ends were told, or closed it themselves.
    pub is_closed: [bool; 2],
    /// Whether the far end has seen it.
    pub is_met: bool,
    is_dead: bool,
    /// Streams towards the ends.
    pipes: [Pipe; 2],
}

/// All connections and what disturbs them.
#[derive(Debug)]
pub struct Network {
    /// Every connection there was.
    pub conns: Vec<Conn>,
    live: Vec<usize>,
    node_count: usize,
    blocked: Vec<u8>,
    /// Phases of slowness that go on.
    pub slow: u32,
    rng: Rng,
}

/// Draws how long a message takes.
pub fn delay(rng: &mut Rng, is_slow: bool) -> Nanos {
    let draw = rng.u64(..);
    let (kind, size) = (draw & 0xff, draw >> 8);
    if is_slow && kind < 160 {
        return MS + size % (149 * MS);
    }
    if kind < 230 { 50_000 + size % 300_000 } else { 50_000 + size % 1_950_000 }
}

impl Network {
    /// Returns a network of so many nodes.
    pub fn new(node_count: usize, rng: Rng) -> Self {
        let blocked = vec![0; node_count * node_count];
        Self { conns: Vec::new(), live: Vec::new(), node_count, blocked, slow: 0, rng }
    }

    /// Draws how long a message takes.
    pub fn delay(&mut self) -> Nanos {
        delay(&mut self.rng, self.slow > 0)
    }

    /// Returns whether messages from one node to the other are held now.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from * self.node_count + to] > 0
    }

    /// Returns whether either way is blocked.
    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.is_blocked(a, b) || self.is_blocked(b, a)
    }

    /// Makes a connection.
    pub fn open(&mut self, nodes: [usize; 2], boots: [u32; 2], session: Option<Session>) -> usize {
        let index = self.conns.len();
        self.conns.push(Conn {
            nodes,
            boots,
            session,
            is_closed: [false; 2],
            is_met: false,
            is_dead: false,
            pipes: Default::default(),
        });
        self.live.push(index);
        index
    }

    /// Sends a message to an end.
    pub fn send(&mut self, conn: usize, end: usize, parcel: Parcel, now: Nanos, queue: &mut Queue) {
        let delay = self.delay();
        let c = &mut self.conns[conn];
        if c.is_dead {
            return;
        }
        let pipe = &mut c.pipes[end];
        pipe.queue.push_back(parcel);
        pipe.last_at = pipe.last_at.max(now + delay);
        queue.push(pipe.last_at, What::Deliver { conn, end, turn: pipe.turn });
    }

    /// Returns the message that arrives now, if it is not held.
    pub fn arrive(&mut self, conn: usize, end: usize, turn: u32) -> Option<Parcel> {
        let c = &self.conns[conn];
        let is_blocked = self.is_blocked(c.nodes[1 - end], c.nodes[end]);
        let pipe = &mut self.conns[conn].pipes[end];
        if pipe.turn != turn {
            return None;
        }
        if is_blocked && !pipe.is_buffered {
            pipe.held += 1;
            return None;
        }
        pipe.queue.pop_front()
    }

    /// Blocks one way between two nodes. Connections across it break at one end after a while.
    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked[from * self.node_count + to] += 1;
    }

    /// Ends one blocking; what was held goes on.
    pub fn unblock(&mut self, from: usize, to: usize, now: Nanos, queue: &mut Queue) {
        let count = &mut self.blocked[from * self.node_count + to];
        *count -= 1;
        if *count > 0 {
            return;
        }
        for index in 0..self.live.len() {
            let conn = self.live[index];
            for end in 0..2 {
                let nodes = self.conns[conn].nodes;
                if nodes[1 - end] == from && nodes[end] == to {
                    self.release(conn, end, now, queue);
                }
            }
        }
    }

    fn release(&mut self, conn: usize, end: usize, now: Nanos, queue: &mut Queue) {
        let delay = self.delay();
        let pipe = &mut self.conns[conn].pipes[end];
        pipe.last_at = pipe.last_at.max(now + delay);
        for _ in 0..std::mem::take(&mut pipe.held) {
            queue.push(now + delay, What::Deliver { conn, end, turn: pipe.turn });
        }
    }

    /// Returns the living connections of a node.
    pub fn of(&self, node: usize) -> Vec<usize> {
        let is_of = |conn: &&usize| self.conns[**conn].nodes.contains(&node);
        self.live.iter().filter(is_of).copied().collect()
    }

    /// Returns the living connections between two nodes.
    pub fn between(&self, a: usize, b: usize) -> Vec<usize> {
        let is_between = |conn: &&usize| {
            let nodes = self.conns[**conn].nodes;
            nodes == [a, b] || nodes == [b, a]
        };
        self.live.iter().filter(is_between).copied().collect()
    }

    fn bury(&mut self, conn: usize) -> bool {
        let was_dead = std::mem::replace(&mut self.conns[conn].is_dead, true);
        self.live.retain(|live| *live != conn);
        !was_dead
    }

    /// Breaks a connection. The end `first` learns it soon, the other `later` at the latest, which may be long.
    pub fn cut(&mut self, conn: usize, first: usize, later: Nanos, now: Nanos, queue: &mut Queue) {
        if !self.bury(conn) {
            return;
        }
        for end in 0..2 {
            let drained_at = self.drain(conn, end, now, queue);
            let learns_at = match end == first {
                true => now + self.rng.u64(0..=5 * MS),
                false => now + self.rng.u64(0..=later),
            };
            // A coordinator's thread reads to the end before it tells; a server's writer may find out first.
            let is_ordered = self.conns[conn].session.is_none() || self.rng.u8(0..10) < 7;
            let at = if is_ordered { learns_at.max(drained_at) } else { learns_at };
            queue.push(at, What::Closed { conn, end });
        }
    }

    /// Loses a random suffix of what is on its way; the rest lies in the receiver's buffer.
    fn drain(&mut self, conn: usize, end: usize, now: Nanos, queue: &mut Queue) -> Nanos {
        let slowness = match self.rng.u8(0..10) {
            0..5 => 2 * MS,
            5..8 => 100 * MS,
            _ => 1_500 * MS,
        };
        let mut at = now + self.rng.u64(0..=slowness);
        let pipe = &mut self.conns[conn].pipes[end];
        pipe.queue.truncate(self.rng.usize(0..=pipe.queue.len()));
        pipe.turn += 1;
        pipe.is_buffered = true;
        for _ in 0..pipe.queue.len() {
            at += self.rng.u64(0..=50_000);
            queue.push(at, What::Deliver { conn, end, turn: pipe.turn });
        }
        at
    }

    /// Closes a connection from one end: what it sent still arrives, then the other end learns it.
    pub fn close(&mut self, conn: usize, end: usize, now: Nanos, queue: &mut Queue) {
        self.conns[conn].is_closed[end] = true;
        if !self.bury(conn) {
            return;
        }
        let delay = self.delay();
        let c = &mut self.conns[conn];
        c.pipes[end].turn += 1;
        c.pipes[end].queue.clear();
        let far = &mut c.pipes[1 - end];
        far.is_buffered = true;
        let late = now + delay;
        for _ in 0..std::mem::take(&mut far.held) {
            queue.push(late, What::Deliver { conn, end: 1 - end, turn: far.turn });
        }
        queue.push(late.max(far.last_at), What::Closed { conn, end: 1 - end });
        if self.rng.bool() {
            queue.push(late, What::Closed { conn, end });
        }
    }

    /// The process at an end is gone: `is_silent` if its machine went down with it.
    pub fn abandon(&mut self, node: usize, is_silent: bool, now: Nanos, queue: &mut Queue) {
        for conn in self.of(node) {
            let nodes = self.conns[conn].nodes;
            let other = usize::from(nodes[0] == node);
            let is_long = is_silent && self.rng.u8(0..10) < 6 || self.is_cut(nodes[0], nodes[1]);
            let later = if is_long { 4 * SECOND } else { 20 * MS };
            self.conns[conn].is_closed[1 - other] = true;
            self.cut(conn, 1 - other, later, now, queue);
        }
    }
}
