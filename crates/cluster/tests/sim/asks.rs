//! The clients' host: their requests and answers on the way, and lost connections.
//!
//! Each attempt of a client is a request on a way of its own. Between a client and a server that cannot hear each other it
//! is held, dropped, or answered into nothing; the client then learns at some moment that its
//! connection is gone, while the request may still arrive.

use cluster::{Ask, Bytes, Lsn, OpId, Reply, SlotId};

use crate::client::{ClientAction, ClientEvent};
use crate::queue::{MS, Nanos, What};
use crate::tell;
use crate::words;
use crate::world::World;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client.
    Client(usize),
    /// A measuring probe.
    Probe,
}

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// Who asked.
    pub owner: Owner,
    /// The number its owner gave it.
    pub number: u64,
    /// The node asked.
    pub node: usize,
    /// The key's slot.
    pub slot: SlotId,
    /// The key.
    pub key: Bytes,
    /// What for.
    pub ask: Ask,
    /// When it was sent.
    pub sent_at: Nanos,
    /// The newest committed lsn of the key when the request arrived.
    pub floor: Option<Lsn>,
    reply: Option<Reply>,
    is_arrived: bool,
    is_answered: bool,
    is_done: bool,
    is_losing: bool,
}

/// Least time between two maps told to a client.
const MAP_EVERY: Nanos = 10 * MS;
/// How often a way that is blocked is tried again.
const AGAIN: Nanos = 40 * MS;

impl World {
    /// Steps a client and carries out what it says.
    pub fn step_client(&mut self, client: usize, event: ClientEvent) {
        let mut actions = std::mem::take(&mut self.client_actions);
        self.clients[client].step(self.now, event, &mut self.history, &mut actions);
        for action in actions.drain(..) {
            match action {
                ClientAction::Send { attempt, server, slot, key, ask } => {
                    let node = self.servers.iter().position(|host| host.id == server);
                    let node = node.expect("a server of the map");
                    self.ask(Owner::Client(client), attempt, node, slot, key, ask);
                }
                ClientAction::AskMap { server } => {
                    let node = self.servers.iter().position(|host| host.id == server);
                    let at = self.now + 2 * self.net.delay();
                    // A client that learns nothing new shall not fill the world with its asking.
                    let told_at = self.told_at.entry(client).or_default();
                    let at = at.max(*told_at + MAP_EVERY);
                    *told_at = at;
                    self.queue.push(at, What::TellMap { client, node: node.unwrap_or(0) });
                }
                ClientAction::WakeAt(at) => {
                    self.queue.push(at.max(self.now), What::Wake { client })
                }
            }
        }
        self.client_actions = actions;
    }

    /// Sends an attempt on its way.
    pub fn ask(
        &mut self,
        owner: Owner,
        number: u64,
        node: usize,
        slot: SlotId,
        key: Bytes,
        ask: Ask,
    ) {
        let attempt = self.attempts.len();
        let sent_at = self.now;
        self.attempts.push(Attempt {
            owner,
            number,
            node,
            slot,
            key,
            ask,
            sent_at,
            floor: None,
            reply: None,
            is_arrived: false,
            is_answered: false,
            is_done: false,
            is_losing: false,
        });
        if let Owner::Client(client) = owner {
            *self.unanswered.entry((client, slot)).or_default() += 1;
        }
        let at = self.now + self.net.delay();
        self.queue.push(at, What::Request { attempt });
    }

    fn client_node(&self, owner: Owner) -> usize {
        match owner {
            Owner::Client(client) => self.servers.len() + 1 + client,
            Owner::Probe => self.servers.len() + 1 + self.clients.len(),
        }
    }

    /// The client's connection will be found broken.
    pub fn lose_attempt(&mut self, attempt: usize, within: Nanos) {
        let a = &mut self.attempts[attempt];
        if !std::mem::replace(&mut a.is_losing, true) {
            let at = self.now + self.net_rng.u64(0..=within);
            self.queue.push(at, What::Lost { attempt });
        }
    }

    /// A request arrives.
    pub fn request(&mut self, attempt: usize) {
        let a = &self.attempts[attempt];
        let (node, owner) = (a.node, a.owner);
        if self.net.is_blocked(self.client_node(owner), node) {
            self.lose_attempt(attempt, 1_500 * MS);
            if self.net_rng.u8(0..4) > 0 {
                self.queue.push(self.now + AGAIN, What::Request { attempt });
            }
            return;
        }
        if self.servers[node].machine.is_none() {
            return self.lose_attempt(attempt, 20 * MS);
        }
        let a = &mut self.attempts[attempt];
        assert!(!std::mem::replace(&mut a.is_arrived, true));
        a.floor = self.truth[usize::from(a.slot.index())].newest(&a.key);
        let is_get = matches!(a.ask, Ask::Get);
        if self.trace.is_on {
            let a = &self.attempts[attempt];
            let (key, ask) = (String::from_utf8_lossy(&a.key).into_owned(), a.ask.clone());
            tell!(self, "{owner:?} → s{}  op {attempt} key {key}: {ask:?}", node + 1);
        }
        self.servers[node].ops.insert(attempt);
        if !is_get || !self.look_first(node, attempt) {
            self.ask_machine(node, attempt);
        }
    }

