//! Reads of a host's threads: those that the machine begins, and those by its permits, of which it hears nothing.

use cluster::{Bytes, Event, Look, Lsn, OpId, ReadTicket, Reply, SlotId};

use crate::disk::Disk;
use crate::node::put;
use crate::queue::{MS, Nanos, What};
use crate::tell;
use crate::world::World;

/// The reads of one host that are under way.
#[derive(Debug, Default)]
pub struct Reads {
    /// With what they found if they looked early.
    asked: Vec<Option<(ReadTicket, Bytes, Option<Found>)>>,
    permitted: Vec<Option<Permitted>>,
}

/// A read by a permit.
#[derive(Debug)]
struct Permitted {
    attempt: usize,
    look: Look,
    found: Option<Found>,
}

/// What a read found.
type Found = Result<Option<(Bytes, Lsn)>, Unreadable>;

/// The value is here and cannot be read.
#[derive(Clone, Copy, Debug)]
struct Unreadable;

impl World {
    /// The machine lets a value be read.
    pub fn begin_read(&mut self, node: usize, ticket: ReadTicket, key: Bytes) {
        let host = &mut self.servers[node];
        let early = host.rng.bool().then(|| read(&*host.disk, ticket.slot, &key));
        let index = put(&mut host.reads.asked, (ticket, key, early));
        let (at, boot) = (self.now + self.read_takes(node), self.servers[node].boot);
        self.queue.push(at, What::ReadDone { node, boot, index });
    }

    /// A slow disk, or a thread that is not let run: much may change before the value is told.
    fn read_takes(&mut self, node: usize) -> Nanos {
        let host = &mut self.servers[node];
        let is_slow = host.slow_disk > 0 || host.rng.u8(..) < 4;
        host.rng.u64(2_000..=if is_slow { 800 * MS } else { 300_000 })
    }

    /// A read that the machine began ends.
    pub fn read_done(&mut self, node: usize, boot: u32, index: usize) {
        if !self.is_alive(node, boot) {
            return;
        }
        let host = &mut self.servers[node];
        let (ticket, key, early) = host.reads.asked[index].take().expect("a read");
        host.disk.set_clock(self.now / MS);
        let found = early.unwrap_or_else(|| read(&*host.disk, ticket.slot, &key));
        let event = match found {
            Ok(value) => Event::ReadDone { ticket, value },
            Err(Unreadable) => Event::ReadFailed(ticket),
        };
        self.step(node, event);
    }

    /// Begins a read by a permit, if there is one; now and then a host asks the machine all the same.
    pub fn look_first(&mut self, node: usize, attempt: usize) -> bool {
        let (slot, host) = (self.attempts[attempt].slot, &mut self.servers[node]);
        let Some(machine) = host.machine.as_ref().filter(|_| host.rng.u8(0..4) > 0) else {
            return false;
        };
        let Some(look) = machine.permits().look(slot, host.local(self.now)) else { return false };
        let index = put(&mut host.reads.permitted, Permitted { attempt, look, found: None });
        let boot = host.boot;
        self.go_on_with(node, boot, index);
        true
    }

    /// A thread that reads by a permit goes on: it reads the value, and in another step tells it.
    fn go_on_with(&mut self, node: usize, boot: u32, index: usize) {
        // Mostly at once; that the two steps are apart is what is to be tried.
        let takes = match self.servers[node].rng.bool() {
            true => 0,
            false => self.read_takes(node),
        };
        self.queue.push(self.now + takes, What::Permitted { node, boot, index });
    }

    /// A step of a read by a permit.
    pub fn permitted(&mut self, node: usize, boot: u32, index: usize) {
        if !self.is_alive(node, boot) {
            return;
        }
        let host = &mut self.servers[node];
        let mut begun = host.reads.permitted[index].take().expect("a read");
        let a = &self.attempts[begun.attempt];
        let Some(found) = begun.found.take() else {
            host.disk.set_clock(self.now / MS);
            begun.found = Some(read(&*host.disk, a.slot, &a.key));
            host.reads.permitted[index] = Some(begun);
            return self.go_on_with(node, boot, index);
        };
        let Permitted { attempt, look, .. } = begun;
        let permits = host.machine.as_ref().map(|machine| machine.permits());
        let now = host.local(self.now);
        match found {
            Ok(value) if permits.is_some_and(|permits| permits.confirm(look, now)) => {
                tell!(self, "s{} answers op {attempt} by its permit", node + 1);
                self.tally.permitted += 1;
                self.reply(node, OpId(attempt as u64), Reply::Value(value));
            }
            _ => self.ask_machine(node, attempt),
        }
    }
}

/// Reads a key's newest published value.
fn read(disk: &dyn Disk, slot: SlotId, key: &[u8]) -> Found {
    let is_live = disk.newest(slot, key).is_some_and(|entry| entry.is_live);
    match disk.read(slot, key) {
        None if is_live => Err(Unreadable),
        // What is over has no value, whatever the disk still says.
        record => Ok(record.filter(|_| is_live).and_then(|r| Some((r.value?, r.lsn)))),
    }
}
