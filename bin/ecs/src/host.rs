//! The machine at work: one lock around it, and one thread at a time that carries out what it says.
//!
//! ```text
//!  connections' threads, tick ──event──▶ [ machine ] ──work──▶ [ queue ] ──▶ append and sync ──▶ send, close, answer
//!                              under the lock, no I/O              └── one thread at a time, without the lock ──┘
//! ```
//!
//! Whoever steps the machine puts what is to be done behind all that is still to be done, under the same lock: so the queue
//! has the order of the decisions. Then, if nobody else is at it, that thread *carries*: it takes the whole queue, makes all
//! decisions in it durable with one sync, carries out the rest in its order, and looks again. Whoever comes meanwhile
//! leaves its work to it and goes back to its connection. Nothing of the queue's rest is done before all decisions
//! before it are durable; a reply to a question is queued as well, because what it tells may be a decision.
//!
//! If a decision cannot be made durable the queue is thrown away, with the connections that wait for a reply, and the process
//! ends. Left out: taking back what the machine has decided; it begins anew from the folder.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cluster::coordinator::spawn::{Spawned, View};
use cluster::coordinator::{
    Action, Answer, Command, ConnectionId, Coordinator, Event, Plan, Status, Ticket, WholeMap, Wish,
};
use cluster::lines::{Welcome, write_from_ecs, write_welcome};
use cluster::{Delta, FromEcs, Map, ServerId, Time, ToEcs, Version};
use crossbeam_channel::Sender as Channel;

use crate::Error;
use crate::clock;
use crate::journal::Journal;

/// Pieces of work that may wait: above it, connections are not read on. A slow disk must not fill the memory, and a reply can
/// be a whole map, 1 MiB.
const WORK_COUNT_MAX: usize = 256;

/// The machine and what is still to be done.
#[derive(Debug)]
pub(crate) struct Host {
    core: Mutex<Core>,
    /// Tells that there is room in the queue again.
    room: Condvar,
    welcome: Welcome,
    /// Where it is told that a decision could not be made durable.
    failed: Channel<Error>,
}

#[derive(Debug)]
struct Core {
    machine: Coordinator,
    connections: BTreeMap<ConnectionId, net::Sender>,
    work: VecDeque<Work>,
    /// `None` while a thread carries.
    journal: Option<Box<dyn Journal>>,
    next_connection: u64,
    next_ticket: u64,
    /// What was started, if it may.
    spawned: Option<Spawned>,
    /// The journal failed.
    is_over: bool,
}

/// What is to be done, in the order of the queue.
#[derive(Debug)]
enum Work {
    Log(cluster::coordinator::Entry),
    Note(String),
    Send(net::Sender, FromEcs),
    Close(net::Sender),
    Reply(net::Ticket, Vec<u8>),
}

impl Host {
    /// Returns a host of `machine`, whose decisions so far are all in `journal`.
    pub(crate) fn new(
        machine: Coordinator,
        cluster: u128,
        journal: Box<dyn Journal>,
        failed: Channel<Error>,
    ) -> Self {
        let map = machine.map();
        let (slot_count, replica_count) = (map.slot_count(), map.replica_count());
        let core = Core {
            machine,
            connections: BTreeMap::new(),
            work: VecDeque::new(),
            journal: Some(journal),
            next_connection: 1,
            next_ticket: 1,
            spawned: None,
            is_over: false,
        };
        Self {
            core: Mutex::new(core),
            room: Condvar::new(),
            welcome: Welcome { cluster, slot_count, replica_count },
            failed,
        }
    }

    /// Takes a server's connection and welcomes it.
    pub(crate) fn connect(&self, sender: net::Sender) -> ConnectionId {
        let welcome = self.welcome;
        sender.queue(|out| write_welcome(out, &welcome));
        let mut core = self.with_room();
        let connection = ConnectionId(core.next_connection);
        core.next_connection += 1;
        core.connections.insert(connection, sender);
        core.step(Event::Connected(connection));
        self.carry(core);
        connection
    }

