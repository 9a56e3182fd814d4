//! The coordinator: the state machine of the ECS. It arbitrates who is on the ring and who holds each slot.
//!
//! [`Coordinator::step`] takes one event and says what is to be done. Each decision is one [`Entry`], which makes exactly
//! one new version of the map; the machine puts it in force at once and asks the host to make it durable before anything
//! that follows. Then come the answer to whoever asked, and to every other connected server what changed since it was
//! last told.
//!
//! ```text
//! event ─▶ draft of a decision ─▶ rules ─▶ Log ─▶ map ─┐        (then the same once more for what follows from it:
//!                                                      │         servers that stay away, learners)
//!                       Answer, Registered, Push ◀─────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `event` | what goes in and out |
//! | `register` | servers' lives, joins |
//! | `request` | what servers ask for |
//! | `members` | what can become of one slot |
//! | `command` | what operators ask for |
//! | `converge`, `places` | learners; servers that stay away |
//! | `moves` | what is still to be done |
//! | `elastic` | whether the ring should grow, shrink or be levelled: a pure function |
//! | `scale` | doing so, or saying so |
//! | `spawn` | processes that the host starts when nobody is on standby, and ends |
//! | `draft`, `check`, `journal` | decisions: in the making, their rules, as lines |
//! | `status` | what operators are shown |
//! | `tell` | what is sent when all is decided |
//! | `peers`, `placing` | what is remembered outside the map, and may be forgotten |
//!
//! Only the map is durable. Everything else — connections, request numbers, loads, how long a learner has been one — begins
//! anew with each process of the ECS.
//!
//! After PacificA's configuration manager (Lin et al., 2008, section 2.2). Left out: any way to forget a server that was
//! ever registered.

mod check;
mod command;
mod converge;
mod draft;
pub mod elastic;
mod error;
mod event;
mod journal;
mod members;
mod moves;
mod peers;
mod places;
mod placing;
mod register;
mod request;
mod scale;
pub mod spawn;
mod status;
mod tell;

use std::collections::{BTreeMap, BTreeSet};

pub use error::Error;
pub use event::{Action, Answer, Command, ConnectionId, Entry, Event, Settings, Ticket};
pub use moves::Moves;
pub use scale::{Decided, Next};
pub use status::{
    Move, Plan, ServerStatus, Share, SlotsStatus, Source, Status, WholeMap, Wish, snapshot_of,
};

use crate::map::{Map, Slot};
use crate::message::ToEcs;
use crate::types::{ServerId, SlotId, Time, Version};
use converge::Tries;
use members::Life;
use peers::Peers;
use placing::Placing;
use register::Registration;
use request::Request;
use scale::Scaling;
use tell::{Due, Told};

/// The ECS's machine.
#[derive(Clone, Debug)]
pub struct Coordinator {
    settings: Settings,
    map: Map,
    /// When the first step was taken.
    started_at: Option<Time>,
    peers: Peers,
    placing: Placing,
    /// When each learner was named; those from before the start count from there.
    named_at: BTreeMap<SlotId, Time>,
    /// Slots whose learners were given up.
    tries: BTreeMap<SlotId, Tries>,
    told: Told,
    scaling: Scaling,
    /// Servers that are processes of the host.
    spawned: BTreeSet<ServerId>,
}

