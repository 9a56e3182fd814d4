//! A server: its slots, its peers, its leases, put together.
//!
//! [`Server::step`] takes one event and says what is to be done. What an event touches is worked off at the end of
//! the same step: slots whose records can be committed, learners that have become level, requests to the coordinator,
//! acknowledgements that are due.
//!
//! | file | what |
//! |---|---|
//! | `maps` | new maps: made durable, then put in force; roles |
//! | `ecs` | registration and requests to the coordinator |
//! | `loads` | how much is stored, told to the coordinator |
//! | `links` | sessions with peers, beacons, acknowledgements |
//! | `clients` | reads and writes |
//! | `lead` | the primary's side: prepares, commits |
//! | `follow` | what members and learners state, and what they are sent for it |
//! | `walk` | the committed records that a learner lacks |
//! | `hold` | the backup's and learner's side |
//! | `floors` | tombstones and requests that may be forgotten |
//! | `damage` | copies that cannot be read whole |
//! | `converge` | towards the ideal members: promotions, hand-overs, removals |
//! | `peek` | a look from outside, for tests and for people |

mod clients;
mod converge;
mod damage;
mod ecs;
mod floors;
mod follow;
mod hold;
mod lead;
mod links;
mod loads;
mod maps;
mod peek;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::awake::Pauses;
use crate::config::Config;
use crate::event::{Action, Event, Refusal, Reply, StopReason};
use crate::map::{Delta, Map};
use crate::message::Change;
use crate::peer::Peer;
use crate::permit::{Permits, Used};
use crate::replica::Replica;
use crate::server::ecs::Ecs;
use crate::server::floors::Floors;
use crate::server::walk::Throttle;
use crate::slot_set::SlotSet;
use crate::storage::{Position, Storage};
use crate::types::{Incarnation, Number, ServerId, SlotId, Time, Version};

pub use peek::{Peek, Role};

/// Who a server is, in one life of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id, kept in its folder.
    pub server: ServerId,
    /// Where it listens: `ip:port`.
    pub address: String,
    /// Drawn at the start of its process.
    pub life: u64,
    /// Whether it provably holds all it ever acknowledged: every acknowledgement was synced and recovery was clean,
    /// or the machine has not gone down since.
    pub is_complete: bool,
    /// Whether it waits to be asked onto the ring.
    pub is_standby: bool,
}

/// The time, the storage, and where actions go: what a step works with.
pub(crate) struct Cx<'a> {
    pub(crate) now: Time,
    pub(crate) storage: &'a mut dyn Storage,
    pub(crate) actions: &'a mut Vec<Action>,
}

/// A server's machine.
#[derive(Debug)]
pub struct Server {
    identity: Identity,
    config: Config,
    map: Map,
    /// A delta that is being made durable.
    persisting: Option<Delta>,
    persisting_since: Time,
    /// What came meanwhile, as one.
    waiting: Option<Delta>,
    ecs: Ecs,
    /// The incarnation that comes into force with its map.
    registering: Option<Incarnation>,
    /// The last request that concerned the server as a whole.
    own_asked: Option<(Number, Time)>,
    peers: BTreeMap<ServerId, Peer>,
    /// What may be read without asking this machine.
    permits: Arc<Permits>,
    permits_used: Used,
    /// When it was told last that time passes.
    ticked_at: Option<Time>,
    /// Servers that share a slot with this one.
    wanted: BTreeSet<ServerId>,
    replicas: Vec<Replica>,
    /// Slots to look at before the step ends.
    touched: SlotSet,
    /// Slots whose followers are to be told a commit point at the next tick.
    untold: SlotSet,
    /// Slots with a change to ask for that is not sent.
    unsent: BTreeSet<SlotId>,
    /// Slots with a change asked for that is not settled.
    asking: BTreeSet<SlotId>,
    /// When it accused somebody last.
    accused_at: Option<Time>,
    /// Slots that are being handed over, and some that were when that was looked at last.
    handing: Vec<SlotId>,
    /// Changes that this server asks for not as a slot's primary, to ask for when the step ends.
    loose: Vec<Change>,
    /// Slots that it asked to be no member of, until that is settled: it serves none of them (R4).
    resigning: BTreeMap<SlotId, Number>,
    /// Slots to drop before the step ends.
    surplus: Vec<SlotId>,
    /// Records of slots led here that are not durable yet: the positions that are awaited, in their order.
    unsynced: VecDeque<(Position, SlotId)>,
    floors: Floors,
    request_floors: Floors,
    throttle: Throttle,
    /// When slots that are not as they shall be were looked at last, and peers judged.
    judged_at: Time,
    /// When tombstone floors were raised last.
    floors_at: Time,
    /// When request floors were.
    request_floors_at: Time,
    pauses: Pauses,
    durable: Position,
    /// What the oldest sync that is awaited must reach, and since when it is awaited (R16).
    syncing: Option<(Position, Time)>,
    has_failed: bool,
    /// Whether connections are taken (R16).
    is_accepting: bool,
    wants_to_leave: bool,
    has_stopped: bool,
    /// The last session number, follower life and walk number given.
    counter: u64,
}

