//! A host of one machine, whose peers and coordinator the test plays by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{
    Action, Ask, Beacon, Bytes, Change, Config, Delta, Epoch, Event, FromEcs, Identity,
    Incarnation, Link, Map, Message, OpId, Record, Reply, Server, ServerId, ServerInfo, Session,
    Slot, SlotId, SlotMessage, Standing, Storage as _, Time, ToEcs, Version,
};

use crate::fake::Fake;

/// The machine under test.
pub const ME: ServerId = ServerId(1);
/// Its peers.
pub const B: ServerId = ServerId(2);
/// Another.
pub const C: ServerId = ServerId(3);

/// Returns the slot of that number.
pub fn slot(index: u16) -> SlotId {
    SlotId::new(index).unwrap()
}

/// Returns a record.
pub fn record(epoch: u32, counter: u64, key: &str, value_len: usize) -> Record {
    let value: Bytes = Arc::from(vec![b'v'; value_len]);
    let (lsn, key) = (Epoch(epoch).lsn(counter), Bytes::from(key.as_bytes()));
    Record { lsn, key, value: Some(value), expires_at_ms: None, request: None }
}

/// A slot of the map: epoch, primary, backups, learner.
pub fn held(
    epoch: u32,
    primary: ServerId,
    backups: &[ServerId],
    learner: Option<ServerId>,
) -> Slot {
    Slot {
        epoch: Epoch(epoch),
        term: Epoch(1),
        primary: Some((primary, Incarnation(1))),
        backups: backups.to_vec(),
        learner: learner.map(|id| (id, Incarnation(1))),
        ..Slot::default()
    }
}

/// The machine with its storage and clock.
#[derive(Debug)]
pub struct Host {
    pub machine: Server,
    pub storage: Fake,
    pub now: Time,
    /// What it asked to be done since this was emptied.
    pub actions: Vec<Action>,
    /// Whether what it appends is durable at once.
    pub syncs: bool,
    /// Whether maps are durable at once.
    pub keeps: bool,
    version: u64,
    epochs: u64,
    op: u64,
    /// Messages sent on each session.
    counts: BTreeMap<Link, u64>,
}

impl Host {
    /// Starts a machine that is registered, with these slots in its first map.
    pub fn with(config: Config, standing: Standing, slots: Vec<(SlotId, Slot)>) -> Self {
        let storage = Fake::new();
        let identity = Identity {
            server: ME,
            address: "a:1".to_owned(),
            life: 9,
            is_complete: true,
            is_standby: false,
        };
        let machine = Server::new(config, identity, Map::new(4, 3), &storage);
        let now = Time(1_000_000_000_000);
        let actions = Vec::new();
        let (version, epochs, op, counts) = (0, 0, 0, BTreeMap::new());
        let mut host = Self {
            machine,
            storage,
            now,
            actions,
            syncs: true,
            keeps: true,
            version,
            epochs,
            op,
            counts,
        };
        host.step(Event::EcsConnected);
        let servers = [ME, B, C].map(|id| (id, info(id, standing, 1)));
        let delta = host.delta(servers.to_vec(), slots);
        let incarnation = Incarnation(1);
        host.step(Event::FromEcs(FromEcs::Registered { life: 9, incarnation, delta }));
        host
    }

    /// Starts one with default settings, on the ring.
    pub fn new(slots: Vec<(SlotId, Slot)>) -> Self {
        Self::with(Config::default(), Standing::Serving, slots)
    }

    /// Starts one of `server_count` servers. It holds a slot alone, so that it has nothing to ask for.
    pub fn among(server_count: usize) -> Self {
        let mut host = Self::new(vec![(slot(0), held(1, ME, &[], None))]);
        let others = (4..=server_count).map(|id| ServerId(id as u128));
        let standby = others.map(|id| (id, info(id, Standing::Standby, 1)));
        host.change(standby.collect(), vec![]);
        host
    }

    fn delta(&mut self, servers: Vec<(ServerId, ServerInfo)>, slots: Vec<(SlotId, Slot)>) -> Delta {
        let from = Version(self.version);
        self.version += 1;
        let to = Version(self.version);
        let servers = servers.into_iter().map(|(id, s)| (id, ServerInfo { changed: to, ..s }));
        let slots = slots.into_iter().map(|(id, s)| (id, Slot { changed: to, ..s }));
        Delta { from, to, servers: servers.collect(), ring: None, slots: slots.collect() }
    }

    /// The coordinator tells of a change.
    pub fn change(&mut self, servers: Vec<(ServerId, ServerInfo)>, slots: Vec<(SlotId, Slot)>) {
        let delta = self.delta(servers, slots);
        self.step(Event::FromEcs(FromEcs::Push(delta)));
    }

    /// The coordinator tells of another ring, and of slots that changed with it.
    pub fn change_ring(&mut self, ring: hashring::Ring, slots: Vec<(SlotId, Slot)>) {
        let delta = self.delta(vec![], slots);
        let ring = Some((delta.to, ring));
        self.step(Event::FromEcs(FromEcs::Push(Delta { ring, ..delta })));
    }

    /// The peer has all that was sent to it on a session.
    pub fn ack(&mut self, link: Link) {
        self.ack_upto(link, u64::MAX);
    }

    /// The peer has what was sent to it on a session up to a message.
    pub fn ack_upto(&mut self, link: Link, upto: u64) {
        let upto = upto.min(self.count(link));
        self.step(Event::Received(link, Message::Ack { upto }));
    }

    /// Returns how many messages were sent on a session.
    pub fn count(&self, link: Link) -> u64 {
        self.counts.get(&link).copied().unwrap_or(0)
    }

    /// Returns the last client's operation.
    pub fn last_op(&self) -> OpId {
        OpId(self.op)
    }

