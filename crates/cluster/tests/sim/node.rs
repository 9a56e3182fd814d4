//! The host of one server: its process, clock, disk and connections; it carries out what the machine says.

use std::collections::{BTreeSet, VecDeque};

use cluster::{
    Action, Change, Config, Delta, Event, Identity, Link, Map, Message, PageTicket, Position,
    Server, ServerId, StopReason, Time, ToEcs, Version,
};
use fastrand::Rng;

use crate::disk::{Crash, Disk, SimStorage};
use crate::engine::EngineStorage;
use crate::gossip::Talk;
use crate::network::Parcel;
use crate::plan::{Policy, Under};
use crate::queue::{MS, Nanos, SECOND, What};
use crate::reads::Reads;
use crate::tell;
use crate::watch::Watch;
use crate::world::World;

/// What a server's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Up,
    /// It will be started again.
    Down,
    /// It never comes back.
    Lost,
    /// It left the ring and ended.
    Out,
}

/// A connection asked for.
#[derive(Debug)]
pub struct Asked {
    node: usize,
    boot: u32,
    link: Link,
    address: String,
}

/// A server's host.
#[derive(Debug)]
pub struct Host {
    /// The server's id.
    pub id: ServerId,
    /// What its process is.
    pub state: State,
    /// Lives of the process so far; what was meant for an earlier one is dropped.
    pub boot: u32,
    /// The machine, while the process runs.
    pub machine: Option<Server>,
    /// Its gossip.
    pub talk: Talk,
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// The map on the disk.
    pub map: Map,
    persists: VecDeque<Delta>,
    persisted_at: Nanos,
    links: Vec<(Link, usize)>,
    ecs_conn: Option<usize>,
    /// Where it listens in this life.
    pub address: String,
    /// Whether the next life waits in standby.
    pub is_standby: bool,
    /// Whether an earlier life lost what it may have acknowledged, and the coordinator was not told yet.
    owes: bool,
    is_complete: bool,
    /// Drawn by each life.
    pub life: u64,
    /// Reads under way.
    pub reads: Reads,
    pages: Vec<Option<PageTicket>>,
    /// Attempts not answered yet.
    pub ops: BTreeSet<usize>,
    is_syncing: bool,
    sync_begun: u64,
    writes_back: bool,
    /// How the process dies in its next step.
    pub dying: Option<(Crash, Option<Nanos>)>,
    /// Whether the next sync fails.
    pub fails_sync: bool,
    /// Phases of slowness of the disk.
    pub slow_disk: u32,
    /// Phases in which the disk stands still.
    pub hung: u32,
    /// Syncs that wait for the disk to go on, and whether maps do.
    held: Vec<What>,
    /// Events that threads of the host gathered, to give them to the machine together.
    pub gathered: Vec<Event>,
    /// Phases of a full disk.
    pub full: u32,
    rate_ppm: i64,
    offset: u64,
    /// What was seen last, for the checks.
    pub seen: crate::invariants::Seen,
    /// Its own draws.
    pub rng: Rng,
}

impl Host {
    /// Returns the host of a server that was never started.
    pub fn new(id: ServerId, is_standby: bool, map: Map, kind: Under, mut rng: Rng) -> Self {
        let disk: Box<dyn Disk> = match kind {
            Under::Model => Box::new(SimStorage::new(map.slot_count(), rng.fork())),
            Under::Engine => Box::new(EngineStorage::new(map.slot_count(), rng.fork())),
        };
        let seen = crate::invariants::Seen::new(map.slot_count());
        Self {
            id,
            state: State::Down,
            boot: 0,
            machine: None,
            talk: Talk::default(),
            disk,
            map,
            persists: VecDeque::new(),
            persisted_at: 0,
            links: Vec::new(),
            ecs_conn: None,
            address: String::new(),
            is_standby,
            owes: false,
            is_complete: true,
            life: 0,
            reads: Reads::default(),
            pages: Vec::new(),
            ops: BTreeSet::new(),
            is_syncing: false,
            sync_begun: 0,
            writes_back: false,
            dying: None,
            fails_sync: false,
            slow_disk: 0,
            hung: 0,
            held: Vec::new(),
            gathered: Vec::new(),
            full: 0,
            rate_ppm: rng.i64(-10_000..=10_000),
            offset: 0,
            seen,
            rng,
        }
    }