    /// Gives an operation to the machine.
    pub fn ask_machine(&mut self, node: usize, attempt: usize) {
        let a = &self.attempts[attempt];
        let (slot, key, ask) = (a.slot, a.key.clone(), a.ask.clone());
        self.step(node, cluster::Event::Client { op: OpId(attempt as u64), slot, key, ask });
    }

    /// A server answers.
    pub fn reply(&mut self, node: usize, op: OpId, reply: Reply) {
        let attempt = op.0 as usize;
        assert!(
            self.servers[node].ops.remove(&attempt),
            "s{} answers op {attempt} twice",
            node + 1
        );
        tell!(
            self,
            "s{} → {:?}  op {attempt} {}",
            node + 1,
            self.attempts[attempt].owner,
            words::reply(&reply)
        );
        self.check_reply(node, attempt, &reply);
        self.attempts[attempt].reply = Some(reply);
        let at = self.now + self.net.delay();
        self.queue.push(at, What::Answer { attempt });
    }

    /// An answer arrives.
    pub fn answer(&mut self, attempt: usize) {
        let a = &self.attempts[attempt];
        if a.is_done {
            return;
        }
        if self.net.is_blocked(a.node, self.client_node(a.owner)) {
            self.lose_attempt(attempt, 1_500 * MS);
            self.queue.push(self.now + AGAIN, What::Answer { attempt });
            return;
        }
        let a = &mut self.attempts[attempt];
        (a.is_done, a.is_answered) = (true, true);
        let (owner, number, reply) = (a.owner, a.number, a.reply.take().expect("an answer"));
        match reply {
            Reply::Refused(_) => self.tally.refused += 1,
            Reply::Unknown => self.tally.unknown += 1,
            _ => self.tally.ok += 1,
        }
        match owner {
            Owner::Client(client) => {
                let slot = self.attempts[attempt].slot;
                *self.unanswered.entry((client, slot)).or_default() -= 1;
                // Whoever was told nothing for certain will ask again under the same number.
                if !matches!(reply, Reply::Unknown | Reply::Refused(_)) {
                    self.forget_client(client, slot);
                }
                self.step_client(client, ClientEvent::Reply { attempt: number, reply });
            }
            Owner::Probe => self.probed(attempt, &reply),
        }
    }

    /// Now and then a client says that it needs to be remembered no more in a slot (R24): it may, once every attempt there was
    /// answered. One that was lost may still arrive, and would be carried out again.
    fn forget_client(&mut self, client: usize, slot: SlotId) {
        if self.unanswered.get(&(client, slot)) != Some(&0) || self.net_rng.u8(0..32) > 0 {
            return;
        }
        let primary = self.ecs.map.slot(slot).primary_id();
        let node = self.servers.iter().position(|host| Some(host.id) == primary);
        let me = self.client_node(Owner::Client(client));
        if let Some(node) = node.filter(|node| !self.net.is_cut(me, *node)) {
            tell!(self, "client {client} needs slot {} to remember it no more", slot.index());
            self.step(node, cluster::Event::Forget { slot, client: client as u64 });
        }
    }

    /// A client finds its connection broken.
    pub fn lost(&mut self, attempt: usize) {
        let a = &mut self.attempts[attempt];
        if std::mem::replace(&mut a.is_done, true) {
            return;
        }
        let (owner, number) = (a.owner, a.number);
        self.tally.unknown += 1;
        if let Owner::Client(client) = owner {
            tell!(self, "client {client} loses op {attempt}");
            self.step_client(client, ClientEvent::Lost { attempt: number });
        }
    }

    /// Breaks all connections of a client.
    pub fn break_client(&mut self, client: usize) {
        let is_open = |a: &Attempt| a.owner == Owner::Client(client) && !a.is_done;
        let first = self.attempts.len().saturating_sub(256);
        let open: Vec<usize> =
            (first..self.attempts.len()).filter(|a| is_open(&self.attempts[*a])).collect();
        for attempt in open {
            self.lose_attempt(attempt, 5 * MS);
        }
    }

    /// A server that can be reached tells a client its map.
    pub fn tell_map(&mut self, client: usize, node: usize) {
        let me = self.client_node(Owner::Client(client));
        let can = |node: usize| self.servers[node].machine.is_some() && !self.net.is_cut(me, node);
        let count = self.servers.len();
        let begin = self.net_rng.usize(0..count);
        let others = (0..count).map(|i| (begin + i) % count);
        let Some(node) = std::iter::once(node).chain(others).find(|node| can(*node)) else {
            self.queue.push(self.now + AGAIN, What::TellMap { client, node });
            return;
        };
        let map =
            self.servers[node].machine.as_ref().map(|machine| Box::new(machine.map().clone()));
        self.step_client(client, ClientEvent::Map(map.unwrap()));
    }
}
