//! The world: servers, a coordinator, clients, disks and a network in one thread, in virtual time, from one seed.
//!
//! ```text
//!             ┌──────────── queue of (time, what) ◀───────────────┐
//!             ▼                                                   │
//!   World::happen ──▶ a machine's step ──▶ checks ──▶ its actions ┘ with delays, losses, crashes
//! ```
//!
//! | file | what |
//! |---|---|
//! | `queue` `plan` `run` `measure` `report` `trace` `words` | the loop, what is drawn, what comes out |
//! | `node` `gather` `gossip` `disk` | the host of a server and of its gossip, its storage |
//! | `ecs` | the coordinator's host |
//! | `asks` `client` | the clients' host, the clients |
//! | `network` `faults` `ambush` `hang` | what goes wrong |
//! | `operator` | who puts it right |
//! | `invariants` `history` `check` | what must not |
//!
//! Every purpose draws from a stream of its own, so that a draw more here does not shift the others. A run depends on its plan
//! only, and a plan on its seed.

use std::collections::BTreeMap;

use cluster::coordinator::ConnectionId;
use cluster::coordinator::Event as EcsEvent;
use cluster::{Action, Map, ServerId, SlotId};
use fastrand::Rng;

use crate::asks::Attempt;
use crate::client::{Client, ClientAction, ClientEvent, Mix};
use crate::ecs::EcsHost;
use crate::faults::Faults;
use crate::gossip::Letter;
use crate::history::History;
use crate::invariants::SlotTruth;
use crate::measure::Probes;
use crate::network::{Network, Parcel};
use crate::node::{Asked, Host};
use crate::plan::{FAULTS_FROM, Plan, Under};
use crate::queue::{MS, Nanos, Queue, What};
use crate::report::{Report, Violation};
use crate::trace::Trace;

/// Clients that read everything at the end.
pub const READER_COUNT: usize = 4;

/// The world.
#[derive(Debug)]
pub struct World {
    /// What it was made from.
    pub plan: Plan,
    /// The present moment.
    pub now: Nanos,
    /// What is to happen.
    pub queue: Queue,
    /// The story.
    pub trace: Trace,
    /// The network.
    pub net: Network,
    /// Draws for connections and clients' ways.
    pub net_rng: Rng,
    /// Gossip on its way.
    pub letters: Vec<Option<Letter>>,
    /// Draws for gossip.
    pub gossip_rng: Rng,
    /// The servers.
    pub servers: Vec<Host>,
    /// The coordinator.
    pub ecs: EcsHost,
    /// The clients.
    pub clients: Vec<Client>,
    /// What the clients are like.
    pub mix: Mix,
    /// Whether the clients at work are those that read at the end.
    pub is_reading: bool,
    /// What the clients saw.
    pub history: History,
    /// Attempts of each client in each slot that nobody answered yet, or ever.
    pub unanswered: BTreeMap<(usize, SlotId), u32>,
    /// Every attempt of a client.
    pub attempts: Vec<Attempt>,
    /// When each client was told a map last.
    pub told_at: BTreeMap<usize, Nanos>,
    /// Connections asked for.
    pub asked: Vec<Asked>,
    /// The faults.
    pub faults: Faults,
    /// What is known of each slot.
    pub truth: Vec<SlotTruth>,
    /// What is measured.
    pub probes: Probes,
    /// The first violation.
    pub violation: Option<Violation>,
    /// Counts for the report.
    pub tally: Report,
    /// Steps of machines.
    pub steps: u64,
    /// Changes of slots' epochs.
    pub changes: u64,
    /// When the faults ended.
    pub healed_at: Nanos,
    /// By when all must be whole.
    pub deadline: Nanos,
    /// Whether the run has come to its end.
    pub is_done: bool,
    /// Room for a step's actions.
    pub actions: Vec<Action>,
    /// Room for a client's actions.
    pub client_actions: Vec<ClientAction>,
}

