//! Many real gossip machines in one thread and in virtual time, from one seed.
//!
//! ```text
//!   machine ──Send──▶ its real text line ──loss, delay, cut?──▶ read from the line ──▶ machine
//!           ──Pull──▶ `pull` ──▶ the other's map ──▶ `push` ──▶ Map
//! ```
//!
//! A server can be ended, paused (what comes for it waits, and its clock goes on), cut off, or begun again. Everything
//! that crosses the network is written as the line that a process would write, and counted. What the machines say of each other
//! is compared with what is true: a *false suspicion* is a life of a running server that somebody suspects, a *false
//! death* one that somebody takes for dead.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use cluster::gossip::{Action, Event, Gossip, Identity, Load, Seen, Settings};
use cluster::lines::{GossipLine, read_gossip, write_gossip};
use cluster::{
    Delta, Incarnation, Map, ServerId, ServerInfo, Slot, SlotId, Standing, Time, Version,
};
use fastrand::Rng;

/// What the network does to lines.
#[derive(Clone, Debug)]
pub struct Network {
    /// Time on the way, at least and at most, in microseconds.
    pub delay_us: (u64, u64),
    /// Of a thousand lines so many are lost.
    pub lost_permille: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { delay_us: (100, 1_000), lost_permille: 0 }
    }
}

/// What has crossed the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Lines of gossip.
    pub line_count: u64,
    /// Their bytes.
    pub line_len: u64,
    /// Bytes of `pull` and `push` lines.
    pub map_len: u64,
}

/// What was said of servers that were running all the while.
#[derive(Clone, Debug, Default)]
pub struct Falsehoods {
    /// Lives that somebody suspected.
    pub suspicions: BTreeSet<(usize, u64, u32)>,
    /// Lives that somebody took for dead.
    pub deaths: BTreeSet<(usize, u64, u32)>,
}

enum What {
    Wake(u64),
    Line { from: usize, line: Arc<GossipLine> },
}

struct Item {
    at: u64,
    number: u64,
    to: usize,
    what: What,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub struct Node {
    pub gossip: Gossip,
    pub map: Arc<Map>,
    pub is_up: bool,
    /// What comes before this waits until then.
    pub stands_until: u64,
    /// On which side of a cut it is.
    pub side: u8,
    pub incarnation: u64,
    /// Its newest tick: earlier ones are late.
    wake: (u64, u64),
}

pub struct World {
    pub now: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub traffic: Traffic,
    pub false_talk: Falsehoods,
    /// Whether lines are read from their text, or handed over as they were written.
    pub is_read: bool,
    /// The newest map.
    pub map: Arc<Map>,
    /// Servers that have it.
    pub with_newest: usize,
    settings: Settings,
    rng: Rng,
    queue: BinaryHeap<Reverse<Item>>,
    number: u64,
    buffer: Vec<u8>,
    push_lens: BTreeMap<(Version, Version), u64>,
}

/// Returns the server at an index.
pub fn id(index: usize) -> ServerId {
    // Spread as real ids are, so that every line has its length.
    ServerId((index as u128 + 1) << 64 | 0x5e81_c0de)
}

/// Returns the index of a server.
pub fn index(id: ServerId) -> usize {
    (id.0 >> 64) as usize - 1
}

pub fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

fn info(index: usize, incarnation: u64, standing: Standing, changed: Version) -> ServerInfo {
    ServerInfo {
        address: format!("10.0.{}.{}:5153", index / 250, index % 250 + 1),
        incarnation: Incarnation(incarnation),
        life: incarnation,
        standing,
        changed,
    }
}

impl World {
    /// Returns a world of so many servers that know each other by the map.
    pub fn new(count: usize, settings: Settings, seed: u64) -> Self {
        let mut map = Map::new(16, 3);
        let to = Version(1);
        let servers = (0..count).map(|at| (id(at), info(at, 1, Standing::Serving, to))).collect();
        let delta = Delta { from: Version(0), to, servers, ring: None, slots: Vec::new() };
        map.apply(&delta).unwrap();
        let mut world = Self {
            now: 1_000_000_000,
            nodes: Vec::new(),
            network: Network::default(),
            traffic: Traffic::default(),
            false_talk: Falsehoods::default(),
            is_read: false,
            map: Arc::new(map),
            with_newest: 0,
            settings,
            rng: Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            number: 0,
            buffer: Vec::new(),
            push_lens: BTreeMap::new(),
        };
        for at in 0..count {
            let node = world.node(at, 1, Arc::clone(&world.map));
            world.nodes.push(node);
        }
        (0..count).for_each(|at| world.begin(at));
        world
    }

