//! Gossip with the other servers: the host of [`cluster::gossip::Gossip`].
//!
//! ```text
//! tick (50 ms) ─▶ machine (a lock of its own) ─▶ Send ─▶ a line on the connection to that server, dialled if there is none
//! lines ─────────▶                             ─▶ Pull ─▶ `pull <version>` ─▶ `push <json>` ─▶ the server's machine
//! ```
//!
//! A connection is opened with `gossip 1 <me> <to> [<secret>]` and carries lines both ways. Any line may be lost: what is for
//! a server that is being dialled waits with a few others, what is for one that cannot be reached is dropped, and of
//! [`LINE_COUNT_MAX`] connections the one that was used least lately makes room for another.
//!
//! Gossip decides nothing here: a change of the map that it brings goes to the server's machine, which takes it like one that
//! another server pushed; whom everybody doubts goes there too, and on to the ECS, which judges accusations by it (R15); how
//! servers are seen is shown to people (`members`), also while the ECS is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster::gossip::{Action, Event as Told, Gossip, Identity, Load, Message, Seen, Settings};
use cluster::lines::{
    DELTA_LEN_MAX, GossipLine, Opening, read_gossip, write_gossip, write_opening,
};
use cluster::{Event, Incarnation, ServerId, Version};
use crossbeam_channel::Receiver;
use net::{Next, Peer, Refusal, Replies};
use serde::Serialize;

use super::links::refusal_line;
use super::{Node, clock};

/// Between two ticks, as the machine wants them.
const TICK: Duration = Duration::from_millis(50);

/// Between two looks at what this server stores and does.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// How long another machine may take to accept a connection: probes do not wait longer either.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a peer may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that this server opens for gossip: those of a small cluster stand, a large one takes turns.
const LINE_COUNT_MAX: usize = 64;

/// Bytes that wait for a connection being made: some messages.
const WAITING_LEN_MAX: usize = 16 << 10;

/// Bytes of a line: a change of the map is the longest.
const LINE_LEN_MAX: usize = DELTA_LEN_MAX + 64;

/// What a server of a cluster has for its gossip.
#[derive(Debug, Default)]
pub(super) struct Gossiping {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None until the coordinator has numbered this life.
    machine: Option<Gossip>,
    lines: BTreeMap<ServerId, Line>,
    version: Version,
    load_at: Option<Instant>,
    asked_count: u64,
    next_serial: u64,
    is_over: bool,
}

/// A connection to a server, or one being made.
#[derive(Debug)]
struct Line {
    serial: u64,
    /// None while it is being made.
    sender: Option<net::Sender>,
    waiting: Vec<u8>,
    is_dialled: bool,
    used_at: Instant,
}

/// A server, as `members` shows it.
#[derive(Debug, Serialize)]
struct Shown {
    server: String,
    address: String,
    seen: &'static str,
    incarnation: Incarnation,
    version: Version,
    keys: Option<u64>,
    bytes: Option<u64>,
    operations_a_second: Option<u64>,
    told_ms_ago: u64,
}

impl Gossiping {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the machine an event, if there is a machine.
    fn step(&mut self, event: Told<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(machine) = &mut self.machine {
            machine.step(clock::now(), event, &mut actions);
        }
        actions
    }

    /// Takes in a connection, and returns its number.
    fn open(&mut self, to: ServerId, sender: net::Sender, is_dialled: bool) -> Option<u64> {
        if self.is_over {
            return None;
        }
        match self.lines.get_mut(&to) {
            Some(line) if line.is_dialled == is_dialled && line.sender.is_none() => {
                sender.queue(|out| out.extend_from_slice(&line.waiting));
                line.waiting = Vec::new();
                line.sender = Some(sender);
                Some(line.serial)
            }
            // One is enough; the other side uses its own.
            Some(_) => None,
            None => {
                self.next_serial += 1;
                let serial = self.next_serial;
                let line = Line {
                    serial,
                    sender: Some(sender),
                    waiting: Vec::new(),
                    is_dialled,
                    used_at: Instant::now(),
                };
                self.lines.insert(to, line);
                Some(serial)
            }
        }
    }

    fn close(&mut self, to: ServerId, serial: u64) {
        if self.lines.get(&to).is_some_and(|line| line.serial == serial) {
            self.lines.remove(&to);
        }
    }

    /// Makes room for one more connection.
    fn make_room(&mut self) {
        let dialled = || self.lines.iter().filter(|(_, line)| line.is_dialled);
        if dialled().count() < LINE_COUNT_MAX {
            return;
        }
        let oldest = dialled().min_by_key(|(_, line)| line.used_at).map(|(id, _)| *id);
        if let Some(line) = oldest.and_then(|id| self.lines.remove(&id))
            && let Some(sender) = line.sender
        {
            sender.close();
        }
    }
}