/// Returns the id of the server at a place.
pub fn server_id(node: usize) -> ServerId {
    format!("{:032x}", node + 1).parse().expect("an id of 32 digits")
}

impl World {
    /// Makes a world in which nothing has happened yet.
    pub fn new(plan: &Plan) -> Self {
        let count = plan.servers + plan.standbys;
        let node_count = count + 1 + plan.clients + READER_COUNT + 1;
        let map = Map::new(plan.slots, plan.settings.replica_count);
        let host = |node: usize| {
            let rng = plan.rng(100 + node as u64);
            Host::new(server_id(node), node >= plan.servers, map.clone(), plan.storage, rng)
        };
        let mut client_rng = plan.rng(4);
        let ids = (0..count).map(server_id).collect();
        let mix = Mix::draw(&mut client_rng, ids, plan.clients as u32);
        let mix = if plan.storage == Under::Engine { mix.without_ends() } else { mix };
        let client = |id| Client::new(id as u32, plan.seed, &mix, plan.slots);
        Self {
            now: 0,
            queue: Queue::default(),
            trace: Trace::new(plan.is_traced),
            net: Network::new(node_count, plan.rng(1)),
            net_rng: plan.rng(2),
            letters: Vec::new(),
            gossip_rng: plan.rng(7),
            servers: (0..count).map(host).collect(),
            ecs: EcsHost::new(plan.settings.clone(), plan.rng(3)),
            clients: (0..plan.clients).map(client).collect(),
            mix,
            is_reading: false,
            history: History::new(),
            unanswered: BTreeMap::new(),
            attempts: Vec::new(),
            told_at: BTreeMap::new(),
            asked: Vec::new(),
            faults: Faults::new(node_count, plan.rng(5)),
            truth: (0..plan.slots).map(|_| SlotTruth::default()).collect(),
            probes: Probes::default(),
            violation: None,
            tally: Report { seed: plan.seed, ..Report::default() },
            steps: 0,
            changes: 0,
            healed_at: 0,
            deadline: Nanos::MAX,
            is_done: false,
            actions: Vec::new(),
            client_actions: Vec::new(),
            plan: plan.clone(),
        }
    }

    /// Returns the coordinator's place among the nodes.
    pub fn ecs_node(&self) -> usize {
        self.servers.len()
    }

    /// Plans the beginning.
    pub fn begin(&mut self) {
        self.queue.push(0, What::EcsStart { boot: 0 });
        for node in 0..self.servers.len() {
            let at = self.net_rng.u64(0..=200 * MS);
            self.queue.push(at, What::Start { node, boot: 0 });
        }
        for client in 0..self.clients.len() {
            self.queue.push(300 * MS, What::Wake { client });
        }
        if !self.plan.kinds.is_empty() {
            self.queue.push(FAULTS_FROM, What::Fault);
        }
        if self.plan.faulty_for > 0 {
            self.queue.push(FAULTS_FROM + self.plan.faulty_for, What::Heal);
        }
    }

    /// Returns the node that something is for, if it must wait while that stands still.
    fn waits_for(&self, what: &What) -> Option<usize> {
        match *what {
            What::Tick { node, .. }
            | What::GossipTick { node, .. }
            | What::SyncDone { node, .. }
            | What::Persisted { node, .. }
            | What::ReadDone { node, .. }
            | What::Permitted { node, .. }
            | What::PageDone { node, .. }
            | What::Gathered { node, .. }
            | What::EcsConnect { node, .. }
            | What::TellMap { node, .. } => Some(node),
            What::EcsTick { .. } => Some(self.ecs_node()),
            What::Deliver { conn, end, .. } | What::Closed { conn, end } => {
                Some(self.net.conns[conn].nodes[end])
            }
            What::Letter { index } => self.addressee(index),
            What::Request { attempt } => Some(self.attempts[attempt].node),
            _ => None,
        }
    }

