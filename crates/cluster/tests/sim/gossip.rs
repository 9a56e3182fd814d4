//! The hosts of the gossip machines: lines that get lost or come late, maps that are pulled.
//!
//! ```text
//!   gossip ──Send──▶ on its way (late, overtaken, lost, held by a partition) ──▶ gossip
//!          ──Pull──▶ … ──▶ the other's map ──▶ a delta on its way ──▶ Told ──▶ the server's machine
//! ```
//!
//! What is said to a life of a process is never heard by the next one; what an earlier life of the sender said may be. Each
//! line goes its own way: harsher than the connections that carry them. Loads are left out, nobody acts on them.

use std::sync::Arc;

use cluster::gossip::{Action, Event as Told, Gossip, Identity, Message, Seen, Settings};
use cluster::{Delta, Event, Incarnation, ServerId, Standing, Version};

use crate::network::delay;
use crate::node::Host;
use crate::queue::{MS, Nanos, What};
use crate::tell;
use crate::world::World;

/// Between two ticks of a gossip machine.
const TICK: Nanos = 50 * MS;
/// How long a line waits at a partition before it tries again, and how long a dial may take to fail.
const HELD_MAX: Nanos = 500 * MS;

/// What a host has for its gossip.
#[derive(Debug, Default)]
pub struct Talk {
    /// None until the coordinator has numbered this life.
    pub machine: Option<Gossip>,
    version: Version,
}

/// Something on its way.
#[derive(Debug)]
pub struct Letter {
    from: usize,
    /// Where it goes.
    pub to: usize,
    boot: u32,
    said: Said,
}

/// What one server says to another.
#[derive(Debug)]
enum Said {
    Message(Message),
    Pull(Version),
    Push(Delta),
    /// To the sender itself: no connection could be made.
    Unreachable(ServerId),
}

impl World {
    /// The gossip machine's tick.
    pub fn tick_gossip(&mut self, node: usize, boot: u32) {
        if !self.is_alive(node, boot) {
            return;
        }
        let next = TICK + self.gossip_rng.u64(0..=4 * MS);
        self.queue.push(self.now + next, What::GossipTick { node, boot });
        let now = self.now;
        let host = &mut self.servers[node];
        let (at, id, seed) = (host.local(now), host.id, host.life);
        let Some(server) = host.machine.as_ref() else { return };
        let (incarnation, map) = (server.incarnation(), server.map());
        let address = map.servers().get(&id).map(|server| Arc::from(server.address.as_str()));
        let Some(address) = address.filter(|_| incarnation > Incarnation(0)) else { return };
        let talk = &mut host.talk;
        let gossip = talk.machine.get_or_insert_with(|| {
            Gossip::new(Settings::default(), Identity { server: id, incarnation, address }, seed)
        });
        let mut actions = Vec::new();
        if map.version() > talk.version {
            talk.version = map.version();
            gossip.step(at, Told::Map(map), &mut actions);
        }
        gossip.step(at, Told::Tick, &mut actions);
        self.carry_gossip(node, actions);
    }

    /// Tells the others that a server ends on purpose.
    pub fn end_gossip(&mut self, node: usize) {
        self.step_gossip(node, Told::Leave);
    }

    fn step_gossip(&mut self, node: usize, event: Told<'_>) {
        let now = self.now;
        let host = &mut self.servers[node];
        let at = host.local(now);
        let mut actions = Vec::new();
        if let Some(gossip) = host.talk.machine.as_mut() {
            gossip.step(at, event, &mut actions);
        }
        self.carry_gossip(node, actions);
    }

    fn carry_gossip(&mut self, node: usize, actions: Vec<Action>) {
        let version = self.servers[node].talk.version;
        for action in actions {
            match action {
                Action::Send { to, address, message } => {
                    self.post(node, to, &address, Said::Message(message));
                }
                Action::Pull { from, address } => {
                    self.post(node, from, &address, Said::Pull(version));
                }
                Action::Doubts(servers) => self.step(node, Event::Doubts(servers)),
                Action::Changed { server, after, .. } => {
                    let (name, seen) = (crate::words::name(server), after.map(word));
                    tell!(self, "s{} gossips that {name} is {}", node + 1, seen.unwrap_or("gone"));
                }
            }
        }
    }