impl Node {
    /// The life of the thread that gossips.
    pub(super) fn gossip(self: &Arc<Self>, stopped: &Receiver<()>) {
        let ticks = crossbeam_channel::tick(TICK);
        loop {
            crossbeam_channel::select! {
                recv(stopped) -> _ => return,
                recv(ticks) -> _ => self.gossip_tick(),
            }
        }
    }

    fn gossip_tick(self: &Arc<Self>) {
        let known = self.gossiping.lock().version;
        let (incarnation, address, map, asked) = {
            let core = self.lock();
            let map = core.machine.map();
            let is_news = map.version() > known;
            let address = map.servers().get(&self.id).map(|server| server.address.clone());
            let asked = core.ops.asked_count();
            (core.machine.incarnation(), address, is_news.then(|| map.clone()), asked)
        };
        let Some(address) = address.filter(|_| incarnation > Incarnation(0)) else { return };
        let mut actions = Vec::new();
        {
            let mut state = self.gossiping.lock();
            if state.is_over {
                return;
            }
            state.machine.get_or_insert_with(|| {
                let me = Identity { server: self.id, incarnation, address: address.into() };
                Gossip::new(Settings::default(), me, self.life)
            });
            if let Some(map) = map {
                state.version = map.version();
                actions.extend(state.step(Told::Map(&map)));
            }
            if let Some(load) = self.load(&mut state, asked) {
                actions.extend(state.step(Told::Load(load)));
            }
            actions.extend(state.step(Told::Tick));
        }
        self.carry_gossip(actions);
    }

    /// Returns what this server stores and does, now and then.
    fn load(&self, state: &mut State, asked: u64) -> Option<Load> {
        let since = state.load_at.map(|at| at.elapsed());
        if since.is_some_and(|since| since < LOAD_EVERY) {
            return None;
        }
        let millis = since.map_or(1000, |since| since.as_millis().max(1));
        let rate = u128::from(asked.saturating_sub(state.asked_count)) * 1000 / millis;
        (state.load_at, state.asked_count) = (Some(Instant::now()), asked);
        let stats = self.store.stats();
        Some(Load {
            key_count: u64::try_from(stats.key_count).unwrap_or(u64::MAX),
            stored_len: stats.live_len,
            op_rate: u64::try_from(rate).unwrap_or(u64::MAX),
        })
    }

    fn carry_gossip(self: &Arc<Self>, actions: Vec<Action>) {
        let version = self.gossiping.lock().version;
        for action in actions {
            match action {
                Action::Send { to, address, message } => {
                    self.send_gossip(to, &address, &GossipLine::Message(message));
                }
                Action::Pull { from, address } => {
                    self.send_gossip(from, &address, &GossipLine::Pull { version });
                }
                Action::Doubts(servers) => self.tell(Event::Doubts(servers)),
                Action::Changed { server, before, after } => {
                    log::debug!("server {server} was seen {before:?}, and is now seen {after:?}");
                }
            }
        }
    }

    /// Sends a line, over a connection that is made if there is none.
    fn send_gossip(self: &Arc<Self>, to: ServerId, address: &str, line: &GossipLine) {
        let mut state = self.gossiping.lock();
        if let Some(Line { sender, waiting, used_at, .. }) = state.lines.get_mut(&to) {
            *used_at = Instant::now();
            if let Some(sender) = sender {
                let sender = sender.clone();
                drop(state);
                sender.queue(|out| write_gossip(out, line));
                sender.flush();
            } else if waiting.len() < WAITING_LEN_MAX {
                write_gossip(waiting, line);
            }
            return;
        }
        if address.is_empty() || state.is_over {
            return;
        }
        state.make_room();
        state.next_serial += 1;
        let serial = state.next_serial;
        let mut waiting = Vec::new();
        write_gossip(&mut waiting, line);
        let used_at = Instant::now();
        state.lines.insert(to, Line { serial, sender: None, waiting, is_dialled: true, used_at });
        drop(state);
        self.dial_gossip(to, serial, address);
    }

    fn dial_gossip(self: &Arc<Self>, to: ServerId, serial: u64, address: &str) {
        let service = Arc::new(Outward { node: Arc::clone(self), to });
        let of_failure = Arc::clone(self);
        let failed = move |error: std::io::Error| {
            log::debug!("server {to} cannot be reached for gossip: {error}");
            of_failure.gossip_unreachable(to, serial);
        };
        let config = net::Config {
            line_len_max: LINE_LEN_MAX,
            write_timeout: WRITE_TIMEOUT,
            idle_timeout: None,
            ..net::Config::default()
        };
        if let Err(error) = net::dial(address, &config, CONNECT_TIMEOUT, service, failed) {
            log::warn!("server {to} cannot be tried for gossip: {error}");
            self.gossip_unreachable(to, serial);
        }
    }

    fn gossip_unreachable(self: &Arc<Self>, to: ServerId, serial: u64) {
        let actions = {
            let mut state = self.gossiping.lock();
            state.close(to, serial);
            state.step(Told::Unreachable(to))
        };
        self.carry_gossip(actions);
    }