    /// Returns whether nothing is wrong with it, and nothing about to be.
    pub fn is_well(&self) -> bool {
        let is_dying = self.dying.is_some() || self.fails_sync;
        self.machine.is_some() && !is_dying && !self.disk.is_failed()
    }

    /// Returns what its clock shows.
    pub fn local(&self, now: Nanos) -> Time {
        crate::ecs::local(now, self.rate_ppm, self.offset)
    }

    fn link(&self, conn: usize) -> Option<Link> {
        self.links.iter().find(|(_, c)| *c == conn).map(|(link, _)| *link)
    }

    fn conn(&self, link: Link) -> Option<usize> {
        self.links.iter().find(|(l, _)| *l == link).map(|(_, conn)| *conn)
    }

    fn sync_takes(&mut self) -> Nanos {
        match self.slow_disk > 0 {
            true => self.rng.u64(5 * MS..=800 * MS),
            false => self.rng.u64(100_000..=MS),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            server: self.id,
            address: self.address.clone(),
            life: self.life,
            is_complete: self.is_complete,
            is_standby: self.is_standby,
        }
    }
}

/// Puts something into the first free place.
pub fn put<T>(places: &mut Vec<Option<T>>, what: T) -> usize {
    match places.iter().position(Option::is_none) {
        Some(index) => {
            places[index] = Some(what);
            index
        }
        None => {
            places.push(Some(what));
            places.len() - 1
        }
    }
}

impl World {
    /// Starts a server's process.
    pub fn start(&mut self, node: usize) {
        let config: Config = self.plan.config.clone();
        let host = &mut self.servers[node];
        if host.state != State::Down || host.machine.is_some() {
            return;
        }
        host.state = State::Up;
        host.offset = host.rng.u64(..1 << 40);
        host.life = host.rng.u64(1..);
        if host.address.is_empty() || host.rng.u8(0..5) == 0 {
            host.address = format!("10.0.0.{}:{}", node + 1, 7000 + host.boot);
        }
        host.is_complete = !host.owes;
        host.disk.set_full(host.full > 0);
        let identity = host.identity();
        host.machine = Some(Server::new(config, identity, host.map.clone(), &*host.disk));
        let boot = host.boot;
        let at = self.now + host.rng.u64(0..=20 * MS);
        let is_complete = host.is_complete;
        tell!(self, "s{} starts, complete: {is_complete}", node + 1);
        self.queue.push(self.now, What::Tick { node, boot });
        self.queue.push(self.now, What::GossipTick { node, boot });
        self.queue.push(at, What::EcsConnect { node, boot });
        self.check_start(node);
    }

    /// Ends a server's process as it is.
    pub fn crash(&mut self, node: usize, crash: Crash, restart_in: Option<Nanos>) {
        let policy = self.plan.policy;
        let host = &mut self.servers[node];
        let Some(machine) = host.machine.take() else { return };
        // After a failed sync the page cache is worth nothing.
        let crash = if host.disk.is_failed() { Crash::Power } else { crash };
        tell!(self, "s{} ends: {crash:?}", node + 1);
        let host = &mut self.servers[node];
        if !host.is_complete && machine.incarnation().0 > 0 {
            host.owes = false;
        }
        host.owes |= crash == Crash::Power && policy != Policy::Always;
        host.boot += 1;
        host.state = State::Down;
        for _ in 0..host.rng.usize(0..=host.persists.len()) {
            let delta = host.persists.pop_front().unwrap();
            host.map.apply(&delta).expect("a map that was persisted has a gap");
        }
        host.persists.clear();
        host.persisted_at = 0;
        host.links.clear();
        host.ecs_conn = None;
        host.reads = Reads::default();
        host.pages.clear();
        (host.is_syncing, host.sync_begun, host.writes_back) = (false, 0, false);
        (host.dying, host.fails_sync) = (None, false);
        host.held.clear();
        host.gathered.clear();
        host.talk = Talk::default();
        host.disk.crash(crash);
        let ops = std::mem::take(&mut host.ops);
        let (boot, is_silent) = (host.boot, crash == Crash::Power);
        for attempt in ops {
            let within = if is_silent { SECOND } else { 20 * MS };
            self.lose_attempt(attempt, within);
        }
        self.net.abandon(node, is_silent, self.now, &mut self.queue);
        if let Some(after) = restart_in {
            self.queue.push(self.now + after, What::Start { node, boot });
        }
    }