    /// Lets one thing happen.
    pub fn happen(&mut self, what: What) {
        if let Some(node) = self.waits_for(&what) {
            let until = self.faults.paused_until[node];
            if until > self.now {
                self.queue.push(until, what);
                return;
            }
        }
        match what {
            What::Tick { node, boot } => self.tick(node, boot),
            What::GossipTick { node, boot } => self.tick_gossip(node, boot),
            What::Letter { index } => self.letter(index),
            What::EcsTick { boot } => self.tick_ecs(boot),
            What::Deliver { conn, end, turn } => self.deliver(conn, end, turn),
            What::Closed { conn, end } => self.closed(conn, end),
            What::Connecting { index, is_made } => self.connecting(index, is_made),
            What::EcsConnect { node, boot } => self.connect_ecs(node, boot),
            What::SyncDone { node, boot, position } => self.sync_done(node, boot, position),
            What::WriteBack { node, boot } => self.write_back(node, boot),
            What::Persisted { node, boot } => self.persisted(node, boot),
            What::ReadDone { node, boot, index } => self.read_done(node, boot, index),
            What::Permitted { node, boot, index } => self.permitted(node, boot, index),
            What::PageDone { node, boot, index } => self.page_done(node, boot, index),
            What::Gathered { node, boot } => self.give_gathered(node, boot),
            What::Request { attempt } => self.request(attempt),
            What::Answer { attempt } => self.answer(attempt),
            What::Lost { attempt } => self.lost(attempt),
            What::Wake { client } => self.wake(client),
            What::TellMap { client, node } => self.tell_map(client, node),
            What::Start { node, boot } => {
                if self.servers[node].boot == boot {
                    self.start(node);
                }
            }
            What::EcsStart { .. } => self.restart_ecs(),
            What::GiveUp { conn, first } => self.give_up(conn, first),
            What::Fault => self.next_fault(),
            What::FaultEnd { index } => self.end_fault(index),
            What::Dies { node, boot } => self.dies(node, boot),
            What::Join { node } => self.join(node),
            What::AmbushCloses => self.close_ambush(),
            What::HangSeen => self.check_hang(),
            What::Operate => self.operate(),
            What::Heal => self.heal(),
            What::StopClients => self.stop_clients(),
            What::Look => self.look(),
            What::Probe { slot } => self.probe(slot),
            What::Strike => self.strike(),
        }
    }

    fn deliver(&mut self, conn: usize, end: usize, turn: u32) {
        let Some(parcel) = self.net.arrive(conn, end, turn) else { return };
        let c = &self.net.conns[conn];
        let (node, boot) = (c.nodes[end], c.boots[end]);
        if node != self.ecs_node() {
            if self.is_alive(node, boot) {
                self.receive(conn, end, parcel);
            }
            return;
        }
        if self.ecs.machine.is_none() || self.ecs.boot != boot || c.is_closed[1] {
            return;
        }
        let id = ConnectionId(conn as u64);
        match parcel {
            Parcel::Open => {
                self.net.conns[conn].is_met = true;
                self.step_ecs(EcsEvent::Connected(id));
            }
            Parcel::ToEcs(message) => {
                let from = self.net.conns[conn].nodes[0] + 1;
                crate::tell!(self, "ecs ◀ s{from}  {}", crate::words::to_ecs(&message));
                self.step_ecs(EcsEvent::Received(id, message));
            }
            Parcel::Peer(_) | Parcel::FromEcs(_) => {}
        }
    }

    fn closed(&mut self, conn: usize, end: usize) {
        let c = &mut self.net.conns[conn];
        if c.nodes[end] != self.servers.len() {
            return self.learn_closed(conn, end);
        }
        c.is_closed[1] = true;
        if c.is_met && c.boots[1] == self.ecs.boot {
            self.step_ecs(EcsEvent::Closed(ConnectionId(conn as u64)));
        }
    }

    fn restart_ecs(&mut self) {
        if self.ecs.is_dying {
            // It had nothing to do since; it dies as it is.
            self.crash_ecs();
        }
        self.start_ecs();
    }

    fn wake(&mut self, client: usize) {
        self.step_client(client, ClientEvent::Wake);
    }
}