impl Server {
    /// Returns the machine of a server that has just started, with the map it kept and what its storage recovered.
    #[must_use]
    pub fn new(config: Config, identity: Identity, map: Map, storage: &dyn Storage) -> Self {
        let replicas = map.slots().map(|(slot, _)| Replica::new(slot)).collect();
        let permits = Arc::new(Permits::new(usize::from(map.slot_count())));
        let mut server = Self {
            ecs: Ecs::default(),
            registering: None,
            own_asked: None,
            throttle: Throttle::default(),
            identity,
            config,
            map,
            persisting: None,
            persisting_since: Time(0),
            waiting: None,
            peers: BTreeMap::new(),
            permits,
            permits_used: Used::default(),
            ticked_at: None,
            wanted: BTreeSet::new(),
            replicas,
            touched: SlotSet::default(),
            untold: SlotSet::default(),
            unsent: BTreeSet::new(),
            asking: BTreeSet::new(),
            accused_at: None,
            handing: Vec::new(),
            loose: Vec::new(),
            resigning: BTreeMap::new(),
            surplus: Vec::new(),
            unsynced: VecDeque::new(),
            floors: Floors::default(),
            request_floors: Floors::default(),
            judged_at: Time(0),
            floors_at: Time(0),
            request_floors_at: Time(0),
            pauses: Pauses::default(),
            durable: Position(0),
            syncing: None,
            has_failed: false,
            is_accepting: true,
            wants_to_leave: false,
            has_stopped: false,
            counter: 0,
        };
        for slot in storage.slots() {
            if let Some(replica) = server.replica_mut(slot) {
                replica.recover(storage);
            }
        }
        server
    }

    /// Takes one event at the time `now` and appends what is to be done.
    pub fn step(
        &mut self,
        now: Time,
        event: Event,
        storage: &mut dyn Storage,
        actions: &mut Vec<Action>,
    ) {
        self.step_all(now, [event], storage, actions);
    }

    /// Takes events that are there at the time `now` as [`step`](Self::step) takes one, and works off what they touched
    /// together: one acknowledgement for all messages of a peer, one look at each slot.
    pub fn step_all(
        &mut self,
        now: Time,
        events: impl IntoIterator<Item = Event>,
        storage: &mut dyn Storage,
        actions: &mut Vec<Action>,
    ) {
        let cx = &mut Cx { now, storage, actions };
        for event in events {
            match self.has_stopped {
                true => Self::refuse(&event, cx),
                false => self.take(event, cx),
            }
        }
        if !self.has_stopped {
            self.finish(cx);
        }
    }

    /// Answers what comes after the end.
    fn refuse(event: &Event, cx: &mut Cx<'_>) {
        let op = match event {
            Event::Client { op, .. } => *op,
            Event::ReadDone { ticket, .. } | Event::ReadFailed(ticket) => ticket.op,
            _ => return,
        };
        cx.actions.push(Action::Reply(op, Reply::Refused(Refusal::Stopped)));
    }

    fn take(&mut self, event: Event, cx: &mut Cx<'_>) {
        match event {
            Event::Tick => self.tick(cx),
            Event::Connected(link) => self.connected(link, cx),
            Event::Closed(link) => self.closed(link, cx.now),
            Event::Received(link, message) => self.received(link, message, cx),
            Event::EcsConnected => self.ecs_connected(cx),
            Event::EcsClosed => self.ecs.closed(),
            Event::FromEcs(message) => self.ecs_said(message, cx),
            Event::Told(delta) => self.take_delta(delta, cx),
            Event::Doubts(servers) => self.take_doubts(servers, cx),
            Event::MapPersisted(version) => self.map_persisted(version, cx),
            Event::Durable(position) => self.synced(position, cx),
            Event::StorageFailed => self.fail(cx),
            Event::Accepting(is_accepting) => self.is_accepting = is_accepting,
            Event::Client { op, slot, key, ask } => self.client(op, slot, key, ask, cx),
            Event::ReadDone { ticket, value } => self.read_done(ticket, value, cx),
            Event::ReadFailed(ticket) => self.read_failed(ticket, cx),
            Event::PageDone(ticket, page) => self.page_done(ticket, page, cx),
            Event::Forget { slot, client } => self.forget_client(slot, client, cx),
            Event::Leave => self.wants_to_leave = true,
        }
    }

