//! The machine under its lock, with what must be done in the order of its actions.
//!
//! ```text
//! lock ─▶ step, step, … ─▶ actions: messages into the links' queues, maps to the keeper   (order matters)
//!                          effects: what is done once the lock is given up                (order does not)
//! unlock ─▶ replies, reads, writes to sockets, connections
//! ```
//!
//! Any thread steps: the one that read a client's or a peer's lines, the one whose sync ended, the ticker. No thread
//! waits for another to take an event. Under the lock there is no system call but the append.

use std::collections::BTreeMap;

use bitcask::SyncPolicy;
use cluster::lines::{write_message, write_to_ecs};
use cluster::{
    Action, Bytes, Delta, Event, Link, Lsn, Message, OpId, PageTicket, ReadTicket, Reply, Server,
    StopReason, Storage as _, Version,
};
use crossbeam_channel::Sender;

use super::clock;
use super::ops::{Ops, Waiter};
use super::storage::NodeStorage;

/// The machine and what belongs to it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) machine: Server,
    pub(super) storage: NodeStorage,
    /// Operations of clients that are with the machine.
    pub(super) ops: Ops,
    /// The connections that stand.
    pub(super) links: BTreeMap<Link, net::Sender>,
    /// The connection to the coordinator.
    pub(super) ecs: Option<net::Sender>,
    sync: SyncPolicy,
    /// Told durable to the machine.
    told: u64,
    keeper: Sender<Delta>,
    actions: Vec<Action>,
    /// Reads that were made at once, not told to the machine yet.
    at_hand: Vec<(ReadTicket, Option<(Bytes, Lsn)>)>,
    effects: Effects,
}

/// What is to be done once the lock is given up.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Outcomes for clients.
    pub(super) replies: Vec<(Waiter, Reply)>,
    /// Reads to make, and to tell the machine of.
    pub(super) reads: Vec<(ReadTicket, Bytes)>,
    /// Pages to read, and to tell the machine of.
    pub(super) pages: Vec<PageTicket>,
    /// Links with something queued.
    pub(super) flushes: Vec<Link>,
    /// Their senders.
    pub(super) senders: Vec<net::Sender>,
    /// Connections to open.
    pub(super) dials: Vec<(Link, String)>,
    /// Connections to close.
    pub(super) closes: Vec<net::Sender>,
    /// The version of a map that came into force.
    pub(super) version: Option<Version>,
    /// The life is over.
    pub(super) stop: Option<StopReason>,
    /// What the disk failed with.
    pub(super) failure: Option<bitcask::Error>,
    /// Position up to which something waits for a sync, if any does.
    pub(super) unsynced: Option<u64>,
}

impl Core {
    /// Returns the core of a machine that has just been made.
    pub(super) fn new(
        machine: Server,
        storage: NodeStorage,
        sync: SyncPolicy,
        keeper: Sender<Delta>,
    ) -> Self {
        Self {
            machine,
            storage,
            ops: Ops::default(),
            links: BTreeMap::new(),
            ecs: None,
            sync,
            told: 0,
            keeper,
            actions: Vec::new(),
            at_hand: Vec::new(),
            effects: Effects::default(),
        }
    }

    /// Takes one event.
    pub(super) fn step(&mut self, event: Event) {
        self.step_all([event]);
    }

    /// Takes events that came together.
    pub(super) fn step_all(&mut self, events: impl IntoIterator<Item = Event>) {
        self.give(events);
        // Each of these has no other action than its reply.
        while !self.at_hand.is_empty() {
            let read = std::mem::take(&mut self.at_hand);
            self.give(read.into_iter().map(|(ticket, value)| Event::ReadDone { ticket, value }));
        }
    }

    fn give(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.step_all(clock::now(), events, &mut self.storage, &mut actions);
        for action in actions.drain(..) {
            self.act(action);
        }
        self.actions = actions;
    }

    /// Ends what one thread does under the lock: writes what was appended, and says what is left to do.
    pub(super) fn end(&mut self) -> Effects {
        self.storage.flush();
        if let Some(error) = self.storage.take_failure() {
            self.effects.failure = Some(error);
            self.step(Event::StorageFailed);
        }
        // Positions were given to records that a failed write has lost: no sync makes them durable (R3).
        if self.storage.has_failed() {
            return std::mem::take(&mut self.effects);
        }
        // Without syncs a record counts as durable when it is written: a process that dies loses nothing of it.
        while self.sync != SyncPolicy::Always && self.told < self.storage.appended().0 {
            self.durable(self.storage.appended().0);
            self.storage.flush();
            if self.storage.has_failed() {
                // Told in the next step; nothing is told durable until then.
                break;
            }
        }
        if self.sync == SyncPolicy::Always {
            let appended = self.storage.appended().0;
            self.effects.unsynced = Some(appended).filter(|appended| *appended > self.told);
        }
        std::mem::take(&mut self.effects)
    }

    /// Notes that everything up to a position is durable.
    pub(super) fn durable(&mut self, position: u64) {
        if position > self.told && !self.storage.has_failed() {
            self.told = position;
            self.step(Event::Durable(cluster::Position(position)));
        }
    }

    /// Notes an operation that is to be given to the machine, and returns it as an event.
    pub(super) fn ask(
        &mut self,
        waiter: Waiter,
        slot: cluster::SlotId,
        ask: cluster::Ask,
    ) -> Event {
        let key = Bytes::clone(&waiter.key);
        let op = self.ops.add(waiter);
        Event::Client { op, slot, key, ask }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { link, address } => self.effects.dials.push((link, address)),
            Action::Close(link) => {
                self.effects.closes.extend(self.links.remove(&link));
            }
            Action::Send(link, message) => self.send(link, &message),
            Action::ToEcs(message) => {
                if let Some(ecs) = &self.ecs {
                    ecs.queue(|line| write_to_ecs(line, &message));
                    self.effects.senders.push(ecs.clone());
                }
            }
            // Its session tells that it ended, and another is made.
            Action::CloseEcs => self.effects.closes.extend(self.ecs.take()),
            Action::PersistMap(delta) => {
                // The keeper outlives the machine; where it is gone, the process is ending.
                self.keeper.send(delta).unwrap_or_default();
            }
            Action::Reply(op, reply) => self.reply(op, reply),
            Action::Read { ticket, key } => self.read(ticket, key),
            Action::ReadPage(ticket) => self.effects.pages.push(ticket),
            Action::MapChanged(version) => self.effects.version = Some(version),
            Action::Stop(reason) => self.effects.stop = Some(reason),
        }
    }

    fn send(&mut self, link: Link, message: &Message) {
        let Some(sender) = self.links.get(&link) else { return };
        sender.queue(|line| write_message(line, message));
        if !self.effects.flushes.contains(&link) {
            self.effects.flushes.push(link);
            self.effects.senders.push(sender.clone());
        }
    }

    fn reply(&mut self, op: OpId, reply: Reply) {
        if let Some(waiter) = self.ops.take(op) {
            self.effects.replies.push((waiter, reply));
        }
    }

    /// Reads what is in memory at once; a file is read without the lock.
    fn read(&mut self, ticket: ReadTicket, key: Bytes) {
        match self.storage.get_from_memory(ticket.slot, &key) {
            Some(value) => self.at_hand.push((ticket, value)),
            None => self.effects.reads.push((ticket, key)),
        }
    }

    /// Takes an operation back that could not be read.
    pub(super) fn take_op(&mut self, op: OpId) -> Option<Waiter> {
        self.ops.take(op)
    }
}