    /// Takes what a server said.
    pub(crate) fn receive(&self, connection: ConnectionId, message: ToEcs) {
        let mut core = self.with_room();
        core.step(Event::Received(connection, message));
        self.carry(core);
    }

    /// Notes that a server's connection is over.
    pub(crate) fn disconnect(&self, connection: ConnectionId) {
        let mut core = self.lock();
        core.connections.remove(&connection);
        core.step(Event::Closed(connection));
        self.carry(core);
    }

    /// Lets time pass.
    pub(crate) fn tick(&self) {
        let mut core = self.lock();
        if core.work.len() < WORK_COUNT_MAX {
            core.step(Event::Tick);
            self.carry(core);
        }
    }

    /// Carries out an operator's command; `reply` makes the line from the machine's answer.
    pub(crate) fn command(
        &self,
        place: net::Ticket,
        command: Command,
        reply: impl FnOnce(Answer) -> Vec<u8>,
    ) {
        let mut core = self.with_room();
        let ticket = Ticket(core.next_ticket);
        core.next_ticket += 1;
        if let Some(answer) = core.step(Event::Command(ticket, command)) {
            core.queue(Work::Reply(place, reply(answer)));
        }
        self.carry(core);
    }

    /// Puts a reply, made of what [`Host::look`] saw, behind the decisions that it may tell of.
    pub(crate) fn reply(&self, place: net::Ticket, reply: Vec<u8>) {
        let mut core = self.with_room();
        core.queue(Work::Reply(place, reply));
        self.carry(core);
    }

    /// Returns what `see` makes of the map; to be told by [`Host::reply`] only.
    pub(crate) fn look<T>(&self, see: impl FnOnce(&Map) -> T) -> T {
        see(self.lock().machine.map())
    }

    /// Returns how the cluster stands; to be told by [`Host::reply`] only.
    pub(crate) fn status(&self) -> Status {
        let core = self.lock();
        let mut status = core.machine.status(clock::now(), self.welcome.cluster);
        status.spawned.clone_from(&core.spawned);
        status
    }

    /// Returns what would become of the cluster; to be told by [`Host::reply`] only.
    pub(crate) fn plan(&self, wish: Wish) -> Plan {
        let core = self.lock();
        let mut plan = core.machine.plan(clock::now(), wish);
        plan.spawned.clone_from(&core.spawned);
        plan
    }

    /// Returns what is to be known for starting and ending processes.
    pub(crate) fn spawn_view(&self) -> View {
        self.lock().machine.spawn_view(clock::now())
    }

    /// Notes which processes were started, to be told, and which servers they are.
    pub(crate) fn set_spawned(&self, spawned: Spawned, servers: BTreeSet<ServerId>) {
        let mut core = self.lock();
        core.spawned = Some(spawned);
        core.machine.set_spawned(servers);
    }

    /// Has the machine let a server go that holds nothing. Returns whether it does.
    pub(crate) fn retire(&self, server: ServerId) -> bool {
        let mut core = self.with_room();
        let ticket = Ticket(core.next_ticket);
        core.next_ticket += 1;
        let answer = core.step(Event::Command(ticket, Command::Retire(server)));
        self.carry(core);
        matches!(answer, Some(Answer::Done | Answer::Already))
    }

    /// Returns the whole map; to be told by [`Host::reply`] only.
    pub(crate) fn whole_map(&self) -> WholeMap {
        self.look(|map| WholeMap::new(self.welcome.cluster, map))
    }

    /// Waits until there is room for more work, or none is done any more.
    fn with_room(&self) -> MutexGuard<'_, Core> {
        let mut core = self.lock();
        while core.work.len() >= WORK_COUNT_MAX && !core.is_over {
            core = self.room.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        core
    }