    /// Works off what the event touched.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        // Looking at a slot may touch it again, for instance when a finished reconciliation lets a learner begin.
        while let Some(slot) = self.touched.pop_first() {
            self.progress(slot, cx);
        }
        self.drop_surplus(cx);
        self.send_asks(cx);
        self.send_acks(cx);
        self.watch_syncs(cx);
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.ticked_at = Some(cx.now);
        self.pauses.tick(cx.now, &self.config);
        self.hang_up_deaf(cx);
        if self.ecs.incarnation.is_none() {
            self.register_again(cx);
            return;
        }
        self.connect_peers(cx);
        self.renew_permits(cx.now);
        self.send_beacons(cx);
        self.tell_commits(cx);
        self.pump_walks(cx);
        self.judge(cx);
        self.raise_floors(cx);
        self.end_leaving(cx);
    }

    fn synced(&mut self, position: Position, cx: &mut Cx<'_>) {
        if self.has_failed {
            // What a failed write has lost is behind the same positions (R3).
            return;
        }
        self.durable = self.durable.max(position);
        if self.syncing.is_some_and(|(awaited, _)| awaited <= self.durable) {
            self.syncing = None;
        }
        while let Some((awaited, slot)) = self.unsynced.front().copied()
            && awaited <= self.durable
        {
            self.unsynced.pop_front();
            self.touched.insert(slot);
        }
        self.watch_syncs(cx);
    }

    /// Notes that records of a slot led here wait for a sync that reaches `position`.
    fn await_sync(&mut self, slot: SlotId, position: Position) {
        let last = self.unsynced.back().map(|(last, _)| *last).unwrap_or_default();
        self.unsynced.push_back((position.max(last), slot));
    }

    /// Notes since when a sync is awaited.
    fn watch_syncs(&mut self, cx: &Cx<'_>) {
        let appended = cx.storage.appended();
        if self.syncing.is_none() && appended > self.durable {
            self.syncing = Some((appended, cx.now));
        }
    }

    /// Returns whether the data path moves and others can come to it, so that a beacon may be sent (R16).
    fn is_able(&self, now: Time) -> bool {
        // A map that is not kept holds its slots up like a record.
        let map = self.persisting.as_ref().map(|_| self.persisting_since);
        let mut awaited = self.syncing.map(|(_, since)| since).into_iter().chain(map);
        let is_stuck = awaited.any(|since| now.since(since) >= self.config.sync_max)
            && !mutant!("beacon sent although the data path stands still");
        !self.has_failed && !is_stuck && self.is_accepting
    }

    fn fail(&mut self, cx: &mut Cx<'_>) {
        self.permits.withdraw_all();
        self.has_failed = true;
        for index in 0..self.replicas.len() {
            self.drop_waiters(index, cx);
        }
    }

    fn stop(&mut self, reason: StopReason, cx: &mut Cx<'_>) {
        for index in 0..self.replicas.len() {
            self.drop_waiters(index, cx);
        }
        self.permits.withdraw_all();
        self.has_stopped = true;
        cx.actions.push(Action::Stop(reason));
    }

    fn replica(&self, slot: SlotId) -> Option<&Replica> {
        self.replicas.get(usize::from(slot.index()))
    }

    fn replica_mut(&mut self, slot: SlotId) -> Option<&mut Replica> {
        self.replicas.get_mut(usize::from(slot.index()))
    }

    fn me(&self) -> ServerId {
        self.identity.server
    }

    /// Returns the next number for a session, a follower's life or a walk.
    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Returns the map in force.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Returns what other threads may read without asking the machine.
    #[must_use]
    pub fn permits(&self) -> Arc<Permits> {
        Arc::clone(&self.permits)
    }

    /// Returns the newest map that was heard of: the one in force, with what is being made durable and what waits behind it.
    ///
    /// The coordinator told of nothing that was not durable with it, so for one whose folder is lost this counts, and not what
    /// this server's disk has taken by now.
    #[must_use]
    pub fn newest_heard(&self) -> Map {
        let mut map = self.map.clone();
        for delta in self.persisting.iter().chain(&self.waiting) {
            // What does not fit changes nothing when its turn comes, either.
            map.apply(delta).unwrap_or_default();
        }
        map
    }

    /// Returns the incarnation it is registered as; zero before that.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.ecs.incarnation.unwrap_or_default()
    }

    /// Returns the version of the map in force.
    fn version(&self) -> Version {
        self.map.version()
    }
}