    fn node(&mut self, at: usize, incarnation: u64, map: Arc<Map>) -> Node {
        let me = Identity {
            server: id(at),
            incarnation: Incarnation(incarnation),
            address: Arc::from(info(at, 1, Standing::Serving, Version(0)).address),
        };
        let gossip = Gossip::new(self.settings.clone(), me, self.rng.u64(..));
        Node { gossip, map, is_up: true, stands_until: 0, side: 0, incarnation, wake: (0, 0) }
    }

    fn begin(&mut self, at: usize) {
        let map = Arc::clone(&self.nodes[at].map);
        self.step(at, Event::Map(&map));
        let load = Load { key_count: 1_000_000, stored_len: 1 << 30, op_rate: 10_000 };
        self.step(at, Event::Load(load));
    }

    /// The coordinator decides something about a slot. Nobody is told.
    pub fn change_map(&mut self) -> Version {
        let (from, to) = (self.map.version(), self.map.version().next());
        let slot = SlotId::new((to.0 % 16) as u16).unwrap();
        let before = self.map.slot(slot);
        let epoch = before.epoch.next();
        let primary = Some((id(0), Incarnation(1)));
        let after = Slot { epoch, term: epoch, changed: to, primary, ..before.clone() };
        self.decide(Delta { from, to, servers: Vec::new(), ring: None, slots: vec![(slot, after)] })
    }

    /// The coordinator decides what a server is, and in which life.
    pub fn change_server(&mut self, at: usize, incarnation: u64, standing: Standing) -> Version {
        let (from, to) = (self.map.version(), self.map.version().next());
        let servers = vec![(id(at), info(at, incarnation, standing, to))];
        self.decide(Delta { from, to, servers, ring: None, slots: Vec::new() })
    }

    fn decide(&mut self, delta: Delta) -> Version {
        let mut map = Map::clone(&self.map);
        map.apply(&delta).unwrap();
        self.map = Arc::new(map);
        self.with_newest = 0;
        delta.to
    }

    /// The coordinator tells a server.
    pub fn tell(&mut self, at: usize) {
        let map = Arc::clone(&self.map);
        self.take_map(at, map);
    }

    /// A server begins a new life, registered and told by the coordinator.
    pub fn begin_again(&mut self, at: usize) {
        let incarnation = self.nodes.get(at).map_or(1, |node| node.incarnation + 1);
        self.change_server(at, incarnation, Standing::Serving);
        let node = self.node(at, incarnation, Arc::clone(&self.map));
        match self.nodes.get_mut(at) {
            Some(old) => *old = node,
            None => self.nodes.push(node),
        }
        self.begin(at);
    }

    pub fn end(&mut self, at: usize) {
        self.nodes[at].is_up = false;
    }

    /// A server stands still from now on.
    pub fn pause(&mut self, at: usize, time: Duration) {
        let until = self.now + nanos(time);
        let node = &mut self.nodes[at];
        node.stands_until = node.stands_until.max(until);
    }

    pub fn seen(&self, by: usize, at: usize) -> Option<Seen> {
        self.nodes[by].gossip.seen(id(at))
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while self.queue.peek().is_some_and(|item| item.0.at <= end) {
            self.turn();
        }
        self.now = end;
    }