    fn hear_gossip(self: &Arc<Self>, from: ServerId, message: Message) {
        let actions = self.gossiping.lock().step(Told::Received { from, message });
        self.carry_gossip(actions);
    }

    /// Says that this server ends on purpose, and gossips no more.
    pub(super) fn end_gossip(self: &Arc<Self>) {
        let actions = self.gossiping.lock().step(Told::Leave);
        self.carry_gossip(actions);
        let lines = {
            let mut state = self.gossiping.lock();
            state.is_over = true;
            std::mem::take(&mut state.lines)
        };
        for sender in lines.into_values().filter_map(|line| line.sender) {
            sender.close();
        }
    }

    /// Appends how this server sees all servers, as one line.
    pub(crate) fn write_members(&self, out: &mut Vec<u8>) {
        let state = self.gossiping.lock();
        let views = state.machine.as_ref().map(|machine| machine.views(clock::now()));
        let shown: Vec<Shown> = views
            .unwrap_or_default()
            .into_iter()
            .map(|view| Shown {
                server: view.server.to_string(),
                address: view.address.to_string(),
                seen: match view.seen {
                    Seen::Alive => "alive",
                    Seen::Suspect => "suspect",
                    Seen::Dead => "dead",
                    Seen::Left => "left",
                },
                incarnation: view.life.incarnation,
                version: view.version,
                keys: view.load.map(|load| load.key_count),
                bytes: view.load.map(|load| load.stored_len),
                operations_a_second: view.load.map(|load| load.op_rate),
                told_ms_ago: u64::try_from(view.load_age.as_millis()).unwrap_or(u64::MAX),
            })
            .collect();
        drop(state);
        out.extend_from_slice(b"members_success ");
        // The types are ours, and none of them can fail to be written.
        out.extend_from_slice(&serde_json::to_vec(&shown).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
}

/// Makes the session of a connection that was opened here.
#[derive(Debug)]
struct Outward {
    node: Arc<Node>,
    to: ServerId,
}

impl net::Service for Outward {
    type Session = GossipSession;

    fn open(&self, _: &Peer, replies: &mut Replies) -> GossipSession {
        let sender = replies.sender();
        let (from, to, secret) = (self.node.id, self.to, self.node.secret.clone());
        sender.queue(|line| write_opening(line, &Opening::Gossip { from, to, secret }));
        let serial = self.node.gossiping.lock().open(to, sender.clone(), true);
        sender.flush();
        GossipSession {
            node: Arc::clone(&self.node),
            peer: to,
            serial,
            sender,
            may_be_greeted: true,
        }
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        refusal_line(&refusal.to_string())
    }
}

/// One connection of gossip.
#[derive(Debug)]
pub(super) struct GossipSession {
    node: Arc<Node>,
    peer: ServerId,
    /// None where another connection is used for what is sent.
    serial: Option<u64>,
    sender: net::Sender,
    /// Whether the next line may be what a server of the dialect `tum` says to everybody who connects.
    may_be_greeted: bool,
}

impl net::Session for GossipSession {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        self.take(lines, replies)
    }
}

impl GossipSession {
    /// Returns the session of a connection that the peer opened.
    pub(super) fn accepted(node: &Arc<Node>, peer: ServerId, replies: &mut Replies) -> Self {
        replies.limit_lines(LINE_LEN_MAX);
        replies.limit_idle(None);
        let sender = replies.sender();
        let serial = node.gossiping.lock().open(peer, sender.clone(), false);
        Self { node: Arc::clone(node), peer, serial, sender, may_be_greeted: false }
    }

    /// Takes whole lines.
    pub(super) fn take(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if std::mem::take(&mut self.may_be_greeted) && line.starts_with(super::links::GREETING)
            {
                continue;
            }
            match read_gossip(line.strip_suffix(b"\n").unwrap_or(line)) {
                Ok(GossipLine::Message(message)) => self.node.hear_gossip(self.peer, message),
                Ok(GossipLine::Pull { version }) => self.push(version),
                Ok(GossipLine::Push(delta)) => self.node.tell(Event::Told(delta)),
                Err(error) => {
                    log::debug!("server {} gossips what makes no sense: {error}", self.peer);
                    replies.buffer().extend_from_slice(&refusal_line(&error.to_string()));
                    return Next::Close;
                }
            }
        }
        Next::Continue
    }

    /// Brings the peer what changed in the map since a version.
    fn push(&self, version: Version) {
        let delta = {
            let core = self.node.lock();
            let map = core.machine.map();
            (map.version() > version).then(|| map.since(version))
        };
        if let Some(delta) = delta {
            self.sender.queue(|out| write_gossip(out, &GossipLine::Push(delta)));
            self.sender.flush();
        }
    }
}

impl Drop for GossipSession {
    fn drop(&mut self) {
        if let Some(serial) = self.serial {
            self.node.gossiping.lock().close(self.peer, serial);
        }
    }
}