impl Coordinator {
    /// Returns the coordinator of a cluster that has no server yet.
    ///
    /// # Panics
    /// When the ring cannot be cut into so many slots.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let map = Map::new(settings.slot_count, settings.replica_count);
        Self::with_map(settings, map)
    }

    /// Returns the coordinator that a snapshot and the entries after it lead to.
    ///
    /// # Errors
    /// When a line is not what it should be, an entry is missing, or one breaks the rules; see [`Error`].
    ///
    /// # Panics
    /// When the ring cannot be cut into so many slots.
    pub fn restore(
        settings: Settings,
        snapshot: Option<&str>,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<Self, Error> {
        let map = journal::restore(&settings, snapshot, entries)?;
        Ok(Self::with_map(settings, map))
    }

    fn with_map(settings: Settings, map: Map) -> Self {
        let placing = Placing::new(settings.slot_count, settings.token_count);
        let told = Told::new(map.version());
        Self {
            settings,
            map,
            started_at: None,
            peers: Peers::default(),
            placing,
            named_at: BTreeMap::new(),
            tries: BTreeMap::new(),
            told,
            scaling: Scaling::default(),
            spawned: BTreeSet::new(),
        }
    }

    /// Returns the map as two lines of text, from which and from later entries [`Coordinator::restore`] can go on.
    #[must_use]
    pub fn snapshot(&self) -> String {
        journal::snapshot(&self.map)
    }

    /// Returns the map in force.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Returns the stored bytes of each slot, as its primary told last.
    #[must_use]
    pub fn loads(&self) -> &[u64] {
        self.placing.loads()
    }

    /// Takes one event at the time `now`, which never goes back, and appends what is to be done.
    pub fn step(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        self.started_at.get_or_insert(now);
        let (is_tick, version) = (event == Event::Tick, self.map.version());
        let due = match event {
            Event::Tick => None,
            Event::Connected(connection) => {
                self.peers.open(connection);
                None
            }
            Event::Closed(connection) => {
                self.peers.close(connection);
                None
            }
            Event::Received(connection, message) => self.receive(now, connection, message, actions),
            Event::Command(ticket, command) => {
                Some(Due::Command(ticket, self.command(now, command, actions)))
            }
        };
        if is_tick || self.map.version() > version || matches!(due, Some(Due::Registered { .. })) {
            self.converge(now, actions);
        }
        if is_tick {
            self.scale(now, actions);
        }
        self.answer(due, actions);
        self.push(actions);
    }

    fn receive(
        &mut self,
        now: Time,
        connection: ConnectionId,
        message: ToEcs,
        actions: &mut Vec<Action>,
    ) -> Option<Due> {
        if !self.peers.is_open(connection) {
            return None;
        }
        match message {
            ToEcs::Register { server, address, life, is_complete, is_standby, version } => {
                let said = Registration { server, address, life, is_complete, is_standby, version };
                self.register(now, connection, &said, actions)
            }
            ToEcs::Doubts { server, incarnation, doubted } => {
                self.take_doubts(connection, (server, incarnation), doubted);
                None
            }
            ToEcs::Request { server, incarnation, number, version, is_full, changes, loads } => {
                let request =
                    Request { server, incarnation, number, version, is_full, changes, loads };
                self.request(now, connection, &request, actions)
            }
        }
    }

    /// Puts a decision in force. Returns whether there was one.
    fn commit(&mut self, now: Time, entry: Option<Entry>, actions: &mut Vec<Action>) -> bool {
        let Some(entry) = entry else { return false };
        assert_eq!(check::broken_rule(&self.map, &entry.delta), None, "{}", entry.why);
        for (id, slot) in &entry.delta.slots {
            self.note_learner(now, *id, slot);
        }
        if entry.delta.ring.is_some() {
            self.note_ring(now);
        }
        let taken = self.map.apply(&entry.delta);
        assert_eq!(taken, Ok(()), "a decision is made of the map it changes");
        actions.push(Action::Log(entry));
        true
    }

    /// Notes what a decision means for the learner that the slot had.
    fn note_learner(&mut self, now: Time, id: SlotId, next: &Slot) {
        let before = self.map.slot(id).learner;
        if before == next.learner {
            return;
        }
        self.named_at.remove(&id);
        if next.learner.is_some() {
            self.named_at.insert(id, now);
        }
        let Some((learner, _)) = before else { return };
        if next.is_member(learner) {
            self.tries.remove(&id);
            if let Some(peer) = self.peers.get_mut(learner) {
                peer.strikes = 0;
            }
        }
    }

    /// Notes a sign of life; of two connections of one server the later stays.
    fn hear(
        &mut self,
        from: (ConnectionId, ServerId),
        version: Version,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        if let Some(replaced) = self.peers.hear(from, version, now) {
            self.close(replaced, actions);
        }
    }

    fn close(&mut self, connection: ConnectionId, actions: &mut Vec<Action>) {
        self.peers.close(connection);
        actions.push(Action::Close(connection));
    }

    /// Returns a server in its newest life.
    fn life(&self, server: ServerId) -> Option<Life> {
        self.map.servers().get(&server).map(|known| (server, known.incarnation))
    }
}