    /// Returns what the last client was told.
    pub fn last_reply(&self) -> Option<Reply> {
        self.reply(OpId(self.op))
    }

    /// The coordinator settles everything that was asked.
    pub fn settle(&mut self) {
        let numbers = self.actions.iter().filter_map(|action| match action {
            Action::ToEcs(ToEcs::Request { number, .. }) => Some(*number),
            _ => None,
        });
        let Some(number) = numbers.max() else { return };
        let version = self.machine.map().version();
        let delta =
            Delta { from: version, to: version, servers: vec![], ring: None, slots: vec![] };
        self.step(Event::FromEcs(FromEcs::Answer { number, delta }));
    }

    /// Takes an event; maps are durable at once, and so is what was appended, if it is to be.
    pub fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut actions = Vec::new();
            let before = self.storage.appended();
            self.machine.step(self.now, event, &mut self.storage, &mut actions);
            for action in &actions {
                if let Action::PersistMap(delta) = action
                    && self.keeps
                {
                    events.push(Event::MapPersisted(delta.to));
                }
            }
            if self.syncs && self.storage.appended() > before {
                events.push(Event::Durable(self.storage.appended()));
            }
            for action in &actions {
                if let Action::Send(link, _) = action {
                    *self.counts.entry(*link).or_default() += 1;
                }
            }
            self.actions.extend(actions);
        }
    }

    /// Lets time pass, with ticks.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            self.step(Event::Tick);
        }
    }

    /// The coordinator says something that is no news.
    pub fn hear_ecs(&mut self) {
        let (from, to) = (Version(self.version), Version(self.version));
        let delta = Delta { from, to, servers: vec![], ring: None, slots: vec![] };
        self.step(Event::FromEcs(FromEcs::Push(delta)));
    }

    /// The peer's own session, on which it speaks as primary.
    pub fn greet(&mut self, peer: ServerId) -> Link {
        self.epochs += 1;
        let session = Session { incarnation: Incarnation(1), number: self.epochs };
        let link = Link::In(peer, session);
        let version = Version(self.version);
        self.step(Event::Received(link, Message::Hello { session, version }));
        link
    }

    /// Makes the connections that the machine asked for.
    pub fn connect_all(&mut self) {
        for action in std::mem::take(&mut self.actions) {
            if let Action::Connect { link, .. } = action {
                self.step(Event::Connected(link));
            } else {
                self.actions.push(action);
            }
        }
    }

    /// Returns the machine's session with a peer.
    pub fn out(&self, peer: ServerId) -> Link {
        let links = self.actions.iter().rev().filter_map(|action| match action {
            Action::Send(link @ Link::Out(id, _), _) if *id == peer => Some(*link),
            _ => None,
        });
        links.into_iter().next().expect("no message to the peer")
    }

    /// A message about slot 0 in an epoch comes.
    pub fn tell(&mut self, link: Link, epoch: u32, body: SlotMessage) {
        let epoch = Epoch(epoch);
        self.step(Event::Received(link, Message::Slot { slot: slot(0), epoch, body }));
    }

    /// A beacon comes that echoes nothing.
    pub fn beacon(&mut self, link: Link) {
        self.beacon_with(link, None);
    }

    /// A beacon comes of a peer that has heard what this server sent just now, and grants it leases.
    pub fn echo(&mut self, link: Link) {
        self.beacon_with(link, Some((Incarnation(1), self.now)));
    }

    fn beacon_with(&mut self, link: Link, echo: Option<(Incarnation, Time)>) {
        let beacon = Beacon {
            sent_at: self.now,
            echo,
            is_grant: true,
            is_read_grant: true,
            version: Version(self.version),
            leases: Default::default(),
            is_full: false,
        };
        self.step(Event::Received(link, Message::Beacon(beacon)));
    }

    /// A client asks about slot 0; returns what it is told at once, if anything.
    pub fn ask(&mut self, key: &str, ask: Ask) -> Option<Reply> {
        self.op += 1;
        let op = OpId(self.op);
        let key = Bytes::from(key.as_bytes());
        self.step(Event::Client { op, slot: slot(0), key, ask });
        self.reply(op)
    }

    /// Returns what an operation was told.
    pub fn reply(&self, op: OpId) -> Option<Reply> {
        self.actions.iter().find_map(|action| match action {
            Action::Reply(to, reply) if *to == op => Some(reply.clone()),
            _ => None,
        })
    }

    /// Returns the messages about slots that were sent on any connection, and forgets all actions.
    pub fn sent(&mut self) -> Vec<SlotMessage> {
        let sent =
            std::mem::take(&mut self.actions).into_iter().filter_map(|action| match action {
                Action::Send(_, Message::Slot { body, .. }) => Some(body),
                _ => None,
            });
        sent.collect()
    }

    /// Returns how many requests were sent to the coordinator, whether they ask for something or not.
    pub fn signs(&self) -> usize {
        let is_sign = |action: &&Action| matches!(action, Action::ToEcs(ToEcs::Request { .. }));
        self.actions.iter().filter(is_sign).count()
    }

    /// Returns the changes that were asked for.
    pub fn asked(&self) -> Vec<Change> {
        let asked = self.actions.iter().filter_map(|action| match action {
            Action::ToEcs(ToEcs::Request { changes, .. }) => Some(changes.clone()),
            _ => None,
        });
        asked.flatten().collect()
    }
}

/// Returns a server as the map has it.
pub fn info(id: ServerId, standing: Standing, incarnation: u64) -> ServerInfo {
    ServerInfo {
        address: format!("a:{}", id.0),
        incarnation: Incarnation(incarnation),
        life: if id == ME { 9 } else { incarnation },
        standing,
        changed: Version(0),
    }
}