    /// Sends what a server says to another, if it can be reached.
    fn post(&mut self, from: usize, to: ServerId, address: &str, said: Said) {
        let Some(other) = self.servers.iter().position(|host| host.id == to) else { return };
        let host = &self.servers[other];
        let is_there = address.is_empty() || host.address == address;
        if host.machine.is_some() && is_there && !self.net.is_cut(from, other) {
            return self.mail(from, other, said);
        }
        // Over a connection that stood it is lost, or held by the partition; a new one cannot be made.
        match self.gossip_rng.u8(0..4) {
            0 => {}
            1 if host.machine.is_some() => self.mail(from, other, said),
            _ => {
                let boot = self.servers[from].boot;
                let letter = Letter { from, to: from, boot, said: Said::Unreachable(to) };
                let at = self.now + self.gossip_rng.u64(MS..=HELD_MAX);
                self.put_letter(letter, at);
            }
        }
    }

    fn mail(&mut self, from: usize, to: usize, said: Said) {
        let is_slow = self.net.slow > 0;
        if is_slow && self.gossip_rng.u8(0..16) == 0 {
            return;
        }
        let at = self.now + delay(&mut self.gossip_rng, is_slow);
        let boot = self.servers[to].boot;
        self.put_letter(Letter { from, to, boot, said }, at);
    }

    fn put_letter(&mut self, letter: Letter, at: Nanos) {
        let index = crate::node::put(&mut self.letters, letter);
        self.queue.push(at, What::Letter { index });
    }

    /// Returns for which server a letter is.
    pub fn addressee(&self, index: usize) -> Option<usize> {
        self.letters[index].as_ref().map(|letter| letter.to)
    }

    /// A letter arrives, if nothing keeps it.
    pub fn letter(&mut self, index: usize) {
        let letter = self.letters[index].take().expect("a letter");
        let Letter { from, to, boot, .. } = letter;
        if !self.is_alive(to, boot) {
            return;
        }
        if from != to && self.net.is_blocked(from, to) {
            if self.gossip_rng.bool() {
                let at = self.now + self.gossip_rng.u64(MS..=HELD_MAX);
                self.put_letter(letter, at);
            }
            return;
        }
        let sender = self.servers[from].id;
        match letter.said {
            Said::Message(message) => {
                self.step_gossip(to, Told::Received { from: sender, message });
            }
            Said::Unreachable(server) => self.step_gossip(to, Told::Unreachable(server)),
            Said::Pull(version) => {
                let map = self.servers[to].machine.as_ref().map(cluster::Server::map);
                let delta = map.filter(|map| map.version() > version).map(|m| m.since(version));
                if let Some(delta) = delta {
                    self.mail(to, from, Said::Push(delta));
                }
            }
            Said::Push(delta) => {
                tell!(
                    self,
                    "s{} ◀ s{}  by gossip {}",
                    to + 1,
                    from + 1,
                    crate::words::delta(&delta)
                );
                self.step(to, Event::Told(delta));
            }
        }
    }

    /// Returns which running server has not heard what all are to know, once all faults have ended.
    pub fn unheard(&self) -> Option<String> {
        let newest = self.ecs.map.version();
        let serves = |id: ServerId| {
            self.ecs.map.servers().get(&id).is_some_and(|s| s.standing == Standing::Serving)
        };
        let running = || {
            let is_member = |host: &&Host| host.talk.machine.is_some() && serves(host.id);
            self.servers.iter().filter(is_member)
        };
        for host in running() {
            let (id, name) = (host.id, crate::words::name(host.id));
            let gossip = host.talk.machine.as_ref()?;
            if host.talk.version < newest {
                return Some(format!(
                    "{name} has map {}, the newest is {newest}",
                    host.talk.version
                ));
            }
            let doubted = running().find(|o| o.id != id && gossip.seen(o.id) != Some(Seen::Alive));
            if let Some(other) = doubted {
                let (other, seen) = (crate::words::name(other.id), gossip.seen(other.id));
                return Some(format!("{name} sees {other} as {seen:?}"));
            }
        }
        None
    }
}

fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Alive => "alive",
        Seen::Suspect => "a suspect",
        Seen::Dead => "dead",
        Seen::Left => "gone on purpose",
    }
}