    /// Carries out all that is to be done, unless another thread is at it.
    fn carry<'a>(&'a self, mut core: MutexGuard<'a, Core>) {
        let Some(mut journal) = core.journal.take() else { return };
        let mut pushes = Pushes::default();
        while !core.work.is_empty() && !core.is_over {
            let batch = std::mem::take(&mut core.work);
            self.room.notify_all();
            drop(core);
            let outcome = caught(|| carry_out(batch, &mut *journal, &mut pushes));
            core = self.lock();
            if outcome.is_ok() && journal.is_long() {
                let snapshot = core.machine.snapshot();
                drop(core);
                let outcome = caught(|| journal.cut(&snapshot));
                core = self.lock();
                self.end_on_error(&mut core, outcome);
            } else {
                self.end_on_error(&mut core, outcome);
            }
        }
        core.journal = Some(journal);
    }

    fn end_on_error(&self, core: &mut Core, outcome: Result<(), Error>) {
        let Err(error) = outcome else { return };
        core.is_over = true;
        core.work.clear();
        self.room.notify_all();
        // Of several failures the first is told.
        self.failed.try_send(error).unwrap_or_default();
    }

    /// A panic while the machine was stepped leaves it in an unknown state: nothing is decided any more.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|poisoned| {
            let mut core = poisoned.into_inner();
            self.end_on_error(&mut core, Err(stopped()));
            core
        })
    }
}

impl Core {
    /// Steps the machine and queues what it says. Returns its answer to a command.
    fn step(&mut self, event: Event) -> Option<Answer> {
        if self.is_over {
            return None;
        }
        let (now, mut actions, mut answer): (Time, _, _) = (clock::now(), Vec::new(), None);
        self.machine.step(now, event, &mut actions);
        for action in actions {
            let work = match action {
                Action::Log(entry) => Some(Work::Log(entry)),
                Action::Send(connection, message) => {
                    self.connections.get(&connection).map(|to| Work::Send(to.clone(), message))
                }
                Action::Note(note) => Some(Work::Note(note)),
                Action::Close(connection) => self.connections.remove(&connection).map(Work::Close),
                Action::Answer(_, given) => {
                    answer = Some(given);
                    None
                }
            };
            self.work.extend(work);
        }
        answer
    }

    /// Queues a piece of work. When nothing is done any more it is dropped, and with it the connection that waits for it.
    fn queue(&mut self, work: Work) {
        if !self.is_over {
            self.work.push_back(work);
        }
    }
}

/// Makes an error of a panic: the thread that carries must never leave without giving the journal back.
fn caught(work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(stopped()))
}

fn stopped() -> Error {
    let what = "go on after a panic, which the log tells of";
    Error::System { what, cause: std::io::Error::other("the deciding machine stopped") }
}

/// Makes the decisions of `batch` durable, then does the rest in its order.
fn carry_out(
    batch: VecDeque<Work>,
    journal: &mut dyn Journal,
    pushes: &mut Pushes,
) -> Result<(), Error> {
    let entries: Vec<_> = batch
        .iter()
        .filter_map(|work| match work {
            Work::Log(entry) => Some(entry),
            Work::Note(_) | Work::Send(..) | Work::Close(_) | Work::Reply(..) => None,
        })
        .collect();
    if !entries.is_empty() {
        journal.append(&entries)?;
    }
    for work in batch {
        match work {
            Work::Note(note) => log::info!("{note}"),
            Work::Log(entry) => log::info!("map {}: {}", entry.delta.to, entry.why),
            Work::Send(to, FromEcs::Push(delta)) => {
                to.queue(|out| out.extend_from_slice(pushes.line(delta)));
                to.flush();
            }
            Work::Send(to, message) => {
                to.queue(|out| write_from_ecs(out, &message));
                to.flush();
            }
            Work::Close(connection) => connection.close(),
            Work::Reply(place, reply) => place.complete(reply),
        }
    }
    Ok(())
}

/// The newest line that tells of a change: most servers are told the same.
#[derive(Debug, Default)]
struct Pushes {
    of: Option<(Version, Version)>,
    line: Vec<u8>,
}

impl Pushes {
    fn line(&mut self, delta: Delta) -> &[u8] {
        let of = Some((delta.from, delta.to));
        if self.of != of {
            self.line.clear();
            write_from_ecs(&mut self.line, &FromEcs::Push(delta));
            self.of = of;
        }
        &self.line
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