    /// Returns whether the process of that life runs.
    pub fn is_alive(&self, node: usize, boot: u32) -> bool {
        let host = &self.servers[node];
        host.boot == boot && host.machine.is_some()
    }

    /// The server's tick.
    pub fn tick(&mut self, node: usize, boot: u32) {
        if !self.is_alive(node, boot) {
            return;
        }
        self.step(node, Event::Tick);
        if self.is_alive(node, boot) {
            let host = &mut self.servers[node];
            if host.rng.u8(0..16) == 0 {
                host.disk.merge();
            }
            let next = 18 * MS + host.rng.u64(0..=MS);
            self.queue.push(self.now + next, What::Tick { node, boot });
        }
    }

    /// Steps a server's machine and carries out what it says.
    pub fn give(&mut self, node: usize, events: impl IntoIterator<Item = Event>) {
        let host = &mut self.servers[node];
        let now = host.local(self.now);
        host.disk.set_clock(self.now / MS);
        let Some(machine) = host.machine.as_mut() else { return };
        let mut actions = std::mem::take(&mut self.actions);
        debug_assert!(actions.is_empty());
        let slots = self.ecs.map.slots().map(|(slot, _)| slot);
        let mut watch = Watch::new(&mut *host.disk, machine, now, slots);
        machine.step_all(now, events, &mut watch, &mut actions);
        let wrong = watch.wrong;
        self.steps += 1;
        if let Some((slot, what)) = wrong {
            let (slot, server) = (slot.index(), node + 1);
            self.fail(format!("slot {slot}: s{server} {what} while it permits reads"));
        }
        self.check_step(node);
        let host = &mut self.servers[node];
        let dying = host.dying.take();
        let count = if dying.is_some() { host.rng.usize(0..=actions.len()) } else { actions.len() };
        let boot = host.boot;
        for action in actions.drain(..).take(count) {
            if self.is_alive(node, boot) {
                self.act(node, action);
            }
        }
        self.actions = actions;
        if let Some((crash, restart_in)) = dying {
            self.crash(node, crash, restart_in);
        } else if self.is_alive(node, boot) {
            self.sync(node);
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        let now = self.now;
        let late_map_percent = self.plan.late_map_percent;
        match action {
            Action::Connect { link, address } => self.connect(node, link, address),
            Action::Close(link) => self.close(node, link),
            Action::Send(link, message) => self.send(node, link, message),
            Action::ToEcs(message) => {
                tell!(self, "s{} → ecs  {}", node + 1, crate::words::to_ecs(&message));
                if is_giving_up(&message) {
                    self.call_operator(node);
                }
                if let Some(conn) = self.servers[node].ecs_conn {
                    self.net.send(conn, 1, Parcel::ToEcs(message), now, &mut self.queue);
                }
            }
            Action::CloseEcs => self.hang_up_ecs(node),
            Action::PersistMap(delta) => {
                let host = &mut self.servers[node];
                let mut takes = host.sync_takes();
                if host.rng.u8(0..100) < late_map_percent {
                    takes += host.rng.u64(50 * MS..=900 * MS);
                }
                host.persisted_at = host.persisted_at.max(now + takes);
                host.persists.push_back(delta);
                let boot = host.boot;
                self.queue.push(host.persisted_at, What::Persisted { node, boot });
            }
            Action::Reply(op, reply) => self.reply(node, op, reply),
            Action::Read { ticket, key } => self.begin_read(node, ticket, key),
            Action::ReadPage(ticket) => {
                let host = &mut self.servers[node];
                let takes = host.rng.u64(5_000..=2 * MS);
                let index = put(&mut host.pages, ticket);
                let boot = host.boot;
                self.queue.push(now + takes, What::PageDone { node, boot, index });
            }
            Action::MapChanged(version) => {
                tell!(self, "s{} now has map {version}", node + 1);
                self.check_map(node, version);
            }
            Action::Stop(reason) => self.stop(node, reason),
        }
    }

    fn stop(&mut self, node: usize, reason: StopReason) {
        tell!(self, "s{} stops: {reason:?}", node + 1);
        let again = self.servers[node].rng.u64(100 * MS..=3 * SECOND);
        match reason {
            StopReason::Superseded => self.crash(node, Crash::Kill, Some(again)),
            // An operator looks at it; after a failed sync the page cache is worth nothing.
            StopReason::Failed => self.crash(node, Crash::Power, Some(again)),
            StopReason::Left => {
                self.end_gossip(node);
                self.crash(node, Crash::Kill, None);
                self.servers[node].state = State::Out;
                self.has_left(node);
            }
        }
    }

    fn connect(&mut self, node: usize, link: Link, address: String) {
        let Link::Out(..) = link else { panic!("s{} opens {link:?}", node + 1) };
        let host = &self.servers[node];
        assert!(host.conn(link).is_none(), "s{} opens {link:?} twice", node + 1);
        let boot = host.boot;
        let index = self.asked.len();
        self.asked.push(Asked { node, boot, link, address });
        let is_made = self.listener(index).is_some();
        let takes = match is_made {
            true => 2 * self.net.delay(),
            false => self.net_rng.u64(MS..=SECOND),
        };
        self.queue.push(self.now + takes, What::Connecting { index, is_made });
    }

    /// Returns who listens where this connection goes, if it can be reached.
    fn listener(&self, index: usize) -> Option<usize> {
        let Asked { node, link: Link::Out(peer, _), ref address, .. } = self.asked[index] else {
            return None;
        };
        let other = self.servers.iter().position(|host| host.id == peer)?;
        let host = &self.servers[other];
        let is_there = host.machine.is_some() && host.address == *address;
        (is_there && !self.net.is_cut(node, other)).then_some(other)
    }

    /// A connection stands, or not.
    pub fn connecting(&mut self, index: usize, is_made: bool) {
        let Asked { node, boot, link, .. } = self.asked[index];
        if !self.is_alive(node, boot) {
            return;
        }
        let Link::Out(_, session) = link else { return };
        let Some(other) = self.listener(index).filter(|_| is_made) else {
            return self.step(node, Event::Closed(link));
        };
        let boots = [boot, self.servers[other].boot];
        let conn = self.net.open([node, other], boots, Some(session));
        tell!(
            self,
            "s{} ═ s{}  session {}.{}",
            node + 1,
            other + 1,
            session.incarnation,
            session.number
        );
        self.servers[node].links.push((link, conn));
        self.step(node, Event::Connected(link));
    }

    fn close(&mut self, node: usize, link: Link) {
        let host = &mut self.servers[node];
        let Some(conn) = host.conn(link) else { return };
        host.links.retain(|(l, _)| *l != link);
        tell!(self, "s{} closes {}", node + 1, crate::words::link(&link));
        let end = usize::from(matches!(link, Link::In(..)));
        self.net.close(conn, end, self.now, &mut self.queue);
    }

    fn send(&mut self, node: usize, link: Link, message: Message) {
        if self.trace.is_on {
            let to = crate::words::link(&link);
            tell!(self, "s{} → {to}  {}", node + 1, crate::words::message(&message));
        }
        if let Some(conn) = self.servers[node].conn(link) {
            let end = usize::from(matches!(link, Link::Out(..)));
            self.net.send(conn, end, Parcel::Peer(message), self.now, &mut self.queue);
        }
    }

    /// A message arrives at a server.
    pub fn receive(&mut self, conn: usize, end: usize, parcel: Parcel) {
        let c = &mut self.net.conns[conn];
        let (node, opener) = (c.nodes[end], c.nodes[0]);
        let event = match parcel {
            Parcel::Peer(message) => {
                let session = c.session.unwrap();
                let link = if end == 0 {
                    Link::Out(self.servers[c.nodes[1]].id, session)
                } else {
                    Link::In(self.servers[opener].id, session)
                };
                if end == 1 && !c.is_met {
                    c.is_met = true;
                    let is_hello =
                        matches!(&message, Message::Hello { session: s, .. } if *s == session);
                    assert!(is_hello, "s{} opens without a Hello: {message:?}", opener + 1);
                    if !c.is_closed[1] {
                        self.servers[node].links.push((link, conn));
                    }
                }
                tell!(
                    self,
                    "s{} ◀ s{}  {}",
                    node + 1,
                    self.net.conns[conn].nodes[1 - end] + 1,
                    crate::words::message(&message)
                );
                Event::Received(link, message)
            }
            Parcel::FromEcs(message) => {
                tell!(self, "s{} ◀ ecs  {}", node + 1, crate::words::from_ecs(&message));
                Event::FromEcs(message)
            }
            Parcel::Open | Parcel::ToEcs(_) => return,
        };
        self.step(node, event);
    }

    /// A server learns that a connection is gone.
    pub fn learn_closed(&mut self, conn: usize, end: usize) {
        let c = &mut self.net.conns[conn];
        let (node, boot) = (c.nodes[end], c.boots[end]);
        let (session, is_met) = (c.session, c.is_met);
        let (opener, acceptor) = (c.nodes[0], c.nodes[1]);
        c.is_closed[end] = true;
        if !self.is_alive(node, boot) {
            return;
        }
        let Some(session) = session else {
            if self.servers[node].ecs_conn == Some(conn) {
                self.servers[node].ecs_conn = None;
                let again = self.net_rng.u64(50 * MS..=200 * MS);
                self.queue.push(self.now + again, What::EcsConnect { node, boot });
                self.step(node, Event::EcsClosed);
            }
            return;
        };
        let link = match end {
            0 => Link::Out(self.servers[acceptor].id, session),
            _ => Link::In(self.servers[opener].id, session),
        };
        self.servers[node].links.retain(|(l, _)| *l != link);
        if end == 0 || is_met {
            tell!(self, "s{} sees {} closed", node + 1, crate::words::link(&link));
            self.step(node, Event::Closed(link));
        }
    }

    /// The host tries to reach the coordinator.
    pub fn connect_ecs(&mut self, node: usize, boot: u32) {
        if !self.is_alive(node, boot) || self.servers[node].ecs_conn.is_some() {
            return;
        }
        let ecs = self.ecs_node();
        if self.ecs.machine.is_none() || self.net.is_cut(node, ecs) {
            let again = self.net_rng.u64(50 * MS..=200 * MS);
            self.queue.push(self.now + again, What::EcsConnect { node, boot });
            return;
        }
        let conn = self.net.open([node, ecs], [boot, self.ecs.boot], None);
        self.net.send(conn, 1, Parcel::Open, self.now, &mut self.queue);
        self.servers[node].ecs_conn = Some(conn);
        self.step(node, Event::EcsConnected);
    }

    /// A server gives its connection to the coordinator up.
    fn hang_up_ecs(&mut self, node: usize) {
        tell!(self, "s{} hangs up on the ecs", node + 1);
        let boot = self.servers[node].boot;
        let Some(conn) = self.servers[node].ecs_conn.take() else { return };
        self.net.close(conn, 0, self.now, &mut self.queue);
        let again = self.net_rng.u64(50 * MS..=200 * MS);
        self.queue.push(self.now + again, What::EcsConnect { node, boot });
    }

    /// A map is durable.
    pub fn persisted(&mut self, node: usize, boot: u32) {
        if !self.is_alive(node, boot) || self.is_held(node, What::Persisted { node, boot }) {
            return;
        }
        let host = &mut self.servers[node];
        let delta = host.persists.pop_front().expect("a map in writing");
        host.map.apply(&delta).expect("a map that was persisted has a gap");
        let version: Version = delta.to;
        self.step(node, Event::MapPersisted(version));
    }

    /// A page is read.
    pub fn page_done(&mut self, node: usize, boot: u32, index: usize) {
        if !self.is_alive(node, boot) {
            return;
        }
        let host = &mut self.servers[node];
        let ticket = host.pages[index].take().expect("a page");
        let page = host.disk.page(ticket.slot, ticket.above, ticket.len_max);
        self.step(node, Event::PageDone(ticket, page));
    }

    /// Begins a sync if there is something to sync and none is under way.
    fn sync(&mut self, node: usize) {
        let policy = self.plan.policy;
        let host = &mut self.servers[node];
        let appended = host.disk.appended().0;
        if host.is_syncing || appended <= host.sync_begun || host.disk.is_failed() {
            return;
        }
        host.is_syncing = true;
        host.sync_begun = appended;
        let boot = host.boot;
        let takes = match policy {
            Policy::Always => host.sync_takes(),
            Policy::Interval | Policy::Never => host.rng.u64(5_000..=50_000),
        };
        self.queue.push(self.now + takes, What::SyncDone { node, boot, position: appended });
        if policy != Policy::Always && !host.writes_back {
            host.writes_back = true;
            let later = match policy {
                Policy::Interval => host.rng.u64(100 * MS..=300 * MS),
                _ => host.rng.u64(500 * MS..=10 * SECOND),
            };
            self.queue.push(self.now + later, What::WriteBack { node, boot });
        }
    }

    /// A sync ends.
    pub fn sync_done(&mut self, node: usize, boot: u32, position: u64) {
        let what = What::SyncDone { node, boot, position };
        if !self.is_alive(node, boot) || self.is_held(node, what) {
            return;
        }
        let policy = self.plan.policy;
        let host = &mut self.servers[node];
        host.is_syncing = false;
        if std::mem::take(&mut host.fails_sync) {
            host.disk.fail();
            tell!(self, "s{} disk fails", node + 1);
            self.call_operator(node);
            self.step(node, Event::StorageFailed);
            return;
        }
        if policy == Policy::Always {
            host.disk.synced(Position(position));
        }
        host.disk.tell(Position(position));
        self.step(node, Event::Durable(Position(position)));
    }

    /// Keeps what a disk that stands still would have done, for later.
    fn is_held(&mut self, node: usize, what: What) -> bool {
        let host = &mut self.servers[node];
        let is_hung = host.hung > 0;
        if is_hung {
            host.held.push(what);
        }
        is_hung
    }

    /// A disk goes on, with all that waited, in its order.
    pub fn unhang(&mut self, node: usize) {
        let host = &mut self.servers[node];
        host.hung -= 1;
        if host.hung == 0 {
            for what in std::mem::take(&mut host.held) {
                self.queue.push(self.now, what);
            }
        }
    }

    /// What nobody waited for reaches the disk.
    pub fn write_back(&mut self, node: usize, boot: u32) {
        if self.is_alive(node, boot) {
            let host = &mut self.servers[node];
            host.writes_back = false;
            if !host.disk.is_failed() {
                host.disk.synced(Position(host.sync_begun));
            }
        }
    }
}

/// Returns whether a server tells that it can go on no more.
fn is_giving_up(message: &ToEcs) -> bool {
    matches!(message, ToEcs::Request { changes, .. } if changes.contains(&Change::Fail))
}