    /// Lets time pass until something is so. Returns how long that took; `None` if it is not so in time.
    pub fn until(&mut self, time: Duration, is_so: impl Fn(&Self) -> bool) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + nanos(time));
        while !is_so(self) {
            if self.queue.peek().is_none_or(|item| item.0.at > end) {
                self.now = end;
                return None;
            }
            self.turn();
        }
        Some(Duration::from_nanos(self.now - begin))
    }

    fn turn(&mut self) {
        let Some(Reverse(item)) = self.queue.pop() else { return };
        self.now = item.at;
        let Item { to, what, .. } = item;
        let node = &self.nodes[to];
        if !node.is_up {
            return;
        }
        if node.stands_until > self.now {
            let at = node.stands_until;
            return self.push(at, to, what);
        }
        match what {
            What::Wake(number) if number == node.wake.1 => {
                self.nodes[to].wake = (0, 0);
                self.step(to, Event::Tick);
            }
            What::Wake(_) => {}
            What::Line { from, line } => self.deliver(from, to, &line),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, line: &GossipLine) {
        match line {
            GossipLine::Message(message) => {
                self.step(to, Event::Received { from: id(from), message: message.clone() });
            }
            GossipLine::Pull { version } => {
                let map = Arc::clone(&self.nodes[to].map);
                if map.version() > *version {
                    self.send(to, from, GossipLine::Push(map.since(*version)));
                }
            }
            GossipLine::Push(delta) => {
                let version = self.nodes[to].map.version();
                if delta.from > version || delta.to <= version {
                    return;
                }
                // One copy for all who have the same.
                if delta.to == self.map.version() {
                    return self.take_map(to, Arc::clone(&self.map));
                }
                let mut map = Map::clone(&self.nodes[to].map);
                map.apply(delta).unwrap();
                self.take_map(to, Arc::new(map));
            }
        }
    }

    fn take_map(&mut self, at: usize, map: Arc<Map>) {
        let (before, newest) = (self.nodes[at].map.version(), self.map.version());
        self.with_newest += usize::from(before < newest && map.version() == newest);
        self.nodes[at].map = Arc::clone(&map);
        self.step(at, Event::Map(&map));
    }

    /// Gives a machine an event, and carries out what it asks for.
    pub fn step(&mut self, at: usize, event: Event<'_>) {
        let mut actions = Vec::new();
        self.nodes[at].gossip.step(Time(self.now), event, &mut actions);
        for action in actions {
            match action {
                Action::Send { to, message, .. } => {
                    self.send(at, index(to), GossipLine::Message(message));
                }
                Action::Pull { from, .. } => {
                    let version = self.nodes[at].map.version();
                    self.send(at, index(from), GossipLine::Pull { version });
                }
                Action::Doubts(_) => {}
                Action::Changed { server, after, .. } => self.judge(at, index(server), after),
            }
        }
        let due = nanos(Duration::from_nanos(self.nodes[at].gossip.wake_at().0)).max(self.now);
        let (wake_at, _) = self.nodes[at].wake;
        if wake_at == 0 || due < wake_at {
            self.number += 1;
            self.nodes[at].wake = (due, self.number);
            let number = self.number;
            self.queue.push(Reverse(Item { at: due, number, to: at, what: What::Wake(number) }));
        }
    }

    fn judge(&mut self, by: usize, of: usize, after: Option<Seen>) {
        if !self.nodes[of].is_up || self.nodes[of].side != self.nodes[by].side {
            return;
        }
        let Some(view) = self.nodes[by].gossip.view(Time(self.now), id(of)) else { return };
        let life = (of, view.life.incarnation.0, view.life.refutation);
        match after {
            Some(Seen::Suspect) => drop(self.false_talk.suspicions.insert(life)),
            Some(Seen::Dead) => drop(self.false_talk.deaths.insert(life)),
            Some(Seen::Alive | Seen::Left) | None => {}
        }
    }

    fn send(&mut self, from: usize, to: usize, line: GossipLine) {
        let line = self.count(line);
        let is_cut = self.nodes[from].side != self.nodes[to].side;
        if is_cut || self.rng.u64(..1000) < self.network.lost_permille {
            return;
        }
        let (least, most) = self.network.delay_us;
        let at = self.now + 1_000 * self.rng.u64(least..=most);
        self.push(at, to, What::Line { from, line: Arc::new(line) });
    }

    /// Writes and counts a line, and returns what the other side reads.
    fn count(&mut self, line: GossipLine) -> GossipLine {
        if let GossipLine::Push(delta) = &line
            && let Some(len) = self.push_lens.get(&(delta.from, delta.to))
        {
            self.traffic.map_len += len;
            return line;
        }
        self.buffer.clear();
        write_gossip(&mut self.buffer, &line);
        let len = self.buffer.len() as u64;
        match &line {
            GossipLine::Message(_) => {
                self.traffic.line_count += 1;
                self.traffic.line_len += len;
                assert!(self.buffer.len() <= cluster::gossip::MESSAGE_LEN_MAX);
            }
            GossipLine::Pull { .. } => self.traffic.map_len += len,
            GossipLine::Push(delta) => {
                self.traffic.map_len += len;
                self.push_lens.insert((delta.from, delta.to), len);
            }
        }
        if !self.is_read {
            return line;
        }
        let read = read_gossip(self.buffer.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(read, line, "it comes back as it was written");
        read
    }

    fn push(&mut self, at: u64, to: usize, what: What) {
        self.number += 1;
        self.queue.push(Reverse(Item { at, number: self.number, to, what }));
    }
}
